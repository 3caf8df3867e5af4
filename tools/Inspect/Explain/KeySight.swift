// What stores hold of one object: each store's own record, and what it keeps of it for others. It comes from folders
// (`FolderSights`) or from what nodes answer (`torc explain`); how they compare is for `Explanation`.

package import NIOCore
package import TorcModel

/// Where an object belongs.
package struct KeyPlace: Sendable {
    package var key: ObjectKey
    package var ringSize: RingSize
    /// The n of its bucket.
    package var copies: Int
    /// Nil: no ring is known.
    package var epoch: UInt64?
    /// settled, copying, retiring.
    package var phase: String?
    /// Who holds copies, those that reads are asked of first; nothing where no ring is known.
    package var replicas: [NodeID]
    /// Who stands in for them, in order.
    package var fallbacks: [NodeID]
    package var names: [NodeID: String]

    package init(
        key: ObjectKey, ringSize: RingSize, copies: Int, epoch: UInt64?, phase: String?, replicas: [NodeID],
        fallbacks: [NodeID], names: [NodeID: String]
    ) {
        self.key = key
        self.ringSize = ringSize
        self.copies = copies
        self.epoch = epoch
        self.phase = phase
        self.replicas = replicas
        self.fallbacks = fallbacks
        self.names = names
    }

    package func name(of node: NodeID) -> String { names[node] ?? "\(node)" }

    /// By the 16 bits that mark a node's actors: a help for people. nil: none, or more than one.
    package func name(of actor: Actor) -> String? {
        let nodes = names.filter { $0.key.tag == UInt16(truncatingIfNeeded: actor.rawValue >> 48) }
        return nodes.count == 1 ? nodes.first!.value : nil
    }

    /// `replica 2`, `fallback 1`, `-`.
    package func role(of node: NodeID) -> String {
        if let place = replicas.firstIndex(of: node) { return "replica \(place + 1)" }
        if let place = fallbacks.firstIndex(of: node) { return "fallback \(place + 1)" }
        return replicas.isEmpty ? "?" : "-"
    }
}

/// What one store holds.
package struct KeySight: Sendable {
    package enum Holding: Sendable {
        /// The record, as it is stored.
        case record(ByteBuffer)
        case nothing
        /// It has no part of the ring in which the object is.
        case elsewhere
        /// It is there and cannot be read, or nobody answers.
        case unknown(String)
    }

    /// Something that it keeps for another node.
    package struct Hint: Sendable {
        package var target: NodeID
        /// The record, as it is stored.
        package var record: ByteBuffer

        package init(target: NodeID, record: ByteBuffer) {
            self.target = target
            self.record = record
        }
    }

    package var node: NodeID
    package var holding: Holding
    package var hints: [Hint]
    /// Nil: nobody asked.
    package var isSynced: Bool?
    /// The Merkle leaf that the object is in; nil: not known.
    package var leaf: UInt64?
    /// What the node says of repair and reaping there.
    package var notes: [String]

    package init(
        node: NodeID, holding: Holding, hints: [Hint] = [], isSynced: Bool? = nil, leaf: UInt64? = nil,
        notes: [String] = []
    ) {
        self.node = node
        self.holding = holding
        self.hints = hints
        self.isSynced = isSynced
        self.leaf = leaf
        self.notes = notes
    }
}
