// Dotted version vectors: Preguiça, Baquero, Almeida, Fonte, Gonçalves, "Dotted Version Vectors" (2010),
// and Riak's dvvset.erl. A dot names one write; a version vector says which dots a state has seen.

/// Who mints dots for one key: not a node, but a number that a replica draws when it first coordinates a
/// write to a key whose record it does not hold, or last coordinated in an earlier incarnation. So a replica
/// that forgot what it wrote cannot mint a dot twice.
package struct Actor: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// A fresh actor: 16 bits of the node's tag, for people, and 48 random bits. Never zero.
    package init(node: NodeID, using generator: inout some RandomNumberGenerator) {
        let random = generator.next() & 0xffff_ffff_ffff
        rawValue = UInt64(node.tag) << 48 | (random == 0 ? 1 : random)
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    package var description: String { hexadecimal(rawValue) }
}

/// One write: the actor that minted it and its place in that actor's writes, from 1.
package struct Dot: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var actor: Actor
    package var counter: UInt64

    package init(actor: Actor, counter: UInt64) {
        self.actor = actor
        self.counter = counter
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        lhs.actor == rhs.actor ? lhs.counter < rhs.counter : lhs.actor < rhs.actor
    }

    package var description: String { "\(actor):\(counter)" }
}

/// One run of a node's process over its data. Every start draws a new one and makes it durable before it serves.
package struct Incarnation: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package var description: String { hexadecimal(rawValue) }
}
