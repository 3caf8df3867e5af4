// One member's vote on what follows the ring that it holds: single-decree Paxos (Lamport, "Paxos Made Simple",
// 2001), phase 1b and 2b. There is one decision for each ring, among its members; when a member holds the next ring
// its vote on this one is over, and it begins anew.
//
// A vote is durable before it is told: a member that forgot what it promised could help two rings to a majority.

package import TorcModel

/// Numbers attempts. A node never uses one twice: it promises its own, durably, before it sends it.
package struct RingBallot: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var round: UInt64
    package var node: NodeID

    /// No attempts come near it by themselves; a ballot above it is not believed, so that there is always a next one.
    package static let maximumRound: UInt64 = 1 << 48

    package init(round: UInt64, node: NodeID) {
        self.round = round
        self.node = node
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { (lhs.round, lhs.node) < (rhs.round, rhs.node) }
    package var description: String { "\(round).\(node)" }
}

package struct AcceptedRing: Hashable, Sendable {
    package var ballot: RingBallot
    package var state: ClusterState

    package init(ballot: RingBallot, state: ClusterState) {
        self.ballot = ballot
        self.state = state
    }
}

package struct RingVote: Hashable, Sendable {
    /// Nothing below it is promised or accepted any more.
    package private(set) var promised: RingBallot?
    package private(set) var accepted: AcceptedRing?

    package init() {}

    init(promised: RingBallot?, accepted: AcceptedRing?) {
        self.promised = promised
        self.accepted = accepted
    }

    /// Whether it is promised.
    mutating func prepare(_ ballot: RingBallot) -> Bool {
        if let promised, ballot < promised { return false }
        promised = ballot
        return true
    }

    /// Whether it is accepted.
    mutating func accept(_ ballot: RingBallot, _ state: ClusterState) -> Bool {
        if let promised, ballot < promised, !Mutation.acceptRingBelowPromise.isActive { return false }
        promised = ballot
        accepted = AcceptedRing(ballot: ballot, state: state)
        return true
    }
}
