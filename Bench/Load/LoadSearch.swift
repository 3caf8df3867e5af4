// The highest rate that is fast enough: what a cluster can be asked for, where a closed loop says what it can be driven to.
//
//   1000 holds, 2000 holds, 4000 holds, 8000 not ─► 6000 holds, 7000 not, 6500 … until two that differ by a twentieth

import Foundation
import NIOCore

/// One rate that was tried.
struct LoadTrial: Encodable {
    var rate: Double
    var perSecond: Double
    var p50Milliseconds: Double
    var p99Milliseconds: Double
    var p999Milliseconds: Double
    var errorCount: UInt64
    var cpuMicrosecondsPerOperation: Double?
    var holds: Bool
}

struct LoadSearchResult: Encodable {
    var settings: LoadReport.Settings
    var targetP99Milliseconds: Double
    /// The highest rate that was seen to hold; nil: none was.
    var rate: Double?
    var trials: [LoadTrial]

    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    var table: String {
        func cell(_ text: String) -> String { String(repeating: " ", count: max(0, 10 - text.count)) + text }
        func number(_ value: Double) -> String { String(format: value < 100 ? "%.2f" : "%.0f", value) }
        var lines = [["asked", "op/s", "p50 ms", "p99", "p99.9", "errors", ""].map(cell).joined()]
        for trial in trials {
            lines.append(
                ([trial.rate, trial.perSecond].map { String(format: "%.0f", $0) }
                    + [trial.p50Milliseconds, trial.p99Milliseconds, trial.p999Milliseconds].map(number) + [
                        "\(trial.errorCount)", trial.holds ? "holds" : "misses",
                    ]).map(cell).joined())
        }
        let target = number(targetP99Milliseconds)
        lines.append("")
        lines.append(
            rate.map { "\(String(format: "%.0f", $0)) op/s with 99 of 100 within \(target) ms" }
                ?? "no rate that was tried has 99 of 100 within \(target) ms")
        return lines.joined(separator: "\n")
    }
}

struct LoadSearch {
    /// Two rates as near as this are taken for one.
    private static let precision = 1.05
    private static let largestTrialCount = 24
    /// A rate below this is not worth a search.
    private static let lowestRate = 10.0
    /// What must be reached of a rate that was asked for.
    private static let reached = 0.98

    var plan: LoadPlan
    var targetMilliseconds: Double
    var contexts: [ByteBuffer?]?

    private(set) var trials: [LoadTrial] = []

    init(plan: LoadPlan, targetMilliseconds: Double, contexts: [ByteBuffer?]?) {
        self.plan = plan
        self.targetMilliseconds = targetMilliseconds
        self.contexts = contexts
    }

    mutating func run(from start: Double) async throws -> LoadSearchResult {
        var holds: Double?
        var misses: Double?
        var rate = start
        while trials.count < Self.largestTrialCount, rate >= Self.lowestRate {
            if try await holdsTarget(at: rate) { holds = rate } else { misses = rate }
            switch (holds, misses) {
            case (let low?, let high?):
                guard high / low > Self.precision else { return result(holds) }
                rate = (low + high) / 2
            case (let low?, nil): rate = low * 2
            case (nil, let high?): rate = high / 2
            case (nil, nil): preconditionFailure("a trial neither held nor missed")
            }
        }
        return result(holds)
    }

    private func result(_ rate: Double?) -> LoadSearchResult {
        let settings = LoadReport(plan: plan, result: LoadResult.empty(plan.duration)).settings
        return LoadSearchResult(
            settings: settings, targetP99Milliseconds: targetMilliseconds, rate: rate, trials: trials)
    }

    private mutating func holdsTarget(at rate: Double) async throws -> Bool {
        var plan = plan
        plan.rate = rate
        let result = try await LoadRunner(plan: plan).run(contexts: contexts)
        if plan.context == .last { contexts = result.contexts }
        let report = LoadReport(plan: plan, result: result)
        let all = LoadReport.Latency("all", result.all, seconds: result.seconds)
        let holds =
            all.count > 0 && all.p99Milliseconds <= targetMilliseconds && report.errorCount == 0
            && report.perSecond >= rate * Self.reached
        trials.append(
            LoadTrial(
                rate: rate, perSecond: report.perSecond, p50Milliseconds: all.p50Milliseconds,
                p99Milliseconds: all.p99Milliseconds, p999Milliseconds: all.p999Milliseconds,
                errorCount: report.errorCount, cpuMicrosecondsPerOperation: report.cpuMicrosecondsPerOperation,
                holds: holds))
        FileHandle.standardError.write(
            Data(
                "\(String(format: "%.0f", rate)) op/s: p99 \(String(format: "%.2f", all.p99Milliseconds)) ms, \(report.errorCount) errors: \(holds ? "holds" : "misses")\n"
                    .utf8))
        return holds
    }
}
