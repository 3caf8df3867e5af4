// Tombstones, for people: `GET /admin/tombstones` shows how many the last walk of this node found in each tree,
// how many expired versions and long vectors, and what ended the last round that was about them.

import Hummingbird
import HummingbirdCore
import NIOCore
import TorcModel
import TorcReplication

final class TombstoneEndpoint: Sendable {
    static let path = "/admin/tombstones"

    private let loops: NodeLoops
    private let directory: ClusterDirectory

    init(loops: NodeLoops, directory: ClusterDirectory) {
        self.loops = loops
        self.directory = directory
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async -> Response? {
        guard request.uri.path == Self.path else { return nil }
        guard request.method == .get else {
            return Self.json(.methodNotAllowed, "{\"error\":\"GET\"}\n")
        }
        var rows: [ReapStatus] = []
        var statistics = ReapStatistics()
        for lane in loops.lanes {
            guard let shown = try? await lane.eventLoop.submit({ (lane.reapStatus, lane.reapStatistics) }).get() else {
                continue
            }
            rows += shown.0
            statistics.add(shown.1)
        }
        rows.sort { $0.tree < $1.tree }
        let trees = rows.map { row in
            "{\"partition\":\(row.tree.partition.rawValue),\"n\":\(row.tree.copies),"
                + "\"tombstones\":\(row.tombstones),\"graves\":\(row.graves),\"expired\":\(row.expired),"
                + "\"vectors\":\(row.vectors),"
                + "\"leader\":\(LineLogHandler.jsonString(name(row.leader))),"
                + "\"waits_for\":\(row.obstacle.map { LineLogHandler.jsonString(Self.text($0, directory)) } ?? "null")}"
        }
        return Self.json(.ok, "{\"totals\":\(statistics.json),\"trees\":[\(trees.joined(separator: ","))]}\n")
    }

    private func name(_ node: NodeID) -> String { directory.name(of: node) }

    static func text(_ obstacle: ReapObstacle, _ directory: ClusterDirectory) -> String {
        func name(_ node: NodeID) -> String { directory.name(of: node) }
        return switch obstacle {
        case .unreachable(let node): "\(name(node)), which cannot be reached or is suspected"
        case .silent(let node): "\(name(node)), which does not answer"
        case .refused(let node, let refusal): "\(name(node)), which refuses: \(refusal)"
        case .differs(let node): "\(name(node)), which holds another version, or whose clock is behind"
        case .olderVersion(let node): "\(name(node)), which runs an older version: upgrade it"
        case .hints(let node): "hints that \(name(node)) keeps or took"
        }
    }

    private static func json(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}

extension ReapStatistics {
    mutating func add(_ other: ReapStatistics) {
        reaped += other.reaped
        gravesClosed += other.gravesClosed
        expired += other.expired
        pruned += other.pruned
        rounds += other.rounds
        failedRounds += other.failedRounds
        scannedBytes += other.scannedBytes
    }

    var json: String {
        "{\"reaped\":\(reaped),\"graves_closed\":\(gravesClosed),\"expired\":\(expired),\"pruned\":\(pruned),"
            + "\"rounds\":\(rounds),\"failed_rounds\":\(failedRounds),\"scanned_bytes\":\(scannedBytes)}"
    }
}
