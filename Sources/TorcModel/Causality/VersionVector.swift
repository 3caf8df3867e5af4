// What a state has seen, as the greatest counter of each actor. Kept sorted by actor: merging is one pass,
// the encoding is canonical, and nothing depends on a dictionary's order.

package import NIOCore

/// For each actor the greatest counter seen; every smaller one has been seen too.
package struct VersionVector: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var actor: Actor
        package var counter: UInt64
    }

    /// A vector grows by an entry for each incarnation of each coordinator; one past this is refused as hostile.
    package static let maximumEntries = 65_536

    /// Ascending by actor, counters above zero.
    package private(set) var entries: [Entry]

    package init() { entries = [] }

    /// Of two entries for one actor the greater counts; zero counters are dropped.
    package init(_ dots: some Sequence<Dot>) {
        entries = []
        for dot in dots { insert(dot) }
    }

    package var isEmpty: Bool { entries.isEmpty }

    /// The greatest counter seen of an actor; 0 when none was.
    package subscript(actor: Actor) -> UInt64 {
        let index = firstIndex(notBefore: actor)
        return index < entries.count && entries[index].actor == actor ? entries[index].counter : 0
    }

    package func contains(_ dot: Dot) -> Bool { dot.counter <= self[dot.actor] }

    package mutating func insert(_ dot: Dot) {
        guard dot.counter > 0 else { return }
        let index = firstIndex(notBefore: dot.actor)
        if index < entries.count, entries[index].actor == dot.actor {
            entries[index].counter = max(entries[index].counter, dot.counter)
        } else {
            entries.insert(Entry(actor: dot.actor, counter: dot.counter), at: index)
        }
    }

    /// Joins: for each actor the greater counter.
    package mutating func merge(_ other: VersionVector) {
        if other.entries.isEmpty || entries == other.entries { return }
        if entries.isEmpty {
            entries = other.entries
            return
        }
        var joined: [Entry] = []
        joined.reserveCapacity(max(entries.count, other.entries.count) + 1)
        var mine = 0
        var theirs = 0
        while mine < entries.count, theirs < other.entries.count {
            let left = entries[mine]
            let right = other.entries[theirs]
            if left.actor == right.actor {
                joined.append(Entry(actor: left.actor, counter: max(left.counter, right.counter)))
                mine += 1
                theirs += 1
            } else if left.actor < right.actor {
                joined.append(left)
                mine += 1
            } else {
                joined.append(right)
                theirs += 1
            }
        }
        joined.append(contentsOf: entries[mine...])
        joined.append(contentsOf: other.entries[theirs...])
        entries = joined
    }

    package func merged(with other: VersionVector) -> VersionVector {
        var result = self
        result.merge(other)
        return result
    }

    /// Forgets what it has seen of some actors, ascending.
    package mutating func remove(_ actors: [Actor]) {
        var next = actors.makeIterator()
        var actor = next.next()
        entries.removeAll { entry in
            while let passed = actor, passed < entry.actor { actor = next.next() }
            return actor == entry.actor
        }
    }

    /// Whether this vector has seen all that the other has.
    package func dominates(_ other: VersionVector) -> Bool {
        var index = 0
        for entry in other.entries {
            while index < entries.count, entries[index].actor < entry.actor { index += 1 }
            guard index < entries.count, entries[index].actor == entry.actor, entries[index].counter >= entry.counter
            else { return false }
        }
        return true
    }

    private func firstIndex(notBefore actor: Actor) -> Int {
        // Vectors are short: a walk beats a binary search.
        if entries.count <= 8 {
            return entries.firstIndex { $0.actor >= actor } ?? entries.count
        }
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].actor < actor { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension VersionVector {
    package func encode(into buffer: inout ByteBuffer) {
        buffer.writeVarint(UInt64(entries.count))
        for entry in entries {
            buffer.writeInteger(entry.actor.rawValue)
            buffer.writeVarint(entry.counter)
        }
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let count = try buffer.readCount(limit: Self.maximumEntries, "version vector")
        guard count * 9 <= buffer.readableBytes else { throw MalformedBytes(.truncated, "version vector") }
        var decoded: [Entry] = []
        decoded.reserveCapacity(count)
        for _ in 0..<count {
            let actor = Actor(rawValue: try buffer.readFixed(UInt64.self, "version vector"))
            let counter = try buffer.readVarint("version vector")
            guard counter > 0, decoded.last.map({ $0.actor < actor }) ?? true else {
                throw MalformedBytes(.notCanonical, "version vector")
            }
            decoded.append(Entry(actor: actor, counter: counter))
        }
        entries = decoded
    }
}

extension VersionVector: CustomStringConvertible {
    package var description: String { "[" + entries.map { "\($0.actor):\($0.counter)" }.joined(separator: " ") + "]" }
}
