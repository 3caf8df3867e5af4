// Canonical byte coding: unsigned LEB128 integers in their shortest form, big-endian fixed integers,
// length-prefixed slices. A value has exactly one encoding, so equal states have equal bytes, and a
// decoder refuses every other spelling.

package import NIOCore

/// Why bytes could not be decoded. Never a trap: bytes from a disk or a socket are hostile until checked.
package struct MalformedBytes: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Reason: Hashable, Sendable {
        /// The bytes end before the value does.
        case truncated
        /// Bytes are left over after the value.
        case trailingBytes
        /// An integer, order or flag that no encoder writes.
        case notCanonical
        /// A length or count above its limit.
        case overLimit
        /// The checksum does not match the bytes.
        case checksumMismatch
        /// Written by a newer format than this build reads.
        case unknownVersion
    }

    package var reason: Reason
    /// What was being decoded, for a person.
    package var subject: String

    package init(_ reason: Reason, _ subject: StaticString) {
        self.reason = reason
        self.subject = "\(subject)"
    }

    package var description: String { "cannot decode \(subject): \(reason)" }
}

extension ByteBuffer {
    /// Writes an unsigned integer as LEB128: 7 bits a byte, lowest first, at most 10 bytes.
    @discardableResult
    package mutating func writeVarint(_ value: UInt64) -> Int {
        if value < 0x80 { return writeInteger(UInt8(truncatingIfNeeded: value)) }
        return writeWithUnsafeMutableBytes(minimumWritableBytes: 10) { bytes in
            var rest = value
            var count = 0
            while rest >= 0x80 {
                bytes[count] = UInt8(truncatingIfNeeded: rest) | 0x80
                rest >>= 7
                count += 1
            }
            bytes[count] = UInt8(truncatingIfNeeded: rest)
            return count + 1
        }
    }

    /// Reads a shortest-form LEB128 integer.
    package mutating func readVarint(_ subject: StaticString) throws(MalformedBytes) -> UInt64 {
        let readable = readableBytes
        let (value, length): (UInt64, Int) = withUnsafeReadableBytes { bytes in
            var value: UInt64 = 0
            var shift: UInt64 = 0
            var index = 0
            while index < readable, index < 10 {
                let byte = bytes[index]
                let bits = UInt64(byte & 0x7f)
                // The tenth byte holds the 64th bit alone.
                if shift == 63, bits > 1 { return (0, -1) }
                value |= bits << shift
                index += 1
                if byte < 0x80 {
                    // A last byte of zero would be a longer spelling of the same number.
                    return byte == 0 && index > 1 ? (0, -1) : (value, index)
                }
                shift += 7
            }
            return (0, index >= 10 ? -1 : -2)
        }
        if length == -1 { throw MalformedBytes(.notCanonical, subject) }
        if length == -2 { throw MalformedBytes(.truncated, subject) }
        moveReaderIndex(forwardBy: length)
        return value
    }

    // One for each width, and not one generic: that would go through the integer's witness tables when it is
    // called from another module, ten times as slow.

    package mutating func readFixed(_: UInt8.Type, _ subject: StaticString) throws(MalformedBytes) -> UInt8 {
        guard let value = readInteger(as: UInt8.self) else { throw MalformedBytes(.truncated, subject) }
        return value
    }

    package mutating func readFixed(_: UInt16.Type, _ subject: StaticString) throws(MalformedBytes) -> UInt16 {
        guard let value = readInteger(as: UInt16.self) else { throw MalformedBytes(.truncated, subject) }
        return value
    }

    package mutating func readFixed(_: UInt32.Type, _ subject: StaticString) throws(MalformedBytes) -> UInt32 {
        guard let value = readInteger(as: UInt32.self) else { throw MalformedBytes(.truncated, subject) }
        return value
    }

    package mutating func readFixed(_: UInt64.Type, _ subject: StaticString) throws(MalformedBytes) -> UInt64 {
        guard let value = readInteger(as: UInt64.self) else { throw MalformedBytes(.truncated, subject) }
        return value
    }

    /// Writes a varint length and the readable bytes of `bytes`.
    package mutating func writeLengthPrefixed(_ bytes: ByteBuffer) {
        writeVarint(UInt64(bytes.readableBytes))
        writeImmutableBuffer(bytes)
    }

    /// Reads a varint length and that many bytes, as a slice that shares this buffer's storage.
    package mutating func readLengthPrefixed(
        limit: Int = .max, _ subject: StaticString
    ) throws(MalformedBytes) -> ByteBuffer {
        let length = try readVarint(subject)
        guard length <= UInt64(limit) else { throw MalformedBytes(.overLimit, subject) }
        guard length <= UInt64(readableBytes), let slice = readSlice(length: Int(length)) else {
            throw MalformedBytes(.truncated, subject)
        }
        return slice
    }

    /// Reads an element count. Every element takes at least one byte, so a count above what is left
    /// is refused before anything is allocated for it.
    package mutating func readCount(limit: Int = .max, _ subject: StaticString) throws(MalformedBytes) -> Int {
        let count = try readVarint(subject)
        guard count <= UInt64(limit) else { throw MalformedBytes(.overLimit, subject) }
        guard count <= UInt64(readableBytes) else { throw MalformedBytes(.truncated, subject) }
        return Int(count)
    }

    package func requireEmpty(_ subject: StaticString) throws(MalformedBytes) {
        guard readableBytes == 0 else { throw MalformedBytes(.trailingBytes, subject) }
    }

    /// Unsigned lexicographic order of the readable bytes, as RocksDB orders keys.
    package func lexicographicallyPrecedes(_ other: ByteBuffer) -> Bool {
        readableBytesView.lexicographicallyPrecedes(other.readableBytesView)
    }
}
