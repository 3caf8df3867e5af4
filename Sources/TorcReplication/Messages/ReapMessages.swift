// What nodes say to one another to reap tombstones, and what has expired. `PruneNote` has what is said of vectors.

package import NIOCore
package import TorcModel

/// An instant of a node's monotonic clock, handed out to those that send to it. A sender stamps what it sends with
/// the token that it had when it began to read it, so the receiver knows, by its own clock alone, how old at the
/// most a version is that reaches it, however long the message took or its sender stood still.
package struct LinkToken: Hashable, Sendable {
    /// Of the node that handed it out.
    package var incarnation: Incarnation
    package var time: MonotonicTime

    package init(incarnation: Incarnation, time: MonotonicTime) {
        self.incarnation = incarnation
        self.time = time
    }
}

/// A key and what is to go: the tombstone, as canonical bytes; for the steps of expiry an `ExpiryNote`, for those of
/// pruning a `PruneNote`.
package struct ReapEntry: Hashable, Sendable {
    package var key: ObjectKey
    package var version: ByteBuffer

    package init(key: ObjectKey, version: ByteBuffer) {
        self.key = key
        self.version = version
    }
}

package enum ReapStep: UInt8, Hashable, Sendable, CaseIterable {
    /// Whether the receiver holds exactly this, synced.
    case hold = 1
    /// The proof stands: whoever holds exactly this, or nothing, has a grave of it instead.
    case bury = 2
    /// As `bury`, but nothing may stay nothing: the asker has a grave, others may have closed theirs.
    case settle = 3
    /// All replicas have buried it: the grave goes. Of the asking node alone.
    case forget = 4
    /// Whether the receiver holds exactly the object of this note, synced, and takes what it says for expired by its
    /// own clock.
    case expired = 5
    /// All replicas said so: whoever holds exactly that object removes what has expired from it.
    case expire = 6
    /// Whether the receiver holds exactly the object of this note, synced, and with which actor its header mints.
    case minting = 7
    /// The proof stands: whoever holds exactly that object, and mints with none of these actors, drops their entries.
    case prune = 8

    /// It is about an `ExpiryNote`.
    package var isExpiry: Bool { self == .expired || self == .expire }
    /// It is about a `PruneNote`.
    package var isPruning: Bool { self == .minting || self == .prune }
}

/// Names an object and, of its versions, those that expired through an instant.
package struct ExpiryNote: Hashable, Sendable {
    package var object: ContentHash
    package var through: WallTime

    package init(object: ContentHash, through: WallTime) {
        self.object = object
        self.through = through
    }

    package init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var buffer = bytes
        object = ContentHash(rawValue: try buffer.readFixed(UInt64.self, "expiry note"))
        through = WallTime(microseconds: try buffer.readFixed(UInt64.self, "expiry note"))
        try buffer.requireEmpty("expiry note")
    }

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(object.rawValue, through.microseconds)
        return buffer
    }
}

/// Each question stands for itself: the receiver keeps nothing between two of them.
package struct ReapQuestion: Hashable, Sendable {
    package enum Subject: Hashable, Sendable {
        /// What the receiver keeps for other nodes.
        case survey
        case step(ReapStep, [ReapEntry])
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

/// What a node's lane keeps for other nodes. Two surveys with nothing kept and equal counters, in one incarnation:
/// nothing was kept in between.
package struct HintSurvey: Hashable, Sendable {
    package var incarnation: Incarnation
    /// Hints that the lane has taken in this incarnation.
    package var accepted: UInt64
    /// It keeps some, or a crash could bring some back.
    package var holds: Bool
    /// The node's monotonic clock.
    package var clock: MonotonicTime

    package init(incarnation: Incarnation, accepted: UInt64, holds: Bool, clock: MonotonicTime) {
        self.incarnation = incarnation
        self.accepted = accepted
        self.holds = holds
        self.clock = clock
    }
}

package enum ReapAnswer: Hashable, Sendable {
    case survey(HintSurvey)
    /// By the question's entries. What is done is synced.
    case keys([Bool])
    case refused(TreeRefusal)
    /// By the question's entries: to `ReapStep.minting`.
    case minting([MintingAnswer])
}
