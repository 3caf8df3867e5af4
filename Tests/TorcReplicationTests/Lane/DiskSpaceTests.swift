import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// What a node takes whose disk is nearly full.
@Suite struct DiskSpaceTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private func key(_ number: Int) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\(number)")) }

    private func put(_ number: Int, _ value: String, w: Quorum = .quorum) -> ClientRequest {
        var request = PutRequest(key: key(number), metadata: ByteBuffer(), value: ByteBuffer(string: value))
        request.options.w = w
        return .put(request)
    }

    private func refusals(_ cluster: LaneCluster) -> [Refusal] {
        cluster.answers.compactMap { if case .write(.refused(let refusal)) = $0 { refusal } else { nil } }
    }

    private func values(_ object: VersionedObject?) -> [String] {
        object?.liveSiblings.map { String(buffer: $0.value) }.sorted() ?? []
    }

    @Test func clientsWritesAreRefusedUntilThereIsSpace() {
        var cluster = LaneCluster()
        cluster.ask(1, put(0, "old"))
        cluster.space(.low, at: 1)
        cluster.ask(1, put(1, "x"))
        #expect(refusals(cluster) == [.diskFull])
        #expect((1...3).allSatisfy { cluster.object(key(1), at: $0) == nil })
        cluster.ask(1, .get(GetRequest(key: key(0))))
        guard case .get(.found)? = cluster.answers.last else {
            Issue.record("\(String(describing: cluster.answers.last))")
            return
        }
        cluster.space(.ample, at: 1)
        cluster.ask(1, put(1, "y"))
        #expect(refusals(cluster).count == 1)
        #expect((1...3).allSatisfy { values(cluster.object(key(1), at: $0)) == ["y"] })
    }

    @Test func othersGoOnWithoutIt() {
        var cluster = LaneCluster()
        cluster.space(.low, at: 3)
        cluster.ask(1, put(0, "x"))
        #expect(refusals(cluster).isEmpty)
        #expect(values(cluster.object(key(0), at: 2)) == ["x"])
        #expect(cluster.object(key(0), at: 3) == nil)
    }

    @Test func itStandsInForNobody() {
        var cluster = LaneCluster(members: 4)
        let number = (0..<100).first { RingSize(partitions: 8)!.partition(of: key($0).position).index == 0 }!
        cluster.down(3)
        cluster.space(.low, at: 4)
        cluster.ask(1, put(number, "x"))
        #expect(refusals(cluster).isEmpty)
        #expect(cluster.nodes[3].lane.hints.isEmpty)
    }

    @Test func hintsWaitForSpace() {
        var cluster = LaneCluster(members: 4)
        let number = (0..<100).first { RingSize(partitions: 8)!.partition(of: key($0).position).index == 0 }!
        cluster.down(3)
        cluster.ask(1, put(number, "x"))
        cluster.space(.low, at: 3)
        cluster.up(3)
        cluster.passes(HintDelivery.firstPause)
        cluster.passes(HintDelivery.lastPause)
        #expect(cluster.object(key(number), at: 3) == nil)
        #expect(cluster.nodes[3].lane.hints[NodeID(rawValue: 3)]?.records == 1)
        cluster.space(.ample, at: 3)
        cluster.passes(HintDelivery.lastPause)
        #expect(values(cluster.object(key(number), at: 3)) == ["x"])
        #expect(cluster.nodes[3].lane.hints.isEmpty)
    }

    @Test(arguments: [DiskSpace.low, .exhausted]) func deletesAndRepairGoOnWhileSomethingIsLeft(space: DiskSpace) {
        var cluster = LaneCluster(repair: RepairLimits())
        cluster.ask(1, put(0, "x"))
        cluster.down(3)
        for number in 1..<20 { cluster.ask(1, put(number, "y")) }
        cluster.space(space, at: 3)
        cluster.up(3)
        for _ in 0..<30 { cluster.passes(.milliseconds(100)) }
        let repaired = (1..<20).count { cluster.object(key($0), at: 3) != nil }
        #expect(repaired == (space == .low ? 19 : 0))
        cluster.ask(3, .delete(DeleteRequest(key: key(0))))
        #expect(refusals(cluster) == (space == .low ? [] : [.diskFull]))
        #expect((1...3).allSatisfy { values(cluster.object(key(0), at: $0)).isEmpty == (space == .low) })
    }

    @Test func theMarksAreTakenBackAboveThemselves() {
        let reserve: UInt64 = 1_000
        #expect(DiskSpace.ample.next(free: 1_000, reserve: reserve) == .ample)
        #expect(DiskSpace.ample.next(free: 999, reserve: reserve) == .low)
        #expect(DiskSpace.ample.next(free: 249, reserve: reserve) == .exhausted)
        #expect(DiskSpace.low.next(free: 1_050, reserve: reserve) == .low)
        #expect(DiskSpace.low.next(free: 1_100, reserve: reserve) == .ample)
        #expect(DiskSpace.exhausted.next(free: 260, reserve: reserve) == .exhausted)
        #expect(DiskSpace.exhausted.next(free: 280, reserve: reserve) == .low)
        #expect(DiskSpace.exhausted.next(free: 2_000, reserve: reserve) == .ample)
        for state in DiskSpace.allCases { #expect(state.next(free: 0, reserve: 0) == .ample) }
    }
}
