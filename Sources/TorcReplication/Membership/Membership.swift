// Who is there: SWIM (Das, Gupta, Motivala, 2002) with Lifeguard (Dadgar, Phillips, Currey, 2018).
//
//   alive ──no answer, not through others either──► suspect ──time is up──► dead
//     ▲                                               │                     │
//     └──────── a higher incarnation, from the member itself ───────────────┘
//
// Each period a node pings a few members in shuffled turn. Who does not answer is pinged through others; who
// does not answer them either is suspected, and has a time to refute that shrinks as others confirm. News goes
// along with the pings and their answers, so it costs no messages of its own, and every now and then two nodes
// exchange all they know. Who is suspect or dead is routed around and owns what it owned.
//
// A failure detector is wrong mostly about itself: the node that did not run for a second misses everybody's
// answers. So whoever misses more than it should gets slower (`doubt`), whoever sees its own timers late
// judges nobody by what it missed, and whoever is suspected is told so in every message to it.
//
// Invariants:
// - An incarnation is told only when it is on disk, so no two processes of a node tell the same one.
// - What is held of a member only rises, by (incarnation, state).
// - What is kept is in proportion to the number of members; messages are bounded by constants.
// - Only the monotonic clock is looked at.
//
// Departures from the papers are in docs/PROTOCOL.md.

import OrderedCollections
package import TorcModel

package struct Membership: Sendable {
    /// A member that was pinged and has not answered.
    private struct Probe: Sendable {
        var target: NodeID
        /// When others are asked; nil: they were.
        var indirectAt: MonotonicTime?
        var deadline: MonotonicTime
        var helpers: [NodeID] = []
        var nacks: [NodeID] = []
    }

    /// A ping for somebody else.
    private struct Relay: Sendable {
        var requester: NodeID
        var sequence: UInt64
        var target: NodeID
        var deadline: MonotonicTime
    }

    private struct Suspicion: Sendable {
        var since: MonotonicTime
        var deadline: MonotonicTime
        /// Different ones, in the order in which they were heard; no more than count.
        var accusers: [NodeID]
    }

    package let node: NodeID
    private let timing: MembershipTiming
    private var generator: SeededGenerator
    private var table: MemberTable
    private var linked: Set<NodeID> = []
    private var gossip = GossipQueue()

    /// What may be told of this node; nil: nothing yet, so nothing is said at all.
    package private(set) var incarnation: MembershipIncarnation?
    /// On its way to the disk.
    private var storing: MembershipIncarnation?
    private let lastStored: MembershipIncarnation
    private var facts: MemberFacts

    private var probes: OrderedDictionary<UInt64, Probe> = [:]
    private var relays: OrderedDictionary<UInt64, Relay> = [:]
    private var suspicions: OrderedDictionary<NodeID, Suspicion> = [:]
    private var lastSequence: UInt64
    /// The order of the probes, and who is next.
    private var order: [NodeID] = []
    private var nextInOrder = 0
    private var nextKnock = 0
    private var hasExchanged = false
    /// Reason to doubt this node's own judgement: 0…`maximumDoubt` (Lifeguard's local health multiplier).
    package private(set) var doubt = 0

    private var nextPeriod: MonotonicTime?
    private var nextExchange = MonotonicTime.zero
    /// As it was told last.
    private var routed: [NodeID] = []
    private var routingMayDiffer = false

    package init(node: NodeID, members: [NodeID], start: MembershipStart) {
        self.node = node
        timing = start.timing
        lastStored = start.stored
        facts = start.facts
        generator = SeededGenerator(seed: start.seed)
        table = MemberTable(members, without: node)
        // Elsewhere in each process: an answer to the last one finds nothing.
        lastSequence = generator.next() >> 16
    }

    /// When `.tick` is due; nil before the first event.
    package var nextDeadline: MonotonicTime? {
        guard let nextPeriod else { return nil }
        var earliest = min(nextPeriod, nextExchange)
        for probe in probes.values { earliest = min(earliest, probe.indirectAt ?? probe.deadline) }
        for relay in relays.values { earliest = min(earliest, relay.deadline) }
        for suspicion in suspicions.values { earliest = min(earliest, suspicion.deadline) }
        return earliest
    }

    // MARK: Views

    /// The other members, ascending.
    package var members: [Member] { table.members }

    package func member(_ node: NodeID) -> Member? { table[node] }

    /// Pings of its own that are not answered.
    package var hasOpenProbes: Bool { !probes.isEmpty }

    /// All members, this node among them, ascending.
    package var statuses: [MemberStatus] {
        var statuses = table.members.map { member in
            MemberStatus(
                node: member.node, state: member.state, incarnation: member.incarnation, isSelf: false,
                isLinked: linked.contains(member.node), facts: member.facts)
        }
        statuses.append(
            MemberStatus(
                node: node, state: .alive, incarnation: incarnation ?? .unheard, isSelf: true, isLinked: true,
                facts: facts))
        return statuses.sorted { $0.node < $1.node }
    }

    // MARK: Events

    package mutating func handle(
        _ event: MembershipEvent, now: MonotonicTime, effects: inout [MembershipEffect]
    ) {
        if nextPeriod == nil { begin(now, &effects) }
        noticeOwnPause(now, &effects)
        switch event {
        case .message(let peer, let message): receive(message, from: peer, now, &effects)
        case .peerUp(let peer): peerUp(peer, now, &effects)
        case .peerDown(let peer): linked.remove(peer)
        case .membersChanged(let nodes): membersChanged(nodes)
        case .stored(let incarnation): stored(incarnation, now, &effects)
        case .facts(let facts): tell(facts)
        case .tick: tick(now, &effects)
        }
        tellRouting(&effects)
    }

    private mutating func begin(_ now: MonotonicTime, _ effects: inout [MembershipEffect]) {
        // Spread over the first period, so that nodes that start together do not ping together.
        let fraction = Int(truncatingIfNeeded: generator.next() % 1_000)
        nextPeriod = now.advanced(by: timing.period * fraction / 1_000)
        nextExchange = now.advanced(
            by: timing.exchangeInterval(members: memberCount) * (1_000 + fraction) / 2_000)
        raise(to: lastStored.next, &effects)
    }

    private mutating func membersChanged(_ nodes: [NodeID]) {
        table.keep(nodes, without: node)
        gossip.keep { table.place(of: $0) != nil }
        probes = probes.filter { table.place(of: $0.value.target) != nil }
        suspicions = suspicions.filter { table.place(of: $0.key) != nil }
        order = []
        nextInOrder = 0
        routingMayDiffer = true
    }

    private mutating func tell(_ news: MemberFacts) {
        let sequence = facts.sequence + 1
        facts = news
        facts.sequence = sequence
    }

    private mutating func peerUp(_ peer: NodeID, _ now: MonotonicTime, _ effects: inout [MembershipEffect]) {
        linked.insert(peer)
        guard incarnation != nil, table.place(of: peer) != nil else { return }
        // Says that this node is there, and, if need be, what it thinks of the other.
        send(.ping, drawSequence(), to: peer, &effects)
        if !hasExchanged { exchange(with: peer, asks: true, &effects) }
    }

    // MARK: Messages

    private mutating func receive(
        _ message: MembershipMessage, from peer: NodeID, _ now: MonotonicTime, _ effects: inout [MembershipEffect]
    ) {
        guard table.place(of: peer) != nil else { return }
        consider(
            MemberClaim(node: peer, incarnation: message.incarnation, content: .alive(message.facts)), now, &effects)
        for claim in message.claims { consider(claim, now, &effects) }
        // What could be answered would tell an incarnation that is not stored yet.
        guard incarnation != nil else { return }
        switch message.body {
        case .ping: send(.ack, message.sequence, to: peer, &effects)
        case .pingRequest(let target): relay(message.sequence, target, for: peer, now, &effects)
        case .ack: acknowledged(message.sequence, by: peer, &effects)
        case .nack:
            guard let probe = probes[message.sequence], probe.helpers.contains(peer), !probe.nacks.contains(peer)
            else { return }
            probes[message.sequence]!.nacks.append(peer)
        case .exchange(let asks):
            hasExchanged = true
            if asks { exchange(with: peer, asks: false, &effects) }
        }
    }

    private mutating func relay(
        _ sequence: UInt64, _ target: NodeID, for requester: NodeID, _ now: MonotonicTime,
        _ effects: inout [MembershipEffect]
    ) {
        guard target != node, table.place(of: target) != nil, linked.contains(target) else {
            send(target == node ? .ack : .nack, sequence, to: requester, &effects)
            return
        }
        guard relays.count < MembershipTiming.maximumRelays else { return }
        let own = drawSequence()
        relays[own] = Relay(
            requester: requester, sequence: sequence, target: target,
            deadline: now.advanced(by: timing.directTimeout))
        send(.ping, own, to: target, &effects)
    }

    private mutating func acknowledged(_ sequence: UInt64, by peer: NodeID, _ effects: inout [MembershipEffect]) {
        if let relay = relays[sequence], relay.target == peer {
            relays[sequence] = nil
            send(.ack, relay.sequence, to: relay.requester, &effects)
        } else if let probe = probes[sequence], probe.target == peer || probe.helpers.contains(peer) {
            probes[sequence] = nil
            trust()
        }
    }

    // MARK: Claims

    private mutating func consider(
        _ claim: MemberClaim, _ now: MonotonicTime, _ effects: inout [MembershipEffect]
    ) {
        guard claim.incarnation <= .maximum else { return }
        if claim.node == node { return considerOwn(claim, &effects) }
        if case .suspect(let accuser) = claim.content { confirm(claim, by: accuser, now) }
        let change = table.merge(claim)
        switch change {
        case .none, .facts: return
        case .news: break
        case .renewed: forgive(claim.node)
        case .returned:
            forgive(claim.node)
            routingMayDiffer = true
            effects.append(.observed(.returned(claim.node)))
        case .suspected:
            guard case .suspect(let accuser) = claim.content else { return }
            routingMayDiffer = true
            suspicions[claim.node] = Suspicion(
                since: now, deadline: now.advanced(by: timing.suspicion(members: memberCount, confirmations: 0)),
                accusers: [accuser])
            effects.append(.observed(.suspected(claim.node, by: accuser)))
        case .died:
            guard case .dead(let accuser) = claim.content else { return }
            forgive(claim.node)
            routingMayDiffer = true
            effects.append(.observed(.died(claim.node, by: accuser)))
        }
        gossip.add(claim.node)
    }

    /// What was held against it belongs to its past: a ping that it did not answer then says nothing of it now.
    private mutating func forgive(_ node: NodeID) {
        suspicions[node] = nil
        probes = probes.filter { $0.value.target != node }
    }

    /// One more who got no answer, in the same incarnation: the suspicion is told on and gets shorter.
    private mutating func confirm(_ claim: MemberClaim, by accuser: NodeID, _ now: MonotonicTime) {
        guard let member = table[claim.node], member.state == .suspect, member.incarnation == claim.incarnation,
            var suspicion = suspicions[claim.node], !suspicion.accusers.contains(accuser), accuser != claim.node,
            suspicion.accusers.count <= MembershipTiming.confirmations(members: memberCount)
        else { return }
        suspicion.accusers.append(accuser)
        suspicion.deadline = suspicion.since.advanced(
            by: timing.suspicion(members: memberCount, confirmations: suspicion.accusers.count - 1))
        suspicions[claim.node] = suspicion
        table.confirm(claim.node, by: accuser)
        gossip.add(claim.node)
    }

    /// What others say of this node. It contradicts in a higher incarnation; also one that it never told, or has
    /// forgotten: its data folder is an old copy.
    private mutating func considerOwn(_ claim: MemberClaim, _ effects: inout [MembershipEffect]) {
        let told = incarnation ?? .unheard
        if let storing, claim.incarnation < storing { return }
        switch claim.content {
        case .alive: guard claim.incarnation > told else { return }
        case .suspect, .dead: guard claim.incarnation >= told else { return }
        }
        guard claim.incarnation < .maximum else { return }
        if claim.state != .alive {
            hesitate(by: 1)
            if Mutation.refuteInSameIncarnation.isActive { return }
            effects.append(.observed(.refuted(claim.incarnation.next)))
        }
        raise(to: claim.incarnation.next, &effects)
    }

    private mutating func raise(to next: MembershipIncarnation, _ effects: inout [MembershipEffect]) {
        storing = next
        if Mutation.tellUnstoredIncarnation.isActive { incarnation = next }
        effects.append(.store(next))
    }

    private mutating func stored(
        _ stored: MembershipIncarnation, _ now: MonotonicTime, _ effects: inout [MembershipEffect]
    ) {
        if storing == stored { storing = nil }
        guard stored > incarnation ?? .unheard || Mutation.tellUnstoredIncarnation.isActive else { return }
        let isFirst = incarnation == nil
        incarnation = stored
        var peers = linkedMembers { _ in true }
        if isFirst, let peer = peers.first { exchange(with: peer, asks: true, &effects) }
        for _ in 0..<MembershipTiming.announcements where !peers.isEmpty {
            send(.ping, drawSequence(), to: peers.removeFirst(), &effects)
        }
    }

    // MARK: Time

    /// The earliest timer is late: this node did not run. Whatever was due meanwhile proves nothing about others,
    /// whose answers may wait behind this event; and who was suspected had no chance to be heard.
    private mutating func noticeOwnPause(_ now: MonotonicTime, _ effects: inout [MembershipEffect]) {
        guard let due = nextDeadline, let period = nextPeriod else { return }
        let late = now.duration(since: due)
        guard late > timing.lateness, !Mutation.judgeAfterOwnPause.isActive else { return }
        effects.append(.observed(.paused(late)))
        hesitate(by: 1)
        probes.removeAll()
        relays.removeAll()
        for (suspect, suspicion) in suspicions {
            suspicions[suspect]!.since = suspicion.since.advanced(by: late)
            suspicions[suspect]!.deadline = suspicion.deadline.advanced(by: late)
        }
        nextPeriod = max(period, now.advanced(by: timing.directTimeout))
        nextExchange = max(nextExchange, now.advanced(by: timing.period))
    }

    private mutating func tick(_ now: MonotonicTime, _ effects: inout [MembershipEffect]) {
        for (sequence, relay) in relays where relay.deadline <= now {
            relays[sequence] = nil
            send(.nack, relay.sequence, to: relay.requester, &effects)
        }
        for (sequence, probe) in probes {
            if probe.deadline <= now {
                probes[sequence] = nil
                unanswered(probe, now, &effects)
            } else if let due = probe.indirectAt, due <= now {
                askOthers(sequence, &effects)
            }
        }
        for (suspect, suspicion) in suspicions where suspicion.deadline <= now {
            if Mutation.suspicionNeverEnds.isActive {
                suspicions[suspect]!.deadline = now.advanced(by: timing.period)
                continue
            }
            guard let member = table[suspect] else { continue }
            consider(
                MemberClaim(node: suspect, incarnation: member.incarnation, content: .dead(by: node)), now, &effects)
        }
        if let due = nextPeriod, due <= now { beginPeriod(now, &effects) }
        if nextExchange <= now {
            nextExchange = now.advanced(by: timing.exchangeInterval(members: memberCount))
            if incarnation != nil, let peer = linkedMembers({ _ in true }).first {
                exchange(with: peer, asks: true, &effects)
            }
        }
    }

    private mutating func beginPeriod(_ now: MonotonicTime, _ effects: inout [MembershipEffect]) {
        nextPeriod = now.advanced(by: slowed(timing.period))
        guard incarnation != nil else { return }
        knock(&effects)
        let targets = nextTargets()
        if targets.isEmpty { trust() }
        for target in targets {
            let sequence = drawSequence()
            let isLinked = linked.contains(target)
            probes[sequence] = Probe(
                target: target, indirectAt: isLinked ? now.advanced(by: slowed(timing.directTimeout)) : now,
                deadline: now.advanced(by: slowed(timing.period)))
            if isLinked { send(.ping, sequence, to: target, &effects) } else { askOthers(sequence, &effects) }
        }
    }

    /// One that is held dead and whose link stands is told so each period: it may be alive, and think the same
    /// of this node.
    private mutating func knock(_ effects: inout [MembershipEffect]) {
        let dead = table.members.filter { $0.state == .dead && linked.contains($0.node) }
        guard !dead.isEmpty else { return }
        nextKnock = (nextKnock + 1) % dead.count
        send(.ping, drawSequence(), to: dead[nextKnock].node, &effects)
    }

    /// In turn, each member once before any comes twice, in another order each time: nobody waits longer than two
    /// rounds, and it cannot be told who is next.
    private mutating func nextTargets() -> [NodeID] {
        var targets: [NodeID] = []
        for _ in 0..<table.count where targets.count < MembershipTiming.probesInPeriod {
            if nextInOrder >= order.count {
                order = table.members.map(\.node)
                order.shuffle(using: &generator)
                nextInOrder = 0
            }
            let candidate = order[nextInOrder]
            nextInOrder += 1
            guard table[candidate]?.state != .dead, !targets.contains(candidate),
                !probes.values.contains(where: { $0.target == candidate })
            else { continue }
            targets.append(candidate)
        }
        return targets
    }

    private mutating func askOthers(_ sequence: UInt64, _ effects: inout [MembershipEffect]) {
        guard let target = probes[sequence]?.target else { return }
        let helpers = linkedMembers { $0.state == .alive && $0.node != target }.prefix(MembershipTiming.helpers)
        probes[sequence]!.indirectAt = nil
        probes[sequence]!.helpers = Array(helpers)
        for helper in helpers { send(.pingRequest(target), sequence, to: helper, &effects) }
    }

    /// Nobody got an answer. A helper that did not even say so is as silent as the member: then the fault may be
    /// this node's.
    private mutating func unanswered(
        _ probe: Probe, _ now: MonotonicTime, _ effects: inout [MembershipEffect]
    ) {
        hesitate(by: probe.helpers.isEmpty ? 1 : probe.helpers.count - probe.nacks.count)
        guard let member = table[probe.target], member.state != .dead else { return }
        consider(
            MemberClaim(node: probe.target, incarnation: member.incarnation, content: .suspect(by: node)), now,
            &effects)
    }

    private mutating func hesitate(by points: Int) { doubt = min(doubt + points, MembershipTiming.maximumDoubt) }
    private mutating func trust() { doubt = max(doubt - 1, 0) }
    private func slowed(_ duration: Duration) -> Duration { duration * (doubt + 1) }

    // MARK: Effects

    private var memberCount: Int { table.count + 1 }

    private mutating func drawSequence() -> UInt64 {
        lastSequence += 1
        return lastSequence
    }

    /// Those with a link that are wanted, in random order.
    private mutating func linkedMembers(_ isWanted: (Member) -> Bool) -> [NodeID] {
        var nodes: [NodeID] = []
        for member in table.members where linked.contains(member.node) && isWanted(member) { nodes.append(member.node) }
        nodes.shuffle(using: &generator)
        return nodes
    }

    /// With what this node thinks of the receiver, if that is bad, and the news that has been told least.
    private mutating func send(
        _ body: MembershipMessage.Body, _ sequence: UInt64, to peer: NodeID, _ effects: inout [MembershipEffect]
    ) {
        guard incarnation != nil else { return }
        var claims: [MemberClaim] = []
        if let member = table[peer], member.state != .alive, let claim = table.claim(about: peer) {
            claims.append(claim)
        }
        let news = gossip.take(
            MembershipTiming.claimsInMessage - claims.count, besides: peer,
            limit: MembershipTiming.transmissions(members: memberCount))
        for name in news {
            if let claim = table.claim(about: name) { claims.append(claim) }
        }
        append(body, sequence, claims, to: peer, &effects)
    }

    private mutating func exchange(with peer: NodeID, asks: Bool, _ effects: inout [MembershipEffect]) {
        guard incarnation != nil else { return }
        let claims = table.members.compactMap { table.claim(about: $0.node) }
        let sequence = drawSequence()
        var start = 0
        repeat {
            let end = min(start + MembershipMessage.maximumClaims, claims.count)
            append(
                .exchange(asks: asks && end == claims.count), sequence, Array(claims[start..<end]), to: peer, &effects)
            start = end
        } while start < claims.count
    }

    private func append(
        _ body: MembershipMessage.Body, _ sequence: UInt64, _ claims: [MemberClaim], to peer: NodeID,
        _ effects: inout [MembershipEffect]
    ) {
        let message = MembershipMessage(
            sequence: sequence, body: body, incarnation: incarnation!, facts: facts, claims: claims)
        effects.append(.send(message, to: peer))
    }

    private mutating func tellRouting(_ effects: inout [MembershipEffect]) {
        guard routingMayDiffer else { return }
        routingMayDiffer = false
        let suspected = table.members.filter { $0.state != .alive }.map(\.node)
        guard suspected != routed else { return }
        routed = suspected
        effects.append(.routing(suspected: suspected))
    }
}
