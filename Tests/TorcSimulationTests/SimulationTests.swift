import Testing
import TorcSimulation

/// Few seeds, because a debug build is slow: `tools/test` runs hundreds in release.
@Suite struct SimulationTests {
    @Test(arguments: [3, 11, 42]) func oneSeedGivesOneTrace(seed: UInt64) {
        let first = Simulation(seed: seed, trace: .hash).run()
        let second = Simulation(seed: seed, trace: .hash).run()
        #expect(first.traceHash == second.traceHash)
        #expect(first.events == second.events)
        #expect(first.events > 1_000, "a run that does nothing is alike, too")
    }

    @Test func seedsDiffer() {
        #expect(Simulation(seed: 3, trace: .hash).run().traceHash != Simulation(seed: 4, trace: .hash).run().traceHash)
    }

    @Test func theTraceDoesNotChangeTheRun() {
        let plain = Simulation(seed: 7).run()
        let traced = Simulation(seed: 7, trace: .lines).run()
        #expect(plain.events == traced.events)
        #expect(plain.acknowledgedWrites == traced.acknowledgedWrites)
        #expect(!traced.trace.isEmpty)
    }

    @Test func noSeedBreaksAPromise() {
        var acknowledged = 0
        for seed in UInt64(1)...40 {
            let result = Simulation(seed: seed).run()
            #expect(result.violation == nil, "seed \(seed): \(result.violation?.description ?? "")")
            acknowledged += result.acknowledgedWrites
        }
        #expect(acknowledged > 1_000)
    }

    /// A storm goes on until so many faults have struck.
    @Test func noStormBreaksAPromise() {
        for seed in UInt64(1)...10 {
            let result = Simulation(seed: seed, leastFaults: 200).run()
            #expect(result.violation == nil, "seed \(seed): \(result.violation?.description ?? "")")
            #expect(result.faults >= 200)
        }
    }

    @Test func whatNeverHappenedIsNamed() {
        #expect(Coverage().missing == Coverage.Site.allCases)
        #expect(Coverage.Site.allCases.count <= UInt128.bitWidth)
        let quiet = Simulation(seed: 2).run()
        #expect(quiet.faults == 0 && quiet.coverage.missing.contains(.kill))
        #expect(!quiet.coverage.missing.contains(.write))
    }
}
