// What a manifest says of tables and families, read without RocksDB and as far as it can be read: RocksDB gives up a
// manifest at the first damage, and says nothing of what stands behind it.
//
// A manifest is a log of edits; each names the family that it is about, the tables that it adds and those that it takes
// away (rocksdb/db/version_edit.cc, VersionEdit::EncodeTo).

import CRocksDB
package import NIOCore

package struct ManifestContent: Sendable {
    package struct Table: Hashable, Sendable {
        package var number: UInt64
        package var familyID: UInt32
        package var level: UInt32
        package var bytes: UInt64
        /// Keys of the family, both in the table.
        package var smallest: ByteBuffer
        package var largest: ByteBuffer

        package var fileName: String { ManifestContent.fileName(number) }
    }

    /// `MANIFEST-000123`; nil: there is none.
    package private(set) var file: String?
    /// By id, without those that were dropped.
    package private(set) var families: [UInt32: String] = [0: "default"]
    /// What the database consists of, by number.
    package private(set) var tables: [UInt64: Table] = [:]
    /// Tables that were, and are no longer.
    package private(set) var former: Set<UInt64> = []
    /// Log files with smaller numbers are done with.
    package private(set) var oldestLog: UInt64 = 0
    /// Edits that cannot be read. RocksDB takes what stands before one for the whole where its length is damaged, and goes back
    /// to an older state without a word.
    package private(set) var unreadable = 0
    /// The last of them is the file's end, as a crash leaves it: RocksDB passes over it.
    package private(set) var endsTorn = false
    /// Log files with smaller numbers are done with for a family, by its id.
    private var oldestLogs: [UInt32: UInt64] = [:]
    /// Edits that this build does not understand.
    package private(set) var unknown = 0
    /// It names a table by a number that RocksDB ends the process for: nobody but a hostile hand writes one.
    package private(set) var isHostile = false

    package static func fileName(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".sst"
    }

    /// The number of a table's file; nil: it is none.
    package static func number(ofTable name: String) -> UInt64? {
        name.hasSuffix(".sst") ? UInt64(name.dropLast(4)) : nil
    }

    /// RocksDB reads it as it was written. A table that it names and that is not there is another matter.
    package var isSound: Bool {
        file != nil && unknown == 0 && !isHostile && (unreadable == 0 || unreadable == 1 && endsTorn)
    }

    func oldestLog(of family: UInt32) -> UInt64 { max(oldestLog, oldestLogs[family] ?? 0) }

    package func family(of table: Table) -> String? { families[table.familyID] }
    package func familyID(of name: String) -> UInt32? { families.first { $0.value == name }?.key }

    /// Reads the manifest that CURRENT names or, where that cannot be told, the newest.
    package static func read(database: String) throws(StoreError) -> ManifestContent {
        var content = ManifestContent()
        let current = (try? Files.read(database + "/CURRENT", limit: 256)).map { String(decoding: $0, as: UTF8.self) }
        let named = current?.split(separator: "\n").first.map(String.init)
        if let named, number(ofManifest: named) != nil, Files.exists("\(database)/\(named)") {
            content.file = named
        } else {
            content.file = try Files.names(in: database).filter { number(ofManifest: $0) != nil }
                .max { number(ofManifest: $0)! < number(ofManifest: $1)! }
        }
        guard let file = content.file else { return content }
        var reader: OpaquePointer?
        try Database.check(torc_log_reader_open("\(database)/\(file)", &reader), "read the manifest")
        defer { torc_log_reader_destroy(reader) }
        while true {
            var item = TORC_LOG_END
            var position = torc_log_position()
            try Database.check(torc_log_reader_next(reader, &item, &position), "read the manifest")
            switch item {
            case TORC_LOG_RECORD:
                content.endsTorn = false
                let bytes = UnsafeRawBufferPointer(start: position.bytes, count: position.length)
                if !content.apply(ByteBuffer(bytes: bytes)) { content.unknown += 1 }
            case TORC_LOG_DAMAGE:
                content.unreadable += 1
                content.endsTorn = true
            default: return content
            }
        }
    }

    private static func number(ofManifest name: String) -> UInt64? {
        name.hasPrefix("MANIFEST-") ? UInt64(name.dropFirst(9)) : nil
    }

    private enum Tag {
        static let comparator: UInt64 = 1
        static let logNumber: UInt64 = 2
        static let nextFileNumber: UInt64 = 3
        static let lastSequence: UInt64 = 4
        static let compactCursor: UInt64 = 5
        static let deletedFile: UInt64 = 6
        static let previousLogNumber: UInt64 = 9
        static let oldestLog: UInt64 = 10
        static let newFile: UInt64 = 103
        static let family: UInt64 = 200
        static let familyAdd: UInt64 = 201
        static let familyDrop: UInt64 = 202
        static let maximumFamily: UInt64 = 203
        static let atomicGroup: UInt64 = 300
        /// A reader may pass over what it does not know.
        static let ignorable: UInt64 = 1 << 13
        /// Within a new file: no more fields.
        static let terminate: UInt64 = 1
    }

    /// Numbers of tables have 62 bits (rocksdb/db/version_edit.h, kFileNumberMask).
    private static let largestNumber: UInt64 = 1 << 62 - 1

    /// An internal key ends with a sequence number and a type.
    private static let trailerBytes = 8

    /// False: what it says is not understood; nothing of it counts.
    private mutating func apply(_ edit: ByteBuffer) -> Bool {
        var reader = edit
        var familyID: UInt32 = 0
        var added: String?
        var isDropped = false
        var deleted: [UInt64] = []
        var new: [Table] = []
        var oldest = oldestLog
        var ownLog: UInt64 = 0
        do {
            while reader.readableBytes > 0 {
                let tag = try reader.readLoose()
                switch tag {
                case Tag.logNumber: ownLog = try reader.readLoose()
                case Tag.nextFileNumber, Tag.lastSequence, Tag.previousLogNumber, Tag.maximumFamily,
                    Tag.atomicGroup:
                    _ = try reader.readLoose()
                case Tag.comparator: _ = try reader.readLooseSlice()
                case Tag.compactCursor:
                    _ = try reader.readLoose()
                    _ = try reader.readLooseSlice()
                case Tag.deletedFile:
                    _ = try reader.readLoose()
                    deleted.append(try reader.readLoose())
                case Tag.oldestLog: oldest = max(oldest, try reader.readLoose())
                case Tag.newFile: new.append(try Self.table(&reader))
                case Tag.family: familyID = UInt32(truncatingIfNeeded: try reader.readLoose())
                case Tag.familyAdd: added = String(buffer: try reader.readLooseSlice())
                case Tag.familyDrop: isDropped = true
                default:
                    guard tag & Tag.ignorable != 0 else { return false }
                    _ = try reader.readLooseSlice()
                }
            }
        } catch {
            return false
        }
        oldestLog = oldest
        oldestLogs[familyID] = max(oldestLogs[familyID] ?? 0, ownLog)
        if let added { families[familyID] = added }
        for number in deleted {
            tables[number] = nil
            former.insert(number)
        }
        // A table that changes its level is taken away and added in one edit.
        for var table in new {
            if table.number > Self.largestNumber { isHostile = true }
            table.familyID = familyID
            tables[table.number] = table
            former.remove(table.number)
        }
        if isDropped {
            families[familyID] = nil
            for table in tables.values where table.familyID == familyID {
                tables[table.number] = nil
                former.insert(table.number)
            }
        }
        return true
    }

    private static func table(_ reader: inout ByteBuffer) throws(MalformedEdit) -> Table {
        let level = UInt32(truncatingIfNeeded: try reader.readLoose())
        let number = try reader.readLoose()
        let bytes = try reader.readLoose()
        let smallest = try userKey(&reader)
        let largest = try userKey(&reader)
        _ = try reader.readLoose()
        _ = try reader.readLoose()
        while try reader.readLoose() != Tag.terminate { _ = try reader.readLooseSlice() }
        return Table(number: number, familyID: 0, level: level, bytes: bytes, smallest: smallest, largest: largest)
    }

    private static func userKey(_ reader: inout ByteBuffer) throws(MalformedEdit) -> ByteBuffer {
        let key = try reader.readLooseSlice()
        guard key.readableBytes >= trailerBytes else { throw MalformedEdit() }
        return key.getSlice(at: key.readerIndex, length: key.readableBytes - trailerBytes)!
    }

    /// Takes tables out of a database that nobody has open, by an edit behind those of its manifest, for RocksDB to read. The
    /// files stay. The manifest is whole.
    static func remove(_ tables: [Table], from database: String, manifest file: String) throws(StoreError) {
        for table in tables {
            var edit = ByteBuffer()
            edit.writeLoose(Tag.deletedFile)
            edit.writeLoose(UInt64(table.level))
            edit.writeLoose(table.number)
            edit.writeLoose(Tag.family)
            edit.writeLoose(UInt64(table.familyID))
            let error = edit.withUnsafeReadableBytes {
                torc_log_append("\(database)/\(file)", $0.baseAddress, $0.count)
            }
            try Database.check(error, "write the manifest")
        }
    }
}

private struct MalformedEdit: Error {}

/// RocksDB's integers, which need not have their shortest form.
extension ByteBuffer {
    fileprivate mutating func readLoose() throws(MalformedEdit) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64, let byte = readInteger(as: UInt8.self) {
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw MalformedEdit()
    }

    fileprivate mutating func readLooseSlice() throws(MalformedEdit) -> ByteBuffer {
        let length = try readLoose()
        guard length <= UInt64(readableBytes), let slice = readSlice(length: Int(length)) else { throw MalformedEdit() }
        return slice
    }

    fileprivate mutating func writeLoose(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }
}
