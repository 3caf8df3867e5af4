// What a run of `torc bench write-path` measured: every figure with the value of each round, so that two runs can be compared
// with their spread.

import Foundation
import TorcConsole

/// One figure, once a round.
package struct Measure: Codable, Hashable, Sendable {
    package enum Better: String, Codable, Sendable { case less, more, neither }

    package var name: String
    package var unit: String
    /// A share of the whole that the level's bar shows; the others stand by themselves.
    package var isStage: Bool
    package var better: Better
    package var samples: [Double]

    package init(_ name: String, unit: String, isStage: Bool = false, better: Better = .less, samples: [Double]) {
        self.name = name
        self.unit = unit
        self.isStage = isStage
        self.better = better
        self.samples = samples
    }

    package var median: Double { Spread(samples).median }
}

/// One way in which a put was run, or a reference.
package struct Level: Codable, Hashable, Sendable {
    package var name: String
    package var title: String
    package var measures: [Measure] = []
    /// What must be known to read the figures.
    package var remarks: [String] = []

    package init(name: String, title: String) {
        self.name = name
        self.title = title
    }

    package func measure(_ name: String) -> Measure? { measures.first { $0.name == name } }

    package var stages: [Measure] { measures.filter(\.isStage) }

    /// Adds one round's value; the figure is made when it is the first.
    package mutating func add(
        _ name: String, _ value: Double, unit: String, isStage: Bool = false, better: Measure.Better = .less
    ) {
        if let index = measures.firstIndex(where: { $0.name == name }) {
            measures[index].samples.append(value)
        } else {
            measures.append(Measure(name, unit: unit, isStage: isStage, better: better, samples: [value]))
        }
    }
}

package struct WritePathReport: Codable, Hashable, Sendable {
    package static let format = 1

    package struct Machine: Codable, Hashable, Sendable {
        package var cores: Int
        package var kernel: String

        package init(cores: Int, kernel: String) {
            self.cores = cores
            self.kernel = kernel
        }
    }

    package struct Settings: Codable, Hashable, Sendable {
        package var rounds: Int
        package var seconds: Double
        package var keys: Int
        package var valueBytes: Int
        package var connections: Int
        /// Of the node in process; nil in reports from before it was told: 64.
        package var partitions: Int?

        package init(
            rounds: Int, seconds: Double, keys: Int, valueBytes: Int, connections: Int, partitions: Int? = nil
        ) {
            self.partitions = partitions
            self.rounds = rounds
            self.seconds = seconds
            self.keys = keys
            self.valueBytes = valueBytes
            self.connections = connections
        }
    }

    package var format = WritePathReport.format
    /// When it began, in UTC.
    package var date: String
    package var version: String
    package var machine: Machine
    package var settings: Settings
    package var levels: [Level]
    /// What could not be measured here, and why.
    package var left: [String]

    package init(
        date: String, version: String, machine: Machine, settings: Settings, levels: [Level] = [], left: [String] = []
    ) {
        self.date = date
        self.version = version
        self.machine = machine
        self.settings = settings
        self.levels = levels
        self.left = left
    }

    package var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    /// Files beyond this are no reports.
    package static let maximumFileBytes = 16 << 20

    /// Reads what `json` wrote.
    package static func read(_ path: String) throws -> WritePathReport {
        guard let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int else {
            throw BenchFailure("\(path) cannot be read: name the .json that torc bench write-path wrote")
        }
        guard size <= maximumFileBytes, let data = FileManager.default.contents(atPath: path) else {
            throw BenchFailure("\(path) has \(size) bytes: no report is longer than \(maximumFileBytes)")
        }
        let report: WritePathReport
        do {
            report = try JSONDecoder().decode(WritePathReport.self, from: data)
        } catch {
            throw BenchFailure("\(path) is no report of torc bench write-path: name the .json that it wrote")
        }
        guard report.format == format else {
            throw BenchFailure("\(path) is a report of format \(report.format); this torc reads format \(format)")
        }
        let isSound = report.levels.allSatisfy { level in
            level.measures.allSatisfy { measure in
                !measure.samples.isEmpty && measure.samples.allSatisfy(\.isFinite)
            }
        }
        guard isSound else { throw BenchFailure("\(path) holds a figure without a value: it is damaged") }
        return report
    }

    /// For a person: a table a level.
    package var text: String {
        var blocks: [String] = []
        for level in levels {
            var table = TextTable([.left(level.title), .right("median"), .right("least"), .right("most"), .left("")])
            let whole = level.stages.reduce(0) { $0 + $1.median }
            for measure in level.stages {
                table.add(Self.row(measure) + [Self.share(measure.median, of: whole)])
            }
            if level.stages.count > 1, let unit = level.stages.first?.unit {
                let totals = (0..<(level.stages.map(\.samples.count).min() ?? 0)).map { round in
                    level.stages.reduce(0) { $0 + $1.samples[round] }
                }
                table.add(Self.row(Measure("all stages", unit: unit, samples: totals)) + [""])
            }
            for measure in level.measures where !measure.isStage { table.add(Self.row(measure) + [""]) }
            blocks.append(([table.text] + level.remarks.map { "  " + $0 }).joined(separator: "\n"))
        }
        if !left.isEmpty { blocks.append("Not measured:\n" + left.map { "  " + $0 }.joined(separator: "\n")) }
        return blocks.joined(separator: "\n\n")
    }

    private static func row(_ measure: Measure) -> [String] {
        let spread = Spread(measure.samples)
        return [
            "  \(measure.name), \(measure.unit)", number(spread.median), number(spread.least), number(spread.most),
        ]
    }

    private static func share(_ part: Double, of whole: Double) -> String {
        guard whole > 0 else { return "" }
        return String(format: "%3.0f %%  ", part / whole * 100)
            + String(repeating: "#", count: Int((part / whole * 40).rounded()))
    }

    /// Three digits that mean something.
    package static func number(_ value: Double) -> String {
        let size = abs(value)
        if size == 0 { return "0" }
        return String(format: size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : size >= 0.1 ? "%.2f" : "%.4f", value)
    }
}

/// Says what to do next.
package struct BenchFailure: Error, Hashable, CustomStringConvertible {
    package var description: String
    package init(_ description: String) { self.description = description }
}
