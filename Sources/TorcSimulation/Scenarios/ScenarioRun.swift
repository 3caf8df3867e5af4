// Tells a scenario: each step is carried out in a simulated cluster, waited for, and compared with what it must come to.
// The first that comes to something else ends the story.

import NIOCore
import TorcModel
import TorcReplication

package struct ScenarioRun {
    /// A step and what it came to.
    package struct Outcome: Sendable {
        package var step: Scenario.Step
        package var seen: String

        /// What ends with "..." tells a beginning.
        package var isAsTold: Bool {
            guard let expected = step.expected else { return true }
            return expected.hasSuffix("...") ? seen.hasPrefix(expected.dropLast(3)) : seen == expected
        }
    }

    /// How long a step may take.
    private static let patience = Span.seconds(60)

    private let scenario: Scenario
    private let simulation: Simulation
    package private(set) var outcomes: [Outcome] = []

    package init(_ scenario: Scenario) {
        self.scenario = scenario
        simulation = Simulation(plan: scenario.plan, trace: .lines)
        simulation.isScripted = true
        for index in simulation.nodes.indices { simulation.start(index) }
        simulation.advance(to: simulation.now + .seconds(2))
    }

    /// All that happened, line by line.
    package var trace: [String] { simulation.trace.lines.map(\.text) }

    /// Ends at the first step that comes to something else than is told, or at a broken promise.
    package mutating func run() throws(ScenarioError) {
        for step in scenario.steps {
            simulation.note("--", step.text)
            let seen = try carryOut(step)
            let outcome = Outcome(step: step, seen: seen)
            outcomes.append(outcome)
            if let violation = simulation.violation {
                throw ScenarioError(line: step.line, message: "\(step.text): \(violation)")
            }
            if !outcome.isAsTold {
                throw ScenarioError(
                    line: step.line, message: "\(step.text) -> \(seen), where \(step.expected ?? "") is told")
            }
        }
    }

    // MARK: Steps

    private func carryOut(_ step: Scenario.Step) throws(ScenarioError) -> String {
        let words = step.words
        let rest = Array(words.dropFirst())
        if let node = place(words[0]), rest.count > 0 { return try act(at: node, rest, step) }
        switch words[0] {
        case "crash", "wipe":
            for node in try places(rest, step) {
                simulation.nodes[node].staysDown = true
                simulation.crash(node, .suffix)
                if words[0] == "wipe" {
                    simulation.nodes[node].rollback = simulation.nodes[node].store.wipedImage()
                }
            }
            wait(.milliseconds(10))
            return "down"
        case "start":
            let isOld = rest.suffix(2) == ["as", "older"]
            for node in try places(isOld ? Array(rest.dropLast(2)) : rest, step)
            where simulation.nodes[node].process == nil {
                simulation.nodes[node].staysDown = false
                simulation.nodes[node].features = isOld ? [] : .supported
                simulation.start(node)
            }
            wait(.milliseconds(1))
            return "up"
        case "cut": return try cut(rest, step)
        case "heal":
            simulation.network.healAll(at: simulation.now, actions: &simulation.networkActions)
            simulation.performNetworkActions()
            wait(.seconds(1))
            return "whole"
        case "wait":
            guard rest.count == 2, let number = UInt64(rest[0]), number <= 600, ["ms", "s"].contains(rest[1]) else {
                throw ScenarioError(line: step.line, message: "wait takes a number up to 600, and ms or s")
            }
            wait(rest[1] == "s" ? .seconds(number) : .milliseconds(number))
            return "waited"
        case "backup": return try backup(rest, step)
        case "settle":
            until { self.simulation.haveOneRing }
            return simulation.haveOneRing ? ring(of: simulation.members[0]) : "no one ring"
        case "owners":
            return simulation.replicas(of: try key(rest.first, step)).map { simulation.nodes[$0].name }
                .joined(separator: " ")
        case "verdict":
            simulation.runVerdict()
            return simulation.violation.map { "\($0)" } ?? "ok"
        default: throw ScenarioError(line: step.line, message: "\(words[0]) is no word of a scenario")
        }
    }

    private func act(at node: Int, _ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> String {
        switch words[0] {
        case "put", "get", "delete": return try ask(node, words, step)
        case "vector": return vector(node, try key(words.dropFirst().first, step))
        case "holds": return holds(node, try key(words.dropFirst().first, step))
        case "hints":
            let hints = simulation.nodes[node].store.hintNames.map {
                "\(simulation.name($0.key)) for \(simulation.name($0.hint!))"
            }
            return hints.isEmpty ? "none" : hints.joined(separator: ", ")
        case "ring": return ring(of: node)
        case "reaches":
            until { self.phase(of: node) == words.dropFirst().first }
            return phase(of: node) ?? "down"
        case "stage": return order(.stage(try change(Array(words.dropFirst()), step)), at: node)
        case "abort": return order(.abort, at: node)
        case "commit":
            let deadline = simulation.nodes[node].clock.now(at: simulation.now).monotonic.advanced(by: .seconds(10))
            let commit = RingOrder.commit(plan: nil, deadline: deadline)
            return words.count == 1
                ? order(commit, at: node) : try begin(commit, at: node, Array(words.dropFirst()), step)
        case "force":
            let dead = try places(Array(words.dropFirst(2)), step).map { simulation.nodes[$0].id }
            return order(.force(without: dead), at: node)
        default: throw ScenarioError(line: step.line, message: "\(words[0]) is nothing that a node does")
        }
    }

    /// put KEY [over] [w=…], get KEY [r=…], delete KEY [over]; `over`: with the context that the client read last.
    private func ask(_ node: Int, _ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> String {
        guard simulation.nodes[node].process != nil else { return "not reached" }
        let key = try key(words.dropFirst().first, step)
        var options = QuorumOptions()
        var context: KnownContext?
        for word in words.dropFirst(2) {
            switch word {
            case "over": context = simulation.clients[0].contexts[key]?.last
            case "r=one": options.r = .one
            case "r=all": options.r = .all
            case "w=one": options.w = .one
            case "w=all": options.w = .all
            case "strict": options.sloppyQuorum = false
            default: throw ScenarioError(line: step.line, message: "\(word) is no option of \(words[0])")
            }
        }
        simulation.scriptedOptions = options
        simulation.heard = nil
        switch words[0] {
        case "put": simulation.put(0, key, node, context: context)
        case "get": simulation.get(0, key, node)
        default: simulation.delete(0, key, node, context: context)
        }
        until { self.simulation.heard != nil }
        return simulation.heard ?? "no answer"
    }

    private func order(_ order: RingOrder, at node: Int) -> String {
        guard simulation.nodes[node].process != nil else { return "not reached" }
        simulation.heard = nil
        simulation.order(order, at: node, 0)
        until { self.simulation.heard != nil }
        return simulation.heard ?? "no answer"
    }

    /// commit until A holds: not a message more has come, and the next step may crash whoever would hear it.
    private func begin(
        _ order: RingOrder, at node: Int, _ words: [String], _ step: Scenario.Step
    ) throws(ScenarioError) -> String {
        guard words.count == 3, words[0] == "until", words[2] == "holds" else {
            throw ScenarioError(line: step.line, message: "commit, or commit until B holds")
        }
        let holder = try places([words[1]], step)[0]
        guard simulation.nodes[node].process != nil else { return "not reached" }
        func epoch() -> UInt64 { simulation.nodes[holder].store.ringRecord?.state.version.epoch ?? 0 }
        let before = epoch()
        simulation.order(order, at: node, 0)
        until { epoch() > before }
        return epoch() > before ? "holds" : "does not"
    }

    private func change(_ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> StagedChange {
        let nodes = try places(Array(words.dropFirst()), step).map { simulation.nodes[$0].id }
        switch (words.first, nodes.count) {
        case ("join", 1): return .join(ClusterMember(claim: ClaimMember(node: nodes[0])))
        case ("leave", 1): return .leave(nodes[0])
        case ("remove", 1): return .remove(nodes[0])
        case ("replace", 2): return .replace(nodes[0], by: ClusterMember(claim: ClaimMember(node: nodes[1])))
        default: throw ScenarioError(line: step.line, message: "join D, leave B, remove B or replace B D")
        }
    }

    private func cut(_ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> String {
        let sides = words.split(separator: "|", omittingEmptySubsequences: false)
        guard sides.count == 2 else { throw ScenarioError(line: step.line, message: "cut A B | C") }
        let (one, other) = (try places(Array(sides[0]), step), try places(Array(sides[1]), step))
        for (from, to) in one.flatMap({ from in other.flatMap { [(from, $0), ($0, from)] } }) {
            simulation.network.cut(from: from, to: to, actions: &simulation.networkActions)
        }
        simulation.performNetworkActions()
        wait(.seconds(1))
        return "cut"
    }

    /// As long as a node can be held.
    private static let hold = Span.seconds(600)

    /// backup begin, backup copy B A, backup end: in between anything may happen.
    private func backup(_ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> String {
        var reason: String?
        var seen = ""
        switch words.first {
        case "begin":
            simulation.beginBackup(hold: Self.hold)
            for node in simulation.members where reason == nil { reason = simulation.holdForBackup(node) }
            until { !self.simulation.awaitsHolds }
            reason = reason ?? simulation.checkHolds()
            seen = "held"
        case "copy":
            for node in try places(Array(words.dropFirst()), step) where reason == nil {
                reason = simulation.copyForBackup(node)
            }
            seen = "copied"
        case "end":
            reason = simulation.endBackup()
            seen = simulation.violation.map { "\($0)" } ?? "whole"
        default: throw ScenarioError(line: step.line, message: "backup begin, backup copy A B or backup end")
        }
        guard let reason else { return seen }
        simulation.abandonBackup(reason)
        return "none: \(reason)"
    }

    // MARK: What is seen

    private func holds(_ node: Int, _ key: Int) -> String {
        let name = simulation.plan.keys[key].object
        guard let bytes = simulation.nodes[node].store.durableRecord(of: name),
            let record = try? Record(decoding: bytes, for: name)
        else { return "nothing" }
        if record.isGrave { return "a grave" }
        guard let object = try? record.object() else { return "something unreadable" }
        if object.isTombstone { return "a tombstone" }
        return object.liveSiblings.compactMap { SimulatedValue.decode($0.value) }.sorted().map { "v\($0)" }
            .joined(separator: " ")
    }

    private func vector(_ node: Int, _ key: Int) -> String {
        let name = simulation.plan.keys[key].object
        guard let bytes = simulation.nodes[node].store.durableRecord(of: name),
            let record = try? Record(decoding: bytes, for: name), let object = try? record.object()
        else { return "none" }
        return "\(object.clock.entries.count), \(object.deadActors.count) dead"
    }

    private func phase(of node: Int) -> String? {
        simulation.nodes[node].process.map { "\($0.control.machine.agreement.state.placement.phase)" }
    }

    private func ring(of node: Int) -> String {
        guard let state = simulation.nodes[node].process?.control.machine.agreement.state else { return "down" }
        let members = state.members.map { simulation.name($0.node) }.sorted().joined(separator: " ")
        return "epoch \(state.ring.epoch), \(state.placement.phase), members \(members)"
    }

    // MARK: Words and time

    private func place(_ word: String) -> Int? { simulation.nodes.firstIndex { $0.name == word } }

    private func places(_ words: [String], _ step: Scenario.Step) throws(ScenarioError) -> [Int] {
        var places: [Int] = []
        for word in words {
            guard let place = place(word) else { throw ScenarioError(line: step.line, message: "\(word) is no node") }
            places.append(place)
        }
        guard !places.isEmpty else { throw ScenarioError(line: step.line, message: "which nodes?") }
        return places
    }

    private func key(_ word: String?, _ step: Scenario.Step) throws(ScenarioError) -> Int {
        guard let word, word.hasPrefix("k"), let key = Int(word.dropFirst()), simulation.plan.keys.indices.contains(key)
        else {
            throw ScenarioError(line: step.line, message: "keys are k0 to k\(SimulationPlan.scenarioKeys - 1)")
        }
        return key
    }

    private func wait(_ time: Span) { simulation.advance(to: simulation.now + time) }

    private func until(_ condition: () -> Bool) {
        simulation.advance(to: simulation.now + Self.patience, until: condition)
    }
}
