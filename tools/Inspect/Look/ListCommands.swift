// `torc inspect scan` and `keys`: records one by one, in the order of the ring.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcStorage

struct ScanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scan", abstract: "List records, one a line, with the beginning of the newest value.",
        discussion: """
            Examples:
              torc inspect scan data/node1 --limit 20
              torc inspect scan data/node1 --bucket carts --prefix al
              torc inspect scan data/node1 --siblings 2                     conflicts that nobody has resolved
              torc inspect scan data/node1 --since 1h --json

            In the order of the ring, which is none for a person. VERSIONS: those that stand. 'torc inspect get' shows one of them whole.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "With --json: the values, too.") var values = false

    private static let columns = [9, 8, 9, 24]

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let now = WallTime.now
        let admitted = try filter.filter(reader.identity.ringSize)
        if !folder.json { Console.print(Self.head) }
        let summary = try reader.walkRecords(
            admitted, progress: admitted.limit == nil ? reader.progress("scan", isListing: true) : nil
        ) { _, view in
            if folder.json {
                try JSONLine.print(
                    RecordReport(view, layout: reader.layout, names: names, now: now, values: values))
            } else {
                Console.print(Self.line(of: view, now: now))
            }
            return true
        }
        try summary.report(folder: reader.path)
    }

    static let head = line(["STATE", "VERSIONS", "BYTES", "NEWEST", "KEY AND VALUE"])

    static func line(of view: RecordView, now: WallTime) -> String {
        let newest = view.object.siblings.max { $0.timestamp < $1.timestamp }
        let value = newest.flatMap { $0.isTombstone ? nil : PlainText.preview($0.value) } ?? ""
        return line([
            view.state(at: now).rawValue, "\(view.object.siblings.count)", "\(view.storedBytes)",
            newest.map { PlainText.time($0.timestamp) } ?? "-",
            PlainText.name(view.key) + (value.isEmpty ? "" : "  " + value),
        ])
    }

    private static func line(_ cells: [String]) -> String {
        [
            cells[0].padded(to: columns[0]), cells[1].aligned(to: columns[1]), cells[2].aligned(to: columns[2]),
            cells[3].padded(to: columns[3]), cells[4],
        ].joined(separator: "  ")
    }
}

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "List the names of records, one a line.",
        discussion: """
            Examples:
              torc inspect keys data/node1 --bucket carts
              torc inspect keys data/node1 --partition 42 --json
              torc inspect keys data/node1 --until 30d > old-keys.txt

            A name is type/bucket/key, without the default type, tombstones' included; \\xNN is a byte that is no text.
            """)

    private struct Name: Encodable {
        var type: String
        var bucket: String
        var key: String
    }

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions

    func run() async throws {
        let reader = try folder.open()
        let admitted = try filter.filter(reader.identity.ringSize)
        let summary = try reader.walkRecords(admitted, progress: reader.progress("keys", isListing: true)) { _, view in
            guard folder.json else {
                Console.print(PlainText.name(view.key))
                return true
            }
            let bucket = view.key.bucket
            try JSONLine.print(
                Name(
                    type: bucket.type.readableBytes == 0 ? "default" : PlainText.name(bucket.type),
                    bucket: PlainText.name(bucket.name), key: PlainText.name(view.key.key)))
            return true
        }
        try summary.report(folder: reader.path)
    }
}
