// What a lane hands to its vnodes, and what they ask of it in return.

import NIOCore
package import TorcModel

/// One operation on one replica's record.
package enum VnodeRequest: Hashable, Sendable {
    case read(ReplicaRead)
    case write(ReplicaWrite)
    indirect case mint(MintRequest)

    package var key: ObjectKey {
        switch self {
        case .read(let read): read.key
        case .write(let write): write.key
        case .mint(let mint): mint.key
        }
    }

    package var copies: UInt8 {
        switch self {
        case .read(let read): read.copies
        case .write(let write): write.copies
        case .mint(let mint): mint.copies
        }
    }

    /// The bytes that it keeps in memory while it waits.
    var payloadBytes: Int {
        switch self {
        case .read: 0
        case .write(let write): write.body.readableBytes
        case .mint(let mint):
            switch mint.change {
            case .put(let metadata, let value, _, _): metadata.readableBytes + value.readableBytes
            case .delete: 0
            }
        }
    }

    /// What a failed operation answers. A mint that fails has written nothing: it is refused.
    func failure(_ failure: ReplicaFailure) -> VnodeReply {
        switch self {
        case .read: .read(.failed(failure))
        case .write: .wrote(.failed(failure))
        case .mint:
            switch failure {
            case .overloaded: .refused(.overloaded)
            case .unreadable: .refused(.unreadable)
            case .notHeld: .refused(.unreachable(needed: 1, reachable: 0))
            case .malformed:
                .refused(
                    .invalidQuorum(name: "n", asked: Int(copies), n: BucketProperties.maximumCopies))
            }
        }
    }
}

package enum VnodeEffect: Hashable, Sendable {
    /// The token's upper bit is never set: the lane's scans may use the numbers above.
    case read(StoreToken, PartitionID, ObjectKey)
    /// Joins this turn's batch.
    case write(RecordWrite)
    /// The turn's writes are one batch; only after at least one `.write`.
    case commit(BatchNumber)
    case reply(VnodeReply, ReplyAddress)
    case observed(LaneObservation)
}
