// How the membership behaves at sizes that no machine here can run: its pure machines alone, hundreds to a
// thousand of them, over a network that delays and loses messages. Measures how long news takes to reach
// everybody, what it costs, and how often somebody is accused who is well.
//
//   start ─► rest (what it costs, false accusations) ─► trials: a death, its return, a new build
//
// Times are counted in protocol periods. The links stand throughout: a death is known by silence alone, as that
// of a process which hangs is.

import NIOCore
import TorcModel
import TorcReplication

/// What a run was told to do.
package struct MembershipScalePlan: Sendable {
    package var nodes: Int
    /// Messages that are lost, in a thousand.
    package var lossPerMille: Int
    package var period = Span.milliseconds(500)
    package var delay = Span.microseconds(200)...Span.milliseconds(2)
    package var restPeriods: UInt64 = 120
    package var trials = 5
    package var seed: UInt64 = 1

    package init(nodes: Int, lossPerMille: Int) {
        self.nodes = nodes
        self.lossPerMille = lossPerMille
    }
}

/// Times in periods; nil: not within the limit.
package struct MembershipScaleReport: Sendable {
    package struct Trial: Sendable {
        package var suspectedByOne: Double?
        package var suspectedByAll: Double?
        package var deadForAll: Double?
        package var returnedForAll: Double?
        package var buildKnownToAll: Double?
    }

    package var allKnowAll: Double?
    package var messagesPerNodeAndSecond = 0.0
    package var bytesPerNodeAndSecond = 0.0
    package var largestMessageBytes = 0
    package var falseSuspicions = 0
    package var falseDeaths = 0
    package var trials: [Trial] = []
}

package struct MembershipScale {
    private static let limitPeriods: UInt64 = 1_000

    private enum Event {
        case deliver(from: Int, to: Int, MembershipMessage)
        case tick(Int)
        case stored(Int, MembershipIncarnation)
    }

    private struct Node {
        let id: NodeID
        var machine: Membership
        var isUp = true
        var stored = MembershipIncarnation.unheard
        var scheduledTick: VirtualTime?
    }

    private let plan: MembershipScalePlan
    private var random: SeededGenerator
    private var queue = EventQueue<Event>()
    private var now = VirtualTime.zero
    private var nodes: [Node] = []
    private var places: [NodeID: Int] = [:]
    private var report = MembershipScaleReport()
    private var messages = 0
    private var bytes = 0
    private var suspectedOnce: Set<NodeID> = []
    private var buffer = ByteBuffer()

    package init(_ plan: MembershipScalePlan) {
        self.plan = plan
        random = SeededGenerator(seed: plan.seed)
        var ids: [NodeID] = []
        while ids.count < plan.nodes {
            let id = NodeID(rawValue: random.next())
            if places[id] == nil {
                places[id] = ids.count
                ids.append(id)
            }
        }
        nodes = ids.map { id in
            Node(id: id, machine: Self.machine(id, ids, .unheard, patch: 0, plan, seed: random.next()))
        }
    }

    private static func machine(
        _ id: NodeID, _ all: [NodeID], _ stored: MembershipIncarnation, patch: UInt16, _ plan: MembershipScalePlan,
        seed: UInt64
    ) -> Membership {
        Membership(
            node: id, members: all,
            start: MembershipStart(
                timing: MembershipTiming(period: plan.period.duration), stored: stored, facts: facts(patch), seed: seed)
        )
    }

    private static func facts(_ patch: UInt16) -> MemberFacts {
        var facts = MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: patch), peerProtocol: 1)
        // Of a usual size.
        facts.operationsPerSecond = 20_000
        facts.diskUsedBytes = 50 << 30
        facts.diskFreeBytes = 400 << 30
        return facts
    }

    // MARK: A run

    package mutating func run() -> MembershipScaleReport {
        for index in nodes.indices { start(index) }
        report.allKnowAll = periods { scale in
            scale.nodes.allSatisfy { node in node.machine.members.allSatisfy { $0.incarnation > .unheard } }
        }
        rest()
        for number in 0..<plan.trials { report.trials.append(trial(UInt16(number + 1))) }
        return report
    }

    private mutating func rest() {
        // What the start had to tell has been told.
        advance(to: now + plan.period * 60)
        messages = 0
        bytes = 0
        let began = now
        advance(to: now + plan.period * plan.restPeriods)
        let seconds = Double((now - began).nanoseconds) / 1e9
        report.messagesPerNodeAndSecond = Double(messages) / Double(nodes.count) / seconds
        report.bytesPerNodeAndSecond = Double(bytes) / Double(nodes.count) / seconds
    }

    private mutating func trial(_ number: UInt16) -> MembershipScaleReport.Trial {
        var trial = MembershipScaleReport.Trial()
        let victim = random.below(nodes.count)
        let name = nodes[victim].id
        nodes[victim].isUp = false
        suspectedOnce.remove(name)
        func seen(_ isSo: @escaping (MemberState) -> Bool) -> (MembershipScale) -> Bool {
            { scale in
                scale.nodes.allSatisfy { node in node.id == name || isSo(node.machine.member(name)!.state) }
            }
        }
        let began = now
        trial.suspectedByOne = periods { $0.suspectedOnce.contains(name) }
        trial.suspectedByAll = periods(since: began, until: seen { $0 != .alive })
        trial.deadForAll = periods(since: began, until: seen { $0 == .dead })
        let all = nodes.map(\.id)
        nodes[victim].machine = Self.machine(
            name, all, nodes[victim].stored, patch: number, plan, seed: random.next())
        nodes[victim].isUp = true
        start(victim)
        trial.returnedForAll = periods(until: seen { $0 == .alive })
        advance(to: now + plan.period * 20)

        let changed = random.below(nodes.count)
        let other = nodes[changed].id
        let patch = 100 + number
        handle(.facts(Self.facts(patch)), at: changed)
        trial.buildKnownToAll = periods { scale in
            scale.nodes.allSatisfy { node in
                node.id == other || node.machine.member(other)!.facts?.build.patch == patch
            }
        }
        advance(to: now + plan.period * 20)
        return trial
    }

    /// The time until a condition holds, looked at ten times a period.
    private mutating func periods(
        since start: VirtualTime? = nil, until condition: (MembershipScale) -> Bool
    ) -> Double? {
        let began = start ?? now
        let limit = now + plan.period * Self.limitPeriods
        let step = Span(nanoseconds: plan.period.nanoseconds / 10)
        while !condition(self) {
            if now >= limit { return nil }
            advance(to: now + step)
        }
        return Double((now - began).nanoseconds) / Double(plan.period.nanoseconds)
    }

    // MARK: Events

    private mutating func start(_ index: Int) {
        nodes[index].scheduledTick = nil
        for other in nodes.indices where other != index { handle(.peerUp(nodes[other].id), at: index) }
        handle(.tick, at: index)
    }

    private mutating func advance(to end: VirtualTime) {
        while let next = queue.nextTime, next <= end {
            let (time, event) = queue.next()!
            now = max(now, time)
            switch event {
            case .deliver(let from, let to, let message):
                if nodes[to].isUp { handle(.message(from: nodes[from].id, message), at: to) }
            case .tick(let index):
                guard nodes[index].isUp, nodes[index].scheduledTick == now else { continue }
                nodes[index].scheduledTick = nil
                handle(.tick, at: index)
            case .stored(let index, let incarnation):
                nodes[index].stored = max(nodes[index].stored, incarnation)
                if nodes[index].isUp { handle(.stored(incarnation), at: index) }
            }
        }
        now = max(now, end)
    }

    private mutating func handle(_ event: MembershipEvent, at index: Int) {
        var effects: [MembershipEffect] = []
        nodes[index].machine.handle(
            event, now: MonotonicTime(nanoseconds: now.nanoseconds + 1_000_000_000), effects: &effects)
        for effect in effects {
            switch effect {
            case .store(let incarnation):
                queue.schedule(.stored(index, incarnation), at: now + .milliseconds(1))
            case .send(let message, let target): send(message, from: index, to: places[target]!)
            case .routing: break
            case .observed(let observation): note(observation, by: nodes[index].id)
            }
        }
        guard let deadline = nodes[index].machine.nextDeadline else { return }
        let due = max(VirtualTime(nanoseconds: deadline.nanoseconds - 1_000_000_000), now)
        if let scheduled = nodes[index].scheduledTick, scheduled <= due { return }
        nodes[index].scheduledTick = due
        queue.schedule(.tick(index), at: due)
    }

    private mutating func note(_ observation: MembershipObservation, by node: NodeID) {
        switch observation {
        case .suspected(let accused, let accuser) where accuser == node:
            if nodes[places[accused]!].isUp { report.falseSuspicions += 1 } else { suspectedOnce.insert(accused) }
        case .died(let accused, let accuser) where accuser == node:
            if nodes[places[accused]!].isUp { report.falseDeaths += 1 }
        default: break
        }
    }

    private mutating func send(_ message: MembershipMessage, from: Int, to: Int) {
        buffer.clear()
        message.encode(into: &buffer)
        // With its kind and sequence.
        let length = buffer.readableBytes + 9
        messages += 1
        bytes += length
        report.largestMessageBytes = max(report.largestMessageBytes, length)
        if random.chance(plan.lossPerMille) { return }
        queue.schedule(.deliver(from: from, to: to, message), at: now + random.span(plan.delay))
    }
}
