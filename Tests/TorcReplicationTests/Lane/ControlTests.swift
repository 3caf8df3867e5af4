import NIOCore
import Testing
import TorcModel
import TorcReplication

@Suite struct ControlTests {
    private static let bucket = PropertiesScope.bucket(BucketID(name: ByteBuffer(string: "b")))

    /// A control machine of node 1 of three, and what it says as lines.
    private struct Dialogue {
        var control: Control
        var now = Now(monotonic: .zero, wall: WallTime(microseconds: 1_000))
        var entries: [PropertiesEntry] = []
        var lastOperation = OperationID(rawValue: 0)
        var lastStore: UInt64 = 0
        var digest = ContentHash(rawValue: 0)

        init(
            node: UInt64 = 1, members: UInt64 = 3, table: PropertiesTable = PropertiesTable(), incarnation: UInt64 = 1,
            partitions: Int = 8
        ) {
            let size = RingSize(partitions: partitions)!
            let ring = Ring(
                epoch: 1, size: size, owners: (0..<partitions).map { NodeID(rawValue: UInt64($0) % members + 1) })
            control = Control(
                node: NodeID(rawValue: node), laneCount: 1, incarnation: Incarnation(rawValue: incarnation),
                record: RingRecord(state: ClusterState(declared: ring)), table: table,
                membership: MembershipStart(
                    timing: MembershipTiming(), stored: .unheard,
                    facts: MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: 0), peerProtocol: 1), seed: 1))
        }

        mutating func handle(_ event: ControlEvent) -> [String] {
            var effects: [ControlEffect] = []
            control.handle(event, now: now, effects: &effects)
            var lines: [String] = []
            for effect in effects {
                switch effect {
                // The membership asks for its incarnation, is not given it, and so sends nothing.
                case .storeMembershipIncarnation, .routing, .observed: break
                // Of rings it tells its version, and that has tests of its own.
                case .send(.ring, _): break
                default: lines.append(line(effect))
                }
            }
            return lines
        }

        mutating func set(_ change: (inout PropertiesChange) -> Void, holdsData: Bool = false) -> [String] {
            var wanted = PropertiesChange()
            change(&wanted)
            return handle(
                .setProperties(
                    RequestID(rawValue: 1), ControlTests.bucket, wanted, holdsData: holdsData,
                    deadline: now.monotonic.advanced(by: .seconds(5))))
        }

        mutating func reset(holdsData: Bool = false) -> [String] {
            handle(
                .resetProperties(
                    RequestID(rawValue: 1), ControlTests.bucket, holdsData: holdsData,
                    deadline: now.monotonic.advanced(by: .seconds(5))))
        }

        mutating func stored() -> [String] { handle(.propertiesStored(lastStore)) }
        mutating func up(_ peer: UInt64, _ features: PeerFeatures = .supported) -> [String] {
            handle(.peerUp(NodeID(rawValue: peer), features))
        }
        mutating func hears(_ peer: UInt64, _ message: PeerMessage) -> [String] {
            handle(.peer(from: NodeID(rawValue: peer), message))
        }

        private mutating func line(_ effect: ControlEffect) -> String {
            switch effect {
            case .storeProperties(let number, let stored):
                lastStore = number
                entries = stored
                return "store \(stored.count)"
            case .propertiesChanged(let changed): return "lanes: \(changed.count)"
            case .send(.properties(let operation, let sent), let node):
                lastOperation = operation
                entries = sent
                return "\(node.rawValue): properties \(sent.count)"
            case .send(.propertiesStored, let node): return "\(node.rawValue): stored"
            case .send(.propertiesDigest(let hash), let node):
                digest = hash
                return "\(node.rawValue): digest"
            case .send(let message, let node): return "\(node.rawValue): \(message)"
            case .answer(_, .refused(let refusal)): return "answer: refused \(refusal)"
            case .answer(_, let answer): return "answer: \(answer)"
            case .storeMembershipIncarnation, .routing, .observed, .storeRing, .ringInstalled, .answerRing,
                .ringObserved:
                return "\(effect)"
            }
        }
    }

    private var properties: BucketProperties {
        var properties = BucketProperties()
        properties.r = .one
        return properties
    }

    private func entry(stamp: UInt64, by node: UInt64 = 2) -> PropertiesEntry {
        PropertiesEntry(
            scope: Self.bucket,
            versioned: VersionedProperties(
                properties: properties, stamp: HybridTimestamp(rawValue: stamp), setBy: NodeID(rawValue: node)))
    }

    /// A member of an older build could not read what it is told, nor its own folder after that.
    @Test func aPropertyThatAMemberDoesNotKnowIsNotSet() {
        var node = Dialogue()
        _ = node.up(2)
        _ = node.up(3, .prunesVectors)
        #expect(
            node.set { $0.oneCacheMilliseconds = 50 }
                == ["answer: refused notKnownToAll(name: \"one_cache_ms\", member: \(NodeID(rawValue: 3)))"])
        #expect(node.set { $0.oneCacheMilliseconds = 0 } == ["store 1"], "nobody need know what is not there")
        #expect(
            node.set { $0.oneCacheMilliseconds = 10_001 }.first?.hasPrefix("answer: refused") == true)
        _ = node.stored()
        _ = node.handle(.peerDown(NodeID(rawValue: 3)))
        #expect(node.set { $0.oneCacheMilliseconds = 50 } == ["store 1"])
        #expect(node.stored() == ["lanes: 1", "2: properties 1"])
        // It comes back as it was: what it can read it is told, and no more.
        _ = node.up(3, .prunesVectors)
        #expect(node.hears(3, .propertiesDigest(ContentHash(rawValue: 1))) == [])
        _ = node.up(3)
        #expect(node.hears(3, .propertiesDigest(ContentHash(rawValue: 1))) == ["3: properties 1"])
    }

    @Test func durableHereThenToldThenAMajority() {
        var node = Dialogue()
        _ = node.up(2)
        _ = node.up(3)
        #expect(node.set { $0.r = .one } == ["store 1"])
        #expect(node.control.table.count == 0, "nothing is told before it is stored")
        #expect(node.stored() == ["lanes: 1", "2: properties 1", "3: properties 1"])
        let operation = node.lastOperation
        #expect(node.hears(9, .propertiesStored(operation)) == [], "not a member")
        #expect(node.hears(3, .propertiesStored(operation)) == ["answer: stored"])
        #expect(node.hears(2, .propertiesStored(operation)) == [])
        #expect(node.control.table[Self.bucket].r == .one)
    }

    @Test func aloneItIsItsOwnMajority() {
        var node = Dialogue(members: 1)
        _ = node.set { $0.r = .one }
        #expect(node.stored() == ["lanes: 1", "answer: stored"])
    }

    @Test func withoutAMajorityItIsIndeterminate() {
        var node = Dialogue()
        _ = node.set { $0.r = .one }
        _ = node.stored()
        node.now.monotonic = node.now.monotonic.advanced(by: .seconds(5))
        #expect(node.control.nextDeadline == node.now.monotonic)
        #expect(node.handle(.tick) == ["answer: indeterminate(copies: 1, needed: 2)"])
    }

    @Test func whoComesLaterIsSentItToo() {
        var node = Dialogue()
        _ = node.set { $0.r = .one }
        #expect(node.up(3) == ["3: digest"], "not durable yet")
        #expect(node.stored() == ["lanes: 1", "3: properties 1"])
        #expect(node.up(2) == ["2: digest", "2: properties 1"])
        #expect(node.hears(2, .propertiesStored(node.lastOperation)) == ["answer: stored"])
    }

    @Test func changesBuildOnOneAnother() {
        var node = Dialogue()
        _ = node.set { $0.r = .one }
        _ = node.set { $0.w = .all }
        #expect(node.entries[0].versioned.properties.r == .one, "the first is not stored yet, and counts")
        #expect(node.entries[0].versioned.stamp == HybridTimestamp(rawValue: 1_001))
    }

    @Test func whatAPeerSendsIsAcknowledgedWhenItIsStored() {
        var node = Dialogue()
        let message = PeerMessage.properties(OperationID(rawValue: 7), [entry(stamp: 5)])
        #expect(node.hears(2, message) == ["store 1"])
        #expect(node.hears(2, message) == [], "a repeat waits for the same store")
        #expect(node.stored() == ["lanes: 1", "2: stored", "2: stored"])
        #expect(node.hears(2, message) == ["2: stored"])
        #expect(node.hears(3, .properties(OperationID(rawValue: 8), [entry(stamp: 4)])) == ["3: stored"])
    }

    @Test func digestsBringTwoTablesTogether() {
        var one = Dialogue(table: PropertiesTable([entry(stamp: 5)]))
        var two = Dialogue(node: 2)
        #expect(two.up(1) == ["1: digest"])
        #expect(one.hears(2, .propertiesDigest(two.digest)) == ["2: properties 1"])
        #expect(two.hears(1, .properties(one.lastOperation, one.entries)) == ["store 1"])
        #expect(two.stored() == ["lanes: 1", "1: stored"])
        two.now.monotonic = two.now.monotonic.advanced(by: .seconds(10))
        #expect(two.handle(.tick) == ["1: digest"])
        #expect(one.hears(2, .propertiesDigest(two.digest)) == [])
    }

    /// What a node says of its table does not grow with the cluster.
    @Test func fewAreToldAndFewAreSentEverything() {
        var node = Dialogue(members: 20, table: PropertiesTable([entry(stamp: 5)]), partitions: 64)
        let greetings = (2...20).flatMap { node.up($0) }
        #expect(greetings == (2...9).map { "\($0): digest" })
        let another = PeerMessage.propertiesDigest(ContentHash(rawValue: 1))
        let updates = (2...20).flatMap { node.hears($0, another) }
        #expect(updates == (2...9).map { "\($0): properties 1" })

        // All are told in time, three an interval, and those who lacked something are sent it in one of them.
        var told: Set<String> = []
        for _ in 0..<100 {
            node.now.monotonic = node.now.monotonic.advanced(by: .seconds(10))
            let lines = node.handle(.tick)
            #expect(Set(lines).count == 3 && lines.allSatisfy { $0.hasSuffix(": digest") }, "\(lines)")
            told.formUnion(lines)
        }
        #expect(told.count == 19)
        #expect(node.hears(20, another) == ["20: properties 1"])
    }

    @Test func aLongTableGoesInPieces() {
        let entries = (0..<150).map { number in
            var next = entry(stamp: 5)
            next.scope = .bucket(BucketID(name: ByteBuffer(string: "b\(number)")))
            return next
        }
        var node = Dialogue(table: PropertiesTable(entries))
        #expect(
            node.hears(2, .propertiesDigest(ContentHash(rawValue: 1))) == [
                "2: properties 64", "2: properties 64", "2: properties 22",
            ])
    }

    @Test func whatMayNotChange() {
        var node = Dialogue()
        #expect(node.set({ $0.n = 2 }, holdsData: true) == ["answer: refused copiesFixed"])
        #expect(
            node.set { $0.n = 4 } == ["answer: refused invalidCopies(asked: 4, limit: 3)"])
        #expect(
            node.set { $0.r = .count(4) } == [
                "answer: refused invalidQuorum(name: \"r\", asked: 4, n: 3)"
            ])
        _ = node.set { $0.conflictMode = .lww }
        #expect(node.set { $0.conflictMode = .siblings } == ["answer: refused conflictModeFixed"])
        #expect(node.set({ $0.n = 2 }, holdsData: false) == ["store 1"])
        #expect(node.reset(holdsData: true) == ["answer: refused copiesFixed"])
    }

    @Test func aResetInheritsAndStaysLww() {
        var node = Dialogue(members: 1)
        _ = node.set {
            $0.r = .all
            $0.conflictMode = .lww
        }
        _ = node.stored()
        #expect(node.reset() == ["store 1"])
        _ = node.stored()
        let now = node.control.table[Self.bucket]
        #expect(now.r == .quorum)
        #expect(now.conflictMode == .lww)
    }

    @Test func scopesAreBounded() {
        let entries = (0..<Control.maximumScopes).map { number in
            var next = entry(stamp: 5)
            next.scope = .bucket(BucketID(name: ByteBuffer(string: "b\(number)")))
            return next
        }
        var node = Dialogue(table: PropertiesTable(entries))
        #expect(node.set { $0.r = .one } == ["answer: refused tooManyScopes(limit: 4096)"])
    }
}
