// Between scrubbing and its lane, and its bounds.

package import TorcModel

package struct ScrubLimits: Hashable, Sendable {
    /// Off: nothing is looked at.
    package var isOn = false
    /// Of this lane: a node's divided by its lanes.
    package var bytesPerSecond = 4 << 20
    /// From the end of one walk through this lane's partitions to the next.
    package var interval = Duration.seconds(86_400)
    /// From the start of the lane to its first walk, if that is less.
    package var firstDelay = Duration.seconds(10)
    /// Records, and their bytes, that one scan reads.
    package var pageEntries = 512
    package var pageBytes = 1 << 20
    /// Leaves of one partition that cannot be read in one walk: at so many the rest of it is left for the next.
    package var unreadableLeaves = 64

    package init() {}
}

/// What a scrub found, and did.
package enum ScrubFinding: Hashable, Sendable {
    /// The leaf was not what the records on disk give; now it is.
    case leafCorrected(TreeID, leaf: Int)
    /// The record's checksum does not hold, or it cannot be decoded.
    case unreadableRecord(ObjectKey)
    /// Something in these positions cannot be read at all.
    case unreadableRange(PartitionID, leaf: Int)
    /// A walk through all partitions ended, with so many findings.
    case walkEnded(ScrubWalk)
}

/// One walk through all partitions of a lane.
package struct ScrubWalk: Hashable, Sendable {
    package var records: UInt64 = 0
    package var bytes: UInt64 = 0
    package var correctedLeaves: UInt64 = 0
    package var unreadableRecords: UInt64 = 0
    package var unreadableRanges: UInt64 = 0
    /// With records, and written to while they were read: the next walk judges them.
    package var leftLeaves: UInt64 = 0

    package init() {}

    package mutating func add(_ other: ScrubWalk) {
        records += other.records
        bytes += other.bytes
        correctedLeaves += other.correctedLeaves
        unreadableRecords += other.unreadableRecords
        unreadableRanges += other.unreadableRanges
        leftLeaves += other.leftLeaves
    }
}

package struct ScrubStatistics: Hashable, Sendable {
    /// Walks that ended.
    package var walks: UInt64 = 0
    /// Of all walks, the present one included.
    package var total = ScrubWalk()

    package init() {}
}

package enum ScrubEffect: Hashable, Sendable {
    case scan(ScanRequest)
    /// The leaf is set right, by a change as any write makes one.
    case correct(LeafChange)
    case observed(LaneObservation)
}
