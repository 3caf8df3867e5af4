// What nodes say to one another. A message belongs to a link between one incarnation of its sender and one
// of its receiver; the link layer drops what it cannot prove to be of the present pair. Within a link
// messages may still be lost, delayed, reordered or repeated: every receiver here is built for that.

package import NIOCore
package import TorcModel

/// Names an operation of one lane of one node; answers carry it back. Unique within an incarnation,
/// and, as each begins its numbers elsewhere, not to be taken for one of the last: an answer to that one may
/// still come, over the present link.
package struct OperationID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The lane is in the upper 16 bits, so that an answer finds its way without a table.
    package init(lane: Int, number: UInt64) { rawValue = UInt64(lane) << 48 | number & 0xffff_ffff_ffff }

    package var lane: Int { Int(rawValue >> 48) }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    package var description: String { "op\(lane).\(rawValue & 0xffff_ffff_ffff)" }
}

/// A replica's copy of a stamped record is merged with what it holds.
package struct ReplicaWrite: Hashable, Sendable {
    package var operation: OperationID
    package var key: ObjectKey
    package var copies: UInt8
    /// Of the ring by which the sender chose its receivers. One who knows of a move that began later refuses it.
    package var epoch: UInt64
    /// Canonical bytes of a `VersionedObject`.
    package var body: ByteBuffer
    /// In an `lww` write: the dot whose fate the sender wants to know.
    package var dot: Dot?
    /// The replica for which the receiver shall keep it, beside its own records; nil: the receiver is one.
    package var hint: NodeID?
    /// By the sender's clock, when it began to read what it sends, or earlier. Not sent: it becomes the token.
    package var readAt: MonotonicTime?
    /// By the receiver's clock, an instant before the sender began to read what it sends.
    package var token: LinkToken?

    package init(
        operation: OperationID, key: ObjectKey, copies: UInt8, epoch: UInt64, body: ByteBuffer, dot: Dot? = nil,
        hint: NodeID? = nil, readAt: MonotonicTime? = nil, token: LinkToken? = nil
    ) {
        self.readAt = readAt
        self.token = token
        self.operation = operation
        self.key = key
        self.copies = copies
        self.epoch = epoch
        self.body = body
        self.dot = dot
        self.hint = hint
    }
}

/// What became of a write at a replica. Sent only when everything that it rests on is synced.
package enum WriteOutcome: Hashable, Sendable {
    case stored
    /// An `lww` write that lost to a version with this stamp: it must be stamped anew above it.
    case superseded(by: HybridTimestamp)
    case failed(ReplicaFailure)
}

extension ReplicaWrite {
    /// What is sent has no version that stands, and is for the receiver's own record.
    var isDelete: Bool {
        guard hint == nil, let object = try? VersionedObject(decoding: body) else { return false }
        return object.siblings.allSatisfy(\.isTombstone)
    }
}

package enum ReplicaFailure: UInt8, Hashable, Sendable, CaseIterable {
    /// The replica's queues are full.
    case overloaded = 1
    /// The record is there and cannot be read: an error, never "not found".
    case unreadable = 2
    /// The receiver does not hold the key's partition.
    case notHeld = 3
    /// The message made no sense to the receiver.
    case malformed = 4
    /// The receiver keeps as many hints for that node as it may.
    case hintsFull = 5
    /// The receiver's disk is nearly full.
    case diskFull = 6
    /// The sender read it too long ago, and it would change what the receiver holds.
    case stale = 7
    /// The receiver knows a later ring, by which the write goes to others, too.
    case otherRing = 8
}

package struct ReplicaRead: Hashable, Sendable {
    package enum Want: Hashable, Sendable {
        /// The whole object.
        case full
        /// The whole object, unless its hash is this one.
        case unless(ContentHash)
        /// Only its hash.
        case hash
    }

    package var operation: OperationID
    package var key: ObjectKey
    package var copies: UInt8
    package var want: Want
    /// Asks for what the receiver keeps for this replica; nil: for the receiver's own record.
    package var hint: NodeID?
    /// Of the ring by which the sender counts the answer. Who has begun to fetch copies since does not answer yet. 0: it is
    /// not counted, or the receiver is too old to be told.
    package var epoch: UInt64

    package init(
        operation: OperationID, key: ObjectKey, copies: UInt8, want: Want, hint: NodeID? = nil, epoch: UInt64 = 0
    ) {
        self.operation = operation
        self.key = key
        self.copies = copies
        self.want = want
        self.hint = hint
        self.epoch = epoch
    }
}

/// What a replica holds. Sent only when it is synced.
package enum ReadOutcome: Hashable, Sendable {
    case absent
    /// The hash that was asked about, or for.
    case hash(ContentHash)
    /// Canonical bytes of a `VersionedObject`.
    case object(ByteBuffer)
    case failed(ReplicaFailure)
}

/// A write that its receiver shall coordinate, sent at most once to at most one node.
package struct ForwardedWrite: Hashable, Sendable {
    package var operation: OperationID
    /// The sender's: operation numbers begin anew in each, and the receiver must know a repeat from a namesake.
    package var incarnation: Incarnation
    /// A put or a delete, with the bucket's properties as the sender knows them.
    package var request: ClientRequest
    package var properties: BucketProperties
    /// What was left of the client's time when it was sent.
    package var remaining: Duration

    package init(
        operation: OperationID, incarnation: Incarnation, request: ClientRequest, properties: BucketProperties,
        remaining: Duration
    ) {
        self.operation = operation
        self.incarnation = incarnation
        self.request = request
        self.properties = properties
        self.remaining = remaining
    }
}

/// Asks one replica for a page of the keys of a partition.
package struct PageRequest: Hashable, Sendable {
    package enum Subject: Hashable, Sendable {
        /// The live keys of a bucket.
        case keys(BucketID)
        /// The buckets of a type (empty: default) that hold live keys; a page may name one twice.
        case buckets(type: ByteBuffer)
    }

    package var operation: OperationID
    package var partition: PartitionID
    /// Of the bucket, or of the type's buckets: the receiver must be one of so many replicas.
    package var copies: UInt8
    package var subject: Subject
    /// The storage key after which to go on; nil: from the start.
    package var after: ByteBuffer?

    package init(
        operation: OperationID, partition: PartitionID, copies: UInt8, subject: Subject, after: ByteBuffer?
    ) {
        self.operation = operation
        self.partition = partition
        self.copies = copies
        self.subject = subject
        self.after = after
    }
}

package enum PageOutcome: Hashable, Sendable {
    /// Keys or bucket names. `resume` is the storage key to go on after; nil: the partition is done.
    case page(items: [ByteBuffer], resume: ByteBuffer?)
    case failed(ReplicaFailure)
}

package enum PeerMessage: Hashable, Sendable {
    case write(ReplicaWrite)
    case wrote(OperationID, WriteOutcome)
    case read(ReplicaRead, remaining: Duration)
    case readResult(OperationID, ReadOutcome)
    /// Out of line: it is large, rare, and every message would be as large.
    indirect case forward(ForwardedWrite)
    case forwarded(OperationID, WriteAnswer)
    case page(PageRequest)
    case pageResult(OperationID, PageOutcome)
    /// Bucket properties that the sender holds and the receiver may lack.
    case properties(OperationID, [PropertiesEntry])
    /// They are durable at the sender of this answer.
    case propertiesStored(OperationID)
    /// A digest of all properties: a receiver with another one answers with what it holds.
    case propertiesDigest(ContentHash)
    /// Who is there.
    case membership(MembershipMessage)
    case compare(TreeQuestion)
    case compared(OperationID, TreeAnswer)
    /// What became of a write that the sender was to keep for `target`.
    case hinted(OperationID, target: NodeID, WriteOutcome)
    /// What the sender keeps for `target`.
    case hintResult(OperationID, target: NodeID, ReadOutcome)
    /// Which ring is next. Out of line: it may carry whole rings.
    indirect case ring(RingMessage)
    /// Asks for a token; the answer names the operation.
    case askToken(OperationID)
    case token(OperationID, LinkToken)
    case reap(ReapQuestion)
    case reaped(OperationID, ReapAnswer)
}

/// One scope's properties, as nodes exchange and store them.
package struct PropertiesEntry: Hashable, Sendable {
    package var scope: PropertiesScope
    package var versioned: VersionedProperties

    package init(scope: PropertiesScope, versioned: VersionedProperties) {
        self.scope = scope
        self.versioned = versioned
    }
}

extension PeerMessage {
    /// The lane of the receiving node that a message is for; nil: its control loop. An answer goes to the lane
    /// that asked, everything else to the lane of its partition.
    package func lane(ringSize: RingSize, laneCount: Int) -> Int? {
        switch self {
        case .wrote(let operation, _), .readResult(let operation, _), .forwarded(let operation, _),
            .pageResult(let operation, _), .compared(let operation, _), .hinted(let operation, _, _),
            .hintResult(let operation, _, _), .token(let operation, _), .reaped(let operation, _):
            operation.lane < laneCount ? operation.lane : 0
        case .write(let write): lane(of: write.key, ringSize, laneCount)
        case .read(let read, _): lane(of: read.key, ringSize, laneCount)
        case .forward(let forward): lane(of: forward.request.key, ringSize, laneCount)
        case .page(let page): LaneConfiguration.lane(of: page.partition, laneCount: laneCount)
        case .compare(let question): LaneConfiguration.lane(of: question.tree.partition, laneCount: laneCount)
        case .reap(let question): LaneConfiguration.lane(of: question.tree.partition, laneCount: laneCount)
        case .askToken: 0
        case .properties, .propertiesStored, .propertiesDigest, .membership, .ring: nil
        }
    }

    private func lane(of key: ObjectKey, _ ringSize: RingSize, _ laneCount: Int) -> Int {
        LaneConfiguration.lane(of: ringSize.partition(of: key.position), laneCount: laneCount)
    }
}
