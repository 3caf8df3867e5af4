// The leaves of a partition's Merkle trees. A leaf is a contiguous range of ring positions; its hash is the
// sum modulo 2^64 of the content hashes of the records in it, so a write changes it by new − old, whatever
// the order of writes, and equal sets of records have equal leaves. There is one tree for each number of
// copies n that buckets ask for, because replicas of different n are different nodes. Inner levels are
// computed when a peer asks.

/// Names one Merkle tree: a partition, and the n of the buckets that it counts.
package struct TreeID: Hashable, Comparable, Sendable {
    package var partition: PartitionID
    package var copies: UInt8

    package init(partition: PartitionID, copies: UInt8) {
        self.partition = partition
        self.copies = copies
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.partition, lhs.copies) < (rhs.partition, rhs.copies)
    }
}

/// How positions map to leaves, for one ring size.
package struct LeafLayout: Hashable, Sendable {
    /// Over the whole ring, so that the leaves of one n take 8 MiB on a node that holds everything.
    private static let leavesInRing = 1 << 20
    private static let bounds = 64...16_384

    package let ringSize: RingSize
    /// A power of two.
    package let leavesPerPartition: Int
    private let shift: UInt64

    package init(ringSize: RingSize) {
        self.ringSize = ringSize
        leavesPerPartition = min(
            max(Self.leavesInRing / ringSize.partitions, Self.bounds.lowerBound), Self.bounds.upperBound)
        shift = UInt64(ringSize.bitsBelowPartition - leavesPerPartition.trailingZeroBitCount)
    }

    package func leaf(of position: RingPosition) -> Int {
        Int(truncatingIfNeeded: position.rawValue >> shift) & (leavesPerPartition - 1)
    }

    /// The first position of a leaf; the leaf ends before the first position of the next.
    package func start(of leaf: Int, in partition: PartitionID) -> RingPosition {
        RingPosition(rawValue: ringSize.start(of: partition).rawValue | UInt64(leaf) << shift)
    }
}

/// What one write changes in a tree.
package struct LeafChange: Hashable, Sendable {
    package var tree: TreeID
    package var leaf: Int
    /// Added modulo 2^64.
    package var delta: UInt64

    package init(tree: TreeID, leaf: Int, delta: UInt64) {
        self.tree = tree
        self.leaf = leaf
        self.delta = delta
    }
}

/// The leaves of every tree of the partitions that one lane owns.
package struct LeafTable: Hashable, Sendable {
    package let layout: LeafLayout
    private var leavesByTree: [TreeID: [UInt64]] = [:]

    package init(layout: LeafLayout) { self.layout = layout }

    /// Ascending.
    package var trees: [TreeID] { leavesByTree.keys.sorted() }

    /// The leaves of a tree; nil when nothing was ever written to it.
    package subscript(tree: TreeID) -> [UInt64]? {
        get { leavesByTree[tree] }
        set {
            precondition(
                newValue.map { $0.count == layout.leavesPerPartition } ?? true, "a tree of \(newValue!.count) leaves")
            leavesByTree[tree] = newValue
        }
    }

    package mutating func apply(_ change: LeafChange) {
        leavesByTree[change.tree, default: [UInt64](repeating: 0, count: layout.leavesPerPartition)][change.leaf] &+=
            change.delta
    }
}
