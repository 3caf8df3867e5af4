// Accepts the connections of one protocol, gives each to the gateway of its loop, and at the end lets each finish what it was
// asked.

import Atomics
import Logging
import NIOCore
import NIOPosix
import TorcModel
import TorcWire

/// Unchecked: its tables of connections are each touched on their own loop alone, `channel` by start and stop, which follow each
/// other.
final class ClientListener: @unchecked Sendable {
    /// Makes the handler of a connection; the number is the connection's.
    typealias Maker = @Sendable (ClientGateway, UInt64) -> ClientConnection

    private let group: MultiThreadedEventLoopGroup
    private let gateways: [ClientGateway]
    private let make: Maker
    private let connectionLimit: Int
    private let logger: Logger
    private let open = ManagedAtomic<Int>(0)
    private let refused = ManagedAtomic<Int>(0)
    private let accepted = ManagedAtomic<UInt64>(0)
    /// By gateway, touched on its loop alone.
    private var connections: [ConnectionTable]
    private var channel: (any Channel)?

    private final class ConnectionTable: @unchecked Sendable {
        var handlers: [ObjectIdentifier: (handler: ClientConnection, channel: any Channel)] = [:]
    }

    init(
        group: MultiThreadedEventLoopGroup, gateways: [ClientGateway], connectionLimit: Int, logger: Logger,
        make: @escaping Maker
    ) {
        self.group = group
        self.gateways = gateways
        self.make = make
        self.connectionLimit = connectionLimit
        self.logger = logger
        connections = gateways.map { _ in ConnectionTable() }
    }

    var openConnections: Int { open.load(ordering: .relaxed) }
    var refusedConnections: Int { refused.load(ordering: .relaxed) }

    func start(on address: HostAddress) async throws -> HostAddress {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelInitializer { channel in self.accept(channel) }
            .bind(host: address.host, port: address.port).get()
        self.channel = channel
        return HostAddress(host: address.host, port: channel.localAddress?.port ?? address.port)
    }

    /// On the connection's loop.
    private func accept(_ channel: any Channel) -> EventLoopFuture<Void> {
        guard open.loadThenWrappingIncrement(ordering: .relaxed) < connectionLimit,
            let index = gateways.firstIndex(where: { $0.eventLoop === channel.eventLoop })
        else {
            open.wrappingDecrement(ordering: .relaxed)
            refused.wrappingIncrement(ordering: .relaxed)
            return channel.close()
        }
        let handler = make(gateways[index], accepted.wrappingIncrementThenLoad(ordering: .relaxed))
        handler.stages = gateways[index].stages
        handler.pacing = gateways[index].pacing
        let table = connections[index]
        let id = ObjectIdentifier(channel)
        table.handlers[id] = (handler, channel)
        channel.closeFuture.whenComplete { _ in
            table.handlers[id] = nil
            self.open.wrappingDecrement(ordering: .relaxed)
        }
        return channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler) }
    }

    func stopAccepting() async {
        try? await channel?.close()
    }

    /// Each connection answers what it has been asked, then closes.
    func finish() async {
        for (table, gateway) in zip(connections, gateways) {
            _ = try? await gateway.eventLoop.submit {
                for entry in table.handlers.values { entry.handler.finish() }
            }.get()
        }
    }

    /// Closes what is still open.
    func closeAll() async {
        for (table, gateway) in zip(connections, gateways) {
            _ = try? await gateway.eventLoop.submit {
                for entry in table.handlers.values { entry.channel.close(promise: nil) }
            }.get()
        }
    }
}
