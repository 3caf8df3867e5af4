import ArgumentParser
import Foundation
import NIOCore
import Testing
import TorcLoad
import TorcServer

/// How keys are drawn, and how a run is kept over time.
@Suite struct LoadDrawTests {
    private func drawn(_ distribution: KeyDistribution, keys: UInt64, newest: UInt64? = nil, count: Int = 200_000)
        -> [UInt64: Int]
    {
        let generator = KeyGenerator(distribution, keyCount: keys)
        var random = LoadRandom(seed: 7)
        var seen: [UInt64: Int] = [:]
        for _ in 0..<count { seen[generator.next(newest: newest ?? keys - 1, using: &random), default: 0] += 1 }
        return seen
    }

    @Test func aHotSpotTakesItsShare() {
        let seen = drawn(.hotspot(keys: 0.01, requests: 0.9), keys: 1_000)
        let hot = seen.filter { $0.key < 10 }.values.reduce(0, +)
        #expect(abs(Double(hot) / 200_000 - 0.9) < 0.005, "\(hot)")
        #expect(seen.keys.max()! < 1_000 && seen.count == 1_000)
        // All keys are hot; one key.
        #expect(drawn(.hotspot(keys: 1, requests: 0.5), keys: 10).count == 10)
        #expect(drawn(.hotspot(keys: 0.5, requests: 0.5), keys: 1) == [0: 200_000])
    }

    @Test func theNewestAreDrawnMost() {
        let seen = drawn(.latest(theta: 0.99), keys: 1_000, newest: 4_999)
        #expect(seen.keys.max()! == 4_999 && seen.keys.min()! >= 4_000)
        #expect(seen[4_999]! > 3 * seen[4_990, default: 0])
        // There are fewer than it was made for.
        #expect(drawn(.latest(theta: 0.99), keys: 1_000, newest: 3).keys.max()! == 3)
    }

    @Test func percentilesOfAnIntervalAreNearTheTruth() throws {
        var timeline = LoadTimeline(duration: .seconds(10))
        var random = LoadRandom(seed: 3)
        var truth: [UInt64] = []
        for _ in 0..<5_000 {
            let nanoseconds = UInt64(exp(Double.random(in: 5...22, using: &random)))
            truth.append(nanoseconds)
            timeline.note(nanoseconds, at: .milliseconds(150))
        }
        timeline.noteError(at: .milliseconds(-5), isRefusal: true)
        timeline.note(1, at: .hours(1))
        truth.sort()
        #expect(timeline.intervals.count == 2 && timeline.intervals[0].refusals == 1)
        for percentile in [1.0, 50, 99, 99.9] {
            let exact = Double(truth[Int((Double(truth.count) * percentile / 100).rounded(.up)) - 1])
            let told = Double(try #require(timeline.intervals[1].nanoseconds(percentile: percentile)))
            #expect(told >= exact && told <= exact * 1.07, "\(percentile): \(told) for \(exact)")
        }
        #expect(timeline.intervals[0].nanoseconds(percentile: 50) == nil)
        var other = LoadTimeline(duration: .seconds(10))
        other.note(5, at: .milliseconds(150))
        timeline.add(other)
        #expect(timeline.intervals[1].operations == 5_001)
    }

    /// A run that ends when its work is done: intervals grow with it, and those of two loops meet.
    @Test func timelineGrows() throws {
        var long = LoadTimeline()
        let length = 100_000
        for second in 0..<length { long.note(UInt64(second), at: .seconds(Int64(second))) }
        long.noteError(at: .seconds(Int64(length / 2)), isRefusal: false)
        var short = LoadTimeline()
        for tenth in 0..<40 { short.note(7, at: .milliseconds(Int64(100 * tenth))) }
        #expect(short.intervals.count == 40)
        for (mut, other) in [(long, short), (short, long)] {
            var sum = mut
            sum.add(other)
            #expect(sum.interval == .milliseconds(100 << 12))
            #expect(sum.intervals.count == 245 && sum.intervals.count <= LoadTimeline.largestCount)
            #expect(sum.intervals.reduce(0) { $0 + $1.operations } == UInt64(length + 40))
            // Each in the interval of its time: 409.6 s begin with second 410, after 410 seconds and the short run.
            #expect(sum.intervals[0].operations == 450 && sum.intervals[1].longestNanoseconds == 819)
            #expect(sum.intervals[length / 2 * 10 / 4096].errors == 1)
        }
    }
}

/// The generator against three nodes.
@Suite(.serialized) struct LoadTests {
    private struct Report: Decodable {
        struct Latency: Decodable {
            var operation: String
            var count: Int
        }
        struct Moment: Decodable { var perSecond: Double }
        var latencies: [Latency]
        var errorCount: Int
        var notFound: Int
        var timeline: [Moment]
    }

    private func run(_ cluster: TestCluster, _ flags: String) async throws -> Data {
        let targets = cluster.nodes.compactMap { $0.map { "127.0.0.1:\($0.protocolBuffersAddress.port)" } }
        let file = "\(cluster.folder)/load.json"
        var command = try LoadCommand.parse(
            ["--targets", targets.joined(separator: ","), "--json", file, "--value-bytes", "20", "--connections", "6"]
                + flags.split(separator: " ").map(String.init))
        try await command.run()
        return try Data(contentsOf: URL(fileURLWithPath: file))
    }

    @Test(.timeLimit(.minutes(10))) func workloadsDoWhatTheirNamesSay() async throws {
        try await TestCluster.with { cluster in
            _ = try await run(cluster, "--keys 300 --preload --get --operations 10 --warmup 0 --duration 5")
            let shares = [
                "a": ["get": 0.5, "put": 0.5], "b": ["get": 0.95, "put": 0.05], "c": ["get": 1.0],
                "d": ["get": 0.95, "insert": 0.05], "f": ["get": 0.5, "modify": 0.5],
            ]
            for (workload, shares) in shares.sorted(by: { $0.key < $1.key }) {
                let flags = "--keys 300 --workload \(workload) --operations 1200 --warmup 0 --duration 20 --threads 2"
                let report = try JSONDecoder().decode(Report.self, from: try await run(cluster, flags))
                #expect(report.errorCount == 0, "\(workload)")
                let counts = Dictionary(uniqueKeysWithValues: report.latencies.map { ($0.operation, $0.count) })
                #expect(Set(counts.keys) == Set(shares.keys), "\(workload): \(counts)")
                let total = Double(counts.values.reduce(0, +))
                #expect(total == 1_200, "\(workload)")
                for (kind, share) in shares {
                    #expect(abs(Double(counts[kind] ?? 0) / total - share) < 0.06, "\(workload): \(counts)")
                }
                // What is inserted is read before its put is answered now and then.
                #expect(report.notFound <= (workload == "d" ? 60 : 0), "\(workload): \(report.notFound)")
                #expect(report.timeline.contains { $0.perSecond > 0 })
            }
        }
    }

    @Test(.timeLimit(.minutes(10))) func aRateIsFoundAndARunIsDrawn() async throws {
        try await TestCluster.with { cluster in
            struct Found: Decodable {
                struct Trial: Decodable {
                    var rate: Double
                    var holds: Bool
                }
                var rate: Double?
                var trials: [Trial]
            }
            let search = "--keys 100 --preload --get --duration 0.3 --warmup 0.1 --search-from 100 --target-p99-ms"
            let found = try JSONDecoder().decode(Found.self, from: try await run(cluster, search + " 2000"))
            let rate = try #require(found.rate)
            #expect(found.trials.contains { $0.rate == rate && $0.holds })
            #expect(found.trials.contains { !$0.holds && $0.rate <= rate * 2 })
            #expect(found.trials.filter(\.holds).map(\.rate).max() == rate)
            await #expect(throws: ExitCode.failure, "no rate is that fast") {
                _ = try await run(cluster, search + " 0.0001")
            }

            let plot = "\(cluster.folder)/run.svg"
            _ = try await run(cluster, "--keys 100 --get --duration 1 --warmup 0 --plot \(plot)")
            let drawn = try String(contentsOfFile: plot, encoding: .utf8)
            #expect(drawn.hasPrefix("<svg ") && drawn.hasSuffix("</svg>\n"))
            #expect(drawn.components(separatedBy: "<polyline").count >= 5, "\(drawn)")
            #expect(!drawn.contains("nan") && !drawn.contains("inf"))
        }
    }

    @Test(.timeLimit(.minutes(10))) func anOverloadIsJudged() async throws {
        try await TestCluster.with { cluster in
            struct Judged: Decodable {
                struct Judgement: Decodable {
                    var what: String
                    var isMet: Bool
                }
                var peakPerSecond: Double
                var askedPerSecond: Double
                var goodputPerSecond: Double
                var memory: [Double]
                var judgements: [Judgement]
            }
            let targets = cluster.nodes.compactMap { $0.map { "127.0.0.1:\($0.protocolBuffersAddress.port)" } }
            let file = "\(cluster.folder)/overload.json"
            let command = try OverloadCommand.parse([
                "--targets", targets.joined(separator: ","), "--json", file, "--seconds", "1", "--keys", "200",
                "--value-bytes", "50", "--pids", "\(getpid())", "--connections", "16",
            ])
            // Whether it passes is the machine's matter, not this test's.
            do { try await command.run() } catch is ExitCode {}
            let judged = try JSONDecoder().decode(Judged.self, from: try Data(contentsOf: URL(fileURLWithPath: file)))
            #expect(judged.peakPerSecond > 0 && judged.goodputPerSecond > 0)
            #expect(abs(judged.askedPerSecond / judged.peakPerSecond - 4) < 0.01)
            #expect(judged.memory.count > 5 && judged.judgements.count == 4)
        }
    }

    @Test func whatCannotBeIsRefusedWithAReason() {
        for flags in [
            ["--workload", "e"], ["--workload", "a", "--get"], ["--distribution", "hotspot:0.5"],
            ["--distribution", "hotspot:2:0.5"], ["--distribution", "zipfian:1"], ["--distribution", "pareto"],
            ["--target-p99-ms", "0"], ["--target-p99-ms", "5", "--rate", "100"], ["--targets", "nowhere"],
        ] { #expect(throws: (any Error).self, "\(flags)") { try LoadCommand.parse(flags) } }
    }
}
