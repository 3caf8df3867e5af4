import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

@Suite struct PeerMessageCodecTests {
    private func encoded(_ message: PeerMessage) -> ByteBuffer {
        var buffer = ByteBuffer()
        PeerMessageCodec.encode(message, into: &buffer)
        return buffer
    }

    @Test(arguments: 0..<SeededGenerator.peerMessageKinds)
    func everyKindRoundTrips(kind: Int) throws {
        var generator = SeededGenerator(seed: UInt64(kind))
        for round in 0..<100 {
            let message = generator.peerMessage(kind: kind)
            var bytes = encoded(message)
            #expect(PeerMessageCodec.sizeBound(of: message) >= bytes.readableBytes, "kind \(kind) round \(round)")
            #expect(try PeerMessageCodec.decode(from: &bytes) == message, "kind \(kind) round \(round)")
            #expect(bytes.readableBytes == 0)
        }
    }

    @Test func messagesFollowOneAnother() throws {
        var generator = SeededGenerator(seed: 7)
        let messages = (0..<200).map { _ in generator.peerMessage() }
        var bytes = ByteBuffer()
        for message in messages { PeerMessageCodec.encode(message, into: &bytes) }
        var decoded: [PeerMessage] = []
        while bytes.readableBytes > 0 { decoded.append(try PeerMessageCodec.decode(from: &bytes)) }
        #expect(decoded == messages)
    }

    @Test(arguments: 0..<SeededGenerator.peerMessageKinds)
    func aMessageThatIsCutAnywhereIsRefused(kind: Int) {
        var generator = SeededGenerator(seed: 100 + UInt64(kind))
        for _ in 0..<8 {
            let bytes = encoded(generator.peerMessage(kind: kind))
            for length in 0..<bytes.readableBytes {
                var cut = bytes.getSlice(at: 0, length: length)!
                // An expectation each would take longer than what it checks.
                if let message = try? PeerMessageCodec.decode(from: &cut) {
                    Issue.record("\(length) of \(bytes.readableBytes) bytes gave \(message)")
                }
            }
        }
    }

    /// A flipped bit either is refused or gives another message, with these very bytes as its only encoding.
    @Test(arguments: 0..<SeededGenerator.peerMessageKinds)
    func flippedBitsNeverTrapAndNeverHideASecondSpelling(kind: Int) throws {
        var generator = SeededGenerator(seed: 200 + UInt64(kind))
        for _ in 0..<10 {
            let bytes = encoded(generator.peerMessage(kind: kind))
            for bit in 0..<bytes.readableBytes * 8 {
                var flipped = bytes
                flipped.setInteger(bytes.getInteger(at: bit / 8, as: UInt8.self)! ^ 1 << UInt8(bit % 8), at: bit / 8)
                var reader = flipped
                guard let message = try? PeerMessageCodec.decode(from: &reader) else { continue }
                let consumed = flipped.getSlice(at: 0, length: reader.readerIndex)!
                if encoded(message) != consumed { Issue.record("bit \(bit): \(message) has two encodings") }
            }
        }
    }

    @Test func bodiesAreSlicesOfWhatWasRead() throws {
        var generator = SeededGenerator(seed: 3)
        let body = generator.bytes(1024...1024)
        var bytes = encoded(.readResult(OperationID(rawValue: 1), .object(body)))
        let storage = bytes.withVeryUnsafeBytes { $0.baseAddress! }
        guard case .readResult(_, .object(let slice)) = try PeerMessageCodec.decode(from: &bytes) else {
            Issue.record("another message")
            return
        }
        let inside = slice.withUnsafeReadableBytes { $0.baseAddress! } - storage
        #expect((0..<2048).contains(inside))
    }

    @Test func durationsAreWholeNanosecondsAndNeverNegative() throws {
        for (given, expected) in [
            (Duration.seconds(-1), Duration.zero), (.zero, .zero), (.microseconds(1500), .microseconds(1500)),
            (.seconds(Int64.max), .nanoseconds(Int64.max)),
        ] {
            var bytes = encoded(
                .read(
                    ReplicaRead(
                        operation: OperationID(rawValue: 0),
                        key: ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k")),
                        copies: 3, want: .hash),
                    remaining: given))
            guard case .read(_, let remaining) = try PeerMessageCodec.decode(from: &bytes) else {
                Issue.record("another message")
                continue
            }
            #expect(remaining == expected)
        }
    }

    @Test func aCountThatTheBytesCannotHoldIsRefusedBeforeAnythingIsMade() {
        for head: [UInt8] in [[8], [9]] {
            // A page and a list of properties that announce 2^60 elements.
            var bytes = ByteBuffer(bytes: head + [0, 0, 0, 0, 0, 0, 0, 1])
            if head == [8] { bytes.writeInteger(UInt8(0)) }
            bytes.writeVarint(1 << 60)
            #expect(throws: MalformedBytes.self) { try PeerMessageCodec.decode(from: &bytes) }
        }
    }

    @Test func storedPropertiesRoundTrip() throws {
        var generator = SeededGenerator(seed: 5)
        let entries = (0..<50).map { _ in generator.propertiesEntry() }
        var stored = PropertiesCoding.stored(entries)
        #expect(try PropertiesCoding.entries(stored: stored) == entries)
        stored.writeInteger(UInt8(0))
        #expect(throws: MalformedBytes(.trailingBytes, "stored properties")) {
            try PropertiesCoding.entries(stored: stored)
        }
        stored.setInteger(UInt8(2), at: 0)
        #expect(throws: MalformedBytes(.unknownVersion, "stored properties")) {
            try PropertiesCoding.entries(stored: stored)
        }
    }
}
