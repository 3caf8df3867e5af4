// What a node's disk has noted of its damaged partitions, as `meta` keeps it in production: durable before anybody acts on it.
//
//   a block cannot be read ─► noted ─► made anew, with lost leaves ─► compared with every co-owner ─► no entry

package import TorcModel

package struct DamagedPartitions: Sendable {
    private struct Entry {
        /// What can be read of it was copied.
        var isAnew = false
        /// Leaves of which something could not be read, and that have not been compared since.
        var lost: Set<Int> = []
    }

    private var entries: [PartitionID: Entry] = [:]

    package init() {}

    /// Damaged, or of which something may be lost.
    package func contains(_ partition: PartitionID) -> Bool { entries[partition] != nil }

    /// Those that wait for being made anew, ascending.
    package var waiting: [PartitionID] { entries.filter { !$0.value.isAnew }.keys.sorted() }
    /// Those that were made anew, ascending.
    package var anew: [PartitionID] { entries.filter(\.value.isAnew).keys.sorted() }

    /// Ascending.
    package var all: [PartitionID] { entries.keys.sorted() }

    package func isLost(_ leaf: Int, of partition: PartitionID) -> Bool {
        entries[partition]?.lost.contains(leaf) ?? false
    }

    package var lost: [PartitionID: [Int]] { entries.filter { !$0.value.lost.isEmpty }.mapValues { $0.lost.sorted() } }

    func isWaiting(_ partition: PartitionID) -> Bool { entries[partition].map { !$0.isAnew } ?? false }

    /// False: it is known.
    package mutating func note(_ partition: PartitionID) -> Bool {
        if isWaiting(partition) { return false }
        entries[partition, default: Entry()].isAnew = false
        return true
    }

    /// To leaves that were lost before and have not come back.
    mutating func madeAnew(_ partition: PartitionID, lost: Set<Int>) {
        entries[partition, default: Entry()].isAnew = true
        entries[partition]!.lost.formUnion(lost)
    }

    /// The walk over a block that cannot be read goes on behind the leaf, and may leave out more than was damaged.
    package mutating func lose(_ leaf: Int, of partition: PartitionID) { entries[partition]?.lost.insert(leaf) }

    package mutating func restored(_ partition: PartitionID) {
        // Or it is damaged again.
        if entries[partition]?.isAnew == true { entries[partition] = nil }
    }

    /// A start has counted what was made anew.
    package mutating func started() { entries = entries.filter { !$0.value.isAnew || !$0.value.lost.isEmpty } }
}
