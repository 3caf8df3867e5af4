// Nothing rests on an unsynced record.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodeDurabilityTests {
    private let one = "{A:1} A:1=x@5"
    private let two = "{A:2} A:2=y@6"

    /// A lane where batch 1 holds k = {A:1}, committed and not synced.
    private func unsynced() -> VnodeDialogue {
        var lane = VnodeDialogue()
        #expect(lane.merge("k", one, by: "p1") + lane.arrives("k") == ["ask k"])
        #expect(lane.turnEnds() == ["write k {A:1} A:1=x@5, leaf n3", "commit 1"])
        #expect(lane.committed(1) == [])
        #expect(lane.status("k") == .unsynced(BatchNumber(rawValue: 1)))
        return lane
    }

    @Test func aMergeIsAcknowledgedWhenItIsSynced() {
        var lane = unsynced()
        #expect(lane.synced(1) == ["p1: stored"])
        #expect(lane.isIdle)
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func aMergeThatChangesNothingWaitsForTheSyncOfWhatItFound() {
        var lane = unsynced()
        #expect(lane.merge("k", one, by: "p2") == [])
        #expect(lane.turnEnds() == [])
        #expect(lane.synced(1) == ["p1: stored", "p2: stored"])
    }

    @Test func aMergeThatFindsItsRecordSyncedIsAcknowledgedAtOnce() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", two)])
        #expect(lane.merge("k", one, by: "p1") + lane.arrives("k") == ["ask k", "p1: stored"])
        #expect(lane.isIdle)
        #expect(lane.turnEnds() == [])
    }

    @Test func readsAndHashesWaitForTheSyncOfWhatTheyFound() {
        var lane = unsynced()
        let hash = lane.hash("k", one)
        #expect(lane.read("k", by: "c2") == [])
        #expect(lane.read("k", .hash, by: "p3") == [])
        #expect(lane.read("k", .unless(hash), by: "p4") == [])
        #expect(
            lane.synced(1) == ["p1: stored", "c2: object {A:1} A:1=x@5", "p3: hash \(hash)", "p4: hash \(hash)"])
    }

    @Test func aReadWaitsForThisTurnsBatchWhenTheKeyChangedInIt() {
        var lane = unsynced()
        #expect(lane.read("k", by: "c2") == [])
        #expect(lane.merge("k", two, by: "p3") == [])
        #expect(lane.read("k", by: "c4") == [])
        #expect(lane.turnEnds() == ["write k {A:2} A:2=y@6, leaf n3", "commit 2"])
        #expect(lane.committed(2) == [])
        #expect(lane.synced(1) == ["p1: stored", "c2: object {A:1} A:1=x@5"])
        // Batch 2 wrote it again: it stays.
        #expect(lane.status("k") == .unsynced(BatchNumber(rawValue: 2)))
        #expect(lane.read("k", by: "c5") == [])
        #expect(lane.synced(2) == ["p3: stored", "c4: object {A:2} A:2=y@6", "c5: object {A:2} A:2=y@6"])
        #expect(lane.isIdle)
    }

    @Test func aKeyThatChangesWhileItsBatchIsSyncedStays() {
        var lane = unsynced()
        #expect(lane.merge("k", two, by: "p2") == [])
        #expect(lane.synced(1) == ["p1: stored"])
        #expect(lane.status("k") == .changed)
        #expect(lane.settle(2) == ["write k {A:2} A:2=y@6, leaf n3", "commit 2", "p2: stored"])
        #expect(lane.isIdle)
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func aStampedWriteMayGoToThePeersOnceItIsInTheLog() {
        var lane = VnodeDialogue()
        _ = lane.put("k", "x", by: "c1")
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k {a1:1} a1:1=x@1000, a1:1, leaf n3", "commit 1"])
        #expect(lane.committed(1) == ["c1: minted a1:1 in {a1:1} a1:1=x@1000"])
        #expect(lane.synced(1) == ["c1: synced"])
    }

    @Test func aMintThatChangesNothingRestsOnTheBatchThatItFound() {
        var lane = VnodeDialogue()
        _ = lane.put("k", "x", writeID: 7, by: "c1")
        _ = lane.arrives("k")
        _ = lane.turnEnds()
        // The record is in batch 1, not yet in the log.
        #expect(lane.put("k", "x", writeID: 7, by: "c2") == [])
        #expect(
            lane.committed(1) == [
                "c1: minted a1:1 in {a1:1} a1:1=x@1000#7", "c2: minted a1:1 in {a1:1} a1:1=x@1000#7",
            ])
        // In the log: the stamped write may go, the acknowledgement may not.
        #expect(lane.put("k", "x", writeID: 7, by: "c3") == ["c3: minted a1:1 in {a1:1} a1:1=x@1000#7"])
        #expect(lane.delete("k", by: "c4") == ["c4: minted nothing in {a1:1} a1:1=x@1000#7"])
        #expect(lane.synced(1) == ["c1: synced", "c2: synced", "c3: synced", "c4: synced"])
        // Synced, and so nothing to wait for.
        _ = lane.put("k", "x", writeID: 7, by: "c5")
        #expect(lane.arrives("k") == ["c5: minted a1:1 in {a1:1} a1:1=x@1000#7", "c5: synced"])
        #expect(lane.isIdle)
        #expect(lane.turnEnds() == [])
    }

    @Test func aRefusalThatSaysWhatAnUnsyncedRecordHoldsWaitsForItsSync() {
        var lane = unsynced()
        let other = lane.notation.clock("{B:1}")
        #expect(lane.put("k", "y", condition: .ifNoneMatch, by: "c2") == [])
        #expect(lane.put("k", "y", condition: .ifNotModified(other), by: "c3") == [])
        #expect(lane.turnEnds() == [])
        #expect(lane.synced(1) == ["p1: stored", "c2: refused matchFound", "c3: refused modified"])
        #expect(lane.isIdle)
    }

    @Test func whetherAnLwwWriteWonIsSaidWhenTheWinnerIsSynced() {
        var lane = VnodeDialogue()
        _ = lane.merge("k", "lww {A:1} A:1=x@50", dot: "A:1", by: "p1")
        _ = lane.arrives("k")
        #expect(lane.merge("k", "lww {B:1} B:1=y@40", dot: "B:1", by: "p2") == [])
        #expect(lane.turnEnds() == ["write k lww {A:1 B:1} A:1=x@50, leaf n3", "commit 1"])
        #expect(lane.committed(1) == [])
        #expect(lane.synced(1) == ["p1: stored", "p2: superseded by @50"])
    }

    @Test func aSyncCoversEveryBatchBeforeIt() {
        var lane = VnodeDialogue()
        for batch in 1...3 as ClosedRange<UInt64> {
            _ = lane.merge("k\(batch)", one, by: "p\(batch)")
            _ = lane.arrives("k\(batch)")
            _ = lane.turnEnds()
            #expect(lane.committed(batch) == [])
        }
        #expect(lane.synced(2) == ["p1: stored", "p2: stored"])
        #expect(lane.synced(2) == [])
        #expect(lane.synced(3) == ["p3: stored"])
        #expect(lane.isIdle)
    }

    // MARK: One write a turn

    @Test func aKeyIsWrittenOnceATurnAndKeysInTheOrderInWhichTheyChanged() {
        var lane = VnodeDialogue()
        for key in ["b", "a"] {
            _ = lane.merge(key, one, by: "p1")
        }
        #expect(lane.arrives("a") == [])
        #expect(lane.arrives("b") == [])
        #expect(lane.merge("a", two, by: "p2") == [])
        _ = lane.put("a", "z", context: "{A:2}@6", by: "c3")
        #expect(
            lane.turnEnds() == [
                "write a {A:2 a1:1} a1:1=z@1000, a1:1, leaf n3", "write b {A:1} A:1=x@5, leaf n3", "commit 1",
            ])
        #expect(lane.leavesAreThoseOfRecords)
        #expect(lane.committed(1) == ["c3: minted a1:1 in {A:2 a1:1} a1:1=z@1000"])
        #expect(lane.synced(1) == ["p1: stored", "p1: stored", "p2: stored", "c3: synced"])
        #expect(lane.isIdle)
    }

    @Test func eachMintOfATurnGetsADotOfItsOwn() {
        var lane = VnodeDialogue()
        _ = lane.put("k", "x", by: "c1")
        _ = lane.put("k", "y", by: "c2")
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k {a1:2} a1:1=x@1000 a1:2=y@1001, a1:2, leaf n3", "commit 1"])
        #expect(
            lane.committed(1) == [
                "c1: minted a1:1 in {a1:1} a1:1=x@1000", "c2: minted a1:2 in {a1:2} a1:1=x@1000 a1:2=y@1001",
            ])
    }

    @Test func aTurnWithoutChangesHasNoBatch() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", one)])
        #expect(lane.turnEnds() == [])
        _ = lane.merge("k", one, by: "p1")
        #expect(lane.arrives("k") == ["p1: stored"])
        #expect(lane.turnEnds() == [])
        _ = lane.merge("k", two, by: "p2")
        _ = lane.arrives("k")
        #expect(lane.turnEnds() == ["write k {A:2} A:2=y@6, leaf n3", "commit 1"])
    }

    // MARK: Leaves

    @Test func aRecordThatChangesItsNumberOfCopiesMovesToAnotherTree() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", one)])
        #expect(lane.leavesAreThoseOfRecords)
        _ = lane.merge("k", one, copies: 2, by: "p1")
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k {A:1} A:1=x@5, leaf n3 n2", "commit 1"])
        #expect(lane.committed(1) == [])
        #expect(lane.leavesAreThoseOfRecords)
        // Again while it is still in memory, and with other content.
        #expect(lane.merge("k", two, copies: 3, by: "p2") == [])
        #expect(lane.turnEnds() == ["write k {A:2} A:2=y@6, leaf n2 n3", "commit 2"])
        #expect(lane.committed(2) == [])
        #expect(lane.leavesAreThoseOfRecords)
        #expect(lane.synced(2) == ["p1: stored", "p2: stored"])
    }

    @Test func aHeaderThatChangesAloneLeavesTheLeafAsItIs() {
        let minting = LocalHeader.MintingActor(
            actor: ObjectNotation.actor("A"), incarnation: Incarnation(rawValue: 1), counter: 1)
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", "{A:2} A:2=y@6", minting: minting)])
        // What the context says of A, the record's clock says already: only the header forgets the actor.
        _ = lane.delete("k", context: "{B:1}", by: "c1")
        #expect(lane.arrives("k") == ["retired A of k"])
        #expect(lane.turnEnds() == ["write k {A:2 B:1} A:2=y@6, leaf n3", "commit 1"])
        _ = lane.committed(1)
        _ = lane.synced(1)

        lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", "{A:2} A:2=y@6", minting: minting)])
        _ = lane.delete("k", by: "c1")
        #expect(lane.arrives("k") == ["retired A of k"])
        #expect(lane.turnEnds() == ["write k {A:2} A:2=y@6", "commit 1"])
        #expect(lane.leavesAreThoseOfRecords)
    }
}
