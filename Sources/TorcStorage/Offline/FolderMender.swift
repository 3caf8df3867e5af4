// Mends a data folder that no node holds. It works on a second folder, which shares the tables by hard links (RocksDB never
// changes a table) and has copies of all else; what is mended takes the first one's place in one step, or stands beside it.
// So an interruption leaves what was there.
//
//   what is wrong                         what is done
//   the manifest                          a new one from the tables (`ManifestRebuild`), the log replayed on top
//   a table is missing, or cannot be      taken out of the manifest
//   opened
//   a table has a damaged block           its family is copied as far as it can be read (`Salvage`)
//   the log, below a sync                 cut at the damage
//   a partition's family is gone          made anew, empty
//   a record that does not belong there   taken out
//   leaves that lie                       noted, for the next start to compute them
//   a hint that cannot be decoded         taken out
//
// The rule: what may have been lost counts for nobody. Every leaf from which something may be gone is noted in `meta` as
// lost (`DamageTable`), as a running node does it that has met damage: until the partition has been compared with all its
// co-owners nothing that is read there counts, nothing is minted, nothing is reaped. Every start is a new incarnation, so no
// dot is issued twice. What a node has promised stands in `meta` and nowhere else: without it nothing is mended.

import CRocksDB
import Glibc
package import Logging
import NIOCore
import TorcModel
import TorcReplication

package final class FolderMender {
    /// Holds what is being mended: `db/`, and no more.
    let work: String
    let quarantine: Quarantine
    let layout: LeafLayout
    let plan: MendPlan
    private static let quarantinePrefix = "quarantine-"
    private let folder: DataFolder
    /// Of the copy, while it is made.
    private var lock: DataFolder?
    private let place: MendPlace
    private let logger: Logger
    private let listener: MendListener
    private var report: MendReport
    /// Something of every partition may be gone.
    private var hasLostAll = false
    /// The manifest that was rebuilt said which partitions there were.
    private var knowsPartitions = true
    /// `work` was made, and is this run's.
    private var isBegun = false
    /// What is mended has taken the former state's place: `work` is that now.
    private var stands = false
    /// What the log says of `meta` behind the damage.
    private var rescuedMeta: [(key: ByteBuffer, value: ByteBuffer?)] = []

    static var options: StoreOptions {
        var options = StoreOptions()
        options.cacheBytes = 96 << 20
        options.memtableBytes = 64 << 20
        return options
    }

    /// `stamp`: for the names of new folders, seconds since 1970.
    package static func mend(
        _ folder: DataFolder, _ plan: MendPlan, place: MendPlace, stamp: Int, logger: Logger,
        listener: MendListener = MendListener()
    ) throws(StoreError) -> MendReport {
        let mender = try FolderMender(folder, plan, place, stamp, logger, listener)
        return try mender.run()
    }

    private init(
        _ folder: DataFolder, _ plan: MendPlan, _ place: MendPlace, _ stamp: Int, _ logger: Logger,
        _ listener: MendListener
    ) throws(StoreError) {
        self.folder = folder
        self.plan = plan
        self.place = place
        self.logger = logger
        self.listener = listener
        layout = LeafLayout(ringSize: folder.identity.ringSize)
        let result: (folder: String, quarantine: String)
        switch place {
        case .inPlace:
            work = "\(folder.path)/\(Self.quarantinePrefix)\(stamp)"
            result = (folder.path, work)
            quarantine = Quarantine(work)
        case .copy(let path):
            let target = DataFolder.normalized(path)
            work = target + ".unfinished"
            result = (target, "\(target)/\(Self.quarantinePrefix)\(stamp)")
            quarantine = Quarantine("\(work)/\(Self.quarantinePrefix)\(stamp)")
            guard !Files.exists(target) else {
                throw .unexpected(operation: "mend a copy", detail: "\(target) exists: move it away, or name another")
            }
        }
        report = MendReport(folder: result.folder, quarantine: result.quarantine)
    }

    private func done(_ step: String) {
        report.steps.append(step)
        listener.step(step)
    }

    var databasePath: String { work + "/db" }
    var store: StoreID { folder.identity.store }
    private var mark: String { work + "/" + Files.unfinishedMark }

    private func run() throws(StoreError) -> MendReport {
        try makeRoom()
        try checkSpace()
        defer { lock?.release() }
        do throws(StoreError) {
            try clone()
            try mendFiles()
            try mendContent()
            try finish()
        } catch {
            // What was there stands; this is a part of what would have been.
            if isBegun, !stands { try? Files.removeFolder(work) }
            throw error
        }
        return report
    }

    // MARK: Beginning and end

    /// Removes what interrupted runs have left, and nothing else: a folder may be called like one, and a quarantine may hold a state
    /// that somebody wants back.
    private func makeRoom() throws(StoreError) {
        if case .inPlace = place {
            for name in try Files.names(in: folder.path) where name.hasPrefix(Self.quarantinePrefix) {
                let left = "\(folder.path)/\(name)"
                if Files.exists(left + "/" + Files.unfinishedMark) { try Files.removeFolder(left) }
            }
        }
        guard Files.exists(work) else { return }
        if case .copy = place {
            let isOurs = !Files.isLink(work) && !BackupFiles.isSame(work, folder.path)
            if isOurs, try Files.names(in: work).isEmpty { return try Files.removeFolder(work) }
            if isOurs, Files.exists(mark) {
                if let holder = try DataFolder.holder(of: work) {
                    throw .heldByAnotherProcess(path: work, processID: holder)
                }
                return try Files.removeFolder(work)
            }
        }
        throw .unexpected(operation: "mend", detail: "\(work) exists: move it away, or try again")
    }

    /// A disk that fills up on the way costs nothing but the time until then: better said at once.
    private func checkSpace() throws(StoreError) {
        let source = folder.databasePath
        // Where it is made there may be nothing yet.
        var parent = BackupFiles.parent(of: work)
        while !Files.exists(parent), parent != "/", parent != "." { parent = BackupFiles.parent(of: parent) }
        let tables = try FolderTables(folder: folder.path)
        // A manifest says of tables what it wants, and a file may be long and empty.
        var parts = [UInt64(Self.options.memtableBytes)]
        for name in try Files.names(in: source) where !Files.isDirectory("\(source)/\(name)") {
            if !name.hasSuffix(".sst") { parts.append(try Files.size("\(source)/\(name)")) }
        }
        let all = UInt64.sum(Array(tables.bytesOnDisk.values))
        // Of another file system tables are copied.
        let isCopied = !Files.shareFileSystem(source, parent)
        if isCopied { parts.append(all) }
        if plan.rebuildsManifest || plan.compacts {
            parts.append(all)
        } else {
            let rewritten = Set(plan.damagedPartitions.map { FamilyName.name(of: $0) })
            for table in tables.manifest.tables.values {
                guard let family = tables.manifest.family(of: table) else { continue }
                if rewritten.contains(FamilyName.base(of: family)) { parts.append(table.bytes) }
            }
        }
        listener.expect(UInt64.sum([isCopied ? all : 0, plan.compacts ? all : 0]))
        let needed = UInt64.sum(parts)
        let free = try Files.freeBytes(of: parent)
        guard free >= needed else {
            throw .diskFull(
                operation: "mend",
                detail:
                    "\(needed >> 20) MiB are needed at \(parent), \(free >> 20) MiB are free: make room, or name another "
                    + "place with --to")
        }
    }

    private func clone() throws(StoreError) {
        let source = folder.databasePath
        let isCopied = !Files.shareFileSystem(source, BackupFiles.parent(of: work))
        try Files.makeFolder(BackupFiles.parent(of: work))
        guard mkdir(work, 0o700) == 0 else { throw Files.failure("make folder", work) }
        isBegun = true
        try Files.replace(mark, with: [])
        // No node serves from a part of what will be.
        var identity = folder.identity
        identity.isBackup = true
        try DataFolder.label(work, identity)
        if case .copy = place { lock = try DataFolder.hold(work) }
        try Files.makeFolder(databasePath)
        for name in try Files.names(in: source) where !["LOCK", "LOG", "LOG.old"].contains(name) {
            let path = "\(source)/\(name)"
            if name == "archive" {
                try Files.makeFolder(databasePath + "/archive")
                for log in try Files.names(in: path) {
                    try Files.share("\(path)/\(log)", as: "\(databasePath)/archive/\(log)")
                }
            } else if Files.isDirectory(path) {
                continue
            } else if name.hasSuffix(".sst") {
                try Files.share(path, as: "\(databasePath)/\(name)")
                if isCopied { listener.advance(try Files.size(path)) }
            } else {
                _ = try Files.copyTail(of: path, from: 0, to: "\(databasePath)/\(name)")
            }
        }
        try Files.syncFolder(databasePath)
    }

    private func finish() throws(StoreError) {
        report.recordsQuarantined = quarantine.recordCount
        report.tablesQuarantined = quarantine.tableCount
        try quarantine.finish(report: report.steps)
        switch place {
        case .inPlace:
            if try DataFolder.identity(of: work).hasCopies { try folder.noteCopies() }
            try Files.syncFolder(databasePath)
            // Before what was there comes here.
            try Files.remove(mark)
            try Files.syncFolder(work)
            try Files.exchange(databasePath, folder.databasePath)
            stands = true
            try Files.syncFolder(folder.path)
            try Files.syncFolder(work)
        case .copy:
            try Files.syncFolder(databasePath)
            var identity = try DataFolder.identity(of: work)
            identity.isBackup = folder.identity.isBackup
            try DataFolder.label(work, identity)
            try Files.remove(mark)
            try Files.syncFolder(work)
            try Files.move(work, to: report.folder)
            stands = true
        }
    }

    // MARK: Without RocksDB

    private func mendFiles() throws(StoreError) {
        if plan.rebuildsManifest {
            let rebuild = ManifestRebuild(self)
            let outcome = try rebuild.run()
            hasLostAll = true
            knowsPartitions = outcome.knowsPartitions
            for step in outcome.steps { done(step) }
            return
        }
        if !plan.lostTables.isEmpty { try removeTables() }
        let manifest = try ManifestContent.read(database: databasePath)
        // RocksDB would go back to an older state without a word, and remove the tables of the newer.
        guard manifest.isSound else {
            throw .corruption(
                operation: "mend", detail: "the manifest is damaged: `torc inspect verify` and `repair` come first")
        }
        let (inspection, _) = try LogScan.read(folder: work, store: store, layout: layout)
        if case .refuse(let damageAt, let lastMark) = inspection.verdict {
            guard plan.cutsLog else {
                throw .unexpected(operation: "mend", detail: "the log is damaged: run 'torc inspect repair'")
            }
            var doubtful = 0
            if let meta = manifest.familyID(of: FamilyName.meta), let damage = inspection.damage {
                let replay = LogReplay(wanting: [meta: FamilyName.meta], store: store)
                var rescued: [(key: ByteBuffer, value: ByteBuffer?)] = []
                for file in inspection.files.drop(while: { $0 != damage.file }) {
                    let number = UInt64(Files.name(of: file).dropLast(4)) ?? 0
                    // What stands in older files is in tables of `meta`, and may be overwritten there.
                    guard number >= manifest.oldestLog(of: meta) else { continue }
                    _ = try replay.read(file, from: file == damage.file ? damage.offset : 0) {
                        changes, _ throws(StoreError) in
                        rescued += changes.map { ($0.key, $0.value) }
                    }
                }
                rescuedMeta = rescued
                doubtful = replay.doubtful
            }
            let cut = try LogScan.run(folder: work, store: store, layout: layout, losesSynced: true).cut
            hasLostAll = true
            done(
                "the log was cut at change \(damageAt); what had been synced up to \(lastMark) may be missing here"
            )
            done("if a change of the ring was under way then, a vote may be missing, too: replace the node instead")
            if !rescuedMeta.isEmpty {
                done(
                    "\(rescuedMeta.count) changes of what a node must not forget were read behind the damage, and kept")
            }
            if doubtful > 0 {
                let place = cut?.keptIn.map { ": see \(Files.name(of: $0))/" } ?? ""
                done("\(doubtful) batches behind the damage may be a client's bytes, and were not read\(place)")
            }
        } else {
            // What was never synced; the next start would cut it.
            _ = try LogScan.run(folder: work, store: store, layout: layout)
        }
    }

    private func removeTables() throws(StoreError) {
        let tables = try FolderTables(folder: work)
        guard let file = tables.manifest.file, tables.manifest.unreadable + tables.manifest.unknown == 0 else {
            throw .corruption(operation: "take tables out of the manifest", detail: "the manifest cannot be read")
        }
        let lost = plan.lostTables.sorted().compactMap { tables.manifest.tables[$0] }
        for table in lost where tables.manifest.family(of: table) == FamilyName.meta {
            throw .damagedMeta(path: folder.path, detail: "its table \(table.fileName) cannot be read")
        }
        for table in lost where tables.bytesOnDisk[table.number] != nil {
            try quarantine.keep(table: tables.path(of: table.number))
            try Files.remove(tables.path(of: table.number))
        }
        try ManifestContent.remove(lost, from: databasePath, manifest: file)
        for table in lost {
            let family = tables.manifest.family(of: table) ?? "a family that is gone"
            lostTableFamilies.insert(family)
            done("table \(table.fileName) of \(family) was taken out of the manifest")
        }
        if lostTableFamilies.contains(where: { FamilyName.base(of: $0) == FamilyName.hints }) {
            done(
                "older hints that had been delivered may be delivered once more: what was written, deleted and reaped since would come "
                    + "back. Where that matters more than a copy less, run 'torc inspect purge-hints'")
        }
    }

    private var lostTableFamilies: Set<String> = []

    // MARK: With RocksDB

    private func mendContent() throws(StoreError) {
        let names = try Database.familyNames(at: databasePath)
        let (database, handles) = try Database.open(
            at: databasePath, families: names.map { ($0, FamilyName.kind(of: $0)) }, create: false,
            options: Self.options
        ) { $0.holds_compaction = true }
        do throws(StoreError) {
            try mend(database, Dictionary(uniqueKeysWithValues: zip(names, handles)))
            try database.close()
        } catch {
            try? database.close()
            throw error
        }
        // Without its end the log must not be read: the next one begins at a number of its own.
        if hasLostAll { try Files.removeFolder(databasePath + "/archive") }
    }

    private func mend(_ database: Database, _ opened: [String: Family]) throws(StoreError) {
        var families = opened
        guard let meta = families[FamilyName.meta] else {
            throw .damagedMeta(path: folder.path, detail: "the family meta is missing")
        }
        var rescue = NodeStore.CopyWriter(database, meta, nil)
        for (key, value) in rescuedMeta {
            if let value { try rescue.put(key, value) } else { try rescue.remove(key) }
        }
        try rescue.flush()

        // Two families where nothing is noted: which of them is whole, nobody can say.
        let doubled = Dictionary(grouping: families.keys, by: FamilyName.base).filter { $0.value.count > 1 }
        let workFolder = try DataFolder.beside(work)
        var table: DamageTable
        do throws(StoreError) {
            table = try NodeStore.settleFamilies(of: database, &families, folder: workFolder, logger)
        } catch .damagedMeta(_, let detail) {
            throw .damagedMeta(path: folder.path, detail: detail)
        }
        for (base, present) in doubled.sorted(by: { $0.key < $1.key }) {
            let kept = families.keys.first { FamilyName.base(of: $0) == base } ?? base
            done("of the families \(present.sorted().joined(separator: " and ")), \(kept) was kept")
            if let partition = FamilyName.partition(of: base), table.entries[base] == nil {
                lose(partition, &table, families)
            }
        }
        var missing = plan.missingPartitions
        if !knowsPartitions, families[FamilyName.merkle] == nil || lostTableFamilies.contains(FamilyName.merkle) {
            // One of which nothing is left would begin empty, and count.
            throw .damagedMeta(
                path: folder.path, detail: "neither the manifest nor the leaves say which partitions were here")
        }
        if hasLostAll, let merkle = families[FamilyName.merkle] {
            missing.formUnion(try partitions(notedIn: merkle, database))
        }
        if !opened.keys.contains(FamilyName.merkle) || families[FamilyName.merkle] == nil {
            done("the stored Merkle leaves were dropped: the next start computes them")
        } else if hasLostAll || lostTableFamilies.contains(FamilyName.merkle) {
            try database.drop(families.removeValue(forKey: FamilyName.merkle)!)
            done("the stored Merkle leaves were dropped: the next start computes them")
        }

        for partition in missing.sorted() {
            let name = FamilyName.name(of: partition)
            guard !families.keys.contains(where: { FamilyName.base(of: $0) == name }) else { continue }
            families[name] = try database.createFamilies([(name, TORC_FAMILY_PARTITION)])[0]
            lose(partition, &table, families)
            done("\(name) was made anew, empty")
        }
        if !plan.damagedPartitions.isEmpty { try workFolder.noteCopies() }
        for partition in plan.damagedPartitions.sorted() { try salvage(partition, database, &families, &table) }
        for partition in plan.partitionsWithBadRecords.sorted() {
            try removeBadRecords(of: partition, database, families, &table)
        }
        for name in lostTableFamilies.sorted() {
            if let partition = FamilyName.partition(of: name) { lose(partition, &table, families) }
        }
        for (partition, leaves) in plan.untrustedLeaves.sorted(by: { $0.key < $1.key }) {
            change(partition, &table, families) { entry in
                entry.lost = Set(entry.lost).union(leaves.map { UInt16($0) }).sorted()
            }
            done("the leaves of \(FamilyName.name(of: partition)) are computed by the next start")
        }
        if plan.hasBadHints || plan.purgesHints || !plan.purgedTargets.isEmpty {
            try removeHints(database, families)
        }
        for (partition, keys) in plan.reaped.sorted(by: { $0.key < $1.key }) {
            try reap(keys, of: partition, database, families, &table)
        }
        if !plan.properties.isEmpty { try setProperties(database, meta) }
        if hasLostAll {
            for partition in Set(families.keys.compactMap(FamilyName.partition)).sorted()
            where layout.ringSize.contains(partition) {
                lose(partition, &table, families)
            }
        }

        for (name, entry) in table.entries where entry.isAnew && !entry.lost.isEmpty {
            if let partition = FamilyName.partition(of: name) { report.lostLeaves[partition] = entry.lost.count }
        }
        try NodeStore.store(table, in: database, meta)
        try database.flush(Array(families.values))
        guard plan.compacts else { return }
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            let bytes = database.property("rocksdb.total-sst-files-size", of: family)
            try database.compact(family)
            listener.advance(bytes)
            listener.step("\(name) was compacted")
        }
        report.steps.append("every family was compacted")
    }

    /// Every partition whose family was ever made left a note among the leaves.
    private func partitions(notedIn merkle: Family, _ database: Database) throws(StoreError) -> Set<PartitionID> {
        var found: Set<PartitionID> = []
        let iterator = try RangeIterator(database, merkle, from: nil, fillCache: false)
        while iterator.isValid {
            let key = iterator.key
            if let number = key.getInteger(at: key.readerIndex, as: UInt16.self),
                layout.ringSize.contains(PartitionID(rawValue: number))
            {
                found.insert(PartitionID(rawValue: number))
            }
            iterator.next()
        }
        try iterator.check()
        return found
    }

    /// Changes what is noted of a partition's family, as of one that was just made anew: the next start computes its leaves.
    private func change(
        _ partition: PartitionID, _ table: inout DamageTable, _ families: [String: Family],
        _ body: (inout DamageTable.Entry) -> Void
    ) {
        let base = FamilyName.name(of: partition)
        var entry = table.entries[base] ?? DamageTable.Entry()
        entry.isAnew = true
        entry.generation =
            families.keys.filter { FamilyName.base(of: $0) == base }.map(FamilyName.generation).max() ?? 0
        body(&entry)
        table.entries[base] = entry
    }

    private func lose(_ partition: PartitionID, _ table: inout DamageTable, _ families: [String: Family]) {
        change(partition, &table, families) { $0.lost = (0..<layout.leavesPerPartition).map { UInt16($0) } }
    }

    private func present(
        _ partition: PartitionID, _ families: [String: Family]
    ) throws(StoreError) -> (name: String, family: Family) {
        let base = FamilyName.name(of: partition)
        guard let found = families.first(where: { FamilyName.base(of: $0.key) == base }) else {
            throw .unexpected(operation: "mend \(base)", detail: "it is not there")
        }
        return (found.key, found.value)
    }

    private func salvage(
        _ partition: PartitionID, _ database: Database, _ families: inout [String: Family], _ table: inout DamageTable
    ) throws(StoreError) {
        let (name, former) = try present(partition, families)
        let base = FamilyName.base(of: name)
        let generation = try FamilyName.nextGeneration(after: name)
        let copyName = FamilyName.name(base, generation)
        let copy = try database.createFamilies([(copyName, TORC_FAMILY_PARTITION)])[0]
        let copied = try NodeStore.copyRecords(
            of: partition, from: former, to: copy, in: database, layout: layout, hashSeed: nil, for: nil
        ).get()
        try database.flush([copy])
        try database.drop(former)
        families[name] = nil
        families[copyName] = copy
        change(partition, &table, families) { entry in
            entry.lost = Set(entry.lost).union(copied.lost.map { UInt16($0) }).sorted()
        }
        done("what can be read of \(name) was copied to \(copyName); \(copied.lost.count) leaves are lost")
    }

    private func removeBadRecords(
        of partition: PartitionID, _ database: Database, _ families: [String: Family], _ table: inout DamageTable
    ) throws(StoreError) {
        let (name, family) = try present(partition, families)
        // Where each of them may be missing now: a record among those of another partition may stand nowhere else, and one whose
        // key is damaged may be any of this one's.
        func own(_ partition: PartitionID) -> Family? {
            families.first { FamilyName.partition(of: $0.key) == partition }?.value
        }
        var lost: [PartitionID: Set<UInt16>] = [partition: []]
        var writer = NodeStore.CopyWriter(database, family, nil)
        let iterator = try RangeIterator(database, family, from: nil, fillCache: false)
        var removed = 0
        while iterator.isValid {
            let key = iterator.key
            let value = iterator.value
            if let fault = StoredRecordFault.find(key: key, value: value, in: partition, layout: layout) {
                if fault == .newer { throw .newerRecord(value, in: folder.path) }
                try quarantine.keep(record: key, value, of: name, because: fault.description)
                try writer.remove(key)
                removed += 1
                if let object = try? ObjectKey(storageKey: key) {
                    let place = layout.ringSize.partition(of: object.position)
                    if place == partition {
                        lost[place, default: []].insert(UInt16(layout.leaf(of: object.position)))
                    } else if let elsewhere = own(place), try !covers(value, of: object, elsewhere, database) {
                        lost[place, default: []].insert(UInt16(layout.leaf(of: object.position)))
                    }
                } else {
                    lost[partition] = Set((0..<layout.leavesPerPartition).map { UInt16($0) })
                }
            }
            iterator.next()
        }
        try iterator.check()
        try writer.flush()
        for (place, leaves) in lost.sorted(by: { $0.key < $1.key }) {
            change(place, &table, families) { $0.lost = Set($0.lost).union(leaves).sorted() }
        }
        let count = lost.values.reduce(0) { $0 + $1.count }
        done("\(removed) records of \(name) were put into quarantine; \(count) leaves are lost")
    }

    /// What stands where a record belongs has all that it has.
    private func covers(
        _ value: ByteBuffer, of key: ObjectKey, _ family: Family, _ database: Database
    ) throws(StoreError) -> Bool {
        var stored: Result<ByteBuffer?, StoreError> = .success(nil)
        key.storageKey.withUnsafeReadableBytes { bytes in
            stored = Result { () throws(StoreError) in try database.get(family, bytes) }
        }
        guard let present = try stored.get(), let held = try? Record(decoding: present, for: key).object(),
            let found = try? Record(decoding: value, for: key).object()
        else { return false }
        return held.merged(with: found) == held
    }

    private func reap(
        _ keys: [ByteBuffer], of partition: PartitionID, _ database: Database, _ families: [String: Family],
        _ table: inout DamageTable
    ) throws(StoreError) {
        let (name, family) = try present(partition, families)
        var writer = NodeStore.CopyWriter(database, family, nil)
        for key in keys { try writer.remove(key) }
        try writer.flush()
        // What they counted stands in the leaves still.
        change(partition, &table, families) { _ in }
        done("\(keys.count) tombstones of \(name) were removed; its leaves are computed by the next start")
    }

    private func setProperties(_ database: Database, _ meta: Family) throws(StoreError) {
        let key = ByteBuffer(string: NodeStore.MetaKey.callers + StoredProperties.key)
        var stored: Result<ByteBuffer?, StoreError> = .success(nil)
        key.withUnsafeReadableBytes { bytes in
            stored = Result { () throws(StoreError) in try database.get(meta, bytes) }
        }
        let bytes = try stored.get()
        var table: PropertiesTable
        do throws(MalformedBytes) {
            table = try bytes.map(StoredProperties.decode) ?? PropertiesTable()
        } catch {
            throw .damagedMeta(path: folder.path, detail: "\(error)")
        }
        for entry in plan.properties { table.merge(entry) }
        var writer = NodeStore.CopyWriter(database, meta, nil)
        try writer.put(key, StoredProperties.encode(table))
        try writer.flush()
        done("properties were set: the node tells the others when it runs again")
    }

    private func removeHints(_ database: Database, _ families: [String: Family]) throws(StoreError) {
        guard let (name, family) = families.first(where: { FamilyName.base(of: $0.key) == FamilyName.hints }) else {
            return
        }
        var writer = NodeStore.CopyWriter(database, family, nil)
        let iterator = try RangeIterator(database, family, from: nil, fillCache: false)
        var removed = 0
        while iterator.isValid {
            let key = iterator.key
            let value = iterator.value
            let target = key.getInteger(at: key.readerIndex, as: UInt64.self).map(NodeID.init(rawValue:))
            var reason = plan.purgesHints ? "purged" : nil
            if let target, plan.purgedTargets.contains(target) { reason = "purged" }
            if plan.hasBadHints, reason == nil, let fault = StoredHintFault.find(key: key, value: value) {
                if fault == .newer { throw .newerRecord(value, in: folder.path) }
                reason = fault.description
            }
            if let reason {
                try quarantine.keep(record: key, value, of: name, because: reason)
                try writer.remove(key)
                removed += 1
            }
            iterator.next()
        }
        try iterator.check()
        try writer.flush()
        done("\(removed) hints were put into quarantine")
    }
}
