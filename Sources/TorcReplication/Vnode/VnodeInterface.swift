// Between the coordinator and the replicas of the same lane.

package import NIOCore
package import TorcModel

/// Who hears what became of a replica operation.
package enum ReplyAddress: Hashable, Sendable {
    /// The coordinator of this lane.
    case coordinator(OperationID)
    /// A coordinator at another node, or in another lane of this one.
    case peer(NodeID, OperationID)
    /// The repair of this lane.
    case repair(OperationID)
    /// The coordinator of this lane, of what is kept for a node.
    case hintCoordinator(OperationID, target: NodeID)
    /// A coordinator at another node, or in another lane, of what is kept for a node.
    case hintPeer(NodeID, OperationID, target: NodeID)
    case reaping(BurialTicket)
    case mending(OperationID)
    case nobody

    /// Whether what it hears is taken for all that this replica ever held. Repair looks for what it lacks. Whoever mends a record
    /// takes what is left of it anywhere: what was lost here will not come back, and waiting for it would be waiting for
    /// a comparison that waits for the mended record.
    var counts: Bool {
        switch self {
        case .repair: false
        case .peer(_, let operation): operation.asker != .repair && operation.asker != .mending
        case .coordinator, .hintCoordinator, .hintPeer, .reaping, .mending, .nobody: true
        }
    }

    var isPeersRepair: Bool {
        if case .peer(_, let operation) = self { operation.asker == .repair } else { false }
    }

    var isRepair: Bool {
        if case .repair = self { true } else { false }
    }
}

/// Deletes a hint that its node has, if it still is the one that was delivered.
package struct HintDrop: Hashable, Sendable {
    package var key: ObjectKey
    package var target: NodeID
    /// Of the body that was delivered.
    package var delivered: ContentHash

    package init(key: ObjectKey, target: NodeID, delivered: ContentHash) {
        self.key = key
        self.target = target
        self.delivered = delivered
    }
}

/// Removes a record of a tree that this node holds no longer.
package struct Discard: Hashable, Sendable {
    package var key: ObjectKey

    package init(key: ObjectKey) { self.key = key }
}

/// Coordinates one write at this replica: decides, mints a dot and merges, all on the record as it is when
/// its turn comes in the key's queue.
package struct MintRequest: Hashable, Sendable {
    package enum Change: Hashable, Sendable {
        case put(metadata: ByteBuffer, value: ByteBuffer, expiry: WallTime?, writeID: WriteID?)
        case delete
    }

    package var operation: OperationID
    package var key: ObjectKey
    package var copies: UInt8
    package var mode: ConflictMode
    package var context: CausalContext?
    package var change: Change
    /// Checked against this replica's record before anything is written.
    package var condition: WriteCondition?
    /// The coordinator's, by which it judges what has expired; nil: this replica's own.
    package var instant: WallTime?
    /// The stamp must be above this one: an `lww` write that lost is stamped again.
    package var above: HybridTimestamp
    /// No replica can be reached: it is minted on what is kept for this one.
    package var hint: NodeID?

    package init(
        operation: OperationID, key: ObjectKey, copies: UInt8, mode: ConflictMode, context: CausalContext?,
        change: Change, condition: WriteCondition? = nil, instant: WallTime? = nil, above: HybridTimestamp = .zero,
        hint: NodeID? = nil
    ) {
        self.operation = operation
        self.key = key
        self.copies = copies
        self.mode = mode
        self.context = context
        self.change = change
        self.condition = condition
        self.instant = instant
        self.above = above
        self.hint = hint
    }
}

/// A write that this replica has stamped.
package struct MintedWrite: Hashable, Sendable {
    /// The object as it stands here after the write; what the other replicas are sent.
    package var object: VersionedObject
    /// Its canonical bytes.
    package var body: ByteBuffer
    /// The write's dot: nil for a delete in a `siblings` bucket. Of a retried `WriteID`, the dot of the first attempt.
    package var dot: Dot?

    package init(object: VersionedObject, body: ByteBuffer, dot: Dot?) {
        self.object = object
        self.body = body
        self.dot = dot
    }
}

/// What a replica answers. Everything but `deferred`, `minted` and failures waits for the sync of what it rests on.
package enum VnodeReply: Hashable, Sendable {
    /// The record is not in memory: a coordinator need not wait for it before it asks others.
    case deferred
    case read(ReadOutcome)
    case wrote(WriteOutcome)
    /// The stamped write is in the log, unsynced: it may be sent to the other replicas, not acknowledged.
    case minted(MintedWrite)
    /// The minted write, and all that it rests on, is synced here.
    case mintSynced
    /// Nothing was written. The answer to a mint that failed, too. A refusal for what the record holds waits for
    /// its sync, as a read would.
    case refused(Refusal)
    /// Whether the record is as a step of reaping wants it.
    case buried(Bool)
    /// The record is the one that shall be pruned, and its header mints with this actor.
    case mints(Actor?)
    case mended(MendOutcome)
}
