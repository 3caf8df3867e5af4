// What travels in the log with every batch, beside the records, and reaches no table:
//
//   u32 magic | u64 synced through | u32 count | tag | (count - 1) × delta          all little-endian
//   tag:   u16 0 | u8 1 | u8 1 | u32 0 | u64 0 | u64 xxh3 of the 16 bytes before it, seeded with the store's id
//   delta: u16 partition | u8 copies | u8 0 | u32 leaf | u64 number | u64 added modulo 2^64
//
// Behind damage the log is searched byte by byte, and a client's value may hold what looks like a batch with
// a mark. The tag tells the store's own: no client ever sees the id. It covers the mark alone; whether the rest
// of a batch is the store's, too, `LogOrigin` says. It has the shape of a delta that was applied long ago, and
// builds that do not know it take it for one; what they write has none.
//
// A put of the leaf itself would cost a third of the work of storing a record; these 24 bytes cost nearly
// nothing. Deltas are numbered from 1 within their partition, because RocksDB may merge several lanes'
// batches into one log record and a replay must neither miss a delta nor apply one twice.
//
// Fixed fields with raw stores: this is written once for every record.

import CRocksDB
import Glibc
import TorcModel
import TorcReplication

/// One change of a leaf, as the log holds it.
struct LeafDelta: Hashable, Sendable {
    /// Its place among the deltas of its partition.
    var number: UInt64
    var copies: UInt8
    var leaf: Int
    var delta: UInt64
}

/// The log data of one batch, put together delta by delta; its storage is kept. Used by one thread.
struct LogDataWriter: ~Copyable {
    static let magic: UInt32 = 0x3147_4c54  // "TLG1"
    static let headerBytes = 16
    static let deltaBytes = 24
    /// Where a delta has 0.
    static let tagKind: UInt8 = 1
    /// Behind the tag.
    private static let firstDelta = headerBytes + deltaBytes

    private let seed: UInt64
    private var bytes: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    /// nil: what is written while nobody serves, where no mark proves anything.
    init(store: StoreID?) {
        seed = store?.rawValue ?? 0
        bytes = .allocate(byteCount: Self.firstDelta + 64 * Self.deltaBytes, alignment: 8)
    }

    static func tag(of header: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 { xxh3(header, seed: seed) }

    deinit { bytes.deallocate() }

    mutating func clear() { count = 0 }

    mutating func append(_ change: LeafChange, number: UInt64) {
        let at = Self.firstDelta + count * Self.deltaBytes
        if at + Self.deltaBytes > bytes.count { grow() }
        let target = bytes.baseAddress! + at
        target.storeBytes(of: change.tree.partition.rawValue.littleEndian, as: UInt16.self)
        target.storeBytes(of: change.tree.copies, toByteOffset: 2, as: UInt8.self)
        target.storeBytes(of: 0, toByteOffset: 3, as: UInt8.self)
        target.storeBytes(of: UInt32(change.leaf).littleEndian, toByteOffset: 4, as: UInt32.self)
        target.storeBytes(of: number.littleEndian, toByteOffset: 8, as: UInt64.self)
        target.storeBytes(of: change.delta.littleEndian, toByteOffset: 16, as: UInt64.self)
        count += 1
    }

    private mutating func grow() {
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count * 2, alignment: 8)
        larger.copyMemory(from: UnsafeRawBufferPointer(bytes))
        bytes.deallocate()
        bytes = larger
    }

    /// Puts header, tag and deltas into a batch.
    func finish(syncedThrough: UInt64, into batch: borrowing Batch) throws(StoreError) {
        let start = bytes.baseAddress!
        start.storeBytes(of: Self.magic.littleEndian, as: UInt32.self)
        start.storeBytes(of: syncedThrough.littleEndian, toByteOffset: 4, as: UInt64.self)
        start.storeBytes(of: UInt32(count + 1).littleEndian, toByteOffset: 12, as: UInt32.self)
        let header = UnsafeRawBufferPointer(start: start, count: Self.headerBytes)
        let tag = start + Self.headerBytes
        tag.storeBytes(of: 0, as: UInt16.self)
        tag.storeBytes(of: 1, toByteOffset: 2, as: UInt8.self)
        tag.storeBytes(of: Self.tagKind, toByteOffset: 3, as: UInt8.self)
        tag.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        tag.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        tag.storeBytes(of: Self.tag(of: header, seed: seed).littleEndian, toByteOffset: 16, as: UInt64.self)
        try batch.putLogData(UnsafeRawBufferPointer(rebasing: bytes[..<(Self.firstDelta + count * Self.deltaBytes)]))
    }
}

/// Log data as it is read back.
struct LogData {
    var syncedThrough: UInt64
    /// This store has written it.
    var isTagged = false
    var deltas: [(partition: PartitionID, delta: LeafDelta)]

    init(decoding bytes: UnsafeRawBufferPointer, store: StoreID) throws(MalformedBytes) {
        guard bytes.count >= LogDataWriter.headerBytes else { throw MalformedBytes(.truncated, "log data") }
        func load<T: FixedWidthInteger>(_ offset: Int, _ type: T.Type) -> T {
            T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        guard load(0, UInt32.self) == LogDataWriter.magic else { throw MalformedBytes(.unknownVersion, "log data") }
        syncedThrough = load(4, UInt64.self)
        let count = Int(load(12, UInt32.self))
        guard bytes.count == LogDataWriter.headerBytes + count * LogDataWriter.deltaBytes else {
            throw MalformedBytes(.truncated, "log data")
        }
        deltas = []
        deltas.reserveCapacity(count)
        for index in 0..<count {
            let at = LogDataWriter.headerBytes + index * LogDataWriter.deltaBytes
            if index == 0, bytes[at + 3] == LogDataWriter.tagKind {
                let header = UnsafeRawBufferPointer(rebasing: bytes[..<LogDataWriter.headerBytes])
                isTagged = load(at + 16, UInt64.self) == LogDataWriter.tag(of: header, seed: store.rawValue)
                continue
            }
            deltas.append(
                (
                    PartitionID(rawValue: load(at, UInt16.self)),
                    LeafDelta(
                        number: load(at + 8, UInt64.self), copies: bytes[at + 2], leaf: Int(load(at + 4, UInt32.self)),
                        delta: load(at + 16, UInt64.self))
                ))
        }
    }
}

/// Tells what the store has written from a client's bytes that look like it, while a log is read in order.
///
/// Before any damage nothing is searched for: what is read was written as a batch. Behind damage a mark counts if it has
/// the store's tag. For the whole batch that is not enough: the reader puts fragments together, and the first may stand
/// in a value while the others, the tag in the last, are those of that value's own batch. A record of one fragment that
/// has the tag is the store's, as no client can make its checksum; so is what follows it, up to the next damage.
struct LogOrigin {
    /// The batch that was read last is the store's, all of it.
    private(set) var isInPlace = true
    /// The largest mark of that batch that counts.
    private(set) var mark: UInt64?
    private var taggedMark: UInt64?
    /// The batches that can be read where they were written have tags of this store: a mark behind damage that has none
    /// is a client's bytes. Not so in the log of an older build, or of the store that a backup was made of.
    private var hasTags = false
    private var path = ""

    /// RocksDB's record type, and where it stands in a record's header.
    private static let oneFragment: UInt8 = 1
    private static let typeOffset: UInt64 = 6

    /// `path`: the next file of the log.
    mutating func beginFile(_ path: String) {
        self.path = path
        isInPlace = true
    }

    mutating func passDamage() { isInPlace = false }

    mutating func beginBatch() {
        mark = nil
        taggedMark = nil
    }

    mutating func add(_ data: LogData) {
        mark = max(mark ?? 0, data.syncedThrough)
        if data.isTagged { taggedMark = max(taggedMark ?? 0, data.syncedThrough) }
    }

    /// All log data of the batch was added. `start`: where its record begins in the file.
    mutating func endBatch(at start: UInt64) throws(StoreError) {
        if taggedMark != nil {
            hasTags = true
            if !isInPlace { isInPlace = try isOneFragment(recordAt: start) }
        } else if isInPlace, mark != nil {
            hasTags = false
        }
        if !isInPlace, hasTags { mark = taggedMark }
    }

    private func isOneFragment(recordAt start: UInt64) throws(StoreError) -> Bool {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Files.failure("open", path) }
        defer { close(file) }
        var type: UInt8 = 0
        guard pread(file, &type, 1, off_t(start + Self.typeOffset)) == 1 else { throw Files.failure("read", path) }
        return type == Self.oneFragment
    }
}
