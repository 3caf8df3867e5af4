// Reads everything in a data folder and says what is wrong with it: tables, manifest, log, what the node keeps of itself,
// records, leaves, hints. Nothing is changed, and the folder may be a running node's.
//
// Two threads walk the families, the largest first. What they compute of a family is compared and let go before the next, so
// that memory does not grow with the folder.

import Glibc
import NIOCore
import Synchronization
import TorcConsole
import TorcModel
import TorcReplication
package import TorcStorage

package struct FolderCheck: Sendable {
    /// What was read.
    package struct Summary: Sendable, Encodable {
        package var path: String
        package var node: String
        package var heldBy: Int32?
        package var tables = 0
        package var tableBytes: UInt64 = 0
        package var logFiles = 0
        package var logBytes: UInt64 = 0
        package var partitions = 0
        package var records: UInt64 = 0
        package var recordBytes: UInt64 = 0
        package var tombstones: UInt64 = 0
        package var graves: UInt64 = 0
        package var hints: UInt64 = 0
        /// Partitions whose leaves were computed from the records and compared.
        package var leavesCompared = 0
        /// What could not be checked, and why.
        package var skipped: [String] = []
        package var seconds = 0.0
    }

    package private(set) var summary: Summary
    package private(set) var findings: [Finding] = []
    /// What `repair` has to do.
    package private(set) var plan = MendPlan()

    package var remedy: Finding.Remedy { findings.map(\.remedy).max() ?? .node }

    private let path: String
    private let identity: StoreIdentity
    private let settings: NodeSettings
    private let tables: FolderTables
    private var log: StoredLog?
    /// Partitions whose leaves the next start computes anyhow, with or without copies under way.
    private var noted: Set<String> = []
    private var ring: RingRecord?

    package static func run(_ path: String, settings: NodeSettings) async throws -> FolderCheck {
        let begun = ContinuousClock.now
        var check = try FolderCheck(path, settings)
        try await check.run()
        let elapsed = (ContinuousClock.now - begun).components
        check.summary.seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) / 1e18
        return check
    }

    private init(_ path: String, _ settings: NodeSettings) throws {
        self.path = DataFolder.normalized(path)
        self.settings = settings
        identity = try DataFolder.identity(of: self.path)
        tables = try FolderTables(folder: self.path)
        summary = Summary(path: self.path, node: "\(identity.node)")
        // Who mends holds it, too.
        let holder = try DataFolder.holder(of: self.path)
        summary.heldBy = holder == getpid() ? nil : holder
    }

    private mutating func find(
        _ kind: Finding.Kind, _ place: String, _ detail: String, effect: String, _ remedy: Finding.Remedy
    ) {
        findings.append(Finding(kind, place, detail, effect: effect, remedy: remedy))
    }

    private mutating func run() async throws {
        summary.tables = tables.bytesOnDisk.count
        summary.tableBytes = UInt64.sum(Array(tables.bytesOnDisk.values))
        guard let reader = try openReader() else { return try checkTablesAlone() }
        findTables()
        try checkLog(reader)
        guard try checkMeta(reader) else { return }
        try checkFamilies(reader)
        try await checkContent(reader)
        findings.sort { ($1.remedy, $0.kind.rawValue, $0.place) < ($0.remedy, $1.kind.rawValue, $1.place) }
    }

    // MARK: Manifest and tables

    private mutating func openReader() throws -> FolderReader? {
        let problem: String
        do throws(StoreError) {
            // To its end somebody may be writing.
            let isWhole = tables.manifest.unreadable == 0 || isTornAtItsEnd
            guard !isWhole, summary.heldBy == nil else { return try FolderReader.open(path) }
            problem = "\(tables.manifest.unreadable) places cannot be read"
        } catch {
            switch error {
            case .halfMade(_, let lacking): problem = "\(lacking) is missing"
            case .corruption(_, let detail): problem = detail
            case .inputOutput(_, let detail) where tables.manifest.file == nil || detail.contains("MANIFEST"):
                problem = detail
            default: throw error
            }
        }
        find(
            .manifestDamaged, tables.manifest.file.map { "db/\($0)" } ?? "db/CURRENT", problem,
            effect: "the node does not start", .repair)
        plan.rebuildsManifest = true
        return nil
    }

    /// What a crash leaves behind the last edit; RocksDB passes over it. Where an edit is gone, some table is not named, or one is
    /// missing.
    private var isTornAtItsEnd: Bool {
        tables.manifest.isSound
            && tables.manifest.tables.keys.allSatisfy { tables.bytesOnDisk[$0] != nil }
            && tables.bytesOnDisk.keys.allSatisfy {
                tables.manifest.tables[$0] != nil || tables.manifest.former.contains($0)
            }
    }

    /// Without a manifest: each file by itself.
    private mutating func checkTablesAlone() throws {
        summary.skipped.append("log, records, leaves and hints: they are read once there is a manifest")
        for number in tables.bytesOnDisk.keys.sorted() where !tables.manifest.former.contains(number) {
            let (family, problem) = try tables.check(number, checksums: true)
            guard let problem else { continue }
            let isMeta = (family ?? tables.manifest.tables[number].flatMap { tables.manifest.family(of: $0) }) == "meta"
            find(
                isMeta ? .metaDamaged : .tableDamaged, place(number, family), problem,
                effect: isMeta ? Self.metaEffect : "this copy of its records is lost; other nodes have them",
                isMeta ? .replace : .repair)
        }
    }

    private static let metaEffect = "what the node must not forget is gone: votes, incarnations"

    private func place(_ number: UInt64, _ family: String?) -> String {
        "db/\(ManifestContent.fileName(number))\(family.map { " (\($0))" } ?? "")"
    }

    private mutating func findTables() {
        for table in tables.manifest.tables.values.sorted(by: { $0.number < $1.number }) {
            let family = tables.manifest.family(of: table)
            let found = tables.bytesOnDisk[table.number]
            if found == table.bytes { continue }
            // Of a running node it may be gone by now, and nothing is missing.
            if summary.heldBy != nil { continue }
            lose(
                table.number, family, found == nil ? .tableMissing : .tableTruncated,
                found.map { "\($0) bytes instead of \(table.bytes)" } ?? "\(table.bytes) bytes are missing")
        }
        guard summary.heldBy == nil else { return }
        for number in tables.bytesOnDisk.keys.sorted() where tables.manifest.tables[number] == nil {
            find(
                .tableLeftOver, place(number, nil), "the manifest does not name it", effect: "none: it takes space",
                .node)
        }
    }

    /// A table that cannot be read at all.
    private mutating func lose(_ number: UInt64, _ family: String?, _ kind: Finding.Kind, _ detail: String) {
        if family == "meta" {
            return find(.metaDamaged, place(number, family), detail, effect: Self.metaEffect, .replace)
        }
        plan.lostTables.insert(number)
        find(kind, place(number, family), detail, effect: effect(of: family), .repair)
    }

    private func effect(of family: String?) -> String {
        switch family.map(StoredFamily.init) {
        case let family? where family.partition != nil: "this copy of its records is lost; other nodes have them"
        case let family? where family.isHints: "what is kept there for other nodes reaches them by repair alone"
        case let family? where family.isMerkle: "none: leaves follow from the records"
        default: "not known"
        }
    }

    // MARK: Log and meta

    private mutating func checkLog(_ reader: FolderReader) throws {
        let log: StoredLog
        do throws(StoreError) {
            log = try reader.log()
        } catch {
            guard case .halfMade(_, let lacking) = error else { throw error }
            // Votes of its last run may have stood there, and nowhere else.
            return find(.logDamaged, lacking, "it is missing", effect: Self.metaEffect, .replace)
        }
        self.log = log
        summary.logFiles = log.inspection.files.count
        summary.logBytes = log.inspection.bytes
        // Somebody writes to its end.
        guard summary.heldBy == nil else { return }
        let place = log.inspection.damage.map { damage in
            "db/\(damage.file.split(separator: "/").last.map(String.init) ?? damage.file), byte \(damage.offset)"
        }
        switch log.inspection.verdict {
        case .serve: break
        case .cut(let after):
            find(
                .logTorn, place ?? "log", "ends within a write, after change \(after)",
                effect: "none: that write was never acknowledged", .node)
        case .refuse(let damageAt, let lastMark):
            plan.cutsLog = true
            find(
                .logDamaged, place ?? "log", "change \(damageAt) cannot be read; up to \(lastMark) was synced",
                effect: "the node does not start; writes that it acknowledged may be missing here", .repair)
        }
    }

    /// False: nothing else can be said.
    private mutating func checkMeta(_ reader: FolderReader) throws -> Bool {
        do {
            try reader.walkAll(StoredFamily(name: "meta"), checksums: true) { _, _ in }
            _ = try reader.incarnations()
            _ = try reader.properties()
            ring = try reader.ring()
            for entry in try reader.damagedFamilies() {
                noted.insert(entry.name)
                let leaves = entry.lostLeaves.count
                find(
                    .damageNoted, entry.name,
                    entry.isAnew ? "made anew; \(leaves) leaves wait to be compared" : "to be made anew",
                    effect: leaves > 0 ? "what is read in those leaves counts for nobody until then" : "none", .node)
            }
            return true
        } catch let error as StoreError where error.isOfTheSystem {
            throw error
        } catch {
            find(
                .metaDamaged, "meta", (error as? StoreError)?.detail ?? "\(error)", effect: Self.metaEffect, .replace)
            return false
        }
    }

    // MARK: Families

    private mutating func checkFamilies(_ reader: FolderReader) throws {
        let present = Dictionary(grouping: reader.families.filter { $0.partition != nil }) { $0.partition! }
        for (partition, families) in present.sorted(by: { $0.key < $1.key }) where families.count > 1 {
            guard let kept = try reader.family(of: partition) else { continue }
            plan.settlesFamilies = true
            let others = families.map(\.name).filter { $0 != kept.name }.sorted().joined(separator: ", ")
            find(
                .familyHalfDropped, others, "\(kept.name) counts", effect: "none: it takes space", .repair)
        }
        guard summary.heldBy == nil else { return }
        let held = heldPartitions()
        for partition in try partitionsWithLeaves(reader) where present[partition] == nil {
            plan.missingPartitions.insert(partition)
            find(
                .familyMissing, FolderReader.familyName(of: partition), "the partition has leaves, and no records",
                effect: "this copy of its records is lost, and the node would start as if there had been none", .repair)
        }
        if let held {
            for partition in present.keys.sorted() where !held.contains(partition) {
                find(
                    .familyBeyond, present[partition]![0].name, "the ring gives it to other nodes",
                    effect: "none: it goes when they have everything", .node)
            }
        }
    }

    /// As the ring that the folder knows has it, or the one that a declared cluster begins with.
    private func heldPartitions() -> Set<PartitionID>? {
        if let ring { return Set(ring.state.placement.partitionsHeld(by: identity.node)) }
        guard let members = settings.members,
            let declared = try? Ring.declared(
                members: members.map { ClaimMember(node: $0) }, size: identity.ringSize)
        else { return nil }
        return Set(Placement(declared).partitionsHeld(by: identity.node))
    }

    private func partitionsWithLeaves(_ reader: FolderReader) throws -> [PartitionID] {
        var found: Set<PartitionID> = []
        do {
            try reader.walkAll(StoredFamily(name: "merkle"), checksums: true) { key, _ in
                if let partition = key.getInteger(at: key.readerIndex, as: UInt16.self).map(
                    PartitionID.init(rawValue:)),
                    identity.ringSize.contains(partition)
                {
                    found.insert(partition)
                }
            }
        } catch is StoreError {
            // It is read again below, where that is told.
        }
        return found.sorted()
    }

    // MARK: Content

    private struct Job: Sendable {
        var family: StoredFamily
        var tables: [UInt64]
        var bytes: UInt64
    }

    private mutating func checkContent(_ reader: FolderReader) async throws {
        var jobs: [Job] = []
        let byFamily = Dictionary(grouping: self.tables.manifest.tables.values) {
            self.tables.manifest.family(of: $0) ?? ""
        }
        for family in reader.families {
            if let partition = family.partition, try reader.family(of: partition) != family { continue }
            let own = byFamily[family.name] ?? []
            // A running node may remove them meanwhile.
            let readable = summary.heldBy == nil ? own.filter { !plan.lostTables.contains($0.number) } : []
            jobs.append(
                Job(
                    family: family, tables: readable.map(\.number).sorted(),
                    bytes: UInt64.sum(own.map(\.bytes))))
        }
        jobs.sort { $0.bytes < $1.bytes }
        let progress = ProgressBar("verify", total: reader.estimatedRecords)
        let queue = CheckQueue(jobs)
        let (settings, log, noted, tables) = (settings, log, noted, tables)
        let isHeld = summary.heldBy != nil
        let comparesLeaves = !isHeld && !plan.cutsLog && settings.hashSeed != nil
        try await withThrowingTaskGroup(of: [Outcome].self) { group in
            for _ in 0..<Self.workers {
                group.addTask {
                    var outcomes: [Outcome] = []
                    while let job = queue.next() {
                        var family = FamilyCheck(job.family)
                        try family.run(reader, tables, tables: job.tables, hashSeed: settings.hashSeed) {
                            progress.advance(by: $0)
                        }
                        var outcome = Outcome(family: family)
                        if comparesLeaves, let log {
                            outcome.leaves = try Self.compareLeaves(family, reader, log, noted)
                        }
                        outcome.family.trees = [:]
                        outcomes.append(outcome)
                    }
                    return outcomes
                }
            }
            for try await outcomes in group {
                for outcome in outcomes { take(outcome) }
            }
        }
        progress.finish()
        if settings.hashSeed == nil {
            summary.skipped.append("leaves: the cluster's key is not known; give --config or --cluster-key-file")
        } else if isHeld {
            summary.skipped.append("leaves: the node runs, and changes them meanwhile")
        } else if plan.cutsLog {
            summary.skipped.append("leaves: changes of them are in the log, which is damaged")
        }
        if ring == nil, settings.members == nil {
            summary.skipped.append("targets of hints: the folder knows no ring, as it never changed; give --config")
        }
    }

    private static let workers = 2

    private struct Outcome: Sendable {
        enum Leaves: Sendable {
            case equal
            case wrong(Set<Int>)
            case unknown(String)
        }

        var family: FamilyCheck
        var leaves: Leaves?
    }

    /// nil: there is nothing to compare.
    private static func compareLeaves(
        _ check: FamilyCheck, _ reader: FolderReader, _ log: StoredLog, _ noted: Set<String>
    ) throws -> Outcome.Leaves? {
        guard let partition = check.family.partition, reader.layout.ringSize.contains(partition), check.problem == nil,
            !noted.contains(FolderReader.familyName(of: partition))
        else { return nil }
        let stored: [(copies: UInt8, leaves: [UInt64])]
        do throws(StoreError) {
            switch try reader.leaves(of: partition, log: log) {
            case .known(let trees): stored = trees
            case .unknown(let reason): return .unknown(reason)
            }
        } catch {
            // The family `merkle`, which tells of itself.
            guard case .corruption = error else { throw error }
            return nil
        }
        let empty = [UInt64](repeating: 0, count: reader.layout.leavesPerPartition)
        var wrong: Set<Int> = []
        let byCopies = Dictionary(stored.map { ($0.copies, $0.leaves) }) { $1 }
        for copies in Set(byCopies.keys).union(check.trees.keys) {
            let ours = byCopies[copies] ?? empty
            let theirs = check.trees[copies] ?? empty
            if ours == theirs { continue }
            for leaf in ours.indices where ours[leaf] != theirs[leaf] { wrong.insert(leaf) }
        }
        return wrong.isEmpty ? .equal : .wrong(wrong)
    }

    private mutating func take(_ outcome: Outcome) {
        let check = outcome.family
        let family = check.family
        for (number, isOpen, problem) in check.tables {
            if isOpen {
                damage(family, place(number, family.name), problem)
            } else {
                lose(number, family.name, .tableDamaged, problem)
            }
        }
        // A file that is missing was told of; so was a damaged block, where its file could be named.
        let isTold =
            !check.tables.isEmpty
            || plan.lostTables.contains { tables.manifest.tables[$0].flatMap(tables.manifest.family) == family.name }
        if let problem = check.problem, !isTold { damage(family, family.name, problem) }
        if family.isHints {
            takeHints(check)
        } else if let partition = family.partition {
            summary.partitions += 1
            summary.records += check.entries
            summary.recordBytes += check.bytes
            summary.tombstones += check.tombstones
            summary.graves += check.graves
            take(check, of: partition, outcome.leaves)
        }
    }

    private mutating func damage(_ family: StoredFamily, _ place: String, _ problem: String) {
        if family.isMeta { return find(.metaDamaged, place, problem, effect: Self.metaEffect, .replace) }
        if let partition = family.partition {
            plan.damagedPartitions.insert(partition)
        } else {
            plan.settlesFamilies = true
        }
        find(.tableDamaged, place, problem, effect: effect(of: family.name), .repair)
    }

    private mutating func take(_ check: FamilyCheck, of partition: PartitionID, _ leaves: Outcome.Leaves?) {
        let name = check.family.name
        if check.unreadable.count > 0 {
            plan.partitionsWithBadRecords.insert(partition)
            find(
                .recordUnreadable, name, "\(check.unreadable.count) records, the first: \(check.unreadable.first)",
                effect: "these copies are lost; other nodes have them", .repair)
        }
        if check.misplaced.count > 0 {
            plan.partitionsWithBadRecords.insert(partition)
            find(
                .recordMisplaced, name, "\(check.misplaced.count) records, the first: \(check.misplaced.first)",
                effect: "nobody finds them there, and replicas never become equal", .repair)
        }
        switch leaves {
        case nil: break
        case .equal: summary.leavesCompared += 1
        case .unknown(let reason):
            find(.leavesUnknown, name, reason, effect: "none: the next start computes them", .node)
        case .wrong(let wrong):
            summary.leavesCompared += 1
            plan.untrustedLeaves[partition] = wrong
            // What is taken out of a partition, or what it lost, changes them anyhow.
            guard check.unreadable.count + check.misplaced.count == 0, check.tables.isEmpty else { return }
            find(
                .leavesWrong, name, "\(wrong.count) leaves do not follow from the records, the first: \(wrong.min()!)",
                effect: "records may be gone from there, or repair compares for nothing", .repair)
        }
    }

    private mutating func takeHints(_ check: FamilyCheck) {
        summary.hints += check.entries
        if check.unreadable.count > 0 {
            plan.hasBadHints = true
            find(
                .hintUnreadable, check.family.name,
                "\(check.unreadable.count) hints, the first: \(check.unreadable.first)",
                effect: "they are never delivered", .repair)
        }
        let known = ring.map { Set($0.state.placement.nodes) } ?? settings.members.map(Set.init)
        guard let known else { return }
        for (target, count) in check.targets.sorted(by: { $0.key < $1.key }) where !known.contains(target) {
            find(
                .hintOrphaned, check.family.name, "\(count) hints for \(target), which is no member",
                effect: "the node delivers them to those that hold the keys now", .node)
        }
    }
}

/// Families that wait to be read, the largest last.
private final class CheckQueue<Job: Sendable>: Sendable {
    private let jobs: Mutex<[Job]>

    init(_ jobs: [Job]) { self.jobs = Mutex(jobs) }

    func next() -> Job? { jobs.withLock { $0.popLast() } }
}
