// One node's store: a RocksDB database with a column family a partition, and `merkle`, `hints` and `meta`
// beside them.
//
// A server uses it so:
//
//   DataFolder.peek(path)                     what is there? ask the peers whether that node is alive elsewhere
//   DataFolder.open(path, cluster:…)          lock and identity; the first thing that may write
//   NodeStore.open(folder, …)                 log check, recovery, leaves; blocks, for seconds after a crash
//   store.beginIncarnation(…)                 durable before anything is served
//   lanes[i].readInMemory / append / commit   by the thread of event loop i alone (`LaneStore`)
//   store.readBlocking / multiRead / scan     on reader threads
//   GroupCommit(store:…)                      the sync thread, which releases acknowledgements
//   store.close(leaves:)                      after the loops, the readers and the group commit have ended
//
// An error of a commit or of a sync ends the process: nothing that was written since the last sync can be
// trusted, and the next start finds out what stands.

import CRocksDB
import Glibc
package import Logging
package import NIOCore
package import Synchronization
package import TorcModel
package import TorcReplication

package final class NodeStore: Sendable {
    package let identity: StoreIdentity
    package let layout: LeafLayout
    package let options: StoreOptions

    let database: Database
    let merkle: Family
    let meta: Family
    let hints: Family
    /// By partition number. Families are added while the node runs; one that is damaged gives way to its copy.
    let families: Mutex<[Family?]>
    /// Of families that were made anew; 0 is not kept.
    let generations: Mutex<[PartitionID: UInt16]>
    let damage: Mutex<DamageRegister>
    /// Copies that are under way fail.
    package let stopsCopying = Atomic<Bool>(false)
    private let otherFamilies: [Family]
    let folder: DataFolder
    let logger: Logger

    /// The log is on disk through this sequence.
    let syncedThrough = Atomic<UInt64>(0)
    /// Bytes that this process has written to the log: what the rounds of `LaneStore` are timed by.
    let loggedBytes = Atomic<UInt64>(0)
    let retention: Mutex<LogRetention>

    private init(
        folder: DataFolder, layout: LeafLayout, options: StoreOptions, database: Database, families: [String: Family],
        damage table: DamageTable, laneCount: Int, logNumber: UInt64, logger: Logger
    ) {
        self.folder = folder
        identity = folder.identity
        self.layout = layout
        self.options = options
        self.database = database
        merkle = families[FamilyName.merkle]!
        meta = families[FamilyName.meta]!
        hints = families.first { FamilyName.base(of: $0.key) == FamilyName.hints }!.value
        var generations: [PartitionID: UInt16] = [:]
        var partitions = [Family?](repeating: nil, count: layout.ringSize.partitions)
        var others: [Family] = []
        for (name, family) in families {
            if let partition = FamilyName.partition(of: name), layout.ringSize.contains(partition) {
                partitions[partition.index] = family
                if FamilyName.generation(of: name) > 0 { generations[partition] = FamilyName.generation(of: name) }
            } else {
                others.append(family)
            }
        }
        self.families = Mutex(partitions)
        self.generations = Mutex(generations)
        var register = DamageRegister()
        register.table = table
        damage = Mutex(register)
        otherFamilies = others
        self.logger = logger
        retention = Mutex(LogRetention(laneCount: laneCount, log: logNumber))
    }

    /// Where the data folder is.
    package var path: String { folder.path }

    /// By partition number.
    var partitions: [Family?] { families.withLock { $0 } }

    func familyIfPresent(_ partition: PartitionID) -> Family? { families.withLock { $0[partition.index] } }

    /// The partitions whose families exist.
    package var partitionsPresent: [PartitionID] {
        let partitions = partitions
        return partitions.indices.filter { partitions[$0] != nil }.map { PartitionID($0) }
    }

    /// Makes families for those partitions that have none, each with a note that its leaves are empty: or a crash
    /// would have them computed. One call at a time; lanes are told after it (`LaneStore.add`). Blocks.
    package func addPartitions(_ wanted: [PartitionID]) throws(StoreError) {
        let absent = wanted.filter { familyIfPresent($0) == nil }
        if absent.isEmpty { return }
        let log = try database.currentLogNumber()
        retention.withLock { retention in
            for partition in absent {
                retention.hold(
                    lane: LaneConfiguration.lane(of: partition, laneCount: retention.laneCount), from: log)
            }
        }
        let made = try database.createFamilies(absent.map { (FamilyName.name(of: $0), TORC_FAMILY_PARTITION) })
        let note = ByteBuffer(integer: database.latestSequence)
        try write(absent.map { (merkle, StoredLeaves.noteKey($0), note) })
        try sync()
        families.withLock { families in
            for (partition, family) in zip(absent, made) { families[partition.index] = family }
        }
        database.splitMemory(options, families: partitionsPresent.count)
    }

    // MARK: Opening

    /// What a start hands to the server.
    package struct Opened {
        package let store: NodeStore
        package let report: RecoveryReport
        /// One a lane, in order.
        package let lanes: [LaneStore]
        /// The Merkle leaves of each lane's partitions, as the last run left them.
        package let leaves: [LeafTable]
        /// What each lane keeps for other nodes.
        package let hints: [[NodeID: HintTotal]]
    }

    /// Checks the log, cuts off what was never synced, opens the database, makes the families that are missing
    /// and recovers the leaves. Throws without having changed anything when the log is damaged below a sync.
    package static func open(
        _ folder: DataFolder, partitions held: [PartitionID], laneCount: Int, hashSeed: HashSeed,
        options: StoreOptions = StoreOptions(), logger: Logger
    ) throws(StoreError) -> Opened {
        let clock = ContinuousClock()
        let start = clock.now
        let layout = LeafLayout(ringSize: folder.identity.ringSize)
        precondition(held.allSatisfy { layout.ringSize.contains($0) }, "a partition outside the ring: \(held)")
        var report = RecoveryReport()
        report.isNew = folder.isNew

        let exists = Files.exists(folder.databasePath + "/CURRENT")
        guard exists || folder.isNew else { throw .halfMade(path: folder.path, lacking: "db/CURRENT") }
        var log = LogContent()
        if exists { log = try LogScan.run(folder: folder.path, store: folder.identity.store, layout: layout) }
        report.logFiles = log.files
        report.logBytes = log.bytes
        report.changesReplayed = log.changes
        report.cut = log.cut

        if !exists { try Files.makeFolder(folder.databasePath) }
        let present = exists ? try Database.familyNames(at: folder.databasePath) : ["default"]
        let (database, opened) = try Database.open(
            at: folder.databasePath, families: present.map { ($0, FamilyName.kind(of: $0)) }, create: !exists,
            options: options)
        do throws(StoreError) {
            var families: [String: Family] = [:]
            for (name, family) in zip(present, opened) { families[name] = family }
            let damaged = try Self.settleFamilies(of: database, &families, folder: folder, logger)
            let known = Set(families.keys.map(FamilyName.base))
            let wanted = [FamilyName.meta, FamilyName.merkle, FamilyName.hints] + held.map(FamilyName.name)
            let absent = wanted.filter { !known.contains($0) }
            let made = try database.createFamilies(absent.map { ($0, FamilyName.kind(of: $0)) })
            for (name, family) in zip(absent, made) { families[name] = family }

            let store = NodeStore(
                folder: folder, layout: layout, options: options, database: database, families: families,
                damage: damaged, laneCount: laneCount, logNumber: try database.currentLogNumber(), logger: logger)
            database.splitMemory(options, families: store.partitionsPresent.count)
            report.wasClean = try store.internalValue(MetaKey.clean) != nil
            let heldSet = Set(held)
            report.partitionsBeyond = store.partitionsPresent.filter { !heldSet.contains($0) }

            // Everything that recovery replayed is in tables now; the mark may say so.
            try store.sync()
            for partition in store.damagedPartitions {
                if let family = store.familyIfPresent(partition) { try database.holdCompaction(of: family) }
            }
            let recovered = try store.recoverLeaves(from: log, hashSeed: hashSeed, report: &report)
            if folder.isNew { try folder.markReady() }

            var tables = [LeafTable](repeating: LeafTable(layout: layout), count: laneCount)
            var lanes: [LaneStore] = []
            for lane in 0..<laneCount {
                // Also of what is not held: it may be again, and until its records are removed the leaves show them.
                let own = store.partitionsPresent.filter {
                    LaneConfiguration.lane(of: $0, laneCount: laneCount) == lane
                }
                var numbers: [PartitionID: UInt64] = [:]
                for partition in own {
                    let leaves = recovered[partition]!
                    numbers[partition] = leaves.number
                    for (copies, values) in leaves.trees {
                        tables[lane][TreeID(partition: partition, copies: copies)] = values
                    }
                }
                lanes.append(LaneStore(store: store, lane: lane, partitions: own, numbers: numbers))
            }
            let hints = try store.countHints(laneCount: laneCount)
            let elapsed = (clock.now - start).components
            report.seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) / 1e18
            return Opened(store: store, report: report, lanes: lanes, leaves: tables, hints: hints)
        } catch {
            try? database.close()
            throw error
        }
    }

    /// Finishes what was begun with damaged families, before anybody reads them; answers what is left of that. In
    /// `families` there is one of each afterwards.
    static func settleFamilies(
        of database: Database, _ families: inout [String: Family], folder: DataFolder, _ logger: Logger
    ) throws(StoreError) -> DamageTable {
        var table = DamageTable()
        if let meta = families[FamilyName.meta] {
            do throws(StoreError) {
                let key = ByteBuffer(string: DamageTable.key)
                var bytes: Result<ByteBuffer?, StoreError> = .success(nil)
                key.withUnsafeReadableBytes { key in
                    bytes = Result { () throws(StoreError) in try database.get(meta, key) }
                }
                // Whatever stands there must be readable: what a node has promised stands nowhere else.
                let iterator = try RangeIterator(database, meta, from: nil, fillCache: true)
                while iterator.isValid { iterator.next() }
                try iterator.check()
                if let bytes = try bytes.get() {
                    guard let stored = try? DamageTable(decoding: bytes) else {
                        throw .corruption(operation: "read \(DamageTable.key)", detail: "it is no table of damage")
                    }
                    table = stored
                }
            } catch .corruption(_, let detail) {
                throw .damagedMeta(path: folder.path, detail: detail)
            }
        }
        if families.keys.contains(where: { FamilyName.generation(of: $0) > 0 }) { try folder.noteCopies() }
        // Of a family and its copy one goes.
        for (base, generations) in Dictionary(grouping: families.keys, by: FamilyName.base) where generations.count > 1
        {
            let sorted = generations.sorted { FamilyName.generation(of: $0) < FamilyName.generation(of: $1) }
            let entry = table.entries[base]
            // A copy is begun after its family's damage was noted, and the note goes when it stands for the family: a partition
            // of which nothing is noted is the last of its copies. That of the hints is noted when it is whole.
            let unnoted = entry == nil && FamilyName.partition(of: base) != nil ? sorted.last! : sorted[0]
            var kept = unnoted
            if let entry, entry.isAnew { kept = FamilyName.name(base, entry.generation) }
            guard families[kept] != nil else { throw .halfMade(path: folder.path, lacking: "column family \(kept)") }
            for name in sorted where name != kept {
                logger.notice("what is left of a damaged family is dropped", metadata: ["family": "\(name)"])
                try database.drop(families.removeValue(forKey: name)!)
            }
        }
        let stored = table
        try settleMerkle(of: database, &families, &table, logger)
        try settleHints(of: database, in: folder, &families, &table, logger)
        if let meta = families[FamilyName.meta], table != stored { try store(table, in: database, meta) }
        return table
    }

    /// It holds nothing that the records do not say.
    private static func settleMerkle(
        of database: Database, _ families: inout [String: Family], _ table: inout DamageTable, _ logger: Logger
    ) throws(StoreError) {
        guard let merkle = families[FamilyName.merkle] else { return }
        var isDamaged = table.entries[FamilyName.merkle] != nil
        do throws(StoreError) {
            let iterator = try RangeIterator(database, merkle, from: nil, fillCache: false)
            while iterator.isValid { iterator.next() }
            try iterator.check()
        } catch .corruption(_, let detail) {
            logger.error(
                "the stored Merkle leaves cannot be read: they are dropped, and computed anew",
                metadata: ["error": "\(detail)"])
            isDamaged = true
        }
        if isDamaged { try database.drop(families.removeValue(forKey: FamilyName.merkle)!) }
        table.entries[FamilyName.merkle] = nil
    }

    /// Stored leaves with the log's deltas on top; computed from the records where that is not possible. What
    /// is new is stored at once, so that no older log file is needed any more: so this looks at every partition
    /// that there is, held or not.
    private func recoverLeaves(
        from log: LogContent, hashSeed: HashSeed, report: inout RecoveryReport
    ) throws(StoreError) -> [PartitionID: StoredLeaves] {
        var result: [PartitionID: StoredLeaves] = [:]
        let latest = database.latestSequence
        var notes: [(family: Family, key: ByteBuffer, value: ByteBuffer?)] = []
        for partition in partitionsPresent {
            var recovered = try recoverLeaves(of: partition, from: log, latest: latest)
            if let reason = recovered.rebuildBecause {
                logger.warning("computing the Merkle leaves of \(partition) from its records: \(reason)")
                do throws(StoreError) {
                    let computed = try computeLeaves(of: partition, hashSeed: hashSeed)
                    recovered.leaves.trees = computed.trees
                    report.unreadableRecords += computed.unreadable
                } catch .corruption(let operation, let detail) {
                    noticeDamage(of: FamilyName.name(of: partition), "\(operation): \(detail)")
                    _ = try noteDamage()
                    let leaves = try salvage(partition, hashSeed: hashSeed).get().leaves
                    recovered.leaves.trees = leaves.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
                }
                report.leavesRebuilt[partition] = reason
            } else {
                report.leafChangesReplayed += recovered.deltas
            }
            recovered.leaves.through = latest
            if recovered.deltas > 0 || recovered.rebuildBecause != nil {
                var encoded = ByteBuffer()
                recovered.leaves.encode(into: &encoded, partition: partition)
                try write([(merkle, StoredLeaves.key(partition), encoded)])
            } else {
                notes.append((merkle, StoredLeaves.noteKey(partition), ByteBuffer(integer: latest)))
            }
            result[partition] = recovered.leaves
        }
        if !notes.isEmpty { try write(notes) }
        try sync()
        try forgetWholeCopies()
        removeArchivedLogs(below: .max)
        return result
    }

    /// `deltas` of the log stand on top of what was stored; with a reason, `leaves` has only the number right.
    private func recoverLeaves(
        of partition: PartitionID, from log: LogContent, latest: UInt64
    ) throws(StoreError) -> (leaves: StoredLeaves, deltas: Int, rebuildBecause: String?) {
        try StoredLeaves.recover(
            partition, stored: try get(merkle, StoredLeaves.key(partition)),
            note: try get(merkle, StoredLeaves.noteKey(partition)), log: log, latest: latest,
            isAnew: damage.withLock { $0.table.entries[FamilyName.name(of: partition)]?.isAnew } == true, layout: layout
        ) { () throws(StoreError) in try isNew(partition) }
    }

    /// No record; what cannot be read is one.
    private func isNew(_ partition: PartitionID) throws(StoreError) -> Bool {
        do throws(StoreError) { return try isEmpty(partition) } catch .corruption { return false }
    }

    /// Copies of partitions that lost nothing, whose leaves are stored now: the last run ended before it could say so.
    private func forgetWholeCopies() throws(StoreError) {
        let isChanged = damage.withLock { register in
            let before = register.table.entries.count
            register.table.entries = register.table.entries.filter { !$0.value.isAnew || !$0.value.lost.isEmpty }
            return register.table.entries.count != before
        }
        if isChanged { try storeDamage() }
    }

    // MARK: Incarnations and other small things

    /// Makes this run's incarnation durable. Before it, nothing may be served.
    package func beginIncarnation(_ incarnation: Incarnation) throws(StoreError) {
        var list = ByteBuffer()
        let earlier = try incarnations()
        for one in earlier.suffix(Self.incarnationsKept - 1) + [incarnation] { list.writeInteger(one.rawValue) }
        try write([
            (meta, ByteBuffer(string: MetaKey.incarnations), list), (meta, ByteBuffer(string: MetaKey.clean), nil),
        ])
        try sync()
    }

    /// Older ones are forgotten.
    private static let incarnationsKept = 64

    /// The last incarnations, oldest first.
    package func incarnations() throws(StoreError) -> [Incarnation] {
        guard var list = try internalValue(MetaKey.incarnations) else { return [] }
        var result: [Incarnation] = []
        while let value = list.readInteger(as: UInt64.self) { result.append(Incarnation(rawValue: value)) }
        return result
    }

    /// A small thing that the node must not forget: the ring, bucket properties. Blocks.
    package func metaValue(_ key: String) throws(StoreError) -> ByteBuffer? {
        try get(meta, ByteBuffer(string: MetaKey.callers + key))
    }

    /// Stores such things, all or none, and syncs; nil removes. Blocks: not for an event loop.
    package func putMeta(_ values: [(key: String, value: ByteBuffer?)]) throws(StoreError) {
        try write(values.map { (meta, ByteBuffer(string: MetaKey.callers + $0.key), $0.value) })
        try sync()
    }

    enum MetaKey {
        static let clean = "store/clean"
        static let incarnations = "store/incarnations"
        /// What the store keeps itself.
        static let own = "store/"
        /// What callers store.
        static let callers = "node/"
    }

    private func internalValue(_ key: String) throws(StoreError) -> ByteBuffer? {
        try get(meta, ByteBuffer(string: key))
    }

    private func get(_ family: Family, _ key: ByteBuffer) throws(StoreError) -> ByteBuffer? {
        var result: Result<ByteBuffer?, StoreError> = .success(nil)
        key.withUnsafeReadableBytes { bytes in
            result = Result { () throws(StoreError) in try database.get(family, bytes) }
        }
        return try result.get()
    }

    /// Writes a few small things with a mark, waiting where RocksDB asks for it.
    func write(_ changes: [(family: Family, key: ByteBuffer, value: ByteBuffer?)]) throws(StoreError) {
        let batch = Batch()
        for (family, key, value) in changes {
            let error = key.withUnsafeReadableBytes { key in
                if let value {
                    value.withUnsafeReadableBytes { value in
                        torc_batch_put(
                            batch.handle, family.handle, key.baseAddress, key.count, value.baseAddress, value.count)
                    }
                } else {
                    torc_batch_delete(batch.handle, family.handle, key.baseAddress, key.count)
                }
            }
            try Database.check(error, "add to a batch")
        }
        try LogDataWriter(store: identity.store)
            .finish(syncedThrough: syncedThrough.load(ordering: .acquiring), into: batch)
        loggedBytes.wrappingAdd(UInt64(batch.byteCount), ordering: .relaxed)
        try Database.check(torc_write(database.handle, batch.handle, false), "write")
    }

    // MARK: Inspecting

    /// What the log of a data folder that nobody serves from says. Writes nothing.
    package static func inspectLog(of path: String, ringSize: RingSize) throws(StoreError) -> LogInspection {
        let store = try DataFolder.identity(of: path).store
        return try LogScan.inspect(folder: path, store: store, layout: LeafLayout(ringSize: ringSize))
    }

    // MARK: Syncing

    /// Syncs the log; everything that was written before the call is on disk after it. Blocks.
    package func sync() throws(StoreError) {
        if let floor = try syncLog() { removeArchivedLogs(below: floor) }
    }

    /// The same for the thread that all writers wait for. Answers the number below which archived log files are needed no
    /// longer, where this sync has raised it. There may be a thousand of them: every memtable that is written out begins a new one.
    func syncLog() throws(StoreError) -> UInt64? {
        let through = database.latestSequence
        try database.flushLog(sync: true)
        syncedThrough.max(through, ordering: .acquiringAndReleasing)
        return retention.withLock { $0.synced(through: through) }
    }

    /// Hands the log to the kernel, as `buffered` does after each turn: it outlives this process, not the machine.
    package func writeOut() throws(StoreError) { try database.flushLog(sync: false) }

    /// Whether all that stands in the store now is on disk, or is before `patience` is over. Blocks.
    package func isSynced(within patience: Duration) -> Bool {
        let through = database.latestSequence
        let end = ContinuousClock.now + patience
        while syncedThrough.load(ordering: .acquiring) < through {
            if ContinuousClock.now > end { return false }
            usleep(1000)
        }
        return true
    }

    /// Writes a batch that holds nothing but the mark of the last sync.
    func writeMark() throws(StoreError) { try write([]) }

    /// The last archived file is kept: the log check learns from it where the next one must begin. The oldest go first,
    /// and what is left when it `stops` goes at the next start. Nothing rests on it that they go: what cannot be removed
    /// is tried again with the next floor.
    func removeArchivedLogs(below floor: UInt64, stops: () -> Bool = { false }) {
        let archive = folder.databasePath + "/archive"
        do throws(StoreError) {
            let names = try Files.names(in: archive)
            let numbers = names.compactMap { $0.hasSuffix(".log") ? UInt64($0.dropLast(4)) : nil }.sorted()
            for number in numbers.dropLast() where number < floor {
                if stops() { return }
                try Files.remove("\(archive)/\(LogScan.name(number))")
            }
        } catch {
            logger.warning(
                "log files that are needed no longer cannot be removed, and take space",
                metadata: ["error": "\(error)"])
        }
    }

    // MARK: Closing

    /// Stores the leaves, writes the memtables out, marks the stop as clean and closes. The lanes' threads,
    /// the readers and the group commit have ended before, and nothing uses the store after.
    package func close(lanes: [LaneStore], leaves: [LeafTable]) throws(StoreError) {
        for (lane, table) in zip(lanes, leaves) { try lane.storeAllLeaves(of: table) }
        try sync()
        try database.setFlushThreads(Self.closingFlushes)
        try flushAll()
        // Those that end together do not know of each other, and would have the next start read the log once more.
        try write([(meta, ByteBuffer(string: MetaKey.clean), nil)])
        try database.flush([meta])
        try write([(meta, ByteBuffer(string: MetaKey.clean), ByteBuffer(integer: UInt8(1)))])
        try sync()
        try abandon()
    }

    /// Families that a stopping node writes out at a time: each waits for two or three syncs, which the disk does together.
    private static let closingFlushes = 8

    /// Writes all memtables out.
    func flushAll() throws(StoreError) { try database.flush(partitions.compactMap { $0 } + otherFamilies) }

    /// Closes as a crash would: nothing is stored, flushed or marked.
    package func abandon() throws(StoreError) {
        defer { folder.release() }
        try database.close()
    }
}

/// The names of column families.
enum FamilyName {
    static let merkle = "merkle"
    static let hints = "hints"
    static let meta = "meta"

    /// `p0007`; five digits from 10,000 on.
    static func name(of partition: PartitionID) -> String {
        let digits = String(partition.index)
        return "p" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    /// `p0007+1`: it was made anew once.
    static func name(_ base: String, _ generation: UInt16) -> String {
        generation == 0 ? base : "\(base)+\(generation)"
    }

    /// As it was called at first.
    static func base(of name: String) -> String { String(name.prefix { $0 != "+" }) }

    static func generation(of name: String) -> UInt16 {
        name.firstIndex(of: "+").flatMap { UInt16(name[name.index(after: $0)...]) } ?? 0
    }

    /// Of the copy that is made of a family.
    static func nextGeneration(after name: String) throws(StoreError) -> UInt16 {
        let (next, isTooLarge) = generation(of: name).addingReportingOverflow(1)
        guard !isTooLarge else {
            throw .unexpected(
                operation: "make \(base(of: name)) anew", detail: "\(name) is the last generation there can be")
        }
        return next
    }

    static func partition(of name: String) -> PartitionID? {
        guard name.hasPrefix("p"), let index = UInt16(base(of: name).dropFirst()) else { return nil }
        return PartitionID(rawValue: index)
    }

    static func kind(of name: String) -> torc_family_kind {
        partition(of: name) == nil ? TORC_FAMILY_PLAIN : TORC_FAMILY_PARTITION
    }
}
