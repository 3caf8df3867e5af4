// Between reaping and its lane, and its bounds.

package import NIOCore
package import TorcModel

package struct ReapingLimits: Hashable, Sendable {
    /// Off: this lane begins no round. It still answers others, and finishes what was begun.
    package var isOn = false
    /// Whether writes that their senders read longer ago than `maximumAge` are refused where they would change
    /// something. A node that does not judge does not promise either.
    package var judgesAge = false
    /// How old, by the receiver's clock, what a message carries may be.
    package var maximumAge = Duration.seconds(60)
    /// Between two walks through this lane's partitions.
    package var interval = Duration.seconds(60)
    /// Of this lane: a node's divided by its lanes.
    package var bytesPerSecond = 4 << 20
    /// A question that is not answered for so long ends its round.
    package var patience = Duration.seconds(10)
    /// Records, and their bytes, that one scan reads.
    package var pageEntries = 512
    package var pageBytes = 1 << 20
    /// Rounds under way: while there are as many, the walk waits.
    package var rounds = 64
    /// A vector is pruned when it has so many entries of which no version stands and with which its first replica does not
    /// mint. Above the number of replicas, each of which mints with one at the most: or a round would be begun in vain in
    /// each walk.
    package var pruneEntries = 8
    /// Questions of others under way; one more is refused `busy`.
    package var questionsServed = 64

    package init() {}
}

/// One key's step at this node's own replica.
package struct Burial: Hashable, Sendable {
    package var key: ObjectKey
    package var copies: UInt8
    /// As in `ReapEntry`.
    package var version: ByteBuffer
    package var step: ReapStep

    package init(key: ObjectKey, copies: UInt8, version: ByteBuffer, step: ReapStep) {
        self.key = key
        self.copies = copies
        self.version = version
        self.step = step
    }
}

/// Where the answer to a burial goes: the question that it is part of, and its place there.
package struct BurialTicket: Hashable, Sendable {
    package var question: UInt64
    package var place: Int

    package init(question: UInt64, place: Int) {
        self.question = question
        self.place = place
    }
}

package enum ReapRoundKind: String, Hashable, Sendable {
    /// Tombstones become graves.
    case reap
    /// Graves go.
    case close
    /// Versions past their expiry go.
    case expire
    /// Entries of vectors go that are of no use any more.
    case prune
}

/// Why tombstones wait, and vectors.
package enum ReapObstacle: Hashable, Sendable {
    case unreachable(NodeID)
    /// It did not answer in time.
    case silent(NodeID)
    case refused(NodeID, TreeRefusal)
    /// It holds another version, or cannot read its own, or its clock does not take it for expired.
    case differs(NodeID)
    /// It keeps, or took, hints.
    case hints(NodeID)
    /// It runs an older version, which does not know of such rounds.
    case olderVersion(NodeID)
}

/// What waits in one tree, as the last walk through it found it.
package struct ReapStatus: Hashable, Sendable {
    package var tree: TreeID
    package var tombstones: Int
    package var graves: Int
    /// Objects of which versions have expired, by this node's clock, and are still held.
    package var expired: Int
    /// Objects whose vectors have too many entries of which no version stands.
    package var vectors: Int
    /// The node that begins the rounds for all but the graves.
    package var leader: NodeID
    /// What ended the last round; nil: nothing did.
    package var obstacle: ReapObstacle?
}

package struct ReapStatistics: Hashable, Sendable {
    /// Tombstones that became graves here, by this node's rounds or others'.
    package var reaped: UInt64 = 0
    package var gravesClosed: UInt64 = 0
    /// Objects from which expired versions were removed here, by this node's rounds or others'.
    package var expired: UInt64 = 0
    /// Objects whose vectors were pruned here, by this node's rounds or others'.
    package var pruned: UInt64 = 0
    package var rounds: UInt64 = 0
    package var failedRounds: UInt64 = 0
    package var scannedBytes: UInt64 = 0

    package init() {}
}

package enum ReapEffect: Hashable, Sendable {
    case scan(ScanRequest)
    case bury(Burial, BurialTicket)
    case send(PeerMessage, to: NodeID)
    case observed(LaneObservation)
}
