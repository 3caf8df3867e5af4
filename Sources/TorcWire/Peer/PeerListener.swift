// The peer port, and how peer connections are made. Accepted connections are dealt out over the loops in
// turn; the `PeerLinks` of the loop runs the handshake and keeps the link.

package import NIOCore
import NIOPosix

/// Binds the peer port and hands what it accepts to the loops' `PeerLinks`.
///
///     let listener = PeerListener(links: linksOfAllLoops, group: group)
///     let address = try await listener.bind(host: "127.0.0.1", port: 8099).get()
///     try await listener.stop().get()         // then stop the links
package final class PeerListener: @unchecked Sendable {
    private let links: [PeerLinks]
    private let group: any EventLoopGroup
    private let limits: PeerLimits
    private let eventLoop: any EventLoop
    private var channel: (any Channel)?

    /// Connections the kernel holds for us while the loops are busy; more are refused by it.
    private static let backlog: CInt = 256

    /// `group` has the loops of `links` and no other: an accepted connection may land on any of them.
    package init(links: [PeerLinks], group: any EventLoopGroup, limits: PeerLimits = PeerLimits()) {
        for loop in group.makeIterator() {
            precondition(links.contains { $0.eventLoop === loop }, "a loop without peer links: \(loop)")
        }
        self.links = links
        self.group = group
        self.limits = limits
        eventLoop = group.next()
    }

    /// From any thread; port 0 takes a free one. The answer is the address that it listens on.
    package func bind(host: String, port: Int) -> EventLoopFuture<SocketAddress> {
        ServerBootstrap(group: eventLoop, childGroup: group)
            .serverChannelOption(ChannelOptions.backlog, value: Self.backlog)
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let link = links.first(where: { $0.eventLoop === channel.eventLoop })?.accept() else {
                        throw ChannelError.inputClosed
                    }
                    try PeerChannels.prepare(channel, link, limits: limits)
                }
            }
            .bind(host: host, port: port)
            .hop(to: eventLoop)
            .flatMapThrowing { [self] channel in
                self.channel = channel
                guard let address = channel.localAddress else { throw ChannelError.unknownLocalAddress }
                return address
            }
    }

    /// Accepts no more. Links that stand go on until their `PeerLinks` stop. From any thread.
    package func stop() -> EventLoopFuture<Void> {
        eventLoop.flatSubmit { [self] in
            guard let channel, channel.isActive else { return eventLoop.makeSucceededVoidFuture() }
            return channel.close()
        }
    }
}

/// The sockets under peer links.
enum PeerChannels {
    /// Linux's TCP_NOTSENT_LOWAT: what the kernel takes beyond what it has sent. Without it the kernel would
    /// hold megabytes of bulk that no control message can overtake.
    private static let unsentLimitOption = ChannelOptions.tcpOption(NIOBSDSocket.Option(rawValue: 25))

    static func connect(
        _ link: PeerLink, to member: PeerMember, _ configuration: PeerConfiguration
    ) -> EventLoopFuture<Void> {
        let limits = configuration.limits
        return ClientBootstrap(group: link.eventLoop)
            .resolver(configuration.resolver)
            .connectTimeout(TimeAmount(limits.connectTimeout))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try setOptions(of: channel, limits: limits) }
            }
            .connect(host: member.host, port: member.port)
            .flatMapThrowing { channel in
                // A name may have several addresses, each tried with a channel of its own: the link gets only the one
                // that connected. It misses nothing, because who is dialled says nothing before the hello.
                do {
                    try channel.pipeline.syncOperations.addHandler(link)
                } catch {
                    channel.close(promise: nil)
                    throw error
                }
            }
    }

    /// On the channel's loop.
    static func prepare(_ channel: any Channel, _ link: PeerLink, limits: PeerLimits) throws {
        try setOptions(of: channel, limits: limits)
        try channel.pipeline.syncOperations.addHandler(link)
    }

    /// On the channel's loop.
    private static func setOptions(of channel: any Channel, limits: PeerLimits) throws {
        if let options = channel.syncOptions {
            try options.setOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            #if os(Linux)
                try options.setOption(unsentLimitOption, value: .init(limits.channelHighBytes))
            #endif
            try options.setOption(
                ChannelOptions.writeBufferWaterMark,
                value: .init(low: limits.channelLowBytes, high: limits.channelHighBytes))
        }
    }
}
