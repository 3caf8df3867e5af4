// Between the machine that agrees on rings and the control machine that holds it.

package import TorcModel

/// What an operator asks of the node that they speak to.
package enum RingOrder: Hashable, Sendable {
    case stage(StagedChange)
    /// What the staged changes come to.
    case plan
    /// Makes the staged changes the next ring. `plan`: the fingerprint of the one that was shown, so that nothing
    /// else is committed; nil: whatever it is now.
    case commit(plan: ClusterFingerprint?, deadline: MonotonicTime)
    /// Forgets what is staged.
    case abort
    /// Goes on without these members, which are gone for good and a majority: by this node's word alone.
    case force(without: [NodeID])
}

package enum RingAnswer: Hashable, Sendable {
    case staged([StagedChange])
    case plan(RingPlan)
    /// It is the ring now, and durable at a majority of the members before it.
    case committed(RingVersion)
    /// Another change was agreed on. What was staged here is staged still, as far as it makes sense.
    case lost(to: RingVersion)
    /// No majority answered in time. It is not known whether the change comes: who holds it will see to its end.
    case indeterminate(reached: Int, needed: Int)
    /// No majority answered in time, and nobody was asked to accept the change: it does not come.
    case unreachable(reached: Int, needed: Int)
    case refused(RingRefusal)
}

package enum RingRefusal: Hashable, Sendable {
    case staging(StagingRefusal)
    /// A commit of this node is under way.
    case busy
    /// The plan is not the one that was shown.
    case planChanged(ClusterFingerprint)
    /// This node is no member, and has no say.
    case notMember
    /// Members enough to agree are not among those that are said to be gone.
    case majorityLives(living: Int, needed: Int)
}

package enum RingEvent: Hashable, Sendable {
    case order(RequestID, RingOrder)
    case message(from: NodeID, RingMessage)
    case peerUp(NodeID)
    case peerDown(NodeID)
    /// What `store` asked for, and all before it, is synced.
    case stored(UInt64)
    /// How far this node is, all of its lanes, with what moves to the ring that it holds.
    case progress(HandoffReport)
    /// Time has passed `RingAgreement.nextDeadline`; or the first event of all.
    case tick
}

package enum RingEffect: Hashable, Sendable {
    /// Durably, in `meta`, in this order; `.stored` with the number follows.
    case store(UInt64, RingRecord)
    case send(RingMessage, to: NodeID)
    /// It is durable here.
    case installed(ClusterState)
    case answer(RequestID, RingAnswer)
    case observed(RingObservation)
}

package enum RingObservation: Hashable, Sendable {
    case proposed(RingBallot)
    /// Goes on with what somebody else began.
    case recovering(RingBallot)
    /// By this node's word alone.
    case forced(RingVersion, without: [NodeID])
    /// A ring that does not come from this node's, or comes from so far after it that nobody can tell.
    case strayed(NodeID, RingVersion)
    /// Two rings of one epoch: this must never be.
    case forked(NodeID, RingVersion)
    /// This node was removed or replaced, and takes part in nothing any more.
    case fenced
}

/// What the machine begins with.
package struct RingStart: Hashable, Sendable {
    /// As `meta` holds it, or a cluster's beginning.
    package var record: RingRecord
    /// Seeds the pauses between attempts and the choice of whom to tell.
    package var seed: UInt64

    package init(record: RingRecord, seed: UInt64) {
        self.record = record
        self.seed = seed
    }
}
