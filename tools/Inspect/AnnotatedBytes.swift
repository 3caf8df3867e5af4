// Bytes of the store beside what they mean, as docs/STORAGE.md shows them. It reads on where a decoder would refuse: of a
// damaged entry a person wants to see what is there.

import NIOCore
import TorcModel
import TorcReplication
import TorcStorage

struct AnnotatedBytes {
    struct Row {
        var offset: Int
        var bytes: ByteBuffer
        var meaning: String
    }

    private(set) var rows: [Row] = []
    /// Where it could not be read on, or what does not hold of the whole.
    private(set) var problem: String?
    private var reader: ByteBuffer
    private let start: Int

    private static let bytesInLine = 8

    init(_ bytes: ByteBuffer) {
        reader = bytes
        start = bytes.readerIndex
    }

    /// Takes what `body` reads for one row; what is left of the bytes after a failure is one more.
    private mutating func take(_ body: (inout ByteBuffer) throws -> String) {
        guard problem == nil else { return }
        let before = reader
        do {
            let meaning = try body(&reader)
            add(before, before.readableBytes - reader.readableBytes, meaning)
        } catch {
            reader = before
            fail("\(error)")
        }
    }

    private mutating func add(_ before: ByteBuffer, _ count: Int, _ meaning: String) {
        rows.append(
            Row(
                offset: before.readerIndex - start, bytes: before.getSlice(at: before.readerIndex, length: count)!,
                meaning: meaning))
    }

    private mutating func fail(_ what: String) {
        problem = problem ?? what
        guard reader.readableBytes > 0 else { return }
        add(reader, reader.readableBytes, "not decoded: \(what)")
        reader.moveReaderIndex(to: reader.writerIndex)
    }

    private mutating func finish() {
        if problem == nil, reader.readableBytes > 0 { fail("bytes that should not be there") }
    }

    private mutating func eight(_ meaning: @escaping (UInt64) -> String) {
        take { meaning(try $0.readFixed(UInt64.self, "eight bytes")) }
    }

    private mutating func one(_ meaning: @escaping (UInt8) -> String) {
        take { meaning(try $0.readFixed(UInt8.self, "a byte")) }
    }

    private mutating func number(_ meaning: @escaping (UInt64) -> String) {
        take { meaning(try $0.readVarint("a number")) }
    }

    /// A length and so many bytes, two rows.
    private mutating func prefixed(_ name: String, _ meaning: @escaping (ByteBuffer) -> String) {
        var length = 0
        take { reader in
            let count = try reader.readVarint("a length")
            guard count <= UInt64(reader.readableBytes) else { throw MalformedBytes(.truncated, "a length") }
            length = Int(count)
            return "\(name): \(length) bytes"
        }
        guard problem == nil, length > 0 else { return }
        take { meaning($0.readSlice(length: length)!) }
    }

    // MARK: Keys

    static func storageKey(_ key: ByteBuffer) -> AnnotatedBytes {
        var result = AnnotatedBytes(key)
        result.addStorageKey()
        if result.problem == nil {
            do { _ = try ObjectKey(storageKey: key) } catch { result.problem = "\(error)" }
        }
        return result
    }

    private mutating func addStorageKey() {
        eight { _ in "ring position" }
        prefixed("bucket type") { PlainText.name($0) }
        if rows.last?.meaning == "bucket type: 0 bytes" { rows[rows.count - 1].meaning = "bucket type: default" }
        prefixed("bucket") { PlainText.name($0) }
        if reader.readableBytes > 0 { take { PlainText.name($0.readSlice(length: $0.readableBytes)!) } }
    }

    static func hintKey(_ key: ByteBuffer, _ names: NodeNames) -> AnnotatedBytes {
        var result = AnnotatedBytes(key)
        result.eight { "kept for \(names.title(of: NodeID(rawValue: $0)))" }
        result.addStorageKey()
        return result
    }

    // MARK: Records

    /// `key`: nil where it cannot be read; then no checksum can be tried.
    static func record(_ bytes: ByteBuffer, key: ObjectKey?, _ names: NodeNames) -> AnnotatedBytes {
        var result = AnnotatedBytes(bytes)
        result.eight { _ in "checksum of all that follows" }
        var format: UInt8 = 0
        result.one {
            format = $0
            switch $0 {
            case Record.format: return "format"
            case Record.hintFormat: return "format: a hint"
            case Record.graveFormat: return "format: a grave"
            default: return "a format that this build does not know"
            }
        }
        result.one { "n: \($0)" }
        result.eight { $0 == 0 ? "no actor of this replica" : "actor that this replica mints with" }
        result.eight { $0 == 0 ? "no incarnation" : "incarnation that it was drawn in" }
        result.number { $0 == 0 ? "it minted nothing" : "the counter that it minted last: \($0)" }
        if format == Record.hintFormat {
            result.eight { "kept for \(names.title(of: NodeID(rawValue: $0)))" }
            result.number { "since \(PlainText.time(WallTime(microseconds: $0)))" }
        }
        result.addObject(names)
        if let key, result.problem == nil {
            do { _ = try RecordView(key: key, value: bytes) } catch { result.problem = "\(error)" }
        }
        return result
    }

    private mutating func addObject(_ names: NodeNames) {
        one { byte in "mode: \(ConflictMode(rawValue: byte).map { "\($0)" } ?? "unknown")" }
        var count: UInt64 = 0
        number {
            count = $0
            return $0 == 1 ? "clock: 1 entry" : "clock: \($0) entries"
        }
        // The count is whatever the bytes say.
        while count > 0, problem == nil {
            count -= 1
            take { reader in
                let actor = Actor(rawValue: try reader.readFixed(UInt64.self, "an actor"))
                let counter = try reader.readVarint("a counter")
                return "\(actor):\(counter)" + (names.node(of: actor).map { ", of \(names.title(of: $0))" } ?? "")
            }
        }
        number {
            count = $0
            return $0 == 1 ? "1 sibling" : "\($0) siblings"
        }
        var index: UInt64 = 0
        while index < count, problem == nil {
            index += 1
            addSibling(index)
        }
        finish()
    }

    private mutating func addSibling(_ number: UInt64) {
        eight { "sibling \(number): actor \(hexadecimal($0))" }
        self.number { "its counter: \($0)" }
        self.number { "stamp: \(PlainText.time(HybridTimestamp(rawValue: $0)))" }
        var flags: UInt8 = 0
        one {
            flags = $0
            let words = [(1, "a delete"), (2, "it expires"), (4, "it has a write id")].filter { flags & $0.0 != 0 }
            return "flags: " + (words.isEmpty ? "none" : words.map(\.1).joined(separator: ", "))
        }
        if flags & 2 != 0 { self.number { "expires \(PlainText.time(WallTime(microseconds: $0)))" } }
        if flags & 4 != 0 {
            take { reader in
                guard reader.readSlice(length: 16) != nil else { throw MalformedBytes(.truncated, "a write id") }
                return "write id"
            }
        }
        prefixed("metadata") { bytes in
            guard let metadata = try? ContentMetadata(decoding: bytes) else { return "that cannot be read" }
            let type = PlainText.name(metadata.contentType)
            let more = metadata.links.count + metadata.userMetadata.count + metadata.indexes.count
            return (type.isEmpty ? "no content type" : type) + (more == 0 ? "" : ", \(more) links, entries and indexes")
        }
        prefixed("value") { PlainText.preview($0) }
    }

    // MARK: Leaves

    static func leaves(_ bytes: ByteBuffer, partition: PartitionID, layout: LeafLayout) -> AnnotatedBytes {
        var result = AnnotatedBytes(bytes)
        result.eight { _ in "checksum of all that follows" }
        result.one { "format\($0 == 1 ? "" : " that this build does not know")" }
        result.eight { "number of the last change that is in them: \($0)" }
        result.eight { "every change of the database up to this one is: \($0)" }
        var trees: UInt8 = 0
        result.one {
            trees = $0
            return "trees: \($0)"
        }
        var index = 0
        while index < trees, result.problem == nil {
            index += 1
            result.one { "tree of n \($0)" }
            var count = 0
            result.take { reader in
                count = Int(try reader.readFixed(UInt32.self, "a count"))
                return "leaves: \(count)"
            }
            result.take { reader in
                guard count <= reader.readableBytes / 8, let slice = reader.readSlice(length: count * 8) else {
                    throw MalformedBytes(.truncated, "leaves")
                }
                var filled = 0
                var leaves = slice
                while let leaf = leaves.readInteger(as: UInt64.self) { filled += leaf == 0 ? 0 : 1 }
                return "the leaves, \(filled) of them not 0"
            }
        }
        result.finish()
        if result.problem == nil {
            do { _ = try StoredTrees(decoding: bytes, partition: partition, layout: layout) } catch {
                result.problem = "\(error)"
            }
        }
        return result
    }

    static func leavesNote(_ bytes: ByteBuffer) -> AnnotatedBytes {
        var result = AnnotatedBytes(bytes)
        result.eight { "the stored leaves still hold at change \($0)" }
        result.finish()
        return result
    }

    // MARK: meta

    static func meta(_ bytes: ByteBuffer, name: MetaName, _ names: NodeNames) -> AnnotatedBytes {
        var result = AnnotatedBytes(bytes)
        switch name {
        case .clean: result.one { _ in "the last run ended with a clean stop" }
        case .incarnations:
            while result.reader.readableBytes > 0, result.problem == nil {
                let isLast = result.reader.readableBytes == 8
                result.eight { "incarnation \(hexadecimal($0))\(isLast ? ", the last" : "")" }
            }
        case .damaged:
            result.take { reader in
                let list = try StoredDamage.list(decoding: reader)
                reader.moveReaderIndex(to: reader.writerIndex)
                let words = list.map {
                    "\($0.name)\($0.generation.map { ", made anew as generation \($0)" } ?? ""), \($0.lostLeaves.count) lost leaves"
                }
                return words.isEmpty ? "no family is damaged" : words.joined(separator: "; ")
            }
        case .server("ring"):
            result.take { reader in
                let record = try RingRecord(decoding: reader)
                reader.moveReaderIndex(to: reader.writerIndex)
                return "the ring: \(record.state.version), \(record.state.placement.phase), members "
                    + record.state.members.map { names.name(of: $0.node) }.joined(separator: " ")
                    + (record.vote.promised.map { "; promised ballot \($0)" } ?? "")
                    + (record.vote.accepted.map { "; accepted \($0.state.version)" } ?? "")
                    + (record.staged.isEmpty ? "" : "; staged: ")
                    + record.staged.map { RingReport.words($0, names) }.joined(separator: ", ")
            }
        case .server("membership"):
            result.one { "format\($0 == 1 ? "" : " that this build does not know")" }
            result.eight { "membership incarnation \($0)" }
        case .server("properties"):
            result.one { "format\($0 == 1 ? "" : " that this build does not know")" }
            var count: UInt64 = 0
            result.number {
                count = $0
                return "entries: \($0)"
            }
            while count > 0, result.problem == nil {
                count -= 1
                result.take { words(of: try PropertiesEntry(decoding: &$0), names) }
            }
        case .server("declared"):
            result.one { "format\($0 == 1 ? "" : " that this build does not know")" }
            var count: UInt64 = 0
            result.number {
                count = $0
                return "members: \($0)"
            }
            while count > 0, result.problem == nil {
                count -= 1
                result.eight { "member \(hexadecimal($0))" }
                result.prefixed("name and address") { PlainText.name($0) }
            }
        case .server, .unknown:
            if result.reader.readableBytes > 0 {
                result.take { reader in
                    reader.moveReaderIndex(to: reader.writerIndex)
                    return "bytes that this build knows nothing of"
                }
            }
        }
        result.finish()
        return result
    }

    private static func words(of entry: PropertiesEntry, _ names: NodeNames) -> String {
        let scope =
            switch entry.scope {
            case .type(let type): "type \(type.readableBytes == 0 ? "default" : PlainText.name(type))"
            case .bucket(let bucket): "bucket \(PlainText.name(bucket))"
            }
        let properties = entry.versioned.properties
        let what = entry.versioned.inherits ? "reset" : "n \(properties.n), \(properties.conflictMode)"
        return
            "\(scope): \(what), set \(PlainText.time(entry.versioned.stamp)) by \(names.title(of: entry.versioned.setBy))"
    }

    // MARK: For a person

    /// Hexadecimal at the left, eight bytes a line, and the meaning at the right. Rows are cut at `limit` bytes.
    func lines(limit: Int) -> [String] {
        let width = Self.bytesInLine * 3 - 1
        var lines: [String] = []
        for row in rows {
            var bytes = row.bytes.getSlice(at: row.bytes.readerIndex, length: min(limit, row.bytes.readableBytes))!
            var isFirst = true
            repeat {
                let part = bytes.readSlice(length: min(Self.bytesInLine, bytes.readableBytes))!
                let hex = PlainText.hex(part)
                lines.append(isFirst ? hex.padded(to: width) + "   " + row.meaning : hex)
                isFirst = false
            } while bytes.readableBytes > 0
            if row.bytes.readableBytes > limit {
                lines.append("…".padded(to: width) + "   \(row.bytes.readableBytes - limit) bytes more")
            }
        }
        if let problem { lines.append("DAMAGED".padded(to: width) + "   \(problem)") }
        return lines
    }
}
