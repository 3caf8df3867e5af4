// The connections of one loop of the generator: opens them, and another one where one is lost, as a client does whose node died: to the
// next target, and on from there. A connection that never stood is not tried again: there is nobody to measure.

import NIOCore
import NIOPosix

/// Confined to its loop.
final class LoadDialer {
    /// Between two tries to replace a connection.
    private static let pause = TimeAmount.milliseconds(100)

    private let state: LoadState
    private let loop: any EventLoop
    private let start: NIODeadline
    /// Nanoseconds between two requests of a connection; nil: closed loop.
    private let interval: Int64?
    private var open: Int
    private let onFinish: () -> Void

    /// `connections`: the numbers of those that are this loop's.
    @discardableResult
    init(
        state: LoadState, loop: any EventLoop, start: NIODeadline, connections: [Int], onFinish: @escaping () -> Void
    ) {
        self.state = state
        self.loop = loop
        self.start = start
        self.onFinish = onFinish
        open = connections.count
        interval = state.plan.rate.map { Int64(1_000_000_000 * Double(state.plan.connections) / $0) }
        for connection in connections {
            // Connections start spread over one interval, so that they do not all send at once.
            let firstAt = start + .nanoseconds((interval ?? 0) * Int64(connection) / Int64(state.plan.connections))
            dial(connection % state.plan.targets.count, firstAt: firstAt, isReplacement: false)
        }
    }

    private func dial(_ target: Int, firstAt: NIODeadline, isReplacement: Bool) {
        let address = state.plan.targets[target]
        let bound = NIOLoopBound(self, eventLoop: loop)
        ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connectTimeout(.seconds(5))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let dialer = bound.value
                    try channel.pipeline.syncOperations.addHandler(
                        LoadConnection(
                            state: dialer.state, target: target, interval: dialer.interval, firstAt: firstAt,
                            onFinish: { isLost in bound.value.ended(target, isLost: isLost) }))
                }
            }
            .connect(host: address.host, port: address.port)
            .whenFailure { error in
                let dialer = bound.value
                dialer.state.recordError("cannot connect to \(address.host):\(address.port): \(error)")
                dialer.ended(target, isLost: isReplacement)
            }
    }

    private func ended(_ target: Int, isLost: Bool) {
        guard isLost, NIODeadline.now() + Self.pause < state.stopAt else {
            open -= 1
            if open == 0 { onFinish() }
            return
        }
        let bound = NIOLoopBound(self, eventLoop: loop)
        let next = (target + 1) % state.plan.targets.count
        loop.scheduleTask(in: Self.pause) {
            bound.value.dial(next, firstAt: .now(), isReplacement: true)
        }
    }
}
