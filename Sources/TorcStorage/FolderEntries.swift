// What single entries of `meta` and `merkle` are, for people who look at a folder.

package import NIOCore
package import TorcModel

/// The leaves of a partition as `merkle` keeps them; the log may hold changes on top.
package struct StoredTrees: Sendable {
    /// The last change that is in the leaves.
    package let number: UInt64
    /// Every change of the database up to this sequence is in them.
    package let through: UInt64
    package let trees: [(copies: UInt8, leaves: [UInt64])]

    package init(decoding bytes: ByteBuffer, partition: PartitionID, layout: LeafLayout) throws(MalformedBytes) {
        let stored = try StoredLeaves(decoding: bytes, partition: partition, layout: layout)
        number = stored.number
        through = stored.through
        trees = stored.trees
    }
}

/// A key of `merkle`.
package enum MerkleKey: Hashable, Sendable {
    case leaves(PartitionID)
    /// Of a note up to where the stored leaves still hold.
    case note(PartitionID)

    package init?(_ key: ByteBuffer) {
        var reader = key
        guard let partition = reader.readInteger(as: UInt16.self).map(PartitionID.init(rawValue:)) else { return nil }
        switch key {
        case StoredLeaves.key(partition): self = .leaves(partition)
        case StoredLeaves.noteKey(partition): self = .note(partition)
        default: return nil
        }
    }
}

/// A key of `meta`.
package enum MetaName: Hashable, Sendable {
    case clean
    case incarnations
    case damaged
    /// What a server stored under this name (`NodeStore.putMeta`).
    case server(String)
    case unknown(String)

    package init(_ key: ByteBuffer) {
        let name = String(buffer: key)
        switch name {
        case NodeStore.MetaKey.clean: self = .clean
        case NodeStore.MetaKey.incarnations: self = .incarnations
        case DamageTable.key: self = .damaged
        default:
            let callers = NodeStore.MetaKey.callers
            self = name.hasPrefix(callers) ? .server(String(name.dropFirst(callers.count))) : .unknown(name)
        }
    }
}

/// A family that a running node found damaged.
package struct StoredDamage: Hashable, Sendable {
    /// Its name at first.
    package let name: String
    /// A copy stands for it, of this generation.
    package let generation: UInt16?
    /// Leaves that count for nobody until they were compared with the co-owners'.
    package let lostLeaves: [Int]

    /// The value of `store/damaged` in `meta`; ascending by name.
    package static func list(decoding bytes: ByteBuffer) throws(MalformedBytes) -> [StoredDamage] {
        try DamageTable(decoding: bytes).entries.sorted { $0.key < $1.key }.map { name, entry in
            StoredDamage(
                name: name, generation: entry.isAnew ? entry.generation : nil, lostLeaves: entry.lost.map(Int.init))
        }
    }
}

extension FolderReader {
    /// The partitions that have a family, ascending.
    package var partitions: [PartitionID] { Set(families.compactMap(\.partition)).sorted() }

    /// The family that `name` had at first: what hints are in may be the copy of a damaged one.
    package func family(named name: String) -> StoredFamily? {
        families.first { $0.name == name }
            ?? families.filter { FamilyName.base(of: $0.name) == name }.max { $0.generation < $1.generation }
    }

    package var meta: StoredFamily? { family(named: FamilyName.meta) }
    package var merkle: StoredFamily? { family(named: FamilyName.merkle) }
    package var hintsKept: StoredFamily? { family(named: FamilyName.hints) }

    /// What its tables say that they hold, with what the log adds; a key that was written again counts once for each table.
    package func estimatedKeys(of family: StoredFamily) -> UInt64 {
        // RocksDB's own estimate counts only tables that were opened since the start.
        let tables = (text(of: "rocksdb.aggregated-table-properties", in: family) ?? "").utf8
        func number(_ name: String) -> UInt64 {
            guard let found = tables.firstRange(of: "\(name)=".utf8) else { return 0 }
            let digits = tables[found.upperBound...].prefix { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
            return UInt64(Substring(digits)) ?? 0
        }
        let entries = number("# entries") + property("rocksdb.num-entries-active-mem-table", of: family)
        // A deletion takes another entry with it.
        let gone = 2 * (number("# deletions") + property("rocksdb.num-deletes-active-mem-table", of: family))
        return entries - min(entries, gone)
    }

    /// What `merkle` holds of a partition; nil: nothing.
    package func storedTrees(of partition: PartitionID) throws -> StoredTrees? {
        guard let merkle, let bytes = try value(of: StoredLeaves.key(partition), in: merkle) else { return nil }
        return try StoredTrees(decoding: bytes, partition: partition, layout: layout)
    }

    /// A key of `hints`.
    package static func hintKey(_ target: NodeID, _ key: ByteBuffer = ByteBuffer()) -> ByteBuffer {
        HintKey.storageKey(target, key)
    }
}
