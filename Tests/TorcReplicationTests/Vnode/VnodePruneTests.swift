// What one replica says of a vector that shall be pruned, and when it does it.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodePruneTests {
    private let object = "{A:5 B:1 C:2} B:1=x@5"

    private func lane(minting actor: Character? = nil) -> VnodeDialogue {
        let minting = actor.map {
            LocalHeader.MintingActor(
                actor: ObjectNotation.actor($0), incarnation: Incarnation(rawValue: 1), counter: 5)
        }
        return VnodeDialogue(store: ["k": VnodeDialogue.record("k", object, minting: minting)])
    }

    /// Of entries as `object` has them.
    private func note(_ lane: VnodeDialogue, _ text: String? = nil, _ actors: Character...) -> ByteBuffer {
        let counters: [Character: UInt64] = ["A": 5, "B": 1, "C": 2]
        let entries = actors.map { Dot(actor: ObjectNotation.actor($0), counter: counters[$0]!) }
        return PruneNote(object: lane.hash("k", text ?? object), entries: entries.sorted { $0.actor < $1.actor })
            .encoded
    }

    @Test func itSaysWithWhichActorItMints() {
        var lane = lane(minting: "A")
        _ = lane.bury("k", .minting, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == ["b0: mints A"])
        lane = self.lane()
        _ = lane.bury("k", .minting, note(lane, nil, "A"))
        #expect(lane.arrives("k") == ["b0: mints nothing"])
        // Another object, or no object at all.
        _ = lane.bury("k", .minting, note(lane, "{A:5 B:1} B:1=x@5", "A"))
        #expect(lane.arrives("k") == ["b0: not done"])
        _ = lane.bury("none", .minting, note(lane, nil, "A"))
        #expect(lane.arrives("none") == ["b0: not done"])
    }

    @Test func itAnswersWhenThatIsSynced() {
        var lane = lane()
        _ = lane.bury("k", .prune, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k {B:1} B:1=x@5, leaf n3", "commit 1"])
        #expect(lane.leavesAreThoseOfRecords)
        // What is told of it rests on it.
        #expect(lane.bury("k", .minting, note(lane, "{B:1} B:1=x@5", "A")) == [])
        #expect(lane.committed(1) == [])
        #expect(lane.synced(1) == ["b0: done", "b0: mints nothing"])
        #expect(lane.stored("k") == "{B:1} B:1=x@5")
        // The question comes once more, late: the entries are gone.
        _ = lane.bury("k", .prune, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == ["b0: not done"])
        #expect(lane.isIdle)
    }

    @Test func theActorThatItMintsWithStaysWhoeverSaysSo() {
        var lane = lane(minting: "C")
        _ = lane.bury("k", .prune, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == ["b0: not done"])
        #expect(lane.stored("k") == object)
    }

    @Test func whatStandsStays() {
        var lane = lane()
        _ = lane.bury("k", .prune, note(lane, nil, "B"))
        #expect(lane.arrives("k") == ["b0: not done"])
        #expect(lane.stored("k") == object)
    }

    /// A key that is written all the time must not keep its vector for ever.
    @Test func whatWasWrittenSinceIsPrunedToo() {
        var lane = lane()
        _ = lane.merge("k", "{D:1} D:1=y@6", by: "p1")
        _ = lane.bury("k", .prune, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == [])
        #expect(
            lane.settle(1) == [
                "write k {B:1 D:1} B:1=x@5 D:1=y@6, leaf n3", "commit 1", "p1: stored", "b0: done",
            ])
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test(arguments: ["{A:6}", "{A:6} A:6=y@6"])
    func anActorThatWasSeenSinceStays(later: String) {
        var lane = lane()
        _ = lane.merge("k", later, by: "p1")
        _ = lane.bury("k", .prune, note(lane, nil, "A", "C"))
        #expect(lane.arrives("k") == [])
        #expect(lane.settle(1).last == "b0: not done")
        #expect(lane.stored("k")?.contains("A:6") == true)
        #expect(lane.stored("k")?.contains("C:2") == true)
    }

    @Test func tombstonesAndNonsenseAreRefused() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", "{A:5}")])
        for step in [ReapStep.minting, .prune] {
            _ = lane.bury("k", step, ByteBuffer(string: "no note"))
            #expect(lane.arrives("k") == ["b0: not done"])
        }
        _ = lane.bury("k", .prune, note(lane, "{A:5}", "A"))
        #expect(lane.arrives("k") == ["b0: not done"])
        #expect(throws: MalformedBytes.self) { try PruneNote(decoding: ByteBuffer()) }
        let dot = Dot(actor: ObjectNotation.actor("A"), counter: 5)
        for entries in [[], [dot, dot], [Dot(actor: dot.actor, counter: 0)]] {
            let note = PruneNote(object: lane.hash("k", "{A:5}"), entries: entries).encoded
            #expect(throws: MalformedBytes.self) { try PruneNote(decoding: note) }
        }
    }
}
