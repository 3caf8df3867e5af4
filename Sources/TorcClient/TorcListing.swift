// A listing has a connection of its own, which is read only as fast as the program takes the names: a bucket
// of a billion keys needs no more memory than one piece of it.

public import NIOCore
import NIOPosix
import TorcWire

/// The names of keys or buckets, as an asynchronous sequence of pieces.
public struct TorcListing: AsyncSequence, Sendable {
    public typealias Element = [ByteBuffer]

    let request: RiakFrame
    let configuration: TorcClient.Configuration
    let group: any EventLoopGroup

    public func makeAsyncIterator() -> Iterator { Iterator(listing: self) }

    /// All names at once, for a program that knows that they are few.
    public func collect() async throws -> [ByteBuffer] {
        var all: [ByteBuffer] = []
        for try await piece in self { all += piece }
        return all
    }

    /// Takes the pieces of one listing. Dropping it ends the listing.
    public final class Iterator: AsyncIteratorProtocol {
        private let listing: TorcListing
        private var channel: (any Channel)?
        private var frames: NIOLoopBound<FramePuller>?
        private var isDone = false

        init(listing: TorcListing) { self.listing = listing }

        deinit { channel?.close(promise: nil) }

        /// The next piece; nil after the last. An error when the node sends nothing for as long as a request may take,
        /// and when the task is cancelled.
        public func next() async throws -> [ByteBuffer]? {
            if isDone { return nil }
            if channel == nil { try await start() }
            guard let channel, let frames else { return nil }
            let time = listing.configuration.requestTimeout + NodeConnections.answerSlack
            do {
                while true {
                    let frame = try await withTaskCancellationHandler {
                        try await withCheckedThrowingContinuation {
                            (continuation: CheckedContinuation<RiakFrame, any Error>) in
                            channel.eventLoop.execute { frames.value.pull(continuation, within: time) }
                        }
                    } onCancel: {
                        // Which ends the waiting, too.
                        channel.close(promise: nil)
                    }
                    let (names, isLast) = try RiakClientMessages.names(frame)
                    if isLast { finish() }
                    if !names.isEmpty { return names }
                    if isLast { return nil }
                }
            } catch let error as RiakAnswerError {
                finish()
                throw TorcError(error, isWrite: false)
            } catch {
                finish()
                if Task.isCancelled { throw CancellationError() }
                throw error
            }
        }

        private func finish() {
            isDone = true
            channel?.close(promise: nil)
        }

        private func start() async throws {
            var failures: [String] = []
            for address in listing.configuration.addresses {
                do {
                    let channel = try await ClientBootstrap(group: listing.group)
                        .connectTimeout(listing.configuration.connectTimeout)
                        .channelOption(.autoRead, value: false)
                        .channelInitializer { channel in
                            channel.eventLoop.makeCompletedFuture {
                                try channel.pipeline.syncOperations.addHandler(FramePuller())
                            }
                        }
                        .connect(host: address.host, port: address.port)
                        .get()
                    self.channel = channel
                    let request = listing.request
                    frames = try await channel.eventLoop.submit {
                        let puller = try channel.pipeline.syncOperations.handler(type: FramePuller.self)
                        var bytes = ByteBuffer()
                        request.encode(into: &bytes)
                        channel.writeAndFlush(bytes, promise: nil)
                        return NIOLoopBound(puller, eventLoop: channel.eventLoop)
                    }.get()
                    return
                } catch {
                    failures.append("\(address): \(TorcClient.reason(error))")
                }
            }
            throw TorcError.unreachable(failures)
        }
    }
}

@available(*, unavailable)
extension TorcListing.Iterator: Sendable {}

/// Hands out one frame for each that is asked for, and reads from the socket only when it has none.
private final class FramePuller: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var frames = RiakFrameDecoder(maximumFrameBytes: RiakChannel.maximumAnswerBytes)
    private var waiting: CheckedContinuation<RiakFrame, any Error>?
    private var limit: Scheduled<Void>?
    private var context: ChannelHandlerContext?
    private var isClosed = false

    func pull(_ continuation: CheckedContinuation<RiakFrame, any Error>, within time: TimeAmount) {
        precondition(waiting == nil, "one frame at a time")
        waiting = continuation
        serve()
        guard waiting != nil, let context else { return }
        limit = context.eventLoop.assumeIsolated().scheduleTask(in: time) {
            self.answer(.failure(TorcError.noQuorum("the node sent nothing more of a listing in time")))
        }
    }

    private func serve() {
        guard waiting != nil else { return }
        do {
            if let frame = try frames.next() {
                answer(.success(frame))
            } else if isClosed {
                answer(.failure(TorcError.noQuorum("the connection was lost during a listing")))
            } else {
                context?.read()
            }
        } catch {
            answer(.failure(TorcError.protocolViolation(error.message)))
        }
    }

    private func answer(_ result: Result<RiakFrame, any Error>) {
        limit?.cancel()
        limit = nil
        waiting?.resume(with: result)
        waiting = nil
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        isClosed = true
        self.context = nil
        serve()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { frames.append(unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) { serve() }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        serve()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
