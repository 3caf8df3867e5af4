// Minting: actors, dots, stamps, conditions and caps.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodeMintTests {
    private func lane(
        _ object: String? = nil, minting: (actor: Character, incarnation: UInt64, counter: UInt64)? = nil,
        limits: LaneLimits = LaneLimits()
    ) -> VnodeDialogue {
        let header = minting.map {
            LocalHeader.MintingActor(
                actor: ObjectNotation.actor($0.actor), incarnation: Incarnation(rawValue: $0.incarnation),
                counter: $0.counter)
        }
        return VnodeDialogue(
            limits: limits, store: object.map { ["k": VnodeDialogue.record("k", $0, minting: header)] } ?? [:])
    }

    /// What a mint wrote, or why it did not.
    private func outcome(_ lane: inout VnodeDialogue) -> [String] {
        let told = lane.arrives("k")
        return told + lane.turnEnds()
    }

    // MARK: Siblings

    @Test func aPutReplacesWhatItsContextCoversAndJoinsTheRest() {
        var lane = lane("{A:2 B:1} A:2=x@5 B:1=y@6")
        _ = lane.put("k", "z", context: "{A:2}@5", by: "c1")
        #expect(
            outcome(&lane) == ["write k {A:2 B:1 a1:1} B:1=y@6 a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func aPutWithoutContextIsConcurrentWithAllThatStands() {
        var lane = lane("{A:2} A:2=x@5")
        _ = lane.put("k", "z", by: "c1")
        #expect(outcome(&lane) == ["write k {A:2 a1:1} A:2=x@5 a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func aPutRemembersAContextThatIsAheadOfTheRecord() {
        var lane = lane("{A:1} A:1=x@5")
        _ = lane.put("k", "z", context: "{A:3 C:9}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:3 C:9 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func aDeleteTakesNoDotAndLeavesATombstone() {
        var lane = lane("{A:2} A:2=x@5", minting: ("A", 1, 2))
        _ = lane.delete("k", context: "{A:2}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:2}, A:2, leaf n3", "commit 1"])
        #expect(lane.committed(1) == ["c1: minted nothing in {A:2}"])
        #expect(lane.synced(1) == ["c1: synced"])
    }

    @Test func aDeleteOfWhatWasNeverSeenHereIsRemembered() {
        var lane = lane()
        _ = lane.delete("k", context: "{A:2}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:2}, leaf n3", "commit 1"])
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func aDeleteOfNothingByNobodyWritesNothing() {
        var lane = lane()
        _ = lane.delete("k", by: "c1")
        #expect(outcome(&lane) == ["c1: refused notFound"])
        #expect(lane.isIdle)
    }

    // MARK: Actors

    @Test func theActorThatMintedInThisIncarnationMintsOn() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 1, 4))
        _ = lane.put("k", "z", context: "{A:4}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:5} A:5=z@1000, A:5, leaf n3", "commit 1"])
    }

    @Test func aDotThatWasDeletedIsNotMintedAgain() {
        // The header's counter is ahead of the clock only when the record's object was made by a rollback.
        var lane = lane("{A:3} A:3=x@5", minting: ("A", 1, 7))
        _ = lane.put("k", "z", context: "{A:3}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:8} A:8=z@1000, A:8, leaf n3", "commit 1"])
    }

    @Test func aFreshActorIsDrawnInEveryIncarnation() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 99, 4))
        _ = lane.put("k", "z", context: "{A:4}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:4 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
        _ = lane.committed(1)
        var restarted = lane.restarted(incarnation: 2)
        _ = restarted.put("k", "y", by: "c1")
        #expect(
            outcome(&restarted)
                == [
                    "write k {A:4 a1:1 a2:1} a1:1=z@1000 a2:1=y@1001, a2:1, leaf n3", "commit 1",
                ].map { sorted($0, by: restarted) })
        #expect(restarted.header("k")?.minting?.incarnation == Incarnation(rawValue: 1))
        _ = restarted.committed(1)
        #expect(restarted.header("k")?.minting?.incarnation == Incarnation(rawValue: 2))
    }

    /// Drawn actors stand in the order of their numbers, which the test does not know.
    private func sorted(_ line: String, by lane: VnodeDialogue) -> String {
        guard lane.notation.actor(named: "a2") < lane.notation.actor(named: "a1") else { return line }
        return line.replacing("a1:1 a2:1}", with: "a2:1 a1:1}")
            .replacing("a1:1=z@1000 a2:1=y@1001", with: "a2:1=y@1001 a1:1=z@1000")
    }

    @Test func anActorCarriesItsNodesTag() {
        var lane = lane()
        _ = lane.put("k", "z", by: "c1")
        _ = outcome(&lane)
        #expect(lane.notation.actor(named: "a1").rawValue >> 48 == UInt64(VnodeDialogue.node.tag))
    }

    @Test func aContextThatIsAheadOfTheActorProvesAmnesia() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 1, 4))
        _ = lane.put("k", "z", context: "{A:6}@5", by: "c1")
        #expect(
            outcome(&lane) == ["retired A of k", "write k {A:6 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func aRecordThatIsAheadOfItsHeaderProvesAmnesia() {
        var lane = lane("{A:5} A:5=x@5", minting: ("A", 1, 4))
        _ = lane.put("k", "z", context: "{A:5}@5", by: "c1")
        #expect(
            outcome(&lane) == ["retired A of k", "write k {A:5 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func aMergedRecordThatIsAheadOfTheActorRetiresIt() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 1, 4))
        _ = lane.merge("k", "{A:6} A:6=y@6", by: "p1")
        #expect(outcome(&lane) == ["retired A of k", "write k {A:6} A:6=y@6, leaf n3", "commit 1"])
        #expect(lane.put("k", "z", context: "{A:6}@6", by: "c2") == [])
        #expect(lane.turnEnds() == ["write k {A:6 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 2"])
    }

    @Test func aMergedRecordThatIsNotAheadLeavesTheActor() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 1, 4))
        _ = lane.merge("k", "{A:4 B:1} B:1=y@6", by: "p1")
        #expect(outcome(&lane) == ["write k {A:4 B:1} B:1=y@6, A:4, leaf n3", "commit 1"])
    }

    @Test func anActorThatHasNoCounterLeftIsNotUsed() {
        var lane = lane("{A:4} A:4=x@5", minting: ("A", 1, .max))
        _ = lane.put("k", "z", context: "{A:4}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:4 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    // MARK: Retries

    @Test func aRetryFindsItsFirstAttempt() {
        var lane = lane("{A:1 B:1} A:1=x@5#7 B:1=y@6")
        _ = lane.put("k", "x", writeID: 7, condition: .ifNoneMatch, by: "c1")
        // Not even its condition is judged again: it met it when it was made.
        #expect(
            outcome(&lane) == ["c1: minted A:1 in {A:1 B:1} A:1=x@5#7 B:1=y@6", "c1: synced"])
        #expect(lane.isIdle)
    }

    @Test func ofTwoAttemptsThatBothStandTheLowerDotIsShown() {
        var lane = lane("{A:1 B:1} A:1=x@9#7 B:1=x@6#7")
        _ = lane.put("k", "x", writeID: 7, by: "c1")
        #expect(outcome(&lane) == ["c1: minted A:1 in {A:1 B:1} A:1=x@9#7 B:1=x@6#7", "c1: synced"])
    }

    @Test func anotherWriteIsNoRetry() {
        var lane = lane("{A:1} A:1=x@5#7")
        _ = lane.put("k", "x", writeID: 8, by: "c1")
        #expect(outcome(&lane) == ["write k {A:1 a1:1} A:1=x@5#7 a1:1=x@1000#8, a1:1, leaf n3", "commit 1"])
    }

    @Test func anLwwWriteThatLostElsewhereIsStampedAgainUnderItsName() {
        var lane = lane("lww {A:1} A:1=x@5#7")
        _ = lane.put("k", "x", mode: .lww, writeID: 7, above: 2_000, by: "c1")
        #expect(outcome(&lane) == ["write k lww {A:1 a1:1} a1:1=x@2001#7, a1:1, leaf n3", "commit 1"])
    }

    // MARK: Last write wins

    @Test func anLwwPutReplacesEverythingWhateverItsContext() {
        var lane = lane("lww {A:1} A:1=x@5")
        _ = lane.put("k", "z", mode: .lww, by: "c1")
        #expect(outcome(&lane) == ["write k lww {A:1 a1:1} a1:1=z@1000, a1:1, leaf n3", "commit 1"])
    }

    @Test func anLwwDeleteIsAStampedTombstone() {
        var lane = lane("lww {A:1} A:1=x@5", minting: ("A", 1, 1))
        _ = lane.delete("k", context: "{A:1}@5", mode: .lww, by: "c1")
        #expect(outcome(&lane) == ["write k lww {A:2} A:2=†@1000, A:2, leaf n3", "commit 1"])
        #expect(lane.committed(1) == ["c1: minted A:2 in lww {A:2} A:2=†@1000"])
        // And beats a late write with a lower stamp.
        #expect(lane.merge("k", "lww {B:1} B:1=y@999", dot: "B:1", by: "p2") == [])
        #expect(lane.turnEnds() == ["write k lww {A:2 B:1} A:2=†@1000, A:2, leaf n3", "commit 2"])
        _ = lane.committed(2)
        #expect(lane.synced(2) == ["c1: synced", "p2: superseded by @1000"])
    }

    @Test func aRecordOfABucketThatBecameLwwIsAdoptedByItsNextWrite() {
        var lane = lane("{A:1 B:1} A:1=x@1500 B:1=y@6")
        _ = lane.put("k", "z", mode: .lww, by: "c1")
        #expect(outcome(&lane) == ["write k lww {A:1 B:1 a1:1} a1:1=z@1501, a1:1, leaf n3", "commit 1"])
    }

    @Test func anLwwRecordStaysOneWhateverTheAskerThinksOfItsBucket() {
        var lane = lane("lww {A:1} A:1=x@5")
        _ = lane.delete("k", context: "{A:1}@5", mode: .siblings, by: "c1")
        #expect(outcome(&lane) == ["write k lww {A:1 a1:1} a1:1=†@1000, a1:1, leaf n3", "commit 1"])
        #expect(lane.put("k", "z", mode: .siblings, by: "c2") == [])
        #expect(lane.turnEnds() == ["write k lww {A:1 a1:2} a1:2=z@1001, a1:2, leaf n3", "commit 2"])
    }

    // MARK: Stamps

    @Test(arguments: [
        (record: 5, context: 0, above: 0, stamp: 1_000), (record: 1_500, context: 0, above: 0, stamp: 1_501),
        (record: 5, context: 1_600, above: 0, stamp: 1_601), (record: 5, context: 0, above: 1_700, stamp: 1_701),
        (record: 1_000, context: 1_000, above: 1_000, stamp: 1_001),
    ])
    func aStampIsAboveEveryStampThatItsWriterSaw(record: Int, context: Int, above: UInt64, stamp: Int) {
        for mode in ConflictMode.allCases {
            let prefix = mode == .lww ? "lww " : ""
            var lane = lane("\(prefix){A:1} A:1=x@\(record)", minting: ("A", 1, 1))
            _ = lane.put("k", "z", context: "{A:1}@\(context)", mode: mode, above: above, by: "c1")
            #expect(outcome(&lane) == ["write k \(prefix){A:2} A:2=z@\(stamp), A:2, leaf n3", "commit 1"])
        }
    }

    @Test func anLwwWriteWhoseStampWouldBeTooFarAheadIsRefused() {
        let bound = 1_000 + HybridTimestamp.maximumAheadMicroseconds
        var lane = lane("lww {A:1} A:1=x@\(bound)", minting: ("A", 1, 1))
        _ = lane.put("k", "z", mode: .lww, by: "c1")
        #expect(outcome(&lane) == ["c1: refused clockTooFarBehind"])
        #expect(lane.isIdle)
        lane.wall.microseconds += 1
        _ = lane.put("k", "z", mode: .lww, by: "c2")
        #expect(outcome(&lane) == ["write k lww {A:2} A:2=z@\(bound + 1), A:2, leaf n3", "commit 1"])
    }

    @Test(arguments: [(1_000 + HybridTimestamp.maximumAheadMicroseconds, 1 as UInt64), (.max, 0)])
    func aSiblingIsNeverRefusedForItsStamp(floor: UInt64, step: UInt64) {
        var lane = lane("{A:1} A:1=x@\(floor)", minting: ("A", 1, 1))
        _ = lane.put("k", "z", context: "{A:1}@5", by: "c1")
        #expect(outcome(&lane) == ["write k {A:2} A:2=z@\(floor + step), A:2, leaf n3", "commit 1"])
    }

    // MARK: Conditions

    @Test func ifNoneMatchIsMetByWhatIsAbsentDeletedOrExpired() {
        for object in [nil, "{A:1}", "lww {A:1} A:1=†@5"] {
            var lane = lane(object)
            _ = lane.put("k", "z", condition: .ifNoneMatch, by: "c1")
            #expect(outcome(&lane).last == "commit 1")
        }
        var lane = lane()
        _ = lane.put("k", "x", expiry: WallTime(microseconds: 2_000), by: "c1")
        _ = outcome(&lane)
        #expect(lane.committed(1).count + lane.synced(1).count == 2)
        _ = lane.put("k", "z", condition: .ifNoneMatch, by: "c2")
        #expect(outcome(&lane) == ["c2: refused matchFound"])
        lane.wall.microseconds = 2_000
        _ = lane.put("k", "z", condition: .ifNoneMatch, by: "c3")
        #expect(outcome(&lane).last == "commit 2")
    }

    @Test func ifNotModifiedIsMetByTheVeryClock() {
        let clock = ObjectNotation().clock("{A:1}")
        for (object, told) in [
            (nil, "c1: refused notFound"), ("{A:2} A:2=x@5", "c1: refused modified"),
            ("{A:1 B:1} B:1=x@5", "c1: refused modified"), ("{A:1} A:1=x@5", "commit 1"),
            ("{A:1}", "c1: refused notFound"),
        ] {
            var lane = lane(object)
            _ = lane.put("k", "z", condition: .ifNotModified(clock), by: "c1")
            #expect(outcome(&lane).last == told, "\(object ?? "absent")")
        }
    }

    // MARK: Caps

    @Test func aVersionThatIsTooLargeIsRefused() {
        var limits = LaneLimits()
        limits.objectBytes = 3
        var lane = lane("{A:1} A:1=four@5", limits: limits)
        _ = lane.put("k", "four", by: "c1")
        #expect(outcome(&lane) == ["c1: refused objectTooLarge(bytes: 4, limit: 3)"])
        _ = lane.put("k", "tre", by: "c2")
        #expect(outcome(&lane).last == "commit 1")
    }

    @Test func siblingsAreCountedAsTheyWouldStand() {
        var limits = LaneLimits()
        limits.siblings = 2
        var lane = lane("{A:1 B:1} A:1=x@5 B:1=y@5", minting: ("A", 1, 1), limits: limits)
        _ = lane.put("k", "z", by: "c1")
        #expect(outcome(&lane) == ["c1: refused tooManySiblings(count: 3, limit: 2)"])
        #expect(lane.isIdle)
        _ = lane.put("k", "z", context: "{A:1}@5", by: "c2")
        // The refused write took no dot.
        #expect(outcome(&lane) == ["write k {A:2 B:1} A:2=z@1000 B:1=y@5, A:2, leaf n3", "commit 1"])
    }

    @Test func bytesOfSiblingsAreSummedAsTheyWouldStand() {
        var limits = LaneLimits()
        limits.siblingBytes = 5
        var lane = lane("{A:1} A:1=xxx@5", minting: ("A", 1, 1), limits: limits)
        _ = lane.put("k", "zzz", by: "c1")
        #expect(outcome(&lane) == ["c1: refused siblingsTooLarge(bytes: 6, limit: 5)"])
        _ = lane.put("k", "zzz", context: "{A:1}@5", by: "c2")
        #expect(outcome(&lane).last == "commit 1")
    }

    @Test func aRefusalForSizeNeedNotWaitForASync() {
        var limits = LaneLimits()
        limits.siblings = 1
        var lane = lane(limits: limits)
        _ = lane.put("k", "x", by: "c1")
        #expect(outcome(&lane).last == "commit 1")
        #expect(lane.put("k", "y", by: "c2") == ["c2: refused tooManySiblings(count: 2, limit: 1)"])
    }

    @Test func aMergeIsNeverRefusedForItsSize() {
        var limits = LaneLimits()
        limits.siblings = 1
        limits.siblingBytes = 1
        limits.objectBytes = 1
        var lane = lane("{A:1} A:1=xxx@5", limits: limits)
        _ = lane.merge("k", "{B:1} B:1=yyy@5", by: "p1")
        #expect(outcome(&lane) == ["write k {A:1 B:1} A:1=xxx@5 B:1=yyy@5, leaf n3", "commit 1"])
    }
}
