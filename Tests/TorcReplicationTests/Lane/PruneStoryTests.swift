import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// A vector that has grown long and becomes short again, over the lanes of four nodes.
@Suite struct PruneStoryTests {
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

    /// As if so many coordinators had written the key, and what they wrote had been replaced.
    private func history(_ count: UInt64) -> CausalContext {
        CausalContext(
            clock: VersionVector((1...count).map { Dot(actor: Actor(rawValue: $0), counter: 3) }),
            latestTimestamp: .zero)
    }

    private func put(
        _ value: String, _ context: CausalContext? = nil, condition: WriteCondition? = nil
    ) -> ClientRequest {
        var put = PutRequest(key: key, context: context, metadata: ByteBuffer(), value: ByteBuffer(string: value))
        put.condition = condition
        return .put(put)
    }

    private func read(_ cluster: inout LaneCluster, by node: Int) -> CausalContext? {
        cluster.ask(node, .get(GetRequest(key: key)))
        guard case .get(.found(let object, _)) = cluster.answers.last else { return nil }
        return object.context
    }

    private func lengths(_ cluster: LaneCluster) -> [Int] {
        (1...3).map { cluster.object(key, at: $0)?.clock.entries.count ?? 0 }
    }

    private func values(_ cluster: LaneCluster) -> [[String]] {
        (1...3).map { cluster.object(key, at: $0)?.liveSiblings.map { String(buffer: $0.value) } ?? [] }
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    @Test func whatIsOfNoUseGoes() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        #expect(lengths(cluster) == [10, 10, 10])
        passes(&cluster, seconds: 4)
        #expect(lengths(cluster) == [10, 10, 10])
        #expect(cluster.nodes[0].lane.reapStatus.first?.vectors == 1)
        passes(&cluster, seconds: 20)
        #expect(lengths(cluster) == [1, 1, 1] && values(cluster) == [["x"], ["x"], ["x"]])
        for node in cluster.nodes.prefix(3) {
            #expect(node.lane.reapStatistics.pruned == 1)
            #expect(node.lane.reapStatus.isEmpty)
        }
    }

    @Test func aFewEntriesAreLeftAlone() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(7)))
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [8, 8, 8])
        #expect(cluster.nodes[0].lane.reapStatistics.rounds == 0)
    }

    /// Each replica goes on with the actor that it has, so that those of all three stay.
    @Test func whatReplicasMintWithStays() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        cluster.ask(2, put("y", read(&cluster, by: 2)))
        cluster.ask(3, put("z", read(&cluster, by: 3)))
        #expect(lengths(cluster) == [12, 12, 12])
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [3, 3, 3] && values(cluster) == [["z"], ["z"], ["z"]])
    }

    @Test(arguments: [3, 4]) func aMemberThatIsAwayHoldsItUp(_ away: Int) {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        cluster.down(away)
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [10, 10, 10])
        #expect(cluster.nodes[0].lane.reapStatus.first?.obstacle == .unreachable(NodeID(rawValue: UInt64(away))))
        cluster.up(away)
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [1, 1, 1])
    }

    /// It is told nothing that it does not know, and asked again when it has been upgraded.
    @Test func aReplicaOfAnOlderVersionHoldsItUp() {
        var cluster = LaneCluster(members: 4, limits: Self.limits, features: [3: []])
        cluster.ask(1, put("x", history(9)))
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [10, 10, 10])
        #expect(cluster.nodes[0].lane.reapStatus.first?.obstacle == .olderVersion(NodeID(rawValue: 3)))
        #expect(cluster.told.allSatisfy { $0.requiredFeatures.isEmpty })
        cluster.down(3)
        cluster.features = [:]
        cluster.up(3)
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [1, 1, 1])
    }

    /// A node that is no replica is asked nothing new.
    @Test func aMemberOfAnOlderVersionThatIsNoReplicaDoesNot() {
        var cluster = LaneCluster(members: 4, limits: Self.limits, features: [4: []])
        cluster.ask(1, put("x", history(9)))
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [1, 1, 1])
    }

    /// It comes back as an older version when it has agreed already.
    @Test func aReplicaThatIsSetBackMeanwhileHoldsItUp() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        passes(&cluster, seconds: 4)
        let asked = cluster.told.count { !$0.requiredFeatures.isEmpty }
        #expect(asked > 0)
        cluster.down(2)
        cluster.features = [2: []]
        cluster.up(2)
        passes(&cluster, seconds: 60)
        #expect(lengths(cluster) == [10, 10, 10])
        #expect(cluster.told.count { !$0.requiredFeatures.isEmpty } == asked)
    }

    @Test func aHintHoldsItUp() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("w", history(9)))
        cluster.down(3)
        let context = read(&cluster, by: 1)
        cluster.ask(1, put("x", context))
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [10, 10, 10])
        cluster.up(3)
        passes(&cluster, seconds: 90)
        #expect(lengths(cluster) == [1, 1, 1] && values(cluster) == [["x"], ["x"], ["x"]])
    }

    /// A context from before brings the entries back, and nothing that they had seen; then they go again.
    @Test func aContextFromBeforeDoesNoHarm() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        let context = read(&cluster, by: 1)
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [1, 1, 1])
        cluster.ask(2, put("y", context))
        #expect(lengths(cluster) == [11, 11, 11] && values(cluster) == [["y"], ["y"], ["y"]])
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [2, 2, 2] && values(cluster) == [["y"], ["y"], ["y"]])
    }

    /// Nothing was written since, so a write on condition of that goes through; after it no more.
    @Test func aConditionFromBeforeHolds() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        let context = read(&cluster, by: 1)!
        passes(&cluster, seconds: 30)
        #expect(lengths(cluster) == [1, 1, 1])
        cluster.ask(2, put("y", context, condition: .ifNotModified(context.clock)))
        #expect(values(cluster) == [["y"], ["y"], ["y"]])
        cluster.ask(2, put("z", context, condition: .ifNotModified(context.clock)))
        #expect(values(cluster) == [["y"], ["y"], ["y"]])
    }

    /// What is written while the round waits has seen no more of those that are gone.
    @Test func whatIsWrittenMeanwhileIsPrunedToo() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        passes(&cluster, seconds: 4)
        cluster.ask(2, put("y"))
        #expect(lengths(cluster) == [11, 11, 11] && values(cluster).allSatisfy { $0.sorted() == ["x", "y"] })
        passes(&cluster, seconds: 4)
        #expect(lengths(cluster) == [2, 2, 2] && values(cluster).allSatisfy { $0.sorted() == ["x", "y"] })
    }

    /// A round takes longer than this key is ever left alone.
    @Test func aKeyThatIsWrittenAllTheTimeIsPruned() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", history(9)))
        for number in 0..<30 {
            passes(&cluster, seconds: 1)
            cluster.ask(2, put("y\(number)", read(&cluster, by: 1)))
        }
        #expect(lengths(cluster).allSatisfy { $0 <= 3 }, "\(lengths(cluster))")
        #expect(values(cluster) == [["y29"], ["y29"], ["y29"]])
    }
}
