import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// A tombstone from its write to its end, over the lanes of four nodes.
@Suite struct ReapStoryTests {
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
    private func key(_ place: Int = 0) -> ObjectKey {
        // Bounded: `filter` of an unbounded range may be the one that collects.
        (0..<1000).map { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\($0)")) }
            .filter { RingSize(partitions: 8)!.partition(of: $0.position).index == 0 }[place]
    }

    private func put(_ value: String, _ key: ObjectKey) -> ClientRequest {
        .put(PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: value)))
    }

    private func copies(_ cluster: LaneCluster, _ key: ObjectKey) -> Int {
        cluster.nodes.count { $0.store[key] != nil }
    }

    private func graves(_ cluster: LaneCluster, _ key: ObjectKey) -> Int {
        cluster.nodes.count { $0.store[key].map { try! Record(decoding: $0, for: key).isGrave } ?? false }
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    /// A lane that holds nothing has nothing to walk: a time that has passed would keep its processor busy.
    @Test func whoHoldsNothingWaitsForNoWalk() {
        var cluster = LaneCluster(members: 3, others: 1, limits: Self.limits)
        passes(&cluster, seconds: 60)
        for node in cluster.nodes {
            #expect(node.lane.nextDeadline.map { $0 > cluster.now.monotonic } ?? true)
        }
    }

    @Test func aTombstoneIsBuriedAndThenForgottenByAll() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", key()))
        cluster.ask(1, .delete(DeleteRequest(key: key())))
        #expect(copies(cluster, key()) == 3)
        passes(&cluster, seconds: 4)
        #expect(copies(cluster, key()) == 3 && graves(cluster, key()) == 0)
        passes(&cluster, seconds: 60)
        #expect(copies(cluster, key()) == 0)
        for node in cluster.nodes {
            #expect(node.lane.leaves.trees.allSatisfy { node.lane.leaves[$0]!.allSatisfy { $0 == 0 } })
            #expect(node.lane.reapStatus.isEmpty)
        }
        // Written again it is a new object.
        cluster.ask(2, put("y", key()))
        #expect(cluster.object(key(), at: 3)?.clock.entries.count == 1)
    }

    @Test(arguments: [3, 4]) func aMemberThatIsAwayHoldsItUp(_ away: Int) {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", key()))
        cluster.ask(1, .delete(DeleteRequest(key: key())))
        cluster.down(away)
        passes(&cluster, seconds: 60)
        #expect(copies(cluster, key()) == 3 && graves(cluster, key()) == 0)
        #expect(
            cluster.nodes[0].lane.reapStatus.first?.obstacle == .unreachable(NodeID(rawValue: UInt64(away))))
        cluster.up(away)
        passes(&cluster, seconds: 60)
        #expect(copies(cluster, key()) == 0)
    }

    @Test func aHintHoldsItUp() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", key()))
        cluster.down(3)
        // Node 4 keeps the tombstone for node 3, which holds what it covers.
        cluster.ask(1, .delete(DeleteRequest(key: key())))
        passes(&cluster, seconds: 30)
        #expect(copies(cluster, key()) == 3 && graves(cluster, key()) == 0)
        cluster.up(3)
        passes(&cluster, seconds: 90)
        #expect(copies(cluster, key()) == 0)
    }

    /// For as long as it says, and no longer; one node is enough.
    @Test(arguments: [true, false]) func whileABackupIsMadeNothingIsReaped(_ isAtAll: Bool) {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", key()))
        cluster.ask(1, .delete(DeleteRequest(key: key())))
        // A round is under way.
        passes(&cluster, seconds: 3)
        let end = cluster.now.monotonic.advanced(by: .seconds(60))
        if isAtAll { cluster.holdRemovals(until: end) } else { cluster.holdRemovals(until: end, at: 4) }
        passes(&cluster, seconds: 59)
        #expect(copies(cluster, key()) == 3 && graves(cluster, key()) == 0)
        passes(&cluster, seconds: 90)
        #expect(copies(cluster, key()) == 0)
    }

    @Test func whatComesBeforeTheBurialStays() {
        var cluster = LaneCluster(members: 4, limits: Self.limits)
        cluster.ask(1, put("x", key()))
        cluster.ask(1, .delete(DeleteRequest(key: key())))
        passes(&cluster, seconds: 3)
        cluster.ask(3, put("y", key()))
        passes(&cluster, seconds: 60)
        for number in 1...3 {
            #expect(cluster.object(key(), at: number)?.liveSiblings.map { String(buffer: $0.value) } == ["y"])
        }
    }

    /// What a sender read too long ago, or nobody can say when, changes nothing.
    @Test func aWriteWithoutAFreshTokenIsRefused() {
        let size = RingSize(partitions: 8)!
        let node = NodeID(rawValue: 1)
        let incarnation = Incarnation(rawValue: 7)
        var lane = Lane(
            configuration: LaneConfiguration(
                node: node, lane: 0, laneCount: 1, incarnation: incarnation, hashSeed: HashSeed(rawValue: 42),
                limits: Self.limits),
            placement: Placement(Ring(epoch: 1, size: size, owners: Array(repeating: node, count: 8))),
            properties: PropertiesTable(),
            leaves: LeafTable(layout: LeafLayout(ringSize: size)), generator: SeededGenerator(seed: 1))
        var object = VersionedObject(mode: .siblings)
        object.put(
            Sibling(dot: Dot(actor: Actor(rawValue: 1), counter: 1), timestamp: HybridTimestamp(rawValue: 1)),
            context: VersionVector(), mode: .siblings)
        let now = Now(monotonic: MonotonicTime(nanoseconds: 100_000_000_000), wall: WallTime(microseconds: 1))
        var number: UInt64 = 0
        func outcome(_ token: LinkToken?) -> WriteOutcome? {
            number += 1
            let write = ReplicaWrite(
                operation: OperationID(rawValue: number), key: key(), copies: 1, epoch: 1, body: object.encoded,
                token: token)
            var events: [LaneEvent] = [.peer(from: NodeID(rawValue: 2), .write(write))]
            var outcome: WriteOutcome?
            while let event = events.popLast() {
                var effects: [LaneEffect] = []
                lane.handle(event, now: now, effects: &effects)
                for effect in effects {
                    switch effect {
                    case .read(let token, _, _): events.append(.recordRead(token, .absent))
                    case .commit: outcome = .stored
                    case .send(.wrote(_, let answer), _): outcome = answer
                    default: break
                    }
                }
                if events.isEmpty, case .recordRead = event { events.append(.turnEnded) }
            }
            return outcome
        }
        #expect(outcome(nil) == .failed(.stale))
        let old = MonotonicTime(nanoseconds: 95_000_000_000)
        #expect(outcome(LinkToken(incarnation: incarnation, time: old)) == .failed(.stale))
        let other = Incarnation(rawValue: 8)
        #expect(outcome(LinkToken(incarnation: other, time: now.monotonic)) == .failed(.stale))
        let fresh = MonotonicTime(nanoseconds: 95_000_000_001)
        #expect(outcome(LinkToken(incarnation: incarnation, time: fresh)) == .stored)
    }
}
