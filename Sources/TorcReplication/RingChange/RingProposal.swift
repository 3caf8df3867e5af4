// One node's attempt to have the next ring decided: Paxos, phase 1a and 2a. It may carry a plan of its own, or only
// bring to an end what another began.

import TorcModel

struct RingProposal: Sendable {
    struct Order: Sendable {
        var request: RequestID
        var plan: RingPlan
        var deadline: MonotonicTime
    }

    enum Phase: Sendable {
        /// The members that promised, and the greatest of what they had accepted.
        case preparing(promises: Set<NodeID>, greatest: AcceptedRing?)
        case accepting(ClusterState, acceptances: Set<NodeID>)
        /// Somebody promised more to another: the next attempt begins then.
        case pausing(until: MonotonicTime)
    }

    var order: Order?
    /// What it proposes where nothing else was accepted. Nil: a recovery.
    var wish: ClusterState?
    var ballot: RingBallot
    var phase: Phase
    /// Attempts before this one.
    var failures = 0
    /// What was sent is sent again then, to those that have not answered.
    var resendAt: MonotonicTime
    /// A recovery gives up then, and another begins later.
    var deadline: MonotonicTime
    /// Somebody was asked to accept the order's plan: from then on it may become the ring at any time.
    var isPlanOut = false

    /// Members that answered the present phase.
    var reached: Int {
        switch phase {
        case .preparing(let promises, _): promises.count
        case .accepting(_, let acceptances): acceptances.count
        case .pausing: 0
        }
    }
}
