// What a lane hands to its vnodes, and what they ask of it in return.

import NIOCore
package import TorcModel

/// One operation on one replica's record.
package enum VnodeRequest: Hashable, Sendable {
    case read(ReplicaRead)
    case write(ReplicaWrite)
    indirect case mint(MintRequest)
    /// Not answered: what is not dropped is delivered once more.
    case drop(HintDrop)
    /// Removes what this node holds no longer by the ring. Not answered: what is left is found once more.
    case discard(Discard)
    case bury(Burial)
    /// What all other replicas hold: written over a record that cannot be read, merged with one that can.
    case mend(ReplicaWrite)

    package var key: ObjectKey {
        switch self {
        case .read(let read): read.key
        case .write(let write): write.key
        case .mint(let mint): mint.key
        case .drop(let drop): drop.key
        case .discard(let discard): discard.key
        case .bury(let burial): burial.key
        case .mend(let write): write.key
        }
    }

    /// The node whose hint it is about; nil: this replica's own record.
    package var hint: NodeID? {
        switch self {
        case .read(let read): read.hint
        case .write(let write): write.hint
        case .mint(let mint): mint.hint
        case .drop(let drop): drop.target
        case .discard: nil
        case .bury, .mend: nil
        }
    }

    package var copies: UInt8 {
        switch self {
        case .read(let read): read.copies
        case .write(let write): write.copies
        case .mint(let mint): mint.copies
        case .drop, .discard: 1
        case .bury(let burial): burial.copies
        case .mend(let write): write.copies
        }
    }

    /// The bytes that it keeps in memory while it waits.
    var payloadBytes: Int {
        switch self {
        case .read, .drop, .discard: 0
        case .write(let write), .mend(let write): write.body.readableBytes
        case .bury(let burial): burial.version.readableBytes
        case .mint(let mint):
            switch mint.change {
            case .put(let metadata, let value, _, _): metadata.readableBytes + value.readableBytes
            case .delete: 0
            }
        }
    }

    /// Whether it may still be written when the disk is not ample.
    func isTaken(at space: DiskSpace) -> Bool {
        switch self {
        case .read, .drop, .discard: true
        case .mint(let mint): space == .low && mint.change == .delete && mint.hint == nil
        // A hint is a client's write that comes later.
        case .write(let write): space == .low && (write.operation.asker == .repair || write.isDelete)
        case .mend: space == .low
        // A grave is written before a record goes.
        case .bury(let burial):
            switch burial.step {
            case .hold, .expired, .forget: true
            // Who could not prune must not agree: those that could would be made whole again by repair, and so on.
            case .bury, .settle, .expire, .minting, .prune: space == .low
            }
        }
    }

    /// What a failed operation answers; nil: nothing. A mint that fails has written nothing: it is refused.
    func failure(_ failure: ReplicaFailure) -> VnodeReply? {
        switch self {
        case .drop, .discard: nil
        case .bury: .buried(false)
        case .mend: .mended(.failed(failure))
        case .read: .read(.failed(failure))
        case .write: .wrote(.failed(failure))
        case .mint:
            switch failure {
            case .overloaded, .hintsFull, .stale: .refused(.overloaded)
            case .diskFull: .refused(.diskFull)
            case .unreadable: .refused(.unreadable)
            case .notHeld, .otherRing: .refused(.unreachable(needed: 1, reachable: 0))
            case .malformed:
                .refused(
                    .invalidQuorum(name: "n", asked: Int(copies), n: BucketProperties.maximumCopies))
            }
        }
    }
}

package enum VnodeEffect: Hashable, Sendable {
    /// The token's three upper bits are never set: the lane's scans use the numbers above.
    case read(StoreToken, RecordPlace, ObjectKey)
    /// Joins this turn's batch.
    case write(RecordWrite)
    /// A leaf is set right, and no record changes. Joins this turn's batch.
    case correct(LeafChange)
    /// The turn's writes are one batch; only after at least one `.write` or `.correct`.
    case commit(BatchNumber)
    case reply(VnodeReply, ReplyAddress)
    case observed(LaneObservation)
}
