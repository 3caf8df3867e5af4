// `torc backup restore`: a backup's parts become data folders of a cluster of its own.

import ArgumentParser
import Foundation
import Logging
import TorcConsole
import TorcServer
import TorcStorage

struct RestoreBackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Make data folders of a backup, for a cluster of its own.",
        discussion: """
            Examples:
              torc backup restore /backups --config node1.yaml
              torc backup restore /backups 20261123T172348Z-9f3a --config node1.yaml --config node2.yaml --config node3.yaml
              torc backup restore /backups --config node1.yaml --members node1=10.0.0.1:8099,node2=10.0.0.2:8099

            For each node, on its own machine: its configuration says its name, its (empty) data folder and the cluster's key,
            which is that of the cluster that was backed up. cluster.name is to be another one, which no cluster has had: by it the
            restored nodes and those of the former cluster refuse each other. --members, or cluster.members of the
            configuration, names all members of the backup with their addresses now. Nobody may answer there yet.

            Start the nodes when all are restored. Siblings, tombstones, hints and bucket properties are as they were.
            Ended at any point, it leaves a data folder that is whole, or none.
            """)

    @OptionGroup var arguments: BackupArguments
    @Option(help: "The node's configuration; again for each node that is restored on this machine.") var config:
        [String]
    @Option(help: "All members, NAME=HOST:PORT separated by commas: where their peers find them.") var members: String?

    func run() async throws {
        let backup = try arguments.find()
        do {
            var restores: [BackupRestore] = []
            for file in config {
                let values = try await ConfigurationSource.load(file: file, environment: [:], flags: [])
                restores.append(try BackupRestore(backup, for: try ServerConfiguration(values), members: try listed()))
            }
            // All are judged before the first is made.
            for restore in restores {
                if let address = await restore.findLiving() {
                    throw BackupError.refused(
                        "something answers at \(address): a restored cluster begins when none of its nodes runs. Stop it, or "
                            + "give the cluster other addresses")
                }
            }
            let bytes = UInt64.sum(restores.map(\.manifest.bytes))
            let bar = ProgressBar("restoring", total: bytes, unit: TextTable.bytes)
            var logger = Logger(label: "torc restore") { StreamLogHandler.standardError(label: $0) }
            logger.logLevel = .error
            for restore in restores {
                try restore.carryOut(logger: logger) { bar.advance(by: UInt64($0)) }
                bar.finish()
                print(
                    "\(restore.node.name): \(TextTable.bytes(restore.manifest.bytes)) of \(backup.manifest.backup) in "
                        + "\(restore.configuration.dataFolder), for cluster \(restore.configuration.clusterName)")
            }
        } catch {
            BackupText.warn("not restored: \(error)")
            throw ExitCode.failure
        }
    }

    private func listed() throws -> [DeclaredMember]? {
        try members?.split(separator: ",").map { text in
            guard let contact = NodeContact(String(text)) else {
                throw BackupError.refused("'\(text)' is not NAME=HOST:PORT")
            }
            return DeclaredMember(
                name: contact.name, node: ServerConfiguration.nodeID(cluster: "", node: contact.name),
                address: contact.address)
        }
    }
}
