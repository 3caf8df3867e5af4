// What a write changes in its partition's Merkle tree.

import TorcModel

extension MicroSubject {
    static let leaves = [
        MicroSubject("leaf: update", "the hash of what a record was and is, added to its leaf") {
            let inputs = MicroInputs()
            let layout = LeafLayout(ringSize: .standard)
            let before = (0..<MicroInputs.count).map { inputs.object($0, counters: [3, 5, 2], writer: 1).encoded }
            let after = (0..<MicroInputs.count).map { inputs.object($0, counters: [4, 5, 2], writer: 0).encoded }
            let seed = HashSeed(rawValue: 11)
            var table = LeafTable(layout: layout)
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let place = index % MicroInputs.count, key = inputs.names[place]
                    let old = seed.contentHash(key: key, body: before[place])
                    let new = seed.contentHash(key: key, body: after[place])
                    let change = LeafChange(
                        tree: TreeID(partition: layout.ringSize.partition(of: key.position), copies: 3),
                        leaf: layout.leaf(of: key.position), delta: new.rawValue &- old.rawValue)
                    table.apply(change)
                    sum &+= change.delta
                }
                return sum
            }
        }
    ]
}
