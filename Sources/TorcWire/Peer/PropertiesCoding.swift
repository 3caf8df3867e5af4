// Lists of bucket properties as bytes: in the messages that spread them, and in the store that keeps them.
// An entry's own bytes are the replication's (`PropertiesEntry.encode`), because their hash is its digest.

package import NIOCore
package import TorcModel
package import TorcReplication

/// Encodes and decodes lists of `PropertiesEntry`.
package enum PropertiesCoding {
    private static let storedFormat: UInt8 = 1

    /// Scopes in one list; a list with more is refused as hostile.
    package static let maximumEntries = 1 << 16

    /// For the store's `meta` family: a format byte, then the list.
    package static func stored(_ entries: [PropertiesEntry]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(storedFormat)
        encode(entries, into: &buffer)
        return buffer
    }

    /// The other way; refuses what is left over.
    package static func entries(stored bytes: ByteBuffer) throws(MalformedBytes) -> [PropertiesEntry] {
        var buffer = bytes
        guard try buffer.readFixed(UInt8.self, "stored properties") == storedFormat else {
            throw MalformedBytes(.unknownVersion, "stored properties")
        }
        let entries = try decode(from: &buffer)
        try buffer.requireEmpty("stored properties")
        return entries
    }

    package static func encode(_ entries: [PropertiesEntry], into buffer: inout ByteBuffer) {
        precondition(entries.count <= maximumEntries, "\(entries.count) properties in one list")
        buffer.writeVarint(UInt64(entries.count))
        for entry in entries { entry.encode(into: &buffer) }
    }

    package static func decode(from buffer: inout ByteBuffer) throws(MalformedBytes) -> [PropertiesEntry] {
        let count = try buffer.readCount(limit: maximumEntries, "properties")
        var entries: [PropertiesEntry] = []
        for _ in 0..<count { entries.append(try PropertiesEntry(decoding: &buffer)) }
        return entries
    }
}
