// Riak's framing: `u32be length | u8 code | body`, where the length counts the code. A body may be empty,
// a frame may not. `00000007 09 0A0162 12016B` asks for the key "k" of the bucket "b".

package import NIOCore

package struct RiakFrame: Hashable, Sendable {
    package var code: UInt8
    package var body: ByteBuffer

    package init(code: UInt8, body: ByteBuffer = ByteBuffer()) {
        self.code = code
        self.body = body
    }

    package init(_ code: RiakMessageCode, body: ByteBuffer = ByteBuffer()) {
        self.init(code: code.rawValue, body: body)
    }

    package static let headerBytes = 5

    package var encodedBytes: Int { Self.headerBytes + body.readableBytes }

    package func encodeHeader(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(UInt32(body.readableBytes + 1), code)
    }

    package func encode(into buffer: inout ByteBuffer) {
        encodeHeader(into: &buffer)
        buffer.writeImmutableBuffer(body)
    }
}

/// After either the stream has no frames any more: whoever sent it is answered and the connection closed.
package enum RiakFrameError: Error, Hashable, Sendable {
    /// A length of zero: not even a code.
    case empty
    case tooLong(bytes: Int, limit: Int)

    package var message: String {
        switch self {
        case .empty: "A message must have a code"
        case .tooLong(let bytes, let limit): "Message too long: \(bytes) bytes, the limit is \(limit)"
        }
    }
}

/// Cuts a stream of bytes into frames. Bodies share the storage of what was received.
package struct RiakFrameDecoder: Sendable {
    /// A frame above this is refused as soon as its length is read, before any of it is kept.
    package let maximumFrameBytes: Int
    private var pending = ByteBuffer()

    package init(maximumFrameBytes: Int) { self.maximumFrameBytes = maximumFrameBytes }

    /// Bytes that were received and belong to no frame yet.
    package var pendingBytes: Int { pending.readableBytes }

    package mutating func append(_ bytes: ByteBuffer) {
        guard pending.readableBytes > 0 else {
            pending = bytes
            return
        }
        // Room grows with what has arrived, not with what a length has announced.
        pending.discardReadBytes()
        pending.writeImmutableBuffer(bytes)
    }

    /// The next whole frame; nil when more bytes are needed.
    package mutating func next() throws(RiakFrameError) -> RiakFrame? {
        guard let announced = pending.getInteger(at: pending.readerIndex, as: UInt32.self) else { return nil }
        let length = Int(announced)
        guard length > 0 else { throw .empty }
        guard length <= maximumFrameBytes else { throw .tooLong(bytes: length, limit: maximumFrameBytes) }
        guard pending.readableBytes >= 4 + length else { return nil }
        pending.moveReaderIndex(forwardBy: 4)
        let code = pending.readInteger(as: UInt8.self)!
        let body = pending.readSlice(length: length - 1)!
        // An empty buffer would keep the storage of a large one alive.
        if pending.readableBytes == 0 { pending = ByteBuffer() }
        return RiakFrame(code: code, body: body)
    }
}
