// Reads a store's log before the database is opened: judges it (`LogCheck`), cuts it where the judgement says
// so, and keeps the leaf deltas for `LeafStore`. RocksDB's own recovery would stop at damage, or pass over
// it, without a word.
//
// Log files live in db/ while a memtable needs them and move to db/archive/ after that. Archived ones are
// read for their deltas and for where the next file must begin, which shows when the first of the others is
// lost (the last archived file is always kept for that); damage in them loses no record.

import CRocksDB
import Glibc
import TorcModel
package import TorcReplication

/// What a log held that is not in its records.
struct LogContent {
    /// Leaf deltas by partition, in log order.
    var deltas: [PartitionID: [LeafDelta]] = [:]
    /// From this sequence on there is every batch, up to the end; nil when there is none at all.
    var firstSequence: UInt64?
    var files = 0
    var bytes: UInt64 = 0
    var batches: UInt64 = 0
    /// Changes in the files that recovery replays.
    var changes: UInt64 = 0
    var cut: LogCut?
}

/// What was cut off a log.
package struct LogCut: Hashable, Sendable {
    /// The last change that was kept.
    package var after: UInt64
    package var bytes: UInt64
    /// Where the bytes were put; nil when they were only the start of a record that was never finished.
    package var keptIn: String?
}

/// What the log of a stopped store says, before anything is done about it.
package struct LogInspection {
    package var verdict: LogVerdict
    /// Everything through this change was on disk once.
    package var lastMark: UInt64
    /// The sequence that follows what is sound; nil when there is nothing.
    package var nextSequence: UInt64?
    /// Log files that recovery replays, oldest first.
    package var files: [String]
    package var bytes: UInt64
    /// Changes before any damage.
    package var changes: UInt64
    package var damage: (file: String, offset: UInt64)?
}

final class LogScan {
    private struct File {
        var number: UInt64
        var path: String
        var isArchived: Bool
    }

    /// Where the first damage starts.
    private struct Damage {
        var file: Int
        var offset: UInt64
        /// Something readable stands behind it.
        var isInside = false
    }

    private let folder: String
    private let database: String
    private let store: StoreID
    private let layout: LeafLayout
    private var content = LogContent()
    private var check = LogCheck()
    private var damage: Damage?
    private var origin = LogOrigin()

    // Of the batch that is being read.
    private var deltas: [(partition: PartitionID, delta: LeafDelta)] = []
    private var isMalformed = false

    private init(folder: String, store: StoreID, layout: LeafLayout) {
        self.folder = folder
        database = folder + "/db"
        self.store = store
        self.layout = layout
    }

    /// Checks the log of the database under a data folder, and cuts it where that is the verdict.
    /// `losesSynced`: cuts also what had been synced, which no start does: who mends has told the person.
    static func run(
        folder: String, store: StoreID, layout: LeafLayout, losesSynced: Bool = false
    ) throws(StoreError) -> LogContent {
        try LogScan(folder: folder, store: store, layout: layout).run(losesSynced: losesSynced)
    }

    /// What a log says, without cutting or refusing: for people and for tests.
    static func inspect(folder: String, store: StoreID, layout: LeafLayout) throws(StoreError) -> LogInspection {
        try read(folder: folder, store: store, layout: layout).inspection
    }

    /// The same with what it holds.
    static func read(
        folder: String, store: StoreID, layout: LeafLayout
    ) throws(StoreError) -> (inspection: LogInspection, content: LogContent) {
        let scan = LogScan(folder: folder, store: store, layout: layout)
        let live = try scan.readAll()
        let inspection = LogInspection(
            verdict: scan.check.verdict, lastMark: scan.check.lastMark, nextSequence: scan.check.expected,
            files: live.map(\.path), bytes: scan.content.bytes, changes: scan.content.changes,
            damage: scan.damage.map { (live[$0.file].path, $0.offset) })
        return (inspection, scan.content)
    }

    private func run(losesSynced: Bool) throws(StoreError) -> LogContent {
        let live = try readAll()
        switch check.verdict {
        case .serve: break
        case .refuse(let damageAt, let lastMark):
            guard let damage else { preconditionFailure("a refusal at \(damageAt) without damage") }
            if losesSynced {
                try carryOut(live, after: damageAt - 1)
                return content
            }
            throw .damagedLog(
                path: folder, file: live[damage.file].path, offset: damage.offset, damageAt: damageAt,
                lastMark: lastMark)
        case .cut(let after): try carryOut(live, after: after)
        }
        return content
    }

    /// Reads every file; answers those that recovery will replay.
    private func readAll() throws(StoreError) -> [File] {
        let files = try logFiles()
        let manifest = try Manifest.read(database: database)
        // A database makes the next log file before it is done with the last.
        guard files.contains(where: { !$0.isArchived }) else { throw .halfMade(path: folder, lacking: "db/*.log") }
        var live: [File] = []
        for file in files {
            // A file that the manifest has done with counts as archived, wherever it still lies.
            if file.isArchived || file.number < manifest.oldestLog {
                try readArchived(file)
            } else {
                live.append(file)
            }
        }
        content.files = live.count
        for (index, file) in live.enumerated() { try read(file, index: index) }
        return live
    }

    static func name(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".log"
    }

    /// All log files, oldest first.
    private func logFiles() throws(StoreError) -> [File] {
        var files: [File] = []
        for (path, isArchived) in [(database + "/archive", true), (database, false)] {
            for name in try Files.names(in: path) where name.hasSuffix(".log") {
                guard let number = UInt64(name.dropLast(4)) else { continue }
                files.append(File(number: number, path: path + "/" + name, isArchived: isArchived))
            }
        }
        return files.sorted { $0.number < $1.number }
    }

    // MARK: Reading

    private func readArchived(_ file: File) throws(StoreError) {
        // A fresh check a file: all that is asked is where its last batch ends.
        let start = check.expected
        var own = LogCheck(start: start)
        try forEachItem(of: file) { item, _ in
            switch item {
            case .damage: own.add(.damage)
            case .batch(let sequence, let count):
                own.add(.batch(sequence: sequence, count: count, syncedThrough: origin.mark))
                if own.isIntact { keepDeltas(of: sequence) }
            }
        }
        check = own.isIntact ? LogCheck(start: own.expected) : LogCheck()
        if !own.isIntact { content.firstSequence = nil }
    }

    private func read(_ file: File, index: Int) throws(StoreError) {
        content.bytes += try Files.size(file.path)
        try forEachItem(of: file) { item, start in
            if damage != nil { damage!.isInside = true }
            switch item {
            case .damage: check.add(.damage)
            case .batch(let sequence, let count):
                check.add(.batch(sequence: sequence, count: count, syncedThrough: origin.mark))
                if check.isIntact {
                    keepDeltas(of: sequence)
                    content.batches += 1
                    content.changes += count
                }
            }
            if !check.isIntact, damage == nil { damage = Damage(file: index, offset: start) }
        }
    }

    private enum Item {
        case batch(sequence: UInt64, count: UInt64)
        case damage
    }

    private func keepDeltas(of sequence: UInt64) {
        if content.firstSequence == nil { content.firstSequence = sequence }
        for (partition, delta) in deltas { content.deltas[partition, default: []].append(delta) }
    }

    private func forEachItem(of file: File, _ body: (Item, UInt64) -> Void) throws(StoreError) {
        var reader: OpaquePointer?
        try Database.check(torc_log_reader_open(file.path, &reader), "read the log")
        defer { torc_log_reader_destroy(reader) }
        var visitor = torc_batch_visitor()
        visitor.context = Unmanaged.passUnretained(self).toOpaque()
        visitor.log_data = { context, bytes, length in
            Unmanaged<LogScan>.fromOpaque(context!).takeUnretainedValue()
                .addLogData(UnsafeRawBufferPointer(start: bytes, count: length))
        }
        origin.beginFile(file.path)
        while true {
            var item = TORC_LOG_END
            var position = torc_log_position()
            try Database.check(torc_log_reader_next(reader, &item, &position), "read the log \(file.path)")
            switch item {
            case TORC_LOG_RECORD:
                origin.beginBatch()
                deltas.removeAll(keepingCapacity: true)
                isMalformed = false
                var sequence: UInt64 = 0
                var count: UInt32 = 0
                let error = torc_batch_visit(position.bytes, position.length, &visitor, &sequence, &count)
                torc_error_free(error)
                if error.code != TORC_OK || isMalformed {
                    body(.damage, position.start)
                } else {
                    try origin.endBatch(at: position.start)
                    body(.batch(sequence: sequence, count: UInt64(count)), position.start)
                }
            case TORC_LOG_DAMAGE:
                origin.passDamage()
                body(.damage, position.start)
            default: return
            }
        }
    }

    private func addLogData(_ bytes: UnsafeRawBufferPointer) {
        guard let data = try? LogData(decoding: bytes, store: store),
            data.deltas.allSatisfy({
                layout.ringSize.contains($0.partition) && $0.delta.leaf < layout.leavesPerPartition
                    && $0.delta.copies > 0
            })
        else {
            isMalformed = true
            return
        }
        origin.add(data)
        deltas.append(contentsOf: data.deltas)
    }

    // MARK: Cutting

    /// In an order that leaves the same judgement after a crash at any step: what stands behind the damage
    /// is copied or moved aside first, the file with the damage is shortened last.
    private func carryOut(_ live: [File], after: UInt64) throws(StoreError) {
        guard let damage else { preconditionFailure("a cut after \(after) without damage") }
        let damaged = live[damage.file]
        let later = live.dropFirst(damage.file + 1)
        var cut = LogCut(after: after, bytes: try Files.size(damaged.path) - damage.offset, keptIn: nil)
        for file in later { cut.bytes += try Files.size(file.path) }
        if damage.isInside || !later.isEmpty {
            let kept = try makeCutFolder()
            cut.keptIn = kept
            _ = try Files.copyTail(
                of: damaged.path, from: damage.offset, to: "\(kept)/\(Self.name(damaged.number)).\(damage.offset)")
            for file in later.reversed() { try Files.move(file.path, to: "\(kept)/\(Self.name(file.number))") }
            try Files.syncFolder(kept)
            try Files.syncFolder(database)
        }
        try Files.truncate(damaged.path, to: damage.offset)
        content.cut = cut
    }

    private func makeCutFolder() throws(StoreError) -> String {
        let base = "\(folder)/cut-\(time(nil))"
        var path = base
        var attempt = 1
        while Files.exists(path) {
            attempt += 1
            path = "\(base)-\(attempt)"
        }
        try Files.makeFolder(path)
        try Files.syncFolder(of: path)
        return path
    }
}

/// The one thing that the log check must know of RocksDB's manifest: recovery skips log files below this number.
struct Manifest {
    var oldestLog: UInt64

    /// Tags of a version edit that stand before everything else in it (rocksdb/db/version_edit.h).
    private enum Tag {
        static let comparator: UInt64 = 1
        static let logNumber: UInt64 = 2
        static let nextFileNumber: UInt64 = 3
        static let lastSequence: UInt64 = 4
        static let previousLogNumber: UInt64 = 9
        static let oldestLog: UInt64 = 10
        static let databaseID: UInt64 = 0x2000 + 1
        static let maximumFamily: UInt64 = 203
    }

    static func read(database: String) throws(StoreError) -> Manifest {
        let name =
            String(decoding: try Files.read(database + "/CURRENT", limit: 256), as: UTF8.self)
            .split(separator: "\n").first.map(String.init) ?? ""
        guard name.hasPrefix("MANIFEST-"), UInt64(name.dropFirst(9)) != nil else {
            throw .corruption(operation: "read \(database)/CURRENT", detail: "it names no manifest")
        }
        var reader: OpaquePointer?
        try Database.check(torc_log_reader_open("\(database)/\(name)", &reader), "read the manifest")
        defer { torc_log_reader_destroy(reader) }
        var manifest = Manifest(oldestLog: 0)
        while true {
            var item = TORC_LOG_END
            var position = torc_log_position()
            try Database.check(torc_log_reader_next(reader, &item, &position), "read the manifest")
            // RocksDB judges its manifest itself; what cannot be read here is left to it.
            guard item == TORC_LOG_RECORD else { return manifest }
            manifest.apply(UnsafeRawBufferPointer(start: position.bytes, count: position.length))
        }
    }

    private mutating func apply(_ edit: UnsafeRawBufferPointer) {
        var at = 0
        func varint() -> UInt64? {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while at < edit.count, shift < 64 {
                let byte = edit[at]
                at += 1
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
                shift += 7
            }
            return nil
        }
        while let tag = varint() {
            switch tag {
            case Tag.databaseID, Tag.comparator:
                guard let length = varint(), length <= UInt64(edit.count - at) else { return }
                at += Int(length)
            case Tag.logNumber, Tag.nextFileNumber, Tag.lastSequence, Tag.previousLogNumber, Tag.maximumFamily:
                guard varint() != nil else { return }
            case Tag.oldestLog:
                guard let number = varint() else { return }
                oldestLog = max(oldestLog, number)
            default:
                return
            }
        }
    }
}
