// One connection of the generator: keeps `pipeline` requests under way (closed loop), or sends each at its
// appointed time (fixed rate). With the ring known a request leaves on the least busy connection to the owner of its key, and
// still counts as one of the connection that drew it: as much is under way as without. At a fixed rate a latency counts from the appointed time, not from when the
// request could be sent: a stalled server delays its successors, and leaving them out is coordinated omission.

import Histogram
import NIOCore

/// What all connections of one event loop share; confined to that loop.
final class LoadState {
    let plan: LoadPlan
    var generator: LoadRandom
    let keys: KeyGenerator
    let bucket: ByteBuffer
    /// The context last seen for each key, when puts carry one.
    var contexts: [ByteBuffer?]
    var values: ByteBuffer
    /// By `LoadKind.rawValue`.
    var latencies = LoadKind.allCases.map { _ in LoadResult.histogram() }
    /// Of requests that were refused because there was too much to do: from when they were sent.
    var refusals = LoadResult.histogram()
    var timeline: LoadTimeline
    var errors: [String: UInt64] = [:]
    var notFound: UInt64 = 0
    var recordFrom = NIODeadline.distantFuture
    var stopAt = NIODeadline.distantFuture
    var operations: UInt64 = 0
    var operationLimit: UInt64
    /// Preloading writes each key of this range once instead of drawing keys.
    var preload: Range<UInt64>?
    /// The next key that this loop inserts, and the largest that it knows to be there.
    private var nextInsert: UInt64
    private var newest: UInt64

    /// Where each key goes; nil: wherever it is drawn.
    var owners: LoadOwners?
    /// The connections that stand, by target; only where `owners` says where keys go.
    var connections: [[LoadConnection]]

    /// Contexts are kept a loop, so each loop draws keys of its own: key % threads == loop.
    let loop: UInt64

    init(plan: LoadPlan, loop: Int, preload: Range<UInt64>?, contexts seen: [ByteBuffer?]?, owners: LoadOwners? = nil) {
        self.plan = plan
        self.owners = owners
        connections = Array(repeating: [], count: owners == nil ? 0 : plan.targets.count)
        self.loop = UInt64(loop)
        generator = LoadRandom(seed: plan.seed &+ UInt64(loop) &* 0x9e37_79b9_7f4a_7c15)
        keys = KeyGenerator(plan.distribution, keyCount: plan.keyCount)
        bucket = ByteBuffer(string: plan.bucket)
        contexts = plan.context == .last ? seen ?? Array(repeating: nil, count: Int(plan.keyCount)) : []
        self.preload = preload
        timeline = preload == nil ? LoadTimeline(duration: plan.duration) : LoadTimeline()
        let threads = UInt64(plan.threads)
        nextInsert = (plan.keyCount + threads - 1) / threads * threads + UInt64(loop)
        let last = nextInsert >= threads ? nextInsert - threads : 0
        newest = last < plan.keyCount || last < threads ? last : last - threads
        operationLimit = plan.operationLimit.map { max(1, $0 / UInt64(plan.threads)) } ?? .max
        // Bytes that do not compress; each value is a window into them.
        var random = generator
        var bytes = ByteBuffer()
        bytes.reserveCapacity(plan.valueBytes * 2 + 8)
        while bytes.readableBytes < plan.valueBytes * 2 { bytes.writeInteger(random.next()) }
        values = bytes
    }

    func drawKey() -> UInt64 {
        let drawn = keys.next(newest: newest, using: &generator)
        let threads = UInt64(plan.threads)
        let mine = drawn - drawn % threads + loop
        return mine < plan.keyCount || mine <= newest ? mine : loop
    }

    /// A key that was not there.
    func drawInsert() -> UInt64 {
        defer { nextInsert += UInt64(plan.threads) }
        while plan.context == .last, contexts.count <= nextInsert { contexts.append(nil) }
        return nextInsert
    }

    func inserted(_ key: UInt64) { newest = max(newest, key) }

    func recordError(_ text: String) {
        // Bounded: an error text of its own for each request would fill the memory.
        let known = errors[text] != nil || errors.count < 50
        errors[known ? text : "other errors", default: 0] += 1
    }
}

final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Pending {
        var key: UInt64
        var kind: LoadKind
        /// Of a modification, its second half.
        var isPut: Bool
        /// When it was due.
        var begun: NIODeadline
        var sent: NIODeadline
        /// Who drew it, and draws the next when it ends.
        var origin: LoadConnection
    }

    private let state: LoadState
    /// Nanoseconds between two requests of this connection; nil: closed loop.
    private let interval: Int64?
    private let target: Int
    /// Called once; whether another connection should take this one's place.
    private let onFinish: (Bool) -> Void
    /// Requests that it drew and that have not ended, wherever they were sent.
    private var drawn = 0
    private var context: ChannelHandlerContext?
    private var nextAt: NIODeadline
    private var pending = CircularBuffer<Pending>()
    private var inbound = ByteBuffer()
    private var outbound = ByteBuffer()
    private var finished = false
    private var timer: Scheduled<Void>?

    init(
        state: LoadState, target: Int = 0, interval: Int64?, firstAt: NIODeadline, onFinish: @escaping (Bool) -> Void
    ) {
        self.state = state
        self.target = target
        self.interval = interval
        self.onFinish = onFinish
        nextAt = firstAt
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        if state.owners != nil { state.connections[target].append(self) }
        fill(context)
        watch(context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if inbound.readableBytes == 0 { inbound = bytes } else { inbound.writeBuffer(&bytes) }
        let now = NIODeadline.now()
        while let length = inbound.getInteger(at: inbound.readerIndex, as: UInt32.self) {
            guard length >= 1, length <= RiakFrames.maximumReplyBytes else {
                state.recordError("a reply of \(length) bytes")
                context.close(promise: nil)
                return
            }
            guard inbound.readableBytes >= 4 + Int(length) else { break }
            inbound.moveReaderIndex(forwardBy: 4)
            let code = inbound.readInteger(as: UInt8.self)!
            handle(code, inbound.readSlice(length: Int(length) - 1)!, now)
        }
        if inbound.readableBytes == 0 { inbound = ByteBuffer() } else { inbound.discardReadBytes() }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
        // Those whose requests have ended here draw the next.
        let others = waiting
        waiting.removeAll(keepingCapacity: true)
        for other in others { other.refill() }
        fill(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        if state.owners != nil { state.connections[target].removeAll { $0 === self } }
        while let request = pending.popFirst() {
            fail(request, "the connection closed")
        }
        finish()
        let others = waiting
        waiting.removeAll()
        for other in others { other.refill() }
    }

    /// Others' requests that have ended here since they were last told.
    private var waiting: [LoadConnection] = []

    private func ended(_ request: Pending) {
        request.origin.drawn -= 1
        if request.origin !== self { waiting.append(request.origin) }
    }

    /// A request that will have no answer.
    private func fail(_ request: Pending, _ text: String) {
        state.recordError(text)
        note(request, .now()) { state, _ in
            state.timeline.noteError(at: NIODeadline.now() - state.recordFrom, isRefusal: false)
        }
        ended(request)
    }

    private func refill() {
        if let context { fill(context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        state.recordError("\(error)")
        context.close(promise: nil)
    }

    private func handle(_ code: UInt8, _ message: ByteBuffer, _ now: NIODeadline) {
        guard !pending.isEmpty else { return state.recordError("a reply that nobody asked for") }
        let request = pending.removeFirst()
        var hasEnded = true
        defer { if hasEnded { ended(request) } }
        switch (code, request.isPut) {
        case (RiakFrames.putResponse, true):
            if state.plan.context == .last {
                state.contexts[Int(request.key)] = RiakFrames.bytes(ofField: 2, in: message).map {
                    ByteBuffer(buffer: $0)
                }
            }
        case (RiakFrames.getResponse, false):
            if message.readableBytes == 0 { state.notFound += 1 }
            if state.plan.context == .last, let seen = RiakFrames.bytes(ofField: 2, in: message) {
                state.contexts[Int(request.key)] = ByteBuffer(buffer: seen)
            }
        case (RiakFrames.errorResponse, _):
            let text = RiakFrames.bytes(ofField: 1, in: message).map { String(buffer: $0) }
            let isRefusal = text == RiakFrames.overloadedText
            note(request, now) { state, _ in
                if isRefusal { state.refusals.record(UInt64(max(0, (now - request.sent).nanoseconds))) }
                state.timeline.noteError(at: now - state.recordFrom, isRefusal: isRefusal)
            }
            if isRefusal, state.plan.waitsWhenTold, interval != nil {
                nextAt = max(nextAt, now + .milliseconds(Int64(RiakFrames.retryAfterMilliseconds(in: message))))
            }
            return state.recordError(text ?? "an error without text")
        default:
            return state.recordError("an answer with code \(code)")
        }
        if request.kind == .modify, !request.isPut {
            hasEnded = false
            write(request.key)
            pending.append(
                Pending(
                    key: request.key, kind: .modify, isPut: true, begun: request.begun, sent: now,
                    origin: request.origin))
            return
        }
        if request.kind == .insert { state.inserted(request.key) }
        note(request, now) { state, nanoseconds in
            state.latencies[request.kind.rawValue].record(nanoseconds)
            state.timeline.note(nanoseconds, at: now - state.recordFrom)
        }
    }

    /// What falls into the time that is measured.
    private func note(_ request: Pending, _ now: NIODeadline, _ body: (LoadState, UInt64) -> Void) {
        guard now >= state.recordFrom, now <= state.stopAt else { return }
        body(state, UInt64(max(0, (now - request.begun).nanoseconds)))
    }

    /// Sends what is due.
    private func fill(_ context: ChannelHandlerContext) {
        guard !finished else { return }
        let now = NIODeadline.now()
        while drawn < state.plan.pipeline {
            guard now < state.stopAt, state.operations < state.operationLimit else { break }
            var begun = now
            if let interval {
                if nextAt > now {
                    schedule(context)
                    break
                }
                begun = nextAt
                nextAt = nextAt + .nanoseconds(interval)
            }
            guard let connection = draw(begun) else { break }
            if connection !== self, !connection.isFlushing {
                connection.isFlushing = true
                flushing.append(connection)
            }
        }
        flush()
        for connection in flushing {
            connection.isFlushing = false
            connection.flush()
        }
        flushing.removeAll(keepingCapacity: true)
        if isDone, pending.isEmpty, drawn == 0 { context.close(promise: nil) }
    }

    /// Nothing is left to be sent.
    private var isDone: Bool {
        NIODeadline.now() >= state.stopAt || state.operations >= state.operationLimit || state.preload?.isEmpty == true
    }

    /// Connections that this one has given requests to and not yet flushed.
    private var flushing: [LoadConnection] = []
    private var isFlushing = false

    private func flush() {
        guard let context, outbound.readableBytes > 0 else { return }
        context.writeAndFlush(wrapOutboundOut(outbound), promise: nil)
        outbound = ByteBuffer()
    }

    /// Where a key goes: the least busy connection to its owner; this one, where there is none or it does not matter.
    private func connection(for key: UInt64) -> LoadConnection {
        guard let target = state.owners?.target(of: key, named: Self.name) else { return self }
        return state.connections[target].min { $0.pending.count < $1.pending.count } ?? self
    }

    /// Draws a request and hands it to the connection that it leaves on.
    private func draw(_ begun: NIODeadline) -> LoadConnection? {
        let key: UInt64
        let kind: LoadKind
        if let range = state.preload {
            guard !range.isEmpty else { return nil }
            key = range.lowerBound
            state.preload = (range.lowerBound + 1)..<range.upperBound
            // A put that knows nothing of what an earlier run has left adds a sibling to it, and what is measured then is larger.
            kind = state.plan.context == .last ? .modify : .put
        } else {
            kind = state.plan.mix.kind(at: .random(in: 0..<1, using: &state.generator))
            key = kind == .insert ? state.drawInsert() : state.drawKey()
        }
        state.operations += 1
        drawn += 1
        let connection = connection(for: key)
        connection.send(key, kind, begun, for: self)
        return connection
    }

    private func send(_ key: UInt64, _ kind: LoadKind, _ begun: NIODeadline, for origin: LoadConnection) {
        let isPut = kind == .put || kind == .insert
        if isPut {
            write(key)
        } else {
            RiakFrames.writeGet(bucket: state.bucket, key: Self.name(key), r: state.plan.r, into: &outbound)
        }
        pending.append(
            Pending(key: key, kind: kind, isPut: isPut, begun: begun, sent: NIODeadline.now(), origin: origin))
    }

    private static func name(_ key: UInt64) -> ByteBuffer { ByteBuffer(string: "key\(key)") }

    private func write(_ key: UInt64) {
        let offset = Int(state.generator.next() % UInt64(max(1, state.plan.valueBytes)))
        RiakFrames.writePut(
            bucket: state.bucket, key: Self.name(key),
            context: state.plan.context == .last ? state.contexts[Int(key)] : nil,
            value: state.values.getSlice(at: offset, length: state.plan.valueBytes)!, w: state.plan.w,
            wantsContext: state.plan.context == .last, into: &outbound)
    }

    private func schedule(_ context: ChannelHandlerContext) {
        guard timer == nil else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(deadline: nextAt) {
            let (connection, context) = bound.value
            connection.timer = nil
            connection.fill(context)
        }
    }

    /// Ends a connection whose oldest request has waited too long, and one that is idle past the end.
    private func watch(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: .milliseconds(100)) {
            let (connection, context) = bound.value
            guard !connection.finished else { return }
            let timeout = TimeAmount(connection.state.plan.timeout)
            if let oldest = connection.pending.first, NIODeadline.now() - oldest.begun > timeout {
                connection.fail(connection.pending.removeFirst(), "no answer within \(connection.state.plan.timeout)")
                context.close(promise: nil)
            } else {
                connection.fill(context)
                connection.watch(context)
            }
        }
    }

    private func finish() {
        guard !finished else { return }
        finished = true
        timer?.cancel()
        // A preload wants every key: one that lost its connection has failed.
        onFinish(!isDone && state.preload == nil)
    }
}

/// SplitMix64: fast, seeded, good enough to draw keys with.
package struct LoadRandom: RandomNumberGenerator {
    private var state: UInt64
    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
