// `torc inspect reap`: removes tombstones that the folders of all members prove to be needed by nobody.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct ReapCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reap", abstract: "Remove tombstones, with the proof of all members' folders.",
        discussion: """
            Examples:
              torc inspect reap data/node1 data/node2 data/node3 --dry-run
              torc inspect reap data/node* --yes --in-place
              torc inspect reap data/node* --cluster shop --members node1,node2,node3 --yes --in-place

            A running cluster reaps by itself ('torc cluster tombstones' says what it waits for). This is for one that is stopped. A
            tombstone goes when every copy of its key, in the folders of all members, is this very tombstone, and no folder keeps a
            hint of its partition. All nodes have to be stopped cleanly, with one ring in which nothing moves. Name the folders of nodes
            that have left, too, where they are still there: what they hold counts. Without --in-place each folder is mended on a
            copy DIR.reaped.

            Exit status: 0 done, or nothing to do; 1 refused.
            """)

    @Argument(help: "The data folders of all members.") var directories: [String]
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "Say what would be done, and do nothing.") var dryRun = false
    @Flag(help: "Do not ask.") var yes = false
    @Flag(help: "Change the folders themselves.") var inPlace = false
    @Flag(help: "Print JSON.") var json = false

    private struct Outcome: Encodable {
        var proven: Int
        var kept: [String: Int]
        var folders: [String]
    }

    func run() async throws {
        do {
            try run(directories.map(DataFolder.normalized))
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: directories.joined(separator: ", "), json: json)
        }
    }

    private func run(_ paths: [String]) throws {
        // All are held from the proof to the end: nothing changes in between.
        let held = try dryRun ? [] : paths.map { try DataFolder.hold($0) }
        defer { for folder in held { folder.release() } }
        if dryRun {
            for path in paths {
                if let holder = try DataFolder.holder(of: path) {
                    throw StoreError.heldByAnotherProcess(path: path, processID: holder)
                }
            }
        }
        let proof: TombstoneProof
        do {
            proof = try prove(paths)
        } catch let refusal as TombstoneProof.Refusal {
            Console.warn("\(refusal)")
            throw ExitCode.failure
        }
        if !json {
            Console.print("\(proof.count) tombstones are needed by nobody, \(proof.kept.values.reduce(0, +)) stay")
            for (reason, count) in proof.kept.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
                Console.print("  \(count) for \(reason)")
            }
        }
        var folders: [String] = []
        if !dryRun, proof.count > 0 {
            try Confirmation.ask("remove \(proof.count) tombstones from \(paths.count) folders", yes: yes)
            for folder in held { folders.append(try reap(proof, folder)) }
        }
        if json { try JSONLine.print(Outcome(proven: proof.count, kept: proof.kept, folders: folders)) }
    }

    private func prove(_ paths: [String]) throws -> TombstoneProof {
        let readers = try paths.map { try FolderReader.open($0) }
        guard let first = readers.first else { throw ValidationError("name the folders of all members") }
        for reader in readers
        where reader.identity.cluster != first.identity.cluster || reader.identity.ringSize != first.identity.ringSize {
            throw ValidationError("\(first.path) and \(reader.path) are of different clusters: name folders of one")
        }
        let names = NodeNames(first, declared: try declared.names(for: first))
        let bar = ProgressBar("reading", total: UInt64.sum(readers.map(\.estimatedRecords)))
        defer { bar.finish() }
        return try TombstoneProof(
            readers, placement: { try declared.placement(for: $0) },
            members: { try $0.ring()?.state.participants.map(\.node) }, title: names.name, advance: bar.advance)
    }

    private func reap(_ proof: TombstoneProof, _ folder: DataFolder) throws -> String {
        var plan = MendPlan()
        let present = Set(try FolderReader.open(folder.path).partitions)
        plan.reaped = proof.proven.filter { present.contains($0.key) }
        guard !plan.isEmpty else { return folder.path }
        let report = try FolderMender.mend(
            folder, plan, place: inPlace ? .inPlace : .copy(folder.path + ".reaped"),
            stamp: Int(Date().timeIntervalSince1970), logger: RepairCommand.quiet, listener: MendProgress(nil).listener)
        if !json { Console.print("\(report.folder): done, \(report.steps.count) partitions") }
        return report.folder
    }
}
