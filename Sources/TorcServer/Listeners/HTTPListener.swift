// Riak's HTTP API, `/ping` and `/stats`, on Hummingbird. `HTTPTranslator` knows the API; this brings requests
// to it and its answers back.

import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import TorcModel
import TorcReplication
import TorcWire

final class HTTPListener: @unchecked Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let handler: HTTPRequestHandler
    private let connectionLimit: Int
    private let logger: Logger
    private var services: ServiceGroup?
    private var task: Task<Void, any Error>?

    init(
        group: MultiThreadedEventLoopGroup, handler: HTTPRequestHandler, connectionLimit: Int, logger: Logger
    ) {
        self.group = group
        self.handler = handler
        self.connectionLimit = connectionLimit
        self.logger = logger
    }

    /// Answers with the address that it listens on.
    func start(on address: HostAddress) async throws -> HostAddress {
        let (bound, continuation) = AsyncThrowingStream<HostAddress, any Error>.makeStream()
        // Hummingbird tells of every start and stop; those are the node's to tell.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let handler = handler
        let application = Application(
            responder: CallbackResponder<ChannelRequestContext> { request, context in
                try await handler.respond(to: request, channel: context.channel)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(address.host, port: address.port), serverName: "torc/\(BuildVersion.current)",
                backlog: 1024, availableConnectionsDelegate: MaximumAvailableConnections(connectionLimit, logger: quiet)
            ),
            onServerRunning: { channel in
                continuation.yield(HostAddress(host: address.host, port: channel.localAddress?.port ?? address.port))
                continuation.finish()
            },
            eventLoopGroupProvider: .shared(group), logger: quiet)
        let services = ServiceGroup(
            configuration: ServiceGroupConfiguration(services: [.init(service: application)], logger: quiet))
        self.services = services
        task = Task {
            do {
                try await services.run()
            } catch {
                continuation.finish(throwing: error)
                throw error
            }
        }
        for try await address in bound { return address }
        throw ChannelError.unknownLocalAddress
    }

    /// Stops accepting, lets the requests under way finish. When the waiting task is cancelled, ends them.
    func stop() async {
        await services?.triggerGracefulShutdown()
        guard let task else { return }
        await withTaskCancellationHandler {
            _ = try? await task.value
        } onCancel: {
            task.cancel()
        }
    }
}

/// A request, with the channel whose loop says which gateway serves it.
struct ChannelRequestContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: Source) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }
}
