// `torc inspect info`: whose data a folder holds, how much, and in what state it was left.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct InfoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show whose data a folder holds, how much, and in what state it was left.",
        discussion: """
            Examples:
              torc inspect info data/node1
              torc inspect info data/node1 --json

            The whole log is read, and judged as a start would judge it. KEYS is what the tables and the log say of
            themselves, in which a key that was written twice may count twice: 'torc inspect count' counts.
            """)

    @OptionGroup var folder: FolderOptions

    /// Of a folder whose database cannot be opened.
    private struct Unopened: Encodable {
        var path: String
        var cluster: String
        var node: String
        var store: String
        var ringSize: Int
        var problem: String
    }

    func run() async throws {
        let report: FolderInfo
        do { report = try FolderInfo(folder.open()) } catch let error as StoreError {
            guard let identity = try identity() else { throw error }
            return try show(identity, error)
        }
        if folder.json { return try JSONLine.print(report) }
        report.show()
    }

    /// Stands beside the database.
    private func identity() throws -> StoreIdentity? {
        guard case .ready(let identity) = try? DataFolder.peek(folder.directory) else { return nil }
        return identity
    }

    /// Whose disk it is should be known even when nothing else is.
    private func show(_ identity: StoreIdentity, _ error: StoreError) throws {
        let known = Unopened(
            path: folder.directory, cluster: "\(identity.cluster)", node: "\(identity.node)",
            store: "\(identity.store)",
            ringSize: identity.ringSize.partitions, problem: "\(error)")
        if folder.json {
            try JSONLine.print(known)
        } else {
            Console.print(
                PlainText.fields([
                    ("folder", known.path), ("cluster", known.cluster),
                    ("node", known.node + (identity.joinedName.map { " (\($0))" } ?? "")), ("store", known.store),
                    ("ring", "\(known.ringSize) partitions"), ("database", known.problem),
                ]))
        }
        Console.warn("the database cannot be read as it is: 'torc inspect verify \(folder.directory)' tells more")
        throw ExitCode.failure
    }
}

/// What RocksDB says of a family.
struct FamilyInfo: Encodable {
    var name: String
    /// An estimate.
    var keys: UInt64
    /// Of its table files.
    var bytes: UInt64
    /// In memory, from the log: what a start would replay.
    var logged: UInt64
    /// Files of each level that has some.
    var levels: [String: Int]

    private static let maximumLevels = 7

    init(_ family: StoredFamily, _ reader: FolderReader) {
        name = family.name
        keys = reader.estimatedKeys(of: family)
        bytes = reader.property("rocksdb.total-sst-files-size", of: family)
        logged = reader.property("rocksdb.num-entries-active-mem-table", of: family)
        levels = [:]
        for level in 0..<Self.maximumLevels {
            let text = reader.text(of: "rocksdb.num-files-at-level\(level)", in: family)
            if let files = text.flatMap({ Int($0) }), files > 0 { levels["L\(level)"] = files }
        }
    }

    var cells: [String] {
        let files = levels.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        return [name, "\(keys)", TextTable.bytes(bytes), "\(logged)", files.isEmpty ? "-" : files]
    }

    static func table(_ families: [FamilyInfo]) -> String {
        var table = TextTable([
            .left("FAMILY"), .right("KEYS, ABOUT"), .right("BYTES"), .right("IN THE LOG"), .left("FILES"),
        ])
        for family in families { table.add(family.cells) }
        return table.text
    }
}

/// What `info` says.
struct FolderInfo: Encodable {
    struct Log: Encodable {
        var files: Int
        var bytes: UInt64
        /// What a start would replay.
        var changes: UInt64
        var oldest: String?
        /// When the oldest file was last written to.
        var oldestWritten: String?
        var verdict: String
        var damage: String?
    }

    struct Damage: Encodable {
        var family: String
        var isAnew: Bool
        var lostLeaves: Int
    }

    struct Hints: Encodable {
        var target: String
        var name: String?
        var records: Int
        var bytes: Int
    }

    var path: String
    var cluster: String
    var node: String
    var name: String?
    var store: String
    var ringSize: Int
    var heldBy: Int32?
    var wasClean: Bool
    var incarnations: [String]
    /// Nil: the ring never changed.
    var epoch: UInt64?
    var phase: String?
    var log: Log?
    var logProblem: String?
    var damaged: [Damage]
    var hints: [Hints]
    var families: [FamilyInfo]

    init(_ reader: FolderReader) throws {
        let names = NodeNames(reader)
        path = reader.path
        cluster = "\(reader.identity.cluster)"
        node = "\(reader.identity.node)"
        name = names.nameIfKnown(of: reader.identity.node)
        store = "\(reader.identity.store)"
        ringSize = reader.identity.ringSize.partitions
        heldBy = reader.holder
        wasClean = try reader.wasClean()
        incarnations = try reader.incarnations().map { "\($0)" }
        let state = try reader.ring()?.state
        epoch = state?.ring.epoch
        phase = state.map { "\($0.placement.phase)" }
        do { log = Log(try reader.log().inspection, isHeld: reader.holder != nil) } catch {
            logProblem =
                reader.holder == nil ? "\(error)" : "\(error): its files come and go while the node writes, look again"
        }
        damaged = try reader.damagedFamilies().map {
            Damage(family: $0.name, isAnew: $0.isAnew, lostLeaves: $0.lostLeaves.count)
        }
        var totals: [NodeID: HintTotal] = [:]
        if let family = reader.hintsKept {
            try reader.walk(family) { key, value in
                var target = key
                guard let id = target.readInteger(as: UInt64.self) else { return true }
                totals[NodeID(rawValue: id), default: HintTotal()].records += 1
                totals[NodeID(rawValue: id)]!.bytes += key.readableBytes + value.readableBytes
                return true
            }
        }
        hints = totals.sorted { $0.key < $1.key }.map {
            Hints(target: "\($0)", name: names.nameIfKnown(of: $0), records: $1.records, bytes: $1.bytes)
        }
        families = reader.families.map { FamilyInfo($0, reader) }
    }

    func show() {
        let partitions = families.filter { StoredFamily(name: $0.name).partition != nil }
        var lines: [(String, String)] = [
            ("folder", path + (heldBy.map { ", in use by process \($0)" } ?? "")),
            ("cluster", cluster),
            ("node", node + (name.map { " (\($0))" } ?? "")),
            ("store", store),
            (
                "ring",
                "\(ringSize) partitions, \(epoch.map { "epoch \($0), \(phase!)" } ?? "as declared: it never changed")"
            ),
            ("stopped", heldBy != nil ? "no, it runs" : wasClean ? "cleanly" : "without a clean end"),
            ("incarnation", incarnations.last.map { "\($0), the last of \(incarnations.count)" } ?? "none yet"),
        ]
        if let log {
            lines.append(("log", "\(log.files) files, \(TextTable.bytes(log.bytes)), \(log.changes) changes to replay"))
            if let oldest = log.oldest {
                lines.append(("oldest log", oldest + (log.oldestWritten.map { ", written to until \($0)" } ?? "")))
            }
            lines.append(("verdict", log.verdict + (log.damage.map { " (damage at \($0))" } ?? "")))
        }
        if let logProblem { lines.append(("log", "cannot be read: \(logProblem)")) }
        for entry in damaged {
            lines.append(
                (
                    "damaged",
                    entry.family
                        + (entry.isAnew
                            ? ", made anew, \(entry.lostLeaves) leaves still to be compared with the co-owners"
                            : ", to be made anew by the running node")
                ))
        }
        if hints.isEmpty { lines.append(("hints", "none kept for other nodes")) }
        for entry in hints {
            lines.append(
                ("hints", "\(entry.records) for \(entry.name ?? entry.target), \(TextTable.bytes(UInt64(entry.bytes)))")
            )
        }
        lines.append(
            (
                "records",
                "about \(partitions.reduce(0) { $0 + $1.keys }) in \(partitions.count) partitions, "
                    + TextTable.bytes(partitions.reduce(0) { $0 + $1.bytes })
            ))
        Console.print(PlainText.fields(lines) + "\n")
        let filled = families.filter { $0.keys > 0 || $0.bytes > 0 || $0.logged > 0 }
        Console.print(FamilyInfo.table(filled))
        if filled.count < families.count { Console.print("\(families.count - filled.count) more are empty") }
    }
}

extension FolderInfo.Log {
    init(_ inspection: LogInspection, isHeld: Bool) {
        files = inspection.files.count
        bytes = inspection.bytes
        changes = inspection.changes
        oldest = inspection.files.first.map { String($0.split(separator: "/").last!) }
        if let path = inspection.files.first,
            let date = try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
        {
            oldestWritten = PlainText.time(WallTime(microseconds: UInt64(max(0, date.timeIntervalSince1970) * 1e6)))
        }
        damage = inspection.damage.map { "\($0.file.split(separator: "/").last ?? ""), byte \($0.offset)" }
        verdict =
            switch inspection.verdict {
            case .serve: "whole: a start would serve"
            case .cut where isHeld: "being written to: its end is not finished yet"
            case .cut(let after):
                "a start would cut it behind change \(after); nothing behind that was ever acknowledged"
            case .refuse(let damageAt, let lastMark):
                "a start would refuse: change \(damageAt) cannot be read, though everything up to \(lastMark) was synced"
            }
    }
}

/// `torc inspect families`, known to people of RocksDB's `ldb` as `list_column_families`.
struct FamiliesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "families", abstract: "List the column families with their keys, bytes and files.",
        discussion: """
            Examples:
              torc inspect families data/node1
              torc inspect list_column_families data/node1

            p0000 … hold the records of partitions, merkle their leaves, hints what is kept for other nodes, meta the rest.
            """, aliases: ["list_column_families"])

    @OptionGroup var folder: FolderOptions

    func run() async throws {
        let reader = try folder.open()
        let families = reader.families.map { FamilyInfo($0, reader) }
        guard folder.json else { return Console.print(FamilyInfo.table(families)) }
        for family in families { try JSONLine.print(family) }
    }
}
