// What the ends of all clients' connections have in common, whatever the protocol: bytes are read while there is room for
// requests, answers of one turn of the loop leave in one write, and a connection ends without losing what was written.
//
// After bytes that are no request the client is told so, in its turn, and the connection ends: the sending side is shut first
// and what still comes is thrown away for a moment, because closing a socket with unread bytes would take the error message
// down with it.

package import NIOCore

/// The node's own name for a request that it has taken from a client.
package struct TakenRequest: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The server's end of one client's connection. A subclass cuts requests out of the bytes and answers them in the order of
/// asking. Used on the connection's event loop alone.
package class ClientConnection: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundIn = Never
    package typealias OutboundOut = ByteBuffer

    private enum State {
        case open
        /// Takes no more requests; closes when the last one is answered.
        case finishing(becauseOfError: Bool)
        /// The last answer is out; what the client sends is thrown away.
        case discarding
        case closed
    }

    /// What a subclass has to say of taking a request.
    enum Taking {
        /// One was taken; there may be another.
        case taken
        /// More bytes are needed, or a request waits for those before it.
        case nothing
        /// What came is no request; the answer that says so is written, and nothing more is taken.
        case broken
    }

    /// Answers up to this size are gathered in one buffer, larger ones written as they are.
    static let gatheredBytes = 32 << 10

    private(set) final var context: ChannelHandlerContext?
    private(set) final var isWritable = true
    /// Its loop's; nil: nothing is timed.
    package final var stages: StageClock?
    /// Its loop's; nil: a connection that is refused is read on.
    package final var pacing: RefusalPacing?
    private let closingTime: TimeAmount
    private var state = State.open
    private var outgoing = ByteBuffer()
    private var outgoingReserve = 0
    private var flushIsScheduled = false
    private var isInsideRead = false
    private var isAdvancing = false
    private var readIsPending = false
    /// It was told that there is too much to do, a moment ago.
    private var isPaused = false

    /// `closingTime`: how long a connection that is closed for an error goes on throwing away what the client sends.
    init(closingTime: TimeAmount) { self.closingTime = closingTime }

    // MARK: What a protocol says

    /// The connection has its event loop.
    func opened(on eventLoop: any EventLoop) { preconditionFailure("\(Self.self) does not say how it begins") }

    /// Bytes for further requests.
    func received(_ bytes: ByteBuffer) { preconditionFailure("\(Self.self) takes no bytes") }

    /// Whether a further request may be taken, as far as the protocol knows.
    var hasRoom: Bool { preconditionFailure("\(Self.self) has no bounds") }

    /// No request is under way, and no answer waits for another.
    var isIdle: Bool { preconditionFailure("\(Self.self) counts no requests") }

    /// Takes the next request from what was received.
    func takeNext() -> Taking { preconditionFailure("\(Self.self) takes no requests") }

    /// Writes the answers whose turn it is.
    func writeAnswered() { preconditionFailure("\(Self.self) has no answers") }

    /// The client takes bytes again.
    func resumed() {}

    /// Drops what was received and not yet taken.
    func dropReceived() { preconditionFailure("\(Self.self) drops nothing") }

    /// The client is gone: nobody waits for an answer any more.
    func abandoned() { preconditionFailure("\(Self.self) ends nothing") }

    // MARK: The end

    /// Takes no more requests, answers those that are under way, then closes.
    package final func finish() {
        guard case .open = state else { return }
        finishLater()
        deliver()
    }

    /// As `finish`, with what answers the request that asks for it still to come.
    final func finishLater() {
        guard case .open = state else { return }
        state = .finishing(becauseOfError: false)
    }

    /// The client is gone, or the connection is given up.
    private func end() {
        if case .closed = state { return }
        state = .closed
        outgoing = ByteBuffer()
        dropReceived()
        abandoned()
    }

    private func close(becauseOfError: Bool) {
        guard let context else { return }
        flush()
        guard becauseOfError else {
            state = .closed
            // What the client has not read yet is sent first.
            let written = context.eventLoop.makePromise(of: Void.self)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
            written.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
            return
        }
        state = .discarding
        context.close(mode: .output, promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: closingTime) { context.close(promise: nil) }
        if readIsPending {
            readIsPending = false
            context.read()
        }
    }

    // MARK: The channel

    package final func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        isWritable = context.channel.isWritable
        opened(on: context.eventLoop)
    }

    package final func handlerRemoved(context: ChannelHandlerContext) {
        end()
        self.context = nil
    }

    package final func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .open = state else { return }
        isInsideRead = true
        let span = stages?.enter(.parse)
        received(unwrapInboundIn(data))
        advance()
        if let span { stages?.leave(span) }
    }

    package final func channelReadComplete(context: ChannelHandlerContext) {
        isInsideRead = false
        flush()
        context.fireChannelReadComplete()
    }

    package final func read(context: ChannelHandlerContext) {
        if wantsBytes { context.read() } else { readIsPending = true }
    }

    package final func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable {
            resumed()
            advance()
        }
        context.fireChannelWritabilityChanged()
    }

    package final func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    package final func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe: there is nobody to tell.
        end()
        context.close(promise: nil)
    }

    // MARK: Requests

    private var wantsBytes: Bool {
        switch state {
        case .open: isWritable && hasRoom && !isPaused
        case .finishing(let becauseOfError): becauseOfError
        case .discarding: true
        case .closed: false
        }
    }

    /// Takes requests from what has been received, for as long as there is room.
    private func advance() {
        // Answers that come while a request is being handed over lead back here.
        guard !isAdvancing else { return }
        isAdvancing = true
        taking: while case .open = state, isWritable {
            switch takeNext() {
            case .taken: continue
            case .nothing: break taking
            case .broken:
                state = .finishing(becauseOfError: true)
                dropReceived()
                deliver()
            }
        }
        isAdvancing = false
        if readIsPending, wantsBytes {
            readIsPending = false
            context?.read()
        }
    }

    /// Sends what is to be sent next, and takes what there is room for now.
    final func deliver() {
        writeAnswered()
        if case .finishing(let becauseOfError) = state, isIdle {
            close(becauseOfError: becauseOfError)
        } else {
            advance()
        }
    }

    /// The client is told that there is too much to do: for a moment nothing more is read from it. Returns when it may be worth to
    /// ask again, `atLeast` that.
    final func pause(atLeast wait: Duration) -> Duration {
        guard let pacing, let context, case .open = state else { return wait }
        if isPaused { return max(wait, Duration(pacing.pause)) }
        isPaused = true
        let pause = pacing.refused(at: .now())
        context.eventLoop.assumeIsolated().scheduleTask(in: pause) {
            self.isPaused = false
            guard self.readIsPending, self.wantsBytes else { return }
            self.readIsPending = false
            self.context?.read()
        }
        return max(wait, Duration(pause))
    }

    // MARK: Writing

    /// Adds to what leaves next. `encode` appends; a `body` too large to be copied follows as it is, then `tail`.
    final func write(
        body: ByteBuffer? = nil, tail: StaticString = "", encode: (inout ByteBuffer) -> Void
    ) {
        guard let context else { return }
        if outgoing.readableBytes == 0 { outgoing.reserveCapacity(outgoingReserve) }
        encode(&outgoing)
        if let body {
            context.write(wrapOutboundOut(takeOutgoing()), promise: nil)
            context.write(wrapOutboundOut(body), promise: nil)
            outgoing.writeStaticString(tail)
        }
        guard !isInsideRead, !flushIsScheduled else { return }
        flushIsScheduled = true
        // Answers of one turn of the loop leave in one write.
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            self.flush()
        }
    }

    private func takeOutgoing() -> ByteBuffer {
        let bytes = outgoing
        outgoing = ByteBuffer()
        return bytes
    }

    final func flush() {
        guard let context else { return }
        let span = stages?.enter(.clientSockets)
        defer { if let span { stages?.leave(span) } }
        if outgoing.readableBytes > 0 {
            outgoingReserve = min(outgoing.readableBytes, Self.gatheredBytes)
            context.writeAndFlush(wrapOutboundOut(takeOutgoing()), promise: nil)
        } else {
            context.flush()
        }
    }
}
