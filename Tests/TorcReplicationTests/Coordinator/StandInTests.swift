import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Stand-ins, as a coordinator deals with them. Of five nodes 1, 2 and 3 are the key's primaries.
@Suite struct StandInTests {
    @Test func theNextNodeKeepsAHintForAPrimaryThatIsAway() {
        var node = CoordinatorDialogue(members: 5, up: [2, 4, 5])
        #expect(node.put("x") == ["own: mint x"])
        #expect(
            node.minted("{A:1} A:1=x@5", dot: "A:1") == [
                "2: write {A:1} A:1=x@5", "4: write {A:1} A:1=x@5 for 3",
            ])
        #expect(node.mintSynced() == [])
        #expect(node.hinted(4, for: 3) == ["answer: ok by 1+1"])
    }

    @Test func aStandInCountsOnceHoweverManyItStandsFor() {
        var node = CoordinatorDialogue(members: 4, up: [4])
        #expect(node.put("x", "w=3") == ["answer: refused unreachable(needed: 3, reachable: 2)"])
        _ = node.put("x", "w=2")
        #expect(
            node.minted("{A:1} A:1=x@5", dot: "A:1") == [
                "4: write {A:1} A:1=x@5 for 2", "4: write {A:1} A:1=x@5 for 3",
            ])
        #expect(node.hinted(4, for: 2) == [])
        #expect(node.hinted(4, for: 3) == [])
        #expect(node.hinted(4, for: 3) == [])
        #expect(node.mintSynced() == ["answer: ok by 1+1"])
    }

    @Test func pwAndSloppyQuorumFalseAskForPrimaries() {
        var node = CoordinatorDialogue(members: 5, up: [4, 5])
        #expect(node.put("x", "pw=2") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
        #expect(node.put("x", "sloppy_quorum=false") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
        #expect(node.put("x", "w=1 dw=1 sloppy_quorum=false") == ["own: mint x"])
        #expect(node.minted("{A:1} A:1=x@5", dot: "A:1") == [])
        #expect(node.mintSynced() == ["answer: ok by 1"])
    }

    @Test func aPrimaryThatFailsIsStoodInForAndSoIsAStandIn() {
        var node = CoordinatorDialogue(members: 5)
        _ = node.put("x", "w=3")
        #expect(node.minted("{A:1} A:1=x@5", dot: "A:1") == ["2: write {A:1} A:1=x@5", "3: write {A:1} A:1=x@5"])
        #expect(node.wrote(2, "failed") == ["4: write {A:1} A:1=x@5 for 2"])
        #expect(node.hinted(4, for: 2, "full") == ["5: write {A:1} A:1=x@5 for 2"])
        // 5 stands for both now, and fills one place.
        #expect(node.mintSynced() == [])
        #expect(node.down(3) == ["5: write {A:1} A:1=x@5 for 3", "answer: indeterminate 1 of 3"])
    }

    @Test func aSlowPrimaryIsStoodInForAndMayAnswerAllTheSame() {
        var node = CoordinatorDialogue(members: 5)
        _ = node.put("x", "w=3")
        _ = node.minted("{A:1} A:1=x@5", dot: "A:1")
        _ = node.mintSynced()
        _ = node.wrote(2)
        #expect(node.passes(.milliseconds(500)) == ["4: write {A:1} A:1=x@5 for 3"])
        #expect(node.passes(.milliseconds(500)) == ["5: write {A:1} A:1=x@5 for 3"])
        #expect(node.wrote(3) == ["answer: ok by 3"])
    }

    @Test func aPlaceIsNotCountedTwice() {
        var node = CoordinatorDialogue(members: 5, up: [3, 4, 5])
        _ = node.put("x", "w=3")
        #expect(
            node.minted("{A:1} A:1=x@5", dot: "A:1") == ["3: write {A:1} A:1=x@5", "4: write {A:1} A:1=x@5 for 2"])
        _ = node.mintSynced()
        #expect(node.passes(.milliseconds(500)) == ["5: write {A:1} A:1=x@5 for 3"])
        #expect(
            node.passes(.milliseconds(500)).sorted() == [
                "4: write {A:1} A:1=x@5 for 3", "5: write {A:1} A:1=x@5 for 2",
            ])
        #expect(node.hinted(4, for: 2) == [])
        // Two nodes keep it for 2: one place.
        #expect(node.hinted(5, for: 2) == [])
        #expect(node.hinted(5, for: 3) == ["answer: ok by 1+2"])
    }

    @Test func whereNoPrimaryCanBeReachedAFallbackMints() {
        var node = CoordinatorDialogue(node: 4, members: 5, up: [5])
        #expect(node.put("x") == ["own: mint x for 1"])
        #expect(
            node.minted("{A:1} A:1=x@5", dot: "A:1") == [
                "5: write {A:1} A:1=x@5 for 2", "own: write {A:1} A:1=x@5 for 3",
            ])
        #expect(node.mintSynced() == [])
        #expect(node.hinted(4, for: 3) == [])
        #expect(node.hinted(5, for: 2) == ["answer: ok by 0+2"])
    }

    @Test func aStandInIsReadAndItsNothingIsNoVote() {
        var node = CoordinatorDialogue(members: 5, up: [4, 5])
        #expect(node.get() == ["own: read full"])
        #expect(node.hears(1, "absent") == ["4: read full for 2", "5: read full for 3"])
        #expect(node.hears(4, for: 2, "absent") == [])
        #expect(node.hears(5, for: 3, "absent") == ["answer: failed 1 of 2"])
    }

    @Test func whatAStandInKeepsIsAnAnswerWherePrimariesCannotGiveIt() {
        var node = CoordinatorDialogue(members: 5, up: [4, 5])
        _ = node.get()
        _ = node.hears(1, "absent")
        #expect(node.hears(4, for: 2, "object {A:1} A:1=x@5").contains("answer: {A:1} A:1=x by 1+1"))
    }

    @Test func primariesThatCanAnswerAreWaitedFor() {
        var node = CoordinatorDialogue(members: 5, up: [2, 4, 5])
        _ = node.get()
        #expect(
            node.hears(1, "object {A:1} A:1=x@5") == [
                "4: read unless {A:1} A:1=x@5 for 3", "2: read unless {A:1} A:1=x@5",
            ])
        #expect(node.hears(4, for: 3, "object {A:1 B:1} A:1=x@5 B:1=y@6").allSatisfy { !$0.hasPrefix("answer") })
        let told = node.hears(2, "object {A:1} A:1=x@5")
        // What the stand-in keeps is merged, written back, and answered when two primaries hold it.
        #expect(told.contains("2: write {A:1 B:1} A:1=x@5 B:1=y@6"))
    }

    @Test func readsForPrimariesOnlyAskNobodyElse() {
        var node = CoordinatorDialogue(members: 5, up: [4, 5])
        #expect(node.get("sloppy_quorum=false") == ["answer: failed 0 of 2"])
        #expect(node.get("pr=2") == ["answer: refused unreachable(needed: 2, reachable: 1)"])
    }
}
