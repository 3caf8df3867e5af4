import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcSimulation

/// Each checker is shown a history in which its promise is broken, and one beside it in which it is kept.
@Suite struct CheckerTests {
    /// One key, its history by hand. Times are milliseconds.
    private struct Story {
        var history: History

        init(
            _ mode: KeyPromise.Mode = .siblings, copies: Int = 3, writeQuorum: Int = 2, forgets: Bool = false
        ) {
            history = History(promises: [
                KeyPromise(copies: copies, mode: mode, writeQuorum: writeQuorum, forgets: forgets)
            ])
        }

        /// A write that is acknowledged by `w` copies, or not at all.
        @discardableResult
        mutating func write(
            _ kind: WriteRecord.Kind = .put, over covers: [Int] = [], client: Int = 0, from: UInt64, to end: UInt64?,
            w: Int = 2, outcome: WriteRecord.Outcome = .acknowledged
        ) -> Int {
            let id = history.begin(kind, key: 0, client: client, covers: covers, at: at(from))
            if let end {
                history.end(id, outcome, needed: w, at: at(end))
                if outcome == .acknowledged { history.setHolders(id, 0b11) }
            }
            return id
        }

        func read(
            _ values: [Int], from: UInt64, to end: UInt64, r: Int = 2, client: Int = 1, expired: Set<Int> = []
        ) -> ReadObservation {
            ReadObservation(
                key: 0, client: client, invoked: at(from), ended: at(end), values: values, quorum: r, expired: expired)
        }

        mutating func sees(
            _ values: [Int], from: UInt64, to end: UInt64, r: Int = 2, expired: Set<Int> = []
        ) -> Violation.Promise? {
            let read = read(values, from: from, to: end, r: r, expired: expired)
            let violation = ReadChecker().check(read, in: history)
            history.noteShown(read, strict: ReadChecker().isStrict(read, history.promises[0]))
            return violation?.promise
        }

        func backup(_ copies: [VersionedObject], from: UInt64, to end: UInt64) -> Violation.Promise? {
            BackupChecker().check(
                key: 0, copies: copies, replicas: 3, began: at(from), ended: at(end), in: history)?.promise
        }

        func stands(_ values: [Int], at time: UInt64 = 1_000) -> Violation.Promise? {
            FinalChecker().check(key: 0, values: values, replicas: 3, at: at(time), in: history)?.promise
        }

        private func at(_ milliseconds: UInt64) -> VirtualTime {
            VirtualTime(nanoseconds: milliseconds * 1_000_000)
        }
    }

    // MARK: Values

    @Test func aValueThatNobodyWrote() {
        var story = Story()
        let v = story.write(from: 0, to: 10)
        #expect(story.sees([v], from: 20, to: 30) == nil)
        #expect(story.sees([v, 7], from: 20, to: 30) == .inventedValue)
    }

    @Test func aRefusedValue() {
        var story = Story()
        let v = story.write(from: 0, to: 10, outcome: .refused)
        #expect(story.sees([], from: 20, to: 30) == nil)
        #expect(story.sees([v], from: 20, to: 30) == .refusedValue)
    }

    @Test func anIndeterminateValueMayAppear() {
        var story = Story()
        let v = story.write(from: 0, to: 10, outcome: .indeterminate)
        #expect(story.sees([], from: 20, to: 30) == nil)
        #expect(story.sees([v], from: 20, to: 30) == nil)
    }

    @Test func aRetryIsRefusedOnlyWhenAllAttemptsAre() {
        var story = Story()
        let v = story.write(from: 0, to: 10, outcome: .indeterminate)
        story.history.retry(v)
        story.history.end(v, .refused, at: VirtualTime(nanoseconds: 20_000_000))
        #expect(story.sees([v], from: 30, to: 40) == nil)
    }

    /// What has expired may be missing, and what it replaced with it; what it did not replace may not.
    @Test func aValueThatHasExpired() {
        var story = Story()
        let first = story.write(from: 0, to: 10)
        let second = story.write(over: [first], from: 20, to: 30)
        #expect(story.sees([], from: 40, to: 50) == .staleRead)
        #expect(story.sees([], from: 40, to: 50, expired: [second]) == nil)
        #expect(story.sees([], from: 40, to: 50, expired: [first]) == .staleRead)
        #expect(story.sees([first], from: 40, to: 50, expired: [second]) == .staleRead)
    }

    @Test func aRegisterThatHasExpired() {
        var story = Story(.lww)
        story.write(from: 0, to: 10)
        let second = story.write(from: 20, to: 30)
        #expect(story.sees([], from: 40, to: 50) == .staleRead)
        #expect(story.sees([], from: 40, to: 50, expired: [second]) == nil)
    }

    @Test func aValueTwice() {
        var story = Story()
        let v = story.write(from: 0, to: 10)
        #expect(story.sees([v, v], from: 20, to: 30) == .duplicatedWrite)
    }

    // MARK: Siblings

    @Test func aFalseSibling() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        let b = story.write(over: [a], from: 20, to: 30)
        let c = story.write(over: [b], from: 40, to: nil)
        #expect(story.sees([a, b], from: 20, to: 35, r: 1) == .falseSibling)
        #expect(story.sees([a, c], from: 20, to: 45, r: 1) == .falseSibling, "replaced through b")
        #expect(story.sees([c], from: 20, to: 45) == nil)
    }

    @Test func trueSiblings() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        let b = story.write(from: 5, to: 15)
        #expect(story.sees([a, b], from: 20, to: 30) == nil)
        #expect(story.sees([b], from: 20, to: 30) == .staleRead, "a is missing")
    }

    @Test func aLostWrite() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        let b = story.write(from: 5, to: 15)
        #expect(story.stands([a, b]) == nil)
        #expect(story.stands([a]) != nil)
        #expect(story.stands([]) != nil)
    }

    @Test func aWriteThatWasReplacedIsNotLost() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        let b = story.write(over: [a], from: 20, to: 30)
        #expect(story.stands([b]) == nil)
        #expect(story.stands([]) != nil, "b itself is gone")
        story.write(.delete, over: [b], from: 40, to: 50)
        #expect(story.stands([]) == nil)
        #expect(story.stands([b]) != nil, "the delete was acknowledged")
    }

    @Test func aForgottenWriteIsNotMissedButAnotherIs() {
        var story = Story(forgets: true)
        let a = story.write(from: 0, to: 10)
        story.history.forget(node: 0, since: .zero)
        #expect(story.stands([]) == .lostWrite, "node 1 still has it")
        story.history.forget(node: 1, since: .zero)
        #expect(story.stands([]) == nil)
        #expect(story.stands([a]) == nil)
    }

    // MARK: Quorums and sessions

    @Test func aStaleRead() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        #expect(story.sees([], from: 5, to: 30) == nil, "it began before the write was acknowledged")
        #expect(story.sees([], from: 20, to: 30, r: 1) == nil, "one replica need not meet two of three")
        #expect(story.sees([], from: 20, to: 30) == .staleRead)
        #expect(story.sees([a], from: 20, to: 30) == nil)
    }

    @Test func aReadThatShowsWhatWasReplaced() {
        var story = Story()
        let a = story.write(from: 0, to: 10)
        story.write(.delete, over: [a], from: 20, to: 30)
        #expect(story.sees([a], from: 25, to: 50) == nil)
        #expect(story.sees([a], from: 40, to: 50) == .staleRead)
    }

    @Test func readsDoNotGoBack() {
        var story = Story()
        let a = story.write(from: 0, to: nil)
        #expect(story.sees([], from: 10, to: 20) == nil)
        #expect(story.sees([a], from: 30, to: 40) == nil)
        #expect(story.sees([], from: 50, to: 60) == .staleRead)
        #expect(story.sees([], from: 35, to: 60) == nil, "it ran beside the read that showed it")
    }

    // MARK: Registers

    @Test func ofTwoWritesTheSecondStands() {
        var story = Story(.lww)
        let a = story.write(from: 0, to: 10)
        let b = story.write(from: 20, to: 30)
        #expect(story.sees([a], from: 40, to: 50) == .lostUpdate)
        #expect(story.stands([a]) == .lostUpdate)
        #expect(story.stands([b]) == nil)
    }

    @Test func ofTwoWritesAtOnceEitherStands() {
        var story = Story(.lww)
        let a = story.write(from: 0, to: 25)
        let b = story.write(from: 20, to: 30)
        #expect(story.stands([a]) == nil)
        #expect(story.stands([b]) == nil)
        #expect(story.stands([a, b]) == .falseSibling)
        #expect(story.stands([]) != nil)
    }

    @Test func aRegisterThatWasDeleted() {
        var story = Story(.lww)
        let a = story.write(from: 0, to: 10)
        story.write(.delete, over: [a], from: 20, to: 30)
        #expect(story.stands([]) == nil)
        #expect(story.stands([a]) == .lostUpdate)
        let b = story.write(from: 40, to: 50)
        #expect(story.stands([]) != nil, "the delete was before b")
        #expect(story.stands([b]) == nil)
    }

    // MARK: Conditions

    @Test func aConditionThatCannotHaveHeld() {
        var story = Story()
        story.write(from: 0, to: 10)
        let late = story.write(from: 20, to: 30)
        var put = PutRequest(key: Self.key, metadata: ByteBuffer(), value: ByteBuffer())
        put.condition = .ifNoneMatch
        let started = VirtualTime(nanoseconds: 20_000_000)
        let violation = ConditionChecker().check(
            late, .put(put), started, dots: DotRegistry(), in: story.history)
        #expect(violation?.promise == .wrongAnswer)
        put.condition = nil
        #expect(
            ConditionChecker().check(late, .put(put), started, dots: DotRegistry(), in: story.history) == nil)
    }

    @Test func aConditionThatWasNotCheckedWhereTheWriteWasStamped() {
        var story = Story()
        let first = story.write(from: 0, to: 30)
        let second = story.write(from: 5, to: 40)
        var put = PutRequest(key: Self.key, metadata: ByteBuffer(), value: ByteBuffer())
        put.condition = .ifNoneMatch
        let started = VirtualTime(nanoseconds: 5_000_000)
        var dots = DotRegistry()
        _ = dots.note(version(first, 1, 1), key: 0, in: story.history)
        #expect(ConditionChecker().check(second, .put(put), started, dots: dots, in: story.history) == nil)
        _ = dots.note(version(second, 1, 2), key: 0, in: story.history)
        let violation = ConditionChecker().check(second, .put(put), started, dots: dots, in: story.history)
        #expect(violation?.promise == .wrongAnswer)
    }

    @Test func aDotThatLeavesBeforeItIsInTheLog() {
        var object = VersionedObject(mode: .siblings)
        object.put(version(0, 7 << 48 | 1, 1), context: VersionVector(), mode: .siblings)
        var dots = DotRegistry()
        let own = NodeID(rawValue: 7)
        #expect(dots.noteSent(object, by: NodeID(rawValue: 8), key: 0, held: VersionVector()) == nil)
        dots = DotRegistry()
        #expect(dots.noteSent(object, by: own, key: 0, held: object.clock) == nil)
        dots = DotRegistry()
        #expect(dots.noteSent(object, by: own, key: 0, held: VersionVector())?.promise == .notDurable)
    }

    @Test func oneReplicaThatStampsARetryAgain() {
        var object = VersionedObject(mode: .siblings)
        for (actor, counter) in [(1, 1), (2, 1), (1, 2)] as [(UInt64, UInt64)] {
            var sibling = version(0, actor, counter)
            sibling.writeID = WriteID(high: 0, low: 9)
            object.put(sibling, context: VersionVector(), mode: .siblings)
            let violation = DotRegistry.checkRetries(object, key: 0)
            #expect(violation?.promise == (counter == 2 ? .duplicatedWrite : nil))
        }
    }

    // MARK: Backups

    private func object(_ version: Sibling) -> VersionedObject {
        var object = VersionedObject(mode: .siblings)
        object.put(version, context: VersionVector(), mode: .siblings)
        return object
    }

    @Test func aBackupThatLacksAWrite() {
        var story = Story()
        let before = story.write(from: 0, to: 10)
        let during = story.write(from: 25, to: 35)
        let (first, second) = (object(version(before, 1, 1)), object(version(during, 2, 1)))
        #expect(story.backup([first, second], from: 20, to: 50) == nil)
        #expect(story.backup([first], from: 20, to: 50) == nil, "what is written meanwhile may be missing")
        #expect(story.backup([second], from: 20, to: 50) == .staleRead)
        #expect(story.backup([], from: 20, to: 50) == .staleRead)
        #expect(story.backup([], from: 5, to: 50) == nil, "nothing was acknowledged when it began")
    }

    /// No read need meet a hint; a backup takes it along.
    @Test func aBackupThatLacksWhatAHintHeld() {
        var story = Story()
        let hinted = story.history.begin(.put, key: 0, client: 0, covers: [], at: .zero)
        story.history.end(
            hinted, .acknowledged, needed: 1, primaries: 0, at: VirtualTime(nanoseconds: 10_000_000))
        story.history.setHolders(hinted, 0b1000)
        #expect(story.sees([], from: 20, to: 30, r: 3) == nil)
        #expect(story.backup([object(version(hinted, 1, 1))], from: 20, to: 30) == nil)
        #expect(story.backup([], from: 20, to: 30) == .lostWrite)
    }

    @Test func aBackupThatBringsBackWhatWasDeleted() {
        var story = Story()
        let deleted = story.write(from: 0, to: 10)
        story.write(.delete, over: [deleted], from: 12, to: 18)
        let held = object(version(deleted, 1, 1))
        var tombstone = held
        tombstone.delete(context: held.clock)
        #expect(story.backup([held, tombstone], from: 20, to: 30) == nil)
        #expect(story.backup([], from: 20, to: 30) == nil, "the tombstone was reaped before")
        #expect(story.backup([held], from: 20, to: 30) == .staleRead)
        #expect(story.backup([held], from: 15, to: 30) == nil, "the delete was acknowledged after it had begun")
    }

    // MARK: Dots, disks, leaves, listings

    private static let key = ObjectKey(
        bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k"))

    private func version(_ value: Int, _ actor: UInt64, _ counter: UInt64) -> Sibling {
        Sibling(
            dot: Dot(actor: Actor(rawValue: actor), counter: counter), timestamp: HybridTimestamp(rawValue: 5),
            value: SimulatedValue.encode(value, bytes: 8))
    }

    @Test func aDotForTwoVersions() {
        var story = Story()
        story.write(from: 0, to: 10)
        story.write(from: 0, to: 10)
        var dots = DotRegistry()
        #expect(dots.note(version(0, 1, 1), key: 0, in: story.history) == nil)
        #expect(dots.note(version(0, 1, 1), key: 0, in: story.history) == nil)
        #expect(dots.note(version(1, 1, 1), key: 0, in: story.history)?.promise == .dotReissued)
    }

    @Test func twoDotsForOneWrite() {
        var story = Story()
        let v = story.write(from: 0, to: 10)
        var dots = DotRegistry()
        _ = dots.note(version(v, 1, 1), key: 0, in: story.history)
        #expect(dots.note(version(v, 2, 1), key: 0, in: story.history)?.promise == .duplicatedWrite)
        var retried = Story()
        let w = retried.write(from: 0, to: 10)
        retried.history.retry(w)
        var others = DotRegistry()
        _ = others.note(version(w, 1, 1), key: 0, in: retried.history)
        #expect(others.note(version(w, 2, 1), key: 0, in: retried.history) == nil)
        #expect(others.dots(of: w).count == 2)
    }

    @Test func aWriteThatIsNotOnTheDisks() {
        var story = Story()
        let v = story.write(from: 0, to: 10)
        var object = VersionedObject(mode: .siblings)
        let sibling = version(v, 1, 1)
        object.put(sibling, context: VersionVector(), mode: .siblings)
        let checker = DurabilityChecker()
        let copies: [(node: Int, object: VersionedObject?)] = [(0, object), (1, nil), (2, object)]
        let holders = checker.holders(of: v, dots: [sibling.dot], copies: copies, in: story.history)
        #expect(holders == 0b101)
        let write = story.history.writes[v]
        func check(
            _ needed: Int, _ primaries: Int, _ fallbacks: Int = 0, pw: Int = 0, sloppy: Bool = true, own: UInt64? = nil
        ) -> Violation.Promise? {
            checker.check(
                write, holders: holders, needed: needed,
                participation: Participation(primaries: primaries, fallbacks: fallbacks), primaryHolders: own,
                neededPrimaries: pw, isSloppy: sloppy)?.promise
        }
        #expect(check(2, 2) == nil)
        #expect(check(3, 3) == .notDurable)
        #expect(check(2, 1) == .wrongAnswer)
        #expect(check(2, 1, 1) == nil)
        #expect(check(2, 1, 1, pw: 2) == .wrongAnswer)
        #expect(check(2, 1, 1, sloppy: false) == .wrongAnswer)
        #expect(check(2, 2, own: 1) == .notDurable)
        #expect(checker.check(shown: sibling.dot, name: "v", key: 0, copies: copies) == nil)
        #expect(checker.check(shown: sibling.dot, name: "v", key: 0, copies: [(1, nil)])?.promise == .notDurable)
    }

    /// It was stamped, and lost within its own turn to a write that cannot have begun before it ended.
    @Test(arguments: [false, true]) func anOlderRegisterValueThatBeatAnAcknowledgedWrite(isRepeated: Bool) {
        var story = Story(.lww)
        let older = story.write(from: 0, to: 10)
        if isRepeated {
            story.history.retry(older)
            story.history.end(older, .indeterminate, at: VirtualTime(nanoseconds: 12_000_000))
        }
        let newer = story.write(from: 20, to: 30)
        var object = VersionedObject(mode: .lww)
        object.put(version(older, 1, 1), context: VersionVector(), mode: .lww)
        let holders = DurabilityChecker().holders(of: newer, dots: [], copies: [(0, object)], in: story.history)
        #expect(holders == (isRepeated ? 1 : 0), "a retry of the older one may have been stamped last")
    }

    @Test func aLeafThatIsNotTheSumOfItsRecords() {
        let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
        let seed = HashSeed(rawValue: 42)
        var object = VersionedObject(mode: .siblings)
        object.put(version(0, 1, 1), context: VersionVector(), mode: .siblings)
        let record = Record(header: LocalHeader(copies: 3), body: object.encoded).encoded(for: Self.key)
        let tree = TreeID(partition: layout.ringSize.partition(of: Self.key.position), copies: 3)
        let hash = seed.contentHash(key: Self.key, body: object.encoded).rawValue
        var table = LeafTable(layout: layout)
        let checker = LeafChecker(layout: layout, hashSeed: seed)
        #expect(checker.check(table, records: [(Self.key, record)])?.promise == .leafMismatch)
        table.apply(LeafChange(tree: tree, leaf: layout.leaf(of: Self.key.position), delta: hash))
        #expect(checker.check(table, records: [(Self.key, record)]) == nil)
        #expect(checker.check(table, records: [])?.promise == .leafMismatch)
        // The same sum, in another leaf.
        var moved = LeafTable(layout: layout)
        moved.apply(LeafChange(tree: tree, leaf: (layout.leaf(of: Self.key.position) + 1) % 64, delta: hash))
        #expect(checker.check(moved, records: [(Self.key, record)])?.promise == .leafMismatch)
    }

    @Test func aListing() {
        var story = Story()
        #expect(ListingChecker().check([0], in: story.history)?.promise == .wrongListing, "nobody put to it")
        story.write(from: 0, to: 10)
        #expect(ListingChecker().check([0], in: story.history) == nil)
        #expect(ListingChecker().check([nil], in: story.history)?.promise == .wrongListing)
        #expect(ListingChecker().checkFinal([0], live: [0]) == nil)
        #expect(ListingChecker().checkFinal([], live: [0])?.promise == .wrongListing)
        #expect(ListingChecker().checkFinal([0, 0], live: [0])?.promise == .wrongListing)
        #expect(ListingChecker().checkFailure(others: 1, limit: 1) == nil)
        #expect(ListingChecker().checkFailure(others: 0, limit: 1)?.promise == .wrongListing)
        #expect(ListingChecker().checkFailure(others: 1, limit: 16)?.promise == .wrongListing)
    }
}
