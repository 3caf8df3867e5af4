// How the control loops of a cluster behave at sizes that no machine here can run: the production machines
// (`Control`, which holds `Membership`, `RingAgreement` and the bucket properties) of hundreds to thousands of
// nodes, over a network that delays and loses messages. Measures how long news takes to reach everybody, what it
// costs, and how often somebody is accused who is well.
//
//   start ─► rest (what it costs, false accusations) ─► trials (ClusterTrials.swift)
//
// Links stand throughout: a death is known by silence alone, as that of a process which hangs is. Messages are
// lost one by one, which is harder than what TCP does (late, or the whole link).

import NIOCore
import TorcModel
package import TorcReplication

package struct ClusterScale {
    /// Past it a piece of news counts as never known.
    private static let limitPeriods: UInt64 = 1_000
    private static let storeTime = Span.milliseconds(1)
    /// The clocks of nodes begin here, not at zero.
    static let firstInstant = Span.seconds(1)

    private enum Event {
        case deliver(from: Int, to: Int, PeerMessage)
        case tick(Int)
        case stored(Int, ControlEvent)
        /// Both sides are told of it.
        case link(Int, Int)
    }

    struct Node {
        let id: NodeID
        var control: Control
        var isUp = true
        /// What it has on disk.
        var incarnation = MembershipIncarnation.unheard
        /// What was sent to it.
        var receivedBytes = 0
        /// Its last change of properties, of the ring, was answered.
        var propertyAnsweredAt: VirtualTime?
        var ringAnsweredAt: VirtualTime?
        /// It learned of properties, of a ring.
        var propertyLearnedAt: VirtualTime?
        var ringLearnedAt: VirtualTime?
        fileprivate var scheduledTick: VirtualTime?

        init(id: NodeID, control: Control) {
            self.id = id
            self.control = control
        }
    }

    private enum Kind: Int, CaseIterable { case probe, exchange, properties, ring }

    let plan: ClusterScalePlan
    private let encodedBytes: (PeerMessage) -> Int
    var random: SeededGenerator
    private let genesis: ClusterState
    var nodes: [Node] = []
    private(set) var now = VirtualTime.zero
    private var queue = EventQueue<Event>()
    private var places: [NodeID: Int] = [:]
    private var sent = [(messages: Int, bytes: Int)](repeating: (0, 0), count: Kind.allCases.count)
    private var report = ClusterScaleReport(start: ClusterScaleReport.Spread(nodes: 0))

    /// `encodedBytes`: what a message takes on the wire, its frame included.
    package init(_ plan: ClusterScalePlan, encodedBytes: @escaping (PeerMessage) -> Int) {
        self.plan = plan
        self.encodedBytes = encodedBytes
        random = SeededGenerator(seed: plan.seed)
        var ids: [NodeID] = []
        while ids.count < plan.nodes {
            let id = NodeID(rawValue: random.next())
            if places[id] == nil {
                places[id] = ids.count
                ids.append(id)
            }
        }
        let table = PropertiesTable(
            (0..<plan.scopes).map { number in
                PropertiesEntry(
                    scope: Self.scope("bucket-\(number)"),
                    versioned: VersionedProperties(
                        properties: BucketProperties(), stamp: HybridTimestamp(rawValue: 1), setBy: ids[0]))
            })
        genesis = Self.genesis(of: ids, partitions: plan.partitions)
        for id in ids {
            let machine = control(id, stored: .unheard, patch: 0, table, RingRecord(state: genesis))
            nodes.append(Node(id: id, control: machine))
        }
    }

    // MARK: Nodes

    static func scope(_ bucket: String) -> PropertiesScope { .bucket(BucketID(name: ByteBuffer(string: bucket))) }

    private static func genesis(of members: [NodeID], partitions: Int) -> ClusterState {
        let claims = members.map { ClaimMember(node: $0) }
        guard let size = RingSize(partitions: partitions), let ring = try? Ring.declared(members: claims, size: size)
        else { preconditionFailure("no ring of \(partitions) partitions for \(members.count) nodes") }
        return ClusterState(declared: ring)
    }

    mutating func control(
        _ id: NodeID, stored: MembershipIncarnation, patch: UInt16, _ table: PropertiesTable, _ record: RingRecord
    ) -> Control {
        Control(
            node: id, laneCount: 1, incarnation: Incarnation(rawValue: random.next()), record: record, table: table,
            membership: MembershipStart(
                timing: MembershipTiming(period: plan.period.duration), stored: stored, facts: Self.facts(patch),
                seed: random.next()))
    }

    static func facts(_ patch: UInt16) -> MemberFacts {
        var facts = MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: patch), peerProtocol: 1)
        // Of a usual size.
        facts.operationsPerSecond = 20_000
        facts.diskUsedBytes = 50 << 30
        facts.diskFreeBytes = 400 << 30
        return facts
    }

    mutating func freshID() -> NodeID {
        while true {
            let id = NodeID(rawValue: random.next())
            if places[id] == nil { return id }
        }
    }

    mutating func add(_ node: Node) {
        places[node.id] = nodes.count
        nodes.append(node)
    }

    /// Its links stand at once, and the other sides are not told: what is measured is what nodes say.
    mutating func start(_ index: Int) {
        nodes[index].scheduledTick = nil
        nodes[index].isUp = true
        for other in nodes.indices where other != index { handle(.peerUp(nodes[other].id), at: index) }
        handle(.tick, at: index)
    }

    mutating func link(_ one: Int, _ other: Int, at time: VirtualTime) { queue.schedule(.link(one, other), at: time) }

    // MARK: A run

    package mutating func run() -> ClusterScaleReport {
        for index in nodes.indices { start(index) }
        report.start = spread(to: all()) { $0.control.membership.members.allSatisfy { $0.incarnation > .unheard } }
        rest()
        for number in 0..<plan.trials { report.trials.append(trial(UInt16(number + 1))) }
        report.nodePeriods = periods(from: .zero, to: now) * Double(nodes.count)
        return report
    }

    private mutating func rest() {
        // What the start had to tell has been told.
        wait(periods: 60)
        for kind in sent.indices { sent[kind] = (0, 0) }
        let began = now
        wait(periods: plan.restPeriods)
        let share = Double(nodes.count) * max(Double((now - began).nanoseconds) / 1e9, 1e-9)
        func traffic(_ kind: Kind) -> ClusterScaleReport.Traffic {
            let (messages, bytes) = sent[kind.rawValue]
            return ClusterScaleReport.Traffic(messages: Double(messages) / share, bytes: Double(bytes) / share)
        }
        report.probes = traffic(.probe)
        report.exchanges = traffic(.exchange)
        report.properties = traffic(.properties)
        report.rings = traffic(.ring)
    }

    mutating func wait(periods: UInt64) { advance(to: now + plan.period * periods) }

    func periods(from start: VirtualTime, to end: VirtualTime) -> Double {
        Double((end - start).nanoseconds) / Double(plan.period.nanoseconds)
    }

    /// A piece of news: who shall know it, and how one sees that somebody does.
    struct News {
        var nodes: [Int]
        var isKnown: (Node) -> Bool
    }

    func all(besides excepted: Int...) -> [Int] { nodes.indices.filter { !excepted.contains($0) } }

    /// Looks ten times a period how many know, until all do. What is measured began at `start`.
    mutating func spread(_ news: [News], since start: VirtualTime? = nil) -> [ClusterScaleReport.Spread] {
        let step = Span(nanoseconds: plan.period.nanoseconds / 10)
        let missed = start.map { Int((now - $0).nanoseconds / step.nanoseconds) } ?? 0
        var spreads = news.map { news in
            // Before anybody looked, nobody could know.
            ClusterScaleReport.Spread(known: [Int](repeating: 0, count: missed), nodes: news.nodes.count)
        }
        let limit = now + plan.period * Self.limitPeriods
        while true {
            for (place, news) in news.enumerated() where spreads[place].all == nil {
                spreads[place].known.append(news.nodes.count { news.isKnown(nodes[$0]) })
            }
            if now >= limit || spreads.allSatisfy({ $0.all != nil }) { return spreads }
            advance(to: now + step)
        }
    }

    mutating func spread(
        to nodes: [Int], isKnown: @escaping (Node) -> Bool
    ) -> ClusterScaleReport.Spread { spread([News(nodes: nodes, isKnown: isKnown)])[0] }

    // MARK: Events

    mutating func advance(to end: VirtualTime) {
        while let next = queue.nextTime, next <= end {
            let (time, event) = queue.next()!
            now = max(now, time)
            switch event {
            case .deliver(let from, let to, let message):
                if nodes[to].isUp { handle(.peer(from: nodes[from].id, message), at: to) }
            case .tick(let index):
                guard nodes[index].isUp, nodes[index].scheduledTick == now else { continue }
                nodes[index].scheduledTick = nil
                handle(.tick, at: index)
            case .stored(let index, let event):
                if case .membershipStored(let incarnation) = event {
                    nodes[index].incarnation = max(nodes[index].incarnation, incarnation)
                }
                if nodes[index].isUp { handle(event, at: index) }
            case .link(let one, let other):
                if nodes[one].isUp { handle(.peerUp(nodes[other].id), at: one) }
                if nodes[other].isUp { handle(.peerUp(nodes[one].id), at: other) }
            }
        }
        now = max(now, end)
    }

    mutating func handle(_ event: ControlEvent, at index: Int) {
        var effects: [ControlEffect] = []
        let monotonic = MonotonicTime(nanoseconds: (now + Self.firstInstant).nanoseconds)
        let wall = WallTime(microseconds: (now + Self.firstInstant).nanoseconds / 1_000)
        nodes[index].control.handle(event, now: Now(monotonic: monotonic, wall: wall), effects: &effects)
        for effect in effects {
            switch effect {
            case .storeMembershipIncarnation(let incarnation):
                queue.schedule(.stored(index, .membershipStored(incarnation)), at: now + Self.storeTime)
            case .storeProperties(let number, _):
                queue.schedule(.stored(index, .propertiesStored(number)), at: now + Self.storeTime)
            case .send(let message, let target):
                if let place = places[target] { send(message, from: index, to: place) }
            case .storeRing(let number, _):
                queue.schedule(.stored(index, .ringStored(number)), at: now + Self.storeTime)
            case .answer(_, .stored): nodes[index].propertyAnsweredAt = now
            case .answerRing(_, .committed): nodes[index].ringAnsweredAt = now
            case .propertiesChanged: nodes[index].propertyLearnedAt = now
            case .ringInstalled(let state): installed(state, at: index)
            case .observed(let observation): note(observation, by: nodes[index].id)
            default: break
            }
        }
        guard let deadline = nodes[index].control.nextDeadline else { return }
        let due = max(VirtualTime(nanoseconds: deadline.nanoseconds - Self.firstInstant.nanoseconds), now)
        if let scheduled = nodes[index].scheduledTick, scheduled <= due { return }
        nodes[index].scheduledTick = due
        queue.schedule(.tick(index), at: due)
    }

    /// As a lane with no records does: what a move is to bring has come.
    private mutating func installed(_ state: ClusterState, at index: Int) {
        nodes[index].ringLearnedAt = now
        guard state.placement.phase != .settled else { return }
        let progress = LaneProgress(placement: state.placement.fingerprint, report: HandoffReport())
        handle(.progress(lane: 0, progress), at: index)
    }

    private mutating func note(_ observation: MembershipObservation, by node: NodeID) {
        switch observation {
        case .suspected(let accused, let accuser) where accuser == node:
            if isUp(accused) { report.falseSuspicions += 1 }
        case .died(let accused, let accuser) where accuser == node:
            if isUp(accused) { report.falseDeaths += 1 }
        default: break
        }
    }

    private func isUp(_ node: NodeID) -> Bool { places[node].map { nodes[$0].isUp } ?? false }

    private mutating func send(_ message: PeerMessage, from: Int, to: Int) {
        let kind: Kind
        switch message {
        case .membership(let membership):
            if case .exchange = membership.body { kind = .exchange } else { kind = .probe }
        case .ring: kind = .ring
        default: kind = .properties
        }
        let length = encodedBytes(message)
        sent[kind.rawValue].messages += 1
        sent[kind.rawValue].bytes += length
        nodes[to].receivedBytes += length
        report.largestMessageBytes = max(report.largestMessageBytes, length)
        if random.chance(plan.lossPerMille) { return }
        queue.schedule(.deliver(from: from, to: to, message), at: now + random.span(plan.delay))
    }
}
