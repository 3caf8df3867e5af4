// Reads one column family from end to end: first the checksums of its tables, each file by itself, so that it can be said
// which one is damaged; then its records, in the order of their keys.

import NIOCore
import TorcModel
import TorcReplication
import TorcStorage

/// What a family holds, and what is wrong with it.
struct FamilyCheck: Sendable {
    struct Faults: Sendable {
        var count = 0
        /// The first, for a person.
        var first = ""

        mutating func add(_ text: @autoclosure () -> String) {
            if count == 0 { first = text() }
            count += 1
        }
    }

    let family: StoredFamily
    /// Tables with damage: their numbers, whether they could be opened, and what RocksDB says.
    var tables: [(number: UInt64, isOpen: Bool, problem: String)] = []
    /// What ended the walk.
    var problem: String?
    var entries: UInt64 = 0
    var bytes: UInt64 = 0
    var tombstones: UInt64 = 0
    var graves: UInt64 = 0
    var unreadable = Faults()
    var misplaced = Faults()
    /// Of hints, by target.
    var targets: [NodeID: Int] = [:]
    /// Computed from the records, by n.
    var trees: [UInt8: [UInt64]] = [:]

    init(_ family: StoredFamily) { self.family = family }

    /// `tables`: the family's, by number; empty: their checksums are verified on the way. `advance` is told of entries.
    mutating func run(
        _ reader: FolderReader, _ folder: FolderTables, tables numbers: [UInt64], hashSeed: HashSeed?,
        advance: (UInt64) -> Void
    ) throws {
        for number in numbers {
            let (found, problem) = try folder.check(number, checksums: true)
            if let problem { tables.append((number, found != nil, problem)) }
        }
        let checksums = numbers.isEmpty || !tables.isEmpty
        do {
            if family.isHints {
                try walkHints(reader, checksums: checksums)
            } else if let partition = family.partition {
                try walkRecords(of: partition, reader, checksums: checksums, hashSeed, advance)
            } else {
                try reader.walkAll(family, checksums: checksums) { key, value in
                    entries += 1
                    bytes += UInt64(key.readableBytes + value.readableBytes)
                }
            }
        } catch let error as StoreError where !error.isOfTheSystem {
            if case .newerFormat = error { throw error }
            problem = error.detail
        }
    }

    /// Entries between two words to a progress bar.
    private static let stride: UInt64 = 1_000

    private mutating func walkRecords(
        of partition: PartitionID, _ reader: FolderReader, checksums: Bool, _ hashSeed: HashSeed?,
        _ advance: (UInt64) -> Void
    ) throws {
        let layout = reader.layout
        // Locals, which the compiler knows to be used by nobody else.
        var sums = LeafSums(leaves: layout.leavesPerPartition)
        var (entries, bytes, tombstones, graves) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        defer {
            self.entries = entries
            self.bytes = bytes
            self.tombstones = tombstones
            self.graves = graves
            trees = sums.trees
        }
        try reader.walkAll(family, checksums: checksums) { key, value in
            entries += 1
            bytes += UInt64(key.readableBytes + value.readableBytes)
            if entries.isMultiple(of: Self.stride) { advance(Self.stride) }
            do {
                let name = try ObjectKey(storageKey: key)
                let own = layout.ringSize.partition(of: name.position)
                guard own == partition else {
                    misplaced.add("\(PlainText.name(name)) belongs to partition \(own.index)")
                    return
                }
                let record = try Record(decoding: value, for: name)
                guard record.hint == nil else {
                    unreadable.add("\(PlainText.name(name)): a hint among records")
                    return
                }
                let object = try record.object()
                if record.isGrave {
                    graves += 1
                    return
                }
                if object.isTombstone { tombstones += 1 }
                guard let hashSeed else { return }
                sums.add(
                    hashSeed.contentHash(key: name, body: record.body).rawValue, copies: record.header.copies,
                    leaf: layout.leaf(of: name.position))
            } catch let error as MalformedBytes where error.reason == .unknownVersion {
                throw StoreError.newerRecord(value, in: reader.path)
            } catch let error as MalformedBytes {
                unreadable.add("key \(Self.hex(key)): \(error)")
            }
        }
        advance(entries % Self.stride)
    }

    private mutating func walkHints(_ reader: FolderReader, checksums: Bool) throws {
        try reader.walkAll(family, checksums: checksums) { key, value in
            entries += 1
            bytes += UInt64(key.readableBytes + value.readableBytes)
            if let fault = StoredHintFault.find(key: key, value: value) {
                if fault == .newer { throw StoreError.newerRecord(value, in: reader.path) }
                unreadable.add("key \(Self.hex(key)): \(fault)")
            }
            if let target = key.getInteger(at: key.readerIndex, as: UInt64.self) {
                targets[NodeID(rawValue: target), default: 0] += 1
            }
        }
    }

    private static let shownBytes = 48

    private static func hex(_ key: ByteBuffer) -> String {
        let text = key.readableBytesView.prefix(shownBytes).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
        return key.readableBytes > shownBytes ? text + "…" : text
    }
}

/// Sums of content hashes, a tree for each n. Nearly all records of a partition have the same.
private struct LeafSums {
    private let empty: [UInt64]
    private var others: [UInt8: [UInt64]] = [:]
    private var copies: UInt8 = 0
    private var present: [UInt64]

    init(leaves: Int) {
        empty = [UInt64](repeating: 0, count: leaves)
        present = empty
    }

    mutating func add(_ hash: UInt64, copies number: UInt8, leaf: Int) {
        if number != copies {
            if copies > 0 { others[copies] = present }
            present = others.removeValue(forKey: number) ?? empty
            copies = number
        }
        present[leaf] &+= hash
    }

    var trees: [UInt8: [UInt64]] {
        var trees = others
        if copies > 0 { trees[copies] = present }
        return trees
    }
}

extension StoredFamily {
    /// Or a copy of it.
    var isHints: Bool { name == "hints" || name.hasPrefix("hints+") }
    var isMerkle: Bool { name == "merkle" || name.hasPrefix("merkle+") }
    var isMeta: Bool { name == "meta" }
}
