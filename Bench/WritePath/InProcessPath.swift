// A put without sockets and without other threads: the node's own lane and store, driven by one loop here that does what
// `LaneDriver` does, so that every stage can be timed and nothing else is.
//
//   frame ─► parse ─► coordination ─► read ─► merge ─► the turn ends ─► batch ─► log and memtable ─► sync ─► reply

import Foundation
import Glibc
import Histogram
import Logging
import NIOCore
import TorcLoad
import TorcModel
import TorcReplication
import TorcServer
import TorcStorage
import TorcWire

/// One node of one lane, and a client of it.
final class InProcessPath {
    private static let bucket = "bench"
    /// Records of a round that are encoded and hashed once more, to see what these take.
    private static let besideCount = 512
    private static let settleLimit = TimeAmount.seconds(60)

    private let clock = StageClock(turnsPerTiming: 1)
    private let store: NodeStore
    private let laneStore: LaneStore
    private var lane: Lane
    private let hashSeed: HashSeed
    private let decoder: RiakRequestDecoder
    private let encoder: RiakResponseEncoder
    private var frames: RiakFrameDecoder
    private var effects: [LaneEffect] = []
    private var now = InProcessPath.time()
    private var committed: BatchNumber?
    private var nextRequest: UInt64 = 0
    private var open: [RequestID: (key: Int, request: RiakObjectRequest)] = [:]
    /// By key: what the last answer gave.
    private var contexts: [ByteBuffer?]
    private let values: ByteBuffer
    private let valueBytes: Int
    private var random: LoadRandom
    private(set) var failures: [String] = []
    /// Writes of the round, for what is measured beside.
    private var written: [RecordWrite] = []
    private var syncNanoseconds: UInt64 = 0
    private var isSynced = true

    /// `memoryBytes`: split as a node splits it; nil: the store's own measure, some 400 MiB.
    init(folder: String, keys: Int, valueBytes: Int, ringSize: RingSize, memoryBytes: Int?, seed: UInt64) throws {
        let node = NodeID(rawValue: 0x70_72_c1)
        guard let key = ClusterKey(secret: Array("a cluster that lives for one run".utf8)) else {
            preconditionFailure("the secret is long enough")
        }
        hashSeed = key.hashSeed
        decoder = RiakRequestDecoder(clusterKey: key)
        encoder = RiakResponseEncoder(clusterKey: key)
        frames = RiakFrameDecoder(maximumFrameBytes: RiakConnectionLimits(objectBytes: valueBytes).frameBytes)
        let data = try DataFolder.open(
            folder, cluster: ClusterID(rawValue: 1), node: node, ringSize: ringSize, create: true)
        let opened = try NodeStore.open(
            data, partitions: (0..<ringSize.partitions).map { PartitionID($0) }, laneCount: 1,
            hashSeed: hashSeed, options: memoryBytes.map(ServerConfiguration.storeOptions) ?? StoreOptions(),
            logger: Logger(label: "torc", factory: { _ in SwiftLogNoOpLogHandler() }))
        store = opened.store
        laneStore = opened.lanes[0]
        let incarnation = Incarnation(rawValue: 1)
        try store.beginIncarnation(incarnation)
        var limits = LaneLimits()
        // Alone, a node has nobody to compare with, and what else it does by the clock is no part of a put.
        limits.repair.isOn = false
        limits.scrub.isOn = false
        limits.reaping.isOn = false
        let owners = [NodeID](repeating: node, count: ringSize.partitions)
        lane = Lane(
            configuration: LaneConfiguration(
                node: node, lane: 0, laneCount: 1, incarnation: incarnation, hashSeed: hashSeed, limits: limits),
            placement: Placement(Ring(epoch: 1, size: ringSize, owners: owners)), properties: PropertiesTable(),
            leaves: opened.leaves[0], generator: SeededGenerator(seed: seed))
        contexts = Array(repeating: nil, count: keys)
        random = LoadRandom(seed: seed)
        self.valueBytes = valueBytes
        var bytes = ByteBuffer()
        while bytes.readableBytes < valueBytes * 2 + 8 { bytes.writeInteger(random.next()) }
        values = bytes
        for first in stride(from: 0, to: keys, by: 64) {
            try turn(Array(first..<min(first + 64, keys)))
        }
        // What that has left to be compacted is no part of what is measured.
        let end = NIODeadline.now() + Self.settleLimit
        while store.statistics.pendingCompactionBytes > 0, NIODeadline.now() < end { usleep(50_000) }
    }

    func close() throws { try store.abandon() }

    private static func time() -> Now {
        var wall = timespec()
        clock_gettime(CLOCK_REALTIME, &wall)
        return Now(
            monotonic: MonotonicTime(nanoseconds: NIODeadline.now().uptimeNanoseconds),
            wall: WallTime(microseconds: UInt64(wall.tv_sec) * 1_000_000 + UInt64(wall.tv_nsec) / 1_000))
    }

    /// Puts for so long, so many a turn, each turn followed by a sync, or by nothing but a write to the kernel; adds the round's
    /// figures to the level.
    func round(puttingTogether count: Int, isSynced: Bool = true, seconds: Double, into level: inout Level) throws {
        self.isSynced = isSynced
        defer { self.isSynced = true }
        var turns = Histogram<UInt64>(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
        written.removeAll()
        failures.removeAll()
        syncNanoseconds = 0
        let stages = clock.counted, before = store.statistics, system = SystemCalls.ofThisProcess
        let allocated = Allocator.counted, cpu = Self.nanoseconds(CLOCK_THREAD_CPUTIME_ID)
        let allCPU = Self.nanoseconds(CLOCK_PROCESS_CPUTIME_ID)
        WriteTimes.begin()
        let begun = NIODeadline.now()
        let end = begun + .nanoseconds(Int64(seconds * 1e9))
        var puts = 0
        while NIODeadline.now() < end {
            let turnBegun = NIODeadline.now()
            try turn((0..<count).map { _ in Int(random.next() % UInt64(contexts.count)) })
            turns.record(UInt64((NIODeadline.now() - turnBegun).nanoseconds))
            puts += count
        }
        let passed = Double((NIODeadline.now() - begun).nanoseconds)
        let writes = WriteTimes.end()
        let used = Double(Self.nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu), after = store.statistics
        let allUsed = Double(Self.nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - allCPU)
        if let failure = failures.first { throw BenchFailure("a put failed in process: \(failure)") }

        let operations = Double(puts)
        var counted = clock.counted
        for index in counted.nanoseconds.indices { counted.nanoseconds[index] -= stages.nanoseconds[index] }
        func stage(_ name: String, _ nanoseconds: Double) {
            level.add(name, nanoseconds / 1000 / operations, unit: "µs", isStage: true)
        }
        func spent(_ stage: LoopStage) -> Double { Double(counted.nanoseconds[stage.rawValue]) }
        stage("parse", spent(.parse))
        stage("coordination", spent(.coordination))
        stage("read of the old record", spent(.read))
        stage("merge", spent(.merge))
        stage("encode and leaf", spent(.record))
        stage("batch", spent(.batch))
        let log = Double(writes.logNanoseconds), memtable = Double(writes.memtableNanoseconds)
        stage("log", log)
        stage("memtable", memtable)
        stage("write, the rest", max(0, spent(.commit) - log - memtable))
        stage("sync (waiting)", Double(syncNanoseconds))
        stage("release", spent(.release))
        stage("reply", spent(.answer))
        stage("loop", spent(.turn))
        level.add("puts", operations / passed * 1e9, unit: "a second", better: .more)
        for (name, percentile) in [("median", 50.0), ("p99", 99), ("p99.9", 99.9)] {
            level.add("turn and its sync, \(name)", Double(turns.valueAtPercentile(percentile)) / 1e6, unit: "ms")
        }
        level.add("processor time, client's frames included", used / 1000 / operations, unit: "µs")
        level.add("processor time, flush and compaction too", allUsed / 1000 / operations, unit: "µs")
        level.addStore(before, after, operations: operations, valueBytes: valueBytes)
        if let system, let now = SystemCalls.ofThisProcess {
            level.add("reads and writes (system calls)", Double(now - system) / operations, unit: "a put")
        }
        if let allocated, let now = Allocator.counted {
            level.add("allocations", Double(now.allocations - allocated.allocations) / operations, unit: "a put")
            level.add("bytes allocated", Double(now.bytes - allocated.bytes) / operations, unit: "a put")
        }
        let beside = measureBeside()
        level.add("of encode and leaf: encode", beside.encode, unit: "µs")
        level.add("of encode and leaf: leaf", beside.leaf, unit: "µs")
    }

    private static func nanoseconds(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private func timed<Result>(_ stage: LoopStage, _ body: () throws -> Result) rethrows -> Result {
        let span = clock.enter(stage)
        defer { clock.leave(span) }
        return try body()
    }

    // MARK: A turn

    private func turn(_ keys: [Int]) throws {
        let arrived = keys.map { key in
            var bytes = ByteBuffer()
            let start = Int(random.next() % UInt64(valueBytes + 1))
            RiakFrames.writePut(
                bucket: ByteBuffer(string: Self.bucket), key: ByteBuffer(string: "key\(key)"), context: contexts[key],
                value: values.getSlice(at: start, length: valueBytes)!, w: nil, wantsContext: true, into: &bytes)
            return (key, bytes)
        }
        now = Self.time()
        clock.turnBegins()
        try timed(.turn) {
            for (key, bytes) in arrived {
                let request = try timed(.parse) {
                    frames.append(bytes)
                    guard let frame = try frames.next(),
                        case .object(let request) = try decoder.decode(frame, keyEntropy: { (0, 0) })
                    else { throw BenchFailure("a put's frame is none") }
                    return request
                }
                nextRequest += 1
                let id = RequestID(rawValue: nextRequest)
                open[id] = (key, request)
                timed(.coordination) {
                    lane.handle(
                        .client(id, request.request, deadline: now.monotonic.advanced(by: .seconds(10))), now: now,
                        effects: &effects)
                }
                try carryOut()
            }
            timed(.record) { lane.handle(.turnEnded, now: now, effects: &effects) }
            try carryOut()
        }
        guard let batch = committed else { throw BenchFailure("puts ended without a batch") }
        let begun = NIODeadline.now()
        try isSynced ? store.sync() : store.writeOut()
        syncNanoseconds += UInt64((NIODeadline.now() - begun).nanoseconds)
        try timed(.turn) {
            timed(.release) { lane.handle(.synced(through: batch), now: now, effects: &effects) }
            try carryOut()
        }
        committed = nil
    }

    private func carryOut() throws {
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            switch effect {
            case .read(let token, let place, let key): try read(token, place, key)
            case .write(let write):
                if written.count < Self.besideCount { written.append(write) }
                try timed(.batch) { try laneStore.append(write) }
            case .commit(let batch): try commit(batch)
            case .answer(let id, let answer): answered(id, answer)
            case .correct(let change): laneStore.correct(change)
            case .observed, .progress, .scan, .send, .listed, .repaired, .salvage, .restored: break
            }
        }
        effects.removeAll(keepingCapacity: true)
    }

    private func read(_ token: StoreToken, _ place: RecordPlace, _ key: ObjectKey) throws {
        let found: StoreRead
        switch timed(.read, { laneStore.readInMemory(place, key) }) {
        case .known(let result): found = result
        // A reader thread's part.
        case .notInMemory: found = timed(.read) { store.readBlocking(place, key) }
        }
        timed(.merge) { lane.handle(.recordRead(token, found), now: now, effects: &effects) }
    }

    private func commit(_ batch: BatchNumber) throws {
        while try timed(.commit, { try laneStore.commit(leaves: lane.leaves) }) == .stalled { usleep(1000) }
        timed(.release) { lane.handle(.committed(batch), now: now, effects: &effects) }
        committed = batch
    }

    private func answered(_ id: RequestID, _ answer: ClientAnswer) {
        guard let (key, request) = open.removeValue(forKey: id) else { return }
        let frame = timed(.answer) {
            let frame = encoder.encode(answer, to: request)
            var bytes = ByteBuffer()
            frame.encode(into: &bytes)
            return frame
        }
        if frame.code == RiakFrames.errorResponse, failures.isEmpty {
            failures.append(RiakFrames.bytes(ofField: 1, in: frame.body).map { String(buffer: $0) } ?? "an error")
        }
        contexts[key] = RiakFrames.bytes(ofField: 2, in: frame.body).map { ByteBuffer(buffer: $0) }
    }

    // MARK: Beside

    /// The same calls once more on the round's records: inside the lane they cannot be told from one another.
    /// Microseconds a record.
    private func measureBeside() -> (encode: Double, leaf: Double) {
        var encoded: Int64 = 0, hashed: Int64 = 0, count = 0, bytes = 0
        var table = lane.leaves
        // The table's first change copies it.
        for write in written { for change in write.leaves { table.apply(change) } }
        for write in written {
            guard let record = write.record, let found = try? Record(decoding: record, for: write.key),
                let object = try? found.object()
            else { continue }
            let begun = NIODeadline.now()
            bytes += Record(header: found.header, body: object.encoded).encoded(for: write.key).readableBytes
            let middle = NIODeadline.now()
            // Of the record as it was, and as it is.
            let hash = hashSeed.contentHash(key: write.key, body: found.body)
            let again = hashSeed.contentHash(key: write.key, body: found.body)
            for var change in write.leaves {
                change.delta = hash.rawValue &- again.rawValue
                table.apply(change)
            }
            encoded += (middle - begun).nanoseconds
            hashed += (NIODeadline.now() - middle).nanoseconds
            count += 1
        }
        precondition(count == 0 || bytes > 0, "records without bytes")
        return (Double(encoded) / 1000 / Double(max(1, count)), Double(hashed) / 1000 / Double(max(1, count)))
    }
}

extension Level {
    /// What the store wrote for so many puts.
    mutating func addStore(_ before: StoreStatistics, _ after: StoreStatistics, operations: Double, valueBytes: Int) {
        addStore(
            log: Double(after.logBytesWritten - before.logBytesWritten),
            flush: Double(after.flushBytes - before.flushBytes),
            compaction: Double(after.compactionWrittenBytes - before.compactionWrittenBytes),
            syncs: Double(after.logSyncs - before.logSyncs), operations: operations, valueBytes: valueBytes)
    }

    mutating func addStore(
        log: Double, flush: Double, compaction: Double, syncs: Double, operations: Double, valueBytes: Int
    ) {
        let user = operations * Double(max(1, valueBytes))
        add("log written", log / user, unit: "bytes a byte of value")
        add("flushed", flush / user, unit: "bytes a byte of value")
        add("compacted", compaction / user, unit: "bytes a byte of value")
        add("syncs", syncs / operations, unit: "a put")
    }
}
