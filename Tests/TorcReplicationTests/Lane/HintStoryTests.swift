import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// A hint from its write to its end, over the lanes of five nodes.
@Suite struct HintStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    /// Its primaries are 1, 2 and 3.
    private var key: ObjectKey {
        (0...).lazy.map { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\($0)")) }
            .first { RingSize(partitions: 8)!.partition(of: $0.position).index == 0 }!
    }

    private func put(_ value: String) -> ClientRequest {
        .put(PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: value)))
    }

    private func values(_ object: VersionedObject?) -> [String] {
        object?.liveSiblings.map { String(buffer: $0.value) }.sorted() ?? []
    }

    private func kept(_ cluster: LaneCluster, _ number: Int, for target: UInt64) -> Int {
        cluster.nodes[number - 1].hints[NodeID(rawValue: target)]?.count ?? 0
    }

    @Test func aHintComesHomeAndGoes() {
        var cluster = LaneCluster(members: 5)
        cluster.down(3)
        cluster.ask(1, put("x"))
        #expect(kept(cluster, 4, for: 3) == 1)
        #expect(cluster.nodes[3].lane.hints[NodeID(rawValue: 3)]?.records == 1)
        #expect(cluster.object(key, at: 3) == nil)
        cluster.up(3)
        cluster.passes(HintDelivery.firstPause)
        #expect(values(cluster.object(key, at: 3)) == ["x"])
        #expect(kept(cluster, 4, for: 3) == 0)
        #expect(cluster.nodes.allSatisfy { $0.lane.isIdle && $0.lane.hints.isEmpty })
        #expect(cluster.observations.contains(.hintDeliveryEnded(NodeID(rawValue: 3), delivered: 1)))
    }

    /// What a copy of the stand-in's store lacks must not be missing in an older copy of the primary's.
    @Test func whileABackupIsMadeAHintStays() {
        var cluster = LaneCluster(members: 5)
        cluster.down(3)
        cluster.ask(1, put("x"))
        cluster.holdRemovals(until: cluster.now.monotonic.advanced(by: .seconds(30)))
        cluster.up(3)
        for _ in 0..<20 { cluster.passes(.seconds(1)) }
        #expect(kept(cluster, 4, for: 3) == 1)
        #expect(cluster.object(key, at: 3) == nil)
        // Nobody has ended it: its time has.
        for _ in 0..<20 { cluster.passes(.seconds(1)) }
        #expect(values(cluster.object(key, at: 3)) == ["x"])
        #expect(kept(cluster, 4, for: 3) == 0)
    }

    @Test func aHintThatIsOnItsWayWhenABackupBeginsStays() {
        var cluster = LaneCluster(members: 5)
        cluster.down(3)
        cluster.ask(1, put("x"))
        cluster.syncs = false
        cluster.up(3)
        cluster.passes(HintDelivery.firstPause)
        cluster.holdRemovals(until: cluster.now.monotonic.advanced(by: .seconds(30)))
        cluster.syncs = true
        cluster.sync()
        #expect(values(cluster.object(key, at: 3)) == ["x"])
        #expect(kept(cluster, 4, for: 3) == 1)
        cluster.holdRemovals(until: .zero)
        for _ in 0..<5 { cluster.passes(.seconds(1)) }
        #expect(kept(cluster, 4, for: 3) == 0)
    }

    @Test func aHintThatChangesWhileItIsDeliveredIsDeliveredAgain() {
        var cluster = LaneCluster(members: 5)
        cluster.down(3)
        cluster.ask(1, put("x"))
        // The target does not sync, and so does not answer; meanwhile more is kept for it.
        cluster.syncs = false
        cluster.up(3)
        cluster.passes(HintDelivery.firstPause)
        #expect(kept(cluster, 4, for: 3) == 1)
        cluster.syncs = true
        cluster.sync()
        cluster.passes(HintDelivery.lastPause)
        #expect(kept(cluster, 4, for: 3) == 0)
        #expect(values(cluster.object(key, at: 3)) == ["x"])
    }

    @Test func withoutAnyPrimaryAFallbackWritesAndAllOfItComesHome() {
        var cluster = LaneCluster(members: 5)
        for primary in 1...3 { cluster.down(primary) }
        cluster.ask(4, put("x"))
        cluster.ask(5, put("y"))
        for answer in cluster.answers {
            guard case .write(.ok(let participation, _)) = answer else {
                Issue.record("\(answer)")
                continue
            }
            #expect(participation == Participation(primaries: 0, fallbacks: 2))
        }
        for primary in 1...3 { cluster.up(primary) }
        for _ in 0..<4 { cluster.passes(HintDelivery.lastPause) }
        for primary in 1...3 { #expect(values(cluster.object(key, at: primary)) == ["x", "y"]) }
        #expect(cluster.nodes.allSatisfy { $0.lane.isIdle && $0.lane.hints.isEmpty })
    }

    @Test func pastItsBoundAStandInRefuses() {
        var limits = LaneLimits()
        limits.hintBytes = 200
        var cluster = LaneCluster(members: 4, limits: limits)
        cluster.down(3)
        for value in 0..<20 { cluster.ask(1, put("value \(value)")) }
        let total = cluster.nodes[3].lane.hints[NodeID(rawValue: 3)]!
        #expect(total.records == 1 && total.bytes <= 200)
        #expect(cluster.observations.contains(.hintsFull(NodeID(rawValue: 3))))
        // What is counted is what the store holds.
        let record = cluster.nodes[3].hints[NodeID(rawValue: 3)]![key]!
        #expect(total.bytes == HintTotal.bytes(of: key, record: record.readableBytes))
    }
}
