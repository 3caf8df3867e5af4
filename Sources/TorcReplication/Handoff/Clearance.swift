// Clears out what a node holds no longer: when copies have moved and every node knows it, the records of trees that
// are others' now are removed, a page at a time. What is left to remove shows in the leaves, so a restart goes on
// with it, and a node that gave nothing away reads nothing.
//
//   settled ─► trees that are not held and not empty ─► scan a page ─► discard each key in its queue ─► pause ─► …
//      ▲                                                                     nothing left to scan │
//      └───────────────── look again: a queue that was full refused some ◄────────────────────────┘

import DequeModule
import NIOCore
import TorcModel

enum ClearanceEffect: Hashable, Sendable {
    case scan(ScanRequest)
    case discard(Discard)
}

struct Clearance: Sendable {
    /// A page of keys; all are discarded in one turn.
    static let entriesForScan = 256
    static let bytesForScan = 1 << 20
    /// Between two pages, so that the disk serves others, too.
    static let pause = Duration.milliseconds(5)
    /// Until it is looked whether everything is gone.
    static let secondLook = Duration.seconds(1)
    /// Until a partition is tried again of which a range could not be read.
    static let retry = Duration.seconds(10)

    private let configuration: LaneConfiguration
    private var placement: Placement
    /// Partitions that are still to be read.
    private var partitions: Deque<PartitionID> = []
    /// The storage key after which the first of them is read on.
    private var cursor: ByteBuffer?
    private var scan: StoreToken?
    /// Left until the next start or ring: a record of theirs cannot be decoded. It is nothing that could come back.
    private var undecodable: Set<PartitionID> = []
    /// A range of theirs could not be read. What is in it could come back, so nothing is reaped until it is gone.
    private var unread: Set<PartitionID> = []
    private var numbers: AskerNumbers
    private(set) var nextDeadline: MonotonicTime?

    init(configuration: LaneConfiguration, placement: Placement) {
        self.configuration = configuration
        self.placement = placement
        numbers = AskerNumbers(.clearance, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    var isIdle: Bool { nextDeadline == nil && scan == nil }

    /// Also once at the start.
    mutating func ringChanged(_ placement: Placement, _ leaves: LeafTable, _ now: Now) {
        self.placement = placement
        partitions = []
        undecodable = []
        unread = []
        cursor = nil
        scan = nil
        findPartitions(leaves)
        nextDeadline = partitions.isEmpty ? nil : now.monotonic
    }

    private mutating func findPartitions(_ leaves: LeafTable) {
        guard placement.phase == .settled else { return }
        for tree in leaves.trees
        where partitions.last != tree.partition && !undecodable.contains(tree.partition)
            && !unread.contains(tree.partition)
        {
            let isHeld = placement.holds(configuration.node, tree.partition, copies: Int(tree.copies))
            if !isHeld, leaves[tree]!.contains(where: { $0 != 0 }) { partitions.append(tree.partition) }
        }
    }

    mutating func tick(_ leaves: LeafTable, _ now: Now, _ effects: inout [ClearanceEffect]) {
        guard let due = nextDeadline, due <= now.monotonic, scan == nil else { return }
        nextDeadline = nil
        if partitions.isEmpty { findPartitions(leaves) }
        guard let partition = partitions.first else {
            if !unread.isEmpty { nextDeadline = now.monotonic.advanced(by: Self.retry) }
            unread = []
            return
        }
        let token = numbers.nextToken()
        scan = token
        effects.append(
            .scan(
                ScanRequest(
                    token: token, partition: partition, after: cursor, entryLimit: Self.entriesForScan,
                    byteLimit: Self.bytesForScan)))
    }

    /// `entries` nil: the range could not be read.
    mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ now: Now,
        _ effects: inout [ClearanceEffect]
    ) {
        guard token == scan, let partition = partitions.first else { return }
        scan = nil
        if entries == nil { unread.insert(partition) }
        for entry in entries ?? [] {
            cursor = entry.storageKey
            guard let key = try? ObjectKey(storageKey: entry.storageKey),
                let record = try? Record(decoding: entry.record, for: key)
            else {
                undecodable.insert(partition)
                continue
            }
            let isHeld = placement.holds(configuration.node, partition, copies: Int(record.header.copies))
            if !isHeld { effects.append(.discard(Discard(key: key))) }
        }
        if finished || entries?.isEmpty ?? true {
            partitions.removeFirst()
            cursor = nil
        }
        nextDeadline = now.monotonic.advanced(by: partitions.isEmpty ? Self.secondLook : Self.pause)
    }
}
