// Nodes of a small cluster on loopback, with nothing behind their links but a record of what these said.

import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing
import TorcModel
import TorcReplication
import TorcWire

enum PeerEvent: Hashable, Sendable {
    case message(PeerMessage, from: UInt64)
    case up(UInt64)
    case down(UInt64)
    case refused(UInt64, PeerRefusal.Code, byPeer: Bool)
}

final class PeerRecord: PeerReceiver, Sendable {
    private let record = Mutex<[PeerEvent]>([])

    var events: [PeerEvent] { record.withLock { $0 } }
    var messages: [PeerMessage] {
        events.compactMap { if case .message(let message, _) = $0 { message } else { nil } }
    }

    func peerMessage(_ message: PeerMessage, from node: NodeID) { add(.message(message, from: node.rawValue)) }
    func peerUp(_ node: NodeID, features: PeerFeatures) { add(.up(node.rawValue)) }
    func peerDown(_ node: NodeID) { add(.down(node.rawValue)) }
    func peerRefused(_ node: NodeID, _ refusal: PeerRefusal, byPeer: Bool) {
        add(.refused(node.rawValue, refusal.code, byPeer: byPeer))
    }

    private func add(_ event: PeerEvent) { record.withLock { $0.append(event) } }

    /// Waits until an event has come so many times; a minute at most.
    func awaits(
        _ event: PeerEvent, count: Int = 1, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await eventually("\(event)", sourceLocation: sourceLocation) {
            self.events.count { $0 == event } >= count
        }
    }
}

func eventually(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool
) async throws {
    // Long, because nothing depends on it but how soon a failure is told: other tests may have the processor.
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
        if condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    try #require(Bool(false), "never came: \(what)", sourceLocation: sourceLocation)
}

/// What loopback tests need to be quick.
var quickLimits: PeerLimits {
    var limits = PeerLimits()
    // A live peer on a busy machine must not seem dead.
    limits.duplicateTimeout = .seconds(5)
    limits.handshakeTimeout = .seconds(10)
    limits.backoffFloor = .milliseconds(5)
    limits.backoffCeiling = .milliseconds(50)
    return limits
}

let peerTestKey = ClusterKey(secret: Array("sixteen bytes and more".utf8))!

func testIdentity(_ node: UInt64, incarnation: UInt64, cluster: UInt64 = 1) -> PeerIdentity {
    PeerIdentity(
        cluster: ClusterID(rawValue: cluster), node: NodeID(rawValue: node), store: StoreID(rawValue: node),
        incarnation: Incarnation(rawValue: incarnation), name: "n\(node)")
}

func member(_ node: UInt64, port: Int) -> PeerMember {
    PeerMember(node: NodeID(rawValue: node), name: "n\(node)", host: "127.0.0.1", port: port)
}

/// One node with one loop.
final class TestPeer: Sendable {
    let record = PeerRecord()
    let links: PeerLinks
    let listener: PeerListener
    let port: Int

    /// `isStarted` false: it listens, and nobody hears what its links say until `start`.
    init(
        _ node: UInt64, incarnation: UInt64, members: [PeerMember], limits: PeerLimits = quickLimits,
        key: ClusterKey = peerTestKey, cluster: UInt64 = 1, port: Int? = nil, isStarted: Bool = true,
        features: PeerFeatures = .supported, news: RingMessage? = nil
    ) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        var configuration = PeerConfiguration(
            identity: testIdentity(node, incarnation: incarnation, cluster: cluster), key: key, members: members,
            limits: limits)
        configuration.features = features
        configuration.news = news
        links = PeerLinks(
            configuration: configuration, registry: PeerRegistry(eventLoop: loop, limits: limits), eventLoop: loop,
            loop: 0, loopCount: 1, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        listener = PeerListener(links: [links], group: loop, limits: limits)
        let own = port ?? members.first { $0.node.rawValue == node }?.port ?? 0
        self.port = try await listener.bind(host: "127.0.0.1", port: own).get().port!
        if isStarted { try await start() }
    }

    /// It takes connections when this is over.
    func start() async throws {
        links.start(receiver: record)
        try await links.eventLoop.submit {}.get()
    }

    func send(_ messages: [PeerMessage], to node: UInt64) async throws {
        try await links.eventLoop.submit {
            for message in messages { self.links.send(message, to: NodeID(rawValue: node)) }
        }.get()
    }

    func stop() async throws {
        try await listener.stop().get()
        try await links.stop().get()
    }
}

/// A member that shakes hands and then does nothing at all: not a ping is answered.
final class MutePeer: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    private var handshake: Handshake
    private var held = ByteBuffer()
    private let readsOn: Bool

    static func dial(
        _ node: UInt64, incarnation: UInt64, members: [PeerMember], at port: Int, readsOn: Bool = true
    ) async throws -> any Channel {
        var generator = SystemRandomNumberGenerator()
        let mute = MutePeer(
            Handshake(
                role: .dialler(expecting: nil, purpose: .link), identity: testIdentity(node, incarnation: incarnation),
                members: members.map(\.node), key: peerTestKey.peerKey, nonce: HandshakeNonce(using: &generator)),
            readsOn)
        return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(mute) }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }

    private init(_ handshake: Handshake, _ readsOn: Bool) {
        self.handshake = handshake
        self.readsOn = readsOn
    }

    func channelActive(context: ChannelHandlerContext) { carryOut(handshake.start(), context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !handshake.isOver else { return }
        held.writeImmutableBuffer(unwrapInboundIn(data))
        while !handshake.isOver, let (message, body) = try? HandshakeMessage.read(from: &held) {
            carryOut(handshake.received(message, body: body), context)
        }
    }

    private func carryOut(_ actions: [Handshake.Action], _ context: ChannelHandlerContext) {
        for action in actions {
            switch action {
            case .send(let message): context.writeAndFlush(NIOAny(message.encoded), promise: nil)
            case .judge: carryOut(handshake.judged(.sole), context)
            case .established:
                if !readsOn { try? context.channel.syncOptions?.setOption(ChannelOptions.autoRead, value: false) }
            case .failed: context.close(promise: nil)
            }
        }
    }
}

/// Gives every host an address more, where nobody listens.
struct TwoAddresses: Resolver, Sendable {
    func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        MultiThreadedEventLoopGroup.singleton.next().makeCompletedFuture {
            [try SocketAddress(ipAddress: "127.0.0.2", port: port), try SocketAddress(ipAddress: host, port: port)]
        }
    }

    func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        MultiThreadedEventLoopGroup.singleton.next().makeSucceededFuture([])
    }

    func cancelQueries() {}
}
