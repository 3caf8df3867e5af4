// Small versions of what `torc-simulate scale` measures. docs/SCALE.md has the figures of the large ones; the
// bounds here are twice and more of what was measured.

import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcSimulation
import TorcWire

@Suite struct ScaleTests {
    private static func run(_ plan: ClusterScalePlan) -> ClusterScaleReport {
        var buffer = ByteBuffer()
        var scale = ClusterScale(plan) { message in
            buffer.clear()
            PeerMessageCodec.encode(message, into: &buffer)
            return buffer.readableBytes + PeerFrame.headBytes
        }
        return scale.run()
    }

    private static func bound(_ value: Double?, _ most: Double, _ what: String) {
        #expect((value ?? .infinity) <= most, "\(what): \(value.map { "\($0)" } ?? "never")")
    }

    @Test func aHundredAndFiftyNodesKnowEverythingInTime() {
        var plan = ClusterScalePlan(nodes: 150, lossPerMille: 10)
        plan.restPeriods = 20
        plan.trials = 1
        plan.partitions = 1_024
        let report = Self.run(plan)
        #expect(report.falseDeaths == 0)
        #expect(report.isComplete)
        let trial = report.trials[0]
        Self.bound(report.start.all, 40, "start")
        Self.bound(trial.suspected.all, 8, "suspected")
        Self.bound(trial.dead.all, 30, "dead")
        Self.bound(trial.returned.all, 5, "returned")
        Self.bound(trial.build.all, 6, "build")
        Self.bound(trial.ringAnswered, 4, "ring agreed on")
        Self.bound(trial.ring.all, 20, "ring")
        Self.bound(trial.joined.all, 24, "joined")
        // Who did not hear of it at once does by the next digests, twenty periods later.
        Self.bound(trial.property.all, 45, "property")
        Self.bound(trial.missedProperty, 25, "missed property")
        Self.bound(trial.missedRing, 10, "missed ring")

        // Probes are a matter of the period alone, exchanges and gossip next to nothing.
        #expect((8...20).contains(report.probes.messages), "\(report.probes)")
        #expect(report.exchanges.messages + report.properties.messages + report.rings.messages < 4)
        #expect(report.total.bytes < 2_500, "\(report.total)")
        // A returning node is sent a few copies of table and ring, not one from each.
        #expect(trial.bytesToReturning < 400_000, "\(trial.bytesToReturning)")
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func fivePercentOfLossKillNobody(seed: UInt64) {
        var plan = ClusterScalePlan(nodes: 24, lossPerMille: 50)
        plan.restPeriods = 300
        plan.trials = 0
        plan.scopes = 10
        plan.partitions = 128
        plan.seed = seed
        let report = Self.run(plan)
        #expect(report.falseDeaths == 0)
        #expect(report.start.all != nil)
    }

    @Test func oneSeedGivesOneRun() {
        func run() -> String {
            var plan = ClusterScalePlan(nodes: 9, lossPerMille: 50)
            plan.restPeriods = 20
            plan.trials = 2
            plan.partitions = 64
            return "\(Self.run(plan))"
        }
        #expect(run() == run())
    }

    // MARK: Claim

    @Test func theLeastIsCountedRight() {
        #expect(ClaimScale.leastMoves([8, 8, 0], partitions: 16) == 5)
        #expect(ClaimScale.leastMoves([6, 5, 5], partitions: 16) == 0)
        #expect(ClaimScale.leastMoves([4, 4, 4], partitions: 16) == 4, "four are nobody's")
        #expect(ClaimScale.leastMoves([16, 0, 0, 0], partitions: 16) == 12)
    }

    @Test func joinsMoveTheLeastAndLeavesAlmost() {
        var scale = ClaimScale(partitions: 512, seed: 1)
        var last = scale.first(4)
        #expect(last.heldEvenness == 1)
        for _ in 4..<40 {
            last = scale.join()
            #expect(last.moved == last.least, "\(last)")
            #expect(last.repeatedNodes == 0 && last.ownedEvenness > 0.92, "\(last)")
        }
        for _ in 6..<40 {
            last = scale.leave()
            // Where few members leave little choice some more.
            #expect(last.moved <= last.least + (last.members > 10 ? 2 : 6), "\(last)")
            #expect(last.repeatedNodes == 0, "\(last)")
        }
    }

    // MARK: The paper's strategies

    @Test func equalSharesAreMoreEvenWithLess() {
        let comparison = PlacementComparison(rings: 5, keys: 20_000, seed: 1)
        let ours = comparison.equalShares(partitions: 1_024)
        #expect(ours.uniform.worst > 0.97)
        #expect(ours.skewed.mean > 0.9, "many keys are popular")
        #expect(ours.hot.mean < 0.7, "no placement helps where few are")
        for strategy in [PlacementStrategy.randomTokens, .randomTokensEqualPartitions] {
            let few = comparison.tokens(strategy, tokens: 8)
            let many = comparison.tokens(strategy, tokens: 256)
            #expect(few.stateBytes > ours.stateBytes && many.stateBytes > 30 * ours.stateBytes)
            #expect(few.uniform.mean < many.uniform.mean && many.uniform.mean < ours.uniform.mean)
        }
    }
}
