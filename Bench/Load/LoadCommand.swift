// `torc bench load`.

package import ArgumentParser
import Foundation
import NIOCore

/// Measures a running cluster over its protocol-buffers port.
package struct LoadCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Measure a running cluster: closed loop, fixed rate, or the highest rate that is fast enough.",
        discussion: """
            Examples:
              torc bench load --preload --put                 100,000 keys of 1 KiB, then puts for 10 s
              torc bench load --get --pipeline 16             gets, 16 under way a connection
              torc bench load --read-share 0.9 --distribution zipfian:0.99 --rate 5000
              torc bench load --put --bucket fast --context none   in an lww bucket: no contexts
              torc bench load --workload b --duration 60 --plot b.svg     YCSB's B; throughput and latency over time
              torc bench load --workload a --target-p99-ms 20             the highest rate with 99 of 100 within 20 ms
              torc bench load --get --distribution hotspot:0.01:0.9       a hundredth of the keys takes nine tenths
              torc bench load --workload b --ring-aware       each request straight to the owner of its key
              torc bench load --workload a --duration 20 --fault kill:node2@5s+3s --fault pause:node3@12s+2s --plot faults.svg

            At a fixed --rate latencies count from when a request was due, so a stall is not hidden.

            YCSB's core workloads: a (half reads, half updates), b (95 % reads), c (reads alone), d (95 % reads of the
            newest keys, 5 % inserts), f (half reads, half read-modify-write), over zipfian(0.99) keys. Preload the keys
            first. A read-modify-write is one operation; it writes with the context that it has read.

            --ring-aware asks the targets for the ring once, at the beginning. There are as many connections and requests
            under way as without it; a request takes the least busy connection to the owner of its key. All nodes must be
            among the targets.

            --fault strikes a node of a cluster that tools/up started (--cluster names its data folder): kill:NODE@START+LENGTH
            ends it by kill -9 so many seconds into what is measured and starts it again after so many more, pause: stops it
            with SIGSTOP and lets it go on. A connection that is lost is replaced by one to the next target; what was under
            way on it counts as an error. A shorter --timeout gives up earlier on a node that stands still.

            --target-p99-ms runs at one fixed rate after another, each for --warmup and --duration: doubled until the
            target is missed, then in between. A rate holds when it is reached (98 %), nothing fails, and 99 of 100
            operations take no longer than that.
            """)

    @Option(help: "Addresses, host:port, separated by commas.")
    var targets = "127.0.0.1:8087,127.0.0.1:8097,127.0.0.1:8107"
    @Option(help: "Connections, spread over the targets.") var connections = 64
    @Option(help: "Requests under way a connection.") var pipeline = 1
    @Flag(help: "Send each request to the node that owns its key; without it to any.") var ringAware = false
    @Option(help: "Event loops of the generator.") var threads = 1
    @Flag(help: "Puts only (the default).") var put = false
    @Flag(help: "Gets only.") var get = false
    @Option(help: "Share of gets, 0 to 1.") var readShare: Double?
    @Option(help: "YCSB's workload a, b, c, d or f: its mix and its distribution of keys.") var workload: String?
    @Option(help: "Number of keys.") var keys: UInt64 = 100_000
    @Option(
        help: "uniform (the default), zipfian[:theta], latest[:theta], or hotspot:KEYS:REQUESTS, shares from 0 to 1.")
    var distribution: String?
    @Option(help: "Bytes of a value.") var valueBytes = 1024
    @Option(help: "Bucket.") var bucket = "bench"
    @Option(help: "What puts know of the version they replace: last or none.") var context = "last"
    @Option(help: "Requests a second over all connections; without it a closed loop.") var rate: Double?
    @Option(help: "Seconds to measure.") var duration = 10.0
    @Option(help: "Seconds before that.") var warmup = 2.0
    @Option(help: "Stop after so many requests.") var operations: UInt64?
    @Option(help: "Seconds after which a request counts as an error.") var timeout = 10.0
    @Option(help: "Read quorum: a number, one, quorum or all.") var r: String?
    @Option(help: "Write quorum: a number, one, quorum or all.") var w: String?
    @Option(help: "Seed of keys and values.") var seed: UInt64 = 1
    @Option(help: "Process ids, separated by commas, whose processor time is reported an operation.") var pids: String?
    @Flag(help: "Write every key once first, over what stands.") var preload = false
    @Flag(help: "Only write every key once; --json and --plot say how that went.") var preloadOnly = false
    @Option(help: "Write the JSON to this file as well; '-' prints it instead of the table.") var json: String?
    @Option(help: "Draw throughput and latency over time into this SVG file.") var plot: String?
    @Option(
        help:
            "What is done to a node meanwhile: kill:NODE@START+LENGTH or pause:NODE@START+LENGTH, in seconds; again for more."
    )
    var fault: [String] = []
    @Option(help: "The data folder, as tools/up has it, of the nodes that are struck.") var cluster = "data/local"
    @Option(help: "Search for the highest rate at which 99 of 100 operations take so many milliseconds at most.")
    var targetP99Ms: Double?
    @Option(help: "The rate that the search begins with, in requests a second.") var searchFrom = 1000.0

    package init() {}

    package func validate() throws {
        _ = try makePlan()
        _ = try makeFaults()
    }

    private func makeFaults() throws -> LoadFaults? {
        if fault.isEmpty { return nil }
        guard targetP99Ms == nil, !preloadOnly else {
            throw ValidationError(
                "--fault strikes while one run is measured: without --target-p99-ms and --preload-only")
        }
        do {
            return try LoadFaults(fault, cluster: cluster, seconds: duration)
        } catch {
            throw ValidationError("--fault: \(error)")
        }
    }

    package mutating func run() async throws {
        let plan = try makePlan()
        let runner = LoadRunner(plan: plan)
        var contexts: [ByteBuffer?]?
        if preload || preloadOnly {
            let result = try await runner.preload()
            let report = LoadReport(plan: plan, result: result)
            FileHandle.standardError.write(
                Data("preloaded \(result.operations) keys: \(report.errorCount) errors\n".utf8))
            if report.errorCount > 0 {
                FileHandle.standardError.write(Data((report.table + "\n").utf8))
                throw ExitCode.failure
            }
            if preloadOnly { return try write(report) }
            contexts = result.contexts
        }
        if let targetP99Ms {
            var search = LoadSearch(plan: plan, targetMilliseconds: targetP99Ms, contexts: contexts)
            let found = try await search.run(from: searchFrom)
            if json == "-" { print(try found.json) } else { print(found.table) }
            if let json, json != "-" { try Data((found.json + "\n").utf8).write(to: URL(fileURLWithPath: json)) }
            if found.rate == nil { throw ExitCode.failure }
            return
        }
        let result: LoadResult
        if let faults = try makeFaults() {
            result = try await runner.run(contexts: contexts, faults: faults)
        } else {
            result = try await runner.run(contexts: contexts)
        }
        let report = LoadReport(plan: plan, result: result)
        try write(report)
        if report.latencies.isEmpty { throw ExitCode.failure }
    }

    private func write(_ report: LoadReport) throws {
        if json == "-" { print(try report.json) } else if json != nil || !preloadOnly { print(report.table) }
        if let json, json != "-" { try Data((report.json + "\n").utf8).write(to: URL(fileURLWithPath: json)) }
        if let plot { try Data(LoadPlot.svg(report).utf8).write(to: URL(fileURLWithPath: plot)) }
    }

    private func makePlan() throws -> LoadPlan {
        var plan = LoadPlan(targets: try targets.split(separator: ",").map(Self.address))
        func positive(_ value: Int, _ name: String, _ limit: Int) throws -> Int {
            guard (1...limit).contains(value) else {
                throw ValidationError("--\(name) must be 1 to \(limit), not \(value)")
            }
            return value
        }
        plan.connections = try positive(connections, "connections", 10_000)
        plan.pipeline = try positive(pipeline, "pipeline", 1_024)
        plan.threads = min(try positive(threads, "threads", 64), plan.connections)
        plan.isRingAware = ringAware
        guard [put, get, readShare != nil, workload != nil].filter({ $0 }).count <= 1 else {
            throw ValidationError("give one of --put, --get, --read-share and --workload")
        }
        plan.mix.get = get ? 1 : readShare ?? 0
        guard (0...1).contains(plan.mix.get) else { throw ValidationError("--read-share must be 0 to 1") }
        if let workload {
            guard let known = YCSBWorkload(rawValue: workload.lowercased()) else {
                throw ValidationError(
                    "--workload is a, b, c, d or f: E scans in the order of keys, which there is none of")
            }
            plan.mix = known.mix
            plan.distribution = known.distribution
        }
        plan.keyCount = UInt64(try positive(Int(clamping: keys), "keys", 1 << 40))
        // Each loop has keys of its own.
        plan.threads = min(plan.threads, Int(clamping: plan.keyCount))
        if let distribution { plan.distribution = try Self.distribution(distribution) }
        guard (0...(64 << 20)).contains(valueBytes) else {
            throw ValidationError("--value-bytes must be 0 to \(64 << 20)")
        }
        plan.valueBytes = valueBytes
        plan.bucket = bucket
        guard let known = PutContext(rawValue: context) else { throw ValidationError("--context must be last or none") }
        plan.context = known
        plan.rate = rate
        if let rate, !(rate > 0) { throw ValidationError("--rate must be above 0") }
        if let targetP99Ms {
            guard targetP99Ms > 0, searchFrom >= 1, rate == nil, operations == nil, plot == nil else {
                throw ValidationError(
                    "--target-p99-ms and --search-from must be above 0, without --rate, --operations and --plot")
            }
        }
        guard duration > 0, duration <= 86_400, warmup >= 0, warmup <= 3_600, timeout > 0 else {
            throw ValidationError("--duration must be 0 to 86400 seconds, --warmup 0 to 3600, --timeout above 0")
        }
        plan.duration = .milliseconds(Int64(duration * 1000))
        plan.warmup = .milliseconds(Int64(warmup * 1000))
        plan.timeout = .milliseconds(Int64(timeout * 1000))
        plan.operationLimit = operations
        plan.r = try r.map(Self.quorum)
        plan.w = try w.map(Self.quorum)
        plan.seed = seed
        plan.processes = try (pids ?? "").split(separator: ",").map {
            guard let pid = Int($0) else { throw ValidationError("'\($0)' is not a process id") }
            return pid
        }
        return plan
    }

    static func address(_ text: Substring) throws -> (host: String, port: Int) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { throw ValidationError("'\(text)' is not host:port") }
        return (String(text[..<colon]), port)
    }

    private static func distribution(_ text: String) throws -> KeyDistribution {
        if text == "uniform" { return .uniform }
        let parts = text.split(separator: ":")
        let numbers = parts.dropFirst().compactMap { Double($0) }.filter { $0 > 0 && $0 <= 1 }
        if numbers.count == parts.count - 1 {
            let theta = numbers.isEmpty ? 0.99 : numbers[0]
            switch parts.first {
            case "zipfian" where numbers.count <= 1 && theta < 1: return .zipfian(theta: theta)
            case "latest" where numbers.count <= 1 && theta < 1: return .latest(theta: theta)
            case "hotspot" where numbers.count == 2: return .hotspot(keys: numbers[0], requests: numbers[1])
            default: break
            }
        }
        throw ValidationError(
            "--distribution must be uniform, zipfian[:theta] or latest[:theta] with theta between 0 and 1, or "
                + "hotspot:KEYS:REQUESTS with shares up to 1, not '\(text)'")
    }

    /// Riak's numbers for the words.
    private static func quorum(_ text: String) throws -> UInt32 {
        switch text {
        case "one": return 4_294_967_294
        case "quorum": return 4_294_967_293
        case "all": return 4_294_967_292
        default:
            guard let number = UInt32(text), number <= 64 else {
                throw ValidationError("a quorum is a number, one, quorum or all, not '\(text)'")
            }
            return number
        }
    }
}
