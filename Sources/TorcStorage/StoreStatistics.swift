// Figures for metrics.

import CRocksDB
import Synchronization
package import TorcModel

package struct StoreStatistics: Hashable, Sendable {
    package var memtableBytes: UInt64 = 0
    package var blockCacheBytes: UInt64 = 0
    package var blockCacheHits: UInt64 = 0
    package var blockCacheMisses: UInt64 = 0
    package var memtableHits: UInt64 = 0
    package var memtableMisses: UInt64 = 0
    package var logBytesWritten: UInt64 = 0
    package var logSyncs: UInt64 = 0
    package var flushBytes: UInt64 = 0
    package var compactionReadBytes: UInt64 = 0
    package var compactionWrittenBytes: UInt64 = 0
    package var pendingCompactionBytes: UInt64 = 0
    package var tableBytes: UInt64 = 0
    package var keysEstimate: UInt64 = 0
    package var stallMicroseconds: UInt64 = 0
    /// Above zero a flush or compaction has failed, and writes will.
    package var backgroundErrors: UInt64 = 0
    package var latestSequence: UInt64 = 0
    package var syncedThrough: UInt64 = 0

    package init() {}
}

extension NodeStore {
    /// Counters since the start and present sizes. From any thread; looks at every family, so not for every request.
    package var statistics: StoreStatistics {
        var raw = torc_statistics()
        torc_statistics_read(database.handle, &raw)
        var result = StoreStatistics()
        result.memtableBytes = raw.memtable_bytes
        result.blockCacheBytes = raw.block_cache_used_bytes
        result.blockCacheHits = raw.block_cache_hits
        result.blockCacheMisses = raw.block_cache_misses
        result.memtableHits = raw.memtable_hits
        result.memtableMisses = raw.memtable_misses
        result.logBytesWritten = raw.log_bytes
        result.logSyncs = raw.log_syncs
        result.flushBytes = raw.flush_bytes
        result.compactionReadBytes = raw.compaction_read_bytes
        result.compactionWrittenBytes = raw.compaction_written_bytes
        result.stallMicroseconds = raw.stall_microseconds
        result.pendingCompactionBytes = database.property("rocksdb.estimate-pending-compaction-bytes")
        result.tableBytes = database.property("rocksdb.total-sst-files-size")
        result.keysEstimate = database.property("rocksdb.estimate-num-keys")
        result.backgroundErrors = database.property("rocksdb.background-errors")
        result.latestSequence = database.latestSequence
        result.syncedThrough = syncedThrough.load(ordering: .acquiring)
        return result
    }

    /// Bytes of a partition's records, roughly: for plans.
    package func liveBytes(of partition: PartitionID) -> UInt64 {
        guard let family = familyIfPresent(partition),
            database.property("rocksdb.estimate-num-keys", of: family) > 0
        else { return 0 }
        let tables = database.property("rocksdb.estimate-live-data-size", of: family)
        let memory =
            database.property("rocksdb.num-entries-active-mem-table", of: family) == 0
            ? 0 : database.property("rocksdb.cur-size-active-mem-table", of: family)
        return tables + memory
    }

    /// Keys of a partition, roughly: for status pages.
    package func keysEstimate(of partition: PartitionID) -> UInt64 {
        database.property("rocksdb.estimate-num-keys", of: family(partition))
    }
}
