// One node's part of a backup, made while it serves, in two steps:
//
//   stage     DATA/backup-TOKEN/: a checkpoint of the database (hard links; the memtables are written out first) and the log
//             files that its leaves still need. Takes moments, and is all that must be of one time.
//   collect   DIR/ID/NAME.making/: the same files, linked where DIR is on the same file system, otherwise copied, those
//             that an earlier backup there has linked to that one; then the manifest; then the name.
//
// Whatever ends this in between leaves folders that count for nothing: the next backup removes what is in the data folder, and
// nobody takes a `.making` for a backup.

import Glibc
import Synchronization
package import TorcModel
import TorcReplication

package struct StagedBackup: Sendable {
    package let path: String
    package let sequence: UInt64
    /// Microseconds since 1970.
    package let time: UInt64
}

extension NodeStore {
    private static let stagingPrefix = "backup-"

    /// A copy of the store as it is now, beside the database. `token`: plain. Blocks until the memtables are written out.
    package func stageBackup(_ token: String) throws -> StagedBackup {
        precondition(BackupFormat.isPlain(token), "\(token) names no folder")
        guard damagedPartitions.isEmpty, lostLeaves.isEmpty else {
            throw BackupError.refused(
                "tables of this node are damaged, and what they lost has not come from the others yet: wait until the log "
                    + "says `a damaged partition is whole again`")
        }
        let staging = "\(path)/\(Self.stagingPrefix)\(token)"
        let logs = "\(staging)/logs"
        try Files.makeFolder(logs)
        do {
            // Before, because what is not needed any more may be removed meanwhile; after, because there may be new ones.
            try linkLogs(into: logs)
            let sequence = try checkpoint("\(staging)/db")
            try linkLogs(into: logs)
            try keepOlder(logs, than: "\(staging)/db")
            var identity = identity
            identity.isBackup = true
            if generations.withLock({ !$0.isEmpty }) { identity.hasCopies = true }
            try DataFolder.label(staging, identity)
            return StagedBackup(path: staging, sequence: sequence, time: Self.microsecondsNow())
        } catch {
            try? BackupFiles.removeFolder(staging)
            throw error
        }
    }

    private static let checkpointAttempts = 20

    /// A checkpoint that has a log, as a store must; answers the sequence through which everything is in it. RocksDB leaves out
    /// a log that is empty, as the one is which it just began; so one is begun before, and a mark put into it.
    private func checkpoint(_ target: String) throws(StoreError) -> UInt64 {
        for _ in 0..<Self.checkpointAttempts {
            try flushAll()
            try writeMark()
            try sync()
            let sequence = database.latestSequence
            try database.checkpoint(target)
            if try Files.names(in: target).contains(where: { $0.hasSuffix(".log") }) { return sequence }
            try BackupFiles.removeFolder(target)
        }
        throw .unexpected(operation: "make a checkpoint", detail: "its log is empty each time: try again")
    }

    /// What was staged and not collected, by whomever.
    package func removeStagedBackups() throws(StoreError) {
        for name in try Files.names(in: path) where name.hasPrefix(Self.stagingPrefix) {
            try BackupFiles.removeFolder("\(path)/\(name)")
        }
    }

    private static func microsecondsNow() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1000
    }

    private func linkLogs(into folder: String) throws(StoreError) {
        for source in ["\(path)/db/archive", "\(path)/db"] {
            for name in try Files.names(in: source) where name.hasSuffix(".log") && !Files.exists("\(folder)/\(name)") {
                // It may be gone by now, or have moved to the archive, in which case it is linked from there or was before.
                if Glibc.link("\(source)/\(name)", "\(folder)/\(name)") != 0, errno != ENOENT, errno != EEXIST {
                    throw Files.failure("link", "\(source)/\(name)")
                }
            }
        }
    }

    /// Those that were closed before the checkpoint's own first log go where a database keeps such; the others go.
    private func keepOlder(_ logs: String, than database: String) throws(StoreError) {
        func number(_ name: String) -> UInt64? { name.hasSuffix(".log") ? UInt64(name.dropLast(4)) : nil }
        let oldest = try Files.names(in: database).compactMap(number).min() ?? 0
        let archive = "\(database)/archive"
        try Files.makeFolder(archive)
        for name in try Files.names(in: logs) {
            if let number = number(name), number < oldest {
                guard rename("\(logs)/\(name)", "\(archive)/\(name)") == 0 else { throw Files.failure("rename", name) }
            } else {
                try Files.remove("\(logs)/\(name)")
            }
        }
        try BackupFiles.removeFolder(logs)
    }
}

/// What collecting made.
package struct CollectedBackup: Sendable {
    package let manifest: NodeBackupManifest
    /// Of files that no earlier backup there had.
    package let newBytes: UInt64
}

package enum NodeBackup {
    private struct Earlier {
        var path: String
        var file: NodeBackupManifest.File
    }

    /// Makes what was staged a node's part of a backup below `directory`, and removes it where it was staged. `draft` says whose
    /// it is. Reads at most so many bytes a second; 0: as fast as it goes. `step` is told of each piece, and may throw.
    package static func collect(
        _ staged: StagedBackup, into directory: String, _ draft: NodeBackupManifest, bytesPerSecond: Int,
        step: (_ bytes: Int) throws -> Void
    ) throws -> CollectedBackup {
        let target = folder(of: draft.name, node: draft.node, in: "\(directory)/\(draft.backup)")
        guard !Files.exists(target) else { throw BackupError.refused("\(target) is there already") }
        let making = target + ".making"
        try BackupFiles.removeFolder(making)
        try Files.makeFolder(making)
        var manifest = draft
        var pace = Pace(bytesPerSecond: bytesPerSecond)
        let earlier = try earlierFiles(in: directory, of: draft)
        var newBytes: UInt64 = 0
        for path in try BackupFiles.all(in: staged.path) {
            try BackupFiles.makeFolder(for: path, below: making)
            let source = "\(staged.path)/\(path)"
            let candidates = (earlier[path] ?? []).filter { (try? Files.size(source)) == $0.file.bytes }
            func count(_ bytes: Int) throws {
                pace.spend(bytes)
                try step(bytes)
            }
            // The file itself is in an earlier backup: no need to read it.
            if let same = candidates.first(where: { BackupFiles.isSame($0.path, source) }),
                try BackupFiles.link(source, to: "\(making)/\(path)")
            {
                manifest.files.append(same.file)
                try step(Int(same.file.bytes))
                continue
            }
            let (bytes, checksum) = try BackupFiles.read(source, step: count)
            manifest.files.append(.init(path: path, bytes: bytes, checksum: checksum))
            if let same = candidates.first(where: { $0.file.checksum == checksum && $0.file.bytes == bytes }),
                try BackupFiles.link(same.path, to: "\(making)/\(path)")
            {
                continue
            }
            newBytes += bytes
            if try BackupFiles.link(source, to: "\(making)/\(path)") { continue }
            // Its bytes have been counted; only an end is asked about.
            let copied = try BackupFiles.read(source, copyingTo: "\(making)/\(path)") {
                pace.spend($0)
                try step(0)
            }
            guard copied == (bytes, checksum) else {
                throw BackupError.damaged(path: source, reason: "it was read twice, and differed")
            }
        }
        (manifest.roots, manifest.rootless) = try roots(of: FolderReader.open(making))
        try BackupFiles.syncFolders(making)
        manifest = manifest.sealed()
        try manifest.write("\(making)/\(BackupFormat.nodeFile)")
        try Files.move(making, to: target)
        try Files.syncFolder(directory)
        try BackupFiles.removeFolder(staged.path)
        return CollectedBackup(manifest: manifest, newBytes: newBytes)
    }

    /// Where a node's part of a backup stands.
    static func folder(of name: String, node: String, in backup: String) -> String {
        "\(backup)/\(BackupFormat.isPlain(name) && !name.hasSuffix(".making") ? name : node)"
    }

    /// Files of the same store in finished backups, by their path, the newest first.
    private static func earlierFiles(
        in directory: String, of draft: NodeBackupManifest
    ) throws -> [String: [Earlier]] {
        var result: [String: [Earlier]] = [:]
        for backup in try Files.names(in: directory).reversed() where BackupFormat.isPlain(backup) {
            let folder = folder(of: draft.name, node: draft.node, in: "\(directory)/\(backup)")
            // One that cannot be read is of no help, and no harm.
            guard Files.exists("\(directory)/\(backup)/\(BackupFormat.clusterFile)"),
                let manifest = try? NodeBackupManifest(reading: "\(folder)/\(BackupFormat.nodeFile)"),
                manifest.store == draft.store, manifest.cluster == draft.cluster
            else { continue }
            for file in manifest.files {
                result[file.path, default: []].append(Earlier(path: "\(folder)/\(file.path)", file: file))
            }
        }
        return result
    }

    /// The roots of all trees that hold something, and the partitions whose leaves the folder does not say.
    static func roots(
        of reader: FolderReader
    ) throws -> (roots: [NodeBackupManifest.Root], rootless: [Int]) {
        var roots: [NodeBackupManifest.Root] = []
        var rootless: [Int] = []
        let log = try reader.log()
        for partition in Set(reader.families.compactMap(\.partition)).sorted() {
            switch try reader.leaves(of: partition, log: log) {
            case .unknown: rootless.append(partition.index)
            case .known(let trees):
                for (copies, leaves) in trees where leaves.contains(where: { $0 != 0 }) {
                    var table = LeafTable(layout: reader.layout)
                    table[TreeID(partition: partition, copies: copies)] = leaves
                    roots.append(root(of: TreeID(partition: partition, copies: copies), in: table))
                }
            }
        }
        // Trees come in the order in which their n was first written.
        return (roots.sorted { ($0.partition, $0.copies) < ($1.partition, $1.copies) }, rootless)
    }

    static func root(of tree: TreeID, in table: LeafTable) -> NodeBackupManifest.Root {
        NodeBackupManifest.Root(
            partition: tree.partition.index, copies: Int(tree.copies), root: "\(MerkleTree(tree, in: table).root)")
    }

    /// Those of all trees that hold something: what a manifest is compared with. Of one partition or all.
    package static func roots(of table: LeafTable) -> [NodeBackupManifest.Root] {
        table.trees.filter { table[$0]!.contains { $0 != 0 } }.map { root(of: $0, in: table) }
    }
}
