// Bytes from the port of Redis's protocol, at a connection whose store knows every key or none: what is answered depends
// neither on how the bytes are cut into reads nor on the order in which the store answers, and is well formed.

package import NIOCore
import NIOEmbedded
import TorcModel
import TorcReplication
import TorcWire

package func checkRESPDecoders(_ input: ByteBuffer) {
    let whole = answers(to: input, readBytes: .max, .atOnce)
    precondition(whole == answers(to: input, readBytes: 3, .atOnce), "the answers depend on the reads")
    precondition(whole == answers(to: input, readBytes: .max, .latestFirst), "the answers depend on the store's order")
    var rest = whole
    while rest.readableBytes > 0 {
        guard skipValue(&rest, depth: 0) else { preconditionFailure("no answer of this protocol: \(whole)") }
    }
}

/// When the store behind the connection answers.
private enum Answering { case atOnce, latestFirst }

/// What a connection writes to a client that sends these bytes and waits for what can be answered.
private func answers(to bytes: ByteBuffer, readBytes: Int, _ answering: Answering) -> ByteBuffer {
    let store = StatelessStore(answering)
    var limits = RESPLimits(objectBytes: 1 << 12)
    limits.commandBytes = 1 << 16
    limits.pipelinedCommands = 8
    limits.allowsConditions = true
    let connection = RESPConnection(backend: store, limits: limits, id: 7, version: "0")
    let channel = EmbeddedChannel(handler: connection)
    defer { _ = try? channel.finish() }
    var answers = ByteBuffer()
    func settle() {
        repeat {
            channel.embeddedEventLoop.run()
            while let written = try? channel.readOutbound(as: ByteBuffer.self) { answers.writeImmutableBuffer(written) }
        } while store.answerLatest()
    }
    do {
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        var rest = bytes
        while let read = rest.readSlice(length: min(readBytes, rest.readableBytes)), read.readableBytes > 0 {
            try channel.writeInbound(read)
            settle()
        }
    } catch {
        preconditionFailure("the connection fails: \(error)")
    }
    settle()
    return answers
}

/// A value is a function of its key, so that no order of commands can be told from another.
private final class StatelessStore: RESPBackend {
    private let answering: Answering
    private var waiting: [() -> Void] = []
    private var count: UInt64 = 0

    init(_ answering: Answering) { self.answering = answering }

    var nodeName: String { "node1" }
    var retryAfter: Duration { .milliseconds(120) }
    var wallTime: WallTime { WallTime(microseconds: 1_700_000_000_000_000) }

    func submit(_ request: ClientRequest, reply: RESPReply) -> TakenRequest {
        precondition((try? ObjectKey(storageKey: request.key.storageKey)) == request.key)
        answer { [self] in reply.answer(answer(to: request)) }
        return named()
    }

    func list(_ request: ListRequest, reply: RESPReply) -> TakenRequest {
        answer { reply.listed(.done) }
        return named()
    }

    func continueListing(_ operation: TakenRequest) { preconditionFailure("a listing goes on after its end") }
    func cancel(_ operation: TakenRequest) {}

    /// False: nothing waits for an answer.
    func answerLatest() -> Bool {
        guard let latest = waiting.popLast() else { return false }
        latest()
        return true
    }

    private func named() -> TakenRequest {
        count += 1
        return TakenRequest(rawValue: count)
    }

    private func answer(_ answer: @escaping () -> Void) {
        switch answering {
        case .atOnce: answer()
        case .latestFirst: waiting.append(answer)
        }
    }

    private func answer(to request: ClientRequest) -> ClientAnswer {
        let all = Participation(primaries: 2)
        guard case .get(let get) = request else { return .write(.ok(all, nil)) }
        guard get.key.key.readableBytes % 2 == 1 else { return .get(.absent(all)) }
        let dot = Dot(actor: Actor(rawValue: 1), counter: 1)
        var version = Sibling(dot: dot, timestamp: .zero, value: get.key.key)
        if get.key.key.readableBytes % 3 == 0 {
            version.expiry = WallTime(microseconds: wallTime.microseconds + 1_500_000)
        }
        var object = ClientObject(
            siblings: [version], context: CausalContext(clock: VersionVector([dot]), latestTimestamp: .zero))
        object.instant = wallTime
        return .get(.found(object, all))
    }
}

/// False: no whole value stands there, or what is there is none.
private func skipValue(_ bytes: inout ByteBuffer, depth: Int) -> Bool {
    guard depth < 4, let end = bytes.readableBytesView.firstIndex(of: UInt8(ascii: "\r")),
        let line = bytes.readString(length: end - bytes.readerIndex), let mark = line.first,
        bytes.readInteger(as: UInt16.self) == 0x0d0a, !line.contains("\n")
    else { return false }
    let number = Int(line.dropFirst())
    switch mark {
    case "+", "-": return true
    case ":": return number != nil
    case "_": return line == "_"
    case "$":
        guard let number, number >= 0 else { return number == -1 }
        return bytes.readSlice(length: number) != nil && bytes.readInteger(as: UInt16.self) == 0x0d0a
    case "*", "%":
        guard let number, number >= 0 else { return false }
        for _ in 0..<(mark == "%" ? 2 * number : number) where !skipValue(&bytes, depth: depth + 1) { return false }
        return true
    default: return false
    }
}
