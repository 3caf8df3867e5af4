// What replicas hold, exchange and merge.
//
//   siblings: {A:2, B:1} with siblings B:1 and A:2   two clients wrote from one context
//             put with that context mints A:3        -> {A:3, B:1} with sibling A:3
//             delete with that context               -> {A:3, B:1} with no sibling: a tombstone
//   lww:      the vectors join and the largest (stamp, dot) wins; a delete is a stamped sibling without
//             value. Causality removes nothing there: a vector that removed the loser of one merge would
//             remove the winner of another, and replicas would differ by the order in which they heard.
//   expiry:   a version may carry an instant at which it ceases to be. Readers leave it out from then on; it is
//             removed, as if deleted, once all replicas agree that it has come (`removingExpired`).
//
// Merging is commutative, associative and idempotent (within one mode): replicas that have seen the same
// writes hold the same bytes, whatever came first or twice.

package import NIOCore

/// How concurrent versions of a bucket's objects are reconciled.
package enum ConflictMode: UInt8, Hashable, Sendable, CaseIterable {
    /// All of them are kept until a client resolves them.
    case siblings = 0
    /// The largest (stamp, dot) wins. A bucket may become `lww`, never the other way, and the mode of two
    /// merged objects is the larger one.
    case lww = 1
}

/// An object: what it has seen and the versions that stand.
package struct VersionedObject: Hashable, Sendable {
    package private(set) var mode: ConflictMode
    package private(set) var clock: VersionVector
    /// Ascending by dot, each covered by the clock; one at most in an `lww` object.
    package private(set) var siblings: [Sibling]

    /// An object that nobody has written.
    package init(mode: ConflictMode) {
        self.mode = mode
        clock = VersionVector()
        siblings = []
    }

    /// Versions that a reader sees: those with a value.
    package var liveSiblings: [Sibling] { siblings.filter { !$0.isTombstone } }

    /// Written once, and nothing of it stands.
    package var isTombstone: Bool { !clock.isEmpty && siblings.allSatisfy(\.isTombstone) }

    /// The largest stamp among the versions that stand.
    package var latestTimestamp: HybridTimestamp { siblings.lazy.map(\.timestamp).max() ?? .zero }

    /// The bytes of values and metadata that stand.
    package var contentBytes: Int { siblings.reduce(0) { $0 + $1.metadata.readableBytes + $1.value.readableBytes } }

    /// Adds a write: it supersedes what its context covers and is concurrent with the rest.
    /// `version.dot` must be new to this object and to every other.
    package mutating func put(_ version: Sibling, context: VersionVector, mode requested: ConflictMode) {
        adopt(requested)
        if !Mutation.forgetContextOnPut.isActive { clock.merge(context) }
        clock.insert(version.dot)
        switch mode {
        case .siblings:
            siblings.removeAll { context.contains($0.dot) }
            insert(version)
        case .lww:
            siblings.append(version)
            keepWinner()
        }
    }

    /// Deletes, in a `siblings` object, what a context covers. It takes no dot: deleting twice is deleting once.
    /// An `lww` object is deleted by `put` of a tombstone.
    package mutating func delete(context: VersionVector) {
        precondition(mode == .siblings, "an lww object is deleted by a stamped tombstone")
        clock.merge(context)
        siblings.removeAll { context.contains($0.dot) }
    }

    /// Keeps a version that both have, or that the other has not seen; the clocks join.
    package mutating func merge(_ other: VersionedObject) {
        if self == other { return }
        adopt(other.mode)
        switch mode {
        case .siblings:
            siblings = Self.standing(siblings, clock, other.siblings, other.clock)
        case .lww:
            siblings.append(contentsOf: other.siblings)
            keepWinner()
        }
        clock.merge(other.clock)
    }

    /// Without the versions that have expired through `instant`: what all replicas make of the same object, so that
    /// they agree on the bytes. A `siblings` object has seen what it lacks; in an `lww` object a tombstone with
    /// the version's own stamp takes its place, or an older write would win where the version was.
    package func removingExpired(through instant: WallTime) -> VersionedObject {
        var result = self
        switch mode {
        case .siblings:
            result.siblings.removeAll { $0.hasExpired(at: instant) }
        case .lww:
            result.siblings = siblings.map { sibling in
                guard sibling.hasExpired(at: instant) else { return sibling }
                return Sibling(dot: sibling.dot, timestamp: sibling.timestamp, isTombstone: true)
            }
        }
        return result
    }

    /// The actors of its clock of which no version stands, ascending. Their entries say only that what they name was
    /// overwritten, and are of use for as long as something, somewhere, may still bring it.
    package var deadActors: [Actor] {
        clock.entries.map(\.actor).filter { !isAlive($0) || Mutation.pruneLiveDot.isActive }
    }

    private func isAlive(_ actor: Actor) -> Bool { siblings.contains { $0.dot.actor == actor } }

    /// Without the entries of these actors, those aside of which a version stands. What stands is the same, and so it is
    /// with whatever this is merged with, if that has seen all that this object had: its siblings are here, or
    /// of other actors. What had not, and holds a version that these entries have seen, would bring it back.
    package func pruned(of actors: [Actor]) -> VersionedObject {
        var result = self
        result.clock.remove(actors.filter { !isAlive($0) || Mutation.pruneLiveDot.isActive })
        return result
    }

    package func merged(with other: VersionedObject) -> VersionedObject {
        var result = self
        result.merge(other)
        return result
    }

    /// Both lists ascend by dot, so one pass gives the union in order.
    private static func standing(
        _ mine: [Sibling], _ myClock: VersionVector, _ theirs: [Sibling], _ theirClock: VersionVector
    ) -> [Sibling] {
        var result: [Sibling] = []
        result.reserveCapacity(mine.count + theirs.count)
        var left = 0
        var right = 0
        while left < mine.count || right < theirs.count {
            if right == theirs.count || (left < mine.count && mine[left].dot < theirs[right].dot) {
                if !theirClock.contains(mine[left].dot), !Mutation.dropSiblingOnMerge.isActive {
                    result.append(mine[left])
                }
                left += 1
            } else if left == mine.count || theirs[right].dot < mine[left].dot {
                if !myClock.contains(theirs[right].dot) || Mutation.resurrectOnMerge.isActive {
                    result.append(theirs[right])
                }
                right += 1
            } else {
                result.append(mine[left])
                left += 1
                right += 1
            }
        }
        return result
    }

    private mutating func insert(_ version: Sibling) {
        let index = siblings.firstIndex { version.dot < $0.dot } ?? siblings.count
        siblings.insert(version, at: index)
    }

    private mutating func adopt(_ other: ConflictMode) {
        guard mode == .siblings, other == .lww else { return }
        mode = .lww
        keepWinner()
    }

    private mutating func keepWinner() {
        guard var winner = siblings.first else { return }
        for sibling in siblings.dropFirst() where winner.loses(to: sibling) || Mutation.lwwArrivalOrder.isActive {
            winner = sibling
        }
        siblings = [winner]
    }
}

extension VersionedObject {
    /// A sibling's smallest encoding: dot, stamp, flags and two lengths.
    private static let minimumSiblingBytes = 8 + 1 + 1 + 1 + 1 + 1

    /// The canonical bytes that replicas exchange and hash.
    package func encode(into buffer: inout ByteBuffer) {
        buffer.reserveCapacity(minimumWritableBytes: 16 + clock.entries.count * 18 + siblings.count * 64 + contentBytes)
        buffer.writeInteger(mode.rawValue)
        clock.encode(into: &buffer)
        buffer.writeVarint(UInt64(siblings.count))
        for sibling in siblings { sibling.encode(into: &buffer) }
    }

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        encode(into: &buffer)
        return buffer
    }

    /// Decodes canonical bytes; values share the buffer's storage.
    package init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var buffer = bytes
        guard let mode = ConflictMode(rawValue: try buffer.readFixed(UInt8.self, "object")) else {
            throw MalformedBytes(.notCanonical, "object")
        }
        let clock = try VersionVector(decoding: &buffer)
        let count = try buffer.readCount("object")
        guard count * Self.minimumSiblingBytes <= buffer.readableBytes else {
            throw MalformedBytes(.truncated, "object")
        }
        guard !clock.isEmpty, mode == .siblings || count <= 1 else { throw MalformedBytes(.notCanonical, "object") }
        var siblings: [Sibling] = []
        siblings.reserveCapacity(count)
        for _ in 0..<count {
            let sibling = try Sibling(decoding: &buffer)
            guard clock.contains(sibling.dot), siblings.last.map({ $0.dot < sibling.dot }) ?? true,
                mode == .lww || !sibling.isTombstone
            else { throw MalformedBytes(.notCanonical, "object") }
            siblings.append(sibling)
        }
        try buffer.requireEmpty("object")
        self.mode = mode
        self.clock = clock
        self.siblings = siblings
    }
}
