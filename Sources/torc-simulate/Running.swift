// What torc-simulate prints.

import ArgumentParser
import Foundation
import TorcModel
import TorcSimulation

/// Unbuffered: a worker may not come to flush.
@Sendable private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// A deliberate fault, from here on; nil: none.
func switchOn(_ name: String?) throws -> Mutation? {
    guard let name else { return nil }
    guard let fault = Mutation(rawValue: name) else {
        throw ValidationError("no deliberate fault is named \(name)")
    }
    #if TORC_MUTATIONS
        Mutation.active = fault
        return fault
    #else
        throw ValidationError(
            "this build has no deliberate faults: build with TORC_MUTATIONS=1 (\(fault.rawValue))")
    #endif
}

extension Simulate {
    func parse(_ text: String) -> ClosedRange<UInt64>? {
        let ends = text.components(separatedBy: "..").compactMap(UInt64.init)
        return ends.count == 2 && ends[0] <= ends[1] ? ends[0]...ends[1] : nil
    }

    /// So many seeds must come to every message and every fault there is.
    private static let coveringSeeds = 500

    private var replay: String {
        (faults > 0 ? " --faults \(faults)" : "") + (mutation.map { " --mutation \($0)" } ?? "")
    }

    /// One seed: its trace or hash if asked for, and what went wrong.
    func report(_ seed: UInt64, trace mode: Trace.Mode) throws {
        let result = Simulation.run(seed: seed, leastFaults: faults, trace: mode)
        for line in result.trace { print(line) }
        if traceHash { print(hexadecimal(result.traceHash)) }
        guard let violation = result.violation else {
            if !traceHash {
                print(
                    "seed \(seed): ok, \(result.operations) operations, \(result.acknowledgedWrites) acknowledged writes, "
                        + "\(result.faults) faults, \(result.restarts) restarts, \(result.virtualTime) ms of virtual time"
                )
            }
            return
        }
        if mode != .lines { for line in result.traceTail { print(line) } }
        print("seed \(seed): \(violation)")
        print("replay: torc-simulate --seed \(seed) --trace\(replay)")
        throw ExitCode(1)
    }

    /// As a worker: one line before and one after each seed.
    func work(_ range: ClosedRange<UInt64>) {
        for seed in range {
            say(WorkerLine.begins(seed))
            let result = Simulation(seed: seed, leastFaults: faults).run()
            say(WorkerLine.ends(result))
            if stopAtFirst, result.violation != nil { return }
        }
    }

    func runAll(_ range: ClosedRange<UInt64>, _ fault: Mutation?) throws {
        let started = Date()
        let seeds = SeedRange(
            seeds: range, jobs: jobs, leastFaults: faults, mutation: fault, stopsAtFirst: stopAtFirst)
        let summary = seeds.run(executable: CommandLine.arguments[0], progress: say)
        let elapsed = Date().timeIntervalSince(started)
        say("\(summary.description), \(String(format: "%.1f", elapsed)) s")
        let missing = summary.coverage.missing
        if fault == nil, range.count >= Self.coveringSeeds, !missing.isEmpty {
            say("never happened: \(missing.map { "\($0)" }.joined(separator: ", "))")
            throw ExitCode(1)
        }
        guard let first = summary.violations.first else { return }
        say("replay: torc-simulate --seed \(first.seed) --trace\(replay)")
        throw ExitCode(1)
    }
}
