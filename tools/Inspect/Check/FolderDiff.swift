// What two replicas differ in: their Merkle leaves first, and then, leaf by leaf that differs, their records. Two folders that
// are equal are compared without a record being read.

package import NIOCore
package import TorcModel
import TorcReplication
package import TorcStorage

package struct FolderDiff: Sendable {
    package enum Relation: String, Hashable, Sendable, Encodable {
        case missing, extra, older, newer, concurrent
        /// One of the two cannot be read.
        case unreadable
    }

    /// What the first folder has of a key, seen from the second.
    package struct Difference: Hashable, Sendable {
        package var relation: Relation
        package var partition: PartitionID
        /// The storage key.
        package var key: ByteBuffer
    }

    package struct Counts: Hashable, Sendable, Encodable {
        /// Partitions that both hold.
        package var partitions = 0
        /// Partitions of one alone.
        package var partitionsBeyond = 0
        package var leavesCompared = 0
        package var leavesDiffering = 0
        /// In both, of leaves that differ; and of partitions whose leaves were not known.
        package var recordsRead = 0
        package var partitionsReadWhole = 0
        package var differences: [String: Int] = [:]

        package init() {}
    }

    package private(set) var counts = Counts()

    /// Hands every difference to `body`, in the order of the ring.
    package static func run(
        _ first: FolderReader, _ second: FolderReader, isCompared: (PartitionID) -> Void = { _ in },
        _ body: (Difference) throws -> Void
    ) throws -> Counts {
        guard first.identity.cluster == second.identity.cluster, first.identity.ringSize == second.identity.ringSize
        else {
            throw FolderDiffError.foreign(first.identity, second.identity)
        }
        var diff = FolderDiff()
        let logs = (try first.log(), try second.log())
        let held = (Set(first.families.compactMap(\.partition)), Set(second.families.compactMap(\.partition)))
        diff.counts.partitionsBeyond = held.0.symmetricDifference(held.1).count
        for partition in held.0.intersection(held.1).sorted() {
            try diff.compare(
                partition, first, second, try first.leaves(of: partition, log: logs.0),
                try second.leaves(of: partition, log: logs.1), body)
            isCompared(partition)
        }
        return diff.counts
    }

    private mutating func compare(
        _ partition: PartitionID, _ first: FolderReader, _ second: FolderReader, _ ours: PartitionLeaves,
        _ theirs: PartitionLeaves, _ body: (Difference) throws -> Void
    ) throws {
        counts.partitions += 1
        guard let family = try first.family(of: partition), let other = try second.family(of: partition) else { return }
        let layout = first.layout
        guard case .known(let mine) = ours, case .known(let others) = theirs else {
            counts.partitionsReadWhole += 1
            return try compareRecords(partition, first, family, second, other, from: nil, before: nil, body)
        }
        let empty = [UInt64](repeating: 0, count: layout.leavesPerPartition)
        let trees = (
            Dictionary(mine.map { ($0.copies, $0.leaves) }) { $1 },
            Dictionary(others.map { ($0.copies, $0.leaves) }) { $1 }
        )
        var differing: Set<Int> = []
        for copies in Set(trees.0.keys).union(trees.1.keys) {
            let left = trees.0[copies] ?? empty
            let right = trees.1[copies] ?? empty
            counts.leavesCompared += layout.leavesPerPartition
            if left == right { continue }
            for leaf in left.indices where left[leaf] != right[leaf] { differing.insert(leaf) }
        }
        counts.leavesDiffering += differing.count
        for leaf in differing.sorted() {
            let start = ByteBuffer(integer: layout.start(of: leaf, in: partition).rawValue)
            let isLast = leaf + 1 == layout.leavesPerPartition
            let end = isLast ? nil : ByteBuffer(integer: layout.start(of: leaf + 1, in: partition).rawValue)
            try compareRecords(partition, first, family, second, other, from: start, before: end, body)
        }
    }

    private mutating func compareRecords(
        _ partition: PartitionID, _ first: FolderReader, _ family: StoredFamily, _ second: FolderReader,
        _ other: StoredFamily, from start: ByteBuffer?, before end: ByteBuffer?, _ body: (Difference) throws -> Void
    ) throws {
        // The second one's step by step, beside the walk through the first.
        var waiting = try second.cursor(other, from: start, before: end)
        func tell(_ relation: Relation, _ key: ByteBuffer) throws {
            counts.differences[relation.rawValue, default: 0] += 1
            try body(Difference(relation: relation, partition: partition, key: key))
        }
        try first.walk(family, from: start, before: end) { key, value in
            counts.recordsRead += 1
            while let present = waiting.key, Self.precedes(present, key) {
                counts.recordsRead += 1
                if Self.isSomething(present, waiting.value) { try tell(.missing, present) }
                try waiting.next()
            }
            let name = ByteBuffer(bytes: key.readableBytesView)
            guard let present = waiting.key, present == key else {
                if Self.isSomething(name, value) { try tell(.extra, name) }
                return true
            }
            counts.recordsRead += 1
            if let relation = Self.relation(name, value, waiting.value) { try tell(relation, name) }
            try waiting.next()
            return true
        }
        while let present = waiting.key {
            counts.recordsRead += 1
            if Self.isSomething(present, waiting.value) { try tell(.missing, present) }
            try waiting.next()
        }
    }

    private static func precedes(_ key: ByteBuffer, _ other: ByteBuffer) -> Bool {
        key.readableBytesView.lexicographicallyPrecedes(other.readableBytesView)
    }

    private static func record(_ key: ByteBuffer, _ value: ByteBuffer) -> Record? {
        guard let name = try? ObjectKey(storageKey: key) else { return nil }
        return try? Record(decoding: value, for: name)
    }

    /// A grave is as good as nothing; what cannot be read is something.
    private static func isSomething(_ key: ByteBuffer, _ value: ByteBuffer) -> Bool {
        record(key, value)?.isGrave != true
    }

    /// nil: they hold the same, whatever stands in the replica's own header.
    private static func relation(_ key: ByteBuffer, _ value: ByteBuffer, _ other: ByteBuffer) -> Relation? {
        if value == other { return nil }
        guard let mine = record(key, value), let theirs = record(key, other) else { return .unreadable }
        switch (mine.isGrave, theirs.isGrave) {
        case (true, true): return nil
        case (true, false): return .missing
        case (false, true): return .extra
        case (false, false): break
        }
        if mine.body == theirs.body { return nil }
        guard let left = try? mine.object(), let right = try? theirs.object() else { return .unreadable }
        let merged = left.merged(with: right)
        return merged == right ? .older : merged == left ? .newer : .concurrent
    }
}

package enum FolderDiffError: Error, CustomStringConvertible {
    case foreign(StoreIdentity, StoreIdentity)

    package var description: String {
        switch self {
        case .foreign(let first, let second):
            """
            the folders belong to clusters \(first.cluster) and \(second.cluster) with rings of \
            \(first.ringSize.partitions) and \(second.ringSize.partitions) partitions: only folders of one cluster compare
            """
        }
    }
}
