// A node of one replica in memory behind a real listening socket: enough of a server to see that client and
// connection understand each other, and to make it misbehave.

import NIOCore
import NIOPosix
import Synchronization
import TorcModel
import TorcReplication
import TorcWire

let clusterKey = ClusterKey(secret: Array("a cluster key for tests".utf8))!

/// What the node keeps; the same on every connection's event loop.
final class InMemoryStore: Sendable {
    struct Contents {
        var objects: [ObjectKey: VersionedObject] = [:]
        var properties: [PropertiesScope: BucketProperties] = [:]
        var nextCounter: UInt64 = 0
        var requests = 0
        /// Answers every object request with this instead.
        var refusal: Refusal?
        /// Takes requests and never answers them.
        var isMute = false
        /// Carries the next put out and does not answer it, so often.
        var unansweredPuts = 0
        /// What the node says of the ring.
        var ring: RiakRing?
        var name = "memory@test"
        /// The names of writes that were asked for, in order.
        var writeIDs: [WriteID?] = []
    }

    let contents = Mutex(Contents())

    func handle(_ request: ClientRequest) -> ClientAnswer? {
        contents.withLock { contents in
            contents.requests += 1
            if case .put(let put) = request { contents.writeIDs.append(put.writeID) }
            if contents.isMute { return nil }
            let all = Participation(primaries: 1)
            let object = contents.objects[request.key]
            switch request {
            case .get(let get):
                if let refusal = contents.refusal { return .get(.refused(refusal)) }
                guard let object else { return .get(.absent(all)) }
                return .get(.found(Self.shown(object, headOnly: get.headOnly), all))
            case .put(let put):
                if let refusal = contents.refusal { return .write(.refused(refusal)) }
                // As a replica does: a write that stands is not written again, whatever its condition.
                if let writeID = put.writeID, object?.siblings.contains(where: { $0.writeID == writeID }) == true {
                    return .write(.ok(all, nil))
                }
                switch put.condition {
                case .ifNoneMatch where object?.isTombstone == false: return .write(.refused(.matchFound))
                case .ifNotModified(let clock) where object?.clock != clock:
                    return .write(.refused(object == nil ? .notFound : .modified))
                default: break
                }
                contents.nextCounter += 1
                var new = object ?? VersionedObject(mode: .siblings)
                new.put(
                    Sibling(
                        dot: Dot(actor: Actor(rawValue: 1), counter: contents.nextCounter),
                        timestamp: HybridTimestamp(rawValue: 1_000_000 * contents.nextCounter),
                        writeID: put.writeID, metadata: put.metadata, value: put.value),
                    context: put.context?.clock ?? VersionVector(), mode: .siblings)
                contents.objects[put.key] = new
                if contents.unansweredPuts > 0 {
                    contents.unansweredPuts -= 1
                    return nil
                }
                switch put.returnedBody {
                case .nothing: return .write(.ok(all, nil))
                case .head: return .write(.ok(all, Self.shown(new, headOnly: true)))
                case .full: return .write(.ok(all, Self.shown(new, headOnly: false)))
                }
            case .delete(let delete):
                if let refusal = contents.refusal { return .write(.refused(refusal)) }
                if var object {
                    object.delete(context: delete.context?.clock ?? object.clock)
                    contents.objects[delete.key] = object
                }
                return .write(.ok(all, nil))
            }
        }
    }

    private static func shown(_ object: VersionedObject, headOnly: Bool) -> ClientObject {
        ClientObject(siblings: object.liveSiblings, context: CausalContext(of: object), headOnly: headOnly)
    }

    func names(_ subject: PageRequest.Subject) -> [ByteBuffer] {
        contents.withLock { contents in
            contents.objects.filter { !$0.value.isTombstone }.keys.sorted().compactMap { key in
                switch subject {
                case .keys(let bucket): key.bucket == bucket ? key.key : nil
                case .buckets(let type): key.bucket.type == type ? key.bucket.name : nil
                }
            }
        }
    }
}

/// One connection's door to the store.
private final class InMemoryBackend: RiakBackend {
    private let store: InMemoryStore
    private var listings: [UInt64: (reply: RiakReply, names: [ByteBuffer])] = [:]
    private var next: UInt64 = 0

    init(_ store: InMemoryStore) { self.store = store }

    var nodeName: String { store.contents.withLock { $0.name } }
    var retryAfter: Duration { .milliseconds(120) }

    func submit(_ request: ClientRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        let answer = store.handle(request)
        // As of a real node, answers come in a later turn.
        reply.eventLoop.execute { if let answer { reply.answer(answer) } }
        return TakenRequest(rawValue: 0)
    }

    func list(_ request: ListRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        next += 1
        listings[next] = (reply, store.names(request.subject))
        sendPiece(next)
        return TakenRequest(rawValue: next)
    }

    func continueListing(_ operation: TakenRequest) { sendPiece(operation.rawValue) }
    func cancel(_ operation: TakenRequest) { listings[operation.rawValue] = nil }

    private func sendPiece(_ id: UInt64) {
        guard let listing = listings[id], !store.contents.withLock({ $0.isMute }) else { return }
        let piece = Array(listing.names.prefix(10))
        listings[id]?.names.removeFirst(piece.count)
        if piece.isEmpty { listings[id] = nil }
        listing.reply.eventLoop.execute { listing.reply.listed(piece.isEmpty ? .done : .items(piece)) }
    }

    func properties(of scope: PropertiesScope, reply: RiakReply) {
        reply.properties(store.contents.withLock { $0.properties[scope] } ?? BucketProperties())
    }

    func setProperties(of scope: PropertiesScope, to change: PropertiesChange?, reply: RiakReply) {
        store.contents.withLock { contents in
            guard let change else {
                contents.properties[scope] = nil
                return
            }
            var properties = contents.properties[scope] ?? BucketProperties()
            properties.n = change.n ?? properties.n
            properties.conflictMode = change.conflictMode ?? properties.conflictMode
            properties.r = change.r ?? properties.r
            contents.properties[scope] = properties
        }
        reply.changed(.stored)
    }

    func preferenceList(of key: ObjectKey, reply: RiakReply) {
        reply.preferenceList([PreferenceEntry(partition: PartitionID(3), node: nodeName, isPrimary: true)])
    }

    var ring: RiakRing? { store.contents.withLock { $0.ring } }

    func keyEntropy() -> (UInt64, UInt64) {
        (UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max))
    }
}

/// A listening node.
struct InMemoryNode {
    let store: InMemoryStore
    let listener: any Channel
    let port: Int

    static func start(_ store: InMemoryStore = InMemoryStore(), port: Int = 0) async throws -> InMemoryNode {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        RiakConnection(
                            backend: InMemoryBackend(store), clusterKey: clusterKey,
                            limits: RiakConnectionLimits(objectBytes: 1 << 20)))
                }
            }
            .bind(host: "127.0.0.1", port: port)
            .get()
        return InMemoryNode(store: store, listener: listener, port: listener.localAddress!.port!)
    }

    func stop() async throws { try await listener.close() }
}
