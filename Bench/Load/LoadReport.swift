// What a run says: a table for a person, one JSON object for a program.

import Foundation
import Histogram
import NIOCore

struct LoadReport: Encodable {
    struct Latency: Encodable {
        var operation: String
        var count: UInt64
        var perSecond: Double
        var meanMilliseconds: Double
        var p50Milliseconds: Double
        var p90Milliseconds: Double
        var p99Milliseconds: Double
        var p999Milliseconds: Double
        var maxMilliseconds: Double
    }

    /// One interval of the run.
    struct Moment: Encodable {
        /// From the beginning of what is measured to the interval's.
        var second: Double
        var perSecond: Double
        var errorsPerSecond: Double
        var refusalsPerSecond: Double
        /// Nil when nothing ended in it.
        var p50Milliseconds: Double?
        var p99Milliseconds: Double?
        var maxMilliseconds: Double?
    }

    struct Failure: Encodable {
        var text: String
        var count: UInt64
    }

    struct Settings: Encodable {
        var targets: [String]
        var connections: Int
        var pipeline: Int
        var threads: Int
        var ringAware: Bool
        var readShare: Double
        var insertShare: Double
        var modifyShare: Double
        var keys: UInt64
        var distribution: String
        var valueBytes: Int
        var bucket: String
        var context: String
        var ratePerSecond: Double?
        var warmupSeconds: Double
        var r: UInt32?
        var w: UInt32?
        var seed: UInt64
    }

    var settings: Settings
    var seconds: Double
    var perSecond: Double
    var latencies: [Latency]
    /// Of all measured processes together; nil without `--pids`.
    var cpuMicrosecondsPerOperation: Double?
    var notFound: UInt64
    var errorCount: UInt64
    var errors: [Failure]
    /// Of requests that were refused because there was too much to do: how long the refusal took.
    var refusals: Latency?
    var timeline: [Moment]
    var faults: [StruckFault]

    init(plan: LoadPlan, result: LoadResult) {
        settings = Settings(
            targets: plan.targets.map { "\($0.host):\($0.port)" }, connections: plan.connections,
            pipeline: plan.pipeline, threads: plan.threads, ringAware: plan.isRingAware, readShare: plan.mix.get,
            insertShare: plan.mix.insert, modifyShare: plan.mix.modify, keys: plan.keyCount,
            distribution: "\(plan.distribution)", valueBytes: plan.valueBytes, bucket: plan.bucket,
            context: plan.context.rawValue, ratePerSecond: plan.rate,
            warmupSeconds: Double(plan.warmup.components.seconds), r: plan.r, w: plan.w, seed: plan.seed)
        seconds = result.seconds
        perSecond = result.seconds > 0 ? Double(result.answered) / result.seconds : 0
        latencies = LoadKind.allCases.map { ($0.name, result.latencies[$0.rawValue]) }.filter { $0.1.totalCount > 0 }
            .map { Latency($0.0, $0.1, seconds: result.seconds) }
        refusals =
            result.refusals.totalCount > 0 ? Latency("refused", result.refusals, seconds: result.seconds) : nil
        let interval = Double(result.timeline.interval.nanoseconds) / 1e9
        timeline = result.timeline.intervals.enumerated().map { index, moment in
            // The last interval ends with the run.
            let length = max(min(interval, result.seconds - Double(index) * interval), interval / 100)
            func milliseconds(_ nanoseconds: UInt64?) -> Double? { nanoseconds.map { Double($0) / 1e6 } }
            return Moment(
                second: Double(index) * interval, perSecond: Double(moment.operations) / length,
                errorsPerSecond: Double(moment.errors) / length, refusalsPerSecond: Double(moment.refusals) / length,
                p50Milliseconds: milliseconds(moment.nanoseconds(percentile: 50)),
                p99Milliseconds: milliseconds(moment.nanoseconds(percentile: 99)),
                maxMilliseconds: moment.operations > 0 ? milliseconds(moment.longestNanoseconds) : nil)
        }
        cpuMicrosecondsPerOperation = result.cpuSeconds.map { $0 * 1e6 / Double(max(1, result.answered)) }
        notFound = result.notFound
        faults = result.faults
        errors = result.errors.map { Failure(text: $0.text, count: $0.count) }
        errorCount = errors.reduce(0) { $0 + $1.count }
    }

    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    var table: String {
        func cell(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        func number(_ value: Double) -> String { String(format: value < 100 ? "%.2f" : "%.0f", value) }
        var lines = [
            "       " + ["count", "op/s", "mean ms", "p50", "p90", "p99", "p99.9", "max"].map { cell($0, 9) }.joined()
        ]
        for latency in latencies + (refusals.map { [$0] } ?? []) {
            let figures =
                [String(latency.count), String(format: "%.0f", latency.perSecond)]
                + [
                    latency.meanMilliseconds, latency.p50Milliseconds, latency.p90Milliseconds,
                    latency.p99Milliseconds, latency.p999Milliseconds, latency.maxMilliseconds,
                ].map(number)
            lines.append(
                latency.operation.padding(toLength: 7, withPad: " ", startingAt: 0)
                    + figures.map { cell($0, 9) }.joined())
        }
        lines.append("")
        lines.append(
            "\(String(format: "%.0f", perSecond)) op/s over \(String(format: "%.1f", seconds)) s, \(errorCount) errors, \(notFound) not found"
        )
        if let cpu = cpuMicrosecondsPerOperation {
            lines.append("\(String(format: "%.1f", cpu)) µs of processor time an operation, all measured processes")
        }
        for fault in faults { lines.append(Self.line(fault, timeline)) }
        for failure in errors.prefix(10) { lines.append("  \(failure.count) × \(failure.text)") }
        return lines.joined(separator: "\n")
    }
}

extension LoadReport {
    /// A fault, and what became of the requests while it lasted.
    private static func line(_ fault: StruckFault, _ timeline: [Moment]) -> String {
        // Of the interval in which it struck, too: what was under way failed in it.
        let interval = timeline.count > 1 ? timeline[1].second - timeline[0].second : 0
        let during = timeline.filter { $0.second + interval > fault.from && $0.second < fault.to }
        func mean(_ path: (Moment) -> Double) -> Double {
            during.isEmpty ? 0 : during.reduce(0) { $0 + path($1) } / Double(during.count)
        }
        let longest = during.compactMap(\.maxMilliseconds).max() ?? 0
        return String(
            format: "%@ %@ from %.1f s to %.1f s: %.0f op/s, %.0f errors/s, longest %.0f ms", fault.kind, fault.node,
            fault.from, fault.to, mean(\.perSecond), mean(\.errorsPerSecond), longest)
    }
}

extension LoadReport.Latency {
    /// `seconds`: how long was measured.
    init(_ operation: String, _ histogram: Histogram<UInt64>, seconds: Double) {
        func milliseconds(_ percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) / 1e6 }
        self.init(
            operation: operation, count: histogram.totalCount,
            perSecond: seconds > 0 ? Double(histogram.totalCount) / seconds : 0,
            meanMilliseconds: histogram.mean / 1e6, p50Milliseconds: milliseconds(50),
            p90Milliseconds: milliseconds(90), p99Milliseconds: milliseconds(99),
            p999Milliseconds: milliseconds(99.9), maxMilliseconds: milliseconds(100))
    }
}
