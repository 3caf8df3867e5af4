// The two requests that the generator sends, written by hand into one reused buffer: the generator shares the
// machine with the cluster that it measures, so it must cost as little as it can.
//
//   u32be length | u8 code | fields (protocol buffers: key = number << 3 | 2 for bytes, 0 for varints)

package import NIOCore

package enum RiakFrames {
    static let getRequest: UInt8 = 9
    static let getResponse: UInt8 = 10
    static let putRequest: UInt8 = 11
    static let putResponse: UInt8 = 12
    package static let errorResponse: UInt8 = 0
    /// What a node answers that has too much to do: nothing was done, and it may be asked again.
    static let overloadedText = "overload"
    /// Of an error: in so many milliseconds it may be worth to ask again.
    private static let retryAfterField: UInt64 = 100
    /// More is not believed.
    private static let longestWaitMilliseconds: UInt64 = 10_000
    /// A reply longer than this is taken for garbage.
    static let maximumReplyBytes = 64 << 20

    package static func writeGet(bucket: ByteBuffer, key: ByteBuffer, r: UInt32?, into buffer: inout ByteBuffer) {
        let start = beginFrame(getRequest, &buffer)
        writeBytes(1, bucket, &buffer)
        writeBytes(2, key, &buffer)
        if let r { writeNumber(3, UInt64(r), &buffer) }
        endFrame(start, &buffer)
    }

    /// `wantsContext` asks for the head in the answer, which carries the new context.
    package static func writePut(
        bucket: ByteBuffer, key: ByteBuffer, context: ByteBuffer?, value: ByteBuffer, w: UInt32?, wantsContext: Bool,
        into buffer: inout ByteBuffer
    ) {
        let start = beginFrame(putRequest, &buffer)
        writeBytes(1, bucket, &buffer)
        writeBytes(2, key, &buffer)
        if let context { writeBytes(3, context, &buffer) }
        // content { value }
        let contentBytes = 1 + varintBytes(UInt64(value.readableBytes)) + value.readableBytes
        buffer.writeInteger(UInt8(4 << 3 | 2))
        writeVarint(UInt64(contentBytes), &buffer)
        writeBytes(1, value, &buffer)
        if let w { writeNumber(5, UInt64(w), &buffer) }
        if wantsContext { writeNumber(11, 1, &buffer) }
        endFrame(start, &buffer)
    }

    /// One field of a message that is length-delimited; nil when it is not there or the bytes make no sense.
    package static func bytes(ofField wanted: UInt64, in message: ByteBuffer) -> ByteBuffer? {
        var reader = message
        while reader.readableBytes > 0 {
            guard let tag = readVarint(&reader) else { return nil }
            switch tag & 7 {
            case 0: guard readVarint(&reader) != nil else { return nil }
            case 2:
                guard let length = readVarint(&reader), length <= UInt64(reader.readableBytes),
                    let slice = reader.readSlice(length: Int(length))
                else { return nil }
                if tag >> 3 == wanted { return slice }
            default: return nil
            }
        }
        return nil
    }

    /// What an error says of when to ask again; 0: nothing.
    static func retryAfterMilliseconds(in message: ByteBuffer) -> UInt64 {
        var reader = message
        while reader.readableBytes > 0 {
            guard let tag = readVarint(&reader) else { return 0 }
            switch tag & 7 {
            case 0:
                guard let value = readVarint(&reader) else { return 0 }
                if tag >> 3 == retryAfterField { return min(value, longestWaitMilliseconds) }
            case 2:
                guard let length = readVarint(&reader), length <= UInt64(reader.readableBytes) else { return 0 }
                reader.moveReaderIndex(forwardBy: Int(length))
            default: return 0
            }
        }
        return 0
    }

    private static func beginFrame(_ code: UInt8, _ buffer: inout ByteBuffer) -> Int {
        let start = buffer.writerIndex
        buffer.writeInteger(UInt32(0))
        buffer.writeInteger(code)
        return start
    }

    private static func endFrame(_ start: Int, _ buffer: inout ByteBuffer) {
        buffer.setInteger(UInt32(buffer.writerIndex - start - 4), at: start)
    }

    private static func writeBytes(_ field: UInt8, _ bytes: ByteBuffer, _ buffer: inout ByteBuffer) {
        buffer.writeInteger(field << 3 | 2)
        writeVarint(UInt64(bytes.readableBytes), &buffer)
        buffer.writeImmutableBuffer(bytes)
    }

    private static func writeNumber(_ field: UInt8, _ value: UInt64, _ buffer: inout ByteBuffer) {
        buffer.writeInteger(field << 3)
        writeVarint(value, &buffer)
    }

    private static func writeVarint(_ value: UInt64, _ buffer: inout ByteBuffer) {
        var rest = value
        while rest >= 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        buffer.writeInteger(UInt8(rest))
    }

    private static func varintBytes(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

    private static func readVarint(_ buffer: inout ByteBuffer) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = buffer.readInteger(as: UInt8.self) else { return nil }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }
}
