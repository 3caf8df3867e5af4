// torc-simulate: whole clusters in virtual time, drawn from seeds.

import ArgumentParser
import Foundation
import TorcModel
import TorcSimulation

struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "torc-simulate",
        abstract:
            "Runs simulated clusters from seeds and checks what they promise. Exits with 1 when a promise is broken.",
        subcommands: [SimulateScale.self, PlayScenario.self])

    @Option(help: "One seed.") var seed: UInt64?
    @Option(help: "A range of seeds, A..B, both included.") var seeds: String?
    @Option(help: "Of each seed: none is quiet, and clients go on until so many faults have struck.") var faults = 0
    @Option(help: "Worker processes.") var jobs = ProcessInfo.processInfo.activeProcessorCount
    @Flag(help: "Print the trace of the seed.") var trace = false
    @Flag(help: "Print the hash of the seed's trace.") var traceHash = false
    @Option(help: "A deliberate fault to switch on; the build must have them.") var mutation: String?
    @Flag(help: "Name the deliberate faults.") var listMutations = false
    @Flag(help: "Stop at the first violation.") var stopAtFirst = false
    @Flag(help: .hidden) var worker = false

    func run() throws {
        if listMutations { return print(Mutation.simulated.map(\.rawValue).joined(separator: "\n")) }
        let fault = try switchOn(mutation)
        if let seed {
            try report(seed, trace: trace ? .lines : traceHash ? .hash : .off)
        } else if let seeds, let range = parse(seeds) {
            worker ? work(range) : try runAll(range, fault)
        } else {
            throw ValidationError("give --seed S or --seeds A..B")
        }
    }
}

Simulate.main()
