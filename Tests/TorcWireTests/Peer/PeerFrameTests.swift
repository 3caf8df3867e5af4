import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// What a queue would send, as one stream.
func stream(_ queue: inout OutboundQueue) -> ByteBuffer {
    var bytes = ByteBuffer()
    while let (first, second) = queue.next() {
        bytes.writeImmutableBuffer(first)
        if let second { bytes.writeImmutableBuffer(second) }
    }
    return bytes
}

/// The messages of a stream, in the order in which they are complete.
func messages(_ bytes: ByteBuffer, limits: PeerLimits = PeerLimits()) throws -> [PeerMessage] {
    var reader = PeerFrameReader(maximumPayloadBytes: limits.framePayloadBytes)
    var assembly = BulkAssembly(maximumMessageBytes: limits.messageBytes)
    reader.append(bytes)
    var messages: [PeerMessage] = []
    while let frame = try reader.next() {
        var payload = frame.payload
        switch frame.kind {
        case .control: while payload.readableBytes > 0 { messages.append(try PeerMessageCodec.decode(from: &payload)) }
        case .bulk: try assembly.append(payload)
        case .bulkEnd:
            try assembly.append(payload)
            messages.append(try assembly.finish())
        case .ping, .pong: break
        }
    }
    #expect(reader.pendingBytes == 0)
    return messages
}

@Suite struct PeerFrameTests {
    private func frames(_ seed: UInt64) -> ByteBuffer {
        var generator = SeededGenerator(seed: seed)
        var queue = OutboundQueue(limits: PeerLimits())
        for _ in 0..<20 { #expect(queue.append(generator.peerMessage()) == .queued) }
        queue.append(.ping, token: 5)
        return stream(&queue)
    }

    @Test func framesDoNotDependOnHowTheStreamIsCut() throws {
        let bytes = frames(1)
        var whole = PeerFrameReader(maximumPayloadBytes: 1 << 20)
        whole.append(bytes)
        var expected: [PeerFrame] = []
        while let frame = try whole.next() { expected.append(frame) }
        // All of repair's messages travel as bulk, behind everything else.
        #expect(Array(expected.map(\.kind).prefix(2)) == [.control, .ping])
        #expect(expected.dropFirst(2).allSatisfy { $0.kind == .bulkEnd })
        for readBytes in [1, 2, 7, 64, 1000] {
            var reader = PeerFrameReader(maximumPayloadBytes: 1 << 20)
            var rest = bytes
            var found: [PeerFrame] = []
            while rest.readableBytes > 0 {
                reader.append(rest.readSlice(length: min(readBytes, rest.readableBytes))!)
                while let frame = try reader.next() { found.append(frame) }
            }
            #expect(found == expected, "reads of \(readBytes)")
        }
    }

    /// Every bit of head and payload is covered: length and class by the checksum's seed.
    @Test func aFlippedBitNeverPassesTheChecksum() {
        let bytes = frames(2)
        var reader = PeerFrameReader(maximumPayloadBytes: 1 << 20)
        reader.append(bytes)
        let first = PeerFrame.headBytes + (try! reader.next()!).payload.readableBytes
        for bit in 0..<first * 8 {
            var flipped = bytes
            flipped.setInteger(bytes.getInteger(at: bit / 8, as: UInt8.self)! ^ 1 << UInt8(bit % 8), at: bit / 8)
            var reader = PeerFrameReader(maximumPayloadBytes: 1 << 20)
            reader.append(flipped)
            // A longer frame may still be waited for; nothing may come of it.
            if let frame = try? reader.next() { Issue.record("bit \(bit) gave \(frame)") }
        }
    }

    @Test func aFrameThatIsCutIsWaitedFor() throws {
        let bytes = frames(3)
        var whole = PeerFrameReader(maximumPayloadBytes: 1 << 20)
        whole.append(bytes)
        let first = PeerFrame.headBytes + (try whole.next()!).payload.readableBytes
        for length in 0..<first {
            var reader = PeerFrameReader(maximumPayloadBytes: 1 << 20)
            reader.append(bytes.getSlice(at: 0, length: length)!)
            if let frame = try reader.next() { Issue.record("\(length) bytes gave \(frame)") }
        }
    }

    @Test func aLengthAboveTheLimitIsRefusedAtOnce() {
        var reader = PeerFrameReader(maximumPayloadBytes: 1000)
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(UInt32(1001), UInt32(0), UInt8(1))
        reader.append(bytes)
        #expect(throws: MalformedBytes(.overLimit, "frame")) { try reader.next() }
    }

    @Test func anUnknownClassIsRefused() {
        var reader = PeerFrameReader(maximumPayloadBytes: 1000)
        reader.append(ByteBuffer(bytes: [0, 0, 0, 0, 0, 0, 0, 0, 99]))
        #expect(throws: MalformedBytes(.notCanonical, "frame")) { try reader.next() }
    }

    @Test func bulkIsBoundedAndWhole() throws {
        var assembly = BulkAssembly(maximumMessageBytes: 100)
        try assembly.append(ByteBuffer(repeating: 0, count: 100))
        #expect(throws: MalformedBytes(.overLimit, "bulk message")) {
            try assembly.append(ByteBuffer(repeating: 0, count: 1))
        }
        var trailing = BulkAssembly(maximumMessageBytes: 100)
        var bytes = ByteBuffer()
        PeerMessageCodec.encode(.propertiesStored(OperationID(rawValue: 1)), into: &bytes)
        bytes.writeInteger(UInt8(0))
        try trailing.append(bytes)
        #expect(throws: MalformedBytes(.trailingBytes, "bulk message")) { try trailing.finish() }
    }
}

@Suite struct OutboundQueueTests {
    private func small(_ number: UInt64) -> PeerMessage { .wrote(OperationID(rawValue: number), .stored) }

    private func large(_ number: UInt64, bytes: Int) -> PeerMessage {
        .readResult(OperationID(rawValue: number), .object(ByteBuffer(repeating: UInt8(number), count: bytes)))
    }

    @Test func allThatIsSentInATurnIsOneBuffer() throws {
        var queue = OutboundQueue(limits: PeerLimits())
        for number in 0..<100 { #expect(queue.append(small(UInt64(number))) == .queued) }
        let (bytes, more) = try unwrap(queue.next())
        #expect(more == nil && queue.isEmpty)
        #expect(try messages(bytes) == (0..<100).map { small(UInt64($0)) })
    }

    @Test func controlOvertakesBulkThatWaitsAndBulkThatIsUnderWay() throws {
        var queue = OutboundQueue(limits: PeerLimits())
        #expect(queue.append(large(1, bytes: 200 << 10)) == .queued)
        #expect(queue.append(large(2, bytes: 100 << 10)) == .queued)
        #expect(queue.append(small(3)) == .queued)
        var sent = ByteBuffer()
        func send() throws {
            let (first, second) = try unwrap(queue.next())
            sent.writeImmutableBuffer(first)
            if let second { sent.writeImmutableBuffer(second) }
        }
        try send()  // 3
        try send()  // a frame of 1
        #expect(queue.append(small(4)) == .queued)
        try send()  // 4, between two frames of 1
        sent.writeImmutableBuffer(stream(&queue))
        #expect(queue.isEmpty && queue.queuedBytes == 0)
        #expect(try messages(sent) == [small(3), small(4), large(1, bytes: 200 << 10), large(2, bytes: 100 << 10)])
    }

    @Test func aBulkFrameIsNoLongerThanItsLimit() throws {
        let limits = PeerLimits()
        var queue = OutboundQueue(limits: limits)
        #expect(queue.append(large(1, bytes: 1 << 20)) == .queued)
        var frames = 0
        while let (head, payload) = queue.next() {
            #expect(head.readableBytes == PeerFrame.headBytes)
            #expect(try unwrap(payload).readableBytes <= limits.bulkFrameBytes)
            frames += 1
        }
        #expect(frames == 17)
    }

    /// Control frames stay below what a reader takes, whatever their messages.
    @Test func framesFitTheReader() throws {
        var generator = SeededGenerator(seed: 11)
        var queue = OutboundQueue(limits: PeerLimits())
        var sent: [PeerMessage] = []
        for number in 0..<120 {
            let message =
                number % 3 == 0
                ? PeerMessage.read(
                    ReplicaRead(
                        operation: OperationID(rawValue: UInt64(number)),
                        key: ObjectKey(
                            bucket: generator.bucket(),
                            key: ByteBuffer(
                                repeating: 7, count: Int.random(in: 1...ObjectKey.maximumKeyBytes, using: &generator))),
                        copies: 3, want: .full),
                    remaining: .seconds(1))
                : large(UInt64(number % 256), bytes: Int.random(in: 0...20_000, using: &generator))
            sent.append(message)
            #expect(queue.append(message) == .queued)
        }
        #expect(Set(try messages(stream(&queue))) == Set(sent))
    }

    @Test func theQueueIsBounded() {
        var limits = PeerLimits()
        limits.queuedBytes = 32 << 10
        limits.messageBytes = 64 << 10
        var queue = OutboundQueue(limits: limits)
        // A message that finds the queue empty is taken whatever its length, up to the longest.
        #expect(queue.append(large(1, bytes: 64 << 10)) == .tooLong)
        #expect(queue.append(large(1, bytes: 48 << 10)) == .queued)
        #expect(queue.append(large(1, bytes: 20_000)) == .full)
        var control = OutboundQueue(limits: limits)
        var number: UInt64 = 0
        while control.append(small(number)) == .queued, number < 10_000 { number += 1 }
        #expect((limits.queuedBytes / 12...limits.queuedBytes / 9).contains(Int(number)))
    }
}
