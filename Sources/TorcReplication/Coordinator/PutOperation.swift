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

    var isPeer: Bool {
        if case .peer = self { true } else { false }
    }
}

/// What the coordinator does next with a write.
enum PutOutcome: Hashable, Sendable {
    case done(WriteAnswer)
    /// Mint again, under a new operation id.
    case restamp
}

/// Where the node that coordinates a write stands in its key's list.
enum OwnPlace: Hashable, Sendable {
    case primary(Int)
    /// Among the fallbacks: no primary can be reached.
    case fallback(Int)
    /// Nowhere, since the ring has changed.
    case outside

    var isFallback: Bool {
        if case .fallback = self { true } else { false }
    }
}

struct PutOperation: Sendable {
    private enum Phase: Sendable {
        case checking
        case minting
        case replicating(Replication)
    }

    private struct Replication: Sendable {
        var object: VersionedObject
        var write: ReplicaWrite
        /// Primaries.
        var stored = ReplicaSet()
        /// Primaries that may still acknowledge.
        var awaited: ReplicaSet
        var standIns: StandIns
        /// This node stamped it on what it keeps for this primary, and not on a record of its own.
        var mintedFor: NodeID?
        /// Only a deliberate fault makes it more than none.
        var repeats = 0

        /// Filled places of a list, with as many distinct nodes behind them.
        func copies(in list: ReplicaSet) -> Int {
            stored.intersection(list).count + repeats + standIns.places(in: list, beside: stored)
        }

        func primaries(in list: ReplicaSet) -> Int {
            Mutation.countFallbackAsPrimary.isActive
                ? copies(in: list) : stored.intersection(list).count + repeats
        }

        func isPossible(_ needed: WriteQuorum, in list: ReplicaSet) -> Bool {
            let primaries = stored.union(awaited).intersection(list)
            if primaries.count + repeats < needed.primaries { return false }
            return primaries.count + repeats >= needed.copies
                || primaries.count + repeats + standIns.places(in: list, beside: primaries, awaited: true)
                    >= needed.copies
        }

        func meets(_ needed: WriteQuorum, in list: ReplicaSet) -> Bool {
            copies(in: list) >= needed.copies && primaries(in: list) >= needed.primaries
        }

        mutating func store(_ place: Int) {
            stored.insert(place)
            awaited.remove(place)
        }
    }

    private(set) var id: OperationID
    let key: ObjectKey
    let deadline: MonotonicTime
    var writer: Writer
    /// As its client, or the node that forwarded it, asked for it.
    let options: QuorumOptions
    let properties: BucketProperties
    private var plan: WritePlan
    private let returnedBody: ReturnedBody
    private let context: CausalContext?
    private let change: MintRequest.Change
    private var condition: WriteCondition?
    /// What has expired for the condition: at the quorum's answer, and again where the write is minted.
    private var instant: WallTime?

    private var phase = Phase.checking
    private var restamps = 0
    /// When the mint was asked for.
    private var readAt = MonotonicTime.zero
    /// The largest stamp that beat this write.
    private var above = HybridTimestamp.zero

    init(
        id: OperationID, key: ObjectKey, writer: Writer, options: QuorumOptions, properties: BucketProperties,
        plan: WritePlan, context: CausalContext?, change: MintRequest.Change, condition: WriteCondition? = nil,
        returnedBody: ReturnedBody = .nothing, deadline: MonotonicTime
    ) {
        self.id = id
        self.key = key
        self.writer = writer
        self.options = options
        self.properties = properties
        self.plan = plan
        self.deadline = deadline
        self.context = context
        self.change = change
        self.condition = condition
        self.returnedBody = returnedBody
    }

    var isDelete: Bool { change == .delete }

    /// What its client asked for, while this node's replica was to mint it and nothing of it has been written anywhere;
    /// nil for what another node has sent here.
    var requestNotMinted: ClientRequest? {
        guard case .minting = phase, restamps == 0, !writer.isPeer else { return nil }
        switch change {
        case .delete:
            var delete = DeleteRequest(key: key, context: context)
            delete.options = options
            return .delete(delete)
        case .put(let metadata, let value, let expiry, let writeID):
            var put = PutRequest(key: key, context: context, metadata: metadata, value: value)
            put.expiry = expiry
            put.writeID = writeID
            put.condition = condition
            put.returnedBody = returnedBody
            put.options = options
            return .put(put)
        }
    }

    private var replicas: [NodeID] { plan.replicas.nodes }
    private var own: OwnPlace { plan.own }

    // MARK: Events

    /// A quorum has been read for the condition. Nil: it holds, and the write is being minted.
    mutating func checked(
        _ outcome: GetOutcome, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .checking = phase, let condition else { preconditionFailure("\(id) was not being checked") }
        instant = now.wall
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
        mint(now, &effects)
        return nil
    }

    mutating func mint(_ now: Now, _ effects: inout [CoordinatorEffect]) {
        phase = .minting
        readAt = now.monotonic
        effects.append(
            .mint(
                MintRequest(
                    operation: id, key: key, copies: properties.n, mode: properties.conflictMode, context: context,
                    change: change, condition: condition, instant: instant, above: above,
                    hint: own.isFallback ? replicas[Self.ownTarget] : nil)))
    }

    /// Where no primary can be reached a fallback mints, on what it keeps for the first.
    private static let ownTarget = 0

    /// Stamped here, and in the log: the other replicas are sent it while the disk syncs.
    mutating func minted(
        _ minted: MintedWrite, _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .minting = phase else { return nil }
        let write = ReplicaWrite(
            operation: id, key: key, copies: properties.n, epoch: plan.epoch, body: minted.body,
            dot: minted.object.mode == .lww ? minted.dot : nil, readAt: readAt)
        var replication = Replication(
            object: minted.object, write: write, awaited: ReplicaSet(), standIns: StandIns(fallbacks: plan.fallbacks))
        switch own {
        case .primary(let place): if Mutation.countUnsyncedMint.isActive { replication.store(place) }
        case .fallback(let index):
            replication.standIns.add(index, for: Self.ownTarget)
            replication.mintedFor = replicas[Self.ownTarget]
        case .outside: break
        }
        spread(&replication, view, &effects)
        phase = .replicating(replication)
        return settle(now)
    }

    /// Sends it to every primary that is not known to hold it, and to stand-ins for those that cannot be reached.
    private func spread(
        _ replication: inout Replication, _ view: NodeView, _ effects: inout [CoordinatorEffect]
    ) {
        replication.awaited = view.reachable(of: replicas).subtracting(replication.stored)
        for place in replication.awaited where replicas[place] != view.node {
            effects.append(.send(.write(replication.write), to: replicas[place]))
        }
        let present = replication.awaited.union(replication.stored)
        guard !plan.fallbacks.isEmpty, present.count < replicas.count || !view.suspected.isEmpty else { return }
        // Who is suspected is sent it, and may answer all the same.
        for place in replicas.indices
        where !present.contains(place) || view.suspected.contains(replicas[place]) && .primary(place) != own {
            standIn(for: place, &replication, view, &effects)
        }
    }

    /// The ring has changed.
    mutating func replan(
        _ next: WritePlan, _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        let former = plan
        plan = next
        guard case .replicating(var replication) = phase else { return nil }
        var stored = ReplicaSet()
        for place in replication.stored {
            if let place = replicas.firstIndex(of: former.replicas.nodes[place]) { stored.insert(place) }
        }
        replication.stored = stored
        replication.standIns = replication.standIns.carried(
            from: former.replicas.nodes, to: replicas, fallbacks: next.fallbacks)
        replication.write.epoch = next.epoch
        spread(&replication, view, &effects)
        // What is kept for another is no record of this node's, which it may have to hold now.
        if replication.mintedFor != nil, case .primary = own { effects.append(.localWrite(replication.write)) }
        phase = .replicating(replication)
        return settle(now)
    }

    /// The next fallback keeps it for a primary, unless one does already.
    private func standIn(
        for target: Int, _ replication: inout Replication, late: Bool = true, _ view: NodeView,
        _ effects: inout [CoordinatorEffect]
    ) {
        guard !replication.stored.contains(target), !replication.standIns.covers(target, late: late),
            let fallback = replication.standIns.next(for: target, reachable: { view.reaches($0) })
        else { return }
        var write = replication.write
        write.hint = replicas[target]
        let node = plan.fallbacks[fallback]
        effects.append(node == view.node ? .localWrite(write) : .send(.write(write), to: node))
    }

    mutating func refused(_ refusal: Refusal) -> PutOutcome? {
        guard case .minting = phase else { return nil }
        // Nothing is there that could be deleted.
        if change == .delete, refusal == .notFound {
            let isFallback = own.isFallback
            return .done(.ok(Participation(primaries: isFallback ? 0 : 1, fallbacks: isFallback ? 1 : 0), nil))
        }
        // An earlier stamp of this write is out already.
        return .done(restamps == 0 ? .refused(refusal) : .indeterminate(copies: 0, needed: plan.needed.copies))
    }

    /// This node's own stamped write is on disk.
    mutating func mintSynced(
        _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .replicating(let replication) = phase else { return nil }
        if let target = replication.mintedFor {
            return hinted(.stored, of: target, by: view.node, view, now, &effects)
        }
        guard case .primary = own else { return nil }
        return wrote(.stored, by: view.node, view, now, &effects)
    }

    /// An acknowledgement, this node's own included.
    mutating func wrote(
        _ outcome: WriteOutcome, by node: NodeID, _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .replicating(var replication) = phase, let place = replicas.firstIndex(of: node) else { return nil }
        guard replication.awaited.contains(place) else {
            guard Mutation.countReplicaTwice.isActive, outcome == .stored else { return nil }
            replication.repeats += 1
            phase = .replicating(replication)
            return settle(now)
        }
        switch outcome {
        case .stored: replication.store(place)
        // It knows the next ring. So will this node soon, and sends it again.
        case .failed(.otherRing): return nil
        case .failed:
            replication.awaited.remove(place)
            standIn(for: place, &replication, view, &effects)
        case .superseded(let stamp): return superseded(by: stamp, replication, view.limits)
        }
        phase = .replicating(replication)
        return settle(now)
    }

    /// What became of it at a stand-in for `target`.
    mutating func hinted(
        _ outcome: WriteOutcome, of target: NodeID, by node: NodeID, _ view: NodeView, _ now: Now,
        _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .replicating(var replication) = phase, let place = replicas.firstIndex(of: target) else {
            return nil
        }
        switch outcome {
        case .stored:
            guard replication.standIns.settle(node, place, .stored) else { return nil }
        case .failed:
            guard replication.standIns.settle(node, place, .failed) else { return nil }
            standIn(for: place, &replication, view, &effects)
        case .superseded(let stamp):
            guard replication.standIns.settle(node, place, .failed) else { return nil }
            return superseded(by: stamp, replication, view.limits)
        }
        phase = .replicating(replication)
        return settle(now)
    }

    private mutating func superseded(
        by stamp: HybridTimestamp, _ replication: Replication, _ limits: LaneLimits
    ) -> PutOutcome {
        above = max(above, stamp)
        guard restamps < limits.lwwRestamps else {
            return .done(indeterminate(replication))
        }
        restamps += 1
        condition = nil
        return .restamp
    }

    mutating func peerDown(
        _ node: NodeID, _ view: NodeView, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> PutOutcome? {
        guard case .replicating(var replication) = phase else { return nil }
        if let place = replicas.firstIndex(of: node) {
            replication.awaited.remove(place)
            standIn(for: place, &replication, view, &effects)
        } else {
            let lost = replication.standIns.fail(node)
            if lost.isEmpty { return nil }
            for place in lost { standIn(for: place, &replication, view, &effects) }
        }
        phase = .replicating(replication)
        return settle(now)
    }

    /// Who has not answered by now is stood in for, and may answer all the same.
    mutating func impatient(_ view: NodeView, _ effects: inout [CoordinatorEffect]) {
        guard case .replicating(var replication) = phase else { return }
        for place in replication.awaited.union(replication.standIns.targets) where .primary(place) != own {
            standIn(for: place, &replication, late: false, view, &effects)
        }
        replication.standIns.growLate()
        phase = .replicating(replication)
    }

    func timedOut() -> WriteAnswer {
        switch phase {
        case .checking: .refused(.unreachable(needed: plan.needed.copies, reachable: 0))
        case .minting: .indeterminate(copies: 0, needed: plan.needed.copies)
        case .replicating(let replication): indeterminate(replication)
        }
    }

    /// Goes on under a new id: nothing that answers the old one counts.
    mutating func rename(to newID: OperationID) { id = newID }

    // MARK: Decisions

    private func settle(_ now: Now) -> PutOutcome? {
        guard case .replicating(let replication) = phase else { return nil }
        let serving = plan.replicas.serving
        var isMet = replication.meets(plan.needed, in: serving)
        var isPossible = isMet || replication.isPossible(plan.needed, in: serving)
        if let other = plan.replicas.other, let needed = plan.neededThere, !Mutation.writeToOneList.isActive {
            let isMetThere = replication.meets(needed, in: other)
            isPossible = isPossible && (isMetThere || replication.isPossible(needed, in: other))
            isMet = isMet && isMetThere
        }
        if isMet {
            let object: ClientObject? =
                switch returnedBody {
                case .nothing: nil
                case .head: ClientObject(replication.object, at: now.wall, headOnly: true)
                case .full: ClientObject(replication.object, at: now.wall, headOnly: false)
                }
            // Reads will go to the other list, or still do.
            let list = [serving, plan.replicas.other ?? serving].min {
                replication.primaries(in: $0) < replication.primaries(in: $1)
            }!
            let primaries = replication.primaries(in: list)
            let fallbacks = replication.copies(in: list) - primaries
            return .done(.ok(Participation(primaries: primaries, fallbacks: fallbacks), object))
        }
        return isPossible ? nil : .done(indeterminate(replication))
    }

    /// With the copies of the list that has fewer.
    private func indeterminate(_ replication: Replication) -> WriteAnswer {
        let copies = replication.copies(in: plan.replicas.serving)
        let there = plan.replicas.other.map { replication.copies(in: $0) } ?? copies
        return .indeterminate(copies: min(copies, there), needed: plan.needed.copies)
    }

    private func wasWritten(in object: VersionedObject) -> Bool {
        guard case .put(_, _, _, let writeID?) = change else { return false }
        return object.siblings.contains { $0.writeID == writeID }
    }
}
