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
        var report = RecordReport(layout: reader.layout, names: names, now: now, values: values)
        if !folder.json { Console.print(Self.head) }
        let summary = try reader.walkRecords(
            admitted, progress: admitted.limit == nil ? reader.progress("scan", isListing: true) : nil
        ) { _, view in
            if folder.json { report.print(view) } else { Console.print(Self.line(of: view, now: now)) }
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

    private static let blanks = String(repeating: " ", count: columns.max()!)

    /// All cells but the last are of characters of one byte.
    private static func line(_ cells: [String]) -> String {
        var line = ""
        line.reserveCapacity(columns.reduce(0) { $0 + $1 + 2 } + cells[columns.count].utf8.count)
        for (index, width) in columns.enumerated() {
            let gap = blanks.prefix(max(0, width - cells[index].utf8.count))
            let isNumber = (1...2).contains(index)
            if isNumber { line += gap }
            line += cells[index]
            if !isNumber { line += gap }
            line += "  "
        }
        return line + cells[columns.count]
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

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions

    func run() async throws {
        let reader = try folder.open()
        let admitted = try filter.filter(reader.identity.ringSize)
        var line = JSONText()
        let summary = try reader.walkRecords(admitted, progress: reader.progress("keys", isListing: true)) { _, view in
            guard folder.json else {
                Console.print(PlainText.name(view.key))
                return true
            }
            let bucket = view.key.bucket
            line.clear()
            line.beginObject()
            line.field("bucket")
            line.value(name: bucket.name)
            line.field("key")
            line.value(name: view.key.key)
            line.field("type")
            line.value(bucketType: bucket)
            line.endObject()
            Console.print(utf8: line.bytes)
            return true
        }
        try summary.report(folder: reader.path)
    }
}
