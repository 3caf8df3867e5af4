// One connection between two processes: the channel handler that runs the handshake, then carries messages
// both ways. Everything in it happens on its event loop; what may be called from elsewhere says so.
//
// A link ends once, whatever ends it: the peer, an error, silence, a full queue, its owner. Its owner hears of
// it exactly once, and hears of nothing after.

package import NIOCore
import TorcModel
import TorcReplication

/// Why a link ended, or never came to stand.
package enum PeerLinkEnd: Hashable, Sendable, CustomStringConvertible {
    case closed(String)
    case refused(PeerRefusal, byPeer: Bool)

    package var description: String {
        switch self {
        case .closed(let reason): reason
        case .refused(let refusal, let byPeer): "\(byPeer ? "refused by the peer" : "refused here"): \(refusal)"
        }
    }
}

/// What a link tells its owner, on its event loop.
protocol PeerLinkOwner: AnyObject {
    /// Is the peer's node id alive in another process?
    func judge(
        _ link: PeerLink, _ peer: PeerIdentity, _ purpose: HandshakeMessage.Purpose
    ) -> EventLoopFuture<Handshake.Verdict>
    func linkStands(_ link: PeerLink, _ session: Handshake.Session)
    func linkReceived(_ message: PeerMessage, on link: PeerLink, from node: NodeID)
    /// All that one read of the socket brought has been handed over.
    func linkReadComplete(_ link: PeerLink)
    func linkDropped(_ message: PeerMessage, on link: PeerLink)
    /// It needs what the peer does not have, and was not sent: whoever sent it should not have.
    func linkWithheld(_ message: PeerMessage, on link: PeerLink)
    func linkEnded(_ link: PeerLink, _ end: PeerLinkEnd)
}

package final class PeerLink: ChannelInboundHandler, @unchecked Sendable {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private enum State {
        /// To handshaking when the channel is active, or ended.
        case connecting(Handshake)
        /// To standing or ended.
        case handshaking(Handshake, ByteBuffer)
        /// To ended.
        case standing(Handshake.Session)
        case ended
    }

    package let eventLoop: any EventLoop
    /// How people are told of it: the configured address when this side dialled, the peer's socket otherwise.
    private(set) var address: String
    let isDialled: Bool
    private let limits: PeerLimits
    /// The member that it belongs to, for its owner's use: nil while that is not known.
    var node: NodeID?
    /// Its loop's; nil: nothing is timed.
    var stages: StageClock?
    /// What the peer has proven to be, before it was judged.
    private(set) var judgedNode: NodeID?
    private(set) var judgedPurpose: HandshakeMessage.Purpose?
    private var owner: (any PeerLinkOwner)?
    private var state: State
    private var context: ChannelHandlerContext?

    private var reader: PeerFrameReader
    private var assembly: BulkAssembly
    private var queue: OutboundQueue
    private var isFlushScheduled = false
    private var isPumping = false

    private var handshakeTimer: Scheduled<Void>?
    private var pingTimer: RepeatedTask?
    private var silentIntervals = 0
    /// Those who asked whether the peer is alive, by the number of their ping.
    private var inquiries: [UInt64: EventLoopPromise<Bool>] = [:]
    private var nextInquiry: UInt64 = 1

    init(
        eventLoop: any EventLoop, handshake: Handshake, dialledAddress: String?, limits: PeerLimits,
        owner: any PeerLinkOwner
    ) {
        self.eventLoop = eventLoop
        self.limits = limits
        self.owner = owner
        address = dialledAddress ?? "an unknown address"
        isDialled = dialledAddress != nil
        state = .connecting(handshake)
        reader = PeerFrameReader(maximumPayloadBytes: limits.framePayloadBytes)
        assembly = BulkAssembly(maximumMessageBytes: limits.messageBytes)
        queue = OutboundQueue(limits: limits)
    }

    /// The peer, once the link stands.
    package var session: Handshake.Session? {
        if case .standing(let session) = state { session } else { nil }
    }

    var hasEnded: Bool {
        if case .ended = state { true } else { false }
    }

    package var queuedBytes: Int { queue.queuedBytes }

    // MARK: For the owner

    /// Queues a message; it leaves with all others of this turn of the loop. Dropped when the link does not stand.
    func send(_ message: PeerMessage) {
        eventLoop.assertInEventLoop()
        guard case .standing(let session) = state else { return }
        let message = message.adapted(to: session.agreed)
        // A message that the peer cannot read would end the link, and take others with it.
        guard session.agreed.isSuperset(of: message.requiredFeatures) else {
            owner?.linkWithheld(message, on: self)
            return
        }
        switch queue.append(message) {
        case .queued: scheduleFlush()
        case .tooLong: owner?.linkDropped(message, on: self)
        case .full: end(.closed("the peer reads too slowly: more than \(limits.queuedBytes) bytes wait for it"))
        }
    }

    /// Sends what is queued now instead of at the end of the turn.
    func flush() {
        eventLoop.assertInEventLoop()
        pump()
    }

    /// Sends what is queued, for a second at most, and ends the link.
    func stop(_ reason: String) {
        guard case .standing = state, let context else { return end(.closed(reason)) }
        while let (first, second) = queue.next() {
            context.write(wrapOutboundOut(first), promise: nil)
            if let second { context.write(wrapOutboundOut(second), promise: nil) }
        }
        let sent = eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: sent)
        let limit = eventLoop.scheduleTask(in: .seconds(1)) { self.end(.closed(reason)) }
        sent.futureResult.whenComplete { _ in
            limit.cancel()
            self.end(.closed(reason))
        }
    }

    /// Ends the link at once. From any thread.
    package func drop(_ reason: String) {
        if eventLoop.inEventLoop { end(.closed(reason)) } else { eventLoop.execute { self.end(.closed(reason)) } }
    }

    /// Whether the peer's process answers a ping in time. From any thread.
    package func isAlive(within timeout: Duration) -> EventLoopFuture<Bool> {
        eventLoop.flatSubmit {
            let promise = self.eventLoop.makePromise(of: Bool.self)
            if case .ended = self.state {
                promise.succeed(false)
                return promise.futureResult
            }
            let number = self.nextInquiry
            self.nextInquiry += 1
            self.inquiries[number] = promise
            // Before the link stands the ping waits for it: `stand` sends it.
            if case .standing = self.state { self.ping(number) }
            self.eventLoop.scheduleTask(in: TimeAmount(timeout)) {
                self.inquiries.removeValue(forKey: number)?.succeed(false)
            }
            return promise.futureResult
        }
    }

    // MARK: Channel events

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if hasEnded { context.close(promise: nil) } else if context.channel.isActive { becameActive(context) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        end(.closed("the connection was closed"))
        self.context = nil
    }

    package func channelActive(context: ChannelHandlerContext) { becameActive(context) }

    package func channelInactive(context: ChannelHandlerContext) {
        end(.closed("the peer closed the connection"))
        context.fireChannelInactive()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) { end(.closed("\(error)")) }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        silentIntervals = 0
        let bytes = unwrapInboundIn(data)
        switch state {
        case .connecting, .ended: break
        case .handshaking(let handshake, var held):
            held.writeImmutableBuffer(bytes)
            state = .handshaking(handshake, held)
            continueHandshake()
        case .standing:
            let span = stages?.enter(.peersIn)
            reader.append(bytes)
            readFrames()
            if let span { stages?.leave(span) }
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        if case .standing = state { owner?.linkReadComplete(self) }
        context.fireChannelReadComplete()
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { pump() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Handshake

    private func becameActive(_ context: ChannelHandlerContext) {
        guard case .connecting(var handshake) = state else { return }
        if !isDialled, let remote = context.channel.remoteAddress { address = remote.shortDescription }
        handshakeTimer = eventLoop.scheduleTask(in: TimeAmount(limits.handshakeTimeout)) { [limits] in
            self.end(.closed("no handshake within \(limits.handshakeTimeout)"))
        }
        let actions = handshake.start()
        state = .handshaking(handshake, ByteBuffer())
        carryOut(actions)
    }

    private func continueHandshake() {
        while case .handshaking(var handshake, var held) = state {
            let actions: [Handshake.Action]
            do throws(MalformedBytes) {
                guard let (message, body) = try HandshakeMessage.read(from: &held) else { return }
                actions = handshake.received(message, body: body)
            } catch {
                actions = handshake.receivedGarbage(error)
            }
            state = .handshaking(handshake, held)
            carryOut(actions)
        }
    }

    private func carryOut(_ actions: [Handshake.Action]) {
        for action in actions {
            switch action {
            case .send(let message):
                context?.writeAndFlush(wrapOutboundOut(message.encoded), promise: nil)
            case .judge(let peer, let purpose):
                guard let owner else { return }
                judgedNode = peer.node
                judgedPurpose = purpose
                owner.judge(self, peer, purpose).hop(to: eventLoop).whenSuccess { self.judged($0) }
            case .established(let session): stand(session)
            case .failed(let refusal, let byPeer): end(.refused(refusal, byPeer: byPeer))
            }
        }
    }

    private func judged(_ verdict: Handshake.Verdict) {
        guard case .handshaking(var handshake, let held) = state else { return }
        let actions = handshake.judged(verdict)
        state = .handshaking(handshake, held)
        carryOut(actions)
    }

    private func stand(_ session: Handshake.Session) {
        guard case .handshaking(_, let held) = state else { return }
        handshakeTimer?.cancel()
        handshakeTimer = nil
        state = .standing(session)
        let interval = TimeAmount(limits.pingInterval)
        pingTimer = eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in self.pingInterval() }
        for number in inquiries.keys.sorted() { ping(number) }
        owner?.linkStands(self, session)
        // Frames may have come with the last bytes of the handshake.
        if held.readableBytes > 0 {
            reader.append(held)
            readFrames()
        }
    }

    // MARK: Reading

    private func readFrames() {
        do throws(MalformedBytes) {
            while case .standing(let session) = state, let frame = try reader.next() {
                try receive(frame, session.peer.node)
            }
        } catch {
            end(.closed("the peer sent what is no frame: \(error)"))
        }
    }

    private func receive(_ frame: PeerFrame, _ node: NodeID) throws(MalformedBytes) {
        var payload = frame.payload
        switch frame.kind {
        case .control:
            while payload.readableBytes > 0 {
                let message = try PeerMessageCodec.decode(from: &payload)
                owner?.linkReceived(message, on: self, from: node)
                // The owner may have ended the link, and then hears nothing more from it.
                guard case .standing = state else { return }
            }
        case .bulk: try assembly.append(payload)
        case .bulkEnd:
            try assembly.append(payload)
            owner?.linkReceived(try assembly.finish(), on: self, from: node)
        case .ping:
            queue.append(.pong, token: try payload.readFixed(UInt64.self, "ping"))
            try payload.requireEmpty("ping")
            guard queue.queuedBytes <= limits.queuedBytes else {
                return end(.closed("the peer pings and does not read"))
            }
            scheduleFlush()
        case .pong:
            let number = try payload.readFixed(UInt64.self, "pong")
            try payload.requireEmpty("pong")
            inquiries.removeValue(forKey: number)?.succeed(true)
        }
    }

    // MARK: Writing

    private func scheduleFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.execute {
            self.isFlushScheduled = false
            self.pump()
        }
    }

    /// Bulk frames that are handed to the channel in one turn before the loop goes on with other work.
    private static let bulkFramesPerTurn = 8

    private func pump() {
        guard case .standing = state, !isPumping, let context else { return }
        isPumping = true
        let span = stages?.enter(.peersOut)
        defer {
            if let span { stages?.leave(span) }
            isPumping = false
        }
        var bulkFrames = 0
        var isWaiting = true
        while isWaiting {
            var wrote = false
            while context.channel.isWritable, bulkFrames < Self.bulkFramesPerTurn, let (first, second) = queue.next() {
                wrote = true
                context.write(wrapOutboundOut(first), promise: nil)
                if let second {
                    context.write(wrapOutboundOut(second), promise: nil)
                    bulkFrames += 1
                }
            }
            if wrote { context.flush() }
            // A flush may free the channel at once, or end the link.
            guard case .standing = state else { return }
            isWaiting = wrote && !queue.isEmpty && context.channel.isWritable && bulkFrames < Self.bulkFramesPerTurn
        }
        if bulkFrames == Self.bulkFramesPerTurn, !queue.isEmpty, context.channel.isWritable { scheduleFlush() }
    }

    private func ping(_ number: UInt64) {
        queue.append(.ping, token: number)
        scheduleFlush()
    }

    private func pingInterval() {
        guard case .standing = state else { return }
        silentIntervals += 1
        // Counted in intervals, not by a clock: while this loop itself stood still nobody was silent.
        if silentIntervals >= limits.silentIntervals {
            return end(
                .closed("not a byte from the peer in \(limits.silentIntervals) intervals of \(limits.pingInterval)"))
        }
        ping(0)
    }

    // MARK: The end

    private func end(_ reason: PeerLinkEnd) {
        if case .ended = state { return }
        state = .ended
        handshakeTimer?.cancel()
        pingTimer?.cancel()
        for number in inquiries.keys.sorted() { inquiries[number]?.succeed(false) }
        inquiries = [:]
        queue = OutboundQueue(limits: limits)
        assembly = BulkAssembly(maximumMessageBytes: limits.messageBytes)
        let owner = self.owner
        self.owner = nil
        owner?.linkEnded(self, reason)
        context?.close(promise: nil)
    }
}

extension SocketAddress {
    /// Host and port, as a person writes them.
    var shortDescription: String {
        guard let host = ipAddress, let port else { return description }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
