import NIOCore
import NIOEmbedded
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// A node whose answers the test gives, in the order that it likes.
private final class ManualBackend: RiakBackend {
    struct Submitted {
        var request: ClientRequest
        var reply: RiakReply
    }

    var nodeName: String { "torc@test" }
    var retryAfter: Duration { .milliseconds(120) }
    var submitted: [Submitted] = []
    var listings: [(request: ListRequest, reply: RiakReply)] = []
    var properties: [(scope: PropertiesScope, reply: RiakReply)] = []
    var changes: [(scope: PropertiesScope, change: PropertiesChange?, reply: RiakReply)] = []
    var continued: [TakenRequest] = []
    var cancelled: [TakenRequest] = []
    /// Answers a get at once, inside of `submit`.
    var answersAtOnce = false
    /// Refuses at once, as what has too much to do.
    var isOverloaded = false

    func submit(_ request: ClientRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        submitted.append(Submitted(request: request, reply: reply))
        if answersAtOnce { reply.answer(.get(.absent(Participation(primaries: 2)))) }
        if isOverloaded { reply.answer(.get(.refused(.overloaded))) }
        return TakenRequest(rawValue: UInt64(submitted.count))
    }

    func list(_ request: ListRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        listings.append((request, reply))
        return TakenRequest(rawValue: 1000 + UInt64(listings.count))
    }

    func continueListing(_ operation: TakenRequest) { continued.append(operation) }
    func cancel(_ operation: TakenRequest) { cancelled.append(operation) }
    func properties(of scope: PropertiesScope, reply: RiakReply) { properties.append((scope, reply)) }
    func setProperties(of scope: PropertiesScope, to change: PropertiesChange?, reply: RiakReply) {
        changes.append((scope, change, reply))
    }
    func preferenceList(of key: ObjectKey, reply: RiakReply) {
        reply.preferenceList([PreferenceEntry(partition: PartitionID(1), node: "n", isPrimary: true)])
    }
    var ring: RiakRing?
    func keyEntropy() -> (UInt64, UInt64) { testEntropy() }

    var keys: [String] { submitted.map { String(buffer: $0.request.key.key) } }

    func answer(_ index: Int, value: String = "v") {
        let dot = Dot(actor: Actor(rawValue: 1), counter: 1)
        let object = ClientObject(
            siblings: [Sibling(dot: dot, timestamp: .zero, value: text(value))],
            context: CausalContext(clock: VersionVector([dot]), latestTimestamp: .zero))
        submitted[index].reply.answer(.get(.found(object, Participation(primaries: 2))))
    }
}

private struct Connection {
    let backend = ManualBackend()
    let handler: RiakConnection
    let channel: EmbeddedChannel

    init(_ adjust: (inout RiakConnectionLimits) -> Void = { _ in }) throws {
        var limits = RiakConnectionLimits(objectBytes: 1 << 20)
        adjust(&limits)
        handler = RiakConnection(backend: backend, clusterKey: testKey, limits: limits)
        channel = EmbeddedChannel(handler: handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    func send(_ hex: String) throws { try channel.writeInbound(bytes(hex)) }
    func sendGet(_ key: String) throws { try channel.writeInbound(getFrame(key)) }

    /// The codes and, of errors, the texts of what has been answered since the last call.
    func answers() throws -> [String] {
        channel.embeddedEventLoop.run()
        var decoder = RiakFrameDecoder(maximumFrameBytes: .max)
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { decoder.append(bytes) }
        var answers: [String] = []
        while var frame = try decoder.next() {
            if frame.code == 0 {
                frame.body.moveReaderIndex(forwardBy: 1)
                answers.append("error \(String(buffer: try frame.body.readLengthPrefixed("error")))")
            } else if frame.code == 10, frame.body.readableBytes > 0 {
                frame.body.moveReaderIndex(forwardBy: 1)
                var content = try frame.body.readLengthPrefixed("content")
                content.moveReaderIndex(forwardBy: 1)
                answers.append("10 \(String(buffer: try content.readLengthPrefixed("value")))")
            } else {
                answers.append("\(frame.code)")
            }
        }
        return answers
    }
}

private func getFrame(_ key: String) -> ByteBuffer {
    var body = bytes("0A0162 12")
    body.writeLengthPrefixed(text(key))
    var frame = ByteBuffer()
    RiakFrame(.getRequest, body: body).encode(into: &frame)
    return frame
}

@Suite struct RiakConnectionTests {
    @Test func answersWhatNeedsNobodyElse() throws {
        let connection = try Connection()
        try connection.send("00000001 01  00000001 07  00000005 05 0A020908  00000001 03")
        #expect(try connection.answers() == ["2", "8", "6", "4"])
    }

    @Test func keepsTheOrderOfAsking() throws {
        let connection = try Connection()
        for key in ["a", "b", "c"] { try connection.sendGet(key) }
        try connection.send("00000001 01")
        connection.backend.answer(2, value: "C")
        connection.backend.answer(1, value: "B")
        #expect(try connection.answers() == [])
        connection.backend.answer(0, value: "A")
        #expect(try connection.answers() == ["10 A", "10 B", "10 C", "2"])
    }

    @Test func answersOfOneTurnLeaveInOneWrite() throws {
        let connection = try Connection()
        for key in ["a", "b", "c"] { try connection.sendGet(key) }
        for index in 0..<3 { connection.backend.answer(index) }
        connection.channel.embeddedEventLoop.run()
        #expect(try connection.channel.readOutbound(as: ByteBuffer.self) != nil)
        #expect(try connection.channel.readOutbound(as: ByteBuffer.self) == nil)
    }

    @Test func requestsOfOneKeyRunOneAfterTheOther() throws {
        let connection = try Connection()
        for key in ["a", "b", "a", "a", "c"] { try connection.sendGet(key) }
        #expect(connection.backend.keys == ["a", "b", "c"])
        connection.backend.answer(1, value: "2")
        connection.backend.answer(0, value: "1")
        #expect(connection.backend.keys == ["a", "b", "c", "a"])
        connection.backend.answer(2, value: "5")
        connection.backend.answer(3, value: "3")
        #expect(connection.backend.keys == ["a", "b", "c", "a", "a"])
        connection.backend.answer(4, value: "4")
        #expect(try connection.answers() == ["10 1", "10 2", "10 3", "10 4", "10 5"])
    }

    @Test func aBackendMayAnswerAtOnce() throws {
        let connection = try Connection()
        connection.backend.answersAtOnce = true
        var many = ByteBuffer()
        for _ in 0..<1000 { many.writeImmutableBuffer(getFrame("a")) }
        try connection.channel.writeInbound(many)
        #expect(try connection.answers() == Array(repeating: "10", count: 1000))
    }

    @Test func takesNoMoreThanItsBound() throws {
        let connection = try Connection { $0.pipelinedRequests = 3 }
        var many = ByteBuffer()
        for index in 0..<8 { many.writeImmutableBuffer(getFrame("k\(index)")) }
        try connection.channel.writeInbound(many)
        #expect(connection.backend.keys == ["k0", "k1", "k2"])
        connection.backend.answer(1)
        #expect(connection.backend.keys.count == 3, "an answer that cannot leave yet makes no room")
        connection.backend.answer(0)
        #expect(connection.backend.keys == ["k0", "k1", "k2", "k3", "k4"])
    }

    @Test func largeAnswersMakeTheWindowSmaller() throws {
        let connection = try Connection { $0.answerBytes = 100_000 }
        try connection.sendGet("a")
        connection.backend.answer(0, value: String(repeating: "x", count: 40_000))
        for index in 0..<5 { try connection.sendGet("k\(index)") }
        #expect(connection.backend.keys.count == 3, "two answers of 40,000 bytes fit")
    }

    /// A request is short, and its answer may be a megabyte.
    @Test func atFirstAnswersAreTakenToBeLarge() throws {
        let connection = try Connection()
        var many = ByteBuffer()
        for index in 0..<128 { many.writeImmutableBuffer(getFrame("k\(index)")) }
        try connection.channel.writeInbound(many)
        #expect(connection.backend.keys.count == 16)
        for index in 0..<16 { connection.backend.answer(index) }
        #expect(connection.backend.keys.count == 48, "twice as many are under way after small answers")
        for index in 16..<128 { connection.backend.answer(index) }
        #expect(try connection.answers().count == 128)
    }

    @Test func largeRequestsMakeTheWindowSmaller() throws {
        let connection = try Connection { $0.requestBytes = 20 }
        for index in 0..<5 { try connection.sendGet("k\(index)") }
        #expect(connection.backend.keys == ["k0", "k1"])
    }

    @Test func stopsReadingWhileThereIsNoRoom() throws {
        let reads = ReadCounter()
        let connection = try Connection { $0.pipelinedRequests = 1 }
        try connection.channel.pipeline.syncOperations.addHandler(reads, position: .first)
        connection.channel.read()
        #expect(reads.count == 1)
        try connection.sendGet("a")
        connection.channel.read()
        #expect(reads.count == 1, "the window is full")
        connection.backend.answer(0)
        #expect(reads.count == 2)
    }

    @Test func whoIsRefusedIsNotReadForAMoment() throws {
        let reads = ReadCounter()
        let connection = try Connection()
        connection.handler.pacing = RefusalPacing()
        try connection.channel.pipeline.syncOperations.addHandler(reads, position: .first)
        connection.backend.isOverloaded = true
        try connection.sendGet("a")
        // Told before what the turn brings besides, in Riak's word, with the time in a field of its own.
        let told = try connection.channel.readOutbound(as: ByteBuffer.self)
        #expect(told == bytes("00000010 00 0A08 6F7665726C6F6164 1000 A00678"))
        connection.channel.read()
        #expect(reads.count == 0)
        // What was read with it is answered, too.
        try connection.sendGet("b")
        #expect(try connection.answers() == ["error overload"])
        connection.channel.embeddedEventLoop.advanceTime(by: RefusalPacing.shortest)
        #expect(reads.count == 1)
        connection.backend.isOverloaded = false
        try connection.sendGet("c")
        connection.channel.read()
        #expect(reads.count == 2)
        connection.backend.answer(2)
        #expect(try connection.answers() == ["10 v"])
    }

    @Test func aListingRunsAloneAndInPieces() throws {
        let connection = try Connection()
        try connection.sendGet("a")
        try connection.send("00000004 11 0A0162")
        try connection.sendGet("c")
        #expect(connection.backend.listings.isEmpty)
        connection.backend.answer(0)
        #expect(connection.backend.listings.map(\.request) == [ListRequest(subject: .keys(BucketID(name: text("b"))))])
        let reply = connection.backend.listings[0].reply
        reply.listed(.items([text("x"), text("y")]))
        #expect(try connection.answers() == ["10 v", "18"])
        #expect(connection.backend.continued.count == 1)
        reply.listed(.items([]))
        #expect(try connection.answers() == [])
        #expect(connection.backend.continued.count == 2)
        #expect(connection.backend.keys == ["a"])
        reply.listed(.done)
        #expect(try connection.answers() == ["18"])
        #expect(connection.backend.keys == ["a", "c"])
    }

    @Test func aListingWaitsForASlowClient() throws {
        let connection = try Connection()
        try connection.send("00000004 11 0A0162")
        connection.channel.isWritable = false
        connection.channel.pipeline.fireChannelWritabilityChanged()
        connection.backend.listings[0].reply.listed(.items([text("x")]))
        connection.channel.embeddedEventLoop.run()
        #expect(connection.backend.continued.isEmpty)
        connection.channel.isWritable = true
        connection.channel.pipeline.fireChannelWritabilityChanged()
        #expect(connection.backend.continued.count == 1)
    }

    @Test func bucketsAreNamedOnceAndInOneAnswer() throws {
        let connection = try Connection()
        try connection.send("00000001 0F")
        let reply = connection.backend.listings[0].reply
        reply.listed(.items([text("a"), text("b")]))
        #expect(try connection.answers() == [])
        reply.listed(.items([text("b"), text("c")]))
        reply.listed(.done)
        connection.channel.embeddedEventLoop.run()
        var out = try #require(try connection.channel.readOutbound(as: ByteBuffer.self))
        #expect(out.readSlice(length: out.readableBytes) == bytes("0000000A 10 0A0161 0A0162 0A0163"))
    }

    @Test func tooManyBucketsForOneAnswer() throws {
        let connection = try Connection { $0.collectedListingBytes = 10 }
        try connection.send("00000001 0F")
        connection.backend.listings[0].reply.listed(.items([text("a long name")]))
        #expect(
            try connection.answers() == ["error The list of buckets is too long for one answer: ask for it with stream"]
        )
        #expect(connection.backend.cancelled.count == 1)
        try connection.send("00000001 01")
        #expect(try connection.answers() == ["2"])
    }

    @Test func propertiesAreReadSetAndReset() throws {
        let connection = try Connection()
        try connection.send("00000004 13 0A0162")
        connection.backend.properties[0].reply.properties(BucketProperties())
        try connection.send("00000008 15 0A0162 12020803")
        connection.backend.changes[0].reply.changed(.stored)
        try connection.send("00000004 1D 0A0162")
        connection.backend.changes[1].reply.changed(.stored)
        try connection.send("00000004 1F 0A0174")
        connection.backend.properties[1].reply.properties(BucketProperties())
        try connection.send("00000007 21 0A0162 12016B")
        #expect(try connection.answers() == ["20", "22", "30", "20", "34"])
        #expect(connection.backend.changes.map { $0.change == nil } == [false, true])
    }

    @Test func anErrorLeavesTheConnectionOpen() throws {
        let connection = try Connection()
        try connection.send("00000001 63  00000006 09 0A00 12016B  00000001 FF  00000001 01")
        #expect(
            try connection.answers() == [
                "error Unknown message code: 99", "error Bucket cannot be zero-length",
                "error Security is disabled: this port speaks neither TLS nor authentication", "2",
            ])
        #expect(connection.channel.isActive)
    }

    @Test func bytesThatAreNoMessageEndTheConnection() throws {
        for (hex, message) in [
            ("00000000", "A message must have a code"),
            ("7FFFFFFF 09", "Message too long: 2147483647 bytes, the limit is 8388608"),
            ("47455420 2F20", "Message too long: 1195725856 bytes, the limit is 8388608"),
            ("00000003 09 FFFF", "Cannot decode the message of code 9"),
        ] {
            let connection = try Connection()
            try connection.sendGet("a")
            try connection.send(hex + "00000001 01")
            #expect(connection.channel.isActive, "the open request comes first")
            connection.backend.answer(0)
            #expect(try connection.answers() == ["10 v", "error \(message)"], "\(hex)")
            connection.channel.embeddedEventLoop.advanceTime(by: .seconds(2))
            #expect(!connection.channel.isActive)
        }
    }

    @Test func aClientThatLeavesIsCancelled() throws {
        let connection = try Connection()
        for key in ["a", "b", "a"] { try connection.sendGet(key) }
        connection.channel.pipeline.fireChannelInactive()
        #expect(connection.backend.cancelled == [TakenRequest(rawValue: 1), TakenRequest(rawValue: 2)])
        connection.backend.answer(0)
        #expect(connection.backend.keys == ["a", "b"])
        #expect(try connection.answers() == [])
    }

    @Test func finishingAnswersWhatIsOpen() throws {
        let connection = try Connection()
        try connection.sendGet("a")
        connection.handler.finish()
        try connection.sendGet("b")
        #expect(connection.channel.isActive)
        connection.backend.answer(0)
        #expect(try connection.answers() == ["10 v"])
        #expect(!connection.channel.isActive)
        #expect(connection.backend.keys == ["a"])
    }
}

private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var count = 0

    func read(context: ChannelHandlerContext) {
        count += 1
        context.read()
    }
}
