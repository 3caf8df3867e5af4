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

    /// A key that has no record.
    init() { contribution = .nothing }

    /// Checks checksum and header, not the object.
    init(decoding bytes: ByteBuffer, for key: ObjectKey) throws(MalformedBytes) {
        let record = try Record(decoding: bytes, for: key)
        header = record.header
        body = record.body
        contribution = .asRead
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
    private mutating func canonicalBody() -> ByteBuffer? {
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

    private mutating func change(
        to next: VersionedObject, body nextBody: ByteBuffer?, header nextHeader: LocalHeader, key: ObjectKey,
        seed: HashSeed
    ) {
        if case .asRead = contribution, let header {
            contribution = .known(copies: header.copies, contentHash(of: key, seed: seed))
        }
        header = nextHeader
        object = next
        body = nextBody
        hash = nil
        isChanged = true
    }

    // MARK: Operations

    mutating func read(_ read: ReplicaRead, seed: HashSeed) -> ReadOutcome {
        guard let body = canonicalBody() else { return .absent }
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
    mutating func merge(
        _ write: ReplicaWrite, limits: LaneLimits, seed: HashSeed
    ) -> (outcome: WriteOutcome, retired: Actor?) {
        if let header, header.copies == write.copies, write.dot == nil, body == write.body {
            // The same bytes again: repeats and repairs of what is here already.
            return (.stored, nil)
        }
        let incoming: VersionedObject
        do { incoming = try VersionedObject(decoding: write.body) } catch { return (.failed(.malformed), nil) }
        let current: VersionedObject?
        do { current = try decoded() } catch { return (.failed(.unreadable), nil) }

        let merged = current?.merged(with: incoming) ?? incoming
        if Mutation.capSiblingsOnMerge.isActive, merged.siblings.count > limits.siblings {
            return (.failed(.overloaded), nil)
        }
        var next = header ?? LocalHeader(copies: write.copies)
        next.copies = write.copies
        let retired = next.retireActor(seenIn: merged.clock, VersionVector())
        if merged != current || next != header {
            change(to: merged, body: merged == incoming ? write.body : nil, header: next, key: write.key, seed: seed)
        }
        return (Self.fate(of: write.dot, in: merged), retired)
    }

    /// Whether an `lww` write stands. One that is beaten must be stamped again, whatever beat it.
    private static func fate(of dot: Dot?, in object: VersionedObject) -> WriteOutcome {
        guard let dot, object.mode == .lww, let winner = object.siblings.first, winner.dot != dot else {
            return .stored
        }
        return .superseded(by: winner.timestamp)
    }

    // MARK: Writing

    /// The record and its leaf's change, as one write of `batch`.
    mutating func write(
        in batch: BatchNumber, key: ObjectKey, partition: PartitionID, layout: LeafLayout, seed: HashSeed
    ) -> RecordWrite {
        guard let header, let body = canonicalBody() else {
            preconditionFailure("\(key) is to be written and has no record")
        }
        let newHash = contentHash(of: key, seed: seed)
        let leaf = layout.leaf(of: key.position)
        func change(_ copies: UInt8, _ delta: UInt64) -> LeafChange {
            LeafChange(tree: TreeID(partition: partition, copies: copies), leaf: leaf, delta: delta)
        }
        var leaves: [LeafChange]
        switch contribution {
        case .known(header.copies, let oldHash) where oldHash == newHash:
            leaves = []
        case .known(header.copies, let oldHash):
            leaves = [change(header.copies, newHash.rawValue &- oldHash.rawValue)]
        case .known(let oldCopies, let oldHash):
            leaves = [change(oldCopies, 0 &- oldHash.rawValue), change(header.copies, newHash.rawValue)]
        case .nothing:
            leaves = [change(header.copies, newHash.rawValue)]
        case .asRead:
            preconditionFailure("\(key) is to be written and was never changed")
        }
        if Mutation.skipLeafUpdate.isActive { leaves = [] }
        contribution = .known(copies: header.copies, newHash)
        isChanged = false
        self.batch = batch
        return RecordWrite(
            partition: partition, key: key, record: Record(header: header, body: body).encoded(for: key),
            leaves: leaves)
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

// MARK: - Minting

/// What is common to all mints of a lane.
struct MintingPolicy {
    let node: NodeID
    let incarnation: Incarnation
    let limits: LaneLimits
    let seed: HashSeed
}

enum MintOutcome {
    case minted(MintedWrite)
    /// `bySize`: for the request's own size, or the sum with what stands. Any other refusal says what the
    /// record holds, and so waits for its sync.
    case refused(Refusal, bySize: Bool)
}

extension ReplicaRecord {
    /// Coordinates a write: checks it against the record, gives it a dot and a stamp, and joins it in.
    mutating func mint(
        _ request: MintRequest, policy: MintingPolicy, wall: WallTime, using generator: inout SeededGenerator
    ) -> (outcome: MintOutcome, retired: Actor?) {
        if case .put(let metadata, let value, _, _) = request.change {
            let bytes = metadata.readableBytes + value.readableBytes
            guard bytes <= policy.limits.objectBytes else {
                return (.refused(.objectTooLarge(bytes: bytes, limit: policy.limits.objectBytes), bySize: true), nil)
            }
        }
        let current: VersionedObject?
        do { current = try decoded() } catch { return (.refused(.unreadable, bySize: false), nil) }
        let context = request.context?.clock ?? VersionVector()
        var next = current ?? VersionedObject(mode: request.mode)
        var nextHeader = header ?? LocalHeader(copies: request.copies)
        nextHeader.copies = request.copies
        // The bucket became lww since the record was written. (It never goes back: an lww record stays one.)
        if request.mode == .lww, next.mode == .siblings { next.merge(VersionedObject(mode: .lww)) }

        if case .put(_, _, _, let writeID?) = request.change, !Mutation.ignoreWriteID.isActive,
            let attempt = next.siblings.first(where: { $0.writeID == writeID && request.above < $0.timestamp })
        {
            // A retry: its first attempt stands. The lowest dot is the one that clients are shown.
            return (.minted(adopt(next, nextHeader, dot: attempt.dot, key: request.key, policy)), nil)
        }
        if let refusal = request.condition?.refusal(of: current, at: wall) {
            return (.refused(refusal, bySize: false), nil)
        }

        let retired = nextHeader.retireActor(seenIn: next.clock, context)
        if case .delete = request.change, next.mode == .siblings {
            next.delete(context: context)
            // Nothing is here and nothing was seen: a record of that would be no record.
            guard !next.clock.isEmpty else { return (.refused(.notFound, bySize: false), nil) }
            return (.minted(adopt(next, nextHeader, dot: nil, key: request.key, policy)), retired)
        }

        let floor = max(next.latestTimestamp, request.context?.latestTimestamp ?? .zero, request.above)
        guard let stamp = Self.stamp(above: floor, mode: next.mode, wall: wall) else {
            return (.refused(.clockTooFarBehind, bySize: false), nil)
        }
        let dot = nextHeader.mintDot(clock: next.clock, context: context, policy: policy, using: &generator)
        var version = Sibling(dot: dot, timestamp: stamp)
        switch request.change {
        case .delete:
            version.isTombstone = true
        case .put(let metadata, let value, let expiry, let writeID):
            version.metadata = metadata
            version.value = value
            version.expiry = expiry
            version.writeID = writeID
        }
        next.put(version, context: context, mode: request.mode)
        if let refusal = policy.limits.refusal(of: next) { return (.refused(refusal, bySize: true), nil) }
        return (.minted(adopt(next, nextHeader, dot: dot, key: request.key, policy)), retired)
    }

    private mutating func adopt(
        _ next: VersionedObject, _ nextHeader: LocalHeader, dot: Dot?, key: ObjectKey, _ policy: MintingPolicy
    ) -> MintedWrite {
        if next != object || nextHeader != header {
            change(to: next, body: next == object ? body : nil, header: nextHeader, key: key, seed: policy.seed)
        }
        return MintedWrite(object: next, body: canonicalBody()!, dot: dot)
    }

    /// In `siblings` mode a stamp decides nothing, so a clock that is far behind is no reason to refuse; it still
    /// never falls behind what it replaces, should the bucket become `lww`.
    private static func stamp(above floor: HybridTimestamp, mode: ConflictMode, wall: WallTime) -> HybridTimestamp? {
        if Mutation.stampFromClockAlone.isActive { return HybridTimestamp(rawValue: wall.microseconds) }
        if let stamp = HybridTimestamp.mint(wall: wall, above: floor) { return stamp }
        guard mode == .siblings else { return nil }
        return HybridTimestamp(rawValue: floor.rawValue == .max ? .max : floor.rawValue + 1)
    }
}

extension LocalHeader {
    /// The next dot of this replica for the key: of the actor that it minted with before, if that was in this
    /// incarnation, otherwise of one that nobody has ever used.
    fileprivate mutating func mintDot(
        clock: VersionVector, context: VersionVector, policy: MintingPolicy, using generator: inout SeededGenerator
    ) -> Dot {
        if let last = minting, last.counter < .max,
            last.incarnation == policy.incarnation || Mutation.reuseActorAfterRestart.isActive
        {
            let counter = last.counter + 1
            minting = MintingActor(actor: last.actor, incarnation: policy.incarnation, counter: counter)
            return Dot(actor: last.actor, counter: counter)
        }
        var actor: Actor
        repeat { actor = Actor(node: policy.node, using: &generator) } while clock[actor] > 0 || context[actor] > 0
        minting = MintingActor(actor: actor, incarnation: policy.incarnation, counter: 1)
        return Dot(actor: actor, counter: 1)
    }
}

extension WriteCondition {
    /// Nil when the record meets the condition. A version that has expired does not stand any more.
    fileprivate func refusal(of object: VersionedObject?, at wall: WallTime) -> Refusal? {
        switch self {
        case .ifNoneMatch:
            let stands = object?.siblings.contains { !$0.isTombstone && $0.expiry.map { wall < $0 } ?? true } ?? false
            return stands ? .matchFound : nil
        case .ifNotModified(let clock):
            guard let object else { return .notFound }
            return object.clock == clock ? nil : .modified
        }
    }
}

extension LaneLimits {
    /// Why an object may not stand as a coordinated write would leave it.
    fileprivate func refusal(of object: VersionedObject) -> Refusal? {
        if object.siblings.count > siblings {
            return .tooManySiblings(count: object.siblings.count, limit: siblings)
        }
        let bytes = object.contentBytes
        return bytes > siblingBytes ? .siblingsTooLarge(bytes: bytes, limit: siblingBytes) : nil
    }
}
