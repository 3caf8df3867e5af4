// What the clients did and saw: the checkers' own record of which write was based on which read. It is kept by
// unique values. A write's context is known here as the list of values that the read showed from which the
// client took it; Torc's vectors play no part, so they can be judged by it.
//
// Two facts carry every check of versions:
//
// - *Must be gone*: a version is replaced by every write whose context showed it, by the writes that replaced
//   those, and so on. It may not be shown beside one of them, nor after one that was acknowledged could be read.
// - *May be gone*: a version can only have been removed by a write or delete whose context showed it (or by a
//   delete that reads for itself). For some dot's removal there is always a first write whose context covered
//   it, and no earlier one can have hidden it from the read that this context came from.

package import TorcModel

/// One logical write: a put or delete, with all its attempts.
package struct WriteRecord: Sendable {
    package enum Kind: Sendable {
        case put
        case delete
        /// Without context: it reads what it deletes by itself.
        case blindDelete
    }

    package enum Outcome: Sendable {
        case pending
        case acknowledged
        case indeterminate
        case refused
    }

    package var id: Int
    package var key: Int
    package var kind: Kind
    package var client: Int
    /// The values that its context showed, or hid because they had expired.
    package var covers: [Int]
    /// When it ceases to stand, by a wall clock.
    package var expiry: WallTime?
    package var invoked: VirtualTime
    /// When it was first acknowledged.
    package var acknowledged: VirtualTime?
    package var outcome = Outcome.pending
    package var attempts = 1
    package var openAttempts = 1
    package var refusedAttempts = 0
    /// Synced copies on primaries that the acknowledgement stands for: what later quorums meet.
    package var needed = 0
    /// All that it stands for, those of stand-ins among them.
    package var acknowledgedCopies = 0
    /// The nodes that held it synced when it was acknowledged and have not forgotten it since, as bits.
    package var holders: UInt64 = 0
    package var replacedBy: [Int] = []
    /// When it was first shown to anybody.
    package var shown: VirtualTime?
    /// When a strict read that showed it ended, for the first time.
    package var shownByStrictRead: VirtualTime?
    /// Its only copies on primaries went bad: no later quorum need meet it.
    package var isLost = false

    package var mayStand: Bool { outcome != .refused }
    package var isAcknowledged: Bool { acknowledged != nil }
    package var isDelete: Bool { kind != .put }

    /// Retried, so that it may stand under several dots, one of them minted after the others were replaced.
    package var isRepeated: Bool { attempts > 1 }
}

/// What one read showed.
package struct ReadObservation: Sendable {
    package var key: Int
    package var client: Int
    package var invoked: VirtualTime
    package var ended: VirtualTime
    package var values: [Int]
    /// The replicas that answered it at the least.
    package var quorum: Int
    /// Writes that may be missing because they have expired: by the coordinator's clock, or by all replicas'.
    package var expired: Set<Int>

    package init(
        key: Int, client: Int, invoked: VirtualTime, ended: VirtualTime, values: [Int], quorum: Int,
        expired: Set<Int> = []
    ) {
        self.key = key
        self.client = client
        self.invoked = invoked
        self.ended = ended
        self.values = values
        self.quorum = quorum
        self.expired = expired
    }
}

/// What may be expected of a key.
package struct KeyPromise: Sendable {
    package enum Mode: Sendable {
        case siblings
        case lww
        /// The bucket changed its mode during the run: little is promised.
        case changing
    }

    package var copies: Int
    package var mode: Mode
    /// What a quorum read writes back to before it answers, at the least.
    package var writeQuorum: Int
    /// Nodes came back with less than they had synced.
    package var forgets: Bool

    package init(copies: Int, mode: Mode, writeQuorum: Int, forgets: Bool = false) {
        self.copies = copies
        self.mode = mode
        self.writeQuorum = writeQuorum
        self.forgets = forgets
    }
}

package struct History: Sendable {
    package private(set) var writes: [WriteRecord] = []
    /// The writes of each key, in the order in which they began.
    package private(set) var writesByKey: [[Int]]
    package let promises: [KeyPromise]

    package init(promises: [KeyPromise]) {
        self.promises = promises
        writesByKey = Array(repeating: [], count: promises.count)
    }

    /// Records the first attempt of a write and gives it its number, which is also its value.
    package mutating func begin(
        _ kind: WriteRecord.Kind, key: Int, client: Int, covers: [Int], expiry: WallTime? = nil, at time: VirtualTime
    ) -> Int {
        let id = writes.count
        writes.append(
            WriteRecord(
                id: id, key: key, kind: kind, client: client, covers: covers, expiry: expiry, invoked: time))
        writesByKey[key].append(id)
        for covered in covers { writes[covered].replacedBy.append(id) }
        return id
    }

    package mutating func retry(_ id: Int) {
        writes[id].attempts += 1
        writes[id].openAttempts += 1
    }

    /// One attempt ended. A write is acknowledged when one attempt was, refused when all were.
    package mutating func end(
        _ id: Int, _ outcome: WriteRecord.Outcome, needed: Int = 0, primaries: Int? = nil, at time: VirtualTime
    ) {
        writes[id].openAttempts -= 1
        switch outcome {
        case .acknowledged:
            writes[id].outcome = .acknowledged
            if writes[id].acknowledged == nil {
                writes[id].acknowledged = time
                writes[id].needed = writes[id].isLost ? 0 : min(needed, primaries ?? needed)
                writes[id].acknowledgedCopies = needed
            }
        case .refused:
            writes[id].refusedAttempts += 1
        case .pending, .indeterminate:
            break
        }
        guard writes[id].outcome != .acknowledged, writes[id].openAttempts == 0 else { return }
        writes[id].outcome = writes[id].refusedAttempts == writes[id].attempts ? .refused : .indeterminate
    }

    package mutating func setHolders(_ id: Int, _ holders: UInt64) {
        if writes[id].holders == 0 { writes[id].holders = holders }
    }

    /// A node lost what it had synced after some instant.
    package mutating func forget(node: Int, since time: VirtualTime) {
        for id in writes.indices where (writes[id].acknowledged ?? .zero) >= time {
            writes[id].holders &= ~(1 << UInt64(node))
        }
    }

    /// A node's copy of one key went bad.
    package mutating func forget(key: Int, node: Int) {
        for id in writesByKey[key] { writes[id].holders &= ~(1 << UInt64(node)) }
    }

    /// No primary holds a copy of it any more that can be read.
    package mutating func lose(_ id: Int) {
        writes[id].isLost = true
        writes[id].needed = 0
        writes[id].shownByStrictRead = nil
    }

    /// It is acknowledged now, and primaries hold copies that can be read.
    package mutating func keep(_ id: Int) { writes[id].isLost = false }

    package mutating func noteShown(_ read: ReadObservation, strict: Bool) {
        for id in read.values where writes.indices.contains(id) {
            if writes[id].shown == nil { writes[id].shown = read.ended }
            if strict, writes[id].shownByStrictRead == nil { writes[id].shownByStrictRead = read.ended }
        }
    }

    /// For each write of a key, by its place in `writesByKey`: whether it is among `values` or may have been
    /// replaced, before `time`, by a chain of writes that ends in one of `values`, in a delete or in what has expired.
    package func accounted(
        key: Int, values: [Int], before time: VirtualTime, expired: Set<Int> = []
    ) -> [Bool] {
        let ids = writesByKey[key]
        var result = [Bool](repeating: false, count: ids.count)
        var places: [Int: Int] = [:]
        for (place, id) in ids.enumerated() { places[id] = place }
        let blindDeletes = ids.filter {
            writes[$0].kind == .blindDelete && writes[$0].mayStand && writes[$0].invoked < time
        }
        // A write that replaces another began after it, so from the last to the first one pass is enough.
        for place in ids.indices.reversed() {
            let write = writes[ids[place]]
            if write.isDelete {
                result[place] = write.mayStand && write.invoked < time
                continue
            }
            // A value that is shown counts even when its write was refused: another checker says so.
            result[place] =
                values.contains(write.id) || write.mayStand && expired.contains(write.id)
                || (write.mayStand && write.invoked < time
                    && (write.replacedBy.contains { result[places[$0]!] }
                        || blindDeletes.contains { mayDelete(writes[$0], write) }))
        }
        return result
    }

    /// A delete that reads for itself may have removed what was begun before it ended.
    private func mayDelete(_ delete: WriteRecord, _ write: WriteRecord) -> Bool {
        guard let ended = delete.acknowledged, !delete.isRepeated else { return true }
        return write.invoked < ended
    }

    /// The writes of a key whose expiry has passed.
    package func expired(key: Int, where hasPassed: (WallTime) -> Bool) -> Set<Int> {
        Set(writesByKey[key].filter { writes[$0].expiry.map(hasPassed) ?? false })
    }

    /// Everything that replaced a write, directly or through others, ascending.
    package func successors(of id: Int) -> [Int] {
        var seen: Set<Int> = []
        var open = writes[id].replacedBy
        while let next = open.popLast() {
            if seen.insert(next).inserted { open.append(contentsOf: writes[next].replacedBy) }
        }
        return seen.sorted()
    }
}
