// The file that `export` writes and `import` reads: records of any number of folders, compressed, each piece with its
// checksum, so that a file which was cut short is as good as what it holds.
//
//   "TORCEXP1" | u32 length | header, JSON | u64 checksum of the header
//   | pieces: u32 bytes | u32 compressed bytes | u32 records | u64 checksum | compressed bytes
//   | end: u32 0 | u32 0 | u32 0 | u64 records in all | u64 checksum
//
//   piece = records × (varint length, storage key | varint length, record)      ascending by storage key
//
// Integers are big-endian. A piece's checksum is xxh3 of its three lengths and its compressed bytes, seeded with the checksum
// of what stands before it: pieces of two files do not go together. Key and record are as they are stored (STORAGE.md).

import CZlib
import Foundation
package import NIOCore
package import TorcModel

/// Why an export is not written or read.
package struct ExportError: Error, Hashable, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

/// What an export says of itself.
package struct ExportHeader: Codable, Hashable, Sendable {
    package var cluster: String
    package var ringSize: Int
    /// By their names; the newest of all of them is what is in the file.
    package var stores: [String]
    /// As they were asked for, for people, and so that a file is only gone on with that was begun so.
    package var filter: String

    package init(cluster: String, ringSize: Int, stores: [String], filter: String) {
        self.cluster = cluster
        self.ringSize = ringSize
        self.stores = stores
        self.filter = filter
    }
}

/// A record with its key, as they are stored.
package struct ExportEntry: Hashable, Sendable {
    package var key: ObjectKey
    package var record: ByteBuffer

    package init(key: ObjectKey, record: ByteBuffer) {
        self.key = key
        self.record = record
    }
}

enum ExportFormat {
    static let magic = ByteBuffer(string: "TORCEXP1")
    /// Before it is compressed. One record may be longer.
    static let pieceBytes = 1 << 20
    /// A longer one is none that was written: a record is 64 MiB at the most, its key 72 KiB.
    static let largestPiece = 160 << 20
    static let largestHeader = 1 << 20
    static let headBytes = 20
    static let endBytes = 28
    static let seed: UInt64 = 0x746f_7263_6578_7001

    static func checksum(_ bytes: UInt32, _ packed: UInt32, _ records: UInt32, _ content: ByteBuffer, seed: UInt64)
        -> UInt64
    {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(bytes, packed, records)
        buffer.writeImmutableBuffer(content)
        return xxh3(buffer, seed: seed)
    }
}

/// Writes one. Until `finish` it is called `PATH.part`; begun again with the same header it goes on where it was.
package final class ExportWriter {
    private let path: String
    private let part: String
    private let file: FileHandle
    private var seed: UInt64
    private var piece = ByteBuffer()
    private var pieceRecords: UInt32 = 0
    private var keyOfPiece: ObjectKey?
    package private(set) var records: UInt64 = 0
    package private(set) var fileBytes: UInt64 = 0
    /// The last key that the file held when it was opened: what comes after it is to be written.
    package private(set) var resumesAfter: ObjectKey?

    package init(_ path: String, header: ExportHeader) throws {
        self.path = path
        part = path + ".part"
        guard !FileManager.default.fileExists(atPath: path) else {
            throw ExportError("\(path) is there already: name another file, or move it away")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let json = ByteBuffer(bytes: try encoder.encode(header))
        var head = ExportFormat.magic
        head.writeInteger(UInt32(json.readableBytes))
        head.writeImmutableBuffer(json)
        seed = xxh3(json, seed: ExportFormat.seed)
        head.writeInteger(seed)
        var kept: UInt64?
        // One that was killed before its first words were out.
        let length = (try? FileManager.default.attributesOfItem(atPath: part)[.size] as? UInt64) ?? 0
        if length >= head.readableBytes {
            let reader = try ExportReader(part)
            guard reader.header == header else {
                throw ExportError(
                    "\(part) was begun of other folders, or with another filter: remove it to begin anew")
            }
            // As far as it is whole.
            while let entries = try? reader.next() {
                resumesAfter = entries.last?.key
                records += UInt64(entries.count)
                kept = reader.offset
                seed = reader.seed
            }
            kept = kept ?? UInt64(head.readableBytes)
        } else {
            guard FileManager.default.createFile(atPath: part, contents: nil) else {
                throw ExportError("\(part) cannot be made: does its folder exist?")
            }
        }
        guard let file = FileHandle(forUpdatingAtPath: part) else { throw ExportError("\(part) cannot be written") }
        self.file = file
        if let kept {
            try file.truncate(atOffset: kept)
            try file.seek(toOffset: kept)
            fileBytes = kept
        } else {
            try write(head)
        }
    }

    private func write(_ bytes: ByteBuffer) throws {
        try file.write(contentsOf: Data(bytes.readableBytesView))
        fileBytes += UInt64(bytes.readableBytes)
    }

    /// Ascending by key.
    package func add(_ entry: ExportEntry) throws {
        precondition(keyOfPiece.map { $0 < entry.key } ?? true, "\(entry.key) after \(keyOfPiece!)")
        piece.writeLengthPrefixed(entry.key.storageKey)
        piece.writeLengthPrefixed(entry.record)
        pieceRecords += 1
        records += 1
        keyOfPiece = entry.key
        if piece.readableBytes >= ExportFormat.pieceBytes { try flush() }
    }

    private func flush() throws {
        guard pieceRecords > 0 else { return }
        let bound = torc_compress_bound(piece.readableBytes)
        var packed = ByteBuffer()
        let length = packed.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { out in
            piece.withUnsafeReadableBytes { torc_compress($0.baseAddress, $0.count, out.baseAddress, out.count) }
        }
        guard length > 0 else { throw ExportError("there is no memory to compress \(piece.readableBytes) bytes") }
        let sizes = (UInt32(piece.readableBytes), UInt32(length))
        seed = ExportFormat.checksum(sizes.0, sizes.1, pieceRecords, packed, seed: seed)
        var head = ByteBuffer()
        head.writeMultipleIntegers(sizes.0, sizes.1, pieceRecords, seed)
        try write(head)
        try write(packed)
        piece.clear()
        pieceRecords = 0
    }

    /// The file is whole, and gets its name.
    package func finish() throws {
        try flush()
        var end = ByteBuffer()
        end.writeMultipleIntegers(UInt32(0), UInt32(0), UInt32(0), records)
        end.writeInteger(xxh3(end, seed: seed))
        try write(end)
        try file.synchronize()
        try file.close()
        guard rename(part, path) == 0 else { throw ExportError("\(part) cannot be renamed to \(path)") }
    }
}

/// Reads one, piece by piece.
package final class ExportReader {
    package let header: ExportHeader
    package let path: String
    private let file: FileHandle
    /// Behind the piece that was read last.
    package private(set) var offset: UInt64
    /// Which export it is: of the header, which names what was exported, and of the first piece.
    package let checksum: UInt64
    fileprivate var seed: UInt64
    private var records: UInt64 = 0
    private var last: ObjectKey?
    package private(set) var isFinished = false

    package init(_ path: String) throws {
        guard let file = FileHandle(forReadingAtPath: path) else { throw ExportError("\(path) cannot be read") }
        self.file = file
        self.path = path
        guard var head = try Self.read(file, ExportFormat.magic.readableBytes + 4),
            head.readSlice(length: ExportFormat.magic.readableBytes) == ExportFormat.magic,
            let length = head.readInteger(as: UInt32.self), length <= ExportFormat.largestHeader,
            var rest = try Self.read(file, Int(length) + 8), let json = rest.readSlice(length: Int(length)),
            let checksum = rest.readInteger(as: UInt64.self), checksum == xxh3(json, seed: ExportFormat.seed),
            let header = try? JSONDecoder().decode(ExportHeader.self, from: Data(json.readableBytesView))
        else { throw ExportError("\(path) is no export: `torc inspect export` makes one") }
        self.header = header
        self.checksum = checksum
        seed = checksum
        offset = UInt64(ExportFormat.magic.readableBytes + 4 + Int(length) + 8)
    }

    deinit { try? file.close() }

    /// Nil: the file ends before.
    private static func read(_ file: FileHandle, _ count: Int) throws -> ByteBuffer? {
        if count == 0 { return ByteBuffer() }
        guard let data = try file.read(upToCount: count), data.count == count else { return nil }
        return ByteBuffer(bytes: data)
    }

    private func damaged(_ what: String) -> ExportError {
        ExportError("\(path) is damaged at byte \(offset): \(what). Everything before it can be imported")
    }

    /// The next piece's entries; nil: that was all of it. Throws where the file is damaged, or was cut short.
    package func next() throws -> [ExportEntry]? {
        if isFinished { return nil }
        guard var head = try Self.read(file, ExportFormat.headBytes), let bytes = head.readInteger(as: UInt32.self),
            let packed = head.readInteger(as: UInt32.self), let count = head.readInteger(as: UInt32.self),
            let checksum = head.readInteger(as: UInt64.self)
        else { throw damaged("it ends there") }
        if bytes == 0, packed == 0, count == 0 { return try end(checksum) }
        guard bytes <= ExportFormat.largestPiece, packed <= ExportFormat.largestPiece, packed > 0,
            let content = try Self.read(file, Int(packed))
        else { throw damaged("a piece is cut short") }
        guard ExportFormat.checksum(bytes, packed, count, content, seed: seed) == checksum else {
            throw damaged("a piece's checksum does not match")
        }
        var piece = ByteBuffer()
        let isWhole = piece.writeWithUnsafeMutableBytes(minimumWritableBytes: Int(bytes)) { out in
            content.withUnsafeReadableBytes {
                torc_uncompress($0.baseAddress, $0.count, out.baseAddress, Int(bytes)) ? Int(bytes) : 0
            }
        }
        guard isWhole == Int(bytes) else { throw damaged("a piece cannot be decompressed") }
        var entries: [ExportEntry] = []
        do {
            for _ in 0..<count {
                let key = try ObjectKey(storageKey: piece.readLengthPrefixed("exported key"))
                entries.append(ExportEntry(key: key, record: try piece.readLengthPrefixed("exported record")))
                guard last.map({ $0 < key }) ?? true else { throw MalformedBytes(.notCanonical, "exported key") }
                last = key
            }
            try piece.requireEmpty("exported piece")
        } catch let error as MalformedBytes {
            throw damaged("\(error)")
        }
        seed = checksum
        offset += UInt64(ExportFormat.headBytes) + UInt64(packed)
        records += UInt64(count)
        return entries
    }

    private func end(_ total: UInt64) throws -> [ExportEntry]? {
        var end = ByteBuffer()
        end.writeMultipleIntegers(UInt32(0), UInt32(0), UInt32(0), total)
        guard var rest = try Self.read(file, 8), rest.readInteger(as: UInt64.self) == xxh3(end, seed: seed),
            total == records
        else { throw damaged("it does not end as it should") }
        isFinished = true
        return nil
    }
}
