// Backups in a folder: which there are, and whether one is what was written. Changes nothing.

import Foundation
import TorcModel
import TorcReplication

/// One backup in a folder.
package struct StoredBackup: Sendable {
    package let path: String
    package let manifest: ClusterBackupManifest

    package init(_ directory: String, _ id: String) throws {
        path = "\(directory)/\(id)"
        manifest = try ClusterBackupManifest(reading: "\(path)/\(BackupFormat.clusterFile)")
        guard manifest.backup == id else {
            throw BackupError.damaged(path: path, reason: "it says that it is \(manifest.backup)")
        }
    }

    /// The one that was begun last.
    package init(latestIn directory: String) throws {
        guard let latest = try Self.list(directory).compactMap(\.backup).last else {
            throw BackupError.noBackup(path: directory)
        }
        self = latest
    }

    /// Something in a folder that is a backup, or was to be one.
    package struct Entry: Sendable {
        package let id: String
        /// Nil: it was never finished, or cannot be read; `reason` says so.
        package let backup: StoredBackup?
        package let reason: String?
    }

    /// In the order in which they were begun; those without a readable manifest first, by name.
    package static func list(_ directory: String) throws -> [Entry] {
        guard Files.isDirectory(directory) else { throw BackupError.noBackup(path: directory) }
        let entries = try Files.names(in: directory).filter {
            BackupFormat.isPlain($0) && Files.isDirectory("\(directory)/\($0)")
        }.map { id -> Entry in
            do {
                return Entry(id: id, backup: try StoredBackup(directory, id), reason: nil)
            } catch BackupError.noBackup {
                return Entry(id: id, backup: nil, reason: "unfinished: it counts for nothing, remove it")
            } catch {
                return Entry(id: id, backup: nil, reason: "\(error)")
            }
        }
        return entries.sorted { ($0.backup?.manifest.began ?? 0, $0.id) < ($1.backup?.manifest.began ?? 0, $1.id) }
    }

    /// Where a node's part stands.
    package func folder(of node: ClusterBackupManifest.Node) -> String {
        NodeBackup.folder(of: node.name, node: node.node, in: path)
    }

    /// What a node's part says of itself. Throws when it is not what the whole says that it is.
    package func manifest(of node: ClusterBackupManifest.Node) throws -> NodeBackupManifest {
        let folder = folder(of: node)
        let own: NodeBackupManifest
        do {
            own = try NodeBackupManifest(reading: "\(folder)/\(BackupFormat.nodeFile)")
        } catch BackupError.noBackup {
            throw BackupError.damaged(
                path: folder, reason: "the part of \(node.name) is missing; bring it there if it stands elsewhere")
        }
        guard own.checksum == node.checksum, own.backup == manifest.backup, own.cluster == manifest.cluster,
            own.node == node.node
        else { throw BackupError.damaged(path: folder, reason: "it is another than the backup says") }
        guard own.files.allSatisfy({ Self.isInside($0.path) }) else {
            throw BackupError.damaged(path: folder, reason: "it names a file that is not in it")
        }
        return own
    }

    /// Whether a path leads from a folder to something in it.
    private static func isInside(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return !parts.isEmpty && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    // MARK: Verifying

    /// What is wrong with one node's part.
    package struct Verdict: Sendable {
        package var node: ClusterBackupManifest.Node
        /// Nothing is wrong when it is empty.
        package var problems: [String]
        /// Trees whose roots were compared.
        package var roots: Int
    }

    /// Reads every file of one node's part. `step` is told of each piece.
    package func verify(
        _ node: ClusterBackupManifest.Node, step: (_ bytes: Int) -> Void
    ) -> Verdict {
        var verdict = Verdict(node: node, problems: [], roots: 0)
        let folder = folder(of: node)
        do {
            let own = try manifest(of: node)
            for file in own.files {
                if let problem = Self.problem(with: file, in: folder, step: step) { verdict.problems.append(problem) }
            }
            guard verdict.problems.isEmpty else { return verdict }
            let reader = try FolderReader.open(folder)
            guard "\(reader.identity.store)" == own.store, reader.identity.ringSize.partitions == own.ringSize,
                reader.identity.isBackup
            else { throw BackupError.damaged(path: folder, reason: "IDENTITY is not that of the backup") }
            let (roots, _) = try NodeBackup.roots(of: reader)
            verdict.roots = roots.count
            if roots != own.roots {
                let wrong = Set(roots).symmetricDifference(own.roots).map(\.partition)
                verdict.problems.append(
                    "the trees of \(Set(wrong).count) partitions are not those that were saved, p\(wrong.min() ?? 0) first"
                )
            }
        } catch {
            verdict.problems.append("\(error)")
        }
        return verdict
    }

    private static func problem(
        with file: NodeBackupManifest.File, in folder: String, step: (Int) -> Void
    ) -> String? {
        let path = "\(folder)/\(file.path)"
        guard Files.exists(path) else { return "\(path) is missing" }
        do {
            guard try Files.size(path) == file.bytes else {
                return "\(path) has \(try Files.size(path)) bytes, and had \(file.bytes)"
            }
            let (_, checksum) = try BackupFiles.read(path) { step($0) }
            return checksum == file.checksum ? nil : "\(path) holds other bytes than were saved"
        } catch {
            return "\(path) cannot be read: \(error)"
        }
    }

    // MARK: Copying

    /// Copies one node's part to a folder that is not there, file by file, each compared with its checksum, and says in it
    /// whose it is from now on. Nothing is synced but the files themselves.
    package func copy(
        _ own: NodeBackupManifest, of node: ClusterBackupManifest.Node, to target: String, as identity: StoreIdentity,
        step: (_ bytes: Int) -> Void
    ) throws {
        try Files.makeFolder(target)
        let folder = folder(of: node)
        for file in own.files where file.path != "IDENTITY" {
            try BackupFiles.makeFolder(for: file.path, below: target)
            let source = "\(folder)/\(file.path)"
            guard Files.exists(source) else { throw BackupError.damaged(path: source, reason: "it is missing") }
            let (bytes, checksum) = try BackupFiles.read(source, copyingTo: "\(target)/\(file.path)") { step($0) }
            guard bytes == file.bytes, checksum == file.checksum else {
                throw BackupError.damaged(path: source, reason: "it holds other bytes than were saved")
            }
        }
        try DataFolder.label(target, identity)
    }
}

/// A folder that is made under another name first, so that it is there whole or not at all.
package enum NewFolder {
    /// Of the folder that is to be at `path`, until it is. What was left there by one that was broken off is removed.
    package static func begin(_ path: String) throws -> String {
        if Files.exists(path) {
            guard Files.isDirectory(path), try Files.names(in: path).isEmpty else {
                throw BackupError.refused(
                    "\(path) is not empty: a backup is restored into an empty data folder. Move what is there aside first"
                )
            }
        }
        let making = path + ".restoring"
        if Files.exists(making) || Files.isLink(making) {
            // Somebody may have called a folder so.
            guard !Files.isLink(making), try Files.exists(mark(in: making)) || Files.names(in: making).isEmpty else {
                throw BackupError.refused("\(making) is there, and no restore has left it: move it away")
            }
            try BackupFiles.removeFolder(making)
        }
        try Files.makeFolder(making)
        try Files.replace(mark(in: making), with: [])
        return making
    }

    private static func mark(in making: String) -> String { making + "/" + Files.unfinishedMark }

    /// Gives it its name.
    package static func finish(_ making: String, as path: String) throws {
        try Files.remove(making + "/LOCK")
        try Files.remove(mark(in: making))
        try BackupFiles.syncFolders(making)
        // An empty folder gives way; one that is not does not.
        try Files.move(making, to: path)
    }
}
