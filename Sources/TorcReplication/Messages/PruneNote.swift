// What nodes say to one another to prune version vectors (`Reaping/Reaper.swift`).

package import NIOCore
package import TorcModel

/// Names an object, and the entries that shall go from its vector.
package struct PruneNote: Hashable, Sendable {
    package var object: ContentHash
    /// As the object's vector has them, ascending by actor; one at the least.
    package var entries: [Dot]

    package init(object: ContentHash, entries: [Dot]) {
        self.object = object
        self.entries = entries
    }

    package init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var buffer = bytes
        object = ContentHash(rawValue: try buffer.readFixed(UInt64.self, "prune note"))
        let count = try buffer.readCount(limit: VersionVector.maximumEntries, "prune note")
        guard count > 0, count * 16 == buffer.readableBytes else { throw MalformedBytes(.truncated, "prune note") }
        entries = []
        entries.reserveCapacity(count)
        for _ in 0..<count {
            let actor = Actor(rawValue: try buffer.readFixed(UInt64.self, "prune note"))
            let counter = try buffer.readFixed(UInt64.self, "prune note")
            guard entries.last.map({ $0.actor < actor }) ?? true, counter > 0 else {
                throw MalformedBytes(.notCanonical, "prune note")
            }
            entries.append(Dot(actor: actor, counter: counter))
        }
    }

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(object.rawValue)
        buffer.writeVarint(UInt64(entries.count))
        for entry in entries { buffer.writeMultipleIntegers(entry.actor.rawValue, entry.counter) }
        return buffer
    }
}

/// What one replica says of an object whose vector shall be pruned.
package enum MintingAnswer: Hashable, Sendable {
    /// It holds another one, or cannot read its own.
    case differs
    /// It holds exactly that one, synced, and its header mints with this actor; nil: with none.
    case holds(Actor?)
}
