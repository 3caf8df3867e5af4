// Judges a leaf table by the records themselves: each leaf is the sum of its records' content hashes.

package import NIOCore
package import TorcModel

package struct LeafChecker {
    private let layout: LeafLayout
    private let hashSeed: HashSeed

    package init(layout: LeafLayout, hashSeed: HashSeed) {
        self.layout = layout
        self.hashSeed = hashSeed
    }

    /// `records`: every record of the partitions that the table is for. `flaws`: leaves that may be anything.
    package func check(
        _ table: LeafTable, records: [(key: ObjectKey, record: ByteBuffer)], except flaws: Set<LeafAddress> = []
    ) -> Violation? {
        var expected: [TreeID: [Int: UInt64]] = [:]
        for (key, bytes) in records {
            guard let record = try? Record(decoding: bytes, for: key) else {
                return Violation(.leafMismatch, "a stored record of \(key) cannot be decoded")
            }
            if record.isGrave { continue }
            let tree = TreeID(
                partition: layout.ringSize.partition(of: key.position), copies: record.header.copies)
            expected[tree, default: [:]][layout.leaf(of: key.position), default: 0] &+=
                hashSeed.contentHash(key: key, body: record.body).rawValue
        }
        var table = table
        for flaw in flaws.sorted(by: { ($0.tree, $0.leaf) < ($1.tree, $1.leaf) }) {
            expected[flaw.tree]?[flaw.leaf] = nil
            if let counted = table[flaw.tree]?[flaw.leaf] {
                table.apply(LeafChange(tree: flaw.tree, leaf: flaw.leaf, delta: 0 &- counted))
            }
        }
        for tree in Set(table.trees).union(expected.keys).sorted() {
            let sums = expected[tree] ?? [:]
            var sumOfTable: UInt64 = 0
            var isEqual = true
            if let leaves = table[tree] {
                for leaf in sums.keys.sorted() where leaves[leaf] != sums[leaf]! { isEqual = false }
                // Leaves without records are zero; their number makes a look at each worth avoiding elsewhere.
                for (leaf, hash) in leaves.enumerated() where hash != 0 {
                    sumOfTable &+= hash
                    if sums[leaf] == nil { isEqual = false }
                }
            } else {
                isEqual = sums.values.allSatisfy { $0 == 0 }
            }
            if !isEqual {
                let sum = sums.values.reduce(0, &+)
                return Violation(
                    .leafMismatch,
                    "tree \(tree.partition) n=\(tree.copies): leaves sum to \(hexadecimal(sumOfTable)), records to \(hexadecimal(sum))"
                )
            }
        }
        return nil
    }
}
