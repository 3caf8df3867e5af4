import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Replicas that differ become alike without a read.
@Suite struct RepairTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private func key(_ number: Int) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\(number)")) }

    private func put(_ number: Int, _ value: String) -> ClientRequest {
        .put(
            PutRequest(key: key(number), context: nil, metadata: ByteBuffer(), value: ByteBuffer(string: value)))
    }

    private func differing(_ cluster: LaneCluster, _ keys: Range<Int>) -> Int {
        keys.count { number in Set((1...3).map { cluster.object(key(number), at: $0) }).count > 1 }
    }

    private func wait(_ cluster: inout LaneCluster, steps: Int) {
        for _ in 0..<steps { cluster.passes(.milliseconds(100)) }
    }

    @Test func whatANodeMissedComesBackByItself() {
        var cluster = LaneCluster(repair: RepairLimits())
        for number in 0..<20 { cluster.ask(1, put(number, "old")) }
        cluster.down(3)
        for number in 10..<60 { cluster.ask(1, put(number, "new")) }
        #expect(differing(cluster, 0..<60) == 50)
        cluster.up(3)
        wait(&cluster, steps: 30)
        #expect(differing(cluster, 0..<60) == 0)
        #expect(cluster.sent["readResult", default: 0] > 0)
        let leaves = cluster.nodes.map { $0.lane.leaves }
        #expect(leaves[0] == leaves[1] && leaves[1] == leaves[2])
        #expect(cluster.nodes.allSatisfy { $0.lane.isIdle })
    }

    @Test func smallPagesAndTurnsFindEverything() {
        var limits = RepairLimits()
        limits.pageEntries = 1
        limits.spanLeaves = 2
        limits.keysInFlight = 1
        limits.keysInExchange = 3
        var cluster = LaneCluster(repair: limits)
        cluster.down(2)
        for number in 0..<40 { cluster.ask(1, put(number, "a")) }
        cluster.up(2)
        cluster.down(3)
        for number in 30..<70 { cluster.ask(2, put(number, "b")) }
        cluster.up(3)
        wait(&cluster, steps: 200)
        #expect(differing(cluster, 0..<70) == 0)
    }

    /// Refused for want of room, an exchange sends fewer at once: the next one would be refused as it was.
    @Test func aReplicaWithRoomForOneKeyIsRepairedKeyByKey() {
        var limits = LaneLimits()
        limits.unsyncedOperations = 1
        var cluster = LaneCluster(limits: limits, repair: RepairLimits())
        cluster.down(3)
        for number in 0..<160 { cluster.ask(1, put(number, "x")) }
        cluster.syncs = false
        cluster.up(3)
        for _ in 0..<400 {
            cluster.passes(.milliseconds(20))
            cluster.sync()
        }
        #expect(cluster.observations.contains(.overloaded))
        #expect(differing(cluster, 0..<160) == 0)
    }

    /// An exchange that gives way begins at the first leaf again, and must come past what it cannot mend.
    @Test func keysThatCannotBeReadDoNotKeepOthersFromRepair() {
        var limits = RepairLimits()
        limits.keysInExchange = 1
        var cluster = LaneCluster(repair: limits)
        for number in 0..<20 { cluster.ask(1, put(number, "old")) }
        for number in 0..<20 { cluster.damage(key(number), at: 3) }
        cluster.down(3)
        for number in 0..<40 { cluster.ask(1, put(number, "new")) }
        cluster.up(3)
        wait(&cluster, steps: 300)
        #expect(differing(cluster, 20..<40) == 0)
    }

    @Test func equalTreesCostOneQuestionAPair() {
        var limits = RepairLimits()
        limits.operationsPerSecond = 1_000_000
        var cluster = LaneCluster(repair: limits)
        for number in 0..<20 { cluster.ask(1, put(number, "x")) }
        // The trees were empty when they were compared first: those wait three times as long.
        cluster.passes(.seconds(91))
        let before = cluster.sent
        cluster.passes(.seconds(31))
        cluster.passes(.seconds(1))
        // Eight partitions, three pairs of owners each; those without records are compared more seldom.
        let questions = cluster.sent["compare", default: 0] - before["compare", default: 0]
        #expect((1...24).contains(questions))
        #expect(cluster.sent["read"] == before["read"])
        #expect(cluster.sent["write"] == before["write"])
    }

    @Test func theBudgetBounds() {
        var limits = RepairLimits()
        limits.operationsPerSecond = 10
        var cluster = LaneCluster(repair: limits)
        cluster.down(3)
        for number in 0..<100 { cluster.ask(1, put(number, "x")) }
        cluster.up(3)
        let before = differing(cluster, 0..<100)
        #expect(before == 100)
        wait(&cluster, steps: 20)
        // Two nodes begin exchanges with the third, each with ten steps a second and what a pause has saved.
        #expect(differing(cluster, 0..<100) >= 40)
    }

    /// Steps of 20 ms, in each of which clients ask for a key so many times.
    private func differing(afterSteps steps: Int, requestsPerStep: Int) -> Int {
        var limits = RepairLimits()
        limits.operationsPerSecond = 100
        var cluster = LaneCluster(repair: limits)
        cluster.ask(1, put(1_000, "x"))
        cluster.down(3)
        for number in 0..<200 { cluster.ask(1, put(number, "x")) }
        cluster.up(3)
        for _ in 0..<steps {
            for _ in 0..<requestsPerStep { cluster.ask(1, put(1_000, "x")) }
            cluster.passes(.milliseconds(20))
        }
        return differing(cluster, 0..<200)
    }

    @Test func itGivesWayToClientsAndNeverStandsStill() {
        let idle = differing(afterSteps: 50, requestsPerStep: 0)
        let busy = differing(afterSteps: 50, requestsPerStep: 10)
        #expect(idle < 100, "a second of two nodes' steps")
        #expect((120..<200).contains(busy), "500 requests a second leave a tenth")
        #expect(differing(afterSteps: 500, requestsPerStep: 10) < busy - 40)
    }

    @Test func theBudgetOfAnOperation() {
        var limits = RepairLimits()
        limits.operationsPerSecond = 1_000
        /// Steps in a second that begins after a pause, with so many operations for clients a millisecond.
        func steps(clients: Int, from start: UInt64 = 10_000_000_000, _ budget: inout RepairBudget) -> Int {
            var steps = 0
            for millisecond in UInt64(0)..<1_000 {
                let now = MonotonicTime(nanoseconds: start + millisecond * 1_000_000)
                for _ in 0..<clients { budget.giveWay(at: now) }
                while budget.opens <= now {
                    budget.spend(operations: 1, at: now)
                    steps += 1
                }
            }
            return steps
        }
        var idle = RepairBudget(limits)
        #expect((1_000...1_101).contains(steps(clients: 0, &idle)), "a second's, and what a pause saves")
        var busy = RepairBudget(limits)
        #expect((100...111).contains(steps(clients: 100, &busy)))
        #expect(steps(clients: 0, from: 12_000_000_000, &busy) >= 1_000, "nothing is owed a second later")
    }

    @Test func aPersonMayAskForIt() {
        var limits = RepairLimits()
        limits.isOn = false
        var cluster = LaneCluster(repair: limits)
        cluster.down(3)
        for number in 0..<30 { cluster.ask(1, put(number, "x")) }
        cluster.up(3)
        wait(&cluster, steps: 50)
        #expect(differing(cluster, 0..<30) == 30)
        cluster.repair(3)
        wait(&cluster, steps: 50)
        #expect(differing(cluster, 0..<30) == 0)
        #expect(cluster.reports.count == 1)
        #expect(cluster.reports.last?.pairs == 16)
        #expect(cluster.reports.last?.compared == 16)
        #expect(cluster.reports.last?.differing ?? 0 >= 30)
    }

    @Test func aPersonIsToldWhoCouldNotBeCompared() {
        var cluster = LaneCluster(repair: RepairLimits())
        wait(&cluster, steps: 5)
        cluster.down(2)
        cluster.repair(3)
        wait(&cluster, steps: 20)
        #expect(cluster.reports.last?.pairs == 16)
        #expect(cluster.reports.last?.compared == 8)
    }

    @Test func anotherRingIsNotCompared() {
        let ring = Ring(
            epoch: 1, size: RingSize(partitions: 8)!,
            owners: (0..<8).map { NodeID(rawValue: UInt64($0 % 3 + 1)) })
        let configuration = LaneConfiguration(
            node: NodeID(rawValue: 1), lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: 1),
            hashSeed: HashSeed(rawValue: 42))
        var repair = Repair(configuration: configuration, placement: Placement(ring), properties: PropertiesTable())
        let leaves = LeafTable(layout: LeafLayout(ringSize: ring.size))
        func ask(_ fingerprint: RingFingerprint, _ tree: TreeID) -> RepairEffect? {
            var effects: [RepairEffect] = []
            let question = TreeQuestion(
                operation: OperationID(rawValue: 5), ring: fingerprint, tree: tree,
                subject: .root(ContentHash(rawValue: 1)))
            repair.asked(question, by: NodeID(rawValue: 2), leaves, &effects)
            return effects.first
        }
        func refused(_ refusal: TreeRefusal) -> RepairEffect {
            .send(.compared(OperationID(rawValue: 5), .refused(refusal)), to: NodeID(rawValue: 2))
        }
        let here = RingFingerprint(of: ring)
        let tree = TreeID(partition: PartitionID(0), copies: 3)
        #expect(ask(RingFingerprint(rawValue: here.rawValue ^ 1), tree) == refused(.otherRing))
        #expect(ask(here, TreeID(partition: PartitionID(0), copies: 1)) == refused(.notHeld))
        #expect(ask(here, TreeID(partition: PartitionID(9), copies: 3)) == refused(.malformed))
        guard case .send(.compared(_, .branches(let branches)), _)? = ask(here, tree) else {
            Issue.record("a question of the same ring is not answered")
            return
        }
        #expect(branches.count == 256)
    }

    @Test func anEndedRingHasAnotherFingerprint() {
        let owners = (0..<8).map { NodeID(rawValue: UInt64($0 % 3 + 1)) }
        let size = RingSize(partitions: 8)!
        let first = RingFingerprint(of: Ring(epoch: 1, size: size, owners: owners))
        #expect(first != RingFingerprint(of: Ring(epoch: 2, size: size, owners: owners)))
        #expect(first != RingFingerprint(of: Ring(epoch: 1, size: size, owners: owners.reversed())))
    }
}
