// What this node holds of one object, for people: `GET /admin/explain?bucket=B&key=K` (and `type=T`) answers its own record
// and what it keeps of it for others, as they are stored, where the object belongs, and what repair and reaping say of its
// tree. `torc explain` asks all nodes and compares.

import Foundation
import Hummingbird
import HummingbirdCore
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
import TorcStorage

/// The body of an answer.
package struct ExplainReport: Codable, Sendable {
    package struct Node: Codable, Sendable {
        package var id: String
        package var name: String
    }

    package struct Hint: Codable, Sendable {
        package var target: String
        /// As it is stored, in Base64.
        package var record: String
    }

    package var node: String
    package var name: String
    package var cluster: String
    package var partitions: Int
    package var epoch: UInt64
    package var phase: String
    /// The n of the bucket.
    package var copies: Int
    /// Who holds copies, those that reads are asked of first; then who stands in for them.
    package var replicas: [String]
    package var fallbacks: [String]
    package var members: [Node]
    /// record, nothing, elsewhere, unreadable.
    package var holding: String
    /// As it is stored, in Base64.
    package var record: String?
    package var hints: [Hint]
    /// What was read is on disk.
    package var isSynced: Bool
    /// Of the Merkle leaf that the object is in.
    package var leaf: String
    package var notes: [String]
}

final class ExplainEndpoint: Sendable {
    static let path = "/admin/explain"
    private static let syncPatience = Duration.seconds(1)

    private let configuration: ServerConfiguration
    private let loops: NodeLoops
    private let directory: ClusterDirectory
    private let store: NodeStore
    private let threads: NIOThreadPool

    init(
        configuration: ServerConfiguration, loops: NodeLoops, directory: ClusterDirectory, store: NodeStore,
        threads: NIOThreadPool
    ) {
        self.configuration = configuration
        self.loops = loops
        self.directory = directory
        self.store = store
        self.threads = threads
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async -> Response? {
        guard request.uri.path == Self.path else { return nil }
        guard request.method == .get else { return Self.json(AdminError(error: "GET"), .methodNotAllowed) }
        guard let key = Self.key(request.uri.query ?? "") else {
            return Self.json(AdminError(error: "name an object: bucket=B&key=K, and type=T if it has one"), .badRequest)
        }
        do {
            return Self.json(try await report(key), .ok)
        } catch {
            return Self.json(AdminError(error: "\(error)"), .internalServerError)
        }
    }

    private static func json(_ value: some Encodable, _ status: HTTPResponse.Status) -> Response {
        var body = ByteBuffer(bytes: AdminJSON.encode(value))
        body.writeString("\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }

    /// Names are bytes, so the query is taken apart here: one that is no UTF-8 would not survive as text.
    private static func key(_ query: String) -> ObjectKey? {
        var fields: [Substring: ByteBuffer] = [:]
        for pair in query.split(separator: "&") {
            guard let mark = pair.firstIndex(of: "="), let value = bytes(pair[pair.index(after: mark)...].utf8) else {
                return nil
            }
            fields[pair[..<mark]] = value
        }
        let type = fields["type"] ?? ByteBuffer()
        guard let bucket = fields["bucket"], let key = fields["key"], bucket.readableBytes > 0, key.readableBytes > 0,
            max(bucket.readableBytes, type.readableBytes) <= ObjectKey.maximumBucketBytes,
            key.readableBytes <= ObjectKey.maximumKeyBytes
        else { return nil }
        return ObjectKey(bucket: BucketID(type: type, name: bucket), key: key)
    }

    private static func bytes(_ text: Substring.UTF8View) -> ByteBuffer? {
        var result = ByteBuffer()
        var rest = text[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.writeInteger(byte)
                continue
            }
            guard let digits = String(rest.prefix(2)), digits.utf8.count == 2, let value = UInt8(digits, radix: 16)
            else { return nil }
            result.writeInteger(value)
            rest = rest.dropFirst(2)
        }
        return result
    }

    private func report(_ key: ObjectKey) async throws -> ExplainReport {
        let control = loops.control!
        let n = try await control.eventLoop.submit { control.properties(of: .bucket(key.bucket)) }.get().n
        let state = directory.state
        let placement = state.placement
        let partition = loops.ringSize.partition(of: key.position)
        let replicas = placement.holders(of: partition, copies: Int(n))
        let everybody = placement.ring.preferenceList(of: partition, count: placement.ring.members.count)
        let targets = Set(state.participants.map(\.node) + state.fenced + everybody).sorted()
        let store = store
        let (own, hints, isSynced) = try await threads.runIfActive {
            let holds = store.partitionsPresent.contains(partition)
            let own = holds ? store.readBlocking(RecordPlace(partition), key) : nil
            let hints = targets.compactMap { target -> (NodeID, ByteBuffer)? in
                guard case .found(let bytes) = store.readBlocking(RecordPlace(partition, hint: target), key) else {
                    return nil
                }
                return (target, bytes)
            }
            return (own, hints, store.isSynced(within: Self.syncPatience))
        }
        let lane = loops.lanes[LaneConfiguration.lane(of: partition, laneCount: loops.lanes.count)]
        let tree = TreeID(partition: partition, copies: n)
        let leaf = store.layout.leaf(of: key.position)
        let (sum, repairs, reaping) = try await lane.eventLoop.submit {
            (
                lane.leaves[tree]?[leaf] ?? 0, lane.repairStatus.filter { $0.pair.tree == tree },
                lane.reapStatus.first { $0.tree == tree }
            )
        }.get()
        var holding = "elsewhere"
        var record: String?
        switch own {
        case .found(let bytes):
            holding = "record"
            record = Data(bytes.readableBytesView).base64EncodedString()
        case .absent: holding = "nothing"
        case .failed: holding = "unreadable"
        case nil: break
        }
        return ExplainReport(
            node: "\(configuration.node)", name: configuration.nodeName, cluster: configuration.clusterName,
            partitions: loops.ringSize.partitions, epoch: placement.epoch, phase: "\(placement.phase)", copies: Int(n),
            replicas: replicas.map { "\($0)" }, fallbacks: everybody.filter { !replicas.contains($0) }.map { "\($0)" },
            members: targets.map { ExplainReport.Node(id: "\($0)", name: directory.name(of: $0)) }, holding: holding,
            record: record,
            hints: hints.map {
                ExplainReport.Hint(target: "\($0.0)", record: Data($0.1.readableBytesView).base64EncodedString())
            }, isSynced: isSynced, leaf: hexadecimal(sum), notes: notes(repairs, reaping))
    }

    private func notes(_ repairs: [RepairStatus], _ reaping: ReapStatus?) -> [String] {
        let now = NodeClock.wall()
        var notes = repairs.sorted { $0.pair < $1.pair }.map { status in
            let peer = directory.name(of: status.pair.peer)
            guard let last = status.lastCompleted, last < now else {
                return "has not been compared with \(peer) since it started"
            }
            let seconds = (now.microseconds - last.microseconds) / 1_000_000
            return "compared with \(peer) \(seconds) s ago, \(status.lastDiffering) keys of its partition differed"
                + (status.failures > 0 ? ", \(status.failures) attempts failed since" : "")
        }
        if let reaping {
            let waits = reaping.obstacle.map { ", waits for \(TombstoneEndpoint.text($0, directory))" } ?? ""
            notes.append(
                "its last walk found \(reaping.tombstones) tombstones, \(reaping.expired) expired and \(reaping.graves) graves "
                    + "in this partition; \(directory.name(of: reaping.leader)) begins the rounds\(waits)")
        }
        return notes
    }
}
