// `torc bench micro`.

package import ArgumentParser
import Foundation
import TorcConsole

package struct MicroCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "micro",
        abstract: "Count and time the calls that a request is made of: merge, encode, ring lookup, frames, parsers.",
        discussion: """
            Counts are callgrind's, of torc-micro, which is built beside torc (valgrind must be there then, and now), and depend on no machine's speed: instructions,
            allocations, and retains and releases of references, an operation. Times are processor time, beside a reference, xxh3
            over 1 KiB, that is timed in turn with each.

            --check compares the counts with those in --limits, and fails where one is exceeded: 10 % more instructions, or
            an allocation more in twenty operations. --record writes them, when a change was meant.

            Examples:
              torc bench micro
              torc bench micro --only merge --rounds 20
              torc bench micro --check
            """)

    @Option(help: "Those whose name holds this text.") var only: String?
    @Option(help: "How often each is timed.") var rounds = 7
    @Flag(help: "Compare counts with the limits, time nothing.") var check = false
    @Flag(help: "Write the counts as the new limits, time nothing.") var record = false
    @Option(help: "The file of limits.") var limits = "Bench/Micro/limits.json"
    @Option(help: "Write everything to this JSON file as well.") var json: String?

    package init() {}

    package func validate() throws {
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds must be 1 to 1000, not \(rounds)") }
        guard !check || !record else { throw ValidationError("give one of --check and --record") }
        guard !record || only == nil else {
            throw ValidationError("--record writes the limits of all: leave --only out")
        }
        guard !subjects.isEmpty else { throw ValidationError("no subject's name holds '\(only ?? "")'") }
    }

    private var subjects: [MicroSubject] {
        MicroSubject.all.filter { subject in only.map { subject.name.contains($0) } ?? true }
    }

    package func run() throws {
        if check || record {
            let counts = try countAll()
            if record {
                let limits = MicroLimits(counts: counts)
                try limits.json.write(to: URL(fileURLWithPath: self.limits))
                Console.print("\(counts.count) limits are in \(self.limits)")
            } else if !compare(counts, try MicroLimits(path: limits)) {
                throw ExitCode.failure
            }
            return
        }
        var counts: [String: MicroCounts] = [:]
        do {
            counts = try countAll()
        } catch let failure as MicroFailure {
            Console.warn("not counted: \(failure)")
        }
        let times = try MicroTiming.run(subjects, rounds: rounds)
        Console.print(Self.table(subjects, counts, times))
        if let json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            let report = Report(counts: counts, times: times)
            try (try encoder.encode(report) + Data("\n".utf8)).write(to: URL(fileURLWithPath: json))
        }
    }

    private struct Report: Codable {
        var counts: [String: MicroCounts]
        var times: [String: MicroTimes]
    }

    private func countAll() throws -> [String: MicroCounts] {
        try CallgrindRun.counts(of: subjects, only: only)
    }

    /// Whether all limits hold. The last line counts, as tools/test wants it.
    private func compare(_ counts: [String: MicroCounts], _ limits: MicroLimits) -> Bool {
        var failed = 0
        for subject in subjects {
            guard let found = counts[subject.name] else { continue }
            switch limits.verdict(on: subject.name, found) {
            case .holds: Console.print("ok      \(subject.name): \(Self.figure(found.instructions)) instructions")
            case .better:
                Console.print(
                    "better  \(subject.name): \(Self.figure(found.instructions)) instructions; --record keeps that")
            case .unknown:
                failed += 1
                Console.print("FAILED  \(subject.name): no limit is recorded for it; --record does")
            case .exceeded(let reasons):
                failed += 1
                Console.print("FAILED  \(subject.name): \(reasons.joined(separator: "; "))")
            }
        }
        Console.print("\(subjects.count - failed) passed, \(failed) failed")
        return failed == 0
    }

    private static func table(
        _ subjects: [MicroSubject], _ counts: [String: MicroCounts], _ times: [String: MicroTimes]
    ) -> String {
        var table = TextTable([
            .left("subject"), .right("instructions"), .right("allocations"), .right("retains"), .right("ns"),
            .right("x reference"), .right("least"), .right("most"), .left("one operation is"),
        ])
        for subject in subjects {
            let found = counts[subject.name], ratios = (times[subject.name]?.ratios ?? []).sorted()
            let nanoseconds = (times[subject.name]?.nanoseconds ?? []).sorted()
            func cell(_ value: Double?) -> String { value.map { figure($0) } ?? "" }
            func median(_ sorted: [Double]) -> Double? { sorted.isEmpty ? nil : sorted[sorted.count / 2] }
            table.add([
                subject.name, cell(found?.instructions), cell(found?.allocations), cell(found?.retains),
                cell(median(nanoseconds)), cell(median(ratios)), cell(ratios.first), cell(ratios.last), subject.about,
            ])
        }
        return table.text
    }

    private static func figure(_ value: Double) -> String {
        String(format: value >= 100 || value == value.rounded() ? "%.0f" : "%.2f", value)
    }
}
