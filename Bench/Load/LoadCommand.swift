// `torc bench load`.

package import ArgumentParser
import Foundation
import NIOCore

/// Measures a running cluster over its protocol-buffers port.
package struct LoadCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Measure a running cluster: closed loop or fixed rate, puts, gets or a mix.",
        discussion: """
            Examples:
              torc bench load --preload --put                 100,000 keys of 1 KiB, then puts for 10 s
              torc bench load --get --pipeline 16             gets, 16 under way a connection
              torc bench load --read-share 0.9 --distribution zipfian:0.99 --rate 5000
              torc bench load --put --bucket fast --context none   in an lww bucket: no contexts

            At a fixed --rate latencies count from when a request was due, so a stall is not hidden.
            """)

    @Option(help: "Addresses, host:port, separated by commas.")
    var targets = "127.0.0.1:8087,127.0.0.1:8097,127.0.0.1:8107"
    @Option(help: "Connections, spread over the targets.") var connections = 64
    @Option(help: "Requests under way a connection.") var pipeline = 1
    @Option(help: "Event loops of the generator.") var threads = 1
    @Flag(help: "Puts only (the default).") var put = false
    @Flag(help: "Gets only.") var get = false
    @Option(help: "Share of gets, 0 to 1.") var readShare: Double?
    @Option(help: "Number of keys.") var keys: UInt64 = 100_000
    @Option(help: "uniform, or zipfian[:theta].") var distribution = "uniform"
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
    @Flag(help: "Write every key once first.") var preload = false
    @Flag(help: "Only write every key once.") var preloadOnly = false
    @Option(help: "Write the JSON to this file as well; '-' prints it instead of the table.") var json: String?

    package init() {}

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
            if preloadOnly { return }
            contexts = result.contexts
        }
        let report = LoadReport(plan: plan, result: try await runner.run(contexts: contexts))
        if json == "-" { print(try report.json) } else { print(report.table) }
        if let json, json != "-" { try Data((report.json + "\n").utf8).write(to: URL(fileURLWithPath: json)) }
        if report.latencies.isEmpty { throw ExitCode.failure }
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
        guard [put, get, readShare != nil].filter({ $0 }).count <= 1 else {
            throw ValidationError("give one of --put, --get and --read-share")
        }
        plan.readShare = get ? 1 : readShare ?? 0
        guard (0...1).contains(plan.readShare) else { throw ValidationError("--read-share must be 0 to 1") }
        plan.keyCount = UInt64(try positive(Int(clamping: keys), "keys", 1 << 40))
        plan.distribution = try Self.distribution(distribution)
        guard (0...(64 << 20)).contains(valueBytes) else {
            throw ValidationError("--value-bytes must be 0 to \(64 << 20)")
        }
        plan.valueBytes = valueBytes
        plan.bucket = bucket
        guard let known = PutContext(rawValue: context) else { throw ValidationError("--context must be last or none") }
        plan.context = known
        plan.rate = rate
        if let rate, !(rate > 0) { throw ValidationError("--rate must be above 0") }
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

    private static func address(_ text: Substring) throws -> (host: String, port: Int) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { throw ValidationError("'\(text)' is not host:port") }
        return (String(text[..<colon]), port)
    }

    private static func distribution(_ text: String) throws -> KeyDistribution {
        if text == "uniform" { return .uniform }
        let parts = text.split(separator: ":")
        if parts.first == "zipfian", parts.count <= 2 {
            let theta = parts.count == 2 ? Double(parts[1]) : 0.99
            if let theta, theta > 0, theta < 1 { return .zipfian(theta: theta) }
        }
        throw ValidationError("--distribution must be uniform or zipfian[:theta] with theta between 0 and 1")
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
