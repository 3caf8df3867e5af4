// Operators in a simulated cluster: they stage changes of the members at whatever node they like, look at the plan
// and commit it, each by themselves and all at once, while faults strike.
//
// What they agree on is followed by the lanes, and the data moves with it.

import TorcModel
import TorcReplication

/// A person who changes the members.
struct RingOperator {
    /// What they wait for.
    struct Pending {
        var request: RequestID
        var process: ProcessID
        var due: VirtualTime
        /// Of the commit; nil: they have not seen a plan yet.
        var planned: RingVersion?
    }

    var random: SeededGenerator
    var pending: Pending?
    /// Commits that were answered as such.
    var committed = 0
    var lost = 0

    init(random: SeededGenerator) { self.random = random }
}

extension SimulationPlan {
    mutating func drawOperators(_ random: inout SeededGenerator) {
        guard random.chance(400) else { return }
        // A node that forgets, or a record that goes bad, may be the one from which a move has just taken the others'
        // part away.
        guard !forgets, faults.damageRecord == 0 else { return }
        operatorCount = random.pick([1, 2, 2, 3])
        operatorInterval = random.pick([.milliseconds(5), .milliseconds(50), .milliseconds(400)])
        if random.chance(300) {
            mayFence = true
            forcePerMille = random.pick([0, 0, 20])
        }
        // Somebody must be there to come in when others go.
        let most = buckets.map(\.copies).max()!
        nodeCount = max(nodeCount, min(most + 2, 6))
        while laneCounts.count < nodeCount { laneCounts.append(random.pick([1, 1, 2, 3])) }
        fewestMembers = most
    }
}

extension Simulation {
    /// How long a commit of an operator may take, by the node's clock.
    private static let commitTime = Duration.seconds(3)
    /// Beyond it: slow disks, hung processes, clocks that run slow.
    private static let commitSlack = Span.seconds(12)
    private static let agreementTime = Span.seconds(240)

    func scheduleOperator(_ index: Int) {
        let delay = operators[index].random.exponential(mean: plan.operatorInterval)
        schedule(.operatorTurn(index), after: delay)
    }

    // MARK: Turns

    func operatorTurn(_ index: Int) {
        guard !isCalm else { return }
        scheduleOperator(index)
        if let pending = operators[index].pending {
            // One that hangs answers when it goes on.
            let heldUntil = nodes[pending.process.node].process?.pausedUntil ?? .zero
            if isRunning(pending.process), now < max(pending.due, heldUntil + Self.answerSlack) { return }
            checkAnswered(pending)
            operators[index].pending = nil
        }
        // Mostly at a member: others have no say.
        var node = operators[index].random.below(nodes.count)
        for _ in 0..<4
        where nodes[node].process.map({ !$0.control.machine.agreement.state.contains(nodes[node].id) }) ?? true {
            node = operators[index].random.below(nodes.count)
        }
        guard let state = nodes[node].process?.control.machine.agreement.state else { return }
        var random = operators[index].random
        defer { operators[index].random = random }
        if random.chance(plan.forcePerMille) { return force(state, at: node, index, &random) }
        if random.chance(400) { order(.abort, at: node, index) }
        for _ in 0..<random.within(0...2) {
            if let change = change(of: state, at: node, &random) { order(.stage(change), at: node, index) }
        }
        if random.chance(800) {
            order(.plan, at: node, index)
            operators[index].pending = RingOperator.Pending(
                request: RequestID(rawValue: lastOrder), process: nodes[node].process!.id,
                due: now + Self.commitSlack)
        }
    }

    private func change(
        of state: ClusterState, at node: Int, _ random: inout SeededGenerator
    ) -> StagedChange? {
        let strangers = strangers(to: state)
        let others = state.ring.members.filter { $0 != nodes[node].id }
        func joiner() -> ClusterMember {
            ClusterMember(claim: ClaimMember(node: random.pick(strangers), weight: random.pick([1, 1, 1, 2])))
        }
        // Who is fenced is lost for the rest of the run.
        let mayFence = plan.mayFence && state.fenced.count + 3 < nodes.count
        let mayShrink = state.members.count > plan.fewestMembers
        switch random.below(10) {
        case 0..<5 where !strangers.isEmpty: return .join(joiner())
        case 5 where !strangers.isEmpty && !others.isEmpty && mayFence:
            return .replace(random.pick(others), by: joiner())
        case 6 where !others.isEmpty && mayFence: return .remove(random.pick(others))
        default: return mayShrink ? .leave(random.pick(state.ring.members)) : nil
        }
    }

    /// What only fenced nodes hold is lost. Copies have moved since they were counted, so who holds what now counts.
    private func forgetFenced() {
        for node in nodes.indices { history.forget(node: node, since: .zero) }
        for write in history.writes where write.isAcknowledged { recount(write) }
    }

    private func recount(_ write: WriteRecord) {
        let holders = DurabilityChecker().holders(
            of: write.id, dots: dots.dots(of: write.id), copies: allDurableCopies(of: write.key), in: history)
        history.setHolders(write.id, holders & listened.reduce(UInt64(0)) { $0 | 1 << UInt64($1) })
    }

    /// Those who may come in: a node comes with an empty folder.
    private func strangers(to state: ClusterState) -> [NodeID] {
        nodes.filter { node in
            !state.hasParticipant(node.id) && !state.fenced.contains(node.id)
                && node.store.records.isEmpty && node.store.hintNames.isEmpty
        }.map(\.id)
    }

    private func force(_ state: ClusterState, at node: Int, _ index: Int, _ random: inout SeededGenerator) {
        var dead = state.ring.members.filter { $0 != nodes[node].id }
        let kept = random.below(max(1, state.majority - 1))
        for _ in 0..<min(kept, dead.count) { dead.remove(at: random.below(dead.count)) }
        order(.force(without: dead), at: node, index)
    }

    func order(_ order: RingOrder, at node: Int, _ index: Int) {
        lastOrder += 1
        coverage.note(order)
        note(nodes[node].name, "operator \(index): \(describe(order))")
        enqueueControl(.ring(RequestID(rawValue: lastOrder), order), node: node)
    }

    private func commit(_ plan: RingPlan, at node: Int, _ index: Int, time: Duration) {
        let deadline = nodes[node].clock.now(at: now).monotonic.advanced(by: time)
        order(.commit(plan: plan.next.version.fingerprint, deadline: deadline), at: node, index)
        operators[index].pending = RingOperator.Pending(
            request: RequestID(rawValue: lastOrder), process: nodes[node].process!.id, due: now + Self.commitSlack,
            planned: plan.next.version)
    }

    // MARK: Answers

    func ringAnswered(_ request: RequestID, _ answer: RingAnswer, node: Int) {
        note(nodes[node].name, "answers an operator: \(describe(answer))")
        if isScripted { heard = describe(answer) }
        switch answer {
        case .committed(let version):
            report(
                ringChecker.checkCommitted(version) { member in
                    self.nodes.first { $0.id == member }?.store.ringRecord
                })
        case .lost(let version):
            if ringChecker.state(of: version) == nil {
                report(Violation(.wrongRing, "an operator lost to \(version), which nobody holds"))
            }
        case .staged, .plan, .indeterminate, .unreachable, .refused: break
        }
        guard let index = operators.firstIndex(where: { $0.pending?.request == request }),
            let pending = operators[index].pending
        else { return }
        operators[index].pending = nil
        switch answer {
        case .plan(let plan): if nodes[node].process != nil { commit(plan, at: node, index, time: Self.commitTime) }
        case .committed(let version):
            operators[index].committed += 1
            if pending.planned != version {
                report(Violation(.wrongRing, "\(version) is answered as committed, and was not asked for"))
            }
        case .lost(let version):
            operators[index].lost += 1
            if pending.planned == version {
                report(Violation(.wrongRing, "an operator is told that they lost to \(version), their own"))
            }
        case .staged, .indeterminate, .unreachable, .refused: break
        }
    }

    /// Whatever happens, an operator is told something while the node runs.
    private func checkAnswered(_ pending: RingOperator.Pending) {
        guard isRunning(pending.process), now >= pending.due else { return }
        report(Violation(.unanswered, "an operator's order at \(nodes[pending.process.node].name) is not answered"))
    }

    func ringStored(_ id: ProcessID, _ number: UInt64, _ record: RingRecord) {
        guard isRunning(id) else { return }
        if number > nodes[id.node].process!.control.ringStoredThrough {
            nodes[id.node].process!.control.ringStoredThrough = number
            nodes[id.node].store.store(record)
        }
        enqueueControl(.ringStored(number), node: id.node)
    }

    func ringInstalled(_ state: ClusterState, node: Int) {
        let phase = state.transition.map { ", \($0.phase)" } ?? ""
        coverage.noteInstalled(state)
        if state.version.outranks(newest.version) { noteAgreedExpiry() }
        note(nodes[node].name, "holds ring \(state.version)\(phase), members \(state.ring.members.map(name))")
        for (key, known) in leastCopies.enumerated() {
            let partition = plan.ringSize.partition(of: plan.keys[key].object.position)
            let copies = plan.buckets[plan.keys[key].bucket].copies
            leastCopies[key] = min(known, state.placement.leastCopies(of: partition, copies: copies))
        }
        if state.version == newest.version, !state.fenced.isEmpty { forgetFenced() }
        for lane in 0..<nodes[node].laneCount { enqueue(.ringChanged(state.placement), node: node, lane: lane) }
        if var found = ringChecker.installed(state, node: node) {
            found.message = "node \(nodes[node].name): " + found.message
            report(found)
        }
    }

    func checkVote(_ message: RingMessage, by node: Int) {
        if var found = ringChecker.check(message, durable: nodes[node].store.ringRecord) {
            found.message = "node \(nodes[node].name): " + found.message
            report(found)
        }
    }

    func ringObserved(_ observation: RingObservation, node: Int) {
        note(nodes[node].name, "observed \(observation)")
        switch observation {
        case .strayed(let other, let version), .forked(let other, let version):
            report(
                Violation(.wrongRing, "\(nodes[node].name) hears of \(version) from \(name(other)), not of its own"))
        case .proposed, .recovering, .forced, .fenced: break
        }
    }

    // MARK: At the end

    /// The newest ring that any node holds.
    private var newest: ClusterState { ringChecker.newest }

    /// Everybody but those that are fenced.
    var listened: [Int] { nodes.indices.filter { !newest.fenced.contains(nodes[$0].id) } }

    var members: [Int] { nodes.indices.filter { newest.contains(nodes[$0].id) } }

    /// The nodes that hold a key.
    func replicas(of key: Int) -> [Int] {
        let partition = plan.ringSize.partition(of: plan.keys[key].object.position)
        return newest.placement.holders(of: partition, copies: plan.buckets[plan.keys[key].bucket].copies)
            .map { id in nodes.firstIndex { $0.id == id }! }
    }

    var haveOneRing: Bool {
        let first = nodes[0].process?.control.machine.agreement.state.version
        return nodes.allSatisfy { node in
            guard let agreement = node.process?.control.machine.agreement else { return false }
            return agreement.state.version == first && agreement.isIdle && agreement.state.transition == nil
                && agreement.state.fencedOwners.isEmpty
        }
    }

    /// Everybody comes to hold the same ring, and nothing is left undecided.
    func awaitOneRing() {
        guard violation == nil else { return }
        advance(to: now + Self.agreementTime) { self.haveOneRing }
        guard violation == nil else { return }
        for index in operators.indices {
            if let pending = operators[index].pending { checkAnswered(pending) }
            operators[index].pending = nil
        }
        guard !haveOneRing, violation == nil else { return }
        let rings = nodes.map {
            "\($0.name): \($0.process.map { "\($0.control.machine.agreement.state.version)" } ?? "down")"
        }
        report(Violation(.wrongRing, "no one ring: \(rings.joined(separator: ", "))"))
    }

    /// With any one member down, a commit ends.
    func checkRings() {
        guard violation == nil, !operators.isEmpty else { return }
        awaitOneRing()
        guard violation == nil, let state = nodes[0].process?.control.machine.agreement.state,
            state.members.count >= 3
        else { return }
        let members = nodes.indices.filter { state.contains(nodes[$0].id) }
        let node = random.pick(members)
        let down = random.pick(members.filter { $0 != node })
        takeDown(down)
        order(.abort, at: node, 0)
        let strangers = strangers(to: state)
        if state.members.count > plan.fewestMembers {
            let leaver = random.pick(state.ring.members)
            order(.stage(random.chance(500) ? .leave(leaver) : .leave(nodes[down].id)), at: node, 0)
        } else if let stranger = strangers.first {
            order(.stage(.join(ClusterMember(claim: ClaimMember(node: stranger)))), at: node, 0)
        } else {
            bringBack(down)
            return
        }
        let before = operators[0].committed
        order(.plan, at: node, 0)
        operators[0].pending = RingOperator.Pending(
            request: RequestID(rawValue: lastOrder), process: nodes[node].process!.id, due: now + Self.commitSlack)
        advance(to: now + Self.commitSlack) { self.operators[0].pending == nil }
        guard violation == nil else { return }
        if operators[0].committed == before {
            report(
                Violation(
                    .wrongRing,
                    "a commit at \(nodes[node].name) does not come about, with only \(nodes[down].name) down"))
        }
        bringBack(down)
        awaitOneRing()
    }

    // MARK: Words

    func describe(_ order: RingOrder) -> String {
        switch order {
        case .stage(let change): "stage \(describe(change))"
        case .plan: "plan"
        case .commit(let plan, _): "commit \(plan.map { "\($0)" } ?? "whatever is staged")"
        case .abort: "abort"
        case .force(let dead): "force without \(dead.map(name))"
        }
    }

    private func describe(_ change: StagedChange) -> String {
        switch change {
        case .join(let member): "join of \(name(member.node))"
        case .leave(let node): "leave of \(name(node))"
        case .remove(let node): "removal of \(name(node))"
        case .replace(let node, let member): "\(name(member.node)) for \(name(node))"
        }
    }

    private func describe(_ answer: RingAnswer) -> String {
        switch answer {
        case .staged(let changes): "staged \(changes.map(describe))"
        case .plan(let plan): "plan \(plan.next.version), \(plan.moves.count) moves"
        case .committed(let version): "committed \(version)"
        case .lost(let version): "lost to \(version)"
        case .indeterminate(let reached, let needed): "indeterminate, \(reached) of \(needed)"
        case .unreachable(let reached, let needed): "unreachable, \(reached) of \(needed)"
        case .refused(let refusal): "refused: \(refusal)"
        }
    }

    func describe(_ message: RingMessage) -> String {
        let body =
            switch message.body {
            case .version: "version"
            case .prepare(let ballot): "prepare \(ballot)"
            case .promise(let ballot, let accepted):
                "promise \(ballot)\(accepted.map { ", accepted \($0.ballot) \($0.state.version)" } ?? "")"
            case .accept(let ballot, let state): "accept \(ballot) \(state.version)"
            case .accepted(let ballot): "accepted \(ballot)"
            case .refused(let ballot, let promised): "refused \(ballot) for \(promised)"
            case .decided(let state): "decided \(state.version)"
            case .report(let report): "report, \(report.pending) of \(report.total) to come"
            }
        return "ring \(message.version): \(body)"
    }
}
