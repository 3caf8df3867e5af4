// One connection of a client: frames out, the answers back in order, as many at once as the caller likes.
// Callbacks on the connection's event loop, no task and no timer a request: the load generator sits on this
// directly, `TorcClient` puts async/await on top.

package import NIOCore
import NIOPosix
package import TorcWire

/// Why a request has no answer.
package enum RiakChannelFailure: Error, Hashable, Sendable {
    /// The connection was closed before anything of the request was handed to it: nothing was sent.
    case notSent
    /// The connection was lost after the request had been handed to it: it may have been carried out.
    case lost
    /// No answer in time: it may have been carried out.
    case timedOut
    /// What came is no frame; the connection is closed.
    case malformedAnswer
}

/// A connection to a server that speaks Riak's protocol buffers.
package struct RiakChannel: Sendable {
    /// An answer beyond this is refused and the connection closed.
    package static let maximumAnswerBytes = 128 << 20

    package let channel: any Channel
    private let handler: NIOLoopBound<RiakChannelHandler>

    package var eventLoop: any EventLoop { channel.eventLoop }

    /// Connects on this event loop.
    package static func connect(
        host: String, port: Int, on eventLoop: any EventLoop, timeout: TimeAmount = .seconds(5)
    ) -> EventLoopFuture<RiakChannel> {
        ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RiakChannelHandler())
                }
            }
            .connect(host: host, port: port)
            .flatMapThrowing { channel in
                let handler = try channel.pipeline.syncOperations.handler(type: RiakChannelHandler.self)
                return RiakChannel(channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
            }
    }

    /// Sends a request and calls back with its answer, on the event loop (where this must be called, too).
    /// Requests of one turn of the loop leave in one write.
    package func send(
        _ frame: RiakFrame, timeout: TimeAmount? = nil,
        completion: @escaping (Result<RiakFrame, RiakChannelFailure>) -> Void
    ) {
        handler.value.send(frame, timeout: timeout, completion: completion)
    }

    /// Requests without an answer yet. On the event loop.
    package var openRequests: Int { handler.value.openRequests }

    /// Closes the connection; what is open fails as `lost`.
    package func close() { channel.close(promise: nil) }
}

final class RiakChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    typealias Completion = (Result<RiakFrame, RiakChannelFailure>) -> Void

    private struct Pending {
        /// Nil when it has timed out: its answer, should it come, is dropped.
        var completion: Completion?
        var deadline: NIODeadline?
    }

    /// How often deadlines are looked at; a request may be late by this much.
    private static let deadlineCheck = TimeAmount.milliseconds(50)

    private var context: ChannelHandlerContext?
    private var pending = CircularBuffer<Pending>(initialCapacity: 16)
    private var frames = RiakFrameDecoder(maximumFrameBytes: RiakChannel.maximumAnswerBytes)
    private var outgoing = ByteBuffer()
    private var isInsideRead = false
    private var flushIsScheduled = false
    private var checkIsScheduled = false
    private var isClosed = false

    var openRequests: Int { pending.count }

    func send(_ frame: RiakFrame, timeout: TimeAmount?, completion: @escaping Completion) {
        guard let context, !isClosed else {
            completion(.failure(.notSent))
            return
        }
        pending.append(Pending(completion: completion, deadline: timeout.map { .now() + $0 }))
        frame.encode(into: &outgoing)
        if timeout != nil { scheduleCheck(context) }
        guard !isInsideRead, !flushIsScheduled else { return }
        flushIsScheduled = true
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            self.flush()
        }
    }

    private func flush() {
        guard let context, outgoing.readableBytes > 0 else { return }
        let bytes = outgoing
        outgoing = ByteBuffer()
        context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        fail(.lost)
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isInsideRead = true
        frames.append(unwrapInboundIn(data))
        do {
            while let frame = try frames.next() {
                // An answer to no question.
                guard let request = pending.popFirst() else { return abandon(context) }
                request.completion?(.success(frame))
            }
        } catch {
            abandon(context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isInsideRead = false
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(.lost)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(.lost)
        context.close(promise: nil)
    }

    private func abandon(_ context: ChannelHandlerContext) {
        fail(.malformedAnswer)
        context.close(promise: nil)
    }

    private func fail(_ failure: RiakChannelFailure) {
        isClosed = true
        while let request = pending.popFirst() { request.completion?(.failure(failure)) }
    }

    private func scheduleCheck(_ context: ChannelHandlerContext) {
        guard !checkIsScheduled else { return }
        checkIsScheduled = true
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.deadlineCheck) { self.checkDeadlines() }
    }

    private func checkDeadlines() {
        checkIsScheduled = false
        let now = NIODeadline.now()
        var late: [Completion] = []
        var waiting = false
        for index in pending.indices {
            guard let deadline = pending[index].deadline, let completion = pending[index].completion else { continue }
            if deadline <= now {
                pending[index].completion = nil
                late.append(completion)
            } else {
                waiting = true
            }
        }
        if waiting, let context { scheduleCheck(context) }
        for completion in late { completion(.failure(.timedOut)) }
    }
}
