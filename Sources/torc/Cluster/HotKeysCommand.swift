import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcInspect
import TorcModel
import TorcReplication
import TorcServer

/// `torc cluster hotkeys`: what clients ask for most.
struct HotKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hotkeys", abstract: "Show the keys that clients ask for most, of late.",
        discussion: """
            Examples:
              torc cluster hotkeys
              torc cluster hotkeys --nodes 127.0.0.1:8098,127.0.0.1:8108,127.0.0.1:8118 --limit 5
              torc cluster hotkeys --nodes 10.0.0.1:8098,10.0.0.2:8098 --json

            Each node counts the requests that clients send to it; a request counts half after ten seconds. SHARE is of all
            requests that the nodes in --nodes take; name all of them to see the whole cluster. NODE says who takes a key's
            requests, and how many of a hundred. The rates are what a key had at least: OFF BY is what it may have had
            beside, in requests a second, and is near zero for keys that are really hot.
            \\xNN in a bucket or key stands for a byte. --json prints one object a line.
            """)

    @Option(help: "HTTP addresses of nodes, host:port separated by commas.") var nodes = "127.0.0.1:8098"
    @Option(help: "So many keys at most, 1 to 1000.") var limit = 20
    @Option(help: "Seconds that an answer may take.") var timeout = 10.0
    @Flag(help: "Print JSON, for programs.") var json = false

    private struct Row: Encodable {
        struct Node: Encodable {
            var name: String
            var readsPerSecond: Double
            var writesPerSecond: Double
        }
        var type: String
        var bucket: String
        var key: String
        var share: Double
        var readsPerSecond: Double
        var writesPerSecond: Double
        var errorPerSecond: Double
        var nodes: [Node]
    }

    func run() async throws {
        guard timeout > 0, timeout <= 3600 else { throw ValidationError("--timeout must be above 0, 3600 at most") }
        guard (1...1000).contains(limit) else { throw ValidationError("--limit must be 1 to 1000, not \(limit)") }
        var reports: [HotKeysReport] = []
        for address in nodes.split(separator: ",") {
            do {
                let client = AdminClient(http: String(address), timeout: timeout)
                // A key may be among the first of all and not of this node.
                let body = try await client.get("/admin/hotkeys?limit=1000")
                reports.append(try AdminJSON.decode(HotKeysReport.self, body))
            } catch {
                BackupText.warn("\(error)")
            }
        }
        guard !reports.isEmpty else { throw ExitCode(7) }
        guard Set(reports.map(\.node)).count == reports.count else {
            throw ValidationError("--nodes names a node twice")
        }
        let rows = Self.rows(reports, limit)
        if json { return try rows.forEach { try JSONLine.print($0) } }
        print(Self.text(rows, reports))
    }

    private static func rows(_ reports: [HotKeysReport], _ limit: Int) -> [Row] {
        var total = HotKeyReport()
        var takers: [ObjectKey: [Row.Node]] = [:]
        for report in reports {
            var part = HotKeyReport()
            part.readsPerSecond = report.readsPerSecond
            part.writesPerSecond = report.writesPerSecond
            for key in report.keys {
                guard let bytes = Data(base64Encoded: key.object),
                    let object = try? ObjectKey(storageKey: ByteBuffer(bytes: bytes))
                else { continue }
                part.keys.append(
                    HotKey(
                        key: object, readsPerSecond: key.readsPerSecond, writesPerSecond: key.writesPerSecond,
                        errorPerSecond: key.errorPerSecond))
                takers[object, default: []].append(
                    Row.Node(
                        name: report.name, readsPerSecond: key.readsPerSecond, writesPerSecond: key.writesPerSecond))
            }
            total.add(part)
        }
        return total.keys.prefix(limit).map { key in
            Row(
                type: PlainText.name(key.key.bucket.type), bucket: PlainText.name(key.key.bucket.name),
                key: PlainText.name(key.key.key), share: total.perSecond > 0 ? key.perSecond / total.perSecond : 0,
                readsPerSecond: key.readsPerSecond, writesPerSecond: key.writesPerSecond,
                errorPerSecond: key.errorPerSecond, nodes: takers[key.key] ?? [])
        }
    }

    private static func text(_ rows: [Row], _ reports: [HotKeysReport]) -> String {
        func rate(_ value: Double) -> String { String(format: value < 10 ? "%.1f" : "%.0f", value) }
        let reads = reports.reduce(0) { $0 + $1.readsPerSecond }
        let writes = reports.reduce(0) { $0 + $1.writesPerSecond }
        let head =
            "\(rate(reads)) reads/s and \(rate(writes)) writes/s of clients at "
            + reports.map(\.name).joined(separator: ", ")
        if rows.isEmpty { return head }
        var table = TextTable([
            .left("BUCKET"), .left("KEY"), .right("SHARE"), .right("READS/S"), .right("WRITES/S"), .right("OFF BY"),
            .left("NODE"),
        ])
        for row in rows {
            let all = row.readsPerSecond + row.writesPerSecond
            let nodes = row.nodes.map { node in
                let part = all > 0 ? 100 * (node.readsPerSecond + node.writesPerSecond) / all : 0
                return "\(node.name) \(String(format: "%.0f", part))%"
            }
            table.add([
                row.type.isEmpty ? row.bucket : "\(row.type)/\(row.bucket)", row.key,
                String(format: "%.2f%%", 100 * row.share), rate(row.readsPerSecond), rate(row.writesPerSecond),
                rate(row.errorPerSecond), nodes.joined(separator: ", "),
            ])
        }
        return head + "\n" + table.text
    }
}
