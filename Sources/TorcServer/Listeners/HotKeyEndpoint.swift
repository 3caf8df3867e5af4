// Hot keys, for people: `GET /admin/hotkeys?limit=N` answers the keys that clients of this node ask for most, of late,
// from the sketches of its lanes. `torc cluster hotkeys` asks several nodes and adds up.

import Foundation
import Hummingbird
import HummingbirdCore
import NIOCore
import TorcModel
import TorcReplication

/// The body of an answer.
package struct HotKeysReport: Codable, Sendable {
    package struct Key: Codable, Sendable {
        /// Empty for the default type. What is no UTF-8 is shown by replacement characters here; `object` has the bytes.
        package var type: String
        package var bucket: String
        package var key: String
        /// The object's storage key, in Base64.
        package var object: String
        /// Of all requests that the node takes, 0 to 1.
        package var share: Double
        package var readsPerSecond: Double
        package var writesPerSecond: Double
        /// So many a second more may have been for this key.
        package var errorPerSecond: Double
    }

    package var node: String
    package var name: String
    /// A request counts half after so many seconds.
    package var halfLifeSeconds: Double
    package var readsPerSecond: Double
    package var writesPerSecond: Double
    /// The hottest first.
    package var keys: [Key]

    package var perSecond: Double { readsPerSecond + writesPerSecond }
}

final class HotKeyEndpoint: Sendable {
    static let path = "/admin/hotkeys"
    private static let usualLimit = 20
    private static let limits = 1...1_000

    private let loops: NodeLoops
    private let directory: ClusterDirectory

    init(loops: NodeLoops, directory: ClusterDirectory) {
        self.loops = loops
        self.directory = directory
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async -> Response? {
        guard request.uri.path == Self.path else { return nil }
        guard request.method == .get else { return Self.json(AdminError(error: "GET"), .methodNotAllowed) }
        var limit = Self.usualLimit
        if let text = request.uri.queryParameters["limit"] {
            guard let number = Int(text), Self.limits.contains(number) else {
                let limits = "\(Self.limits.lowerBound) to \(Self.limits.upperBound)"
                return Self.json(AdminError(error: "limit is a number of keys, \(limits)"), .badRequest)
            }
            limit = number
        }
        return Self.json(await report(limit), .ok)
    }

    private func report(_ limit: Int) async -> HotKeysReport {
        var total = HotKeyReport()
        for lane in loops.lanes {
            guard let report = try? await lane.eventLoop.submit({ lane.hotKeys(limit: limit) }).get() else { continue }
            total.add(report)
        }
        let all = total.perSecond
        return HotKeysReport(
            node: "\(loops.node)", name: directory.name(of: loops.node),
            halfLifeSeconds: HotKeySketch.halfLife / .seconds(1), readsPerSecond: total.readsPerSecond,
            writesPerSecond: total.writesPerSecond,
            keys: total.keys.prefix(limit).map { key in
                let bucket = key.key.bucket
                return HotKeysReport.Key(
                    type: String(buffer: bucket.type), bucket: String(buffer: bucket.name),
                    key: String(buffer: key.key.key),
                    object: Data(key.key.storageKey.readableBytesView).base64EncodedString(),
                    share: all > 0 ? key.perSecond / all : 0, readsPerSecond: key.readsPerSecond,
                    writesPerSecond: key.writesPerSecond, errorPerSecond: key.errorPerSecond)
            })
    }

    private static func json(_ value: some Encodable, _ status: HTTPResponse.Status) -> Response {
        var body = ByteBuffer(bytes: AdminJSON.encode(value))
        body.writeString("\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }
}
