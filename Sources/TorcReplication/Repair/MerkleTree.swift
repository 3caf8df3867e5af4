// The inner levels of a Merkle tree, computed from its leaves when a peer asks: 256 branches and a root.
//
//   root ─┬─ branch 0 ───┬─ leaf 0 … leaf 63
//         ├─ branch 1    └─ each the sum of its records' hashes (`LeafTable`)
//         └─ … branch 255
//
// A tree that nothing was ever written to is one of empty leaves.

import NIOCore
package import TorcModel

package struct MerkleTree: Sendable {
    package static let maximumBranches = 256
    private static let seed: UInt64 = 0x7472_6565

    package let leaves: [UInt64]
    package let branches: [UInt64]
    package let root: ContentHash

    package init(_ tree: TreeID, in table: LeafTable) {
        self.init(table[tree], table.layout)
    }

    package init(emptyFor layout: LeafLayout) { self.init(nil, layout) }

    private init(_ present: [UInt64]?, _ layout: LeafLayout) {
        let leaves = present ?? [UInt64](repeating: 0, count: layout.leavesPerPartition)
        self.leaves = leaves
        branches = (0..<Self.branchCount(layout)).map { Self.hash(leaves[Self.leaves(of: $0, layout)]) }
        root = ContentHash(rawValue: Self.hash(branches[...]))
    }

    package static func branchCount(_ layout: LeafLayout) -> Int { min(maximumBranches, layout.leavesPerPartition) }

    /// The leaves of a branch, by number.
    package static func leaves(of branch: Int, _ layout: LeafLayout) -> Range<Int> {
        let width = layout.leavesPerPartition / branchCount(layout)
        return branch * width..<(branch + 1) * width
    }

    private static func hash(_ values: ArraySlice<UInt64>) -> UInt64 {
        values.withUnsafeBytes { xxh3($0, seed: seed) }
    }
}
