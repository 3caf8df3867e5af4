import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// A node joins three others, and copies move to it, over the lanes of four nodes.
@Suite struct MoveStoryTests {
    private static let size = RingSize(partitions: 8)!
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    /// Nodes 1, 2, 3 in turn; as `LaneCluster` begins.
    private let former = Ring(epoch: 1, size: size, owners: (0..<8).map { NodeID(rawValue: UInt64($0 % 3 + 1)) })
    /// Node 4 comes in for node 1 where the key is: 2, 3, 4.
    private let next = Ring(epoch: 2, size: size, owners: [2, 3, 4, 1, 2, 3, 4, 1].map { NodeID(rawValue: $0) })

    private var copying: Placement {
        Placement(
            phase: .copying, ring: next, former: former, floor: 2, fingerprint: RingFingerprint(rawValue: 2))
    }

    private var retiring: Placement {
        let ring = Ring(epoch: 3, size: Self.size, owners: next.owners)
        return Placement(
            phase: .retiring, ring: ring, former: former, floor: 2, fingerprint: RingFingerprint(rawValue: 3))
    }

    private var settled: Placement { Placement(Ring(epoch: 4, size: Self.size, owners: next.owners)) }

    /// In partition 0: replicas 1, 2, 3 and then 2, 3, 4.
    private func key(_ number: Int) -> ObjectKey {
        Array(
            (0...).lazy.map { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\($0)")) }
                .filter { Self.size.partition(of: $0.position).index == 0 }.prefix(number + 1))[number]
    }

    private func put(_ number: Int, _ value: String, _ options: QuorumOptions = QuorumOptions()) -> ClientRequest {
        var put = PutRequest(key: key(number), metadata: ByteBuffer(), value: ByteBuffer(string: value))
        put.options = options
        return .put(put)
    }

    private func get(_ number: Int) -> ClientRequest { .get(GetRequest(key: key(number))) }

    private func values(_ object: VersionedObject?) -> [String] {
        object?.liveSiblings.map { String(buffer: $0.value) }.sorted() ?? []
    }

    private func values(_ answer: ClientAnswer?) -> [String]? {
        guard case .get(.found(let object, _))? = answer else { return nil }
        return object.siblings.map { String(buffer: $0.value) }.sorted()
    }

    private func isOK(_ answer: ClientAnswer?) -> Bool {
        guard case .write(.ok)? = answer else { return false }
        return true
    }

    private func made(lanes: LaneLimits = LaneLimits()) -> LaneCluster {
        var limits = RepairLimits()
        limits.operationsPerSecond = 100_000
        limits.bytesPerSecond = 1 << 30
        var cluster = LaneCluster(others: 1, partitions: 8, limits: lanes, repair: limits)
        for number in 0..<5 { cluster.ask(1, put(number, "v\(number)")) }
        return cluster
    }

    private func wait(_ cluster: inout LaneCluster, _ seconds: Int = 2) {
        for _ in 0..<seconds * 20 { cluster.passes(.milliseconds(50)) }
    }

    @Test func copiesMoveAndWhoGaveThemHoldsNothing() {
        var cluster = made()
        cluster.follow(copying)
        wait(&cluster)
        for number in 0..<5 { #expect(values(cluster.object(key(number), at: 4)) == ["v\(number)"]) }
        let told = cluster.progress[4]!
        #expect(told.placement == copying.fingerprint)
        #expect(told.report.pending == 0)
        #expect(told.report.total > 0)
        #expect(told.report.compares & HandoffReport.bit(3) != 0)
        #expect(cluster.progress[1]!.report.holds & HandoffReport.bit(3) != 0)
        cluster.follow(retiring)
        wait(&cluster)
        #expect(values(cluster.object(key(0), at: 1)) == ["v0"], "it takes part until everybody knows")
        cluster.follow(settled)
        wait(&cluster)
        for number in 0..<5 {
            #expect(cluster.object(key(number), at: 1) == nil)
            for node in 2...4 { #expect(values(cluster.object(key(number), at: node)) == ["v\(number)"]) }
        }
        #expect(cluster.nodes.allSatisfy { $0.lane.isIdle })
        cluster.ask(1, get(2))
        #expect(values(cluster.answers.last) == ["v2"])
    }

    /// A queue that is full refuses to remove a record: it is asked again.
    @Test func whatCouldNotBeClearedOutAtOnceIsClearedOutLater() {
        var lanes = LaneLimits()
        lanes.parkedOperations = 2
        var cluster = made(lanes: lanes)
        cluster.follow(copying)
        wait(&cluster)
        cluster.follow(retiring)
        wait(&cluster)
        cluster.follow(settled)
        wait(&cluster, 10)
        let wasFull = cluster.observations.contains(.overloaded)
        #expect(wasFull)
        for number in 0..<5 { #expect(cluster.object(key(number), at: 1) == nil) }
    }

    /// W in each list: two nodes of each, not two of four.
    @Test func aWriteNeedsItsQuorumInBothLists() {
        var cluster = made()
        cluster.follow(copying)
        wait(&cluster)
        cluster.down(3)
        cluster.down(4)
        var strict = QuorumOptions()
        strict.sloppyQuorum = false
        cluster.ask(1, put(0, "w", strict))
        // Of 1, 2, 3 there are two, of 2, 3, 4 there is one.
        #expect(cluster.answers.last == .write(.refused(.unreachable(needed: 2, reachable: 1))))
        cluster.up(3)
        cluster.ask(1, put(0, "w", strict))
        #expect(isOK(cluster.answers.last))
    }

    @Test func aWriteOfTheFormerRingIsRefusedAndGoesOnByTheNext() {
        var cluster = made()
        // Node 1 has not heard of the change: 2, 3 and 4 have.
        cluster.follow(copying, except: 1)
        let answers = cluster.answers.count
        var all = QuorumOptions()
        all.w = .all
        cluster.ask(1, put(0, "late", all))
        #expect(cluster.answers.count == answers, "nobody takes it by the former ring")
        cluster.follow(1)
        #expect(cluster.answers.count == answers + 1)
        #expect(isOK(cluster.answers.last))
        for node in 1...4 { #expect(values(cluster.object(key(0), at: node)).contains("late")) }
    }

    @Test func aReadIsHeldByBothListsBeforeItIsAnswered() {
        var cluster = made()
        cluster.follow(copying)
        wait(&cluster)
        // Nodes 1 and 2 take a write of which its client hears nothing, 3 and 4 do not.
        cluster.down(3)
        cluster.down(4)
        var one = QuorumOptions()
        one.w = .one
        one.dw = .one
        one.dw = .one
        one.sloppyQuorum = false
        cluster.ask(1, put(1, "half", one))
        #expect(isOK(cluster.answers.last))
        #expect(!values(cluster.object(key(1), at: 4)).contains("half"))
        cluster.up(4)
        cluster.ask(1, get(1))
        #expect(values(cluster.answers.last)?.contains("half") == true)
        #expect(values(cluster.object(key(1), at: 4)).contains("half"), "or a read of 3 and 4 would not show it")
    }

    @Test func aSourceThatIsAwayIsWaitedFor() {
        var cluster = made()
        cluster.down(1)
        cluster.follow(copying, except: 1)
        wait(&cluster)
        #expect(cluster.progress[4]!.report.pending > 0)
        cluster.up(1)
        cluster.follow(1)
        wait(&cluster)
        #expect(cluster.progress[4]!.report.pending == 0)
    }

    @Test func aRestartOfTheReceiverComparesAnewWhatItHas() {
        var cluster = made()
        cluster.follow(copying)
        wait(&cluster)
        let fetched = cluster.sent["read"] ?? 0
        // The same placement once more, as a start finds it: nothing is fetched a second time.
        cluster.follow(4)
        #expect(cluster.progress[4]!.report.total > 0)
        wait(&cluster)
        #expect(cluster.progress[4]!.report.pending == 0)
        #expect(cluster.sent["read"] ?? 0 == fetched)
    }

    @Test func nobodyListensToAFencedNode() {
        var cluster = made()
        cluster.follow(
            Placement(
                phase: .settled, ring: former, fenced: [NodeID(rawValue: 3)], fingerprint: RingFingerprint(rawValue: 9))
        )
        let write = ReplicaWrite(
            operation: OperationID(lane: 0, number: 77), key: key(0), copies: 3, epoch: 1,
            body: cluster.object(key(0), at: 2)!.encoded)
        let before = cluster.sent["wrote"] ?? 0
        cluster.tell(2, .write(write), from: 3)
        #expect(cluster.sent["wrote"] == before)
        cluster.ask(3, put(0, "fenced"))
        #expect(cluster.answers.last == .write(.refused(.unreachable(needed: 1, reachable: 0))))
        cluster.ask(1, put(0, "others"))
        #expect(isOK(cluster.answers.last))
        #expect(!values(cluster.object(key(0), at: 3)).contains("others"))
    }

    /// Who reads by the next list alone counts on its primaries.
    @Test func anAnswerTellsThePrimariesOfTheListThatHasFewer() {
        var cluster = LaneCluster(others: 2, partitions: 8)
        // Partition 0: 2, 3, 4, and 5 stands in.
        let next = Ring(epoch: 2, size: Self.size, owners: [2, 3, 4, 5, 2, 3, 4, 5].map { NodeID(rawValue: $0) })
        cluster.follow(
            Placement(phase: .copying, ring: next, former: former, floor: 2, fingerprint: RingFingerprint(rawValue: 2)))
        cluster.down(4)
        var all = QuorumOptions()
        all.w = .all
        cluster.ask(1, put(0, "kept for 4", all))
        #expect(cluster.answers.last == .write(.ok(Participation(primaries: 2, fallbacks: 1), nil)))
    }

    @Test func aWriteByAnOlderRingIsRefusedByName() {
        var cluster = made()
        cluster.follow(copying)
        let write = ReplicaWrite(
            operation: OperationID(lane: 0, number: 77), key: key(0), copies: 3, epoch: 1,
            body: cluster.object(key(0), at: 2)!.encoded)
        let before = cluster.sent["wrote"] ?? 0
        cluster.tell(2, .write(write), from: 3)
        #expect(cluster.sent["wrote"] == before + 1)
        #expect(cluster.told.last == .wrote(write.operation, .failed(.otherRing)))
    }

    /// What former owners have need not be on the next list yet, and who fetches copies has not got all that one who knows only
    /// the first ring counts on.
    @Test func aReadCountedByAnOlderRingIsRefusedByName() {
        var cluster = made()
        cluster.follow(copying)
        func read(at number: Int, epoch: UInt64) -> ReadOutcome? {
            let operation = OperationID(lane: 0, number: 70 + epoch)
            cluster.tell(
                number,
                .read(
                    ReplicaRead(operation: operation, key: key(9), copies: 3, want: .hash, epoch: epoch),
                    remaining: .seconds(1)), from: 3)
            guard case .readResult(operation, let outcome)? = cluster.told.last else { return nil }
            return outcome
        }
        #expect(read(at: 4, epoch: 1) == .failed(.otherRing))
        #expect(read(at: 4, epoch: 2) == .absent)
        #expect(read(at: 4, epoch: 0) == .absent)
        #expect(read(at: 1, epoch: 1) == .failed(.otherRing))
        #expect(read(at: 1, epoch: 2) == .absent)
        cluster.follow(retiring)
        #expect(read(at: 4, epoch: 1) == .failed(.otherRing))
        #expect(read(at: 4, epoch: 2) == .absent)
    }

    /// What it writes back by the ring before is refused: it reads again, and not until its time is over.
    @Test func aReadThatWritesBackGoesOnByTheNextRing() throws {
        var cluster = made()
        // Its list is the same in both rings.
        let key = try #require(
            (0..<1_000).lazy.map { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\($0)")) }
                .first { Self.size.partition(of: $0.position).index == 3 })
        cluster.down(2)
        cluster.down(3)
        var put = PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: "by one"))
        put.options.w = .one
        put.options.dw = .one
        cluster.ask(1, .put(put))
        #expect(isOK(cluster.answers.last))
        cluster.late = [2]
        cluster.up(2)
        let before = cluster.answers.count
        cluster.ask(1, .get(GetRequest(key: key)))
        #expect(cluster.answers.count == before)
        cluster.follow(copying)
        cluster.late = []
        #expect(cluster.answers.count == before + 1)
        #expect(values(cluster.answers.last) == ["by one"])
    }

    /// What cannot be read there could come back with the tree: it is tried again until it is gone.
    @Test func aRangeThatCannotBeReadIsClearedOutLater() {
        var cluster = made()
        cluster.follow(copying)
        wait(&cluster)
        cluster.follow(retiring)
        wait(&cluster)
        cluster.loseBlock(of: key(2), at: 1)
        cluster.follow(settled)
        wait(&cluster, 5)
        #expect(cluster.object(key(0), at: 1) != nil)
        cluster.reportDamage(of: key(2), at: 1)
        wait(&cluster, 15)
        for number in 0..<5 { #expect(cluster.object(key(number), at: 1) == nil) }
    }
}
