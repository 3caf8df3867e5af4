// Log and memtable of a write are one call of RocksDB, which can tell how long each took. For benches.

import CRocksDB

package struct WriteTimes: Hashable, Sendable {
    package var logNanoseconds: UInt64
    package var memtableNanoseconds: UInt64

    /// Counts from now on what this thread writes, and costs it several readings of the clock a write.
    package static func begin() { torc_write_times_begin() }

    /// What was counted since; nothing is counted any more.
    package static func end() -> WriteTimes {
        let times = torc_write_times_end()
        return WriteTimes(logNanoseconds: times.log_nanoseconds, memtableNanoseconds: times.memtable_nanoseconds)
    }
}
