// Damaged records, over the lanes of three nodes: found by a scrub or by whoever reads them, fetched from the other
// replicas and written anew.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct MendingStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private static func cluster(records: Int = 256, scrubs: Bool = true, interval: Int = 100) -> LaneCluster {
        var limits = LaneLimits()
        limits.scrub.isOn = scrubs
        limits.scrub.interval = .seconds(interval)
        limits.mending.delay = .seconds(20)
        limits.mending.records = records
        return LaneCluster(limits: limits)
    }

    private func key(_ place: Int) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\(place)")) }

    private func write(_ count: Int, to cluster: inout LaneCluster) {
        for place in 0..<count { put(place, "x", to: &cluster) }
    }

    private func put(_ place: Int, _ value: String, to cluster: inout LaneCluster) {
        cluster.ask(
            1, .put(PutRequest(key: key(place), metadata: ByteBuffer(), value: ByteBuffer(string: value))))
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    private func mends(_ cluster: LaneCluster) -> [LaneObservation] {
        cluster.observations.filter {
            switch $0 {
            case .mended, .notMended: true
            default: false
            }
        }
    }

    private func isReadable(_ place: Int, at number: Int, in cluster: LaneCluster) -> Bool {
        guard let bytes = cluster.nodes[number - 1].store[key(place)] else { return false }
        return (try? Record(decoding: bytes, for: key(place))) != nil
    }

    @Test func aScrubFindsItAndItIsMended() {
        var cluster = Self.cluster()
        write(40, to: &cluster)
        let leaves = cluster.nodes[1].lane.leaves
        cluster.damage(key(5), at: 2)
        passes(&cluster, seconds: 25)
        #expect(!isReadable(5, at: 2, in: cluster) && mends(cluster).isEmpty)
        #expect(cluster.nodes[1].lane.mendStatistics.waiting == 1)
        passes(&cluster, seconds: 25)
        #expect(mends(cluster) == [.mended(key(5), replicas: 2)])
        #expect(cluster.object(key(5), at: 2) == cluster.object(key(5), at: 1))
        #expect(cluster.nodes[1].lane.leaves == leaves && cluster.corrections == 0)
        #expect(cluster.nodes[1].lane.mendStatistics.mended == 1 && cluster.nodes[1].lane.mendStatistics.waiting == 0)
        #expect(cluster.nodes[0].lane.mendStatistics.mended == 0)
        passes(&cluster, seconds: 200)
        #expect(mends(cluster).count == 1)
    }

    /// Whom scrubbing is off for has no one to set the leaf right.
    @Test func nothingIsMendedWhereNothingIsScrubbed() {
        var cluster = Self.cluster(scrubs: false)
        write(3, to: &cluster)
        cluster.damage(key(1), at: 2)
        cluster.ask(2, .get(GetRequest(key: key(1))))
        passes(&cluster, seconds: 100)
        #expect(mends(cluster).isEmpty && !isReadable(1, at: 2, in: cluster))
    }

    /// The leaf counted what was damaged: it is looked at, long before the next walk.
    @Test func whatWasWrittenMeanwhileComesTooAndTheLeafIsSetRight() {
        var cluster = Self.cluster(interval: 100_000)
        write(40, to: &cluster)
        passes(&cluster, seconds: 60)
        cluster.damage(key(5), at: 2)
        put(5, "y", to: &cluster)
        #expect(!isReadable(5, at: 2, in: cluster))
        #expect(cluster.nodes[1].lane.scrubStatistics.walks == 1)
        passes(&cluster, seconds: 40)
        #expect(mends(cluster) == [.mended(key(5), replicas: 2)])
        #expect(cluster.object(key(5), at: 2) == cluster.object(key(5), at: 1))
        #expect(cluster.object(key(5), at: 2)?.siblings.count == 2)
        #expect(cluster.corrections == 1 && cluster.nodes[1].lane.leaves == cluster.nodes[0].lane.leaves)
        #expect(cluster.nodes[1].lane.scrubStatistics.walks == 1)
    }

    /// What only the third holds must not be missed.
    @Test func nothingIsWrittenWhileOneOfTheOthersIsAway() {
        var cluster = Self.cluster()
        write(40, to: &cluster)
        cluster.down(3)
        cluster.damage(key(5), at: 2)
        passes(&cluster, seconds: 80)
        #expect(mends(cluster) == [.notMended(key(5), .unreachable(NodeID(rawValue: 3)))])
        #expect(!isReadable(5, at: 2, in: cluster))
        #expect(cluster.nodes[1].lane.mendStatistics.failed > 1)
        // It backs off: no more than one attempt for each doubling of the pause.
        #expect(cluster.nodes[1].lane.mendStatistics.failed < 10)
        cluster.up(3)
        passes(&cluster, seconds: 80)
        #expect(mends(cluster).last == .mended(key(5), replicas: 2))
    }

    @Test func whatNobodyElseHoldsStaysAsItIs() {
        var cluster = Self.cluster()
        write(10, to: &cluster)
        cluster.damage(key(5), at: 2)
        cluster.lose(key(5), at: 1)
        cluster.lose(key(5), at: 3)
        let bytes = cluster.nodes[1].store[key(5)]
        passes(&cluster, seconds: 60)
        #expect(mends(cluster) == [.notMended(key(5), .absent)])
        #expect(cluster.nodes[1].store[key(5)] == bytes)
        #expect(cluster.nodes[1].lane.mendStatistics.waiting == 0)
    }

    @Test func twoDamagedCopiesOfOneRecordAreNotMendedByOneAnother() {
        var cluster = Self.cluster()
        write(10, to: &cluster)
        cluster.damage(key(5), at: 2)
        cluster.damage(key(5), at: 3)
        passes(&cluster, seconds: 80)
        #expect(!isReadable(5, at: 2, in: cluster) && !isReadable(5, at: 3, in: cluster))
        #expect(
            Set(mends(cluster)) == [
                .notMended(key(5), .refused(NodeID(rawValue: 3), .unreadable)),
                .notMended(key(5), .refused(NodeID(rawValue: 2), .unreadable)),
            ])
    }

    @Test func whatFindsNoRoomIsFoundByTheNextWalk() {
        var cluster = Self.cluster(records: 1)
        write(20, to: &cluster)
        for place in [3, 7, 11] { cluster.damage(key(place), at: 2) }
        passes(&cluster, seconds: 60)
        #expect(mends(cluster).count == 1)
        passes(&cluster, seconds: 300)
        #expect([3, 7, 11].allSatisfy { isReadable($0, at: 2, in: cluster) })
        #expect(mends(cluster).count == 3)
    }

    /// A block that cannot be read names no key; a read of it does.
    @Test func aReadFindsWhatAScrubCannotName() {
        var cluster = Self.cluster()
        write(20, to: &cluster)
        cluster.loseBlock(of: key(3), at: 2)
        passes(&cluster, seconds: 60)
        #expect(mends(cluster).isEmpty)
        cluster.ask(2, .get(GetRequest(key: key(3))))
        passes(&cluster, seconds: 30)
        #expect(mends(cluster) == [.mended(key(3), replicas: 2)])
    }
}
