// Between mending and its lane, and its bounds.

package import TorcModel

package struct MendingLimits: Hashable, Sendable {
    /// From the time when a record was found damaged until its copies are asked for. A write that counted this copy
    /// before it went bad, and waits for others, must have ended by then: longer than any request takes.
    package var delay = Duration.seconds(60)
    /// Records that wait or are being mended; one more is passed over, and the next walk of the scrub finds it again.
    package var records = 256
    /// Records whose copies are asked for at the same time.
    package var inFlight = 4
    /// An answer that takes longer ends the attempt.
    package var patience = Duration.seconds(10)
    /// After an attempt that failed, doubling.
    package var firstBackoff = Duration.seconds(1)
    package var lastBackoff = Duration.seconds(600)

    package init() {}
}

/// Why a damaged record stays as it is.
package enum MendObstacle: Hashable, Sendable {
    /// No other node holds copies of it.
    case alone
    /// No other replica holds anything under its key.
    case absent
    case unreachable(NodeID)
    /// It did not answer in time.
    case silent(NodeID)
    case refused(NodeID, ReplicaFailure)
    /// What the others hold could not be written here.
    case unwritten(ReplicaFailure)

    /// Waiting does not help.
    var isFinal: Bool { self == .alone || self == .absent }
}

/// What became of the copies of a damaged record at the replica that lacked it. Told when it is synced.
package enum MendOutcome: Hashable, Sendable {
    /// They were written over what cannot be read.
    case replaced
    /// The record could be read, and they were merged with it.
    case merged
    case failed(ReplicaFailure)
}

package struct MendStatistics: Hashable, Sendable {
    /// Records that were written over with what the other replicas hold.
    package var mended: UInt64 = 0
    /// Attempts that failed.
    package var failed: UInt64 = 0
    /// Records that wait at present.
    package var waiting: UInt64 = 0

    package init() {}

    package mutating func add(_ other: MendStatistics) {
        mended += other.mended
        failed += other.failed
        waiting += other.waiting
    }
}

package enum MendEffect: Hashable, Sendable {
    case send(PeerMessage, to: NodeID)
    /// This node's own replica gets what the others hold.
    case mend(ReplicaWrite)
    /// The record stands again: what its leaf counts is to be compared with it.
    case mended(ObjectKey)
    case observed(LaneObservation)
}
