// A conversation with one membership machine: node 1, its peers 2, 3 …, and a clock that moves when it is told to.

package import TorcModel
package import TorcReplication

package struct MembershipDialogue {
    package var machine: Membership
    package var now = MonotonicTime(nanoseconds: 1_000_000_000)
    package let timing: MembershipTiming
    /// The effects of the last event.
    package private(set) var effects: [MembershipEffect] = []

    package static func facts(_ patch: UInt16 = 1) -> MemberFacts {
        MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: patch), peerProtocol: 1)
    }

    /// `isStarted`: its first incarnation is stored, and every peer is linked.
    package init(members: Int = 3, stored: UInt64 = 0, period: Duration = .seconds(1), isStarted: Bool = true) {
        timing = MembershipTiming(period: period)
        machine = Membership(
            node: NodeID(rawValue: 1), members: (1...members).map { NodeID(rawValue: UInt64($0)) },
            start: MembershipStart(
                timing: timing, stored: MembershipIncarnation(rawValue: stored), facts: Self.facts(), seed: 7))
        guard isStarted else { return }
        handle(.tick)
        for peer in 2...max(members, 2) where peer <= members { handle(.peerUp(NodeID(rawValue: UInt64(peer)))) }
        handle(.stored(MembershipIncarnation(rawValue: stored + 1)))
    }

    @discardableResult
    package mutating func handle(_ event: MembershipEvent) -> [MembershipEffect] {
        effects = []
        machine.handle(event, now: now, effects: &effects)
        return effects
    }

    /// A message of a peer that is well.
    @discardableResult
    package mutating func hear(
        from peer: UInt64, _ body: MembershipMessage.Body = .ack, sequence: UInt64 = 0, incarnation: UInt64 = 1,
        facts: MemberFacts = facts(), saying claims: [MemberClaim] = []
    ) -> [MembershipEffect] {
        handle(
            .message(
                from: NodeID(rawValue: peer),
                MembershipMessage(
                    sequence: sequence, body: body, incarnation: MembershipIncarnation(rawValue: incarnation),
                    facts: facts, claims: claims)))
    }

    /// Ticks when each timer is due, up to so long from now. Peers for whom `answers` holds answer their pings.
    @discardableResult
    package mutating func pass(_ time: Duration, answers: (UInt64) -> Bool = { _ in false }) -> [MembershipEffect] {
        var all: [MembershipEffect] = []
        let end = now.advanced(by: time)
        while let due = machine.nextDeadline, due <= end {
            now = max(now, due)
            let made = handle(.tick)
            all += made
            for (message, peer) in made.sent where answers(peer) {
                switch message.body {
                case .ping: all += hear(from: peer, .ack, sequence: message.sequence)
                case .pingRequest: all += hear(from: peer, .nack, sequence: message.sequence)
                case .ack, .nack, .exchange: break
                }
            }
        }
        now = end
        return all
    }

    package func state(of peer: UInt64) -> MemberState? {
        machine.members.first { $0.node.rawValue == peer }?.state
    }
}

extension MemberClaim {
    package static func alive(_ node: UInt64, _ incarnation: UInt64, _ facts: MemberFacts = MembershipDialogue.facts())
        -> MemberClaim
    {
        MemberClaim(
            node: NodeID(rawValue: node), incarnation: MembershipIncarnation(rawValue: incarnation),
            content: .alive(facts))
    }

    package static func suspect(_ node: UInt64, _ incarnation: UInt64, by accuser: UInt64) -> MemberClaim {
        MemberClaim(
            node: NodeID(rawValue: node), incarnation: MembershipIncarnation(rawValue: incarnation),
            content: .suspect(by: NodeID(rawValue: accuser)))
    }

    package static func dead(_ node: UInt64, _ incarnation: UInt64, by accuser: UInt64) -> MemberClaim {
        MemberClaim(
            node: NodeID(rawValue: node), incarnation: MembershipIncarnation(rawValue: incarnation),
            content: .dead(by: NodeID(rawValue: accuser)))
    }
}

extension [MembershipEffect] {
    package var sent: [(message: MembershipMessage, to: UInt64)] {
        compactMap { if case .send(let message, let node) = $0 { (message, node.rawValue) } else { nil } }
    }

    package func sent(to peer: UInt64) -> [MembershipMessage] { sent.filter { $0.to == peer }.map(\.message) }

    /// The last word about whom to route around; nil: there was none.
    package var routing: [UInt64]? {
        compactMap { if case .routing(let nodes) = $0 { nodes.map(\.rawValue) } else { nil } }.last
    }

    package var stores: [UInt64] {
        compactMap { if case .store(let incarnation) = $0 { incarnation.rawValue } else { nil } }
    }

    package var observations: [MembershipObservation] {
        compactMap { if case .observed(let observation) = $0 { observation } else { nil } }
    }
}
