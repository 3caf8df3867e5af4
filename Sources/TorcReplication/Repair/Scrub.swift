// Scrubbing of one lane: everything on its disk is read, slowly, and compared with what the leaves say of it. What a
// disk loses in silence shows nowhere else: repair compares leaves alone, and those still count what is gone.
//
//   walk ─► partition ─► page ─► each record's checksum; the sum of each leaf's records ─► pause ─► next page …
//                                   │                        │
//                         does not hold: told         is not the leaf: told, and the leaf is set to the sum,
//                                                     so that repair sees the difference and brings what is missing
//
// Invariants:
// - Nothing is removed, and no record is changed.
// - A leaf is judged only if what was read of it and what it counts are of the same writes: no write that changes it
//   was uncommitted when the first of its pages was asked for, and none was begun until it is judged. Any other is left
//   for the next walk.
// - A leaf is corrected by what it is off by. Writes that come meanwhile commute with that.
// - A leaf of which something cannot be read is not judged: what it ought to be is not known.
//
// - A record that was mended leaves a leaf that may be wrong: that leaf is looked at by itself, between two partitions of
//   the walk, or between two walks.
//
// A walk lives in memory. A restart begins a new one.

import DequeModule
import NIOCore
import TorcModel

struct Scrub: Sendable {
    /// What a scan that fails costs of the budget.
    private static let failureBytes = 64 << 10

    /// A leaf that is looked at by itself.
    private struct Look {
        var partition: PartitionID
        var leaf: Int
        var due: MonotonicTime
        /// Times that it was written to while it was read.
        var failures = 0
    }

    /// Leaves that wait to be looked at; one more is left for the next walk, and so is one that was written to again and
    /// again.
    private static let looksWaiting = 256
    private static let looksTried = 8
    private static let lookPause = Duration.seconds(1)

    /// A change of a leaf whose batch is not committed: the disk does not show it yet.
    private struct Uncommitted {
        var batch: BatchNumber
        var partition: PartitionID
        var leaf: Int
    }

    /// Where a walk is.
    private struct Place {
        /// The first of them is being read.
        var partitions: ArraySlice<PartitionID>
        /// The first leaf that is not judged.
        var leaf = 0
        /// Of each partition only the leaves before it are read.
        var end: Int
        /// It is this, and no part of the walk.
        var look: Look?
        /// A leaf was not judged for what was written to it.
        var hasLeft = false
        /// A page ended in that leaf: `sums` is what was read of it.
        var isBegun = false
        /// By number of copies.
        var sums: [UInt8: UInt64] = [:]
        var isReadable = true
        /// The storage key after which it goes on; nil: the partition's first.
        var cursor: ByteBuffer?
        /// Leaves that one scan may take in: less behind what cannot be read.
        var width: Int
        var unreadableLeaves = 0
    }

    private let configuration: LaneConfiguration
    private let limits: ScrubLimits
    private let layout: LeafLayout
    private var budget: RepairBudget
    private var numbers: AskerNumbers
    private var isDraining = false

    private var place: Place?
    private var scan: StoreToken?
    /// The scan under way ends before this leaf.
    private var scanEnd = 0
    private var nextWalk: MonotonicTime?
    /// What is left of the walk that looks at single leaves have interrupted.
    private var rest: ArraySlice<PartitionID>?
    private var looks: Deque<Look> = []
    /// Leaves of the partition that is read which may not be judged: they have changed since the first of their pages
    /// was asked for, or by what was not committed then.
    private var touched: Set<Int> = []
    /// In the order of their batches.
    private var uncommitted: Deque<Uncommitted> = []
    private var openBatch = BatchNumber(rawValue: 1)

    private var walk = ScrubWalk()
    private var earlier = ScrubStatistics()
    private(set) var nextDeadline: MonotonicTime?

    init(configuration: LaneConfiguration, layout: LeafLayout) {
        self.configuration = configuration
        limits = configuration.limits.scrub
        self.layout = layout
        numbers = AskerNumbers(.scrub, lane: configuration.lane, incarnation: configuration.incarnation)
        var pace = RepairLimits()
        pace.bytesPerSecond = limits.bytesPerSecond
        pace.operationsPerSecond = .max
        budget = RepairBudget(pace)
    }

    var statistics: ScrubStatistics {
        var statistics = earlier
        statistics.total.add(walk)
        return statistics
    }

    // MARK: The lane

    /// Once, at the start.
    mutating func begin(_ now: Now) {
        nextWalk = now.monotonic.advanced(by: min(limits.interval, limits.firstDelay))
        setDeadline()
    }

    mutating func drain() {
        isDraining = true
        nextDeadline = nil
    }

    /// Changes of leaves by the batch that the turn will commit.
    mutating func changed(_ leaves: [LeafChange]) {
        guard limits.isOn else { return }
        for change in leaves {
            let partition = change.tree.partition
            uncommitted.append(Uncommitted(batch: openBatch, partition: partition, leaf: change.leaf))
            if partition == place?.partitions.first { touched.insert(change.leaf) }
        }
    }

    mutating func commits(_ batch: BatchNumber) { openBatch = BatchNumber(rawValue: batch.rawValue + 1) }

    mutating func committed(_ batch: BatchNumber) {
        while let first = uncommitted.first, first.batch <= batch { uncommitted.removeFirst() }
    }

    // MARK: The walk

    mutating func tick(
        _ placement: Placement, _ leaves: LeafTable, _ now: Now, _ effects: inout [ScrubEffect]
    ) {
        guard let due = nextDeadline, due <= now.monotonic, scan == nil else { return }
        if place == nil { beginPlace(placement, leaves, now, &effects) }
        if place != nil { askPage(&effects) }
        setDeadline()
    }

    private mutating func beginPlace(
        _ placement: Placement, _ leaves: LeafTable, _ now: Now, _ effects: inout [ScrubEffect]
    ) {
        if let look = looks.first, look.due <= now.monotonic {
            looks.removeFirst()
            place = Place(
                partitions: [look.partition], leaf: look.leaf, end: look.leaf + 1, look: look,
                cursor: bound(of: look.leaf, in: look.partition), width: 1)
        } else if rest != nil || nextWalk! <= now.monotonic {
            let left = rest ?? partitions(placement, leaves)[...]
            rest = nil
            place = wholePlace(left)
            if left.isEmpty { endWalk(now, &effects) }
        }
    }

    private func wholePlace(_ partitions: ArraySlice<PartitionID>) -> Place {
        Place(partitions: partitions, end: layout.leavesPerPartition, width: layout.leavesPerPartition)
    }

    /// A record was mended.
    mutating func look(at key: ObjectKey, _ now: Now) {
        let look = Look(
            partition: layout.ringSize.partition(of: key.position), leaf: layout.leaf(of: key.position),
            due: now.monotonic)
        enqueue(look)
        setDeadline()
    }

    private mutating func enqueue(_ look: Look) {
        guard limits.isOn, looks.count < Self.looksWaiting,
            !looks.contains(where: { $0.partition == look.partition && $0.leaf == look.leaf })
        else { return }
        // In the order in which they are due.
        looks.insert(look, at: looks.firstIndex { look.due < $0.due } ?? looks.endIndex)
    }

    /// Those of this lane that this node is a replica of, or that its leaves say something of, ascending.
    private func partitions(_ placement: Placement, _ leaves: LeafTable) -> [PartitionID] {
        let ranks = placement.ranks(of: configuration.node)
        let held = ranks.indices.filter { ranks[$0] < .max }.map { PartitionID($0) }.filter {
            LaneConfiguration.lane(of: $0, laneCount: configuration.laneCount) == configuration.lane
        }
        return Set(held).union(leaves.trees.map(\.partition)).sorted { $0.rawValue < $1.rawValue }
    }

    private mutating func askPage(_ effects: inout [ScrubEffect]) {
        let place = place!
        let partition = place.partitions.first!
        // The leaf in which the last page ended has been read from then on; all others are read from now on.
        let isTouched = place.isBegun && touched.contains(place.leaf)
        touched.removeAll(keepingCapacity: true)
        if isTouched { touched.insert(place.leaf) }
        for change in uncommitted where change.partition == partition { touched.insert(change.leaf) }
        scanEnd = min(place.leaf + place.width, place.end)
        let token = numbers.nextToken()
        scan = token
        effects.append(
            .scan(
                ScanRequest(
                    token: token, partition: partition, after: place.cursor,
                    before: scanEnd < layout.leavesPerPartition ? bound(of: scanEnd, in: partition) : nil,
                    entryLimit: limits.pageEntries, byteLimit: limits.pageBytes, fillsCache: false)))
    }

    /// No storage key is so short: all of the leaf's come after it, all of those before it come before.
    private func bound(of leaf: Int, in partition: PartitionID) -> ByteBuffer {
        TreeRange.bytes(of: layout.start(of: leaf, in: partition))
    }

    /// `entries` nil: the range could not be read.
    mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ leaves: LeafTable, _ now: Now,
        _ effects: inout [ScrubEffect]
    ) {
        guard token == scan, place != nil, !isDraining else { return }
        scan = nil
        if let entries {
            let bytes = TreeRange.bytes(of: entries)
            walk.bytes += UInt64(bytes)
            budget.spend(bytes: bytes, at: now.monotonic)
            take(entries, finished: finished, leaves, &effects)
        } else {
            budget.spend(bytes: Self.failureBytes, at: now.monotonic)
            narrow(&effects)
        }
        if place!.leaf == place!.end || place!.unreadableLeaves >= limits.unreadableLeaves { endPlace(now, &effects) }
        setDeadline()
    }

    /// A partition has been read, or a leaf that was looked at.
    private mutating func endPlace(_ now: Now, _ effects: inout [ScrubEffect]) {
        let ended = place!
        touched.removeAll(keepingCapacity: true)
        if var look = ended.look {
            place = nil
            look.failures += 1
            look.due = now.monotonic.advanced(by: Self.lookPause)
            if ended.hasLeft, look.failures < Self.looksTried { enqueue(look) }
            return
        }
        let left = ended.partitions.dropFirst()
        if left.isEmpty {
            endWalk(now, &effects)
        } else if looks.isEmpty {
            place = wholePlace(left)
        } else {
            place = nil
            rest = left
        }
    }

    private mutating func take(
        _ entries: [ScannedEntry], finished: Bool, _ leaves: LeafTable, _ effects: inout [ScrubEffect]
    ) {
        let partition = place!.partitions.first!
        let trees = Trees(of: partition, in: leaves)
        walk.records += UInt64(entries.count)
        for entry in entries {
            // Of a key that has gone bad behind its position the leaf is known all the same.
            let position = entry.storageKey.getInteger(at: entry.storageKey.readerIndex, as: UInt64.self)
                .map { RingPosition(rawValue: $0) }
            if let position, layout.ringSize.partition(of: position) == partition {
                let leaf = layout.leaf(of: position)
                if leaf > place!.leaf { judge(before: leaf, trees, &effects) }
            }
            guard let key = try? ObjectKey(storageKey: entry.storageKey),
                layout.ringSize.partition(of: key.position) == partition
            else {
                place!.isReadable = false
                walk.unreadableRanges += 1
                effects.append(.observed(.scrubbed(.unreadableRange(partition, leaf: place!.leaf))))
                continue
            }
            guard let record = try? Record(decoding: entry.record, for: key), record.hint == nil else {
                place!.isReadable = false
                walk.unreadableRecords += 1
                effects.append(.observed(.scrubbed(.unreadableRecord(key))))
                continue
            }
            guard !record.isGrave else { continue }
            place!.sums[record.header.copies, default: 0] &+=
                configuration.hashSeed.contentHash(key: key, body: record.body).rawValue
        }
        if finished {
            judge(before: scanEnd, trees, &effects)
            place!.isBegun = false
            place!.cursor = scanEnd < layout.leavesPerPartition ? bound(of: scanEnd, in: partition) : nil
            place!.width = min(place!.width * 2, layout.leavesPerPartition)
        } else if let last = entries.last {
            place!.isBegun = true
            place!.cursor = last.storageKey
        }
    }

    /// Of what a scan could not read, the first half; one leaf that cannot be read is passed over.
    private mutating func narrow(_ effects: inout [ScrubEffect]) {
        let width = scanEnd - place!.leaf
        guard width == 1 else { return place!.width = width / 2 }
        let partition = place!.partitions.first!
        walk.unreadableRanges += 1
        effects.append(.observed(.scrubbed(.unreadableRange(partition, leaf: place!.leaf))))
        place!.unreadableLeaves += 1
        beginLeaf(place!.leaf + 1)
        place!.isBegun = false
        place!.cursor = scanEnd < layout.leavesPerPartition ? bound(of: scanEnd, in: partition) : nil
        place!.width = 1
    }

    private mutating func beginLeaf(_ leaf: Int) {
        place!.leaf = leaf
        place!.sums.removeAll(keepingCapacity: true)
        place!.isReadable = true
    }

    /// Judges the leaf that was being read, and those after it, in which there is nothing.
    private mutating func judge(before end: Int, _ trees: Trees, _ effects: inout [ScrubEffect]) {
        judge(place!.leaf, place!.sums, trees, &effects)
        for (copies, counted) in trees.leaves {
            for leaf in place!.leaf + 1..<max(end, place!.leaf + 1) where counted[leaf] != 0 {
                judge(leaf, [:], Trees(partition: trees.partition, leaves: [(copies, counted)]), &effects)
            }
        }
        beginLeaf(end)
    }

    private mutating func judge(_ leaf: Int, _ sums: [UInt8: UInt64], _ trees: Trees, _ effects: inout [ScrubEffect]) {
        guard leaf != place!.leaf || place!.isReadable else { return }
        guard !touched.contains(leaf) || Mutation.scrubWithoutWaiting.isActive else {
            walk.leftLeaves += 1
            place!.hasLeft = true
            return
        }
        for copies in Set(sums.keys).union(trees.leaves.map(\.copies)).sorted() {
            let counted = trees.leaves.first { $0.copies == copies }?.leaves[leaf] ?? 0
            let found = sums[copies] ?? 0
            guard found != counted else { continue }
            let tree = TreeID(partition: trees.partition, copies: copies)
            walk.correctedLeaves += 1
            effects.append(.observed(.scrubbed(.leafCorrected(tree, leaf: leaf))))
            if Mutation.scrubKeepsLeaf.isActive { continue }
            effects.append(.correct(LeafChange(tree: tree, leaf: leaf, delta: found &- counted)))
        }
    }

    private mutating func endWalk(_ now: Now, _ effects: inout [ScrubEffect]) {
        place = nil
        effects.append(.observed(.scrubbed(.walkEnded(walk))))
        earlier.walks += 1
        earlier.total.add(walk)
        walk = ScrubWalk()
        nextWalk = now.monotonic.advanced(by: limits.interval)
    }

    private mutating func setDeadline() {
        guard limits.isOn, !isDraining, scan == nil, let nextWalk else { return nextDeadline = nil }
        guard place == nil, rest == nil else { return nextDeadline = budget.opens }
        nextDeadline = looks.first.map { min(nextWalk, max($0.due, budget.opens)) } ?? nextWalk
    }
}

/// What the leaves of one partition count, by number of copies, ascending.
private struct Trees {
    let partition: PartitionID
    let leaves: [(copies: UInt8, leaves: [UInt64])]

    init(of partition: PartitionID, in table: LeafTable) {
        self.partition = partition
        leaves = (1...UInt8(BucketProperties.maximumCopies)).compactMap { copies in
            table[TreeID(partition: partition, copies: copies)].map { (copies, $0) }
        }
    }

    init(partition: PartitionID, leaves: [(copies: UInt8, leaves: [UInt64])]) {
        self.partition = partition
        self.leaves = leaves
    }
}
