import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Reads at ONE that a coordinator answers with what it has read a moment ago.
@Suite struct ReadCacheTests {
    private let x = "{A:1} A:1=x@5"
    private let y = "{A:1 B:1} B:1=y@6"
    private let answerX = "answer: {A:1} A:1=x by 1"

    private func properties(_ milliseconds: UInt16 = 100) -> BucketProperties {
        var properties = BucketProperties()
        properties.r = .one
        properties.oneCacheMilliseconds = milliseconds
        return properties
    }

    /// A coordinator that was asked for the key twice, a millisecond ago.
    private func warm(node: UInt64 = 1, members: UInt64 = 3, _ properties: BucketProperties? = nil)
        -> CoordinatorDialogue
    {
        var node = CoordinatorDialogue(node: node, members: members, properties: properties ?? self.properties())
        for _ in 0..<2 { read(&node, x) }
        return node
    }

    private func read(_ node: inout CoordinatorDialogue, _ object: String) {
        let lines = node.get()
        #expect(lines.count == 1 && lines[0].hasSuffix("read full"), "\(lines)")
        _ = node.hears(lines[0].hasPrefix("own") ? node.node : 1, "object \(object)")
        _ = node.passes(.milliseconds(1))
    }

    /// Without what is told to the metrics.
    private func said(_ lines: [String]) -> [String] { lines.filter { !$0.hasPrefix("readCached") } }

    @Test func whatIsAskedForAgainIsAnsweredFromMemory() {
        var node = CoordinatorDialogue(properties: properties())
        read(&node, x)
        read(&node, x)
        let lines = node.get()
        #expect(lines.count == 2 && lines[0].hasPrefix("readCached") && lines[1] == answerX)
        #expect(said(node.get(headOnly: true)) == ["answer: {A:1} A:1= (head) by 1"])
        #expect(said(node.get(unless: "{A:1}")) == ["answer: unchanged by 1"])
        #expect(node.coordinator.isIdle && node.coordinator.nextDeadline == nil)
    }

    @Test func aBucketThatDoesNotAllowItIsReadEveryTime() {
        var node = CoordinatorDialogue(properties: properties(0))
        for _ in 0..<4 { read(&node, x) }
    }

    /// A key that is asked for once in a while is not kept.
    @Test func twiceWithinItsTime() {
        var node = CoordinatorDialogue(properties: properties())
        for _ in 0..<4 {
            read(&node, x)
            _ = node.passes(.milliseconds(100))
        }
        read(&node, x)
        read(&node, x)
        #expect(said(node.get()) == [answerX])
    }

    @Test func itsAgeCountsFromWhereTheReadBegan() {
        var node = CoordinatorDialogue(properties: properties())
        read(&node, x)
        #expect(node.get() == ["own: read full"])
        _ = node.passes(.milliseconds(40))
        #expect(node.hears(1, "object \(x)") == [answerX])
        _ = node.passes(.milliseconds(60))
        #expect(said(node.get()) == [answerX])
        _ = node.passes(.nanoseconds(1))
        // It has to be asked for twice again.
        read(&node, x)
        read(&node, x)
        _ = node.passes(.milliseconds(98))
        #expect(said(node.get()) == [answerX])
    }

    @Test(arguments: ["r=2", "r=quorum", "r=all", "pr=1", "node_confirms=2"])
    func whatAsksForMoreIsRead(options: String) {
        var node = warm()
        #expect(node.get(options) == ["own: read full"])
    }

    @Test func quorumsThatOverlapAreRead() {
        var properties = properties()
        properties.w = .all
        var node = CoordinatorDialogue(properties: properties)
        for _ in 0..<4 {
            #expect(node.get() == ["own: read full"])
            _ = node.hears(1, "object \(x)")
            _ = node.wrote(2)
            #expect(node.wrote(3) == [answerX])
            _ = node.passes(.milliseconds(1))
        }
    }

    @Test func whatNobodyHasIsNotKept() {
        var node = CoordinatorDialogue(properties: properties())
        for _ in 0..<4 {
            #expect(node.get() == ["own: read full"])
            #expect(node.hears(1, "absent") == ["answer: absent by 1"])
            _ = node.passes(.milliseconds(1))
        }
    }

    @Test func refusalsAreAsEver() {
        var node = warm()
        #expect(node.get("n=2") == ["answer: refused invalidQuorum(name: \"n_val\", asked: 2, n: 3)"])
        node.coordinator.drain()
        #expect(node.get() == ["answer: refused shuttingDown"])
    }

    // MARK: Writes

    @Test func aWriteThatIsTakenHereEndsIt() {
        var node = warm()
        _ = node.put("y", context: "{A:1}")
        #expect(node.get() == ["own: read full"])
    }

    @Test func aDeleteEndsIt() {
        var node = warm()
        _ = node.delete(context: "{A:1}")
        #expect(node.get() == ["own: read full"])
    }

    /// The replica that is read may be behind what the write's client has been told.
    @Test func whatWasReadBeforeAWriteWasAnsweredIsNotKept() {
        var node = warm()
        _ = node.put("y", "w=1 dw=0", context: "{A:1}")
        _ = node.passes(.milliseconds(1))
        #expect(node.get() == ["own: read full"])
        let before = node.lastRead
        _ = node.passes(.milliseconds(1))
        _ = node.minted(y, dot: "B:1")
        #expect(node.mintSynced() == ["answer: ok by 1"])
        #expect(node.hears(1, "object \(x)", of: before) == [answerX])
        // One that begins at the very instant may have missed it, too.
        read(&node, x)
        read(&node, y)
        #expect(said(node.get()) == ["answer: {A:1 B:1} B:1=y by 1"])
    }

    /// As long as it is not, reads go on as if there were none.
    @Test func untilAWriteIsAnsweredReadsAreKept() {
        var node = warm()
        _ = node.put("y", "w=1 dw=0", context: "{A:1}")
        _ = node.passes(.milliseconds(1))
        read(&node, x)
        #expect(said(node.get()) == [answerX])
        _ = node.minted(y, dot: "B:1")
        _ = node.mintSynced()
        #expect(node.get() == ["own: read full"])
    }

    @Test func aWriteThatGoesElsewhereEndsIt() {
        var node = warm(node: 5, members: 5)
        #expect(said(node.get()) == [answerX])
        #expect(node.put("y", context: "{A:1}") == ["1: forward"])
        _ = node.passes(.milliseconds(1))
        read(&node, x)
        #expect(said(node.get()) == [answerX])
        #expect(
            node.receive(.forwarded(node.lastForward, .ok(Participation(primaries: 2), nil)), from: 1)
                == ["answer: ok by 2"])
        #expect(node.get() == ["1: read full"])
    }

    @Test func aWriteThatIsNotHeardOfAgainEndsIt() {
        var node = warm(node: 5, members: 5)
        _ = node.put("y", context: "{A:1}")
        _ = node.passes(.milliseconds(1))
        read(&node, x)
        #expect(node.down(1) == ["answer: indeterminate 0 of 2"])
        #expect(node.get().contains("2: read full"))
    }

    @Test func aWriteThatAnotherForwardsEndsIt() {
        var node = warm(members: 5)
        _ = node.forwarded(.put(node.putRequest("y", context: "{A:1}")), by: 5)
        #expect(node.get() == ["own: read full"])
    }

    // MARK: What else is seen

    @Test func aNewerVersionThatAReadBringsEndsIt() {
        var node = warm()
        _ = node.get("r=2")
        _ = node.hears(1, "object \(x)")
        #expect(said(node.get()) == [answerX])
        let quorum = node.lastRead
        _ = node.hears(2, "object \(y)", of: quorum)
        #expect(node.get() == ["own: read full"])
    }

    @Test func anOlderVersionChangesNothing() {
        var node = CoordinatorDialogue(properties: properties())
        read(&node, y)
        read(&node, y)
        let answerY = ["answer: {A:1 B:1} B:1=y by 1"]
        _ = node.get("r=2")
        _ = node.hears(1, "object \(x)")
        #expect(said(node.get()) == answerY)
    }

    @Test func anotherRingEndsIt() {
        var cluster = LaneCluster(properties: table(properties()))
        let key = ObjectKey(bucket: CoordinatorDialogue.bucket, key: ByteBuffer(string: "k"))
        let get = ClientRequest.get(GetRequest(key: key))
        func cached() -> Int { cluster.observations.count { if case .readCached = $0 { true } else { false } } }
        cluster.ask(1, .put(PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: "x"))))
        for _ in 0..<3 {
            cluster.passes(.milliseconds(1))
            cluster.ask(1, get)
        }
        #expect(cached() == 1)
        cluster.follow(cluster.placement)
        cluster.ask(1, get)
        #expect(cached() == 1)
    }

    private func table(_ properties: BucketProperties) -> PropertiesTable {
        PropertiesTable([
            PropertiesEntry(
                scope: .bucket(CoordinatorDialogue.bucket),
                versioned: VersionedProperties(
                    properties: properties, stamp: HybridTimestamp(rawValue: 1), setBy: NodeID(rawValue: 1)))
        ])
    }

    /// A replica that is written to by another node has seen it.
    @Test func aRecordThatIsWrittenHereEndsIt() {
        var cluster = LaneCluster(properties: table(properties()))
        let key = ObjectKey(bucket: CoordinatorDialogue.bucket, key: ByteBuffer(string: "k"))
        func put(_ value: String) -> ClientRequest {
            .put(PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: value)))
        }
        func shown() -> [String] {
            cluster.ask(1, .get(GetRequest(key: key)))
            guard case .get(.found(let object, _))? = cluster.answers.last else { return [] }
            return object.siblings.map { String(buffer: $0.value) }.sorted()
        }
        cluster.ask(1, put("x"))
        for _ in 0..<3 {
            cluster.passes(.milliseconds(1))
            #expect(shown() == ["x"])
        }
        #expect(cluster.observations.contains { if case .readCached = $0 { true } else { false } })
        cluster.ask(2, put("y"))
        #expect(shown() == ["x", "y"])
    }

    @Test func whatHasExpiredIsNotShown() {
        var cluster = LaneCluster(properties: table(properties(10_000)))
        let key = ObjectKey(bucket: CoordinatorDialogue.bucket, key: ByteBuffer(string: "k"))
        var put = PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: "x"))
        put.expiry = WallTime(microseconds: 2_000_000_000)
        cluster.wall(WallTime(microseconds: 1_000_000_000))
        cluster.ask(1, .put(put))
        func shown() -> Int? {
            cluster.passes(.milliseconds(1))
            cluster.ask(1, .get(GetRequest(key: key)))
            guard case .get(.found(let object, _))? = cluster.answers.last else { return nil }
            return object.siblings.count
        }
        for _ in 0..<4 { #expect(shown() == 1) }
        let before = cluster.observations.count
        cluster.wall(WallTime(microseconds: 2_000_000_001))
        #expect(shown() == 0)
        #expect(cluster.observations.count == before + 1, "from memory all the same")
    }

    // MARK: Bounds

    private func key(_ name: String) -> ObjectKey {
        ObjectKey(bucket: CoordinatorDialogue.bucket, key: ByteBuffer(string: name))
    }

    private func object(bytes: Int) -> VersionedObject {
        var object = VersionedObject(mode: .siblings)
        object.put(
            Sibling(
                dot: Dot(actor: Actor(rawValue: 1), counter: 1), timestamp: .zero, metadata: ByteBuffer(),
                value: ByteBuffer(repeating: 7, count: bytes)), context: VersionVector(), mode: .siblings)
        return object
    }

    private func at(_ milliseconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: milliseconds * 1_000_000) }

    @Test func itHoldsSoManyAndTheFirstMakeRoom() {
        var cache = ReadCache()
        let small = object(bytes: 10)
        let one = Participation(primaries: 1)
        cache.keep(small, body: small.encoded, of: key("off"), by: one, readAt: at(1))
        #expect(cache.count == 0, "no bucket allows it")
        cache.reset(isOn: true, at: at(1))
        let names = (0..<ReadCache.maximumEntries + 10).map { "k\($0)" }
        for name in names { cache.keep(small, body: small.encoded, of: key(name), by: one, readAt: at(2)) }
        #expect(cache.count == ReadCache.maximumEntries)
        func holds(_ name: String) -> Bool { cache.held(key(name), milliseconds: 10, at: at(5)) != nil }
        #expect(names.map(holds) == names.indices.map { $0 >= 10 })
        cache.reset(isOn: false, at: at(3))
        #expect(cache.count == 0 && cache.bytes == 0)
    }

    @Test func itHoldsSoManyBytes() {
        var cache = ReadCache()
        cache.reset(isOn: true, at: at(1))
        let one = Participation(primaries: 1)
        let large = object(bytes: 300_000)
        for number in 0..<100 {
            cache.keep(large, body: large.encoded, of: key("k\(number)"), by: one, readAt: at(2))
            #expect(cache.bytes <= ReadCache.maximumBytes)
        }
        #expect(cache.count == ReadCache.maximumBytes / (300_000 + ReadCache.entryBytes + 100))
        #expect(cache.held(key("k99"), milliseconds: 10, at: at(5))?.object == large)
        let huge = object(bytes: ReadCache.maximumObjectBytes)
        cache.keep(huge, body: huge.encoded, of: key("huge"), by: one, readAt: at(2))
        #expect(cache.held(key("huge"), milliseconds: 10, at: at(5)) == nil)
        for number in 0..<100 { cache.changed(key("k\(number)"), at: at(6)) }
        #expect(cache.count == 0 && cache.bytes == 0)
    }
}
