// `torc inspect verify`: is everything in a folder as its node left it?

import ArgumentParser
import TorcConsole
import TorcStorage

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read everything, and say what is wrong.",
        discussion: """
            Examples:
              torc inspect verify data/node1 --config node1.yaml
              torc inspect verify data/node1 --json
              torc inspect verify /mnt/old-disk/node1 && echo sound

            Reads every table with its checksums, the manifest, the log, what the node keeps of itself, every record and every
            hint; with the cluster's key also computes the Merkle leaves anew and compares them. Changes nothing. On the folder
            of a running node it reads what stood there when it began, without what only a stopped one can say.

            Exit status: 0 sound; 1 damage that `torc inspect repair` mends; 2 damage that nothing mends, or a folder that
            cannot be read at all.
            """, aliases: ["checkconsistency"])

    @OptionGroup var folder: FolderOptions
    @OptionGroup var node: NodeSettingsOptions

    func run() async throws {
        let settings = try await node.settings()
        let check: FolderCheck
        do {
            check = try await FolderCheck.run(folder.directory, settings: settings)
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: folder.directory, json: folder.json)
        }
        if folder.json { try check.printJSON() } else { check.show() }
        throw ExitCode(FolderCheck.exitStatus(check.remedy))
    }
}

extension FolderCheck {
    static func exitStatus(_ remedy: Finding.Remedy) -> Int32 {
        switch remedy {
        case .node: 0
        case .repair: 1
        case .replace: 2
        }
    }

    /// A folder that cannot be read at all.
    static func fail(_ error: StoreError, path: String, json: Bool) throws -> Never {
        struct Failure: Encodable {
            var path: String
            var error: String
        }
        if json {
            try JSONLine.print(Failure(path: path, error: "\(error)"))
        } else {
            Console.warn("\(error)")
        }
        throw ExitCode(2)
    }

    /// A line a finding, the summary last.
    func printJSON() throws {
        struct Line: Encodable {
            var finding: Finding
        }
        struct Last: Encodable {
            var summary: Summary
            var sound: Bool
        }
        for finding in findings { try JSONLine.print(Line(finding: finding)) }
        try JSONLine.print(Last(summary: summary, sound: remedy == .node))
    }

    func show() {
        Console.print(
            "folder   \(summary.path), node \(summary.node)\(summary.heldBy.map { ", in use by process \($0)" } ?? "")")
        let rate = Double(summary.tableBytes) / max(summary.seconds, 0.001) / Double(1 << 20)
        Console.print(
            "tables   \(summary.tables), \(TextTable.bytes(summary.tableBytes)) in \(Self.decimal(summary.seconds)) s, "
                + "\(Int(rate)) MiB/s")
        Console.print("log      \(summary.logFiles) files, \(TextTable.bytes(summary.logBytes))")
        Console.print(
            "records  \(summary.records) in \(summary.partitions) partitions, \(TextTable.bytes(summary.recordBytes)); "
                + "\(summary.tombstones) tombstones, \(summary.graves) graves; \(summary.hints) hints")
        Console.print("leaves   \(summary.leavesCompared) partitions compared")
        for skipped in summary.skipped { Console.print("skipped  \(skipped)") }
        Console.print("")
        showFindings()
    }

    func showFindings() {
        if findings.isEmpty { return Console.print("sound: nothing is wrong", .good) }
        for finding in findings {
            Console.print("\(finding.kind.rawValue)  \(finding.place)", finding.remedy == .node ? .warning : .bad)
            Console.print("    found    \(finding.detail)")
            Console.print("    effect   \(finding.effect)")
            Console.print("    mended   \(Self.words(finding.remedy, summary.path))")
        }
        switch remedy {
        case .node: Console.print("\nsound: what is noted above the node mends by itself", .good)
        case .repair:
            Console.print("\ndamaged: 'torc inspect repair \(summary.path) --dry-run' says what would be done", .bad)
        case .replace: Console.print("\nlost: replace the node; nothing here makes it trustworthy again", .bad)
        }
    }

    private static func words(_ remedy: Finding.Remedy, _ path: String) -> String {
        switch remedy {
        case .node: "by the node itself"
        case .repair: "by 'torc inspect repair \(path)'"
        case .replace: "by nothing: keep the folder aside, have the node replaced ('torc cluster replace')"
        }
    }

    private static func decimal(_ seconds: Double) -> String {
        let tenths = Int((seconds * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
