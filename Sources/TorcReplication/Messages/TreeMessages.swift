// What two replicas of a partition say to one another to find out where they differ.

package import NIOCore
package import TorcModel

/// Tells one ring from another: trees are compared only by nodes that agree on who owns what.
package struct RingFingerprint: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package init(of ring: Ring) {
        var bytes = ByteBuffer()
        bytes.writeInteger(ring.epoch)
        for owner in ring.owners { bytes.writeInteger(owner.rawValue) }
        rawValue = xxh3(bytes, seed: 0)
    }

    package var description: String { hexadecimal(rawValue) }
}

/// Asks another replica about its Merkle tree of one partition and n. Each question stands for itself: the
/// receiver keeps nothing between two of them.
package struct TreeQuestion: Hashable, Sendable {
    package enum Subject: Hashable, Sendable {
        /// Whether the root is this one; if not, all branches.
        case root(ContentHash)
        /// The leaves below these branches, ascending.
        case leaves(branches: [UInt16])
        /// The keys of these leaves, ascending, with the hashes of their objects: those after one storage key
        /// and up to another. Nil: from the first leaf's start, to the last one's end.
        case keys(leaves: [UInt16], after: ByteBuffer?, through: ByteBuffer?)
    }

    package var operation: OperationID
    package var ring: RingFingerprint
    package var tree: TreeID
    package var subject: Subject

    package init(operation: OperationID, ring: RingFingerprint, tree: TreeID, subject: Subject) {
        self.operation = operation
        self.ring = ring
        self.tree = tree
        self.subject = subject
    }
}

/// A key, and what a scan showed of its object. A hint where to look closer, and no more: it may not be synced.
package struct ListedKey: Hashable, Sendable {
    package var key: ObjectKey
    /// `ContentHash.absent`: there is a record, and it cannot be read.
    package var hash: ContentHash

    package init(key: ObjectKey, hash: ContentHash) {
        self.key = key
        self.hash = hash
    }
}

package enum TreeAnswer: Hashable, Sendable {
    case equal
    case branches([UInt64])
    /// Of the branches that were asked for, one branch after the other.
    case leaves([UInt64])
    /// `resume`: the storage key after which to ask on; nil: that was all.
    case keys([ListedKey], resume: ByteBuffer?)
    case refused(TreeRefusal)
}

package enum TreeRefusal: UInt8, Hashable, Sendable, CaseIterable {
    /// The receiver knows another ring.
    case otherRing = 1
    /// It is no replica of this tree, or does not take the asker for one.
    case notHeld = 2
    case busy = 3
    /// The range of keys cannot be read.
    case unreadable = 4
    case malformed = 5
}
