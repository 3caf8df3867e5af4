// A node's disk. What is written goes to a log and to the current state; what is synced becomes durable; a
// crash leaves the durable state and some of what was not synced. Leaf arrays are stored now and then and
// recovered from the last stored one and the changes in the log after it, as in production.

import DequeModule
package import NIOCore
package import TorcModel
package import TorcReplication

/// One leaf of one tree. Simulated trees are sparse: few keys, many leaves.
package struct LeafAddress: Hashable, Sendable {
    package var tree: TreeID
    package var leaf: Int
}

/// A record's name on a disk: a key's own, or one that is kept for a node.
package struct RecordName: Hashable, Comparable, Sendable {
    package var hint: NodeID?
    package var key: ObjectKey

    package init(_ key: ObjectKey, hint: NodeID? = nil) {
        self.hint = hint
        self.key = key
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.hint?.rawValue ?? 0, lhs.key) < (rhs.hint?.rawValue ?? 0, rhs.key)
    }
}

/// What one turn of a lane writes.
package struct SimulatedBatch: Sendable {
    package var writes: [RecordWrite] = []
    /// Leaves that are set right.
    package var corrections: [LeafChange] = []

    package init(writes: [RecordWrite] = [], corrections: [LeafChange] = []) {
        self.writes = writes
        self.corrections = corrections
    }

    var count: Int { writes.count + corrections.count }
    var isEmpty: Bool { count == 0 }
    var leafChanges: [LeafChange] { writes.flatMap(\.leaves) + corrections }
}

package struct SimulatedStore {
    /// One commit of one lane, or a mark alone.
    private struct LogEntry {
        /// The number of its first change.
        var sequence: UInt64
        /// Empty: a mark alone.
        var content: SimulatedBatch
        /// How far the log was synced when this was written.
        var syncedThrough: UInt64
        var lane: Int
        var batch: BatchNumber
        /// Its place in the log, marks counted.
        var position: UInt64

        var last: UInt64 { sequence + UInt64(content.count) - 1 }
    }

    private struct StoredLeaves {
        var sequence: UInt64
        var leaves: [LeafAddress: UInt64]
    }

    /// Where the log ends when a sync begins.
    package struct SyncPoint: Sendable {
        fileprivate var sequence: UInt64
        fileprivate var position: UInt64
    }

    /// An older copy of the whole folder.
    package struct Image {
        package var taken: VirtualTime
        fileprivate var durable: [RecordName: ByteBuffer]
        fileprivate var leaves: [LeafAddress: UInt64]
        fileprivate var properties: PropertiesTable
        fileprivate var membershipIncarnation: MembershipIncarnation
        fileprivate var sequence: UInt64
    }

    /// How a record on the disk went bad.
    package enum Damage: Sendable {
        /// The block's checksum tells RocksDB.
        case block
        /// A bit that only the record's own checksum covers.
        case bit(Int)
    }

    package enum Loss: Sendable {
        /// The process died, not the machine: what was written stays.
        case nothing
        /// Some of the last unsynced batches.
        case suffix
        /// Any unsynced batches.
        case blocks
    }

    private var current: [RecordName: ByteBuffer] = [:]
    private var durable: [RecordName: ByteBuffer] = [:]
    /// Where in the log the replica's own record of a key was removed last, of what is durable.
    private var removals: [ObjectKey: UInt64] = [:]
    private var log: Deque<LogEntry> = []
    private var nextSequence: UInt64 = 1
    private(set) var syncedThrough: UInt64 = 0
    private var nextPosition: UInt64 = 1
    /// Entries before this place are on the disk.
    private var syncedPosition: UInt64 = 1
    private var currentLeaves: [LeafAddress: UInt64] = [:]
    private var storedLeaves: [StoredLeaves] = [StoredLeaves(sequence: 0, leaves: [:])]
    private var damage: [ObjectKey: Damage] = [:]
    /// What a crash brings back: damage, and the log's last number when it struck. It is gone when a later write of the
    /// record is durable.
    private var durableDamage: [ObjectKey: (kind: Damage, since: UInt64)] = [:]
    /// What is noted of damaged partitions.
    package var damagedPartitions = DamagedPartitions()
    package private(set) var properties = PropertiesTable()
    package private(set) var membershipIncarnation = MembershipIncarnation.unheard
    /// What the node holds of rings. It does not go back with the folder: a member that forgot its votes could help
    /// two rings to a majority, which is why a folder that was wiped or brought back is another node's.
    package private(set) var ringRecord: RingRecord?

    package init() {}

    // MARK: Reading

    package func read(_ key: ObjectKey, hint: NodeID? = nil) -> StoreRead {
        guard let bytes = current[RecordName(key, hint: hint)] else { return .absent }
        switch hint == nil ? damage[key] : nil {
        case nil: return .found(bytes)
        case .block: return .failed
        case .bit(let bit):
            var flipped = ByteBuffer()
            flipped.writeImmutableBuffer(bytes)
            let index = bit / 8 % bytes.readableBytes
            flipped.setInteger(flipped.getInteger(at: index, as: UInt8.self)! ^ (1 << UInt8(bit % 8)), at: index)
            return .found(flipped)
        }
    }

    /// A partition's records in a range, or a node's hints, ascending; nil when a block of them cannot be read.
    package func scan(_ request: ScanRequest, ringSize: RingSize) -> (entries: [ScannedEntry], finished: Bool)? {
        let keys = current.keys.filter { name in
            name.hint == request.hints
                && (request.hints != nil || ringSize.partition(of: name.key.position) == request.partition)
                && request.after.map { $0.lexicographicallyPrecedes(name.key.storageKey) } ?? true
                && request.before.map { name.key.storageKey.lexicographicallyPrecedes($0) } ?? true
        }.map(\.key).sorted()
        var entries: [ScannedEntry] = []
        var bytes = 0
        for key in keys {
            if !entries.isEmpty, entries.count >= request.entryLimit || bytes >= request.byteLimit {
                return (entries, false)
            }
            guard case .found(let record) = read(key, hint: request.hints) else { return nil }
            entries.append(ScannedEntry(storageKey: key.storageKey, record: record))
            bytes += record.readableBytes + key.storageKey.readableBytes
        }
        return (entries, true)
    }

    /// The record as it was written, damaged since or not.
    package func intactRecord(of key: ObjectKey) -> ByteBuffer? { current[RecordName(key)] }
    /// It was removed by what came into the log after this point.
    package func hasRemoved(_ key: ObjectKey, since point: SyncPoint) -> Bool {
        removals[key].map { $0 >= point.position } ?? false
    }
    package func durableRecord(of key: ObjectKey) -> ByteBuffer? { durable[RecordName(key)] }
    package func isDamaged(_ key: ObjectKey) -> Bool { damage[key] != nil && current[RecordName(key)] != nil }
    /// The replica's own, ascending by key.
    package var records: [(key: ObjectKey, record: ByteBuffer)] {
        current.filter { $0.key.hint == nil }.sorted { $0.key < $1.key }.map { ($0.key.key, $0.value) }
    }
    /// What is kept for other nodes of one key, ascending by node.
    package func hints(of key: ObjectKey, durable isDurable: Bool) -> [ByteBuffer] {
        (isDurable ? durable : current).filter { $0.key.hint != nil && $0.key.key == key }.sorted { $0.key < $1.key }
            .map(\.value)
    }
    /// Ascending.
    package var hintNames: [RecordName] { current.keys.filter { $0.hint != nil }.sorted() }
    /// What a start counts, for one lane.
    package func hintTotals(ringSize: RingSize, lane: Int, laneCount: Int) -> [NodeID: HintTotal] {
        var totals: [NodeID: HintTotal] = [:]
        for (name, record) in current {
            guard let hint = name.hint,
                LaneConfiguration.lane(of: ringSize.partition(of: name.key.position), laneCount: laneCount) == lane
            else { continue }
            totals[hint, default: HintTotal()].records += 1
            totals[hint]!.bytes += HintTotal.bytes(of: name.key, record: record.readableBytes)
        }
        return totals
    }
    package var hasUnsynced: Bool { syncedThrough + 1 < nextSequence }
    package var syncPoint: SyncPoint { SyncPoint(sequence: nextSequence - 1, position: nextPosition) }

    // MARK: Writing

    package mutating func append(_ content: SimulatedBatch, lane: Int, batch: BatchNumber) {
        appendEntry(content, lane: lane, batch: batch)
        for write in content.writes {
            current[RecordName(write.key, hint: write.hint)] = write.record
            if write.hint == nil { damage[write.key] = nil }
        }
        for change in content.leafChanges {
            currentLeaves[LeafAddress(tree: change.tree, leaf: change.leaf), default: 0] &+= change.delta
        }
    }

    private mutating func appendEntry(_ content: SimulatedBatch, lane: Int, batch: BatchNumber) {
        log.append(
            LogEntry(
                sequence: nextSequence, content: content, syncedThrough: syncedThrough, lane: lane, batch: batch,
                position: nextPosition))
        nextSequence += UInt64(content.count)
        nextPosition += 1
    }

    /// Stores the leaf arrays beside the sequence that they include.
    package mutating func storeLeaves() {
        storedLeaves.append(StoredLeaves(sequence: nextSequence - 1, leaves: currentLeaves))
    }

    /// Everything that the log held when the sync began is on the disk now. Answers the last batch of each lane
    /// that it covers.
    package mutating func synced(_ point: SyncPoint, laneCount: Int) -> [BatchNumber?] {
        var covered = [BatchNumber?](repeating: nil, count: laneCount)
        for entry in log where entry.position >= syncedPosition && entry.position < point.position {
            makeDurable(entry)
            if !entry.content.isEmpty { covered[entry.lane] = entry.batch }
        }
        syncedThrough = max(syncedThrough, point.sequence)
        syncedPosition = max(syncedPosition, point.position)
        // A mark of its own, so that the proof of this sync stands when the writers pause.
        appendEntry(SimulatedBatch(), lane: 0, batch: BatchNumber(rawValue: 0))
        trim()
        return covered
    }

    private mutating func makeDurable(_ entry: LogEntry) {
        for write in entry.content.writes {
            durable[RecordName(write.key, hint: write.hint)] = write.record
            if write.hint == nil, write.record == nil { removals[write.key] = entry.position }
            if write.hint == nil, let damage = durableDamage[write.key], damage.since < entry.sequence {
                durableDamage[write.key] = nil
            }
        }
    }

    package mutating func store(_ entries: [PropertiesEntry]) {
        for entry in entries { properties.merge(entry) }
    }

    package mutating func store(_ incarnation: MembershipIncarnation) {
        membershipIncarnation = max(membershipIncarnation, incarnation)
    }

    package mutating func store(_ record: RingRecord) { ringRecord = record }

    package mutating func damage(_ key: ObjectKey, _ kind: Damage) {
        damage[key] = kind
        durableDamage[key] = (kind, since: nextSequence - 1)
    }

    /// A record of a stopped node is gone from its disk; its leaf still counts it.
    package mutating func lose(_ key: ObjectKey) {
        precondition(log.isEmpty, "a record is lost while a process runs")
        current[RecordName(key)] = nil
        durable[RecordName(key)] = nil
    }

    /// A stored leaf of a stopped node is another.
    package mutating func alter(_ leaf: LeafAddress, by delta: UInt64) {
        precondition(log.isEmpty, "a leaf is altered while a process runs")
        currentLeaves[leaf, default: 0] &+= delta
        for index in storedLeaves.indices { storedLeaves[index].leaves[leaf, default: 0] &+= delta }
    }

    /// A partition is made anew from what can be read of it: the leaves that are lost. What stands in it is durable
    /// from here on.
    package mutating func salvage(_ partition: PartitionID, layout: LeafLayout) -> Set<Int> {
        precondition(!hasUnsynced, "a partition is made anew while its log is not synced")
        var lost: Set<Int> = []
        for (key, kind) in damage where layout.ringSize.partition(of: key.position) == partition {
            guard case .block = kind, current[RecordName(key)] != nil else { continue }
            lost.insert(layout.leaf(of: key.position))
            current[RecordName(key)] = nil
            durable[RecordName(key)] = nil
            damage[key] = nil
            durableDamage[key] = nil
        }
        damagedPartitions.madeAnew(partition, lost: lost)
        return lost
    }

    /// The leaves of a partition whose records were counted anew by a start.
    package mutating func setLeaves(of partition: PartitionID, to leaves: [LeafAddress: UInt64]) {
        func replace(_ table: inout [LeafAddress: UInt64]) {
            table = table.filter { $0.key.tree.partition != partition }
            table.merge(leaves) { $1 }
        }
        replace(&currentLeaves)
        for index in storedLeaves.indices { replace(&storedLeaves[index].leaves) }
    }

    /// Log that neither recovery nor the leaves need any more.
    private mutating func trim() {
        if let last = storedLeaves.lastIndex(where: { $0.sequence <= syncedThrough }) {
            storedLeaves.removeFirst(last)
        }
        let needed = storedLeaves[0].sequence
        while let first = log.first, log.count > 8, first.last < needed, first.position < syncedPosition {
            log.removeFirst()
        }
    }

    // MARK: Crashing

    package func image(at time: VirtualTime) -> Image {
        Image(
            taken: time, durable: durable, leaves: recoveredLeaves(through: syncedThrough), properties: properties,
            membershipIncarnation: membershipIncarnation, sequence: syncedThrough)
    }

    /// A folder whose partitions are gone; what `meta` holds is still there.
    package func wipedImage() -> Image {
        Image(
            taken: .zero, durable: [:], leaves: [:], properties: properties,
            membershipIncarnation: membershipIncarnation, sequence: syncedThrough)
    }

    package mutating func rollBack(to image: Image) {
        durable = image.durable
        current = durable
        removals = [:]
        damage = [:]
        durableDamage = [:]
        damagedPartitions = DamagedPartitions()
        currentLeaves = image.leaves
        properties = image.properties
        membershipIncarnation = image.membershipIncarnation
        storedLeaves = [StoredLeaves(sequence: image.sequence, leaves: image.leaves)]
        emptyLog(after: image.sequence)
    }

    /// The process ends, and what the disk keeps is decided. The log check says what to serve; its verdict is
    /// judged by what really was synced. Answers how many unsynced changes survived.
    package mutating func crash(_ loss: Loss, random: inout SeededGenerator) throws(Violation) -> Int {
        var findings: [LogFinding] = []
        let unsynced = log.filter { !$0.content.isEmpty && $0.position >= syncedPosition }.count
        var survivors = loss == .suffix ? random.within(0...unsynced) : unsynced
        for entry in log {
            let finding = LogFinding.batch(
                sequence: entry.sequence, count: UInt64(entry.content.count), syncedThrough: entry.syncedThrough)
            let isSynced = entry.position < syncedPosition
            switch loss {
            case .nothing:
                findings.append(finding)
            case .suffix:
                if !isSynced, !entry.content.isEmpty { survivors -= 1 }
                if isSynced || survivors >= 0 { findings.append(finding) }
            case .blocks:
                let fate = isSynced ? 0 : random.below(4)
                if fate <= 1 { findings.append(finding) }
                if fate == 2 { findings.append(.damage) }
            }
        }
        let start = log.first?.sequence
        let end: UInt64
        switch LogCheck.verdict(of: findings, start: start) {
        case .serve:
            end =
                findings.reversed().lazy.compactMap { finding -> UInt64? in
                    if case .batch(let sequence, let count, _) = finding { sequence + count - 1 } else { nil }
                }.first ?? syncedThrough
        case .cut(let after):
            end = after
        case .refuse(let damageAt, let lastMark):
            throw Violation(
                .logCheck,
                "refused for \(damageAt), marks through \(lastMark), although all \(syncedThrough) synced are there")
        }
        guard end >= syncedThrough else {
            throw Violation(.logCheck, "serves through \(end), although \(syncedThrough) were synced")
        }
        let survived = Int(end - syncedThrough)
        recover(through: end)
        return survived
    }

    /// Whether the log check refuses a log of which one synced batch is damaged, as it must, because a later
    /// mark proves that it had been synced. Nil: there is no such batch.
    package func refusesDamageBelowMark(random: inout SeededGenerator) -> Bool? {
        let candidates = log.indices.filter { index in
            let entry = log[index]
            return !entry.content.isEmpty && log[(index + 1)...].contains { $0.syncedThrough >= entry.last }
        }
        guard !candidates.isEmpty else { return nil }
        let damaged = random.pick(candidates)
        var check = LogCheck(start: log.first?.sequence)
        for index in log.indices {
            let entry = log[index]
            check.add(
                index == damaged
                    ? .damage
                    : .batch(
                        sequence: entry.sequence, count: UInt64(entry.content.count), syncedThrough: entry.syncedThrough
                    )
            )
        }
        if case .refuse = check.verdict { return true }
        return false
    }

    /// Replays the log as recovery does, and makes what was replayed durable.
    private mutating func recover(through end: UInt64) {
        let leaves = recoveredLeaves(through: end)
        for entry in log where entry.last > syncedThrough && entry.last <= end {
            makeDurable(entry)
        }
        current = durable
        damage = durableDamage.mapValues(\.kind)
        currentLeaves = leaves
        storedLeaves = [StoredLeaves(sequence: end, leaves: leaves)]
        emptyLog(after: end)
    }

    private mutating func emptyLog(after sequence: UInt64) {
        log = []
        syncedThrough = sequence
        nextSequence = sequence + 1
        syncedPosition = nextPosition
    }

    private func recoveredLeaves(through end: UInt64) -> [LeafAddress: UInt64] {
        let base = storedLeaves.last { $0.sequence <= end } ?? StoredLeaves(sequence: 0, leaves: [:])
        var leaves = base.leaves
        for entry in log where entry.sequence > base.sequence && entry.last <= end {
            for change in entry.content.leafChanges {
                leaves[LeafAddress(tree: change.tree, leaf: change.leaf), default: 0] &+= change.delta
            }
        }
        return leaves
    }

    /// The leaves of one lane, as a start recovers them.
    package func leafTable(layout: LeafLayout, lane: Int, laneCount: Int) -> LeafTable {
        var sparse: [TreeID: [(leaf: Int, hash: UInt64)]] = [:]
        for (address, hash) in currentLeaves
        where hash != 0 && LaneConfiguration.lane(of: address.tree.partition, laneCount: laneCount) == lane {
            sparse[address.tree, default: []].append((address.leaf, hash))
        }
        var table = LeafTable(layout: layout)
        for (tree, leaves) in sparse {
            var row = [UInt64](repeating: 0, count: layout.leavesPerPartition)
            for (leaf, hash) in leaves { row[leaf] = hash }
            table[tree] = row
        }
        return table
    }
}
