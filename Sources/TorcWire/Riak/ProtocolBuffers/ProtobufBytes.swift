// Lets swift-protobuf read from and write to a ByteBuffer without a copy in between.

import FoundationEssentials
import NIOCore
import SwiftProtobuf

struct ProtobufBytes: SwiftProtobufContiguousBytes {
    var buffer: ByteBuffer

    init(_ buffer: ByteBuffer) { self.buffer = buffer }

    init(repeating byte: UInt8, count: Int) {
        buffer = ByteBufferAllocator().buffer(capacity: count)
        buffer.writeRepeatingByte(byte, count: count)
    }

    init<S: Sequence>(_ sequence: S) where S.Element == UInt8 { buffer = ByteBuffer(bytes: sequence) }

    var count: Int { buffer.readableBytes }

    func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try buffer.withUnsafeReadableBytes(body)
    }

    mutating func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer) throws -> R) rethrows -> R {
        try buffer.withUnsafeMutableReadableBytes(body)
    }
}

extension Message {
    private static var options: BinaryDecodingOptions {
        var options = BinaryDecodingOptions()
        // Fields of a later protocol are skipped, not carried.
        options.discardUnknownFields = true
        return options
    }

    /// Nil when the bytes are no such message or lack a required field.
    init?(decoding body: ByteBuffer) {
        guard let message = try? Self(serializedBytes: ProtobufBytes(body), options: Self.options) else { return nil }
        self = message
    }

    /// The message's bytes. Every required field has been set.
    func encoded() throws -> ByteBuffer {
        let bytes: ProtobufBytes = try serializedBytes()
        return bytes.buffer
    }
}

extension Data {
    init(copying buffer: ByteBuffer) {
        self = buffer.withUnsafeReadableBytes { bytes in
            bytes.count == 0 ? Data() : Data(bytes: bytes.baseAddress!, count: bytes.count)
        }
    }

    init(copying text: String) { self.init(text.utf8) }

    /// A copy: a ByteBuffer owns its storage.
    var byteBuffer: ByteBuffer { isEmpty ? ByteBuffer() : withUnsafeBytes { ByteBuffer(bytes: $0) } }
}
