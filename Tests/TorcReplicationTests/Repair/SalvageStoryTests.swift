// Damaged partitions, over the lanes of three nodes: a node loses records with a block that it cannot read, copies what
// is left, and gets the rest from its co-owners.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct SalvageStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    /// Until no write is open that counted a lost copy, and a little longer.
    private static let settled = 23

    private static func cluster(scrubs: Bool = false, interval: Int = 1_000) -> LaneCluster {
        var limits = LaneLimits()
        limits.scrub.isOn = scrubs
        limits.scrub.interval = .seconds(interval)
        limits.mending.delay = .seconds(20)
        return LaneCluster(limits: limits)
    }

    private func key(_ place: Int) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\(place)")) }

    private func put(_ place: Int, _ value: String, at number: Int = 1, to cluster: inout LaneCluster) {
        cluster.ask(
            number, .put(PutRequest(key: key(place), metadata: ByteBuffer(), value: ByteBuffer(string: value))))
    }

    /// What a node is answered at quorum; nil: too few could answer.
    private func get(_ place: Int, at number: Int, from cluster: inout LaneCluster) -> [String]? {
        let before = cluster.answers.count
        cluster.ask(number, .get(GetRequest(key: key(place))))
        for _ in 0..<20 where cluster.answers.count == before { cluster.passes(.seconds(1)) }
        switch cluster.answers.last {
        case .get(.found(let object, _)): return object.siblings.map { String(buffer: $0.value) }.sorted()
        case .get(.absent): return []
        default: return nil
        }
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    private func isOk(_ answer: ClientAnswer?) -> Bool {
        if case .write(.ok) = answer { true } else { false }
    }

    private func expectEqual(_ cluster: LaneCluster, _ places: Range<Int>) {
        for place in places {
            let first = cluster.object(key(place), at: 1)
            #expect(first != nil && cluster.object(key(place), at: 2) == first)
            #expect(cluster.object(key(place), at: 3) == first)
        }
        for tree in cluster.nodes[0].lane.leaves.trees {
            #expect(cluster.nodes[1].lane.leaves[tree] == cluster.nodes[0].lane.leaves[tree])
        }
    }

    @Test func whatIsLostComesBack() {
        var cluster = Self.cluster()
        for place in 0..<40 { put(place, "x\(place)", to: &cluster) }
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        #expect(cluster.object(key(5), at: 2) == nil)
        #expect(cluster.nodes[1].lane.salvageStatistics.comparing == 1)
        passes(&cluster, seconds: 3)
        expectEqual(cluster, 0..<40)
        passes(&cluster, seconds: Self.settled)
        #expect(cluster.restored == [placement(5)])
        #expect(cluster.nodes[1].lane.salvageStatistics.restored == 1)
        #expect(cluster.observations.contains(.salvaged(placement(5), lostLeaves: 1)))
        #expect(cluster.observations.contains(.restored(placement(5), differing: 1)))
        expectEqual(cluster, 0..<40)
    }

    private func placement(_ place: Int) -> PartitionID {
        RingSize(partitions: 8)!.partition(of: key(place).position)
    }

    /// The lost copy may be the one in which two quorums met: what is not there says nothing, however long it takes.
    @Test func aLostLeafIsNotRead() {
        var cluster = Self.cluster()
        cluster.down(3)
        put(5, "by two", to: &cluster)
        #expect(isOk(cluster.answers.last))
        cluster.loseBlock(of: key(5), at: 2)
        cluster.down(1)
        cluster.up(3)
        cluster.reportDamage(of: key(5), at: 2)
        passes(&cluster, seconds: 30)
        // Neither says that there is nothing, and the other cannot say it alone.
        #expect(get(5, at: 3, from: &cluster) == nil)
        #expect(get(5, at: 2, from: &cluster) == nil)
        #expect(cluster.restored.isEmpty)
        cluster.up(1)
        passes(&cluster, seconds: 30)
        #expect(cluster.restored == [placement(5)])
        #expect(get(5, at: 2, from: &cluster) == ["by two"])
        #expect(get(5, at: 3, from: &cluster) == ["by two"])
    }

    /// What counted the copy while it was whole may still be on its way to the others when these are compared: it would be
    /// acknowledged by a copy that is gone.
    @Test func aWriteThatCountedTheLostCopyIsWaitedFor() {
        var cluster = Self.cluster()
        cluster.late = [1, 3]
        put(5, "on its way", at: 2, to: &cluster)
        #expect(cluster.answers.isEmpty && cluster.object(key(5), at: 2) != nil)
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        passes(&cluster, seconds: 5)
        cluster.late = [3]
        #expect(isOk(cluster.answers.last))
        #expect(get(5, at: 3, from: &cluster) != [])
        cluster.late = []
        passes(&cluster, seconds: Self.settled)
        #expect(cluster.restored == [placement(5)])
        expectEqual(cluster, 5..<6)
    }

    /// Another replica is asked: what is left out here is there.
    @Test func nothingIsLeftOutOfAListing() {
        var cluster = Self.cluster()
        for place in 0..<20 { put(place, "x", to: &cluster) }
        cluster.down(1)
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        cluster.list(2, .keys(bucket))
        #expect(cluster.pieces.last == .done)
        let listed = cluster.pieces.flatMap { piece -> [String] in
            if case .items(let items) = piece { items.map { String(buffer: $0) } } else { [] }
        }
        #expect(Set(listed) == Set((0..<20).map { "k\($0)" }))
        #expect(cluster.restored.isEmpty)
    }

    /// What is written of a lost leaf is minted by another: what was lost is merged with it, not covered by it.
    @Test func aWriteMeanwhileSwallowsNothing() {
        var cluster = Self.cluster()
        put(5, "before", at: 2, to: &cluster)
        cluster.down(1)
        cluster.down(3)
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        cluster.up(3)
        put(5, "meanwhile", at: 2, to: &cluster)
        #expect(isOk(cluster.answers.last))
        cluster.up(1)
        passes(&cluster, seconds: 30)
        #expect(cluster.restored == [placement(5)])
        #expect(get(5, at: 1, from: &cluster) == ["before", "meanwhile"])
        expectEqual(cluster, 5..<6)
    }

    /// While the store copies, the replica fails, and the others answer for it: also for writes that it is asked to
    /// coordinate.
    @Test func whileItIsCopied() {
        var cluster = Self.cluster()
        for place in 0..<20 { put(place, "x", to: &cluster) }
        cluster.waitingSalvages = []
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        #expect(cluster.waitingSalvages?.count == 1)
        let before = cluster.nodes[1].store[key(5)]
        for number in 1...3 {
            #expect(get(5, at: number, from: &cluster) == ["x"])
        }
        put(5, "y", at: 2, to: &cluster)
        #expect(isOk(cluster.answers.last))
        #expect(cluster.nodes[1].store[key(5)] == before)
        #expect(cluster.nodes[1].lane.salvageStatistics.damaged == 1)
        cluster.salvage()
        passes(&cluster, seconds: Self.settled)
        #expect(cluster.restored == [placement(5)])
        expectEqual(cluster, 0..<20)
        #expect(get(5, at: 2, from: &cluster) == ["x", "y"])
    }

    /// What a record's damage refuses, another replica coordinates.
    @Test func aWriteOfADamagedRecordGoesToAnother() {
        var cluster = Self.cluster()
        put(5, "x", to: &cluster)
        cluster.loseBlock(of: key(5), at: 2)
        put(5, "y", at: 2, to: &cluster)
        #expect(isOk(cluster.answers.last))
        #expect(get(5, at: 2, from: &cluster) == ["x", "y"])
        cluster.loseBlock(of: key(5), at: 1)
        cluster.loseBlock(of: key(5), at: 3)
        put(5, "z", at: 2, to: &cluster)
        #expect(cluster.answers.last == .write(.refused(.unreadable)))
    }

    /// Two replicas would wait for each other: one to be compared with in full, which takes a record that can be read, the
    /// other to be told what to mend it with, which nothing lost can say.
    @Test func aDamagedRecordElsewhereHoldsNothingUp() {
        var cluster = Self.cluster(scrubs: true, interval: 30)
        for place in 0..<20 { put(place, "x\(place)", to: &cluster) }
        cluster.down(3)
        put(5, "missed by one", to: &cluster)
        cluster.up(3)
        cluster.loseBlock(of: key(5), at: 2)
        cluster.damage(key(5), at: 3)
        cluster.reportDamage(of: key(5), at: 2)
        passes(&cluster, seconds: 10)
        #expect(cluster.restored.isEmpty)
        passes(&cluster, seconds: 200)
        #expect(cluster.observations.contains(.mended(key(5), replicas: 2)))
        #expect(cluster.restored == [placement(5)])
        expectEqual(cluster, 0..<20)
    }

    /// A scrub has read the copy when its lane hears of it: the leaf is set right once.
    @Test func aScrubThatHasReadTheCopySetsNothingRight() {
        var cluster = Self.cluster(scrubs: true, interval: 5)
        for place in 0..<20 { put(place, "x\(place)", to: &cluster) }
        cluster.waitingSalvages = []
        cluster.loseBlock(of: key(5), at: 2)
        cluster.reportDamage(of: key(5), at: 2)
        let before = cluster.corrections
        cluster.salvageWhileScrubbed(at: 2)
        #expect(cluster.corrections == before + 1)
        passes(&cluster, seconds: Self.settled)
        #expect(cluster.restored == [placement(5)])
        expectEqual(cluster, 0..<20)
    }

    @Test func whereNothingIsLostItIsWholeAtOnce() {
        var cluster = Self.cluster()
        put(5, "x", to: &cluster)
        cluster.down(1)
        cluster.reportDamage(of: key(5), at: 2)
        #expect(cluster.restored == [placement(5)])
        #expect(get(5, at: 2, from: &cluster) == ["x"])
    }
}
