// Which families of a node's store are damaged, as `meta` keeps it. It is stored before anybody acts on it, so that a
// restart goes on where the last run was:
//
//   a table cannot be read ─► noted ─► copied to a family of the next generation ─► made anew ─► compared ─► no entry
//                                        a crash here: the copy is dropped             a crash here: the former is dropped
//
//   table: u8 format | u16 entries | entries × (u8 length, name | u8 is made anew | u16 generation | u16 count, lost leaves)

import NIOCore
import TorcModel

struct DamageTable: Hashable, Sendable {
    struct Entry: Hashable, Sendable {
        /// The family is the copy, and the one before it is to be dropped.
        var isAnew = false
        /// Of the family that holds the data, if it is made anew.
        var generation: UInt16 = 0
        /// Leaves of which something could not be read, and that have not been compared with every co-owner since.
        var lost: [UInt16] = []
    }

    private static let format: UInt8 = 1
    static let key = "store/damaged"

    /// By the families' names of generation 0.
    var entries: [String: Entry] = [:]

    init() {}

    init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var reader = bytes
        guard try reader.readFixed(UInt8.self, "damage") == Self.format else {
            throw MalformedBytes(.unknownVersion, "damage")
        }
        for _ in 0..<(try reader.readFixed(UInt16.self, "damage")) {
            let length = Int(try reader.readFixed(UInt8.self, "damage"))
            guard let name = reader.readString(length: length) else { throw MalformedBytes(.truncated, "damage") }
            var entry = Entry()
            entry.isAnew = try reader.readFixed(UInt8.self, "damage") == 1
            entry.generation = try reader.readFixed(UInt16.self, "damage")
            for _ in 0..<(try reader.readFixed(UInt16.self, "damage")) {
                entry.lost.append(try reader.readFixed(UInt16.self, "damage"))
            }
            entries[name] = entry
        }
        guard reader.readableBytes == 0 else { throw MalformedBytes(.notCanonical, "damage") }
    }

    var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(Self.format)
        buffer.writeInteger(UInt16(entries.count))
        for (name, entry) in entries.sorted(by: { $0.key < $1.key }) {
            buffer.writeInteger(UInt8(name.utf8.count))
            buffer.writeString(name)
            buffer.writeInteger(UInt8(entry.isAnew ? 1 : 0))
            buffer.writeInteger(entry.generation)
            buffer.writeInteger(UInt16(entry.lost.count))
            for leaf in entry.lost { buffer.writeInteger(leaf) }
        }
        return buffer
    }
}

/// What is known of damage, while the store is open.
struct DamageRegister {
    var table = DamageTable()
    /// Found by readers, and not noted durably: the family's name, and what RocksDB says.
    var found: [(name: String, detail: String)] = []

    /// False: it is known.
    mutating func find(_ name: String, _ detail: String) -> Bool {
        if let entry = table.entries[name], !entry.isAnew { return false }
        guard !found.contains(where: { $0.name == name }) else { return false }
        found.append((name, detail))
        return true
    }
}
