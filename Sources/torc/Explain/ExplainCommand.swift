// `torc explain`: what every node holds of one object.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcInspect
import TorcModel
import TorcServer

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Show what every node holds of an object, how that compares, and why.",
        discussion: """
            Examples:
              torc explain carts alice --nodes 127.0.0.1:8098,127.0.0.1:8108,127.0.0.1:8118
              torc explain carts alice --nodes 10.0.0.1:8098,10.0.0.2:8098 --json

            --nodes are HTTP addresses of nodes: replicas, and those that may keep something for them. Each is asked for what stands
            in its own store; nothing is read by quorum, repaired or changed. A node that does not answer is shown as such.
            \\xNN in a bucket or key stands for a byte. The same of data folders: torc inspect explain.
            """)

    @Argument(help: "Bucket.") var bucket: String
    @Argument(help: "Key.") var key: String
    @Option(help: "Bucket type.") var type = ""
    @Option(help: "HTTP addresses of nodes, host:port separated by commas.") var nodes = "127.0.0.1:8098"
    @Option(help: "Seconds that an answer may take.") var timeout = 10.0
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        guard timeout > 0, timeout <= 3600 else { throw ValidationError("--timeout must be above 0, 3600 at most") }
        let names = try [type, bucket, key].map { text in
            guard let bytes = PlainText.bytes(of: text) else {
                throw ValidationError("'\(text)': a backslash stands before xNN or another backslash")
            }
            return bytes
        }
        guard names[1].readableBytes > 0, names[2].readableBytes > 0 else {
            throw ValidationError("bucket and key cannot be empty")
        }
        let object = ObjectKey(bucket: BucketID(type: names[0], name: names[1]), key: names[2])
        let query = zip(["type", "bucket", "key"], names).map { "\($0)=\(Self.escaped($1))" }.joined(separator: "&")
        var reports: [ExplainReport] = []
        for address in nodes.split(separator: ",") {
            do {
                let body = try await AdminClient(http: String(address), timeout: timeout).get("/admin/explain?\(query)")
                reports.append(try AdminJSON.decode(ExplainReport.self, body))
            } catch {
                BackupText.warn("\(error)")
            }
        }
        guard let explanation = try Self.explanation(of: object, reports) else { throw ExitCode(7) }
        if json { return try JSONLine.print(ExplanationReport(explanation)) }
        print(explanation.text(now: WallTime(microseconds: UInt64(Date().timeIntervalSince1970 * 1_000_000))))
    }

    private static func escaped(_ bytes: ByteBuffer) -> String {
        bytes.readableBytesView.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "%0" + digits : "%" + digits
        }.joined()
    }

    /// Nil: nobody answered. Those with the newest ring say where the object belongs.
    private static func explanation(of key: ObjectKey, _ reports: [ExplainReport]) throws -> Explanation? {
        guard let newest = reports.max(by: { $0.epoch < $1.epoch }) else { return nil }
        guard Set(reports.map(\.cluster)).count == 1, Set(reports.map(\.node)).count == reports.count else {
            throw ValidationError("--nodes names nodes of different clusters, or one twice")
        }
        guard let size = RingSize(partitions: newest.partitions) else {
            throw ValidationError("\(newest.name) says that there are \(newest.partitions) partitions")
        }
        func node(_ id: String) -> NodeID { NodeID(rawValue: UInt64(id, radix: 16) ?? 0) }
        func bytes(_ text: String?) -> ByteBuffer? {
            text.flatMap { Data(base64Encoded: $0) }.map { ByteBuffer(bytes: $0) }
        }
        let sights = reports.map { report in
            let holding: KeySight.Holding =
                switch report.holding {
                case "record": bytes(report.record).map { .record($0) } ?? .unknown("its answer cannot be read")
                case "nothing": .nothing
                case "elsewhere": .elsewhere
                default: .unknown("its record cannot be read: see `torc inspect get` on its folder, and its log")
                }
            return KeySight(
                node: node(report.node), holding: holding,
                hints: report.hints.compactMap { hint in
                    bytes(hint.record).map { KeySight.Hint(target: node(hint.target), record: $0) }
                }, isSynced: report.isSynced, leaf: UInt64(report.leaf, radix: 16), notes: report.notes)
        }
        return Explanation(
            KeyPlace(
                key: key, ringSize: size, copies: newest.copies, epoch: newest.epoch, phase: newest.phase,
                replicas: newest.replicas.map(node), fallbacks: newest.fallbacks.map(node),
                names: Dictionary(newest.members.map { (node($0.id), $0.name) }) { $1 }), sights)
    }
}
