// A put over sockets: nodes of this build as processes of their own, driven by the load generator; the nodes themselves say
// what each stage took (`/stats`), Linux what their threads did.

import Foundation
import Histogram
import NIOCore
import TorcLoad
import TorcWire

final class ServedPath {
    /// Before the first round: caches, memtables and the allocator come to rest.
    private static let warmUp = Duration.seconds(1)
    private static let traceTime = Duration.milliseconds(1500)
    private static let traceLimit = Duration.seconds(20)
    /// System calls that are named; the others are added up.
    private static let namedCalls = 8

    private let cluster: LocalCluster
    private let folder: String
    private var plan: LoadPlan
    private var contexts: [ByteBuffer?]?

    init(nodes: Int, folder: String, binary: String, settings: WritePathReport.Settings) async throws {
        self.folder = folder
        cluster = try LocalCluster(nodes: nodes, folder: folder, binary: binary)
        plan = LoadPlan(targets: cluster.targets)
        plan.connections = settings.connections
        plan.keyCount = UInt64(settings.keys)
        plan.valueBytes = settings.valueBytes
        plan.warmup = .zero
        do {
            let preloaded = try await LoadRunner(plan: plan).preload()
            try Self.check(preloaded)
            contexts = preloaded.contexts
            _ = try await load(for: Self.warmUp)
        } catch {
            cluster.stop()
            throw error
        }
    }

    func stop() { cluster.stop() }

    private static func check(_ result: LoadResult) throws {
        if let error = result.errors.first { throw BenchFailure("\(error.count) puts failed: \(error.text)") }
    }

    private func load(for duration: Duration) async throws -> LoadResult {
        plan.duration = duration
        plan.seed &+= 1
        let result = try await LoadRunner(plan: plan).run(contexts: contexts)
        try Self.check(result)
        contexts = result.contexts
        return result
    }

    func round(seconds: Double, into level: inout Level) async throws {
        let nodes = try cluster.statistics(), processes = try ProcessFigures(of: cluster.processes)
        let result = try await load(for: .milliseconds(Int64(seconds * 1000)))
        let used = try ProcessFigures(of: cluster.processes), after = try cluster.statistics()
        guard result.answered > 0 else {
            throw BenchFailure("no put was answered in \(seconds) s: give more --seconds")
        }
        let puts = Double(result.answered)
        func difference(_ path: (NodeFigures) -> Double) -> Double {
            zip(nodes, after).reduce(0) { $0 + path($1.1) - path($1.0) }
        }
        func cpu(_ kind: ThreadKind) -> Double { ((used.cpu[kind] ?? 0) - (processes.cpu[kind] ?? 0)) * 1e6 / puts }

        var spent = 0.0
        for (stage, name) in Self.stages {
            // Of each node the turns that were timed stand for all.
            let microseconds = zip(nodes, after).reduce(0.0) { sum, node in
                let timed = node.1.stages.timed_turns - node.0.stages.timed_turns
                let nanoseconds = (node.1.stages.ns[stage.name] ?? 0) - (node.0.stages.ns[stage.name] ?? 0)
                return timed > 0 ? sum + nanoseconds / 1000 * (node.1.stages.turns - node.0.stages.turns) / timed : sum
            }
            spent += microseconds / puts
            level.add(name, microseconds / puts, unit: Self.unit, isStage: true)
        }
        level.add("loop: waits, sockets read", max(0, cpu(.loops) - spent), unit: Self.unit, isStage: true)
        level.add("sync thread", cpu(.sync), unit: Self.unit, isStage: true)
        level.add("flush and compaction", cpu(.store), unit: Self.unit, isStage: true)
        level.add("other threads", cpu(.others), unit: Self.unit, isStage: true)

        level.add("puts", puts / result.seconds, unit: "a second", better: .more)
        level.add("processor time, all nodes", (used.allCPU - processes.allCPU) * 1e6 / puts, unit: "µs")
        level.add("latency, median", Double(result.puts.valueAtPercentile(50)) / 1e6, unit: "ms")
        level.add("latency, p99", Double(result.puts.valueAtPercentile(99)) / 1e6, unit: "ms")
        let taken = difference(\.stages.taken), released = difference(\.sync.count)
        if taken > 0 { level.add("wait for the lane, mean", difference(\.stages.waited_ns) / taken / 1000, unit: "µs") }
        if released > 0 { level.add("wait for a sync, mean", difference(\.sync.total_us) / released, unit: "µs") }
        level.addStore(
            log: difference(\.store.log_bytes_written), flush: difference(\.store.flush_bytes),
            compaction: difference(\.store.compaction_written_bytes), syncs: difference(\.store.log_syncs),
            operations: puts, valueBytes: plan.valueBytes)
        let timed = difference(\.stages.timed_turns)
        if timed > 0 { level.add("stages left out", difference(\.stages.interruptions) / timed, unit: "a timed turn") }
        level.add("batches", difference(\.commits) / puts, unit: "a put")
        level.add("turns of a loop", difference(\.stages.turns) / puts, unit: "a put")
        level.add("events of lanes", difference(\.events) / puts, unit: "a put", better: .neither)
        level.add("messages between nodes", difference(\.messages_sent) / puts, unit: "a put")
        level.add("waits of threads", Double(used.waits - processes.waits) / puts, unit: "a put")
        if let before = processes.calls, let after = used.calls {
            level.add("reads and writes (system calls)", Double(after - before) / puts, unit: "a put")
        }
        if let before = processes.diskBytes, let after = used.diskBytes {
            level.add(
                "sent to the disk", Double(after - before) / (puts * Double(max(1, plan.valueBytes))),
                unit: "bytes a byte of value")
        }
        if (nodes + after).allSatisfy({ $0.allocations != nil }) {
            level.add("allocations", difference { $0.allocations?.count ?? 0 } / puts, unit: "a put")
            level.add("bytes allocated", difference { $0.allocations?.bytes ?? 0 } / puts, unit: "a put")
        }
    }

    /// A short run under strace, which slows the nodes down: it counts calls and nothing else. Says why it cannot.
    func trace(with strace: Tool, into level: inout Level) async throws -> String? {
        let output = "\(folder)/strace"
        let process = try strace.start(
            ["-c", "-f", "-o", output] + cluster.processes.flatMap { ["-p", "\($0)"] }, output: "\(folder)/strace.log")
        // Until it has taken hold of every thread.
        usleep(500_000)
        guard process.isRunning else {
            let said = (try? String(contentsOfFile: "\(folder)/strace.log", encoding: .utf8)) ?? ""
            return "strace cannot attach here: \(said.split(separator: "\n").first ?? "it says nothing")"
        }
        let result = try await load(for: Self.traceTime)
        process.terminate()
        let end = ContinuousClock.now + Self.traceLimit
        while process.isRunning, ContinuousClock.now < end { usleep(10_000) }
        if process.isRunning {
            process.terminate()
            return "strace did not end within \(Self.traceLimit)"
        }
        let calls = SystemCalls.summary((try? String(contentsOfFile: output, encoding: .utf8)) ?? "")
        guard !calls.isEmpty, result.answered > 0 else { return "strace counted nothing" }
        let puts = Double(result.answered)
        level.add("system calls, under strace", Double(calls.reduce(0) { $0 + $1.calls }) / puts, unit: "a put")
        for (name, count) in calls.prefix(Self.namedCalls) {
            level.add("  \(name), under strace", Double(count) / puts, unit: "a put")
        }
        return nil
    }

    private static let unit = "µs"
    private static let stages: [(LoopStage, String)] = [
        (.parse, "parse"), (.coordination, "coordination"), (.peers, "peers: messages handled"),
        (.read, "read of the old record"), (.merge, "merge"), (.record, "encode and leaf"), (.batch, "batch"),
        (.commit, "log and memtable"), (.release, "release"), (.peersIn, "peers: frames in"),
        (.peersOut, "peers: frames out"), (.answer, "reply: encode"), (.clientSockets, "reply: sockets"),
        (.turn, "lane: events and effects"),
    ]
}
