// A database without a manifest that can be read: RocksDB makes a new one from the tables that are there (`torc_repair`).
// Three things it does not do by itself:
//
// - Tables that the database had done with, and that a crash left behind, would come back, and with them what was removed.
//   What can be read of the old manifest names them; they are put aside before.
// - All tables come to one level, where RocksDB takes the newest file for the newest value. After a compaction that is not
//   so: every family is compacted once more before anything is read.
// - What the log holds for a family that has no table yet would be dropped without a word. So the logs are kept from RocksDB
//   and replayed here, in order, up to the first damage.

import CRocksDB
import NIOCore
import TorcModel

struct ManifestRebuild {
    struct Outcome {
        var steps: [String] = []
        /// The manifest, as far as it can be read, names partitions.
        var knowsPartitions = false
    }

    private let mender: FolderMender
    private var work: String { mender.work }
    private var database: String { mender.databasePath }

    init(_ mender: FolderMender) { self.mender = mender }

    func run() throws(StoreError) -> Outcome {
        var outcome = Outcome()
        let tables = try FolderTables(folder: work)
        let manifest = tables.manifest
        try setAsideTables(tables, &outcome)
        outcome.knowsPartitions = manifest.families.values.contains { FamilyName.partition(of: $0) != nil }
        let logs = try setAsideLogs(from: manifest.oldestLog)
        // A database always has one; votes may have stood in it.
        if logs.isEmpty { throw damagedMeta("no file of the log is there") }

        var names = Set(manifest.families.values)
        names.formUnion(["default", FamilyName.meta])
        try Database.repair(
            at: database, families: names.sorted().map { ($0, FamilyName.kind(of: $0)) }, options: FolderMender.options)
        let dropped = try Files.names(in: database + "/lost").filter { $0.hasSuffix(".sst") }
        outcome.steps.append("a new manifest was made from \(tables.bytesOnDisk.count) tables")
        for name in dropped { outcome.steps.append("table \(name) cannot be read, and was taken out") }
        if Files.exists(database + "/lost") { try mender.quarantine.take(database + "/lost", as: "lost") }

        let present = try Database.familyNames(at: database)
        let (opened, handles) = try Database.open(
            at: database, families: present.map { ($0, FamilyName.kind(of: $0)) }, create: false,
            options: FolderMender.options
        ) {
            $0.allows_overlap = true
            $0.holds_compaction = true
        }
        do throws(StoreError) {
            var families = Dictionary(uniqueKeysWithValues: zip(present, handles))
            for name in present.sorted() { try opened.compact(families[name]!) }
            try make(manifest.families.values.filter { families[$0] == nil }.sorted(), in: opened, &families)
            try replay(logs, of: manifest, into: opened, &families, &outcome)
            try opened.flush(Array(families.values))
            guard let meta = families[FamilyName.meta] else { throw damagedMeta("nothing of it is there") }
            try checkMeta(opened, meta)
            try opened.close()
        } catch {
            try? opened.close()
            throw error
        }
        return outcome
    }

    private func make(
        _ absent: [String], in database: Database, _ families: inout [String: Family]
    ) throws(StoreError) {
        for (name, family) in zip(
            absent, try database.createFamilies(absent.map { ($0, FamilyName.kind(of: $0)) }))
        {
            families[name] = family
        }
    }

    private func damagedMeta(_ detail: String) -> StoreError { .damagedMeta(path: work, detail: detail) }

    /// What must not come back, and what cannot be read. A table of `meta` that is not there, or not whole, ends it.
    private func setAsideTables(_ tables: FolderTables, _ outcome: inout Outcome) throws(StoreError) {
        let manifest = tables.manifest
        var ofMeta: Set<UInt64> = []
        for number in tables.bytesOnDisk.keys.sorted() {
            if manifest.former.contains(number) {
                try mender.quarantine.keep(table: tables.path(of: number))
                try Files.remove(tables.path(of: number))
                outcome.steps.append(
                    "table \(ManifestContent.fileName(number)), which the database had done with, was put aside")
                continue
            }
            let (found, problem) = try tables.check(number, checksums: true)
            let family = found ?? manifest.tables[number].flatMap { manifest.family(of: $0) }
            guard let problem else {
                if family == FamilyName.meta { ofMeta.insert(number) }
                continue
            }
            if family == FamilyName.meta { throw damagedMeta(problem) }
            if found == nil {
                try mender.quarantine.keep(table: tables.path(of: number))
                try Files.remove(tables.path(of: number))
                outcome.steps.append("table \(ManifestContent.fileName(number)) cannot be opened: \(problem)")
            }
        }
        // One that the manifest does not name may be what those that it names were compacted to.
        let known = manifest.tables.values.filter { manifest.family(of: $0) == FamilyName.meta }
        let missing = known.filter { !ofMeta.contains($0.number) }
        if let first = missing.first,
            manifest.isSound || ofMeta.isSubset(of: Set(known.map(\.number)))
        {
            throw damagedMeta("its table \(first.fileName) is missing")
        }
    }

    /// The files to replay, oldest first, where they are now.
    private func setAsideLogs(from oldest: UInt64) throws(StoreError) -> [(number: UInt64, path: String)] {
        var logs: [(number: UInt64, path: String)] = []
        let folder = mender.quarantine.path + "/logs"
        try Files.makeFolder(folder)
        for name in try Files.names(in: database) where name.hasSuffix(".log") {
            guard let number = UInt64(name.dropLast(4)) else { continue }
            try Files.move("\(database)/\(name)", to: "\(folder)/\(name)")
            if number >= oldest { logs.append((number, "\(folder)/\(name)")) }
        }
        return logs.sorted { $0.number < $1.number }
    }

    private func replay(
        _ logs: [(number: UInt64, path: String)], of manifest: ManifestContent, into database: Database,
        _ families: inout [String: Family], _ outcome: inout Outcome
    ) throws(StoreError) {
        let replay = LogReplay(
            wanting: manifest.families, guesses: mender.layout.ringSize, store: mender.store)
        var made = families
        defer { families = made }
        var changes = 0
        for log in logs {
            let isDamaged = try replay.read(log.path) { batch, isBehindDamage throws(StoreError) in
                if !isBehindDamage {
                    // Of what the manifest does not say, under any of its names.
                    let known = Set(made.keys).union(made.keys.map(FamilyName.base))
                    try self.make(Set(batch.map(\.family)).subtracting(known).sorted(), in: database, &made)
                    try self.write(batch, into: database, made)
                    changes += batch.count
                }
            }
            // A torn end of the last is what a crash leaves. Elsewhere a vote may have stood there, and which of two is the later,
            // nobody can say without a manifest.
            if isDamaged, log.number != logs.last?.number || replay.readsBehindDamage {
                throw damagedMeta("the log is damaged, too")
            }
        }
        outcome.steps.append("\(changes) changes were replayed from \(logs.count) log files")
        if replay.passedOver > 0 {
            outcome.steps.append(
                "\(replay.passedOver) changes are of families that nobody knows, and were not replayed")
        }
        if replay.doubtful > 0 {
            outcome.steps.append(
                "\(replay.doubtful) batches behind the torn end may be a client's bytes, and were not replayed: see logs/"
            )
        }
    }

    private func write(
        _ changes: [LogReplay.Change], into database: Database, _ families: [String: Family]
    ) throws(StoreError) {
        if changes.isEmpty { return }
        let batch = Batch()
        for change in changes {
            // Of one whose name the manifest does not say it may be a later copy.
            guard
                let family = families[change.family]
                    ?? families.first(where: { FamilyName.base(of: $0.key) == change.family })?.value
            else { continue }
            let error = change.key.withUnsafeReadableBytes { key in
                guard let value = change.value else {
                    return torc_batch_delete(batch.handle, family.handle, key.baseAddress, key.count)
                }
                return value.withUnsafeReadableBytes {
                    torc_batch_put(batch.handle, family.handle, key.baseAddress, key.count, $0.baseAddress, $0.count)
                }
            }
            try Database.check(error, "add to a batch")
        }
        try LogDataWriter(store: nil).finish(syncedThrough: 0, into: batch)
        try Database.check(torc_write(database.handle, batch.handle, false), "write")
    }

    /// A node that ever ran has an incarnation.
    private func checkMeta(_ database: Database, _ meta: Family) throws(StoreError) {
        let key = ByteBuffer(string: NodeStore.MetaKey.incarnations)
        var found: Result<ByteBuffer?, StoreError> = .success(nil)
        key.withUnsafeReadableBytes { key in
            found = Result { () throws(StoreError) in try database.get(meta, key) }
        }
        guard try found.get() != nil else { throw damagedMeta("it holds no incarnation") }
    }
}
