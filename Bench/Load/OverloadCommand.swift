// `torc bench overload`: what a cluster does when it is asked for several times what it can do. It should go on doing what it
// can, refuse the rest at once, need no more memory for it, and be itself again when it is over.
//
//   saturate: closed loop ─► peak        calm: half of the peak ─► the latency that is usual
//   overload: a fixed rate of 4 × peak ─► goodput, how long refusals take, memory
//   recover: half of the peak again, at once ─► how long until latency is usual

package import ArgumentParser
import Foundation
import NIOCore

package struct OverloadCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "overload",
        abstract: "Ask a running cluster for several times what it can do, and judge how it takes that.",
        discussion: """
            Examples:
              torc bench overload --pids 4001,4002,4003
              torc bench overload --factor 8 --read-share 0.9 --json overload.json --plot overload.svg

            First finds the peak with a closed loop, then asks for --factor times as much, each request sent when it is due,
            and last for half of the peak. Passes when the goodput stays above 90 % of the peak, 99 of 100 refusals take
            less than 50 ms from when the request was sent, memory (of --pids) does not grow in the second half by more than a
            tenth, and latency is usual again within a second. Exits with 1 otherwise. The generator shares the machine
            with the nodes if they are here: then it takes some of what they lack.

            The refusals that are judged are those of other clients beside the load: each of --probes connections asks for
            a key five times a second, and waits as long as it is told when it is refused. Those of the load itself are
            shown, too. As it asks again without waiting, on every connection at once, what it sees is mostly how many
            connections a node can read in a second, and that a node leaves those alone for a moment that do not wait.
            With --wait the load waits as it is told; then less is sent than is due.
            """)

    @Option(help: "Addresses, host:port, separated by commas.") var targets =
        "127.0.0.1:8087,127.0.0.1:8097,127.0.0.1:8107"
    @Option(help: "So many times the peak.") var factor = 4.0
    @Option(help: "Seconds of each phase.") var seconds = 10.0
    @Option(help: "Connections of the overload.") var connections = 3000
    @Option(help: "Requests under way a connection in the overload; an answer waits for those before it.")
    var pipeline = 1
    @Option(help: "Connections of other clients beside the load, whose refusals are judged.") var probes = 60
    @Flag(help: "A connection of the load that is refused waits as long as it is told.") var wait = false
    @Option(help: "Share of gets, 0 to 1; the rest are puts.") var readShare = 0.5
    @Option(help: "Number of keys; they are written first.") var keys: UInt64 = 20_000
    @Option(help: "Bytes of a value.") var valueBytes = 1024
    @Option(help: "Bucket.") var bucket = "overload"
    @Option(help: "Process ids of the nodes, separated by commas: their memory is watched.") var pids = ""
    @Option(help: "Write the JSON to this file as well; '-' prints it instead of the table.") var json: String?
    @Option(help: "Draw the overload over time into this SVG file.") var plot: String?

    package init() {}

    package func validate() throws { _ = try makePlan() }

    package func run() async throws {
        let plan = try makePlan()
        Self.raiseFileLimit()
        let memory = MemoryMeter(processes: plan.processes)
        var report = OverloadReport(factor: factor)

        func phase(_ name: String, _ plan: LoadPlan, _ contexts: [ByteBuffer?]) async throws -> (LoadReport, LoadResult)
        {
            FileHandle.standardError.write(
                Data("\(name): \(plan.rate.map { "\(Int($0)) a second" } ?? "closed loop")\n".utf8))
            let result = try await LoadRunner(plan: plan).run(contexts: contexts)
            return (LoadReport(plan: plan, result: result), result)
        }

        FileHandle.standardError.write(Data("writing \(plan.keyCount) keys\n".utf8))
        var contexts = try await LoadRunner(plan: plan).preload().contexts
        let (saturated, first) = try await phase("saturate", plan, contexts)
        contexts = first.contexts
        report.peakPerSecond = saturated.perSecond
        guard saturated.perSecond > 0 else {
            throw ValidationError("nothing was answered: \(saturated.errors.first?.text ?? "no error was told")")
        }

        var calm = plan
        calm.rate = saturated.perSecond / 2
        calm.connections = min(64, plan.connections)
        let (usual, second) = try await phase("calm", calm, contexts)
        contexts = second.contexts
        report.usualP99Milliseconds = LoadReport.Latency("all", second.all, seconds: second.seconds).p99Milliseconds
        report.usualErrorCount = usual.errorCount

        var heavy = plan
        heavy.rate = saturated.perSecond * factor
        heavy.connections = connections
        heavy.pipeline = pipeline
        heavy.warmup = .seconds(2)
        report.askedPerSecond = heavy.rate!
        report.memoryBeforeMiB = memory.mebibytes
        heavy.waitsWhenTold = wait
        let watch = memory.watch(every: .milliseconds(100))
        let probe = probePlan(beside: heavy)
        async let probed = LoadRunner(plan: probe).run(contexts: nil)
        let (overloaded, third) = try await phase("overload", heavy, contexts)
        let probes = try await probed
        report.probes = LoadReport.Latency("other clients, accepted", probes.all, seconds: probes.seconds)
        report.probesRefused = LoadReport(plan: probe, result: probes).refusals
        report.probesRefused?.operation = "other clients, refused"
        report.memory = await watch.finish()
        contexts = third.contexts
        report.goodputPerSecond = overloaded.perSecond
        report.accepted = LoadReport.Latency("accepted", third.all, seconds: third.seconds)
        report.refused = overloaded.refusals
        report.otherErrors = overloaded.errors.filter { $0.text != RiakFrames.overloadedText }
        report.overload = overloaded.timeline

        calm.warmup = .zero
        let (recovered, _) = try await phase("recover", calm, contexts)
        report.recovery = recovered.timeline
        report.memoryAfterMiB = memory.mebibytes

        if json == "-" { print(try report.json) } else { print(report.table) }
        if let json, json != "-" { try Data((report.json + "\n").utf8).write(to: URL(fileURLWithPath: json)) }
        if let plot { try Data(LoadPlot.svg(overloaded).utf8).write(to: URL(fileURLWithPath: plot)) }
        if report.judgements.contains(where: { !$0.isMet }) { throw ExitCode.failure }
    }

    /// What clients do that have nothing to do with the load: a request now and then.
    private func probePlan(beside load: LoadPlan) -> LoadPlan {
        var plan = load
        plan.connections = probes
        plan.pipeline = 1
        plan.rate = Double(probes) * Self.probesPerSecond
        plan.mix = LoadMix()
        plan.mix.get = 1
        plan.context = .none
        plan.waitsWhenTold = true
        plan.processes = []
        plan.seed &+= 1
        return plan
    }

    /// Of one connection.
    private static let probesPerSecond = 5.0

    /// Each connection is a file.
    private static func raiseFileLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = min(limit.rlim_max, 65_536)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private func makePlan() throws -> LoadPlan {
        guard factor >= 1, factor <= 100, seconds >= 1, seconds <= 600, (1...10_000).contains(connections),
            (1...1_024).contains(pipeline), (0...1).contains(readShare), (1...100_000_000).contains(keys),
            (0...(64 << 20)).contains(valueBytes), (1...1_000).contains(probes)
        else {
            throw ValidationError(
                "--factor 1 to 100, --seconds 1 to 600, --connections 1 to 10000, --pipeline 1 to 1024, --probes 1 to 1000, "
                    + "--read-share 0 to 1, --keys 1 to 100000000, --value-bytes 0 to \(64 << 20)")
        }
        var plan = LoadPlan(targets: try targets.split(separator: ",").map(LoadCommand.address))
        plan.connections = 128
        plan.pipeline = pipeline
        plan.mix.get = readShare
        plan.keyCount = keys
        plan.valueBytes = valueBytes
        plan.bucket = bucket
        plan.duration = .milliseconds(Int64(seconds * 1000))
        plan.warmup = .seconds(1)
        plan.timeout = .seconds(30)
        plan.processes = try pids.split(separator: ",").map {
            guard let pid = Int($0) else { throw ValidationError("'\($0)' is not a process id") }
            return pid
        }
        return plan
    }
}

/// What was seen, and what was asked of it.
struct OverloadReport: Encodable {
    struct Judgement: Encodable {
        var what: String
        var wanted: String
        var seen: String
        var isMet: Bool
    }

    private static let leastGoodput = 0.9
    private static let longestRefusalMilliseconds = 50.0
    private static let largestGrowth = 1.1
    private static let longestRecoverySeconds = 1.0
    /// Above so many times what is usual, and so much, latency is not usual.
    private static let unusual = (factor: 2.0, milliseconds: 10.0)

    var factor: Double
    var peakPerSecond = 0.0
    var askedPerSecond = 0.0
    var goodputPerSecond = 0.0
    var accepted: LoadReport.Latency?
    var refused: LoadReport.Latency?
    /// Of other clients beside the load.
    var probes: LoadReport.Latency?
    var probesRefused: LoadReport.Latency?
    var otherErrors: [LoadReport.Failure] = []
    var usualP99Milliseconds = 0.0
    var usualErrorCount: UInt64 = 0
    var memoryBeforeMiB = 0.0
    var memoryAfterMiB = 0.0
    /// Of all nodes together while the overload lasted.
    var memory: [Double] = []
    var overload: [LoadReport.Moment] = []
    var recovery: [LoadReport.Moment] = []

    init(factor: Double) { self.factor = factor }

    /// Until the last interval that was not usual had passed.
    var recoverySeconds: Double {
        let limit = usualP99Milliseconds * Self.unusual.factor + Self.unusual.milliseconds
        // The last interval may have been cut short.
        let last = recovery.dropLast().lastIndex { moment in
            moment.errorsPerSecond > 0 || moment.p99Milliseconds ?? .infinity > limit
        }
        guard let last else { return 0 }
        return last + 1 < recovery.count ? recovery[last + 1].second : recovery[last].second
    }

    /// Second half against first.
    var memoryGrowth: Double? {
        guard memory.count >= 2, let first = memory[..<(memory.count / 2)].max(), first > 0,
            let second = memory[(memory.count / 2)...].max()
        else { return nil }
        return second / first
    }

    var judgements: [Judgement] {
        func percent(_ value: Double) -> String { String(format: "%.0f %%", value * 100) }
        func milliseconds(_ value: Double) -> String { String(format: "%.1f ms", value) }
        let goodput = peakPerSecond > 0 ? goodputPerSecond / peakPerSecond : 0
        var rows = [
            Judgement(
                what: "goodput, of the peak", wanted: "> \(percent(Self.leastGoodput))", seen: percent(goodput),
                isMet: goodput > Self.leastGoodput),
            Judgement(
                what: "refusals, 99 of 100 within", wanted: "< \(milliseconds(Self.longestRefusalMilliseconds))",
                seen: probesRefused.map { milliseconds($0.p99Milliseconds) } ?? "none refused",
                isMet: probesRefused.map { $0.p99Milliseconds < Self.longestRefusalMilliseconds } ?? true),
            Judgement(
                what: "usual latency again after", wanted: "< \(Self.longestRecoverySeconds) s",
                seen: String(format: "%.1f s", recoverySeconds), isMet: recoverySeconds < Self.longestRecoverySeconds),
        ]
        if let growth = memoryGrowth {
            rows.append(
                Judgement(
                    what: "memory, second half of first", wanted: "< \(percent(Self.largestGrowth))",
                    seen: percent(growth), isMet: growth < Self.largestGrowth))
        }
        return rows
    }

    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    var table: String {
        func number(_ value: Double) -> String { String(format: value < 100 ? "%.1f" : "%.0f", value) }
        var lines = [
            "peak       \(number(peakPerSecond)) op/s, closed loop",
            "usual      p99 \(number(usualP99Milliseconds)) ms at \(number(peakPerSecond / 2)) op/s, \(usualErrorCount) errors",
            "overload   \(number(askedPerSecond)) op/s asked for, \(number(goodputPerSecond)) done",
        ]
        for latency in [accepted, refused, probes, probesRefused].compactMap({ $0 }) {
            lines.append(
                "           \(latency.operation): \(number(latency.perSecond)) op/s, p50 \(number(latency.p50Milliseconds)), "
                    + "p99 \(number(latency.p99Milliseconds)), longest \(number(latency.maxMilliseconds)) ms")
        }
        for failure in otherErrors.prefix(5) { lines.append("           \(failure.count) × \(failure.text)") }
        if let largest = memory.max() {
            lines.append(
                "memory     \(number(memoryBeforeMiB)) MiB before, \(number(largest)) at most, \(number(memoryAfterMiB)) after"
            )
        }
        lines.append("")
        for judgement in judgements {
            let what = judgement.what.padding(toLength: 30, withPad: " ", startingAt: 0)
            let wanted = judgement.wanted.padding(toLength: 12, withPad: " ", startingAt: 0)
            lines.append("\(judgement.isMet ? "ok    " : "MISSED") \(what) \(wanted) \(judgement.seen)")
        }
        return lines.joined(separator: "\n")
    }

    private enum CodingKeys: String, CodingKey {
        case factor, peakPerSecond, askedPerSecond, goodputPerSecond, accepted, refused, probes, probesRefused,
            otherErrors
        case usualP99Milliseconds, usualErrorCount, memoryBeforeMiB, memoryAfterMiB, memory, overload, recovery
        case judgements, recoverySeconds
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(factor, forKey: .factor)
        try container.encode(peakPerSecond, forKey: .peakPerSecond)
        try container.encode(askedPerSecond, forKey: .askedPerSecond)
        try container.encode(goodputPerSecond, forKey: .goodputPerSecond)
        try container.encodeIfPresent(accepted, forKey: .accepted)
        try container.encodeIfPresent(refused, forKey: .refused)
        try container.encodeIfPresent(probes, forKey: .probes)
        try container.encodeIfPresent(probesRefused, forKey: .probesRefused)
        try container.encode(otherErrors, forKey: .otherErrors)
        try container.encode(usualP99Milliseconds, forKey: .usualP99Milliseconds)
        try container.encode(usualErrorCount, forKey: .usualErrorCount)
        try container.encode(memoryBeforeMiB, forKey: .memoryBeforeMiB)
        try container.encode(memoryAfterMiB, forKey: .memoryAfterMiB)
        try container.encode(memory, forKey: .memory)
        try container.encode(overload, forKey: .overload)
        try container.encode(recovery, forKey: .recovery)
        try container.encode(recoverySeconds, forKey: .recoverySeconds)
        try container.encode(judgements, forKey: .judgements)
    }
}
