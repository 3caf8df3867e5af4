// `/stats`: what the node counted since it started, as one JSON object. Names are Torc's own, but for the few
// that Riak's clients look for.

import NIOCore
import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

/// Adds up the counters of all lanes.
struct Statistics: Sendable {
    var nodeName: String
    var memberNames: [String]
    var partitions: Int
    var started: MonotonicTime
    var openConnections: Int
    var refusedConnections: Int
    var metrics: LaneMetrics
    var laneCount: Int
    var store: StoreStatistics

    func json() -> String {
        var fields: [(String, String)] = [
            // Riak's clients choose features by it.
            ("riak_kv_version", LineLogHandler.jsonString(RiakText.serverVersion)),
            ("torc_version", LineLogHandler.jsonString(BuildVersion.current)),
            ("nodename", LineLogHandler.jsonString(nodeName)),
            ("ring_members", "[\(memberNames.map(LineLogHandler.jsonString).joined(separator: ","))]"),
            ("ring_num_partitions", "\(partitions)"),
            ("uptime_seconds", "\(NodeClock.monotonic().microseconds(since: started) / 1_000_000)"),
            ("lanes", "\(laneCount)"),
            ("pbc_active", "\(openConnections)"),
            ("pbc_refused", "\(refusedConnections)"),
            ("open_requests", "\(metrics.openRequests)"),
        ]
        for operation in ClientOperation.allCases {
            let counted = metrics.operations[operation.rawValue]
            fields.append((operation.name, Self.json(counted)))
        }
        fields.append(("sync", "{\(Self.latency(metrics.sync))}"))
        fields.append(("stages", Self.json(metrics.stages)))
        if let counted = Allocator.counted {
            fields.append(("allocations", "{\"count\":\(counted.allocations),\"bytes\":\(counted.bytes)}"))
        }
        fields.append(("store", Self.json(store)))
        fields.append(("repair", metrics.repair.json))
        fields.append(("reaping", metrics.reaping.json))
        fields.append(("scrub", metrics.scrub.json(metrics.mending)))
        fields.append(("damage", metrics.salvage.json))
        for counter in LaneMetrics.counters { fields.append((counter.name, "\(metrics[keyPath: counter.path])")) }
        return "{" + fields.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}\n"
    }

    private static func json(_ store: StoreStatistics) -> String {
        let figures: [(String, UInt64)] = [
            ("keys_estimate", store.keysEstimate), ("table_bytes", store.tableBytes),
            ("memtable_bytes", store.memtableBytes), ("block_cache_bytes", store.blockCacheBytes),
            ("block_cache_hits", store.blockCacheHits), ("block_cache_misses", store.blockCacheMisses),
            ("log_bytes_written", store.logBytesWritten), ("log_syncs", store.logSyncs),
            ("flush_bytes", store.flushBytes), ("compaction_written_bytes", store.compactionWrittenBytes),
            ("pending_compaction_bytes", store.pendingCompactionBytes), ("stall_us", store.stallMicroseconds),
            ("background_errors", store.backgroundErrors),
        ]
        return "{" + figures.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    private static func json(_ stages: StageTimes) -> String {
        let times = LoopStage.allCases.map { "\"\($0.name)\":\(stages.nanoseconds[$0.rawValue])" }
        return "{\"turns\":\(stages.turns),\"timed_turns\":\(stages.timedTurns),"
            + "\"interruptions\":\(stages.interruptions),\"taken\":\(stages.taken),"
            + "\"waited_ns\":\(stages.waitedNanoseconds),\"ns\":{\(times.joined(separator: ","))}}"
    }

    private static func json(_ operation: LaneMetrics.Operation) -> String {
        "{\(latency(operation.latency)),\"refused\":\(operation.refused),\"failed\":\(operation.failed),"
            + "\"not_found\":\(operation.notFound)}"
    }

    private static func latency(_ histogram: LatencyHistogram) -> String {
        let mean = histogram.count == 0 ? 0 : histogram.totalMicroseconds / histogram.count
        return
            "\"count\":\(histogram.count),\"total_us\":\(histogram.totalMicroseconds),\"mean_us\":\(mean),\"p50_us\":\(histogram.percentile(0.5)),"
            + "\"p95_us\":\(histogram.percentile(0.95)),\"p99_us\":\(histogram.percentile(0.99)),"
            + "\"p999_us\":\(histogram.percentile(0.999)),\"max_us\":\(histogram.maximumMicroseconds)"
    }
}

extension SalvageStatistics {
    var json: String {
        "{\"damaged_partitions\":\(damaged),\"comparing_partitions\":\(comparing),\"restored_partitions\":\(restored)}"
    }
}

extension ScrubStatistics {
    func json(_ mending: MendStatistics) -> String {
        "{\"walks\":\(walks),\"records\":\(total.records),\"scanned_bytes\":\(total.bytes),"
            + "\"corrected_leaves\":\(total.correctedLeaves),\"unreadable_records\":\(total.unreadableRecords),"
            + "\"unreadable_ranges\":\(total.unreadableRanges),\"left_leaves\":\(total.leftLeaves),"
            + "\"mended_records\":\(mending.mended),\"failed_mends\":\(mending.failed),"
            + "\"records_to_mend\":\(mending.waiting)}"
    }
}
