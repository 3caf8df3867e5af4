// What a client says about a value: carried, never looked into by replication.

package import NIOCore

/// Content type, encoding, links, user metadata and secondary-index entries of one version.
package struct ContentMetadata: Hashable, Sendable {
    package struct Link: Hashable, Sendable {
        package var bucket: ByteBuffer
        package var key: ByteBuffer
        package var tag: ByteBuffer

        package init(bucket: ByteBuffer, key: ByteBuffer, tag: ByteBuffer) {
            self.bucket = bucket
            self.key = key
            self.tag = tag
        }
    }

    package struct Pair: Hashable, Sendable {
        package var name: ByteBuffer
        package var value: ByteBuffer

        package init(name: ByteBuffer, value: ByteBuffer) {
            self.name = name
            self.value = value
        }
    }

    package var contentType = ByteBuffer()
    package var charset = ByteBuffer()
    package var contentEncoding = ByteBuffer()
    package var links: [Link] = []
    package var userMetadata: [Pair] = []
    package var indexes: [Pair] = []

    package init() {}

    private static let subject: StaticString = "metadata"

    /// No bytes at all when there is nothing to say, as of a delete; otherwise it ends where the rest is empty.
    package func encode(into buffer: inout ByteBuffer) {
        let onlyStrings = links.isEmpty && userMetadata.isEmpty && indexes.isEmpty
        if onlyStrings, !hasStrings { return }
        buffer.writeLengthPrefixed(contentType)
        buffer.writeLengthPrefixed(charset)
        buffer.writeLengthPrefixed(contentEncoding)
        if onlyStrings { return }
        buffer.writeVarint(UInt64(links.count))
        for link in links {
            buffer.writeLengthPrefixed(link.bucket)
            buffer.writeLengthPrefixed(link.key)
            buffer.writeLengthPrefixed(link.tag)
        }
        for pairs in [userMetadata, indexes] {
            buffer.writeVarint(UInt64(pairs.count))
            for pair in pairs {
                buffer.writeLengthPrefixed(pair.name)
                buffer.writeLengthPrefixed(pair.value)
            }
        }
    }

    private var hasStrings: Bool {
        contentType.readableBytes + charset.readableBytes + contentEncoding.readableBytes > 0
    }

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        // Most puts say nothing.
        if !hasStrings, links.isEmpty, userMetadata.isEmpty, indexes.isEmpty { return buffer }
        buffer.reserveCapacity(contentType.readableBytes + charset.readableBytes + contentEncoding.readableBytes + 8)
        encode(into: &buffer)
        return buffer
    }

    package init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var buffer = bytes
        if buffer.readableBytes == 0 { return }
        contentType = try buffer.readLengthPrefixed(Self.subject)
        charset = try buffer.readLengthPrefixed(Self.subject)
        contentEncoding = try buffer.readLengthPrefixed(Self.subject)
        if buffer.readableBytes == 0 {
            guard hasStrings else { throw MalformedBytes(.notCanonical, Self.subject) }
            return
        }
        for _ in 0..<(try buffer.readCount(Self.subject)) {
            links.append(
                Link(
                    bucket: try buffer.readLengthPrefixed(Self.subject),
                    key: try buffer.readLengthPrefixed(Self.subject),
                    tag: try buffer.readLengthPrefixed(Self.subject)))
        }
        userMetadata = try Self.pairs(from: &buffer)
        indexes = try Self.pairs(from: &buffer)
        try buffer.requireEmpty(Self.subject)
        guard !(links.isEmpty && userMetadata.isEmpty && indexes.isEmpty) else {
            throw MalformedBytes(.notCanonical, Self.subject)
        }
    }

    private static func pairs(from buffer: inout ByteBuffer) throws(MalformedBytes) -> [Pair] {
        var pairs: [Pair] = []
        for _ in 0..<(try buffer.readCount(subject)) {
            pairs.append(
                Pair(name: try buffer.readLengthPrefixed(subject), value: try buffer.readLengthPrefixed(subject)))
        }
        return pairs
    }
}
