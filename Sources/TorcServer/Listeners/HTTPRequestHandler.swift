// One HTTP request from its head to its answer. `RiakHTTPTranslator` says what is asked and what an answer
// looks like; this collects the body, asks the node on the connection's own loop, and streams listings at the
// client's pace.

import Hummingbird
import HummingbirdCore
import NIOCore
import TorcModel
import TorcReplication
import TorcWire

final class HTTPRequestHandler: Sendable {
    private let gateways: [ClientGateway]
    private let statistics: NodeStatistics
    private let clusterStatus: @Sendable () async -> ClusterStatus
    private let repair: RepairEndpoint
    private let ring: RingEndpoint
    private let tombstones: TombstoneEndpoint
    private let backup: BackupEndpoint
    private let explain: ExplainEndpoint
    private let hotKeys: HotKeyEndpoint
    private let translator: RiakHTTPTranslator
    /// A longer body is refused.
    private let bodyLimit: Int
    /// What is read and thrown away beyond it before the connection is closed.
    private static let discardedBytes = 8 << 20
    private static let closingTime = TimeAmount.seconds(1)

    init(
        gateways: [ClientGateway], statistics: NodeStatistics, repair: RepairEndpoint, ring: RingEndpoint,
        tombstones: TombstoneEndpoint, backup: BackupEndpoint, explain: ExplainEndpoint, hotKeys: HotKeyEndpoint,
        clusterKey: ClusterKey, bodyLimit: Int,
        clusterStatus: @escaping @Sendable () async -> ClusterStatus
    ) {
        self.gateways = gateways
        self.repair = repair
        self.ring = ring
        self.tombstones = tombstones
        self.backup = backup
        self.explain = explain
        self.hotKeys = hotKeys
        self.statistics = statistics
        self.clusterStatus = clusterStatus
        translator = RiakHTTPTranslator(clusterKey: clusterKey)
        self.bodyLimit = bodyLimit
    }

    func respond(to request: Request, channel: any Channel) async throws -> Response {
        guard let gateway = gateways.first(where: { $0.eventLoop === channel.eventLoop }) else {
            preconditionFailure("an HTTP connection on a loop without a lane")
        }
        if request.method == .get, request.uri.path == "/admin/cluster/status" {
            return Self.json(await clusterStatus().json())
        }
        if let response = await tombstones.respond(to: request) { return response }
        if let response = await backup.respond(to: request) { return response }
        if let response = await explain.respond(to: request) { return response }
        if let response = await hotKeys.respond(to: request) { return response }
        if let response = await repair.respond(to: request) {
            return request.method == .head ? response.createHeadResponse() : response
        }
        if let response = try await ring.respond(to: request) { return response }
        var body = ByteBuffer()
        if request.method == .put || request.method == .post {
            guard try await collect(request, into: &body) else { return tooLarge(channel) }
        }
        let asked = translator.parse(request.head, body: body) { gateway.keyEntropy() }
        let response = try await respond(to: asked, by: gateway)
        return request.method == .head ? response.createHeadResponse() : response
    }

    /// False when the body is longer than it may be. A little more than that is read and thrown away, so that
    /// the client is done with sending when it is told.
    private func collect(_ request: Request, into body: inout ByteBuffer) async throws -> Bool {
        if let length = request.headers[.contentLength].flatMap({ Int($0) }) {
            guard length <= bodyLimit + Self.discardedBytes else { return false }
            if length <= bodyLimit { body.reserveCapacity(length) }
        }
        var received = 0
        for try await part in request.body {
            received += part.readableBytes
            guard received <= bodyLimit + Self.discardedBytes else { return false }
            if received <= bodyLimit { body.writeImmutableBuffer(part) }
        }
        return received <= bodyLimit
    }

    private func respond(to asked: RiakHTTPRequest, by gateway: ClientGateway) async throws -> Response {
        switch asked {
        case .ping: Response(RiakHTTPTranslator.pong)
        case .stats: Self.json(await statistics.collect().json())
        case .answered(let response): Response(response)
        case .object(let object): Response(await perform(object, by: gateway))
        case .list(let listing): try await list(listing, by: gateway)
        case .properties(let scope):
            Response(translator.properties(await properties(of: scope, by: gateway), of: scope))
        case .setProperties(let scope, let change):
            Response(translator.changed(await set(scope, to: change, by: gateway)))
        case .resetProperties(let scope):
            Response(translator.changed(await set(scope, to: nil, by: gateway)))
        case .preferenceList(let key):
            Response(
                translator.preferenceList(
                    gateway.preferenceList(of: key, await properties(of: .bucket(key.bucket), by: gateway))))
        }
    }

    private static func json(_ text: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    // MARK: Objects and properties

    private func perform(_ asked: RiakHTTPObjectRequest, by gateway: ClientGateway) async -> RiakHTTPResponse {
        var asked = asked
        // The head of an answer says how long its body would be, so the value is read all the same.
        if case .get(var get) = asked.request {
            get.headOnly = false
            asked.request = .get(get)
        }
        if let read = asked.preliminaryRead {
            guard case .get(let answer) = await submit(.get(read), timeout: asked.timeout, by: gateway) else {
                preconditionFailure("a get was answered as a write")
            }
            if ClientAnswer.get(answer).isOverload { return .overloaded(after: gateway.retryAfter) }
            if let end = asked.conclude(answer, translator) { return end }
        }
        let answer = await submit(asked.request, timeout: asked.timeout, by: gateway)
        return translator.respond(to: asked, answer, retryAfter: gateway.retryAfter)
    }

    private func submit(_ request: ClientRequest, timeout: Duration?, by gateway: ClientGateway) async -> ClientAnswer {
        await withCheckedContinuation { continuation in
            gateway.eventLoop.execute {
                gateway.submit(request, timeout: timeout, receiver: .closure { continuation.resume(returning: $0) })
            }
        }
    }

    private func properties(of scope: PropertiesScope, by gateway: ClientGateway) async -> BucketProperties {
        await withCheckedContinuation { continuation in
            gateway.properties(of: scope) { continuation.resume(returning: $0) }
        }
    }

    private func set(
        _ scope: PropertiesScope, to change: PropertiesChange?, by gateway: ClientGateway
    ) async -> PropertiesAnswer {
        await withCheckedContinuation { continuation in
            gateway.eventLoop.execute {
                gateway.setProperties(of: scope, to: change, timeout: nil) { continuation.resume(returning: $0) }
            }
        }
    }

    // MARK: Listings

    /// The listing broke off when its response had begun: only closing the connection can say so.
    private struct ListingBroken: Error {}

    private func list(_ listing: RiakHTTPListing, by gateway: ClientGateway) async throws -> Response {
        var listing = listing
        // The node sends a piece only when it is asked for the next, so at most one waits here.
        let (pieces, continuation) = AsyncStream<ListPiece>.makeStream()
        let operation = try await gateway.eventLoop.submit { [listing] in
            gateway.list(
                listing.request, timeout: listing.timeout, receiver: .closure { continuation.yield($0) })
        }.get()
        continuation.onTermination = { _ in gateway.eventLoop.execute { gateway.cancel(operation) } }
        var iterator = pieces.makeAsyncIterator()
        guard let first = await iterator.next() else { throw ListingBroken() }
        // The first piece decides the status.
        switch listing.take(first) {
        case .failed(let response): return Response(response)
        case .broken: throw ListingBroken()
        case .last(let bytes):
            var response = Response(RiakHTTPResponse(.ok, body: bytes))
            response.headers.append(contentsOf: listing.head.headerFields)
            return response
        case .chunk(let bytes):
            let head = listing.head
            let begun = listing
            let body = ResponseBody { writer in
                try await Self.stream(first: bytes, begun, pieces, operation, gateway, &writer)
                continuation.finish()
                try await writer.finish(nil)
            }
            return Response(status: head.status, headers: head.headerFields, body: body)
        }
    }

    private static func stream(
        first: ByteBuffer, _ begun: RiakHTTPListing, _ pieces: AsyncStream<ListPiece>, _ operation: TakenRequest,
        _ gateway: ClientGateway, _ writer: inout any ResponseBodyWriter
    ) async throws {
        var listing = begun
        var iterator = pieces.makeAsyncIterator()
        if first.readableBytes > 0 { try await writer.write(first) }
        while true {
            gateway.eventLoop.execute { gateway.continueListing(operation) }
            guard let piece = await iterator.next() else { throw ListingBroken() }
            switch listing.take(piece) {
            case .chunk(let bytes):
                if bytes.readableBytes > 0 { try await writer.write(bytes) }
            case .last(let bytes): return try await writer.write(bytes)
            case .failed, .broken: throw ListingBroken()
            }
        }
    }

    private func tooLarge(_ channel: any Channel) -> Response {
        // A client that goes on sending gets its answer and a moment to read it.
        channel.eventLoop.scheduleTask(in: Self.closingTime) { channel.close(promise: nil) }
        var response = Response(
            RiakHTTPResponse.text(.contentTooLarge, "the body is longer than \(bodyLimit) bytes, which is the most"))
        response.headers[.connection] = "close"
        return response
    }
}

extension Response {
    fileprivate init(_ response: RiakHTTPResponse) {
        self.init(
            status: response.head.status, headers: response.head.headerFields,
            body: ResponseBody(byteBuffer: response.body))
    }
}
