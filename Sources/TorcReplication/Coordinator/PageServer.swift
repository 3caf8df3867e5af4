// The serving side of a listing: a page of the live keys of a partition, from this node's copy.
//
// A request is answered with the next keys, or bucket names, that a few scans of the store find; with none
// yet, and where to go on, when those scans met only other buckets or deleted objects. So a page costs a
// bounded amount of reading, and a listing that finds nothing still moves forward.
//
// The store shows records whose sync is under way. What a scan found is told only when everything that had
// been written when it came back is on disk.

import DequeModule
import NIOCore
import TorcModel

struct PageServer: Sendable {
    /// Scans for one page.
    static let scansForPage = 16
    static let entriesForScan = 512
    static let bytesForScan = 256 << 10
    /// Pages being read, or waiting for a sync; one more is refused `overloaded`.
    static let pagesAtOnce = 64

    private struct Page: Sendable {
        var asker: NodeID
        var request: PageRequest
        var scans = 0
    }

    private struct Held: Sendable {
        var through: BatchNumber
        var asker: NodeID
        var operation: OperationID
        var outcome: PageOutcome
    }

    private let configuration: LaneConfiguration
    private var placement: Placement
    private var pages: [StoreToken: Page] = [:]
    /// Ascending by batch.
    private var held: Deque<Held> = []
    private var numbers: AskerNumbers
    /// The last batch that the store was told to write, and the last that is on disk.
    private var written = BatchNumber(rawValue: 0)
    private var synced = BatchNumber(rawValue: 0)

    init(configuration: LaneConfiguration, placement: Placement) {
        self.configuration = configuration
        self.placement = placement
        numbers = AskerNumbers(.listings, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    var isIdle: Bool { pages.isEmpty && held.isEmpty }

    // MARK: Events

    mutating func requested(
        _ request: PageRequest, by asker: NodeID, _ gates: PartitionGates, _ effects: inout [LaneEffect]
    ) {
        guard holds(request) else { return refuse(request, by: asker, .notHeld, &effects) }
        guard gates.isWhole(request.partition) else { return refuse(request, by: asker, .unreadable, &effects) }
        guard pages.count + held.count < Self.pagesAtOnce else {
            return refuse(request, by: asker, .overloaded, &effects)
        }
        scan(Page(asker: asker, request: request), &effects)
    }

    /// `entries` nil: the range could not be read.
    mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ gates: PartitionGates, _ wall: WallTime,
        _ effects: inout [LaneEffect]
    ) {
        guard var page = pages.removeValue(forKey: token) else { return }
        guard gates.isWhole(page.request.partition), let entries,
            let items = items(of: entries, for: page.request.subject, wall, &effects)
        else {
            return refuse(page.request, by: page.asker, .unreadable, &effects)
        }
        let resume = finished ? nil : entries.last?.storageKey
        page.scans += 1
        if items.isEmpty, let resume, page.scans < Self.scansForPage {
            page.request.after = resume
            return scan(page, &effects)
        }
        answer(page, .page(items: items, resume: resume), &effects)
    }

    /// The store is told to write a batch.
    mutating func commits(_ batch: BatchNumber) { written = batch }

    mutating func synced(through batch: BatchNumber, _ effects: inout [LaneEffect]) {
        synced = max(synced, batch)
        while let first = held.first, first.through <= synced {
            held.removeFirst()
            effects.append(.send(.pageResult(first.operation, first.outcome), to: first.asker))
        }
    }

    /// What this node does not hold any more is discarded: a page of it could lack keys.
    mutating func ringChanged(_ placement: Placement, _ effects: inout [LaneEffect]) {
        self.placement = placement
        for (token, page) in pages.sorted(by: { $0.key < $1.key }) where !holds(page.request) {
            pages[token] = nil
            refuse(page.request, by: page.asker, .notHeld, &effects)
        }
    }

    // MARK: Decisions

    private func holds(_ request: PageRequest) -> Bool {
        placement.ring.size.contains(request.partition)
            && (1...BucketProperties.maximumCopies).contains(Int(request.copies))
            && LaneConfiguration.lane(of: request.partition, laneCount: configuration.laneCount)
                == configuration.lane
            && placement.holds(configuration.node, request.partition, copies: Int(request.copies))
    }

    private mutating func scan(_ page: Page, _ effects: inout [LaneEffect]) {
        let token = numbers.nextToken()
        pages[token] = page
        effects.append(
            .scan(
                ScanRequest(
                    token: token, partition: page.request.partition, after: page.request.after,
                    entryLimit: Self.entriesForScan, byteLimit: Self.bytesForScan)))
    }

    private mutating func answer(_ page: Page, _ outcome: PageOutcome, _ effects: inout [LaneEffect]) {
        let operation = page.request.operation
        if written <= synced || Mutation.listUnsynced.isActive {
            effects.append(.send(.pageResult(operation, outcome), to: page.asker))
        } else {
            held.append(Held(through: written, asker: page.asker, operation: operation, outcome: outcome))
        }
    }

    private func refuse(
        _ request: PageRequest, by asker: NodeID, _ failure: ReplicaFailure, _ effects: inout [LaneEffect]
    ) {
        effects.append(.send(.pageResult(request.operation, .failed(failure)), to: asker))
    }

    /// What of a scan belongs to the subject and lives. Nil when a record cannot be read: to leave it out would
    /// be to say that it is not there.
    private func items(
        of entries: [ScannedEntry], for subject: PageRequest.Subject, _ wall: WallTime, _ effects: inout [LaneEffect]
    ) -> [ByteBuffer]? {
        var items: [ByteBuffer] = []
        var buckets: Set<ByteBuffer> = []
        for entry in entries {
            guard let key = try? ObjectKey(storageKey: entry.storageKey) else { return nil }
            let bucket = key.bucket
            let item: ByteBuffer
            switch subject {
            case .keys(let wanted):
                guard bucket == wanted else { continue }
                item = key.key
            case .buckets(let type):
                guard bucket.type == type, !buckets.contains(bucket.name) else { continue }
                item = bucket.name
            }
            guard let object = try? Record(decoding: entry.record, for: key).object() else {
                effects.append(.observed(.unreadableRecord(key)))
                return nil
            }
            guard object.siblings.contains(where: { $0.stands(at: wall) }) else { continue }
            if case .buckets = subject { buckets.insert(item) }
            items.append(item)
        }
        return items
    }
}
