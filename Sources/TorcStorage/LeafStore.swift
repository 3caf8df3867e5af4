// The durable side of the Merkle leaves. In memory they are the lane's (`LeafTable`); on disk there are
//
//   in every batch's log data   the deltas of its writes, numbered within their partition (`LogData`)
//   in the family `merkle`      under the partition's number, now and then: all its leaves, and the number
//                               of the last delta that is in them; beside it, when there was nothing to
//                               store, a note that they still held
//
//   leaves: u64 checksum | u8 format | u64 number | u64 through | u8 trees
//           | trees × (u8 copies | u32 leaves | leaves × u64)
//   note:   u64 through
//
// `through` is a sequence number of the database: every change up to it is in the leaves. At a start the
// stored leaves and the deltas above their number give the table as it was. That needs the log from
// `through` on: log files stay in the archive until then (`LogRetention`). When the log does not reach back
// that far, or a delta is missing, the partition is scanned and its leaves are computed anew.

import CRocksDB
import NIOCore
import TorcModel
import TorcReplication

/// The leaves of one partition, as they are stored.
struct StoredLeaves: Hashable {
    private static let format: UInt8 = 1
    private static let checksumBytes = 8

    /// The last delta that is in the leaves.
    var number: UInt64
    /// Every change of the database up to this sequence is in the leaves.
    var through: UInt64
    var trees: [(copies: UInt8, leaves: [UInt64])]

    init(number: UInt64, through: UInt64, trees: [(copies: UInt8, leaves: [UInt64])]) {
        self.number = number
        self.through = through
        self.trees = trees
    }

    static func == (lhs: Self, rhs: Self) -> Bool {
        lhs.number == rhs.number && lhs.through == rhs.through && lhs.trees.elementsEqual(rhs.trees) { $0 == $1 }
    }

    func hash(into hasher: inout Hasher) { hasher.combine(number) }

    /// The present leaves of a partition.
    init(of partition: PartitionID, in table: LeafTable, number: UInt64, through: UInt64) {
        self.number = number
        self.through = through
        trees = []
        for copies in 1...UInt8(BucketProperties.maximumCopies) {
            if let leaves = table[TreeID(partition: partition, copies: copies)] { trees.append((copies, leaves)) }
        }
    }

    static func key(_ partition: PartitionID) -> ByteBuffer {
        var key = ByteBuffer()
        key.writeInteger(partition.rawValue)
        return key
    }

    /// Of the note that the stored leaves still held.
    static func noteKey(_ partition: PartitionID) -> ByteBuffer {
        var key = key(partition)
        key.writeInteger(UInt8(1))
        return key
    }

    func encode(into buffer: inout ByteBuffer, partition: PartitionID) {
        buffer.clear()
        buffer.reserveCapacity(32 + trees.reduce(0) { $0 + 8 + $1.leaves.count * 8 })
        buffer.writeInteger(UInt64(0))
        buffer.writeInteger(Self.format)
        buffer.writeInteger(number)
        buffer.writeInteger(through)
        buffer.writeInteger(UInt8(trees.count))
        for (copies, leaves) in trees {
            buffer.writeInteger(copies)
            buffer.writeInteger(UInt32(leaves.count))
            leaves.withUnsafeBytes { _ = buffer.writeBytes($0) }
        }
        buffer.setInteger(Self.checksum(of: buffer, partition), at: 0)
    }

    init(decoding bytes: ByteBuffer, partition: PartitionID, layout: LeafLayout) throws(MalformedBytes) {
        var reader = bytes
        guard try reader.readFixed(UInt64.self, "leaves") == Self.checksum(of: bytes, partition) else {
            throw MalformedBytes(.checksumMismatch, "leaves")
        }
        guard try reader.readFixed(UInt8.self, "leaves") == Self.format else {
            throw MalformedBytes(.unknownVersion, "leaves")
        }
        number = try reader.readFixed(UInt64.self, "leaves")
        through = try reader.readFixed(UInt64.self, "leaves")
        let count = Int(try reader.readFixed(UInt8.self, "leaves"))
        trees = []
        for _ in 0..<count {
            let copies = try reader.readFixed(UInt8.self, "leaves")
            let length = Int(try reader.readFixed(UInt32.self, "leaves"))
            guard copies > 0, length == layout.leavesPerPartition else { throw MalformedBytes(.notCanonical, "leaves") }
            guard let slice = reader.readSlice(length: length * 8) else { throw MalformedBytes(.truncated, "leaves") }
            let leaves = slice.withUnsafeReadableBytes { raw in
                (0..<length).map { raw.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
            }
            trees.append((copies, leaves))
        }
        try reader.requireEmpty("leaves")
    }

    private static func checksum(of buffer: ByteBuffer, _ partition: PartitionID) -> UInt64 {
        buffer.withUnsafeReadableBytes {
            xxh3(UnsafeRawBufferPointer(rebasing: $0.dropFirst(checksumBytes)), seed: UInt64(partition.rawValue))
        }
    }

    mutating func apply(_ delta: LeafDelta, layout: LeafLayout) {
        let index: Int
        if let found = trees.firstIndex(where: { $0.copies == delta.copies }) {
            index = found
        } else {
            trees.append((delta.copies, [UInt64](repeating: 0, count: layout.leavesPerPartition)))
            index = trees.count - 1
        }
        trees[index].leaves[delta.leaf] &+= delta.delta
        number = delta.number
    }
}

extension StoredLeaves {
    /// The leaves of a partition from what `merkle` holds of it and the log: `deltas` of the log stand on top of what was
    /// stored. With a reason to compute them anew, `leaves` has only the number right.
    static func recover(
        _ partition: PartitionID, stored bytes: ByteBuffer?, note: ByteBuffer?, log: LogContent, latest: UInt64,
        isAnew: Bool, layout: LeafLayout, isNew: () throws(StoreError) -> Bool
    ) throws(StoreError) -> (leaves: StoredLeaves, deltas: Int, rebuildBecause: String?) {
        var stored: StoredLeaves?
        var reason: String?
        if let bytes {
            do {
                stored = try StoredLeaves(decoding: bytes, partition: partition, layout: layout)
            } catch {
                reason = "the stored leaves: \(error)"
            }
        }
        let deltas = log.deltas[partition] ?? []
        let (leaves, applied, gap) = replay(stored: stored, deltas: deltas, layout: layout)
        if isAnew { reason = reason ?? "it was made anew from what could be read of it" }
        if let found = reason ?? gap { return (leaves, applied, found) }
        if stored == nil, deltas.isEmpty {
            // A family that was just made; otherwise its records must have left a trace.
            return (leaves, 0, try isNew() ? nil : "neither stored leaves nor changes of them in the log")
        }

        var note = note
        let through = max(stored?.through ?? 0, note?.readInteger(as: UInt64.self) ?? 0)
        let reachesBack = log.firstSequence.map { $0 <= through + 1 } ?? (latest <= through)
        if !reachesBack {
            reason = """
                the log goes back to change \(log.firstSequence.map(String.init) ?? "none") only, the stored leaves \
                stand at \(through)
                """
        }
        return (leaves, applied, reason)
    }

    /// Stored leaves and the deltas above their number; nil where a delta is missing, with the reason.
    static func replay(
        stored: StoredLeaves?, deltas: [LeafDelta], layout: LeafLayout
    ) -> (leaves: StoredLeaves, applied: Int, gap: String?) {
        var leaves = stored ?? StoredLeaves(number: 0, through: 0, trees: [])
        var applied = 0
        for delta in deltas where delta.number > leaves.number {
            guard delta.number == leaves.number + 1 else {
                let gap = "leaf changes \(leaves.number + 1)…\(delta.number - 1) are not in the log"
                // Numbers go on above everything that was ever given.
                leaves.number = max(leaves.number, deltas.map(\.number).max() ?? 0)
                return (leaves, applied, gap)
            }
            leaves.apply(delta, layout: layout)
            applied += 1
        }
        return (leaves, applied, nil)
    }
}
