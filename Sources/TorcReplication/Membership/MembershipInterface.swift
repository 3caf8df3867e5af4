// Between the membership machine and the control machine that holds it.

package import TorcModel

package enum MembershipEvent: Hashable, Sendable {
    case message(from: NodeID, MembershipMessage)
    case peerUp(NodeID)
    case peerDown(NodeID)
    /// The members are these now.
    case membersChanged([NodeID])
    /// The incarnation is on disk: it may be told.
    case stored(MembershipIncarnation)
    /// What this node shall tell of itself. The sequence is the machine's own.
    case facts(MemberFacts)
    /// Time has passed `Membership.nextDeadline`; or the first event of all.
    case tick
}

package enum MembershipEffect: Hashable, Sendable {
    /// Durably, in `meta`; `.stored` follows.
    case store(MembershipIncarnation)
    case send(MembershipMessage, to: NodeID)
    /// All that are suspect or dead now, ascending: asked only where it cannot be done without them.
    case routing(suspected: [NodeID])
    case observed(MembershipObservation)
}

package enum MembershipObservation: Hashable, Sendable {
    case suspected(NodeID, by: NodeID)
    case died(NodeID, by: NodeID)
    case returned(NodeID)
    /// This node was said to be suspect or dead, and has raised its incarnation.
    case refuted(MembershipIncarnation)
    /// This node did not run for so long.
    case paused(Duration)
}

/// What a person is told of a member.
package struct MemberStatus: Hashable, Sendable {
    package var node: NodeID
    package var state: MemberState
    package var incarnation: MembershipIncarnation
    package var isSelf: Bool
    package var isLinked: Bool
    package var facts: MemberFacts?
}

/// What a membership begins with.
package struct MembershipStart: Hashable, Sendable {
    package var timing: MembershipTiming
    /// What `meta` holds: the last incarnation of this node, `unheard` if it never ran.
    package var stored: MembershipIncarnation
    package var facts: MemberFacts
    /// Seeds the order of the probes.
    package var seed: UInt64

    package init(timing: MembershipTiming, stored: MembershipIncarnation, facts: MemberFacts, seed: UInt64) {
        self.timing = timing
        self.stored = stored
        self.facts = facts
        self.seed = seed
    }
}
