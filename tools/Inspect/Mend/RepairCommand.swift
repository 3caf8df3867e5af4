// `torc inspect repair`: makes a folder one that its node can start from, and whose losses its peers make good.

import ArgumentParser
import Foundation
import Logging
import TorcConsole
import TorcReplication
import TorcStorage

struct RepairCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair", abstract: "Mend what 'verify' finds, on a copy.",
        discussion: """
            Examples:
              torc inspect repair data/node1 --dry-run        what is wrong, and what would be done
              torc inspect repair data/node1                  asks, and makes data/node1.repaired
              torc inspect repair data/node1 --in-place --yes --config node1.yaml

            What cannot be read goes into a folder quarantine-TIME, with a report. What may be lost is noted, so that the node
            counts for nobody there until it has compared its replicas with all others, and takes from them what it lacks.
            The copy shares the tables by hard links: it needs space for what is damaged alone. With --in-place the state before
            is kept in the quarantine folder. An interruption leaves the folder as it was.

            Refused: a folder in use; a format that is newer than this build; damage to what a node must not forget (its votes
            and incarnations), for which the node has to be replaced.

            Exit status: 0 mended, or nothing to mend; 1 not mended; 2 damage that nothing mends.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var node: NodeSettingsOptions
    @OptionGroup var place: MendPlaceOptions

    func run() async throws {
        let settings = try await node.settings()
        do {
            try await run(settings)
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: folder.directory, json: folder.json)
        }
    }

    private func run(_ settings: NodeSettings) async throws {
        let path = DataFolder.normalized(folder.directory)
        // Who only asks leaves no trace, and who mends holds the folder from the check to the end.
        let held = place.dryRun ? nil : try DataFolder.hold(path)
        defer { held?.release() }
        if place.dryRun, let holder = try DataFolder.holder(of: path) {
            throw StoreError.heldByAnotherProcess(path: path, processID: holder)
        }
        let check = try await FolderCheck.run(path, settings: settings)
        if folder.json { try check.printJSON() } else { check.showFindings() }
        if check.remedy == .replace { throw ExitCode(2) }
        if check.plan.isEmpty { return }
        let target = place.inPlace ? MendPlace.inPlace : .copy(place.to ?? path + ".repaired")
        if !folder.json {
            Console.print("\nto be done\(place.inPlace ? ", in place" : ", on a copy"):")
            for line in check.plan.lines { Console.print("  \(line)") }
        }
        guard let held else { return }
        try place.confirm("mend \(path)")
        if !folder.json { Console.print("\ndone:") }
        let report = try FolderMender.mend(
            held, check.plan, place: target, stamp: Int(Date().timeIntervalSince1970), logger: Self.quiet,
            listener: MendProgress(folder.json ? nil : "  ").listener)
        // Of a copy nobody has the lock; in place it is still this process that holds it.
        let after = try await FolderCheck.run(report.folder, settings: settings)
        guard after.plan.isEmpty, after.remedy == .node else {
            if folder.json { try after.printJSON() } else { after.showFindings() }
            throw ExitCode(1)
        }
        if folder.json { return try JSONLine.print(MendOutcome(report)) }
        Console.print("verified once more: sound")
        report.show(original: path, place: target)
    }

    /// What the store tells of it is in the steps.
    static let quiet: Logger = {
        var logger = Logger(label: "torc inspect") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        return logger
    }()
}

struct MendPlaceOptions: ParsableArguments {
    @Flag(help: "Say what would be done, and do nothing.") var dryRun = false
    @Flag(help: "Do not ask.") var yes = false
    @Flag(help: "Change the folder itself.") var inPlace = false
    @Option(help: "Where the mended copy goes; DIR.repaired without it.") var to: String?

    func validate() throws {
        if inPlace, to != nil { throw ValidationError("--in-place and --to exclude each other") }
    }

    func confirm(_ what: String) throws { try Confirmation.ask(what, yes: yes) }
}

enum Confirmation {
    /// Returns when the person at the terminal, or `yes`, says so; otherwise ends the command.
    static func ask(_ what: String, yes: Bool) throws {
        if yes { return }
        guard isatty(STDIN_FILENO) == 1 else {
            throw ValidationError("nobody is there to be asked: say --yes to \(what), or --dry-run")
        }
        // Not among what a program reads.
        fflush(nil)
        FileHandle.standardError.write(Data("\n\(Console.harmless(what))? [y/N] ".utf8))
        guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else { throw ExitCode(1) }
    }
}

/// Steps are printed, and what takes long has a bar.
final class MendProgress {
    private let indent: String?
    private var bar: ProgressBar?

    /// `indent`: in front of steps; nil: they are not printed.
    init(_ indent: String?) { self.indent = indent }

    var listener: MendListener {
        MendListener(
            step: { step in
                self.bar?.finish()
                if let indent = self.indent { Console.print(indent + step) }
            },
            expect: { bytes in self.bar = bytes > 0 ? ProgressBar("mending", total: bytes, unit: TextTable.bytes) : nil
            },
            advance: { bytes in self.bar?.advance(by: bytes) })
    }

    deinit { bar?.finish() }
}

extension MendPlan {
    /// For a person.
    var lines: [String] {
        var lines: [String] = []
        if rebuildsManifest {
            lines.append("make a new manifest from the tables, compact everything, replay the log")
        }
        if !lostTables.isEmpty { lines.append("take \(lostTables.count) tables out of the manifest") }
        if cutsLog { lines.append("cut the log at the damage, and put the rest into quarantine") }
        for partition in damagedPartitions.sorted() {
            lines.append("copy what can be read of \(FolderReader.familyName(of: partition))")
        }
        if settlesFamilies {
            lines.append("finish what was begun with families, and make those of leaves and hints anew")
        }
        for partition in missingPartitions.sorted() {
            lines.append("make \(FolderReader.familyName(of: partition)) anew, empty")
        }
        for partition in partitionsWithBadRecords.sorted() {
            lines.append("put the bad records of \(FolderReader.familyName(of: partition)) into quarantine")
        }
        for partition in untrustedLeaves.keys.sorted() {
            lines.append("have the leaves of \(FolderReader.familyName(of: partition)) computed by the next start")
        }
        if hasBadHints { lines.append("put the hints that cannot be read into quarantine") }
        if purgesHints { lines.append("put all hints into quarantine") }
        for target in purgedTargets.sorted() { lines.append("put the hints for \(target) into quarantine") }
        if compacts { lines.append("rewrite every family") }
        for entry in properties { lines.append("set properties of \(entry.scope)") }
        if cutsLog {
            lines.append(
                "a vote on a change of the ring may be missing then: was one under way, replace the node instead")
        }
        if rebuildsManifest || cutsLog {
            lines.append("note all leaves as lost: the node counts for nobody until it has compared everything")
        }
        return lines
    }
}

struct MendOutcome: Encodable {
    var folder: String
    var quarantine: String
    var steps: [String]
    var partitionsWithLostLeaves: Int
    var lostLeaves: Int
    var recordsQuarantined: Int
    var tablesQuarantined: Int

    init(_ report: MendReport) {
        folder = report.folder
        quarantine = report.quarantine
        steps = report.steps
        partitionsWithLostLeaves = report.lostLeaves.count
        lostLeaves = report.lostLeaves.values.reduce(0, +)
        recordsQuarantined = report.recordsQuarantined
        tablesQuarantined = report.tablesQuarantined
    }
}

extension MendReport {
    func show(original: String, place: MendPlace) {
        Console.print("\nmended")
        if !lostLeaves.isEmpty {
            Console.print(
                "\(lostLeaves.values.reduce(0, +)) leaves of \(lostLeaves.count) partitions count for nobody until the node has "
                    + "compared them with all other replicas, by itself")
        }
        Console.print("quarantine: \(quarantine)")
        switch place {
        case .inPlace:
            Console.print(
                "start the node; when it is whole, remove the quarantine folder, which has the former state, too")
        case .copy:
            Console.print("next: mv \(original) \(original).damaged && mv \(folder) \(original), and start the node")
            Console.print("never start a node from both: they are one node")
        }
    }
}
