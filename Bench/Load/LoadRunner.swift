// Runs a plan: preloads when asked, connects, waits for the end, adds up.

package import Histogram
package import NIOCore
import NIOPosix

/// What a run measured.
package struct LoadResult: Sendable {
    package var seconds: Double
    /// By `LoadKind.rawValue`.
    package var latencies: [Histogram<UInt64>]
    /// Refused at once, as there was too much to do; among the errors, too.
    package var refusals: Histogram<UInt64>
    package var timeline: LoadTimeline
    /// Texts and counts, the whole run over, warm-up included.
    package var errors: [(text: String, count: UInt64)]
    package var notFound: UInt64
    package var operations: UInt64
    /// The context last seen for each key.
    package var contexts: [ByteBuffer?]
    /// Processor time that the plan's processes took while the run was measured.
    package var cpuSeconds: Double?
    /// What was done to nodes meanwhile, by its beginning.
    package var faults: [StruckFault] = []

    package var answered: UInt64 { latencies.reduce(0) { $0 + $1.totalCount } }

    /// All kinds together.
    var all: Histogram<UInt64> {
        var sum = Self.histogram()
        for histogram in latencies { sum.add(histogram) }
        return sum
    }

    /// Nothing was measured.
    static func empty(_ duration: Duration) -> LoadResult {
        LoadResult(
            seconds: 0, latencies: LoadKind.allCases.map { _ in histogram() }, refusals: histogram(),
            timeline: LoadTimeline(duration: duration), errors: [], notFound: 0, operations: 0, contexts: [])
    }

    static func histogram() -> Histogram<UInt64> {
        Histogram<UInt64>(highestTrackableValue: 120_000_000_000, numberOfSignificantValueDigits: .three)
    }

    package var puts: Histogram<UInt64> { latencies[LoadKind.put.rawValue] }
}

struct LoadFailure: Error, CustomStringConvertible {
    var description: String
}

package struct LoadRunner {
    package var plan: LoadPlan

    package init(plan: LoadPlan) { self.plan = plan }

    /// Writes every key once.
    package func preload() async throws -> LoadResult {
        var plan = plan
        plan.mix = LoadMix()
        plan.rate = nil
        plan.warmup = .zero
        plan.operationLimit = nil
        plan.duration = .seconds(3600)
        return try await Self.run(plan, preloading: true, contexts: nil)
    }

    /// `contexts`: what a preload has seen, so that the first put of a key knows the version that it replaces.
    package func run(contexts: [ByteBuffer?]?) async throws -> LoadResult {
        try await Self.run(plan, preloading: false, contexts: contexts)
    }

    /// The same, while nodes of this machine are struck.
    package func run(contexts: [ByteBuffer?]?, faults: LoadFaults) async throws -> LoadResult {
        let striker = FaultRunner(faults)
        try striker.check()
        async let struck = striker.run(from: .now + plan.warmup)
        var result = try await Self.run(plan, preloading: false, contexts: contexts)
        result.faults = try await struck
        return result
    }

    private static func run(_ plan: LoadPlan, preloading: Bool, contexts: [ByteBuffer?]?) async throws -> LoadResult {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: plan.threads)
        let parts: [LoadResult]
        do {
            let owners = plan.isRingAware ? try await LoadOwners.ask(plan, on: group.next()) : nil
            parts = try await withThrowingTaskGroup(of: LoadResult.self) { tasks in
                for index in 0..<plan.threads {
                    let loop = group.next()
                    let share = preloading ? slice(of: plan.keyCount, part: index, of: plan.threads) : nil
                    tasks.addTask {
                        try await runLoop(
                            plan, index: index, loop: loop, preload: share, contexts: contexts, owners: owners)
                    }
                }
                var parts: [LoadResult] = []
                for try await part in tasks { parts.append(part) }
                return parts
            }
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
        return merge(parts)
    }

    private static func slice(of count: UInt64, part: Int, of parts: Int) -> Range<UInt64> {
        (count * UInt64(part) / UInt64(parts))..<(count * UInt64(part + 1) / UInt64(parts))
    }

    private static func runLoop(
        _ plan: LoadPlan, index: Int, loop: any EventLoop, preload: Range<UInt64>?, contexts: [ByteBuffer?]?,
        owners: LoadOwners?
    ) async throws -> LoadResult {
        let mine = (0..<plan.connections).filter { $0 % plan.threads == index }
        let result = loop.makePromise(of: LoadResult.self)
        loop.execute {
            let state = LoadState(plan: plan, loop: index, preload: preload, contexts: contexts, owners: owners)
            let start = NIODeadline.now()
            state.recordFrom = start + TimeAmount(plan.warmup)
            let cpu = NIOLoopBound(CPUMeter(processes: index == 0 ? plan.processes : []), eventLoop: loop)
            loop.scheduleTask(deadline: state.recordFrom) { cpu.value.begin() }
            state.stopAt = state.recordFrom + TimeAmount(plan.duration)
            LoadDialer(state: state, loop: loop, start: start, connections: mine) {
                cpu.value.end()
                let measured = min(NIODeadline.now(), state.stopAt) - state.recordFrom
                result.succeed(
                    LoadResult(
                        seconds: Double(max(0, measured.nanoseconds)) / 1e9, latencies: state.latencies,
                        refusals: state.refusals, timeline: state.timeline,
                        errors: state.errors.map { ($0.key, $0.value) }, notFound: state.notFound,
                        operations: state.operations, contexts: state.contexts, cpuSeconds: cpu.value.seconds))
            }
        }
        return try await result.futureResult.get()
    }

    private static func merge(_ parts: [LoadResult]) -> LoadResult {
        var total = parts[0]
        var errors: [String: UInt64] = [:]
        for part in parts { for (text, count) in part.errors { errors[text, default: 0] += count } }
        for part in parts.dropFirst() {
            total.seconds = max(total.seconds, part.seconds)
            for index in total.latencies.indices { total.latencies[index].add(part.latencies[index]) }
            total.refusals.add(part.refusals)
            total.timeline.add(part.timeline)
            total.notFound += part.notFound
            total.operations += part.operations
            total.cpuSeconds = total.cpuSeconds ?? part.cpuSeconds
            while total.contexts.count < part.contexts.count { total.contexts.append(nil) }
            for (key, context) in part.contexts.enumerated() where context != nil { total.contexts[key] = context }
        }
        total.errors = errors.map { ($0.key, $0.value) }.sorted { $0.1 == $1.1 ? $0.0 < $1.0 : $0.1 > $1.1 }
        return total
    }
}
