import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Several nodes, from a client's request to the records on each.
@Suite struct LaneStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private func key(_ name: String) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: name)) }

    private func put(
        _ name: String, _ value: String, _ context: CausalContext? = nil, writeID: WriteID? = nil,
        condition: WriteCondition? = nil
    ) -> ClientRequest {
        var put = PutRequest(
            key: key(name), context: context, metadata: ByteBuffer(), value: ByteBuffer(string: value))
        put.writeID = writeID
        put.condition = condition
        return .put(put)
    }

    private func values(_ answer: ClientAnswer?) -> [String]? {
        guard case .get(.found(let object, _))? = answer else { return nil }
        return object.siblings.map { String(buffer: $0.value) }.sorted()
    }

    private func context(_ answer: ClientAnswer?) -> CausalContext? {
        guard case .get(.found(let object, _))? = answer else { return nil }
        return object.context
    }

    private func isOK(_ answer: ClientAnswer?) -> Bool {
        guard case .write(.ok)? = answer else { return false }
        return true
    }

    @Test func aConflictAndItsResolution() {
        var cluster = LaneCluster()
        cluster.ask(1, put("k", "one"))
        #expect(isOK(cluster.answers.last))
        cluster.ask(2, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == ["one"])
        let read = context(cluster.answers.last)
        cluster.ask(2, put("k", "two", read))
        cluster.ask(3, put("k", "three", read))
        cluster.ask(1, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == ["three", "two"])
        cluster.ask(3, put("k", "four", context(cluster.answers.last)))
        cluster.ask(2, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == ["four"])
        cluster.ask(1, .delete(DeleteRequest(key: key("k"))))
        cluster.ask(2, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == [])
        #expect(Set((1...3).map { cluster.object(key("k"), at: $0)! }).count == 1)
        #expect(cluster.nodes.allSatisfy { $0.lane.isIdle })
    }

    @Test func nothingIsAnsweredBeforeTheDisks() {
        var cluster = LaneCluster()
        cluster.syncs = false
        cluster.ask(1, put("k", "one"))
        #expect(cluster.answers.isEmpty)
        cluster.ask(2, .get(GetRequest(key: key("k"))))
        #expect(cluster.answers.isEmpty, "a read of what is not synced waits")
        cluster.sync()
        #expect(isOK(cluster.answers.first))
        #expect(values(cluster.answers.last) == ["one"])
    }

    @Test func aGetCostsOneQuestionAndAHash() {
        var cluster = LaneCluster()
        cluster.ask(1, put("k", "one"))
        let before = cluster.sent
        cluster.ask(1, .get(GetRequest(key: key("k"))))
        #expect(cluster.sent["read", default: 0] - before["read", default: 0] == 1)
        #expect(cluster.sent["write"] == before["write"])
        #expect(cluster.observations == [])
    }

    @Test func aReplicaThatWasAwayIsRepairedByReads() {
        var cluster = LaneCluster()
        cluster.down(2)
        cluster.ask(1, put("k", "one"))
        #expect(isOK(cluster.answers.last))
        #expect(cluster.object(key("k"), at: 2) == nil)
        cluster.up(2)
        cluster.ask(2, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == ["one"])
        #expect(cluster.object(key("k"), at: 2) == cluster.object(key("k"), at: 1))
    }

    @Test func withTwoNodesDownNothingIsPromised() {
        var cluster = LaneCluster()
        cluster.down(2)
        cluster.down(3)
        cluster.ask(1, put("k", "one"))
        #expect(cluster.answers.last == .write(.refused(.unreachable(needed: 2, reachable: 1))))
        cluster.ask(1, .get(GetRequest(key: key("k"))))
        #expect(
            cluster.answers.last == .get(.failed(ReadFailure(needed: 2, answered: 0, timedOut: false))))
        #expect(cluster.object(key("k"), at: 1) == nil)
    }

    @Test func aRetryUnderOneNameIsOneVersion() {
        var cluster = LaneCluster()
        let name = WriteID(high: 1, low: 2)
        cluster.ask(1, put("k", "one", writeID: name))
        cluster.ask(2, put("k", "one", writeID: name))
        cluster.ask(3, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == ["one"])
        #expect(cluster.object(key("k"), at: 1)?.siblings.count == 1)
    }

    @Test func conditions() {
        var cluster = LaneCluster()
        cluster.ask(1, put("k", "one", condition: .ifNoneMatch))
        #expect(isOK(cluster.answers.last))
        cluster.ask(2, put("k", "two", condition: .ifNoneMatch))
        #expect(cluster.answers.last == .write(.refused(.matchFound)))
        cluster.ask(3, .get(GetRequest(key: key("k"))))
        let read = context(cluster.answers.last)!
        cluster.ask(3, put("k", "three", read, condition: .ifNotModified(read.clock)))
        #expect(isOK(cluster.answers.last))
        cluster.ask(1, put("k", "four", read, condition: .ifNotModified(read.clock)))
        #expect(cluster.answers.last == .write(.refused(.modified)))
    }

    @Test func nodesWithoutReplicaForwardAndRead() {
        var cluster = LaneCluster(members: 5)
        for number in 1...5 {
            let name = "k\(number)"
            cluster.ask(number, put(name, name))
            #expect(isOK(cluster.answers.last))
            for reader in 1...5 {
                cluster.ask(reader, .get(GetRequest(key: key(name))))
                #expect(values(cluster.answers.last) == [name])
            }
            #expect((1...5).filter { cluster.object(key(name), at: $0) != nil }.count == 3)
        }
    }

    @Test func theLaterOfTwoAcknowledgedWritesStandsThoughItsClockIsBehind() {
        var properties = BucketProperties()
        properties.conflictMode = .lww
        let entry = PropertiesEntry(
            scope: .bucket(bucket),
            versioned: VersionedProperties(
                properties: properties, stamp: HybridTimestamp(rawValue: 1), setBy: NodeID(rawValue: 1)))
        var cluster = LaneCluster(properties: PropertiesTable([entry]))
        // Node 3 misses a write; its clock, like all here, stands still, so its own stamp is no larger.
        cluster.down(3)
        for value in ["a", "b", "c"] { cluster.ask(1, put("k", value)) }
        cluster.up(3)
        cluster.ask(3, put("k", "last"))
        #expect(isOK(cluster.answers.last))
        #expect(cluster.observations.contains(.lwwRestamped(key("k"))))
        for reader in 1...3 {
            cluster.ask(reader, .get(GetRequest(key: key("k"))))
            #expect(values(cluster.answers.last) == ["last"])
        }
        cluster.ask(2, .delete(DeleteRequest(key: key("k"))))
        cluster.ask(1, .get(GetRequest(key: key("k"))))
        #expect(values(cluster.answers.last) == [])
    }

    @Test func listings() {
        var cluster = LaneCluster(members: 5)
        let names = (0..<40).map { "k\($0)" }
        for (index, name) in names.enumerated() { cluster.ask(index % 5 + 1, put(name, "x")) }
        cluster.ask(1, .delete(DeleteRequest(key: key("k7"))))
        cluster.down(2)
        cluster.list(1, .keys(bucket))
        #expect(cluster.pieces.last == .done)
        #expect(listed(cluster).sorted() == names.filter { $0 != "k7" }.sorted())
        cluster.list(4, .buckets(type: ByteBuffer()))
        #expect(cluster.pieces.last == .done)
        #expect(listed(cluster, from: cluster.pieces.lastIndex { $0 == .done }!) == [])
        #expect(listed(cluster).filter { $0 == "b" } == ["b"])
    }

    private func listed(_ cluster: LaneCluster, from index: Int = 0) -> [String] {
        cluster.pieces[index...].flatMap { piece -> [String] in
            guard case .items(let items) = piece else { return [] }
            return items.map { String(buffer: $0) }
        }
    }

    @Test func aListingDoesNotTellWhatIsNotSynced() {
        var cluster = LaneCluster()
        cluster.syncs = false
        cluster.ask(1, put("k", "one"))
        cluster.list(1, .keys(bucket))
        #expect(listed(cluster) == [])
        cluster.sync()
        #expect(listed(cluster) == ["k"])
    }

    @Test func drain() {
        var cluster = LaneCluster()
        cluster.syncs = false
        cluster.ask(1, put("k", "one"))
        var effects: [LaneEffect] = []
        var lane = cluster.nodes[0].lane
        lane.handle(.drain, now: cluster.now, effects: &effects)
        lane.handle(
            .client(RequestID(rawValue: 99), put("l", "two"), deadline: cluster.now.monotonic), now: cluster.now,
            effects: &effects)
        #expect(effects == [.answer(RequestID(rawValue: 99), .write(.refused(.shuttingDown)))])
        #expect(!lane.isIdle)
    }
}
