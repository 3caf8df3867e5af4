// `torc inspect dump`: entries byte by byte, with what the bytes mean.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcStorage

struct DumpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump", abstract: "Show entries byte by byte, with what the bytes mean.",
        discussion: """
            Examples:
              torc inspect dump data/node1 --bucket carts --prefix alice      records, wherever they lie
              torc inspect dump data/node1 p0042 --limit 5
              torc inspect dump data/node1 meta                               everything but records, leaves and hints
              torc inspect dump data/node1 meta node/ring
              torc inspect dump data/node1 merkle 42                          the stored leaves of a partition
              torc inspect dump data/node1 hints --json

            docs/STORAGE.md describes the bytes. Entries that cannot be decoded are shown as far as they go, and marked DAMAGED; the
            command ends with status 1 then. The filters are about records: of meta and merkle only --limit counts.
            """)

    @OptionGroup var folder: FolderOptions
    @Argument(help: "p0000 …, hints, merkle or meta; all partitions when it is left out.") var family: String?
    @Argument(help: "In meta the entry's name, in merkle the partition's number.") var entry: String?
    @OptionGroup var filter: FilterOptions
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "Show long values whole.") var full = false

    private static let shownBytes = 64

    private struct Line: Encodable {
        struct Field: Encodable {
            /// `key`, or what the value is: `record`, `leaves`, …
            var of: String
            var offset: Int
            var hex: String
            var meaning: String
        }
        var family: String
        var name: String
        var key: String
        var bytes: Int
        var fields: [Field]
        var problem: String?
    }

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let asked = try filter.filter(reader.identity.ringSize)
        var left = asked.limit ?? .max
        var isWhole = true
        for family in try families(reader, asked) where left > 0 {
            do {
                try reader.walk(family) { key, value in
                    guard admits(key, value, of: family, asked) else { return true }
                    let parts = Self.decode(key, value, of: family, reader, names)
                    if parts.contains(where: { $0.1.problem != nil }) { isWhole = false }
                    try show(parts, key, value, of: family, reader)
                    left -= 1
                    return left > 0
                }
            } catch let error as StoreError {
                Console.warn("\(family.name): \(error); nothing behind that was read")
                isWhole = false
            }
        }
        if !isWhole { throw ExitCode.failure }
    }

    private func families(_ reader: FolderReader, _ asked: RecordFilter) throws -> [StoredFamily] {
        guard let family else {
            return try (asked.partition.map { [$0] } ?? reader.partitions).compactMap { try reader.family(of: $0) }
        }
        if let found = reader.family(named: family) { return [found] }
        throw ValidationError("there is no family \(family): 'torc inspect families \(reader.path)' lists them")
    }

    /// What cannot be read passes, unless something was asked of the name.
    private func admits(_ key: ByteBuffer, _ value: ByteBuffer, of family: StoredFamily, _ asked: RecordFilter) -> Bool
    {
        switch Self.kind(of: family) {
        case .meta: return entry.map { $0 == String(buffer: key) } ?? true
        case .merkle:
            var reader = key
            return entry.map { UInt16($0) != nil && UInt16($0) == reader.readInteger(as: UInt16.self) } ?? true
        case .records, .hints:
            var name = key
            if Self.kind(of: family) == .hints { name.moveReaderIndex(forwardBy: min(8, name.readableBytes)) }
            guard let object = try? ObjectKey(storageKey: name.slice()) else {
                return asked.bucket == nil && asked.type == nil && asked.prefix == nil
            }
            guard asked.admits(object) else { return false }
            guard let view = try? RecordView(key: object, value: value) else { return true }
            return asked.admits(view)
        }
    }

    private enum Kind { case records, hints, merkle, meta }

    private static func kind(of family: StoredFamily) -> Kind {
        if family.partition != nil { return .records }
        if family.name.hasPrefix("hints") { return .hints }
        return family.name.hasPrefix("merkle") ? .merkle : .meta
    }

    private static func decode(
        _ key: ByteBuffer, _ value: ByteBuffer, of family: StoredFamily, _ reader: FolderReader, _ names: NodeNames
    ) -> [(String, AnnotatedBytes)] {
        switch kind(of: family) {
        case .records:
            let name = try? ObjectKey(storageKey: key)
            return [("key", .storageKey(key)), ("record", .record(value, key: name, names))]
        case .hints:
            var rest = key
            rest.moveReaderIndex(forwardBy: min(8, rest.readableBytes))
            let name = try? ObjectKey(storageKey: rest.slice())
            return [("key", .hintKey(key, names)), ("record", .record(value, key: name, names))]
        case .merkle:
            switch MerkleKey(key) {
            case .leaves(let partition):
                return [("leaves", .leaves(value, partition: partition, layout: reader.layout))]
            case .note: return [("note", .leavesNote(value))]
            case nil: return [("value", .meta(value, name: .unknown(""), names))]
            }
        case .meta: return [("value", .meta(value, name: MetaName(key), names))]
        }
    }

    private func show(
        _ parts: [(name: String, bytes: AnnotatedBytes)], _ key: ByteBuffer, _ value: ByteBuffer,
        of family: StoredFamily,
        _ reader: FolderReader
    ) throws {
        let limit = full ? Int.max : Self.shownBytes
        let title = Self.title(key, of: family)
        if folder.json {
            let fields = parts.flatMap { part in
                part.bytes.rows.map {
                    Line.Field(
                        of: part.name, offset: $0.offset, hex: PlainText.hex($0.bytes, limit: limit),
                        meaning: $0.meaning)
                }
            }
            return try JSONLine.print(
                Line(
                    family: family.name, name: title, key: PlainText.hex(key), bytes: value.readableBytes,
                    fields: fields,
                    problem: parts.compactMap(\.bytes.problem).first))
        }
        Console.print("# \(family.name)  \(title)  \(value.readableBytes) bytes")
        for part in parts {
            for line in part.bytes.lines(limit: limit) { Console.print(line) }
            Console.print()
        }
    }

    private static func title(_ key: ByteBuffer, of family: StoredFamily) -> String {
        switch kind(of: family) {
        case .meta: return PlainText.name(key)
        case .merkle:
            switch MerkleKey(key) {
            case .leaves(let partition): return "leaves of partition \(partition.index)"
            case .note(let partition): return "note on the leaves of partition \(partition.index)"
            case nil: return PlainText.hex(key)
            }
        case .records:
            return (try? ObjectKey(storageKey: key)).map { PlainText.name($0) } ?? PlainText.hex(key, limit: 64)
        case .hints:
            var rest = key
            guard let target = rest.readInteger(as: UInt64.self), let name = try? ObjectKey(storageKey: rest.slice())
            else {
                return PlainText.hex(key, limit: 64)
            }
            return "for \(hexadecimal(target)): \(PlainText.name(name))"
        }
    }
}
