import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// A version that expires, over the lanes of four nodes.
@Suite struct ExpiryStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private static var limits: LaneLimits {
        var limits = LaneLimits()
        limits.reaping.isOn = true
        limits.reaping.judgesAge = true
        limits.reaping.maximumAge = .seconds(5)
        limits.reaping.interval = .seconds(1)
        return limits
    }

    /// Its primaries are 1, 2 and 3.
    private var key: ObjectKey {
        (0..<1000).map { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\($0)")) }
            .first { RingSize(partitions: 8)!.partition(of: $0.position).index == 0 }!
    }

    private func put(_ value: String, lifetime: UInt32? = nil, context: CausalContext? = nil) -> ClientRequest {
        var put = PutRequest(key: key, context: context, metadata: ByteBuffer(), value: ByteBuffer(string: value))
        put.lifetimeSeconds = lifetime
        return .put(put)
    }

    private func shown(_ cluster: inout LaneCluster, by node: Int) -> [String] {
        cluster.ask(node, .get(GetRequest(key: key)))
        guard case .get(.found(let object, _)) = cluster.answers.last else { return [] }
        return object.siblings.map { String(buffer: $0.value) }
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    private func expires(at seconds: UInt64) -> WallTime { WallTime(microseconds: seconds * 1_000_000 + 1_000) }

    private static func lww() -> PropertiesTable {
        var properties = BucketProperties()
        properties.conflictMode = .lww
        return PropertiesTable([
            PropertiesEntry(
                scope: .bucket(BucketID(name: ByteBuffer(string: "b"))),
                versioned: VersionedProperties(
                    properties: properties, stamp: HybridTimestamp(rawValue: 1), setBy: NodeID(rawValue: 1)))
        ])
    }

    @Test(arguments: [ConflictMode.siblings, .lww]) func itIsGoneForReadersThenForGood(_ mode: ConflictMode) {
        var cluster = LaneCluster(
            members: 4, properties: mode == .lww ? Self.lww() : PropertiesTable(), limits: Self.limits)
        // A node that is no replica makes an instant of the lifetime, and passes that on.
        cluster.ask(4, put("x", lifetime: 10))
        #expect(cluster.object(key, at: 3)?.siblings.first?.expiry == expires(at: 10))
        #expect(cluster.object(key, at: 3)?.mode == mode)
        cluster.wall(WallTime(microseconds: 10_000_999))
        #expect(shown(&cluster, by: 1) == ["x"])
        if case .get(.found(let object, _)) = cluster.answers.last {
            #expect(object.secondsLeft(of: object.siblings[0]) == 1)
        }
        cluster.wall(expires(at: 10))
        #expect(shown(&cluster, by: 1) == [])
        #expect(cluster.object(key, at: 2)?.siblings.first?.value.readableBytes == 1)
        passes(&cluster, seconds: 4)
        for number in 1...3 {
            #expect(cluster.object(key, at: number)?.isTombstone == true)
        }
        passes(&cluster, seconds: 60)
        #expect(cluster.nodes.allSatisfy { $0.store[key] == nil })
        #expect(cluster.nodes.allSatisfy { $0.lane.reapStatus.isEmpty })
    }

    /// The reader's clock decides for the reader, that of each replica for whether it is removed.
    @Test func aReplicaWhoseClockIsBehindKeepsItForAll() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", lifetime: 10))
        cluster.wall(expires(at: 10))
        cluster.walls[3] = expires(at: 9)
        passes(&cluster, seconds: 30)
        for number in 1...3 {
            #expect(cluster.object(key, at: number)?.siblings.count == 1)
        }
        #expect(shown(&cluster, by: 1) == [])
        #expect(shown(&cluster, by: 3) == ["x"])
        #expect(cluster.nodes[0].lane.reapStatus.first?.expired == 1)
        #expect(cluster.nodes[0].lane.reapStatus.first?.obstacle == .differs(NodeID(rawValue: 3)))
        cluster.walls[3] = expires(at: 10)
        passes(&cluster, seconds: 70)
        #expect(cluster.nodes.allSatisfy { $0.store[key] == nil })
    }

    @Test func aReplicaThatIsAwayKeepsItForAll() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", lifetime: 10))
        cluster.down(3)
        cluster.wall(expires(at: 11))
        passes(&cluster, seconds: 30)
        #expect(cluster.object(key, at: 1)?.siblings.count == 1)
        cluster.up(3)
        passes(&cluster, seconds: 70)
        #expect(cluster.nodes.allSatisfy { $0.store[key] == nil })
    }

    @Test func whatStandsBesideItStays() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", lifetime: 10))
        cluster.ask(2, put("y"))
        #expect(shown(&cluster, by: 1).sorted() == ["x", "y"])
        cluster.wall(expires(at: 10))
        passes(&cluster, seconds: 4)
        for number in 1...3 {
            #expect(cluster.object(key, at: number)?.siblings.map { String(buffer: $0.value) } == ["y"])
        }
        passes(&cluster, seconds: 60)
        #expect(shown(&cluster, by: 3) == ["y"])
    }

    /// What has expired is nothing for a condition, and a write that takes its place begins above its stamp.
    @Test func aConditionTakesItForNothing() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", lifetime: 10))
        var request = PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: "y"))
        request.condition = .ifNoneMatch
        cluster.ask(1, .put(request))
        #expect(cluster.answers.last == .write(.refused(.matchFound)))
        cluster.wall(expires(at: 10))
        cluster.ask(1, .put(request))
        #expect(shown(&cluster, by: 2) == ["y"])
    }
}
