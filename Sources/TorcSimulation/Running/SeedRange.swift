// Many seeds, in processes of their own: a precondition that fails in the core ends one of them, is a finding
// like any other, and the rest go on.

import Foundation
package import TorcModel

/// What a worker says of one seed, as a line on its standard output.
package enum WorkerLine {
    /// Said before a seed is run, so that the parent knows whose end an abrupt one is.
    package static func begins(_ seed: UInt64) -> String { "begin \(seed)" }

    package static func ends(_ result: SimulationResult) -> String {
        "end \(result.seed) \(result.operations) \(result.acknowledgedWrites) \(result.faults) \(result.restarts) "
            + "\(result.coverage.bits) \(result.violation?.description ?? "ok")"
    }
}

/// What a range of seeds came to.
package struct SeedSummary: Sendable {
    package var seeds = 0
    package var operations = 0
    package var acknowledgedWrites = 0
    package var faults = 0
    package var restarts = 0
    /// Of the seed that had the fewest.
    package var fewestFaults = Int.max
    package var coverage = Coverage()
    /// Ascending by seed.
    package var violations: [(seed: UInt64, message: String)] = []

    package init() {}

    package var description: String {
        "\(seeds) seeds, \(operations) operations, \(acknowledgedWrites) acknowledged writes, \(faults) faults "
            + "(\(fewestFaults == .max ? 0 : fewestFaults) or more in each), \(restarts) restarts: "
            + "\(violations.count) violations"
    }
}

package struct SeedRange {
    package var seeds: ClosedRange<UInt64>
    package var jobs: Int
    package var leastFaults: Int
    package var mutation: Mutation?
    package var stopsAtFirst: Bool
    /// Seeds that a worker takes at a time.
    private var chunk: UInt64 { stopsAtFirst ? 20 : 50 }

    package init(
        seeds: ClosedRange<UInt64>, jobs: Int, leastFaults: Int = 0, mutation: Mutation?, stopsAtFirst: Bool
    ) {
        self.seeds = seeds
        self.jobs = jobs
        self.leastFaults = leastFaults
        self.mutation = mutation
        self.stopsAtFirst = stopsAtFirst
    }

    /// Runs them all; `progress` hears of every finished seed that broke a promise, and now and then of the count.
    package func run(executable: String, progress: @escaping @Sendable (String) -> Void) -> SeedSummary {
        let board = Board(range: self, progress: progress)
        let threads = (0..<max(1, jobs)).map { _ in
            Thread { board.work(executable: executable, mutation: mutation) }
        }
        board.begin(workers: threads.count)
        for thread in threads { thread.start() }
        return board.wait()
    }

    /// What the threads that drive the workers share.
    private final class Board: @unchecked Sendable {
        private let condition = NSCondition()
        private let range: SeedRange
        private let progress: @Sendable (String) -> Void
        private var next: UInt64
        private var summary = SeedSummary()
        private var working = 0
        private let started = Date()

        init(range: SeedRange, progress: @escaping @Sendable (String) -> Void) {
            self.range = range
            self.progress = progress
            next = range.seeds.lowerBound
        }

        func begin(workers: Int) { working = workers }

        func wait() -> SeedSummary {
            condition.lock()
            defer { condition.unlock() }
            while working > 0 { condition.wait() }
            summary.violations.sort { $0.seed < $1.seed }
            return summary
        }

        private func takeChunk() -> ClosedRange<UInt64>? {
            condition.lock()
            defer { condition.unlock() }
            guard next <= range.seeds.upperBound, !(range.stopsAtFirst && !summary.violations.isEmpty) else {
                return nil
            }
            let first = next
            let last = min(range.seeds.upperBound, first + range.chunk - 1)
            next = last + 1
            return first...last
        }

        func work(executable: String, mutation: Mutation?) {
            while let chunk = takeChunk() {
                var rest: ClosedRange<UInt64>? = chunk
                while let seeds = rest { rest = runWorker(seeds, executable: executable, mutation: mutation) }
            }
            condition.lock()
            working -= 1
            condition.broadcast()
            condition.unlock()
        }

        /// Answers the seeds that are left when the worker ended before its time.
        private func runWorker(
            _ seeds: ClosedRange<UInt64>, executable: String, mutation: Mutation?
        ) -> ClosedRange<UInt64>? {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: executable)
            process.arguments = ["--seeds", "\(seeds.lowerBound)..\(seeds.upperBound)", "--worker"]
            if range.stopsAtFirst { process.arguments!.append("--stop-at-first") }
            if range.leastFaults > 0 { process.arguments! += ["--faults", "\(range.leastFaults)"] }
            if let mutation { process.arguments! += ["--mutation", mutation.rawValue] }
            let output = Pipe()
            let errors = Pipe()
            process.standardOutput = output
            process.standardError = errors
            var environment = ProcessInfo.processInfo.environment
            environment["SWIFT_BACKTRACE"] = "enable=no"
            process.environment = environment
            let lastWords = LastWords()
            errors.fileHandleForReading.readabilityHandler = { lastWords.append($0.availableData) }
            do { try process.run() } catch {
                note(seeds.lowerBound, "the worker does not start: \(error)")
                return nil
            }
            var running: UInt64?
            var buffer = Data()
            while true {
                let data = output.fileHandleForReading.availableData
                if data.isEmpty { break }
                buffer.append(data)
                while let newline = buffer.firstIndex(of: 10) {
                    running = read(String(decoding: buffer[..<newline], as: UTF8.self)) ?? running
                    buffer = Data(buffer[(newline + 1)...])
                }
            }
            process.waitUntilExit()
            errors.fileHandleForReading.readabilityHandler = nil
            guard process.terminationReason == .uncaughtSignal else { return nil }
            let victim = running ?? seeds.lowerBound
            note(victim, "trap: \(lastWords.line)")
            if range.stopsAtFirst { return nil }
            return victim < seeds.upperBound ? victim + 1...seeds.upperBound : nil
        }

        /// Answers the seed that a line says is being run.
        private func read(_ line: String) -> UInt64? {
            let words = line.split(separator: " ", maxSplits: 7).map(String.init)
            if words.count == 2, words[0] == "begin" { return UInt64(words[1]) }
            guard words.count == 8, words[0] == "end", let seed = UInt64(words[1]) else { return nil }
            condition.lock()
            summary.operations += Int(words[2]) ?? 0
            summary.acknowledgedWrites += Int(words[3]) ?? 0
            summary.faults += Int(words[4]) ?? 0
            summary.restarts += Int(words[5]) ?? 0
            // What ended early because of a violation counts as that.
            summary.coverage.formUnion(Coverage(bits: UInt128(words[6]) ?? 0))
            if words[7] == "ok" { summary.fewestFaults = min(summary.fewestFaults, Int(words[4]) ?? 0) }
            condition.unlock()
            note(seed, words[7] == "ok" ? nil : words[7])
            return nil
        }

        private func note(_ seed: UInt64, _ message: String?) {
            condition.lock()
            defer { condition.unlock() }
            summary.seeds += 1
            if let message {
                summary.violations.append((seed, message))
                progress("seed \(seed): \(message)")
            }
            if summary.seeds % 1_000 == 0 {
                let rate = Double(summary.seeds) / Date().timeIntervalSince(started)
                progress("\(summary.seeds) seeds, \(Int(rate)) a second, \(summary.violations.count) violations")
            }
        }
    }

    /// The end of what a worker wrote to its standard error: where a precondition says why.
    private final class LastWords: @unchecked Sendable {
        private let lock = NSLock()
        private var text = Data()

        func append(_ data: Data) {
            lock.lock()
            defer { lock.unlock() }
            text.append(data)
            if text.count > 1 << 16 { text = Data(text.suffix(1 << 15)) }
        }

        var line: String {
            lock.lock()
            defer { lock.unlock() }
            let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
            return String(lines.first { $0.contains("Fatal error") } ?? lines.last ?? "no word")
        }
    }
}
