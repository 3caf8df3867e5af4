import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct GetTests {
    private let x = "{A:1} A:1=x@5"
    private let y = "{A:1 B:1} B:1=y@6"

    @Test func ownReplicaFirstThenAnAgreeingHash() {
        var node = CoordinatorDialogue()
        #expect(node.get() == ["own: read full"])
        #expect(node.hears(1, "object \(x)") == ["2: read unless \(x)"])
        #expect(node.hears(2, "same") == ["answer: {A:1} A:1=x by 2"])
        #expect(node.coordinator.isIdle)
        #expect(node.coordinator.nextDeadline == nil)
    }

    @Test func oneNeedsNobodyElse() {
        var node = CoordinatorDialogue()
        #expect(node.get("r=1") == ["own: read full"])
        #expect(node.hears(1, "object \(x)") == ["answer: {A:1} A:1=x by 1"])
        #expect(node.coordinator.isIdle)
    }

    @Test func nothingAnywhere() {
        var node = CoordinatorDialogue()
        _ = node.get()
        #expect(node.hears(1, "absent") == ["2: read full"])
        #expect(node.hears(2, "absent") == ["answer: absent by 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func disagreementIsWrittenBackBeforeTheAnswer() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        // Node 2 is ahead; it counts for itself, and this node's own copy must follow before the client hears.
        #expect(node.hears(2, "object \(y)") == ["own: write \(y)", "repaired 1"])
        #expect(node.coordinator.openCount == 1)
        #expect(node.wrote(1) == ["answer: {A:1 B:1} B:1=y by 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func concurrentVersionsAreMergedAndWrittenBackToBoth() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        let merged = "{A:1 B:1} A:1=x@5 B:1=z@7"
        #expect(
            node.hears(2, "object {B:1} B:1=z@7") == ["own: write \(merged)", "2: write \(merged)", "repaired 2"])
        #expect(node.wrote(2) == [])
        #expect(node.wrote(2) == [], "one replica counts once")
        #expect(node.wrote(1) == ["answer: {A:1 B:1} A:1=x B:1=z by 2"])
    }

    @Test func quorumsThatDoNotOverlapAnswerAtOnce() {
        var node = CoordinatorDialogue()
        _ = node.get("r=1")
        #expect(node.hears(1, "object \(x)") == ["answer: {A:1} A:1=x by 1"])
    }

    @Test func readingOneOfAWriteToAllStillMakesAllHoldIt() {
        var properties = BucketProperties()
        properties.w = .all
        var node = CoordinatorDialogue(properties: properties)
        _ = node.get("r=1")
        #expect(node.hears(1, "object \(x)") == ["2: write \(x)", "3: write \(x)"])
        #expect(node.wrote(3) == [])
        #expect(node.wrote(2) == ["answer: {A:1} A:1=x by 1"])
    }

    @Test func writeBackThatFailsGoesToAnother() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.hears(2, "object \(y)")
        #expect(node.wrote(1, "failed") == ["3: write \(y)"])
        #expect(node.down(3) == ["answer: failed 1 of 2"])
    }

    @Test func writeBackThatIsSlowGoesToAnotherToo() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.hears(2, "object \(y)")
        #expect(node.passes(.milliseconds(21)) == ["3: write \(y)"])
        #expect(node.wrote(3) == ["answer: {A:1 B:1} B:1=y by 2"])
    }

    @Test func aDiskReadIsNotWaitedFor() {
        var node = CoordinatorDialogue()
        _ = node.get()
        #expect(node.ownDeferred() == ["2: read full"])
        #expect(node.hears(2, "object \(x)") == [])
        #expect(node.hears(1, "object \(x)") == ["answer: {A:1} A:1=x by 2"])
    }

    @Test func aNodeWithoutReplicaReadsOneWholeAndHashesOfTheRest() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        #expect(node.get("r=3") == ["1: read full", "2: read hash", "3: read hash"])
        #expect(node.hears(2, "hash \(x)") == [])
        #expect(node.hears(1, "object \(x)") == [])
        #expect(node.hears(3, "hash \(x)") == ["answer: {A:1} A:1=x by 3"])
    }

    @Test func aHashThatDiffersIsFetched() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.get()
        #expect(node.hears(2, "hash \(y)") == [])
        #expect(node.hears(1, "object \(x)") == ["2: read unless \(x)"])
        #expect(node.hears(2, "object \(y)") == ["1: write \(y)", "repaired 1"])
        #expect(node.wrote(1) == ["answer: {A:1 B:1} B:1=y by 2"])
    }

    @Test func aHashWithNothingToCompareIsFetchedWhole() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.get()
        #expect(node.hears(1, "absent") == [])
        #expect(node.hears(2, "hash \(x)") == ["2: read full"])
        #expect(node.hears(2, "object \(x)") == ["1: write \(x)", "repaired 1"])
        #expect(node.wrote(1) == ["answer: {A:1} A:1=x by 2"])
    }

    @Test func aHashOfWhatWasHeldBeforeIsStaleAndNotFetched() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.get("r=3")
        _ = node.hears(1, "object \(x)")
        #expect(node.hears(2, "hash \(y)") == ["2: read unless \(x)"])
        #expect(node.hears(2, "object \(y)") == [])
        #expect(node.hears(3, "hash \(x)") == ["1: write \(y)", "3: write \(y)", "repaired 2"])
        #expect(node.wrote(3) == ["answer: {A:1 B:1} B:1=y by 3"])
    }

    @Test func oneMoreIsAskedWhenAnAnswerTakesLong() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        #expect(node.passes(.milliseconds(19)) == [])
        #expect(node.passes(.milliseconds(2)) == ["speculativeRead", "3: read unless \(x)"])
        #expect(node.hears(3, "same") == ["answer: {A:1} A:1=x by 2"])
        // The slow one is late, and behind.
        #expect(node.hears(2, "absent") == ["2: write \(x)", "repaired 1"])
        #expect(node.coordinator.isIdle)
    }

    @Test func aLateVersionRepairsTheOthersToo() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.passes(.milliseconds(21))
        _ = node.hears(3, "same")
        #expect(node.hears(2, "object \(y)") == ["own: write \(y)", "3: write \(y)", "repaired 2"])
    }

    @Test func lateAnswersAreNotWaitedForLong() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.passes(.milliseconds(21))
        _ = node.hears(3, "same")
        #expect(node.coordinator.openCount == 0)
        #expect(!node.coordinator.isIdle)
        #expect(node.passes(.seconds(2)) == [])
        #expect(node.coordinator.isIdle)
    }

    @Test func anUnreadableRecordIsNoVote() {
        var node = CoordinatorDialogue()
        _ = node.get()
        #expect(node.hears(1, "unreadable") == ["2: read full", "3: read hash"])
        #expect(node.hears(2, "absent") == [])
        #expect(node.hears(3, "absent") == ["answer: absent by 2"])
    }

    @Test func tooManyFailuresEndItAtOnce() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "unreadable")
        #expect(node.hears(2, "object \(x)") == [])
        #expect(node.hears(3, "overloaded") == ["answer: failed 1 of 2"])
    }

    @Test func nobodyCanReadIt() {
        var node = CoordinatorDialogue()
        _ = node.get("r=1")
        #expect(node.hears(1, "unreadable") == ["2: read full"])
        #expect(node.hears(2, "unreadable") == ["3: read full"])
        #expect(node.hears(3, "unreadable") == ["answer: refused unreadable"])
    }

    @Test func garbageIsAFailure() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        #expect(node.hears(2, "garbage") == ["3: read unless \(x)"])
    }

    @Test func aReplicaCountsOnceHoweverOftenItsAnswerCame() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.get()
        _ = node.hears(1, "absent")
        #expect(node.hears(1, "absent") == [])
        #expect(node.hears(4, "absent") == [], "not a replica")
        #expect(node.hears(3, "absent") == [], "not asked")
        #expect(node.coordinator.openCount == 1)
    }

    @Test func oneThatGoesDownIsReplaced() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        #expect(node.down(2) == ["3: read unless \(x)"])
        #expect(node.down(3) == ["answer: failed 1 of 2"])
    }

    @Test func oneThatIsDownIsNotAsked() {
        var node = CoordinatorDialogue(up: [1, 3])
        _ = node.get()
        #expect(node.hears(1, "object \(x)") == ["3: read unless \(x)"])
    }

    @Test func withoutAQuorumNothingIsAsked() {
        var node = CoordinatorDialogue(up: [1])
        #expect(node.get() == ["answer: failed 0 of 2"])
        #expect(node.get("r=1 pr=2") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
        #expect(node.coordinator.isIdle)
    }

    @Test func theDeadline() {
        var node = CoordinatorDialogue()
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.passes(.milliseconds(21))
        #expect(node.passes(.seconds(10)) == ["answer: failed 1 of 2 in time"])
        #expect(node.coordinator.isIdle)
    }

    @Test func theDeadlineOfAWriteBack() {
        var node = CoordinatorDialogue(up: [1, 2])
        _ = node.get()
        _ = node.hears(1, "object \(x)")
        _ = node.hears(2, "object \(y)")
        #expect(node.passes(.seconds(11)) == ["answer: failed 1 of 2 in time"])
    }

    @Test func notFoundThatDoesNotCount() {
        var node = CoordinatorDialogue()
        _ = node.get("notfound_ok=false")
        #expect(node.hears(1, "absent") == ["2: read full", "3: read hash"])
        #expect(node.hears(2, "object \(x)") == [])
        #expect(node.hears(3, "hash \(x)") == ["own: write \(x)", "repaired 1", "answer: {A:1} A:1=x by 3"])
    }

    @Test func notFoundThatDoesNotCountStillEnds() {
        var node = CoordinatorDialogue()
        _ = node.get("notfound_ok=false")
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "absent") == ["answer: absent by 2"])
    }

    /// One replica that holds nothing says nothing of what the others have acknowledged.
    @Test func notFoundOfOneIsNoAnswerOfAll() {
        var node = CoordinatorDialogue()
        _ = node.get("r=all notfound_ok=false")
        #expect(node.hears(1, "absent") == ["2: read full", "3: read hash"])
        #expect(node.hears(2, "absent") == [])
        #expect(node.hears(3, "absent") == ["answer: absent by 3"])

        _ = node.get("r=all notfound_ok=false")
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "object \(x)").last == "answer: failed 1 of 3")
    }

    @Test func notFoundBesideAFailureIsNoAnswer() {
        var node = CoordinatorDialogue()
        _ = node.get("notfound_ok=false")
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "unreadable") == ["answer: failed 0 of 2"])
    }

    @Test func basicQuorumEndsOnAMajorityOfNothing() {
        var properties = BucketProperties()
        properties.n = 5
        var node = CoordinatorDialogue(members: 5, properties: properties)
        _ = node.get("r=2 notfound_ok=false basic_quorum=true")
        #expect(node.hears(1, "absent") == ["2: read full", "3: read hash"])
        #expect(node.hears(2, "absent") == ["4: read full"])
        #expect(node.hears(3, "absent") == ["answer: absent by 3"])
    }

    /// However basic the quorum, what fewer than PR primaries hold is no answer.
    @Test func basicQuorumDoesNotPassOverPrimaries() {
        var node = CoordinatorDialogue()
        _ = node.get("r=1 pr=all notfound_ok=false basic_quorum=true")
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "absent") == [])
        #expect(node.hears(3, "absent") == ["answer: absent by 3"])

        _ = node.get("r=1 pr=all notfound_ok=false basic_quorum=true")
        _ = node.hears(1, "absent")
        _ = node.hears(2, "absent")
        #expect(node.down(3).last?.hasPrefix("answer: failed") == true)
    }

    @Test func theClientsClock() {
        var node = CoordinatorDialogue()
        _ = node.get("r=1", unless: "{A:1}")
        #expect(node.hears(1, "object \(x)") == ["answer: unchanged by 1"])
        _ = node.get("r=1", unless: "{A:2}")
        #expect(node.hears(1, "object \(x)") == ["answer: {A:1} A:1=x by 1"])
    }

    @Test func whatAClientIsShown() {
        var node = CoordinatorDialogue()
        _ = node.get("r=1", headOnly: true)
        #expect(node.hears(1, "object \(x)") == ["answer: {A:1} A:1= (head) by 1"])
        _ = node.get("r=1")
        #expect(
            node.hears(1, "object {A:1 B:1 C:1} A:1=x@5#7 B:1=x@6#7 C:1=z@7") == [
                "answer: {A:1 B:1 C:1} A:1=x C:1=z by 1"
            ])
        _ = node.get("r=1")
        #expect(node.hears(1, "object lww {A:1} A:1=†@9") == ["answer: {A:1} by 1"])
        _ = node.get("r=1")
        #expect(node.hears(1, "object {A:1}") == ["answer: {A:1} by 1"])
    }

    @Test func whatHasExpiredIsNotShown() {
        let object = VersionedObject.expiring(at: 2_000)
        #expect(ClientObject(object, at: WallTime(microseconds: 1_999), headOnly: false).siblings.count == 1)
        #expect(ClientObject(object, at: WallTime(microseconds: 2_000), headOnly: false).isTombstone)
    }

    @Test func aClientThatGoesAwayEndsItsRead() {
        var node = CoordinatorDialogue()
        _ = node.get()
        node.cancelLast()
        #expect(node.coordinator.isIdle)
        #expect(node.hears(1, "object \(x)") == [])
    }

    @Test func boundsAndDrain() {
        var limits = LaneLimits()
        limits.operations = 1
        var node = CoordinatorDialogue(limits: limits)
        _ = node.get()
        #expect(node.get() == ["overloaded", "answer: refused overloaded"])
        node.coordinator.drain()
        #expect(node.get() == ["answer: refused shuttingDown"])
        _ = node.hears(1, "object \(x)")
        #expect(node.hears(2, "same") == ["answer: {A:1} A:1=x by 2"])
    }
}

extension VersionedObject {
    fileprivate static func expiring(at microseconds: UInt64) -> VersionedObject {
        var object = VersionedObject(mode: .siblings)
        let dot = Dot(actor: ObjectNotation.actor("A"), counter: 1)
        object.put(
            Sibling(
                dot: dot, timestamp: HybridTimestamp(rawValue: 5), expiry: WallTime(microseconds: microseconds),
                value: ByteBuffer(string: "x")),
            context: VersionVector(), mode: .siblings)
        return object
    }
}
