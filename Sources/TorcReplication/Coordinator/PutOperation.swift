// A coordinated write: a put, or a delete that knows its context.
//
//   checking ──condition holds at a quorum──► minting ──minted──► replicating ──W synced copies──► gone (ok)
//      │                                         │  ▲                │
//      └── it does not ──► gone (refused)        │  └─ superseded ───┤ (lww: stamped again, under a new id)
//                                                └─ refused ─► gone  └─ cannot, deadline ─► gone (indeterminate)
//
// This node mints the dot in its own lane and sends the others the stamped object, never the request: what
// every replica merges is one write, however often it arrives. Only synced copies on distinct nodes count,
// this node's own included: its write is in the log when the others are sent it, but not on disk.
//
// Nothing was written before the mint, so until then a write can be refused. After it, not reaching W leaves
// the write where it is: the answer is indeterminate, with the copies that are known.
//
// A `lww` write that lost somewhere to an earlier version with a later stamp is stamped anew, above that one,
// before the client is answered: of two acknowledged writes, one after the other, the second stands. Each
// round has an operation id of its own, so an acknowledgement of an earlier stamp counts for nothing.

import NIOCore
import TorcModel

/// Whom a write is for.
enum Writer: Hashable, Sendable {
    case client(RequestID)
    /// A node that forwarded it, by that node's operation.
    case peer(NodeID, OperationID)
    /// The client went away; the write goes on.
    case nobody
}

/// What the coordinator does next with a write.
enum PutOutcome: Hashable, Sendable {
    case done(WriteAnswer)
    /// Mint again, under a new operation id.
    case restamp
}

struct PutOperation: Sendable {
    private enum Phase: Sendable {
        case checking
        case minting
        case replicating(Replication)
    }

    private struct Replication: Sendable {
        var object: VersionedObject
        var stored = ReplicaSet()
        /// Who may still acknowledge.
        var awaited: ReplicaSet
        /// Only a deliberate fault makes it more than none.
        var repeats = 0

        var copies: Int { stored.count + repeats }

        mutating func store(_ place: Int) {
            stored.insert(place)
            awaited.remove(place)
        }
    }

    private(set) var id: OperationID
    let key: ObjectKey
    let deadline: MonotonicTime
    var writer: Writer
    private let copies: UInt8
    private let mode: ConflictMode
    private let replicas: [NodeID]
    private let own: Int
    private let needed: Int
    private let returnedBody: ReturnedBody
    private let context: CausalContext?
    private let change: MintRequest.Change
    private var condition: WriteCondition?

    private var phase = Phase.checking
    private var restamps = 0
    /// The largest stamp that beat this write.
    private var above = HybridTimestamp.zero

    init(
        id: OperationID, key: ObjectKey, writer: Writer, properties: BucketProperties, replicas: [NodeID], own: Int,
        needed: Int, context: CausalContext?, change: MintRequest.Change, condition: WriteCondition? = nil,
        returnedBody: ReturnedBody = .nothing, deadline: MonotonicTime
    ) {
        self.id = id
        self.key = key
        self.writer = writer
        self.deadline = deadline
        copies = properties.n
        mode = properties.conflictMode
        self.replicas = replicas
        self.own = own
        self.needed = needed
        self.context = context
        self.change = change
        self.condition = condition
        self.returnedBody = returnedBody
    }

    // MARK: Events

    /// A quorum has been read for the condition. Nil: it holds, and the write is being minted.
    mutating func checked(
        _ outcome: GetOutcome, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .checking = phase, let condition else { preconditionFailure("\(id) was not being checked") }
        let object: VersionedObject?
        switch outcome {
        case .absent: object = nil
        case .found(let found, _): object = found
        case .refused(let refusal): return .done(.refused(refusal))
        case .failed(let failure):
            return .done(.refused(.unreachable(needed: failure.needed, reachable: failure.answered)))
        }
        if let object, wasWritten(in: object) {
            // A retry: its first attempt passed the condition, and stands. The replica will find it.
            self.condition = nil
        } else if let refusal = condition.refusal(by: object, at: now.wall) {
            return .done(.refused(refusal))
        } else if Mutation.conditionOnlyAtCoordinator.isActive {
            self.condition = nil
        }
        mint(&effects)
        return nil
    }

    mutating func mint(_ effects: inout [CoordinatorEffect]) {
        phase = .minting
        effects.append(
            .mint(
                MintRequest(
                    operation: id, key: key, copies: copies, mode: mode, context: context, change: change,
                    condition: condition, above: above)))
    }

    /// Stamped here, and in the log: the other replicas are sent it while the disk syncs.
    mutating func minted(
        _ minted: MintedWrite, _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .minting = phase else { return nil }
        let write = ReplicaWrite(
            operation: id, key: key, copies: copies, body: minted.body,
            dot: minted.object.mode == .lww ? minted.dot : nil)
        let awaited = view.reachable(of: replicas)
        for place in awaited where place != own { effects.append(.send(.write(write), to: replicas[place])) }
        var replication = Replication(object: minted.object, awaited: awaited)
        if Mutation.countUnsyncedMint.isActive { replication.store(own) }
        phase = .replicating(replication)
        return settle(now)
    }

    mutating func refused(_ refusal: Refusal) -> PutOutcome? {
        guard case .minting = phase else { return nil }
        // Nothing is there that could be deleted.
        if change == .delete, refusal == .notFound { return .done(.ok(Participation(primaries: 1), nil)) }
        // An earlier stamp of this write is out already.
        return .done(restamps == 0 ? .refused(refusal) : .indeterminate(copies: 0, needed: needed))
    }

    /// An acknowledgement, this node's own included.
    mutating func wrote(_ outcome: WriteOutcome, by node: NodeID, _ limits: LaneLimits, _ now: Now) -> PutOutcome? {
        guard case .replicating(var replication) = phase, let place = replicas.firstIndex(of: node) else { return nil }
        guard replication.awaited.contains(place) else {
            guard Mutation.countReplicaTwice.isActive, outcome == .stored else { return nil }
            replication.repeats += 1
            phase = .replicating(replication)
            return settle(now)
        }
        switch outcome {
        case .stored: replication.store(place)
        case .failed: replication.awaited.remove(place)
        case .superseded(let stamp):
            above = max(above, stamp)
            guard restamps < limits.lwwRestamps else {
                return .done(.indeterminate(copies: replication.copies, needed: needed))
            }
            restamps += 1
            condition = nil
            return .restamp
        }
        phase = .replicating(replication)
        return settle(now)
    }

    mutating func peerDown(_ node: NodeID, _ now: Now) -> PutOutcome? {
        guard case .replicating(var replication) = phase, let place = replicas.firstIndex(of: node) else { return nil }
        replication.awaited.remove(place)
        phase = .replicating(replication)
        return settle(now)
    }

    func timedOut() -> WriteAnswer {
        switch phase {
        case .checking: .refused(.unreachable(needed: needed, reachable: 0))
        case .minting: .indeterminate(copies: 0, needed: needed)
        case .replicating(let replication): .indeterminate(copies: replication.copies, needed: needed)
        }
    }

    /// Goes on under a new id: nothing that answers the old one counts.
    mutating func rename(to newID: OperationID) { id = newID }

    // MARK: Decisions

    private func settle(_ now: Now) -> PutOutcome? {
        guard case .replicating(let replication) = phase else { return nil }
        let stored = replication.copies
        if stored >= needed {
            let object: ClientObject? =
                switch returnedBody {
                case .nothing: nil
                case .head: ClientObject(replication.object, at: now.wall, headOnly: true)
                case .full: ClientObject(replication.object, at: now.wall, headOnly: false)
                }
            return .done(.ok(Participation(primaries: stored), object))
        }
        if stored + replication.awaited.count < needed { return .done(.indeterminate(copies: stored, needed: needed)) }
        return nil
    }

    private func wasWritten(in object: VersionedObject) -> Bool {
        guard case .put(_, _, _, let writeID?) = change else { return false }
        return object.siblings.contains { $0.writeID == writeID }
    }
}
