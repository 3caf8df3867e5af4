// Damaged partitions of one lane. A block that its disk gives back wrong takes records with it, nobody here knows which;
// and as long as it is there, nothing that walks over it gets through: no listing, no comparison, no compaction. So the
// partition is made anew, and what it lost comes from its co-owners:
//
//   damaged ─► suspended ──all that it wrote is committed──► the store copies what can be read ─► comparing ─► whole
//                  ▲                                              │ failed                           │
//                  └──────────────── told once more ◄─────────────┘       compared with every co-owner in full, twice
//
// Invariants:
// - While it is suspended its replica fails whatever it is asked, and nothing changes it: what is copied is all of it.
// - A leaf of which something could not be read is *lost*. Until the partition has been compared with every co-owner
//   nothing that is read in a lost leaf counts for anybody: what is not there may be the one copy in which two quorums
//   met. Nothing is minted or listed there, and whether an `lww` write wins cannot be said. Writes of others are merged,
//   and repair reads and merges; but nobody takes over a partition from it.
// - What co-owners hold is brought back at once. But a write that counted this copy while it was whole may still be on
//   its way to them, and be acknowledged by the copy that is lost and by one that did not have it when it was compared. So
//   the comparison that makes the partition whole begins when every such write has ended, as mending does
//   (`MendingLimits.delay`).
// - What is lost proves nothing. A reaper that asks whether exactly a version is held hears no.
// - No dot is issued twice: a header that is gone takes its actor with it, and the next mint draws one that no counter
//   was ever used of.
//
// The store notes durably which partitions are damaged and which leaves are lost; a restart goes on from there.

import OrderedCollections
package import TorcModel

/// What the store made of a damaged partition.
package struct SalvagedPartition: Hashable, Sendable {
    package var partition: PartitionID
    /// Leaves of which something could not be read, ascending.
    package var lost: [Int]
    /// The leaves of what stands there now, by number of copies.
    package var leaves: [UInt8: [UInt64]]

    package init(partition: PartitionID, lost: [Int], leaves: [UInt8: [UInt64]]) {
        self.partition = partition
        self.lost = lost
        self.leaves = leaves
    }
}

package struct SalvageStatistics: Hashable, Sendable {
    /// Partitions that are damaged, or being copied.
    package var damaged: UInt64 = 0
    /// Partitions of which lost leaves have not been compared with every co-owner.
    package var comparing: UInt64 = 0
    /// Partitions that were made anew and are whole again.
    package var restored: UInt64 = 0

    package init() {}

    package mutating func add(_ other: SalvageStatistics) {
        damaged += other.damaged
        comparing += other.comparing
        restored += other.restored
    }
}

/// What a lane's replicas may not do meanwhile.
struct PartitionGates: Sendable {
    private var suspended: Set<PartitionID> = []
    private var lost: [PartitionID: Set<Int>] = [:]

    var isOpen: Bool { suspended.isEmpty && lost.isEmpty }

    mutating func suspend(_ partition: PartitionID) { suspended.insert(partition) }
    mutating func resume(_ partition: PartitionID) { suspended.remove(partition) }

    /// To those that are lost already.
    mutating func lose(_ leaves: [Int], of partition: PartitionID) {
        if !leaves.isEmpty { lost[partition, default: []].formUnion(leaves) }
    }

    mutating func restore(_ partition: PartitionID) { lost[partition] = nil }

    func isSuspended(_ partition: PartitionID) -> Bool { suspended.contains(partition) }
    func isLost(_ leaf: Int, of partition: PartitionID) -> Bool { lost[partition]?.contains(leaf) ?? false }
    func hasLost(_ partition: PartitionID) -> Bool { lost[partition] != nil }
    func isWhole(_ partition: PartitionID) -> Bool { isOpen || !isSuspended(partition) && !hasLost(partition) }
}

struct Salvage: Sendable {
    enum Step: Hashable, Sendable {
        /// What it wrote is not all committed.
        case suspended
        /// The store is at it.
        case copying
        case comparing(Comparing)
    }

    struct Comparing: Hashable, Sendable {
        /// What is asked of repair, if it has been.
        var request: RequestID?
        /// When it is asked, or was.
        var due: MonotonicTime
        /// When the last write has ended that counted the copy as it was; nil: that is so long after the start of this node.
        var settled: MonotonicTime?
        /// Keys that were, in all comparisons until now.
        var differing = 0
    }

    /// Between two attempts to compare in full. Somebody is away, or mends a record of its own.
    static let pause = Duration.seconds(5)
    /// The upper bits of its requests to repair, which no shell uses.
    private static let requestBits: UInt64 = 0xfd << 56

    private let delay: Duration
    private var steps: OrderedDictionary<PartitionID, Step> = [:]
    private var lastRequest: UInt64 = 0
    private var restored: UInt64 = 0
    private var isDraining = false

    /// `lost`: those that the last run left, with lost leaves. `delay`: no write takes longer.
    init(lost: [PartitionID], delay: Duration) {
        self.delay = delay
        for partition in lost { steps[partition] = .comparing(Comparing(due: .zero)) }
    }

    var isIdle: Bool { steps.isEmpty }

    var statistics: SalvageStatistics {
        var statistics = SalvageStatistics()
        for step in steps.values {
            if case .comparing = step { statistics.comparing += 1 } else { statistics.damaged += 1 }
        }
        statistics.restored = restored
        return statistics
    }

    var nextDeadline: MonotonicTime? {
        guard !isDraining else { return nil }
        return steps.values.lazy.compactMap { step in
            if case .comparing(let comparing) = step, comparing.request == nil { comparing.due } else { nil }
        }.min()
    }

    /// False: it is known.
    mutating func damaged(_ partition: PartitionID) -> Bool {
        switch steps[partition] {
        case .suspended, .copying: return false
        case nil, .comparing:
            steps[partition] = .suspended
            return true
        }
    }

    /// All that the lane wrote is committed. Whom the store shall copy: those of which the lane keeps no record in memory.
    /// What it kept would count for a leaf from which it may be lost.
    mutating func allCommitted(where isLetGo: (PartitionID) -> Bool) -> [PartitionID] {
        guard !isDraining else { return [] }
        let ready = steps.filter { $0.value == .suspended && isLetGo($0.key) }.keys
        for partition in ready { steps[partition] = .copying }
        return Array(ready)
    }

    var awaitsCommit: Bool { steps.values.contains(.suspended) }

    /// True: it is whole, as nothing was lost.
    mutating func copied(_ partition: PartitionID, hasLost: Bool, _ now: Now) -> Bool {
        guard hasLost else {
            steps[partition] = nil
            restored += 1
            return true
        }
        compare(partition, now)
        return false
    }

    /// The store could not copy it, and will say again that it is damaged.
    mutating func failed(_ partition: PartitionID, hasLost: Bool, _ now: Now) {
        steps[partition] = nil
        if hasLost { compare(partition, now) }
    }

    /// Until now it was suspended, and no write has counted it.
    private mutating func compare(_ partition: PartitionID, _ now: Now) {
        let settled = now.monotonic.advanced(by: delay)
        steps[partition] = .comparing(Comparing(due: now.monotonic, settled: settled))
    }

    /// Who is to be compared now.
    mutating func nextDue(_ now: Now) -> (request: RequestID, partition: PartitionID)? {
        guard !isDraining else { return nil }
        for (partition, step) in steps {
            guard case .comparing(var comparing) = step, comparing.request == nil, comparing.due <= now.monotonic else {
                continue
            }
            lastRequest += 1
            let request = RequestID(rawValue: Self.requestBits | lastRequest)
            comparing.request = request
            comparing.due = now.monotonic
            comparing.settled = comparing.settled ?? now.monotonic.advanced(by: delay)
            steps[partition] = .comparing(comparing)
            return (request, partition)
        }
        return nil
    }

    static func isOwn(_ request: RequestID) -> Bool { request.rawValue & 0xff << 56 == requestBits }

    /// The partition that is whole now, if one is, and how many keys were not alike. `isComplete`: it was compared with every
    /// co-owner in full; `differing`: keys that were not alike this time.
    mutating func compared(
        _ request: RequestID, isComplete: Bool, differing: Int, _ now: Now
    ) -> (partition: PartitionID, differing: Int)? {
        for (partition, step) in steps {
            guard case .comparing(var comparing) = step, comparing.request == request, let settled = comparing.settled
            else { continue }
            comparing.differing += differing
            if isComplete, comparing.due >= settled {
                steps[partition] = nil
                restored += 1
                return (partition, comparing.differing)
            }
            comparing.request = nil
            comparing.due = isComplete ? max(settled, now.monotonic) : now.monotonic.advanced(by: Self.pause)
            steps[partition] = .comparing(comparing)
            return nil
        }
        return nil
    }

    /// Co-owners may be others now.
    mutating func ringChanged(_ now: Now) {
        for (partition, step) in steps {
            guard case .comparing(var comparing) = step else { continue }
            comparing.request = nil
            comparing.due = now.monotonic
            steps[partition] = .comparing(comparing)
        }
    }

    mutating func drain() { isDraining = true }
}
