// Two runs side by side: what changed, and what is only noise.
//
// A difference is taken for one when both hold:
//   - the rounds tell: of all ways to deal the values of both runs into two groups, at most one in a hundred sets them as far
//     apart (the exact test of Wilcoxon's rank sum, 1945). That takes five rounds in each run, and says nothing about why;
//   - it is larger than what the machine itself did between the runs: its own yardstick, RocksDB's db_bench and the disk, was
//     measured in both, and the same machine on another day differs as well.

import Foundation
import TorcConsole

/// Least, median and most of a few values.
package struct Spread: Hashable, Sendable {
    package var least: Double
    package var median: Double
    package var most: Double

    package init(_ values: [Double]) {
        precondition(!values.isEmpty, "the spread of nothing")
        let sorted = values.sorted()
        least = sorted.first!
        most = sorted.last!
        let middle = sorted.count / 2
        median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

package enum RankSum {
    /// Beyond it the ways are too many to count: only the first values of each are looked at.
    package static let mostValues = 10

    /// The share of all ways to deal the values that set the two groups at least as far apart as they are; both directions.
    package static func probability(_ first: [Double], _ second: [Double]) -> Double {
        let first = Array(first.prefix(mostValues)), second = Array(second.prefix(mostValues))
        precondition(!first.isEmpty && !second.isEmpty, "nothing to compare")
        let all = first + second
        // Twice the middle rank of equal values, so that everything stays whole.
        let ranks = all.map { value in 2 * all.count { $0 < value } + all.count { $0 == value } + 1 }
        let expected = ranks.reduce(0, +) * first.count
        func distance(_ sum: Int) -> Int { abs(sum * all.count - expected) }
        let found = distance(ranks.prefix(first.count).reduce(0, +))
        // Ways to take `first.count` of the values, by the sum of their ranks.
        let most = ranks.reduce(0, +)
        var ways = [[Double]](
            repeating: [Double](repeating: 0, count: most + 1), count: first.count + 1)
        ways[0][0] = 1
        for rank in ranks {
            for taken in stride(from: first.count, to: 0, by: -1) {
                for sum in stride(from: most, through: rank, by: -1) {
                    ways[taken][sum] += ways[taken - 1][sum - rank]
                }
            }
        }
        let total = ways[first.count].reduce(0, +)
        let far = ways[first.count].enumerated().reduce(0) { distance($1.offset) >= found ? $0 + $1.element : $0 }
        return far / total
    }
}

package struct Comparison: Sendable {
    package static let significance = 0.01

    package enum Verdict: String, Codable, Sendable {
        /// As far as the rounds can tell, nothing changed.
        case noise
        /// No more than what the machine's yardstick changed by.
        case machine
        /// So few rounds can never tell.
        case tooFewRounds = "too few rounds"
        case better, worse
        /// Neither is better.
        case different
    }

    package struct Row: Codable, Sendable {
        package var level: String
        package var name: String
        package var unit: String
        package var first: Double
        package var second: Double
        /// Second by first; nil when the first is 0.
        package var ratio: Double?
        /// The least and the most that the rounds allow.
        package var leastRatio: Double?
        package var mostRatio: Double?
        package var verdict: Verdict
    }

    package let rows: [Row]
    /// How much slower the machine itself was in the second run, by its yardsticks; nil: not measured in both.
    package let machine: Double?
    /// What makes the runs differ in other ways than the program.
    package let differences: [String]

    /// Figures of the references that grow when the machine is slower.
    static let yardsticks: [(level: String, name: String)] = [
        ("db_bench", "unsynced, processor time"), ("db_bench", "synced by 64, processor time"),
        ("disk", "append and sync, median"),
    ]
    private static let referenceLevels: Set<String> = ["db_bench", "disk"]

    package init(_ first: WritePathReport, _ second: WritePathReport) {
        func figure(_ report: WritePathReport, _ level: String, _ name: String) -> Measure? {
            report.levels.first { $0.name == level }?.measure(name)
        }
        let ratios = Self.yardsticks.compactMap { yardstick -> Double? in
            guard let before = figure(first, yardstick.level, yardstick.name)?.median,
                let after = figure(second, yardstick.level, yardstick.name)?.median, before > 0, after > 0
            else { return nil }
            return after / before
        }
        // The one that moved furthest: a put takes of all that they measure.
        machine = ratios.max { abs(log($0)) < abs(log($1)) }
        var rows: [Row] = []
        for level in first.levels {
            for measure in level.measures {
                guard let other = figure(second, level.name, measure.name), other.unit == measure.unit else { continue }
                rows.append(
                    Self.row(
                        level.name, measure, other, machine: Self.referenceLevels.contains(level.name) ? nil : machine))
            }
        }
        self.rows = rows
        var differences: [String] = []
        if first.machine != second.machine { differences.append("the machines differ") }
        if first.settings != second.settings { differences.append("the settings differ") }
        self.differences = differences
    }

    private static func row(_ level: String, _ first: Measure, _ second: Measure, machine: Double?) -> Row {
        let a = Spread(first.samples), b = Spread(second.samples)
        var row = Row(
            level: level, name: first.name, unit: first.unit, first: a.median, second: b.median, verdict: .noise)
        if a.median > 0 { row.ratio = b.median / a.median }
        if a.most > 0 { row.leastRatio = b.least / a.most }
        if a.least > 0 { row.mostRatio = b.most / a.least }
        // All of the first below all of the second: the furthest apart that so many can be.
        let lowest = RankSum.probability(
            first.samples.indices.map(Double.init), second.samples.indices.map { Double($0 + first.samples.count) })
        if a == b {
            row.verdict = .noise
        } else if lowest > significance {
            row.verdict = .tooFewRounds
        } else if RankSum.probability(first.samples, second.samples) > significance {
            row.verdict = .noise
        } else if let machine, let ratio = row.ratio, ratio > 0, abs(log(ratio)) <= abs(log(machine)) {
            row.verdict = .machine
        } else {
            switch first.better {
            case .less: row.verdict = b.median < a.median ? .better : .worse
            case .more: row.verdict = b.median > a.median ? .better : .worse
            case .neither: row.verdict = .different
            }
        }
        return row
    }

    package var text: String {
        var lines: [String] = differences.map { "Beware: \($0)." }
        if let machine {
            lines.append(
                String(
                    format: "The machine itself, by db_bench and the disk: %.2f times as slow in the second run.",
                    machine))
        } else {
            lines.append("The machine itself was not measured in both runs: differences may be its own.")
        }
        var table = TextTable([
            .left("figure"), .right("first"), .right("second"), .right("ratio"), .right("from"), .right("to"),
            .left(""),
        ])
        var level = ""
        for row in rows {
            if row.level != level {
                level = row.level
                table.add([level, "", "", "", "", "", ""])
            }
            func ratio(_ value: Double?) -> String { value.map { String(format: "%.2f", $0) } ?? "" }
            table.add([
                "  \(row.name), \(row.unit)", WritePathReport.number(row.first), WritePathReport.number(row.second),
                ratio(row.ratio), ratio(row.leastRatio), ratio(row.mostRatio),
                row.verdict == .noise ? "noise" : row.verdict.rawValue,
            ])
        }
        let told = rows.count { $0.verdict == .better || $0.verdict == .worse }
        return lines.joined(separator: "\n") + "\n\n" + table.text
            + "\n\n\(told) of \(rows.count) figures differ by more than noise and the machine itself."
    }
}
