// All replicas of one lane: the only place that changes a record, and so the only one that must be right
// about order and durability.
//
//   submit ─► key known? ── no ──► ask the store, park ──► record arrives ─► run all that is parked
//                 └─ being read ─► park behind                                     │
//                 └─ held in memory ──────────────────────────────────────────► run│
//                                                                                  ▼
//   what changed is written once when the turn ends ─► committed: stamped writes may go to the peers
//                                                   ─► synced: everything else that rests on it may be told
//
// Invariants:
// - An operation on a key runs after all that came before it, on what they left: while a record is being
//   read, everything else on its key waits.
// - Nothing rests on an unsynced record. A reply that speaks of a record leaves after the sync of the last
//   batch that wrote it, even if its own operation wrote nothing. So such a record stays in memory until that
//   sync, where it is known to be unsynced; the store would show it as if it were safe.
// - A record that cannot be read is never written over, except by what all other replicas hold (`Mending`). What runs
//   before that fails, what comes after runs on it.
// - The leaves change with the record, by what this turn's batch adds to what the last one held.
//
// An operation that is alone in its turn costs one lookup of its key and one removal.

import NIOCore
package import TorcModel

/// The replicas that one lane of a node holds.
package struct Vnodes: Sendable {
    private let configuration: LaneConfiguration
    private let policy: MintingPolicy
    private var generator: SeededGenerator

    /// The leaves of every tree of this lane, as the writes up to now make them.
    package private(set) var leaves: LeafTable
    /// For each partition the smallest number of copies with which this node is one of its replicas.
    private var ranks: [UInt8] = []
    /// The same of those of which it is asked to read: what it fetches while copies move does not count yet.
    /// Writes and counted reads by an older ring than of this epoch are refused.
    private var floor: UInt64 = 0
    /// Who leaves hands over what it keeps, and takes no more.
    private var keepsHints = false

    /// What is kept for other nodes, the changes of this turn included.
    package private(set) var hints: [NodeID: HintTotal]

    /// Decides what is written; as the last look at the disk found it.
    package var space = DiskSpace.ample
    /// Hints that were taken in this incarnation.
    private var acceptedHints: UInt64 = 0
    /// The batch of the last hint that was dropped: a crash could bring it back until that is synced.
    private var lastDrop: BatchNumber?
    /// Tombstones that became graves, graves that went.
    package private(set) var reaped: UInt64 = 0
    package private(set) var closedGraves: UInt64 = 0
    /// Objects from which expired versions were removed.
    package private(set) var expired: UInt64 = 0
    /// Objects from whose vectors entries were removed.
    package private(set) var pruned: UInt64 = 0

    /// Damaged partitions.
    var gates = PartitionGates()

    private var keys = KeyTable()
    private var batches = UnsyncedBatches()
    /// The slots of the records that changed in this turn, in the order in which they first did.
    private var changed: [Int] = []
    /// Leaves that this turn sets right.
    private var corrections: [LeafChange] = []
    private var parkedCount = 0
    private var parkedBytes = 0
    private var readCount: UInt64 = 0

    /// Until `ringChanged` brings the first ring it holds no partition. The generator draws actors: seed it
    /// with entropy of its own in each incarnation.
    package init(
        configuration: LaneConfiguration, leaves: LeafTable, hints: [NodeID: HintTotal] = [:],
        generator: SeededGenerator
    ) {
        self.configuration = configuration
        self.leaves = leaves
        self.hints = Mutation.forgetHintsAtStart.isActive ? [:] : hints
        self.generator = generator
        policy = MintingPolicy(
            node: configuration.node, incarnation: configuration.incarnation, limits: configuration.limits,
            seed: configuration.hashSeed)
    }

    /// Nothing is parked, unwritten or unsynced.
    package var isIdle: Bool { keys.count == 0 }

    /// Leaves are set right when the turn ends.
    var isCorrecting: Bool { !corrections.isEmpty }

    /// What was changed is in the store.
    var isCommitted: Bool { changed.isEmpty && corrections.isEmpty && batches.areCommitted }

    package func hintSurvey(_ now: Now) -> HintSurvey {
        HintSurvey(
            incarnation: configuration.incarnation, accepted: acceptedHints,
            holds: !hints.isEmpty || lastDrop.map { !batches.isSynced($0) } ?? false, clock: now.monotonic)
    }

    /// What is pending for a key.
    package enum Status: Hashable, Sendable {
        case reading(parked: Int)
        /// Changed in this turn, not yet written.
        case changed
        case unsynced(BatchNumber)
    }

    /// Nil when nothing is.
    package func status(of key: ObjectKey, hint: NodeID? = nil) -> Status? {
        guard let slot = keys.slot(of: KeyTable.Name(key: key, hint: hint)) else { return nil }
        switch keys[slot].state {
        case .reading(let parked): return .reading(parked: parked.count)
        case .held(let record): return record.isChanged ? .changed : record.batch.map { .unsynced($0) }
        case .running: preconditionFailure("\(key) is running between two events")
        }
    }

    // MARK: Events

    package mutating func ringChanged(_ placement: Placement) {
        precondition(
            placement.ring.size == leaves.layout.ringSize,
            "a ring of \(placement.ring.size.partitions) partitions, leaves for "
                + "\(leaves.layout.ringSize.partitions)")
        ranks = placement.ranks(of: configuration.node)
        floor = placement.floor
        keepsHints = placement.ring.members.contains(configuration.node) && !placement.isFenced(configuration.node)
    }

    package mutating func submit(
        _ request: VnodeRequest, replyTo address: ReplyAddress, now: Now, effects: inout [VnodeEffect]
    ) {
        let key = request.key
        let partition = leaves.layout.ringSize.partition(of: key.position)
        precondition(
            LaneConfiguration.lane(of: partition, laneCount: configuration.laneCount) == configuration.lane,
            "\(key) of \(partition) came to lane \(configuration.lane) of \(configuration.laneCount)")
        let operation = ParkedOperations.Operation(request: request, address: address)
        if let failure = admit(operation, to: partition) {
            return fail(operation, failure, effects: &effects)
        }
        let (slot, isNew) = keys.claim(KeyTable.Name(key: key, hint: request.hint), in: partition)
        if isNew {
            guard park(request) else {
                keys.vacate(slot)
                return fail(operation, .overloaded, effects: &effects)
            }
            let token = nextToken(for: slot)
            keys[slot].state = .reading(ParkedOperations(token: token, first: operation))
            effects.append(.read(token, RecordPlace(partition, hint: request.hint), key))
            return
        }
        switch keys.take(slot) {
        case .held(var record):
            run(operation, on: &record, slot: slot, now: now, effects: &effects)
            keys[slot].state = .held(record)
        case .reading(let parked) where Mutation.mintWhileReading.isActive && request.isMint:
            var record = ReplicaRecord(hint: request.hint)
            run(operation, on: &record, slot: slot, now: now, effects: &effects)
            runAll(parked, on: record, slot: slot, now: now, effects: &effects)
        case .reading(var parked):
            if park(request) {
                parked.append(operation)
                if parked.isDeferred { tellDeferred(operation, effects: &effects) }
            } else {
                fail(operation, .overloaded, effects: &effects)
            }
            keys[slot].state = .reading(parked)
        case .running:
            preconditionFailure("an operation on \(key) met one that is running")
        }
    }

    /// The record must come from the disk: coordinators of this lane need not wait for it before they ask others.
    package mutating func recordReadDeferred(_ token: StoreToken, effects: inout [VnodeEffect]) {
        guard let slot = awaiting(token), case .reading(var parked) = keys.take(slot) else { return }
        parked.isDeferred = true
        for index in 0..<parked.count { tellDeferred(parked[index], effects: &effects) }
        keys[slot].state = .reading(parked)
    }

    package mutating func recordRead(
        _ token: StoreToken, _ result: StoreRead, now: Now, effects: inout [VnodeEffect]
    ) {
        guard let slot = awaiting(token), case .reading(let parked) = keys.take(slot) else { return }
        let record = record(from: result, keys[slot].name)
        // Whoever mends it knows.
        if record.isUnreadable, !parked.isMendAlone { effects.append(.observed(.unreadableRecord(keys[slot].key))) }
        runAll(parked, on: record, slot: slot, now: now, effects: &effects)
    }

    /// Sets a leaf right, by what it is off by: changes of its records commute with that.
    package mutating func correct(_ change: LeafChange) { corrections.append(change) }

    /// Writes what the turn changed, a record at most once for each key.
    package mutating func turnEnded(effects: inout [VnodeEffect]) {
        for slot in changed {
            guard case .held(var record) = keys.take(slot) else {
                preconditionFailure("\(keys[slot].key) changed and is not held")
            }
            let write = record.write(
                in: batches.open.number, key: keys[slot].key, partition: keys[slot].partition, layout: leaves.layout,
                seed: configuration.hashSeed)
            keys[slot].state = .held(record)
            for change in write.leaves { leaves.apply(change) }
            batches.add(record: slot, bytes: write.record?.readableBytes ?? 0)
            effects.append(.write(write))
        }
        changed.removeAll(keepingCapacity: true)
        for correction in corrections {
            leaves.apply(correction)
            batches.addCorrection()
            effects.append(.correct(correction))
        }
        corrections.removeAll()
        if let number = batches.seal() { effects.append(.commit(number)) }
    }

    package mutating func committed(_ batch: BatchNumber, effects: inout [VnodeEffect]) {
        for kept in batches.commit(batch) { effects.append(.reply(kept.reply, kept.address)) }
        if Mutation.trustUnsyncedStore.isActive { forgetRecords(of: batch) }
    }

    package mutating func synced(through batch: BatchNumber, effects: inout [VnodeEffect]) {
        while let synced = batches.popSynced(through: batch) {
            for kept in synced.whenSynced { effects.append(.reply(kept.reply, kept.address)) }
            for slot in synced.slots { forget(slot, writtenIn: synced.number) }
        }
    }

    // MARK: Admission

    private func admit(_ operation: ParkedOperations.Operation, to partition: PartitionID) -> ReplicaFailure? {
        let request = operation.request
        let copies = request.copies
        guard copies > 0, copies <= BucketProperties.maximumCopies else { return .malformed }
        if let hint = request.hint {
            // A hint for oneself would never be delivered.
            guard hint != configuration.node else { return .malformed }
        }
        if let failure = refusal(of: operation, in: partition) { return failure }
        let limits = configuration.limits
        guard batches.waitingCount < limits.unsyncedOperations else { return .overloaded }
        if case .read = request { return nil }
        if space != .ample, !request.isTaken(at: space) { return .diskFull }
        return batches.recordBytes + parkedBytes < limits.unsyncedBytes ? nil : .overloaded
    }

    private func isHeld(_ partition: PartitionID, copies: UInt8) -> Bool {
        partition.index < ranks.count && ranks[partition.index] <= copies
    }

    /// There may have been more of it.
    private func isLost(_ key: ObjectKey, in partition: PartitionID) -> Bool {
        !gates.isOpen && gates.isLost(leaves.layout.leaf(of: key.position), of: partition)
    }

    /// Records of its own, or questions for them.
    func keepsRecords(of partition: PartitionID) -> Bool { keys.hasEntries(of: partition) }

    /// Asked when it comes, and again when it has waited: the ring may have changed.
    private func refusal(of operation: ParkedOperations.Operation, in partition: PartitionID) -> ReplicaFailure? {
        let request = operation.request
        if request.hint != nil { return request.isHintWrite && !keepsHints ? .notHeld : nil }
        if !gates.isOpen {
            if gates.isSuspended(partition) { return .unreadable }
            if isLost(request.key, in: partition) {
                switch request {
                case .read where operation.address.counts: return .unreadable
                case .mint: return .unreadable
                default: break
                }
            }
        }
        if case .discard = request { return nil }
        guard isHeld(partition, copies: request.copies) else { return .notHeld }
        switch request {
        case .read(let read):
            // By an older ring it would not be on the other list, too, before it is answered; nor does this node hold yet
            // what one who takes it for an owner of long ago counts on.
            if read.epoch > 0, read.epoch < floor { return .otherRing }
        case .write(let write), .mend(let write):
            if write.epoch < floor, !Mutation.takeWritesOfFormerRing.isActive { return .otherRing }
        default: break
        }
        return nil
    }

    private mutating func park(_ request: VnodeRequest) -> Bool {
        guard parkedCount < configuration.limits.parkedOperations else { return false }
        parkedCount += 1
        parkedBytes += request.payloadBytes
        return true
    }

    private mutating func unpark(_ request: VnodeRequest) {
        parkedCount -= 1
        parkedBytes -= request.payloadBytes
    }

    private func fail(
        _ operation: ParkedOperations.Operation, _ failure: ReplicaFailure, effects: inout [VnodeEffect]
    ) {
        if failure == .overloaded { effects.append(.observed(.overloaded)) }
        if let reply = operation.request.failure(failure) { effects.append(.reply(reply, operation.address)) }
    }

    private func tellDeferred(_ operation: ParkedOperations.Operation, effects: inout [VnodeEffect]) {
        guard case .coordinator = operation.address else { return }
        if case .write = operation.request { return }
        effects.append(.reply(.deferred, operation.address))
    }

    // MARK: Reads of the store

    /// The slot is in the lower bits: the answer finds its key by it.
    private static let slotBits = 24

    private mutating func nextToken(for slot: Int) -> StoreToken {
        precondition(slot < 1 << Self.slotBits, "\(slot) keys are pending")
        readCount = (readCount + 1) & (1 << (61 - UInt64(Self.slotBits)) - 1)
        return StoreToken(rawValue: readCount << UInt64(Self.slotBits) | UInt64(slot))
    }

    private func awaiting(_ token: StoreToken) -> Int? {
        let slot = Int(token.rawValue & (1 << UInt64(Self.slotBits) - 1))
        if keys.contains(slot: slot), case .reading(let parked) = keys[slot].state, parked.token == token {
            return slot
        }
        precondition(Mutation.mintWhileReading.isActive, "no key awaits the read \(token.rawValue)")
        return nil
    }

    private func record(from result: StoreRead, _ name: KeyTable.Name) -> ReplicaRecord {
        switch result {
        case .absent: return ReplicaRecord(hint: name.hint)
        case .found(let bytes):
            if let record = try? ReplicaRecord(decoding: bytes, for: name.key, hint: name.hint) { return record }
        case .failed: break
        }
        return Mutation.overwriteUnreadable.isActive ? ReplicaRecord(hint: name.hint) : .unreadable(hint: name.hint)
    }

    // MARK: Running

    /// Runs what waited for a record that has come, and keeps the record only when it changed.
    private mutating func runAll(
        _ parked: ParkedOperations, on found: consuming ReplicaRecord, slot: Int, now: Now,
        effects: inout [VnodeEffect]
    ) {
        var record = found
        let partition = keys[slot].partition
        for index in 0..<parked.count {
            let operation = parked[index]
            unpark(operation.request)
            if let failure = refusal(of: operation, in: partition) {
                fail(operation, failure, effects: &effects)
            } else {
                run(operation, on: &record, slot: slot, now: now, effects: &effects)
            }
        }
        if record.isChanged { keys[slot].state = .held(record) } else { keys.vacate(slot) }
    }

    private mutating func run(
        _ operation: ParkedOperations.Operation, on record: inout ReplicaRecord, slot: Int, now: Now,
        effects: inout [VnodeEffect]
    ) {
        let address = operation.address
        if case .mend(let write) = operation.request {
            return mend(write, on: &record, slot: slot, replyTo: address, now: now, effects: &effects)
        }
        if record.isUnreadable { return fail(operation, .unreadable, effects: &effects) }
        let wasChanged = record.isChanged
        defer { if record.isChanged, !wasChanged { changed.append(slot) } }
        switch operation.request {
        case .read(let read):
            var outcome = record.read(read, seed: configuration.hashSeed)
            // Another's repair has seen that it is here.
            if outcome == .absent, read.hint == nil, address.isPeersRepair, isLost(read.key, in: keys[slot].partition) {
                outcome = .failed(.unreadable)
            }
            if Mutation.readUnsynced.isActive {
                effects.append(.reply(.read(outcome), address))
            } else {
                reply(.read(outcome), to: address, whenSynced: record, effects: &effects)
            }
        case .write(let write):
            let before = write.hint == nil ? nil : record
            record.beginHint(at: now.wall)
            var (outcome, retired) = record.merge(
                write, limits: configuration.limits, seed: configuration.hashSeed, isStale: isStale(write, now),
                overwrites: Mutation.repairOverwrites.isActive && address.isRepair)
            if let before, !keep(&record, write.key, effects: &effects) {
                record = before
                if !Mutation.pretendWhenHintsFull.isActive { outcome = .failed(.hintsFull) }
            }
            observe(retired, of: write.key, effects: &effects)
            if write.hint == nil, write.dot != nil, address.counts, isLost(write.key, in: keys[slot].partition),
                (try? record.decoded())?.mode == .lww
            {
                // It is merged. Whether it would have won cannot be said.
                return effects.append(.reply(.wrote(.failed(.unreadable)), address))
            }
            switch outcome {
            case .failed(let failure):
                if failure == .unreadable { effects.append(.observed(.unreadableRecord(write.key))) }
                if failure == .stale { effects.append(.observed(.staleWrite(write.key))) }
                effects.append(.reply(.wrote(outcome), address))
            case .stored, .superseded:
                let changedNothing = wasChanged == record.isChanged
                if Mutation.acknowledgeBeforeSync.isActive
                    || Mutation.acknowledgeUnsyncedHint.isActive && write.hint != nil
                    || Mutation.acknowledgeUnchangedMergeUnsynced.isActive && changedNothing
                {
                    effects.append(.reply(.wrote(outcome), address))
                } else {
                    reply(.wrote(outcome), to: address, whenSynced: record, effects: &effects)
                }
            }
        case .mend: preconditionFailure("a mend is run elsewhere")
        case .discard(let discard):
            guard let copies = record.header?.copies, !isHeld(keys[slot].partition, copies: copies) else { return }
            record.discard(discard.key, seed: configuration.hashSeed)
        case .drop(let drop):
            // A later batch may never be synced: then the hint is delivered once more.
            if record.drop(drop, seed: configuration.hashSeed) {
                _ = keep(&record, drop.key, effects: &effects)
                lastDrop = batches.open.number
            }
        case .bury(let burial):
            if burial.step == .minting {
                let answer = record.minting(burial, seed: configuration.hashSeed)
                if case .holds(let actor) = answer {
                    return reply(.mints(actor), to: address, whenSynced: record, effects: &effects)
                }
                return reply(.buried(false), to: address, whenSynced: record, effects: &effects)
            }
            let before = record.isGrave
            let isDone = record.take(burial, wall: now.wall, seed: configuration.hashSeed)
            if isDone, burial.step == .expire { expired += 1 }
            if isDone, burial.step == .prune { pruned += 1 }
            if record.isGrave, !before { reaped += 1 }
            if before, !record.isGrave, burial.step == .forget { closedGraves += 1 }
            reply(.buried(isDone), to: address, whenSynced: record, effects: &effects)
        case .mint(let mint):
            let before = mint.hint == nil ? nil : record
            record.beginHint(at: now.wall)
            var (outcome, retired) = record.mint(mint, policy: policy, wall: now.wall, using: &generator)
            if let before, !keep(&record, mint.key, effects: &effects) {
                record = before
                outcome = .refused(.overloaded, bySize: true)
            }
            observe(retired, of: mint.key, effects: &effects)
            switch outcome {
            case .refused(.unreadable, _):
                effects.append(.observed(.unreadableRecord(mint.key)))
                effects.append(.reply(.refused(.unreadable), address))
            case .refused(let refusal, bySize: true):
                effects.append(.reply(.refused(refusal), address))
            case .refused(let refusal, bySize: false):
                // To say what an unsynced record holds is to rest on it.
                reply(.refused(refusal), to: address, whenSynced: record, effects: &effects)
            case .minted(let write):
                reply(.minted(write), to: address, whenCommitted: record, effects: &effects)
                if Mutation.acknowledgeBeforeSync.isActive {
                    reply(.mintSynced, to: address, whenCommitted: record, effects: &effects)
                } else {
                    reply(.mintSynced, to: address, whenSynced: record, effects: &effects)
                }
            }
        }
    }

    private mutating func mend(
        _ write: ReplicaWrite, on record: inout ReplicaRecord, slot: Int, replyTo address: ReplyAddress, now: Now,
        effects: inout [VnodeEffect]
    ) {
        let wasChanged = record.isChanged
        defer { if record.isChanged, !wasChanged { changed.append(slot) } }
        var outcome = MendOutcome.merged
        if isStale(write, now) {
            outcome = .failed(.stale)
        } else if record.isUnreadable || (try? record.decoded()) == nil && record.header != nil {
            outcome = record.replace(with: write, seed: configuration.hashSeed) ? .replaced : .failed(.malformed)
        } else {
            // Somebody could read it again, or has mended it.
            let (merged, retired) = record.merge(write, limits: configuration.limits, seed: configuration.hashSeed)
            observe(retired, of: write.key, effects: &effects)
            if case .failed(let failure) = merged { outcome = .failed(failure) }
        }
        if case .failed = outcome {
            effects.append(.reply(.mended(outcome), address))
        } else {
            reply(.mended(outcome), to: address, whenSynced: record, effects: &effects)
        }
    }

    /// Counts what a hint has become. False: it would be more than may be kept for its node.
    private mutating func keep(
        _ record: inout ReplicaRecord, _ key: ObjectKey, effects: inout [VnodeEffect]
    ) -> Bool {
        guard let target = record.hint?.target else { return true }
        let bytes = record.hintBytes(of: key)
        let growth = bytes - record.countedBytes
        var total = hints[target] ?? HintTotal()
        guard growth <= 0 || total.bytes + growth <= configuration.limits.hintBytes else {
            effects.append(.observed(.hintsFull(target)))
            return false
        }
        if bytes > 0, record.isChanged {
            acceptedHints += 1
            effects.append(.observed(.hintKept(target)))
        }
        total.bytes += growth
        if record.countedBytes == 0, bytes > 0 { total.records += 1 }
        if record.countedBytes > 0, bytes == 0 { total.records -= 1 }
        record.countedBytes = bytes
        hints[target] = total.records == 0 ? nil : total
        return true
    }

    /// Its sender may have read it longer ago than reaping waits for.
    private func isStale(_ write: ReplicaWrite, _ now: Now) -> Bool {
        let limits = configuration.limits.reaping
        guard limits.judgesAge, !Mutation.mergeStaleWrites.isActive else { return false }
        guard let token = write.token, token.incarnation == configuration.incarnation else { return true }
        return token.time.advanced(by: limits.maximumAge) <= now.monotonic
    }

    private func observe(_ retired: Actor?, of key: ObjectKey, effects: inout [VnodeEffect]) {
        if let retired { effects.append(.observed(.actorRetired(key, retired))) }
    }

    // MARK: What replies rest on

    /// The batch that holds, or will hold, the record as it is.
    private func batch(of record: ReplicaRecord) -> BatchNumber? {
        record.isChanged ? batches.open.number : record.batch
    }

    private mutating func reply(
        _ reply: VnodeReply, to address: ReplyAddress, whenSynced record: ReplicaRecord, effects: inout [VnodeEffect]
    ) {
        if let batch = batch(of: record), !batches.isSynced(batch) {
            batches.keep(AddressedReply(reply: reply, address: address), untilSyncOf: batch)
        } else {
            effects.append(.reply(reply, address))
        }
    }

    private mutating func reply(
        _ reply: VnodeReply, to address: ReplyAddress, whenCommitted record: ReplicaRecord,
        effects: inout [VnodeEffect]
    ) {
        if let batch = batch(of: record), !batches.isCommitted(batch), !Mutation.sendBeforeCommit.isActive {
            batches.keep(AddressedReply(reply: reply, address: address), untilCommitOf: batch)
        } else {
            effects.append(.reply(reply, address))
        }
    }

    /// Lets go of a record unless a later batch wrote it, or this turn changed it, since.
    private mutating func forget(_ slot: Int, writtenIn batch: BatchNumber) {
        guard keys.contains(slot: slot), case .held(let record) = keys[slot].state, !record.isChanged,
            record.batch == batch
        else { return }
        keys.vacate(slot)
    }

    private mutating func forgetRecords(of batch: BatchNumber) {
        for slot in batches.slots(of: batch) { forget(slot, writtenIn: batch) }
    }
}

extension VnodeRequest {
    fileprivate var isHintWrite: Bool {
        switch self {
        case .write, .mint: hint != nil
        default: false
        }
    }

    fileprivate var isMint: Bool {
        if case .mint = self { true } else { false }
    }
}
