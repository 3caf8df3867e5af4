// `torc backup list` and `torc backup verify`: which backups a folder holds, and whether one is what was written.

import ArgumentParser
import Foundation
import TorcConsole
import TorcStorage

struct ListBackupsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the backups in a folder.",
        discussion: """
            Examples:
              torc backup list /backups
              torc backup list /backups --json

            NEW are the bytes of files that no earlier backup in the folder had. What was never finished is listed, too: it counts
            for nothing, and can be removed. A backup is removed with its folder; those that share files with it keep them.
            """)

    @Argument(help: "The folder that holds backups.") var directory: String
    @Flag(help: "Print JSON, one object a line.") var json = false

    private struct Row: Encodable {
        var backup: String
        var finished: Bool
        var reason: String?
        var cluster: String?
        var epoch: UInt64?
        var began: String?
        var nodes: [String]?
        var bytes: UInt64?
        var newBytes: UInt64?
    }

    func run() async throws {
        var table = TextTable([
            .left("BACKUP"), .left("BEGAN"), .left("CLUSTER"), .right("EPOCH"), .right("NODES"), .right("BYTES"),
            .right("NEW"), .left(""),
        ])
        let entries = try StoredBackup.list(BackupText.folder(directory))
        for entry in entries {
            let manifest = entry.backup?.manifest
            let new = manifest.map { UInt64.sum($0.nodes.map(\.newBytes)) }
            let began = manifest.map { BackupText.time($0.began) }
            if json {
                try JSONLine.print(
                    Row(
                        backup: entry.id, finished: manifest != nil, reason: entry.reason,
                        cluster: manifest?.clusterName,
                        epoch: manifest?.ringEpoch, began: began, nodes: manifest?.nodes.map(\.name),
                        bytes: manifest?.bytes, newBytes: new))
                continue
            }
            table.add([
                entry.id, began ?? "-", manifest?.clusterName ?? "-", manifest.map { "\($0.ringEpoch)" } ?? "-",
                manifest.map { "\($0.nodes.count)" } ?? "-", manifest.map { TextTable.bytes($0.bytes) } ?? "-",
                new.map(TextTable.bytes) ?? "-", entry.reason ?? "",
            ])
        }
        if !json { print(entries.isEmpty ? "no backups in \(directory)" : table.text) }
    }
}

struct VerifyBackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read a whole backup and compare it with what was written.",
        discussion: """
            Examples:
              torc backup verify /backups
              torc backup verify /backups 20261123T172348Z-9f3a --json

            Every file against its checksum, every node's part against the whole, every tree root against what the files say. Ends
            with status 1 when anything is wrong.
            """)

    @OptionGroup var arguments: BackupArguments
    @Flag(help: "Print JSON, one object a node.") var json = false

    private struct Row: Encodable {
        var backup: String
        var node: String
        var files: Int
        var bytes: UInt64
        var roots: Int
        var problems: [String]
    }

    func run() async throws {
        let backup = try arguments.find()
        let bar = ProgressBar("reading", total: backup.manifest.bytes, unit: TextTable.bytes)
        var table = TextTable([
            .left("NODE"), .right("FILES"), .right("BYTES"), .right("ROOTS"), .left("VERDICT"),
        ])
        var rows: [Row] = []
        for node in backup.manifest.nodes {
            let verdict = backup.verify(node) { bar.advance(by: UInt64($0)) }
            rows.append(
                Row(
                    backup: backup.manifest.backup, node: node.name, files: node.files, bytes: node.bytes,
                    roots: verdict.roots, problems: verdict.problems))
            table.add([
                node.name, "\(node.files)", TextTable.bytes(node.bytes), "\(verdict.roots)",
                verdict.problems.isEmpty ? "whole" : "\(verdict.problems.count) problems",
            ])
        }
        bar.finish()
        if json {
            for row in rows { try JSONLine.print(row) }
        } else {
            print("\(backup.manifest.backup), of cluster \(backup.manifest.clusterName)")
            print(table.text)
            for row in rows {
                for problem in row.problems { print("\(row.node): \(problem)") }
            }
        }
        if rows.contains(where: { !$0.problems.isEmpty }) { throw ExitCode.failure }
    }
}
