// `torc backup`: copies of a whole cluster, and clusters made of them.

import ArgumentParser
import Foundation
import TorcStorage

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Back a cluster up while it serves, and make another of it.",
        discussion: """
            Examples:
              torc backup create --to /backups --nodes 127.0.0.1:8098,127.0.0.1:8108,127.0.0.1:8118
              torc backup list /backups
              torc backup verify /backups
              torc backup restore /backups --config node1.yaml

            DIR/ID/NAME is a node's part: a folder that `torc inspect` reads, and that no node serves from. DIR/ID/cluster.json
            makes the parts a backup; it is written last.
            """,
        subcommands: [
            CreateBackupCommand.self, ListBackupsCommand.self, VerifyBackupCommand.self, RestoreBackupCommand.self,
        ])
}

/// Which backup a command is about.
struct BackupArguments: ParsableArguments {
    @Argument(help: "The folder that holds backups.") var directory: String
    @Argument(help: "One of them, as `list` names it; the latest without it.") var id: String?

    func find() throws -> StoredBackup {
        let folder = BackupText.folder(directory)
        return try id.map { try StoredBackup(folder, $0) } ?? StoredBackup(latestIn: folder)
    }
}

enum BackupText {
    static func folder(_ path: String) -> String {
        let url = URL(fileURLWithPath: path).standardizedFileURL
        return url.path
    }

    /// UTC, to the second.
    static func time(_ microseconds: UInt64) -> String {
        Date(timeIntervalSince1970: Double(microseconds) / 1e6).formatted(Date.ISO8601FormatStyle())
    }

    static func warn(_ text: String) { FileHandle.standardError.write(Data("torc: \(text)\n".utf8)) }
}
