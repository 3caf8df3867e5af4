// What one lane counts, on its loop, without locks. `/stats` collects from every loop and adds up.

import TorcReplication
import TorcWire

/// The operations of clients that are timed apart.
enum ClientOperation: Int, CaseIterable, Sendable {
    case get
    case put
    case delete

    init(_ request: ClientRequest) {
        switch request {
        case .get: self = .get
        case .put: self = .put
        case .delete: self = .delete
        }
    }

    func refused(_ refusal: Refusal) -> ClientAnswer {
        self == .get ? .get(.refused(refusal)) : .write(.refused(refusal))
    }

    var name: String {
        switch self {
        case .get: "get"
        case .put: "put"
        case .delete: "delete"
        }
    }
}

/// Counters and latencies since the node started.
struct LaneMetrics: Sendable {
    struct Operation: Sendable {
        var latency = LatencyHistogram()
        var refused: UInt64 = 0
        /// Reads that missed their quorum, writes that ended `indeterminate`.
        var failed: UInt64 = 0
        var notFound: UInt64 = 0
    }

    /// By `ClientOperation.rawValue`.
    var operations = [Operation](repeating: Operation(), count: ClientOperation.allCases.count)
    var openRequests = 0
    var turns: UInt64 = 0
    var events: UInt64 = 0
    var commits: UInt64 = 0
    var recordsWritten: UInt64 = 0
    var stalls: UInt64 = 0
    var readsFromMemory: UInt64 = 0
    var readsFromDisk: UInt64 = 0
    var messagesSent: UInt64 = 0
    var messagesReceived: UInt64 = 0
    /// Requests of other nodes for which there was no room.
    var messagesDropped: UInt64 = 0
    var readRepairs: UInt64 = 0
    var speculativeReads: UInt64 = 0
    /// Reads that were answered by another's.
    var sharedReads: UInt64 = 0
    /// Reads at ONE that were answered with what was read before.
    var cachedReads: UInt64 = 0
    var overloads: UInt64 = 0
    var unreadableRecords: UInt64 = 0
    var restampedWrites: UInt64 = 0
    var ignoredForwards: UInt64 = 0
    var repair = RepairStatistics()
    var reaping = ReapStatistics()
    var scrub = ScrubStatistics()
    var mending = MendStatistics()
    var salvage = SalvageStatistics()
    /// Writes of other nodes that were refused for their age.
    var staleWrites: UInt64 = 0
    /// Writes that were kept for a node that could not take them, and those that were refused for their number.
    var hintsKept: UInt64 = 0
    var hintsRefused: UInt64 = 0
    var hintsDelivered: UInt64 = 0
    /// What is kept at present.
    var hintsHeld: UInt64 = 0
    var hintBytesHeld: UInt64 = 0
    /// From the commit of a batch to its sync.
    var sync = LatencyHistogram()
    /// Where the loop's time went.
    var stages = StageTimes()

    init() {}

    mutating func note(_ operation: ClientOperation, _ answer: ClientAnswer, microseconds: UInt64) {
        operations[operation.rawValue].latency.record(microseconds: microseconds)
        switch answer {
        case .get(.absent): operations[operation.rawValue].notFound += 1
        case .get(.found), .get(.unchanged), .write(.ok): break
        case .get(.refused), .write(.refused): operations[operation.rawValue].refused += 1
        case .get(.failed), .write(.indeterminate): operations[operation.rawValue].failed += 1
        }
    }

    mutating func add(_ other: LaneMetrics) {
        for index in operations.indices {
            operations[index].latency.add(other.operations[index].latency)
            operations[index].refused += other.operations[index].refused
            operations[index].failed += other.operations[index].failed
            operations[index].notFound += other.operations[index].notFound
        }
        openRequests += other.openRequests
        sync.add(other.sync)
        stages.add(other.stages)
        repair.add(other.repair)
        reaping.add(other.reaping)
        scrub.walks += other.scrub.walks
        scrub.total.add(other.scrub.total)
        mending.add(other.mending)
        salvage.add(other.salvage)
        for counter in Self.counters { self[keyPath: counter.path] += other[keyPath: counter.path] }
    }

    struct Counter: @unchecked Sendable {
        let name: String
        let path: WritableKeyPath<LaneMetrics, UInt64>
    }

    static let counters: [Counter] = [
        Counter(name: "turns", path: \.turns), Counter(name: "events", path: \.events),
        Counter(name: "commits", path: \.commits), Counter(name: "records_written", path: \.recordsWritten),
        Counter(name: "stalls", path: \.stalls), Counter(name: "reads_memory", path: \.readsFromMemory),
        Counter(name: "reads_disk", path: \.readsFromDisk), Counter(name: "messages_sent", path: \.messagesSent),
        Counter(name: "messages_received", path: \.messagesReceived),
        Counter(name: "messages_dropped", path: \.messagesDropped),
        Counter(name: "read_repairs", path: \.readRepairs),
        Counter(name: "speculative_reads", path: \.speculativeReads),
        Counter(name: "shared_reads", path: \.sharedReads),
        Counter(name: "cached_reads", path: \.cachedReads),
        Counter(name: "overloads", path: \.overloads), Counter(name: "unreadable_records", path: \.unreadableRecords),
        Counter(name: "restamped_writes", path: \.restampedWrites),
        Counter(name: "ignored_forwards", path: \.ignoredForwards),
        Counter(name: "hints_kept", path: \.hintsKept), Counter(name: "hints_refused", path: \.hintsRefused),
        Counter(name: "hints_delivered", path: \.hintsDelivered), Counter(name: "hints_held", path: \.hintsHeld),
        Counter(name: "hint_bytes_held", path: \.hintBytesHeld),
        Counter(name: "stale_writes", path: \.staleWrites),
    ]
}
