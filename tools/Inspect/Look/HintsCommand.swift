// `torc inspect hints`: what the node keeps for others.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct HintsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hints", abstract: "Show what the node keeps for other nodes.",
        discussion: """
            Examples:
              torc inspect hints data/node1
              torc inspect hints data/node1 --list --limit 20
              torc inspect hints data/node1 --list --target 3f0a66d18a2b7c11

            A hint is a write that its replica could not take; it is delivered when that node is back, and deleted then.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "List the hints.") var list = false
    @Option(help: "Only those for this node: its id or, where the folder knows it, its name.") var target: String?

    private struct Total: Encodable {
        var target: String
        var name: String?
        var hints = 0
        var bytes: UInt64 = 0
        var oldest: UInt64?
        var isMember: Bool?

        mutating func add(_ hint: HintView) {
            hints += 1
            bytes += UInt64(hint.view.storedBytes)
            if let since = hint.since?.microseconds { oldest = min(oldest ?? .max, since) }
        }
    }

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let placement = try declared.placement(for: reader)
        let asked = try filter.filter(reader.identity.ringSize)
        let only = try target.map { try node($0, names, reader) }
        let now = WallTime.now
        var report = RecordReport(layout: reader.layout, names: names, now: now)
        var totals: [NodeID: Total] = [:]
        if list, !folder.json { Console.print("KEPT FOR".padded(to: 18) + "SINCE".padded(to: 26) + ScanCommand.head) }
        let summary = try reader.walkHints(
            asked, target: only, progress: reader.hintProgress("hints", isListing: list)
        ) { hint in
            totals[
                hint.target,
                default: Total(
                    target: "\(hint.target)", name: names.nameIfKnown(of: hint.target),
                    isMember: placement.map { $0.nodes.contains(hint.target) })
            ].add(hint)
            guard list else { return true }
            if folder.json {
                report.print(hint.view)
            } else {
                Console.print(
                    names.name(of: hint.target).padded(to: 16) + "  "
                        + (hint.since.map { PlainText.time($0) } ?? "-").padded(to: 24) + "  "
                        + ScanCommand.line(of: hint.view, now: now))
            }
            return true
        }
        if !list { try show(totals.sorted { $0.key < $1.key }.map(\.value), now) }
        try summary.report(folder: reader.path)
    }

    private func show(_ totals: [Total], _ now: WallTime) throws {
        if folder.json {
            for total in totals { try JSONLine.print(total) }
            return
        }
        if totals.isEmpty { return Console.print("nothing is kept for other nodes") }
        var table = TextTable([
            .left("KEPT FOR"), .left("NAME"), .right("HINTS"), .right("BYTES"), .left("OLDEST"), .left("MEMBER"),
        ])
        for total in totals {
            let age = total.oldest.map { PlainText.span(microseconds: now.microseconds - min(now.microseconds, $0)) }
            table.add([
                total.target, total.name ?? "?", "\(total.hints)", TextTable.bytes(total.bytes),
                total.oldest.map { "\(PlainText.time(WallTime(microseconds: $0))), \(age!) ago" } ?? "-",
                total.isMember.map { $0 ? "yes" : "no: 'torc inspect purge-hints' removes them" } ?? "?",
            ])
        }
        Console.print(table.text)
    }

    private func node(_ text: String, _ names: NodeNames, _ reader: FolderReader) throws -> NodeID {
        if let id = names.node(named: text) { return id }
        guard let raw = UInt64(text, radix: 16) else {
            throw ValidationError("--target '\(text)': the folder knows no node of that name; give its id")
        }
        return NodeID(rawValue: raw)
    }
}
