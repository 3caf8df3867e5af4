// Minting: what makes a client's request a version. The replica that does it is the write's coordinator for
// this key; it must never give one dot to two writes, whatever it has forgotten.
//
//   a dot is (actor, counter); the record's header keeps the actor, the incarnation that drew it, and the
//   last counter. The actor goes on minting only
//   - in that incarnation: an earlier one may have minted dots whose record was lost, and
//   - while nobody has seen more of it than the header says: who has, proves that this record is an old one.
//   Otherwise a fresh actor is drawn, of which no counter was ever used.

import NIOCore
import TorcModel

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
            return (minted(next, nextHeader, dot: attempt.dot, key: request.key, policy), nil)
        }
        if let refusal = request.condition?.refusal(by: current, at: request.instant ?? wall) {
            return (.refused(refusal, bySize: false), nil)
        }

        let retired = nextHeader.retireActor(seenIn: next.clock, context)
        if case .delete = request.change, next.mode == .siblings {
            next.delete(context: context)
            // Nothing is here and nothing was seen: a record of that would be no record.
            guard !next.clock.isEmpty else { return (.refused(.notFound, bySize: false), nil) }
            return (minted(next, nextHeader, dot: nil, key: request.key, policy), retired)
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
        return (minted(next, nextHeader, dot: dot, key: request.key, policy), retired)
    }

    private mutating func minted(
        _ next: VersionedObject, _ nextHeader: LocalHeader, dot: Dot?, key: ObjectKey, _ policy: MintingPolicy
    ) -> MintOutcome {
        adopt(next, body: nil, header: nextHeader, key: key, seed: policy.seed)
        return .minted(MintedWrite(object: next, body: canonicalBody()!, dot: dot))
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
