// What two reports say of each other, from values that are known.

import Foundation
import Testing
import TorcWritePath

@Suite struct ComparisonTests {
    private func report(
        _ figures: [String: [Double]], better: Measure.Better = .less, yardstick: [Double]? = nil
    ) -> WritePathReport {
        var level = Level(name: "one-node", title: "One node")
        for (name, samples) in figures.sorted(by: { $0.key < $1.key }) {
            level.measures.append(Measure(name, unit: "µs", better: better, samples: samples))
        }
        var report = WritePathReport(
            date: "2026-01-01", version: "1", machine: .init(cores: 2, kernel: "6"),
            settings: .init(rounds: 5, seconds: 1, keys: 100, valueBytes: 10, connections: 1), levels: [level])
        if let yardstick {
            var disk = Level(name: "disk", title: "The disk")
            disk.measures.append(Measure("append and sync, median", unit: "µs", samples: yardstick))
            report.levels.append(disk)
        }
        return report
    }

    private func verdict(_ comparison: Comparison, _ name: String) -> Comparison.Verdict? {
        comparison.rows.first { $0.name == name }?.verdict
    }

    @Test func theProbabilityIsThatOfTheTables() {
        // Wilcoxon's own tables: all of five below all of five is one way in 252, in both directions two.
        #expect(abs(RankSum.probability([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) - 2 / 252) < 1e-12)
        #expect(abs(RankSum.probability([1, 2], [3, 4]) - 2 / 6) < 1e-12)
        #expect(abs(RankSum.probability([1, 3], [2, 4]) - 4 / 6) < 1e-12)
        #expect(RankSum.probability([5, 5, 5], [5, 5, 5]) == 1)
        // The order within a group says nothing.
        #expect(RankSum.probability([9, 1, 4], [2, 8, 3]) == RankSum.probability([1, 4, 9], [8, 3, 2]))
    }

    @Test func tellsADifferenceFromNoise() {
        let first = report(["apart": [10, 11, 12, 11, 10], "mixed": [10, 12, 14, 11, 13], "same": [7, 7, 7, 7, 7]])
        let second = report(["apart": [20, 21, 22, 21, 20], "mixed": [11, 13, 15, 10, 14], "same": [7, 7, 7, 7, 7]])
        let comparison = Comparison(first, second)
        #expect(verdict(comparison, "apart") == .worse)
        #expect(verdict(comparison, "mixed") == .noise)
        #expect(verdict(comparison, "same") == .noise)
        #expect(verdict(Comparison(second, first), "apart") == .better)
        let row = comparison.rows.first { $0.name == "apart" }
        #expect(row?.ratio == 21.0 / 11)
        #expect(row?.leastRatio == 20.0 / 12)
        #expect(row?.mostRatio == 22.0 / 10)
        #expect(comparison.machine == nil)
        #expect(comparison.text.contains("was not measured in both runs"))
        #expect(comparison.text.contains("1 of 3 figures differ"))
    }

    @Test func moreIsBetterWhereItIs() {
        let comparison = Comparison(
            report(["rate": [10, 11, 12, 11, 10]], better: .more),
            report(["rate": [20, 21, 22, 21, 20]], better: .more))
        #expect(verdict(comparison, "rate") == .better)
    }

    @Test func fewRoundsNeverTell() {
        let comparison = Comparison(report(["a": [1, 2, 3, 2]]), report(["a": [100, 101, 102, 103]]))
        #expect(verdict(comparison, "a") == .tooFewRounds)
    }

    @Test func whatTheMachineDidIsNotThePrograms() {
        let slow = [200.0, 201, 202, 203, 204], quick = [100.0, 101, 102, 103, 104]
        let first = report(["small": [10, 11, 10, 11, 10], "large": [10, 11, 10, 11, 10]], yardstick: quick)
        let second = report(["small": [15, 16, 15, 16, 15], "large": [40, 41, 40, 41, 40]], yardstick: slow)
        let comparison = Comparison(first, second)
        #expect(verdict(comparison, "small") == .machine)
        #expect(verdict(comparison, "large") == .worse)
        // The yardstick itself is told as it is.
        #expect(verdict(comparison, "append and sync, median") == .worse)
        #expect(comparison.text.contains("1.98 times as slow"))
    }

    @Test func whatOnlyOneHasIsLeftOut() {
        let comparison = Comparison(report(["a": [1], "b": [1]]), report(["b": [1], "c": [1]]))
        #expect(comparison.rows.map(\.name) == ["b"])
    }

    @Test func otherMachinesAndSettingsAreTold() {
        var other = report(["a": [1]])
        other.machine.cores = 64
        other.settings.keys = 7
        let text = Comparison(report(["a": [1]]), other).text
        #expect(text.contains("Beware: the machines differ."))
        #expect(text.contains("Beware: the settings differ."))
    }

    // MARK: Files

    private func withFile(_ text: String, _ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "torc-report-\(UUID().uuidString).json"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test func aReportIsReadAsItWasWritten() throws {
        let report = report(["a": [1.5, 2.25]], yardstick: [3])
        try withFile(try report.json) { path in
            let read = try WritePathReport.read(path)
            #expect(read == report)
        }
    }

    @Test func whatIsNoReportIsRefusedByName() throws {
        func failure(_ text: String) throws -> String {
            var said = ""
            try withFile(text) { path in
                do {
                    _ = try WritePathReport.read(path)
                } catch let error as BenchFailure {
                    said = error.description
                }
            }
            return said
        }
        #expect(try failure("{}").contains("is no report"))
        #expect(try failure("not json").contains("is no report"))
        var report = report(["a": [1]])
        report.levels[0].measures[0].samples = []
        #expect(try failure(try report.json).contains("without a value"))
        report.format = 9
        #expect(try failure(try report.json).contains("of format 9"))
        #expect(throws: BenchFailure.self) { try WritePathReport.read("/nowhere/report.json") }
    }
}
