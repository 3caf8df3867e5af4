import ArgumentParser
import Foundation
import TorcConsole
import TorcServer

/// `torc cluster transfers`: how far copies have moved.
struct TransfersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transfers", abstract: "Show how far copies have moved to the ring that was committed last.",
        discussion: """
            TOTAL counts comparisons of a partition with a node that held it before; PENDING those that are to be
            completed. One member hears from all others, and the others know only their own figures: `?` is what the
            node that is asked has not heard. The time left is estimated from two readings.
            """)

    @OptionGroup var admin: AdminOptions
    @Flag(help: "Until nothing moves any more.") var wait = false
    @Option(help: "Seconds between two readings.") var interval = 2.0

    func run() async throws {
        guard interval >= 0.1, interval <= 3_600 else { throw ValidationError("--interval is from 0.1 to 3600") }
        var body = try await admin.get("/admin/cluster/ring")
        var report = try AdminJSON.decode(RingReport.self, body)
        var shown = ""
        while report.phase != "settled" {
            let before = report
            try await Task.sleep(for: .seconds(interval))
            body = try await admin.get("/admin/cluster/ring")
            report = try AdminJSON.decode(RingReport.self, body)
            let text = Self.text(report, since: before, interval)
            if !admin.json, text != shown, report.phase != "settled" { print(text) }
            shown = text
            if !wait { break }
        }
        if admin.json { return print(String(decoding: body, as: UTF8.self), terminator: "") }
        if report.phase == "settled" { print("settled: nothing moves; ring epoch \(report.epoch)") }
        if report.clearing > 0 {
            print("\(report.node) has yet to remove its records of \(report.clearing) partitions that it gave away")
        }
    }

    private static func text(_ report: RingReport, since before: RingReport, _ interval: Double) -> String {
        let pending = report.members.reduce(0) { $0 + ($1.pending ?? 0) }
        let total = report.members.reduce(0) { $0 + ($1.total ?? 0) }
        let done = total == 0 ? 0 : 100 * (total - pending) / total
        var head = "\(report.phase), ring epoch \(report.epoch): \(total - pending) of \(total) compared, \(done)%"
        let completed = before.members.reduce(0) { $0 + ($1.pending ?? 0) } - pending
        if report.phase == before.phase, completed > 0, pending > 0 {
            head += ", about \(Int(Double(pending) / Double(completed) * interval) + 1) s left"
        }
        var table = TextTable([.left("NAME"), .left(""), .right("PENDING"), .right("TOTAL")])
        for member in report.members {
            table.add([
                member.name, member.isLeaving ? "leaves" : "", member.pending.map { "\($0)" } ?? "?",
                member.total.map { "\($0)" } ?? "?",
            ])
        }
        let hint = report.members.contains { $0.pending == nil } && report.steward != report.node
        return head + "\n" + table.text + (hint ? "\nAll figures: ask \(report.steward ?? "another member")." : "")
    }
}
