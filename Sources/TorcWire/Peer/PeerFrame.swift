// Frames: what a link's byte stream is cut into once both sides know each other.
//
//   u32be payload length | u32be checksum | u8 class | payload
//
// The checksum is the lower half of xxh3 over the payload, seeded with length and class. A frame that fails
// it, or announces more than the limit, ends the link: what follows cannot be trusted to be a frame at all.
//
// Control frames hold whole messages, one after another. A bulk message is cut into frames that may have
// control frames between them, never another bulk message; so one buffer a link puts it together again.

package import NIOCore
package import TorcModel
package import TorcReplication

package enum PeerFrameClass: UInt8, Sendable {
    /// Messages, whole.
    case control = 1
    /// A piece of a message; more follow.
    case bulk = 2
    /// The last piece.
    case bulkEnd = 3
    /// A number that the other side sends back.
    case ping = 4
    case pong = 5
}

package struct PeerFrame: Hashable, Sendable {
    package static let headBytes = 9

    package var kind: PeerFrameClass
    package var payload: ByteBuffer

    /// Makes room for a frame's head; `close` fills it in when the payload is there.
    static func open(in buffer: inout ByteBuffer) -> Int {
        let start = buffer.writerIndex
        buffer.writeMultipleIntegers(UInt64(0), UInt8(0))
        return start
    }

    /// The payload is all that follows the head. It is looked at where it lies: a slice of it would be another owner of the
    /// bytes, and filling in the head would copy them all.
    static func close(_ kind: PeerFrameClass, at start: Int, in buffer: inout ByteBuffer) {
        let payloadBytes = buffer.writerIndex - start - headBytes
        let checksum = buffer.withUnsafeReadableBytes { bytes in
            xxh3(
                UnsafeRawBufferPointer(rebasing: bytes.suffix(payloadBytes)),
                seed: seed(kind, payloadBytes: payloadBytes))
        }
        buffer.setInteger(UInt32(payloadBytes), at: start)
        buffer.setInteger(UInt32(truncatingIfNeeded: checksum), at: start + 4)
        buffer.setInteger(kind.rawValue, at: start + 8)
    }

    /// The head of a frame whose payload is written beside it, without a copy.
    static func head(_ kind: PeerFrameClass, payload: ByteBuffer) -> ByteBuffer {
        var head = ByteBuffer()
        head.writeMultipleIntegers(UInt32(payload.readableBytes), checksum(kind, payload), kind.rawValue)
        return head
    }

    static func checksum(_ kind: PeerFrameClass, _ payload: ByteBuffer) -> UInt32 {
        UInt32(truncatingIfNeeded: xxh3(payload, seed: seed(kind, payloadBytes: payload.readableBytes)))
    }

    private static func seed(_ kind: PeerFrameClass, payloadBytes: Int) -> UInt64 {
        UInt64(payloadBytes) << 8 | UInt64(kind.rawValue)
    }
}

/// Cuts a byte stream into frames. Holds at most one frame that is not yet whole.
package struct PeerFrameReader: Sendable {
    private let maximumPayloadBytes: Int
    private var pending = ByteBuffer()
    /// Nothing was cut from `pending` yet, so it can be appended to without copying what others hold slices of.
    private var isUncut = false

    package init(maximumPayloadBytes: Int) { self.maximumPayloadBytes = maximumPayloadBytes }

    /// Bytes held back because their frame is not whole.
    package var pendingBytes: Int { pending.readableBytes }

    package mutating func append(_ bytes: ByteBuffer) {
        if pending.readableBytes == 0 {
            pending = bytes
            isUncut = false
        } else if isUncut, pending.writableBytes >= bytes.readableBytes {
            pending.writeImmutableBuffer(bytes)
        } else {
            let arrived = pending.readableBytes + bytes.readableBytes
            let announced = pending.getInteger(at: pending.readerIndex, as: UInt32.self) ?? 0
            var moved = ByteBuffer()
            // Room for the frame that is under way, but not for more than twice what has come.
            moved.reserveCapacity(max(arrived, min(Int(announced) + PeerFrame.headBytes, 2 * arrived)))
            moved.writeImmutableBuffer(pending)
            moved.writeImmutableBuffer(bytes)
            pending = moved
            isUncut = true
        }
    }

    /// The next whole frame; nil when more bytes are needed.
    package mutating func next() throws(MalformedBytes) -> PeerFrame? {
        var bytes = pending
        guard let (length, checksum, kind) = bytes.readMultipleIntegers(as: (UInt32, UInt32, UInt8).self)
        else { return nil }
        guard Int(length) <= maximumPayloadBytes else { throw MalformedBytes(.overLimit, "frame") }
        guard let frameClass = PeerFrameClass(rawValue: kind) else { throw MalformedBytes(.notCanonical, "frame") }
        guard let payload = bytes.readSlice(length: Int(length)) else { return nil }
        guard PeerFrame.checksum(frameClass, payload) == checksum else {
            throw MalformedBytes(.checksumMismatch, "frame")
        }
        pending = bytes.readableBytes == 0 ? ByteBuffer() : bytes
        isUncut = false
        return PeerFrame(kind: frameClass, payload: payload)
    }
}

/// Puts bulk messages together again: one at a time, each within the bound.
package struct BulkAssembly: Sendable {
    private let maximumMessageBytes: Int
    private var pieces = ByteBuffer()

    package init(maximumMessageBytes: Int) { self.maximumMessageBytes = maximumMessageBytes }

    package var isEmpty: Bool { pieces.readableBytes == 0 }

    package mutating func append(_ piece: ByteBuffer) throws(MalformedBytes) {
        guard pieces.readableBytes + piece.readableBytes <= maximumMessageBytes else {
            throw MalformedBytes(.overLimit, "bulk message")
        }
        guard piece.readableBytes > 0 else { throw MalformedBytes(.notCanonical, "bulk message") }
        if pieces.readableBytes == 0 { pieces = piece } else { pieces.writeImmutableBuffer(piece) }
    }

    /// The whole message, after the last piece.
    package mutating func finish() throws(MalformedBytes) -> PeerMessage {
        var bytes = pieces
        pieces = ByteBuffer()
        let message = try PeerMessageCodec.decode(from: &bytes)
        try bytes.requireEmpty("bulk message")
        return message
    }
}
