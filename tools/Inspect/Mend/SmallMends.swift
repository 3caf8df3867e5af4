// Changes to a sound folder that a person asks for: hints that go, leaves that are computed anew, tables that are rewritten.

import ArgumentParser
import Foundation
import TorcConsole
import TorcModel
import TorcStorage

extension MendPlan {
    private struct Intention: Encodable {
        var would: [String]
    }

    /// Carries out a plan that no check has made; of a damaged folder it is refused.
    func carryOut(_ folder: FolderOptions, _ place: MendPlaceOptions, _ what: String) throws {
        let path = DataFolder.normalized(folder.directory)
        do {
            if place.dryRun {
                if let holder = try DataFolder.holder(of: path) {
                    throw StoreError.heldByAnotherProcess(path: path, processID: holder)
                }
                // What is refused then is refused now.
                _ = try FolderReader.open(path)
                if folder.json { return try JSONLine.print(Intention(would: lines)) }
                for line in lines { Console.print("would \(line)") }
                return
            }
            let held = try DataFolder.hold(path)
            defer { held.release() }
            try place.confirm(what)
            let target = place.inPlace ? MendPlace.inPlace : .copy(place.to ?? path + ".repaired")
            let report = try FolderMender.mend(
                held, self, place: target, stamp: Int(Date().timeIntervalSince1970), logger: RepairCommand.quiet,
                listener: MendProgress(folder.json ? nil : "").listener)
            if folder.json { return try JSONLine.print(MendOutcome(report)) }
            report.show(original: path, place: target)
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: path, json: folder.json)
        }
    }
}

struct PurgeHintsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge-hints", abstract: "Take out what a folder keeps for other nodes.",
        discussion: """
            Examples:
              torc inspect purge-hints data/node1 --target 00112233aabbccdd --dry-run
              torc inspect purge-hints data/node1 --yes --in-place

            For a node that never comes back, or where hints are more than repair would bring. They go into quarantine. What was
            acknowledged with a hint for one of its copies has a copy less until repair has compared the replicas.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var place: MendPlaceOptions
    @Option(help: "The id of a node, 16 hexadecimal digits; without it all hints go.") var target: String?

    func run() async throws {
        var plan = MendPlan()
        if let target {
            guard target.count == 16, let number = UInt64(target, radix: 16) else {
                throw ValidationError("--target: \(target) is no node's id (16 hexadecimal digits)")
            }
            plan.purgedTargets = [NodeID(rawValue: number)]
        } else {
            plan.purgesHints = true
        }
        try plan.carryOut(folder, place, "purge hints of \(folder.directory)")
    }
}

struct RebuildMerkleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild-merkle", abstract: "Have the Merkle leaves computed anew.",
        discussion: """
            Examples:
              torc inspect rebuild-merkle data/node1 --partition 7 --partition 8
              torc inspect rebuild-merkle data/node1 --yes --in-place

            The next start computes them from the records, as it has the cluster's key. It reads all of those partitions before it
            serves.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var place: MendPlaceOptions
    @Option(help: "A partition; may be given again. All without it.") var partition: [Int] = []

    func run() async throws {
        var plan = MendPlan()
        let present = Set(try FolderReader.open(folder.directory).families.compactMap(\.partition))
        plan.untrustedLeaves = Dictionary(uniqueKeysWithValues: present.map { ($0, []) })
        if !partition.isEmpty {
            guard let absent = partition.first(where: { number in !present.contains { $0.index == number } }) else {
                plan.untrustedLeaves = plan.untrustedLeaves.filter { partition.contains($0.key.index) }
                return try plan.carryOut(folder, place, "rebuild leaves of \(folder.directory)")
            }
            throw ValidationError("--partition: the folder has no partition \(absent)")
        }
        try plan.carryOut(folder, place, "rebuild leaves of \(folder.directory)")
    }
}

struct CompactCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compact", abstract: "Rewrite all tables, without what was overwritten or removed.",
        discussion: """
            Examples:
              torc inspect compact data/node1 --yes --in-place

            Takes as much space again as the folder has. A running node compacts by itself; this is for folders that are kept.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var place: MendPlaceOptions

    func run() async throws {
        var plan = MendPlan()
        plan.compacts = true
        try plan.carryOut(folder, place, "compact \(folder.directory)")
    }
}
