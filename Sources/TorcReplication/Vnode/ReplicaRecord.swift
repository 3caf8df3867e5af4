// One replica's record of one key, in memory: read, merged into and minted on. It knows nothing of queues,
// batches and replies; the vnodes decide when what it answers may be heard.
//
// The body stays encoded until an operation has to look inside: a read needs its bytes and their hash alone.
// A merge whose result is what arrived keeps the bytes that arrived.

import NIOCore
import TorcModel

/// A record as the last operation left it, and what the leaves count of it.
struct ReplicaRecord {
    /// What the key's leaf holds for this record now.
    private enum Contribution {
        case nothing
        /// The hash of the body as the store had it: computed only when something changes.
        case asRead
        case known(copies: UInt8, ContentHash)
        /// Something that cannot be told any more.
        case unknown
    }

    /// Nil: there is no record.
    private(set) var header: LocalHeader?
    /// The object's canonical bytes; nil when they were not needed since it changed.
    private var body: ByteBuffer?
    /// Nil when nothing had to look inside.
    private var object: VersionedObject?
    private var hash: ContentHash?
    private var contribution: Contribution

    /// It differs from what was written last.
    private(set) var isChanged = false
    /// The batch that wrote it last; nil: it is as the store had it, synced.
    private(set) var batch: BatchNumber?

    /// What is here was reaped: for readers it is nothing, and it is merged with like the tombstone that it was.
    private(set) var isGrave = false

    /// There is one, and what it holds cannot be had. Everything fails until it is replaced.
    private(set) var isUnreadable = false

    /// For whom it is kept; nil: it is this replica's own.
    private(set) var hint: HintNote?
    /// What it counts among the bytes that are kept for that node.
    var countedBytes = 0

    /// A key that has no record, or of which nothing is kept for a node.
    init(hint target: NodeID? = nil) {
        contribution = .nothing
        hint = target.map { HintNote(target: $0, since: WallTime(microseconds: 0)) }
    }

    static func unreadable(hint target: NodeID? = nil) -> ReplicaRecord {
        var record = ReplicaRecord(hint: target)
        record.contribution = .unknown
        record.isUnreadable = true
        return record
    }

    /// Checks checksum and header, not the object.
    init(decoding bytes: ByteBuffer, for key: ObjectKey, hint target: NodeID? = nil) throws(MalformedBytes) {
        let record = try Record(decoding: bytes, for: key)
        guard record.hint?.target == target else { throw MalformedBytes(.notCanonical, "record of another place") }
        header = record.header
        hint = record.hint
        body = record.body
        isGrave = record.isGrave
        // A hint counts in no leaf, nor does a grave.
        contribution = target == nil && !isGrave ? .asRead : .nothing
        if target != nil { countedBytes = HintTotal.bytes(of: key, record: bytes.readableBytes) }
    }

    /// What the store will hold of a hint.
    mutating func hintBytes(of key: ObjectKey) -> Int {
        guard let header, let body = canonicalBody() else { return 0 }
        return HintTotal.bytes(of: key, record: Record(header: header, hint: hint, body: body).encodedBytes)
    }

    /// A hint that holds nothing begins anew.
    mutating func beginHint(at wall: WallTime) {
        if header == nil { hint?.since = wall }
    }

    /// Of a hint: there is none any more. False: it is not the one that was delivered.
    mutating func drop(_ drop: HintDrop, seed: HashSeed) -> Bool {
        guard header != nil,
            contentHash(of: drop.key, seed: seed) == drop.delivered || Mutation.dropChangedHint.isActive
        else { return false }
        header = nil
        body = nil
        object = nil
        hash = nil
        isChanged = true
        return true
    }

    /// There is none any more, and its leaf counts it no longer.
    mutating func discard(_ key: ObjectKey, seed: HashSeed) {
        guard let header else { return }
        if case .asRead = contribution {
            contribution = .known(copies: header.copies, contentHash(of: key, seed: seed))
        }
        isGrave = false
        self.header = nil
        body = nil
        object = nil
        hash = nil
        isChanged = true
    }

    /// The object, decoded; nil when there is no record.
    mutating func decoded() throws(MalformedBytes) -> VersionedObject? {
        if let object { return object }
        guard let body else { return nil }
        let decoded = try VersionedObject(decoding: body)
        object = decoded
        return decoded
    }

    /// The object's canonical bytes; nil when there is no record.
    mutating func canonicalBody() -> ByteBuffer? {
        if let body { return body }
        guard let object else { return nil }
        let encoded = object.encoded
        body = encoded
        return encoded
    }

    private mutating func contentHash(of key: ObjectKey, seed: HashSeed) -> ContentHash {
        if let hash { return hash }
        guard let body = canonicalBody() else { return .absent }
        let computed = seed.contentHash(key: key, body: body)
        hash = computed
        return computed
    }

    /// Replaces the object; `body` is its encoding, if that is at hand.
    private mutating func change(
        to next: VersionedObject, body nextBody: ByteBuffer?, header nextHeader: LocalHeader, key: ObjectKey,
        seed: HashSeed
    ) {
        settleContribution(of: key, seed: seed)
        header = nextHeader
        object = next
        body = nextBody
        hash = nil
        isGrave = false
        isChanged = true
    }

    private mutating func settleContribution(of key: ObjectKey, seed: HashSeed) {
        if case .asRead = contribution, let header {
            contribution = .known(copies: header.copies, contentHash(of: key, seed: seed))
        }
    }

    /// Takes on what an operation made of it, if that is anything new.
    mutating func adopt(
        _ next: VersionedObject, body nextBody: ByteBuffer?, header nextHeader: LocalHeader, key: ObjectKey,
        seed: HashSeed
    ) {
        let isSame = next == object
        guard !isSame || nextHeader != header else { return }
        change(to: next, body: isSame ? body : nextBody, header: nextHeader, key: key, seed: seed)
    }

    // MARK: Operations

    mutating func read(_ read: ReplicaRead, seed: HashSeed) -> ReadOutcome {
        guard !isGrave, let body = canonicalBody() else { return .absent }
        switch read.want {
        case .full:
            return .object(body)
        case .unless(let known):
            let hash = contentHash(of: read.key, seed: seed)
            return hash == known ? .hash(hash) : .object(body)
        case .hash:
            return .hash(contentHash(of: read.key, seed: seed))
        }
    }

    /// Joins another replica's state. Never refused for its size, or repair would wedge.
    /// `isStale`: its sender may have read it before what it lacks was reaped, so it may change nothing.
    /// `overwrites`: a deliberate fault.
    mutating func merge(
        _ write: ReplicaWrite, limits: LaneLimits, seed: HashSeed, isStale: Bool = false, overwrites: Bool = false
    ) -> (outcome: WriteOutcome, retired: Actor?) {
        if let header, header.copies == write.copies, write.dot == nil, body == write.body {
            // The same bytes again: repeats and repairs of what is here already.
            return (.stored, nil)
        }
        let incoming: VersionedObject
        do { incoming = try VersionedObject(decoding: write.body) } catch { return (.failed(.malformed), nil) }
        let current: VersionedObject?
        do { current = try decoded() } catch { return (.failed(.unreadable), nil) }

        let merged = overwrites ? incoming : current?.merged(with: incoming) ?? incoming
        if isStale, merged != current { return (.failed(.stale), nil) }
        if Mutation.capSiblingsOnMerge.isActive, merged.siblings.count > limits.siblings {
            return (.failed(.overloaded), nil)
        }
        var next = header ?? LocalHeader(copies: write.copies)
        next.copies = write.copies
        let retired = next.retireActor(seenIn: merged.clock, VersionVector())
        adopt(merged, body: merged == incoming ? write.body : nil, header: next, key: write.key, seed: seed)
        return (Self.fate(of: write.dot, in: merged), retired)
    }

    /// Whether an `lww` write stands. One that is beaten must be stamped again, whatever beat it.
    private static func fate(of dot: Dot?, in object: VersionedObject) -> WriteOutcome {
        guard let dot, object.mode == .lww, let winner = object.siblings.first, winner.dot != dot else {
            return .stored
        }
        return .superseded(by: winner.timestamp)
    }

    /// Writes what all other replicas hold over what cannot be read. Its leaf goes on counting what was there, mostly
    /// the same: a look at the leaf follows.
    ///
    /// The header begins anew. Its actor may have minted dots that nobody else has seen, and how far it came is not known
    /// any more; so it mints no more. The next mint draws an actor of which no counter was ever used.
    mutating func replace(with write: ReplicaWrite, seed: HashSeed) -> Bool {
        guard let incoming = try? VersionedObject(decoding: write.body) else { return false }
        isUnreadable = false
        change(
            to: incoming, body: write.body, header: LocalHeader(copies: write.copies), key: write.key, seed: seed)
        return true
    }

    // MARK: Reaping

    /// True: it is as the step wants it. `wall`: this node's own clock, the only one that it judges an expiry by.
    mutating func take(_ burial: Burial, wall: WallTime, seed: HashSeed) -> Bool {
        if burial.step.isExpiry { return expire(burial, wall: wall, seed: seed) }
        if burial.step.isPruning { return prune(burial, seed: seed) }
        guard let tombstone = try? VersionedObject(decoding: burial.version), tombstone.isTombstone else {
            return false
        }
        let isSame = header?.copies == burial.copies && canonicalBody() == burial.version
        switch burial.step {
        case .hold: return isSame
        case .bury, .settle:
            guard header != nil else {
                guard burial.step == .bury else { return true }
                // Nothing is here, and the tombstone shall not come here either.
                isGrave = true
                header = LocalHeader(copies: burial.copies)
                body = burial.version
                object = tombstone
                hash = nil
                isChanged = true
                return true
            }
            if isSame || Mutation.reapChangedRecord.isActive {
                guard !isGrave else { return true }
                settleContribution(of: burial.key, seed: seed)
                isGrave = true
                header!.minting = nil
                isChanged = true
                return true
            }
            // What has come since stays. It has seen the tombstone, or shall now.
            guard let current = try? decoded() else { return false }
            let merged = current.merged(with: tombstone)
            adopt(merged, body: nil, header: header!, key: burial.key, seed: seed)
            return merged == current
        case .forget:
            guard isGrave, isSame else { return false }
            header = nil
            body = nil
            object = nil
            hash = nil
            isGrave = false
            isChanged = true
            return true
        case .expired, .expire, .minting, .prune: preconditionFailure("\(burial.step) is taken elsewhere")
        }
    }

    private mutating func expire(_ burial: Burial, wall: WallTime, seed: HashSeed) -> Bool {
        guard let note = try? ExpiryNote(decoding: burial.version), !isGrave, let header,
            header.copies == burial.copies, contentHash(of: burial.key, seed: seed) == note.object,
            note.through <= wall || Mutation.expireByAskersClock.isActive, let object = try? decoded()
        else { return false }
        if burial.step == .expire {
            adopt(object.removingExpired(through: note.through), body: nil, header: header, key: burial.key, seed: seed)
        }
        return true
    }

    /// What it says to those who want to prune it.
    mutating func minting(_ burial: Burial, seed: HashSeed) -> MintingAnswer {
        guard let note = try? PruneNote(decoding: burial.version), !isGrave, let header,
            header.copies == burial.copies, contentHash(of: burial.key, seed: seed) == note.object
        else { return .differs }
        return .holds(header.minting?.actor)
    }

    /// It held the object once, so what it holds now has seen as much. It may have been written since: what counts is that
    /// it has seen no more of these actors than was proved, and holds no version of theirs.
    ///
    /// An actor that mints here stays, whoever says otherwise: its entry is what tells a replica that it has forgotten
    /// a write (`retireActor`), and would be back with the next one.
    private mutating func prune(_ burial: Burial, seed: HashSeed) -> Bool {
        guard let note = try? PruneNote(decoding: burial.version), !isGrave, let header,
            header.copies == burial.copies, let object = try? decoded(), !object.siblings.isEmpty
        else { return false }
        let dead = Set(object.deadActors)
        guard note.entries.allSatisfy({ dead.contains($0.actor) && object.clock[$0.actor] == $0.counter }) else {
            return false
        }
        let actors = note.entries.map(\.actor)
        if let minting = header.minting, actors.contains(minting.actor), !Mutation.pruneMintingActor.isActive {
            return false
        }
        adopt(object.pruned(of: actors), body: nil, header: header, key: burial.key, seed: seed)
        return true
    }

    // MARK: Writing

    /// The record and its leaf's change, as one write of `batch`.
    mutating func write(
        in batch: BatchNumber, key: ObjectKey, partition: PartitionID, layout: LeafLayout, seed: HashSeed
    ) -> RecordWrite {
        if let hint {
            isChanged = false
            self.batch = batch
            let body = canonicalBody()
            let record = header.map { Record(header: $0, hint: hint, body: body!).encoded(for: key) }
            return RecordWrite(partition: partition, hint: hint.target, key: key, record: record, leaves: [])
        }
        let body = canonicalBody()
        let next: (copies: UInt8, hash: ContentHash)? =
            isGrave ? nil : header.map { ($0.copies, contentHash(of: key, seed: seed)) }
        let leaf = layout.leaf(of: key.position)
        func change(_ copies: UInt8, _ delta: UInt64) -> LeafChange {
            LeafChange(tree: TreeID(partition: partition, copies: copies), leaf: leaf, delta: delta)
        }
        var leaves: [LeafChange]
        switch (contribution, next) {
        case (.known(let oldCopies, let oldHash), let next?) where oldCopies == next.copies:
            leaves = oldHash == next.hash ? [] : [change(oldCopies, next.hash.rawValue &- oldHash.rawValue)]
        case (.known(let oldCopies, let oldHash), let next):
            leaves = [change(oldCopies, 0 &- oldHash.rawValue)]
            if let next { leaves.append(change(next.copies, next.hash.rawValue)) }
        case (.nothing, let next):
            leaves = next.map { [change($0.copies, $0.hash.rawValue)] } ?? []
        case (.unknown, _):
            leaves = []
        case (.asRead, _):
            preconditionFailure("\(key) is to be written and was never changed")
        }
        if Mutation.skipLeafUpdate.isActive { leaves = [] }
        contribution = next.map { .known(copies: $0.copies, $0.hash) } ?? .nothing
        isChanged = false
        self.batch = batch
        let record = header.map { Record(header: $0, isGrave: isGrave, body: body!).encoded(for: key) }
        return RecordWrite(partition: partition, key: key, record: record, leaves: leaves)
    }
}

extension LocalHeader {
    /// Somebody has seen more of this replica's actor than the replica itself remembers: it lost a write. The
    /// actor is given up, because its next counters may have been used already.
    mutating func retireActor(seenIn clock: VersionVector, _ context: VersionVector) -> Actor? {
        guard let minting, !Mutation.ignoreAmnesia.isActive,
            max(clock[minting.actor], context[minting.actor]) > minting.counter
        else { return nil }
        self.minting = nil
        return minting.actor
    }
}
