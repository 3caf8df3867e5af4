// Who owns what. A ring is one epoch's agreed assignment of the Q partitions to the members; everything
// else (preference lists, fallbacks, what a node holds) is computed from it, so every node that holds the
// same epoch routes alike.

import NIOCore

/// A member of a cluster, for ever: a node whose disk was wiped comes back as another one.
package struct NodeID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    package var description: String { hexadecimal(rawValue) }

    /// The 16 bits that mark this node's actors; a help for people, no promise of uniqueness.
    package var tag: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
}

extension NodeID {
    /// The id of a member that every node's configuration lists: it follows from the names of cluster and node, so that every
    /// node computes the same ring.
    package init(cluster: String, node: String) {
        var name = ByteBuffer()
        name.writeLengthPrefixed(ByteBuffer(string: cluster))
        name.writeLengthPrefixed(ByteBuffer(string: node))
        rawValue = xxh3(name, seed: 0)
    }
}

/// One epoch's assignment of partitions to nodes.
package struct Ring: Hashable, Sendable {
    package let epoch: UInt64
    package let size: RingSize
    /// The owner of each partition; Q entries.
    package let owners: [NodeID]
    /// Distinct owners, ascending.
    package let members: [NodeID]

    package init(epoch: UInt64, size: RingSize, owners: [NodeID]) {
        precondition(owners.count == size.partitions, "\(owners.count) owners for \(size.partitions) partitions")
        self.epoch = epoch
        self.size = size
        self.owners = owners
        members = Set(owners).sorted()
    }

    /// The first `count` distinct owners from a partition on, in ring order; fewer when the ring has fewer members.
    package func preferenceList(of partition: PartitionID, count: Int) -> [NodeID] {
        let wanted = min(count, members.count)
        var list: [NodeID] = []
        list.reserveCapacity(wanted)
        var index = partition.index
        while list.count < wanted {
            let owner = owners[index]
            if !list.contains(owner) { list.append(owner) }
            index = index + 1 == owners.count ? 0 : index + 1
        }
        return list
    }

    /// The partitions that a node holds when buckets keep up to `copies` copies, ascending.
    package func partitionsHeld(by node: NodeID, copies: Int) -> [PartitionID] {
        (0..<owners.count).map { PartitionID($0) }.filter { preferenceList(of: $0, count: copies).contains(node) }
    }
}
