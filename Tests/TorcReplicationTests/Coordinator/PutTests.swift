import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct PutTests {
    private let x = "{A:1} A:1=x@5"

    @Test func mintedHereSentToTheOthersAcknowledgedWhenSynced() {
        var node = CoordinatorDialogue()
        #expect(node.put("x") == ["own: mint x"])
        #expect(node.minted(x, dot: "A:1") == ["2: write \(x)", "3: write \(x)"])
        #expect(node.wrote(3) == [], "this node's own copy is not synced yet")
        #expect(node.mintSynced() == ["answer: ok by 2"])
        #expect(node.wrote(2) == [], "too late to be told")
        #expect(node.coordinator.isIdle)
        #expect(node.coordinator.nextDeadline == nil)
    }

    @Test func aReplicaCountsOnce() {
        var node = CoordinatorDialogue()
        _ = node.put("x")
        _ = node.minted(x, dot: "A:1")
        #expect(node.wrote(2) == [])
        #expect(node.wrote(2) == [])
        #expect(node.wrote(3) == ["answer: ok by 2"])
    }

    @Test func aStrangerCountsForNothing() {
        var node = CoordinatorDialogue(members: 5)
        _ = node.put("x")
        _ = node.minted(x, dot: "A:1")
        #expect(node.wrote(4) == [])
        #expect(node.wrote(2) == [])
        #expect(node.coordinator.openCount == 1)
    }

    @Test func theObjectIsReturnedWhenAskedFor() {
        var node = CoordinatorDialogue()
        _ = node.put("x", "w=1 dw=1", returning: .full)
        _ = node.minted("{A:1 B:1} A:1=x@5 B:1=y@4", dot: "A:1")
        #expect(node.mintSynced() == ["answer: ok by 1 {A:1 B:1} A:1=x B:1=y"])
        _ = node.put("x", "w=1 dw=1", returning: .head)
        _ = node.minted(x, dot: "A:1")
        #expect(node.mintSynced() == ["answer: ok by 1 {A:1} A:1= (head)"])
    }

    @Test func theContextGoesToTheReplica() {
        var node = CoordinatorDialogue()
        #expect(node.put("x", context: "{A:1 B:2}") == ["own: mint x over {A:1 B:2}"])
    }

    @Test func withTooFewReplicasNothingIsSent() {
        var node = CoordinatorDialogue(up: [1])
        #expect(node.put("x") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
        #expect(node.put("x", "w=1") == ["answer: refused unreachable(needed: 2, reachable: 1)"], "dw is 2 still")
        #expect(node.put("x", "w=1 dw=0") == ["own: mint x"])
    }

    @Test func aRefusalOfTheReplicaIsTheClients() {
        var node = CoordinatorDialogue()
        _ = node.put("x")
        #expect(
            node.mintRefused(.tooManySiblings(count: 101, limit: 100)) == [
                "answer: refused tooManySiblings(count: 101, limit: 100)"
            ])
        #expect(node.coordinator.isIdle)
    }

    @Test func whoseCopiesCannotBeHadIsIndeterminateAtOnce() {
        var node = CoordinatorDialogue()
        _ = node.put("x")
        _ = node.minted(x, dot: "A:1")
        #expect(node.wrote(2, "failed") == [])
        #expect(node.mintSynced() == [])
        #expect(node.down(3) == ["answer: indeterminate 1 of 2"])
    }

    @Test func theDeadline() {
        var node = CoordinatorDialogue()
        _ = node.put("x")
        #expect(node.passes(.seconds(10)) == ["answer: indeterminate 0 of 2"])
        _ = node.put("x")
        _ = node.minted(x, dot: "A:1")
        _ = node.wrote(2)
        #expect(node.passes(.seconds(10)) == ["answer: indeterminate 1 of 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func oversize() {
        var limits = LaneLimits()
        limits.objectBytes = 3
        var node = CoordinatorDialogue(limits: limits)
        #expect(node.put("1234") == ["answer: refused objectTooLarge(bytes: 4, limit: 3)"])
    }

    @Test func aClientThatGoesAwayLeavesItsWrite() {
        var node = CoordinatorDialogue()
        _ = node.put("x")
        node.cancelLast()
        #expect(node.minted(x, dot: "A:1") == ["2: write \(x)", "3: write \(x)"])
        #expect(node.wrote(2) == [])
        #expect(node.mintSynced() == [])
        #expect(node.coordinator.isIdle)
    }
}

@Suite struct LwwPutTests {
    private var lww: BucketProperties {
        var properties = BucketProperties()
        properties.conflictMode = .lww
        return properties
    }

    private let mine = "lww {A:1} A:1=x@5"
    private let again = "lww {A:2} A:2=x@10"

    @Test func aLoserIsStampedAgainBeforeTheAnswer() {
        var node = CoordinatorDialogue(properties: lww)
        #expect(node.put("x") == ["own: mint x lww"])
        #expect(
            node.minted(mine, dot: "A:1") == ["2: write \(mine), fate of A:1", "3: write \(mine), fate of A:1"])
        let first = node.lastWrite
        let firstMint = node.lastMint
        #expect(node.wrote(2, "superseded 9") == ["stamped again", "own: mint x lww above @9"])
        _ = node.minted(again, dot: "A:2")
        // Acknowledgements of the first stamp say nothing of the second.
        #expect(node.wrote(3, of: first) == [])
        #expect(node.replied(firstMint, .mintSynced) == [])
        #expect(node.mintSynced() == [])
        #expect(node.wrote(2) == ["answer: ok by 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func notForEver() {
        var limits = LaneLimits()
        limits.lwwRestamps = 1
        var node = CoordinatorDialogue(limits: limits, properties: lww)
        _ = node.put("x")
        _ = node.minted(mine, dot: "A:1")
        _ = node.wrote(2, "superseded 9")
        _ = node.minted(again, dot: "A:2")
        _ = node.wrote(3)
        #expect(node.wrote(2, "superseded 12") == ["answer: indeterminate 1 of 2"])
    }

    @Test func aSecondStampThatIsRefusedLeavesTheFirst() {
        var node = CoordinatorDialogue(properties: lww)
        _ = node.put("x")
        _ = node.minted(mine, dot: "A:1")
        _ = node.wrote(2, "superseded 9")
        #expect(node.mintRefused(.clockTooFarBehind) == ["answer: indeterminate 0 of 2"])
    }

    @Test func theDeadlineStaysWhereItWas() {
        var node = CoordinatorDialogue(properties: lww)
        _ = node.put("x")
        _ = node.minted(mine, dot: "A:1")
        _ = node.passes(.seconds(9))
        _ = node.wrote(2, "superseded 9")
        #expect(node.passes(.seconds(1)) == ["answer: indeterminate 0 of 2"])
    }
}

@Suite struct ConditionTests {
    private let x = "{A:1} A:1=x@5"
    private var ifX: WriteCondition { .ifNotModified(ObjectNotation().clock("{A:1}")) }

    @Test func noneMatches() {
        var node = CoordinatorDialogue()
        #expect(node.put("y", condition: .ifNoneMatch) == ["own: read full"])
        #expect(node.hears(1, "absent") == ["2: read full"])
        #expect(node.hears(2, "absent") == ["own: mint y if none"])
        _ = node.minted(x, dot: "A:1")
        _ = node.wrote(2)
        #expect(node.mintSynced() == ["answer: ok by 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func oneMatches() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: .ifNoneMatch)
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "object \(x)") == ["own: write \(x)", "repaired 1", "answer: refused matchFound"])
        #expect(node.coordinator.isIdle)
    }

    @Test func aTombstoneMatchesNothing() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: .ifNoneMatch)
        _ = node.hears(1, "object {A:1}")
        #expect(node.hears(2, "same") == ["own: mint y if none"])
    }

    @Test func notModified() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: ifX)
        _ = node.hears(1, "object \(x)")
        #expect(node.hears(2, "same") == ["own: mint y if {A:1}"])
    }

    @Test func modifiedElsewhere() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: ifX)
        _ = node.hears(1, "object \(x)")
        #expect(
            node.hears(2, "object {A:2} A:2=z@7") == [
                "own: write {A:2} A:2=z@7", "repaired 1", "answer: refused modified",
            ])
    }

    @Test func nothingToModify() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: ifX)
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "absent") == ["answer: refused notFound"])
    }

    @Test func theReplicaThatChecksAgainIsFirstBroughtUp() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: ifX)
        _ = node.ownDeferred()
        _ = node.hears(2, "object \(x)")
        #expect(node.passes(.milliseconds(21)) == ["speculativeRead", "3: read unless \(x)"])
        // This node's own answer is still to come: the mint must not meet an older record.
        #expect(node.hears(3, "same") == ["own: write \(x)", "own: mint y if {A:1}"])
    }

    @Test func aRetryOfWhatStandsPasses() {
        var node = CoordinatorDialogue()
        _ = node.put("x", condition: .ifNoneMatch, writeID: 7)
        _ = node.hears(1, "absent")
        #expect(
            node.hears(2, "object {A:1} A:1=x@5#7") == [
                "own: write {A:1} A:1=x@5#7", "repaired 1", "own: mint x",
            ])
    }

    @Test func whatCannotBeReadIsNotWritten() {
        var node = CoordinatorDialogue()
        _ = node.put("y", condition: .ifNoneMatch)
        _ = node.hears(1, "absent")
        _ = node.down(3)
        #expect(node.hears(2, "overloaded") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
        _ = node.up(3)
        _ = node.put("y", condition: .ifNoneMatch)
        #expect(node.passes(.seconds(10)) == ["answer: refused unreachable(needed: 2, reachable: 0)"])
        #expect(node.coordinator.isIdle)
    }

    @Test func oneReplicaIsNoQuorumHoweverLittleIsAsked() {
        var node = CoordinatorDialogue()
        _ = node.put("y", "r=1", condition: .ifNoneMatch)
        #expect(node.hears(1, "absent") == ["2: read full"])
    }
}

@Suite struct DeleteTests {
    private let x = "{A:1} A:1=x@5"

    @Test func withAContext() {
        var node = CoordinatorDialogue()
        #expect(node.delete(context: "{A:1}") == ["own: mint delete over {A:1}"])
        #expect(node.minted("{A:1}", dot: nil) == ["2: write {A:1}", "3: write {A:1}"])
        _ = node.mintSynced()
        #expect(node.wrote(3) == ["answer: ok by 2"])
    }

    @Test func withoutOneWhatAQuorumHoldsIsDeleted() {
        var node = CoordinatorDialogue()
        #expect(node.delete() == ["own: read full"])
        _ = node.hears(1, "object \(x)")
        let both = "{A:1 B:1} A:1=x@5 B:1=y@6"
        #expect(
            node.hears(2, "object {B:1} B:1=y@6") == [
                "own: write \(both)", "2: write \(both)", "repaired 2", "own: mint delete over {A:1 B:1}",
            ])
        _ = node.minted("{A:1 B:1}", dot: nil)
        _ = node.mintSynced()
        #expect(node.wrote(2) == ["answer: ok by 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func nothingThereIsSuccess() {
        var node = CoordinatorDialogue()
        _ = node.delete()
        _ = node.hears(1, "absent")
        #expect(node.hears(2, "absent") == ["answer: ok by 2"])
        _ = node.delete()
        _ = node.hears(1, "object {A:1}")
        #expect(node.hears(2, "same") == ["answer: ok by 2"])
        _ = node.delete(context: "{}")
        #expect(node.mintRefused(.notFound) == ["answer: ok by 1"])
        #expect(node.coordinator.isIdle)
    }

    @Test func rwStandsForBoth() {
        var node = CoordinatorDialogue()
        _ = node.delete("rw=all")
        #expect(node.hears(1, "object \(x)") == ["2: read unless \(x)", "3: read unless \(x)"])
        _ = node.hears(2, "same")
        _ = node.hears(3, "same")
        _ = node.minted("{A:1}", dot: nil)
        _ = node.mintSynced()
        #expect(node.wrote(2) == [])
        #expect(node.wrote(3) == ["answer: ok by 3"])
    }

    @Test func theDeadlineOfTheRead() {
        var node = CoordinatorDialogue()
        _ = node.delete()
        #expect(node.passes(.seconds(10)) == ["answer: refused unreachable(needed: 2, reachable: 0)"])
        #expect(node.coordinator.isIdle)
    }
}

@Suite struct ForwardTests {
    private let x = "{A:1} A:1=x@5"

    @Test func aNodeWithoutReplicaForwardsOnce() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        #expect(node.put("x") == ["1: forward"])
        let answer = PeerMessage.forwarded(node.lastForward, .ok(Participation(primaries: 2), nil))
        #expect(node.receive(answer, from: 2) == [], "not asked")
        #expect(node.receive(answer, from: 1) == ["answer: ok by 2"])
        #expect(node.receive(answer, from: 1) == [])
        #expect(node.coordinator.isIdle)
    }

    @Test func toTheFirstThatCanBeReached() {
        var node = CoordinatorDialogue(node: 5, members: 5, up: [3, 4])
        #expect(node.put("x") == ["3: forward"])
        #expect(node.delete() == ["3: forward"])
        _ = node.down(3)
        #expect(node.put("x", "sloppy_quorum=false") == ["answer: refused unreachable(needed: 2, reachable: 0)"])
        #expect(node.put("x") == ["own: mint x for 1"])
    }

    @Test func neverAgainOnceItWasSent() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.put("x")
        #expect(node.down(1) == ["answer: indeterminate 0 of 2"])
        _ = node.put("x")
        #expect(node.passes(.seconds(10)) == ["answer: indeterminate 0 of 2"])
        #expect(node.coordinator.isIdle)
    }

    @Test func aLinkThatStandsAnewHasLostWhatWasSent() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        _ = node.put("x")
        #expect(node.up(1) == ["answer: indeterminate 0 of 2"])
    }

    @Test func itsReceiverCoordinates() {
        var node = CoordinatorDialogue(members: 5)
        let put = ClientRequest.put(node.putRequest("x"))
        #expect(node.forwarded(put, by: 5) == ["own: mint x"])
        _ = node.minted(x, dot: "A:1")
        _ = node.wrote(2)
        #expect(node.mintSynced() == ["5: forwarded ok by 2"])
    }

    @Test func aRepeatIsNotCoordinatedAgain() {
        var node = CoordinatorDialogue(members: 5)
        let put = ClientRequest.put(node.putRequest("x"))
        _ = node.forwarded(put, by: 5)
        #expect(node.forwarded(put, by: 5) == ["ignored a repeat of 5"])
        #expect(node.forwarded(put, by: 4) == ["own: mint x"], "another sender's")
        #expect(node.forwarded(put, by: 5, operation: 78) == ["own: mint x"])
        // The numbers of a new incarnation begin anew.
        #expect(node.forwarded(put, by: 5, incarnation: 10) == ["own: mint x"])
        // A new link changes nothing: the same process may send on it what it sent before.
        _ = node.down(5)
        _ = node.up(5)
        #expect(node.forwarded(put, by: 5, incarnation: 10) == ["ignored a repeat of 5"])
    }

    @Test func itIsNotForwardedAgain() {
        var node = CoordinatorDialogue(node: 5, members: 5)
        let put = ClientRequest.put(node.putRequest("x"))
        #expect(node.forwarded(put, by: 4) == ["4: forwarded refused unreachable(needed: 2, reachable: 0)"])
    }

    @Test func itsTimeIsTheSenders() {
        var node = CoordinatorDialogue(members: 5)
        _ = node.forwarded(.put(node.putRequest("x")), by: 5)
        #expect(node.passes(.seconds(5)) == ["5: forwarded indeterminate 0 of 2"])
    }

    @Test func manyRepeatsAreForgottenTowardsSafety() {
        var window = ForwardWindow()
        let sender = NodeID(rawValue: 5)
        let incarnation = Incarnation(rawValue: 1)
        func admit(_ number: UInt64) -> Bool {
            window.admit(OperationID(lane: 0, number: number), from: sender, incarnation: incarnation)
        }
        #expect(admit(3))
        for number in 10..<(10 + UInt64(ForwardWindow.remembered)) { #expect(admit(number)) }
        #expect(!admit(3), "forgotten, and still not new")
        #expect(!admit(2), "not above what was forgotten")
        #expect(admit(5))
        #expect(!admit(5))
    }
}
