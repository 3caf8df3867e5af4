import NIOCore
import Testing
import TorcModel
import TorcReplication

/// A page of a partition, as a peer asks a lane for it.
@Suite struct PageServerTests {
    private struct Server {
        var lane: Lane
        let keys: [ObjectKey]
        let size = RingSize(partitions: 8)!

        init(members: UInt64 = 3) {
            let size = RingSize(partitions: 8)!
            let ring = Ring(
                epoch: 1, size: size, owners: (0..<8).map { NodeID(rawValue: UInt64($0) % members + 1) })
            lane = Lane(
                configuration: LaneConfiguration(
                    node: NodeID(rawValue: 1), lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: 1),
                    hashSeed: HashSeed(rawValue: 42)),
                placement: Placement(ring), properties: PropertiesTable(),
                leaves: LeafTable(layout: LeafLayout(ringSize: size)),
                generator: SeededGenerator(seed: 1))
            keys = (0..<60)
                .map {
                    ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b\($0 % 2)")), key: ByteBuffer(integer: $0))
                }
                .filter { size.partition(of: $0.position).index == 0 }
                .sorted()
        }

        mutating func asks(_ subject: PageRequest.Subject, partition: Int = 0) -> [LaneEffect] {
            let page = PageRequest(
                operation: OperationID(rawValue: 7), partition: PartitionID(partition), copies: 1, subject: subject,
                after: nil)
            return handle(.peer(from: NodeID(rawValue: 2), .page(page)))
        }

        mutating func handle(_ event: LaneEvent) -> [LaneEffect] {
            var effects: [LaneEffect] = []
            lane.handle(
                event, now: Now(monotonic: .zero, wall: WallTime(microseconds: 1_000)), effects: &effects)
            return effects
        }

        func entry(_ key: ObjectKey, deleted: Bool = false) -> ScannedEntry {
            var object = VersionedObject(mode: .siblings)
            let dot = Dot(actor: Actor(rawValue: 1), counter: 1)
            object.put(
                Sibling(dot: dot, timestamp: HybridTimestamp(rawValue: 5)), context: VersionVector(), mode: .siblings)
            if deleted { object.delete(context: VersionVector([dot])) }
            let record = Record(header: LocalHeader(copies: 3), body: object.encoded)
            return ScannedEntry(storageKey: key.storageKey, record: record.encoded(for: key))
        }
    }

    private func bucket(_ name: String) -> BucketID { BucketID(name: ByteBuffer(string: name)) }

    private func token(_ effects: [LaneEffect]) -> StoreToken? {
        guard case .scan(let scan)? = effects.first, effects.count == 1 else { return nil }
        return scan.token
    }

    private func result(_ effects: [LaneEffect]) -> PageOutcome? {
        guard case .send(.pageResult(OperationID(rawValue: 7), let outcome), to: NodeID(rawValue: 2))? = effects.last
        else { return nil }
        return outcome
    }

    @Test func theLiveKeysOfTheBucketAndWhereToGoOn() throws {
        var server = Server()
        let entries = server.keys.enumerated().map { server.entry($1, deleted: $0 == 1) }
        let expected = server.keys.enumerated().filter { $0 != 1 && $1.bucket == bucket("b0") }.map(\.element.key)
        let scan = try #require(token(server.asks(.keys(bucket("b0")))))
        #expect(scan.rawValue >= 1 << 61, "apart from the replicas' reads")
        let told = server.handle(.scanned(scan, entries: entries, finished: false))
        #expect(result(told) == .page(items: expected, resume: entries.last!.storageKey))
        #expect(server.lane.isIdle)
    }

    @Test func theBucketsOfATypeOnce() throws {
        var server = Server()
        let entries = server.keys.map { server.entry($0) }
        let scan = try #require(token(server.asks(.buckets(type: ByteBuffer()))))
        guard case .page(let items, nil)? = result(server.handle(.scanned(scan, entries: entries, finished: true)))
        else { Issue.record("no page"); return }
        #expect(Set(items) == [ByteBuffer(string: "b0"), ByteBuffer(string: "b1")])
        #expect(items.count == 2)
        let other = try #require(token(server.asks(.buckets(type: ByteBuffer(string: "t")))))
        #expect(
            result(server.handle(.scanned(other, entries: entries, finished: true))) == .page(items: [], resume: nil))
    }

    @Test func aPageWithoutItemsStillEnds() throws {
        var server = Server()
        let entries = [server.entry(server.keys[0])]
        var effects = server.asks(.keys(bucket("none")))
        var scans = 0
        while let scan = token(effects) {
            scans += 1
            effects = server.handle(.scanned(scan, entries: entries, finished: false))
        }
        #expect(scans == 16)
        #expect(result(effects) == .page(items: [], resume: server.keys[0].storageKey))
    }

    @Test func whatCannotBeReadIsNotLeftOut() throws {
        var server = Server()
        var entries = server.keys.map { server.entry($0) }
        entries[0].record = ByteBuffer(string: "garbage")
        let wanted = server.keys[0].bucket
        let scan = try #require(token(server.asks(.keys(wanted))))
        let told = server.handle(.scanned(scan, entries: entries, finished: true))
        #expect(told.first == .observed(.unreadableRecord(server.keys[0])))
        #expect(result(told) == .failed(.unreadable))
        let again = try #require(token(server.asks(.keys(wanted))))
        #expect(result(server.handle(.scanned(again, entries: nil, finished: false))) == .failed(.unreadable))
    }

    @Test func whatIsNotHeldIsSaid() {
        var server = Server(members: 8)
        #expect(result(server.asks(.keys(bucket("b0")), partition: 1)) == .failed(.notHeld))
        #expect(result(server.asks(.keys(bucket("b0")), partition: 99)) == .failed(.notHeld))
    }

    @Test func pagesAreBounded() {
        var server = Server()
        for _ in 0..<64 { #expect(token(server.asks(.keys(bucket("b0")))) != nil) }
        #expect(result(server.asks(.keys(bucket("b0")))) == .failed(.overloaded))
    }
}
