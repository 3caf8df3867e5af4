// RocksDB with typed errors and Swift's notion of bytes. It knows families and batches, nothing of records.

import CRocksDB
import Glibc
import NIOCore

/// Settings of the database that a node's operator may want to turn.
package struct StoreOptions: Hashable, Sendable {
    /// What the memtables of all families may take together; past it the oldest is written out to a table. More where there are
    /// many families (`memtableBytes(families:)`).
    package var memtableBytes = 96 << 20
    /// Memtables and cached blocks together.
    package var cacheBytes = 160 << 20
    /// The log is kept no longer than this: families that hold back its oldest file are written out.
    package var logBytes = 512 << 20
    /// Log that passes between two stores of a partition's leaf array: what is replayed after a crash.
    package var leafStoreBytes = 128 << 20
    package var backgroundJobs = 2
    /// Memtable of the partition families; the measured choice is the default.
    package var partitionMemtable = MemtableKind.hashLinkList
    package var partitionMemtableBytes = 8 << 20
    package var partitionHashBuckets = 4096
    package var partitionBloomRatio = 0.0
    package var arenaBlockBytes = 64 << 10
    package var blockBytes = 4 << 10
    /// The leaf deltas of a write travel in its batch. Off only to measure what that costs.
    package var logsLeaves = true

    package enum MemtableKind: Hashable, Sendable { case skipList, hashLinkList, hashSkipList }

    package init() {}

    /// With less a family, tables get so small that making and compacting them eats the gain.
    private static let familyMemtableBytes = 3 << 19
    /// What a family that is written to takes at the least: its hash buckets, a block of the arena, and as much of the one that is
    /// being written out.
    private static let leastFamilyBytes = 256 << 10

    /// What so many families may take together: at most three quarters of the cache, so that something is left for blocks.
    package func memtableBytes(families: Int) -> Int {
        max(memtableBytes, min(families * Self.familyMemtableBytes, cacheBytes / 4 * 3))
    }

    /// Then writes wait: memtables are charged to the cache, and leave it no block before.
    package func memtableLimitBytes(families: Int) -> Int {
        max(cacheBytes, memtableBytes(families: families) / 3 * 4, families * Self.leastFamilyBytes)
    }
}

final class Database: @unchecked Sendable {
    // RocksDB's handle may be used from any thread; it never changes.
    let handle: OpaquePointer

    private init(handle: OpaquePointer) { self.handle = handle }

    static func familyNames(at path: String) throws(StoreError) -> [String] {
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        var count = 0
        try check(torc_list_families(path, &names, &count), "list column families")
        defer { torc_names_free(names, count) }
        return (0..<count).map { String(cString: names![$0]!) }
    }

    /// `readOnly`: every table file is opened at once and stays open, so that one that is removed meanwhile is read on.
    /// `needsAllTables`: one that cannot be opened fails this; otherwise only the reads that need it.
    static func open(
        at path: String, families: [(name: String, kind: torc_family_kind)], create: Bool, readOnly: Bool = false,
        needsAllTables: Bool = false, options: StoreOptions, adjust: (inout torc_options) -> Void = { _ in }
    ) throws(StoreError) -> (Database, [Family]) {
        var raw = shimOptions(options)
        raw.create_if_missing = create
        raw.needs_all_tables = needsAllTables
        adjust(&raw)
        var database: OpaquePointer?
        var handles = [OpaquePointer?](repeating: nil, count: families.count)
        let kinds = families.map(\.kind)
        let error = withCStrings(families.map(\.name)) { names in
            readOnly
                ? torc_open_read_only(path, &raw, families.count, names, kinds, &database, &handles)
                : torc_open(path, &raw, families.count, names, kinds, &database, &handles)
        }
        try check(error, "open the database")
        return (Database(handle: database!), handles.map { Family(handle: $0!) })
    }

    /// A new manifest from the tables that are there. `compact` is called for every family after the open that follows.
    static func repair(
        at path: String, families: [(name: String, kind: torc_family_kind)], options: StoreOptions
    ) throws(StoreError) {
        var raw = shimOptions(options)
        let kinds = families.map(\.kind)
        let error = withCStrings(families.map(\.name)) { names in
            torc_repair(path, &raw, families.count, names, kinds)
        }
        try check(error, "make a manifest from the tables")
    }

    private static func shimOptions(_ options: StoreOptions) -> torc_options {
        var raw = torc_options()
        raw.memtable_budget_bytes = options.memtableBytes
        raw.block_cache_bytes = options.cacheBytes
        raw.charge_memtables_to_cache = true
        raw.partition_memtable_bytes = options.partitionMemtableBytes
        raw.partition_memtable =
            switch options.partitionMemtable {
            case .skipList: TORC_MEMTABLE_SKIP_LIST
            case .hashLinkList: TORC_MEMTABLE_HASH_LINK_LIST
            case .hashSkipList: TORC_MEMTABLE_HASH_SKIP_LIST
            }
        raw.partition_hash_buckets = options.partitionHashBuckets
        raw.partition_memtable_bloom_ratio = options.partitionBloomRatio
        raw.arena_block_bytes = options.arenaBlockBytes
        raw.log_limit_bytes = UInt64(options.logBytes)
        raw.background_jobs = Int32(options.backgroundJobs)
        raw.open_files = Int32(raiseFileLimit())
        raw.block_bytes = options.blockBytes
        return raw
    }

    func createFamilies(_ families: [(name: String, kind: torc_family_kind)]) throws(StoreError) -> [Family] {
        if families.isEmpty { return [] }
        var handles = [OpaquePointer?](repeating: nil, count: families.count)
        let kinds = families.map(\.kind)
        let error = Self.withCStrings(families.map(\.name)) { names in
            torc_create_families(handle, families.count, names, kinds, &handles)
        }
        try Self.check(error, "create column families")
        return handles.map { Family(handle: $0!) }
    }

    /// The handle is gone, whatever the outcome.
    func close() throws(StoreError) { try Self.check(torc_close(handle), "close the database") }

    var latestSequence: UInt64 { torc_latest_sequence(handle) }

    func flushLog(sync: Bool) throws(StoreError) {
        try Self.check(torc_flush_log(handle, sync), sync ? "sync the log" : "write the log")
    }

    func currentLogNumber() throws(StoreError) -> UInt64 {
        var number: UInt64 = 0
        try Self.check(torc_current_log_number(handle, &number), "find the log file")
        return number
    }

    func flush(_ families: [Family]) throws(StoreError) {
        let handles = families.map { Optional($0.handle) }
        try Self.check(torc_flush(handle, handles.count, handles), "flush memtables")
    }

    /// For so many partitions as there are now.
    func splitMemory(_ options: StoreOptions, families: Int) {
        torc_set_memtable_budget(
            handle, options.memtableBytes(families: families), options.memtableLimitBytes(families: families))
    }

    /// From here on.
    func setFlushThreads(_ count: Int) throws(StoreError) {
        try Self.check(torc_set_flush_threads(handle, Int32(count)), "set the number of flush threads")
    }

    /// Rewrites a whole family, level by level.
    func compact(_ family: Family) throws(StoreError) {
        try Self.check(torc_compact(handle, family.handle), "compact a column family")
    }

    /// A second database at `path`, which must not exist. Its tables are hard links to this one's.
    func checkpoint(_ path: String) throws(StoreError) {
        try Self.check(torc_checkpoint(handle, path), "make a checkpoint")
    }

    /// A family of which a compaction found a table damaged, and what RocksDB says; nil: none since the last call.
    func nextDamage() -> (name: String, detail: String)? {
        var name: UnsafeMutablePointer<CChar>?
        var detail: UnsafeMutablePointer<CChar>?
        guard torc_next_damage(handle, &name, &detail) else { return nil }
        defer {
            free(name)
            free(detail)
        }
        return (String(cString: name!), String(cString: detail!))
    }

    func holdCompaction(of family: Family) throws(StoreError) {
        try Self.check(torc_hold_compaction(handle, family.handle), "hold back compaction")
    }

    /// Its data is gone, for those who do not hold it yet.
    func retire(_ family: Family) throws(StoreError) {
        try Self.check(torc_retire_family(handle, family.handle), "drop a column family")
    }

    /// Nobody else holds it.
    func drop(_ family: Family) throws(StoreError) {
        try Self.check(torc_drop_family(handle, family.handle), "drop a column family")
    }

    func get(_ family: Family, _ key: UnsafeRawBufferPointer) throws(StoreError) -> ByteBuffer? {
        let value = torc_value_create()!
        defer { torc_value_destroy(value) }
        let error = torc_get(handle, family.handle, key.baseAddress, key.count, false, value)
        if error.code == TORC_NOT_FOUND { return nil }
        try Self.check(error, "read")
        return ByteBuffer(value: value)
    }

    func property(_ name: String, of family: Family? = nil) -> UInt64 {
        var value: UInt64 = 0
        return torc_property(handle, family?.handle, name, &value) ? value : 0
    }

    static func check(_ error: torc_error, _ operation: @autoclosure () -> String) throws(StoreError) {
        if error.code != TORC_OK { throw StoreError(error, operation()) }
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return body(copies.map { UnsafePointer($0) })
    }

    /// Asks for as many files as the system lets this process have; answers how many tables may stay open.
    private static func raiseFileLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 256 }
        let wanted = min(limit.rlim_max, 65_536)
        if limit.rlim_cur < wanted {
            limit.rlim_cur = wanted
            _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            _ = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        // The rest is for sockets.
        return max(Int(limit.rlim_cur) / 2, 128)
    }
}

/// A column family of an open database.
struct Family: @unchecked Sendable {
    let handle: OpaquePointer
}

/// A write batch that is used again and again, by one thread at a time.
struct Batch: ~Copyable {
    let handle = torc_batch_create()!

    deinit { torc_batch_destroy(handle) }

    var isEmpty: Bool { torc_batch_count(handle) == 0 }
    var byteCount: Int { torc_batch_bytes(handle) }

    func clear() { torc_batch_clear(handle) }

    func put(_ family: Family, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(StoreError) {
        try Database.check(
            torc_batch_put(handle, family.handle, key.baseAddress, key.count, value.baseAddress, value.count),
            "add to a batch")
    }

    func remove(_ family: Family, _ key: UnsafeRawBufferPointer) throws(StoreError) {
        try Database.check(torc_batch_delete(handle, family.handle, key.baseAddress, key.count), "add to a batch")
    }

    func putLogData(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        try Database.check(torc_batch_put_log_data(handle, bytes.baseAddress, bytes.count), "add to a batch")
    }
}

extension ByteBuffer {
    /// Copies what a read found.
    init(value: OpaquePointer) {
        var length = 0
        let bytes = torc_value_bytes(value, &length)
        self.init()
        if length > 0 {
            reserveCapacity(length)
            writeBytes(UnsafeRawBufferPointer(start: bytes, count: length))
        }
    }
}
