// All bucket properties of a node, as `meta` keeps them: one value, rewritten as a whole. They change seldom,
// and the control machine bounds their number.
//
//   u8 format | varint count | entries, ascending by scope

package import NIOCore
package import TorcModel
package import TorcReplication

package enum StoredProperties {
    package static let key = "properties"
    private static let format: UInt8 = 1

    package static func encode(_ table: PropertiesTable) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(format)
        let entries = table.sorted
        buffer.writeVarint(UInt64(entries.count))
        for entry in entries { entry.encode(into: &buffer) }
        return buffer
    }

    package static func decode(_ bytes: ByteBuffer) throws(MalformedBytes) -> PropertiesTable {
        var buffer = bytes
        guard try buffer.readFixed(UInt8.self, "stored properties") == format else {
            throw MalformedBytes(.unknownVersion, "stored properties")
        }
        var entries: [PropertiesEntry] = []
        for _ in 0..<(try buffer.readCount(limit: Control.maximumScopes, "stored properties")) {
            entries.append(try PropertiesEntry(decoding: &buffer))
        }
        try buffer.requireEmpty("stored properties")
        return PropertiesTable(entries)
    }
}
