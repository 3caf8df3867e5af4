// A record that cannot be read, and what the other replicas hold of it.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodeMendTests {
    private let others = "{A:4 B:1} A:4=x@5 B:1=y@6"

    /// A record of which a bit has flipped: it minted under A, and came to 5.
    private static func damaged(minting incarnation: UInt64 = 1) -> ByteBuffer {
        var record = VnodeDialogue.record(
            "k", "{A:5} A:5=z@7",
            minting: .init(
                actor: ObjectNotation.actor("A"), incarnation: Incarnation(rawValue: incarnation), counter: 5))
        let last = record.writerIndex - 1
        record.setInteger(record.getInteger(at: last, as: UInt8.self)! ^ 1, at: last)
        return record
    }

    @Test(arguments: [false, true]) func itIsWrittenOverAndToldWhenThatIsSynced(asBlock: Bool) {
        var lane = VnodeDialogue(store: ["k": Self.damaged()])
        #expect(lane.mend("k", others, by: "m1") == ["ask k"])
        #expect(lane.arrives("k", asBlock ? .failed : nil) == [])
        // Its leaf goes on counting what was there.
        #expect(lane.turnEnds() == ["write k \(others)", "commit 1"])
        #expect(lane.committed(1) == [])
        #expect(lane.synced(1) == ["m1: replaced"])
        #expect(lane.isIdle)
        #expect(lane.stored("k") == others)
    }

    /// A:5 was minted here, and A:4 is the last that others know: what comes next is neither.
    @Test func theNextMintDrawsAnActor() {
        var lane = VnodeDialogue(store: ["k": Self.damaged()])
        _ = lane.mend("k", others, by: "m1") + lane.arrives("k") + lane.settle(1)
        #expect(lane.header("k")?.minting == nil)
        _ = lane.put("k", "w", context: "{A:4 B:1}@6", by: "c2")
        _ = lane.arrives("k")
        #expect(lane.turnEnds() == ["write k {A:4 B:1 a1:1} a1:1=w@1000, a1:1, leaf n3", "commit 2"])
    }

    @Test func whatWaitsBeforeItFailsAndWhatComesAfterRunsOnIt() {
        var lane = VnodeDialogue(store: ["k": Self.damaged()])
        _ = lane.read("k", by: "c1")
        _ = lane.mend("k", others, by: "m2")
        _ = lane.read("k", by: "c3")
        #expect(lane.arrives("k") == ["unreadable k", "c1: failed unreadable"])
        #expect(lane.turnEnds() == ["write k \(others)", "commit 1"])
        #expect(lane.committed(1) == [])
        // Nothing rests on it before it is synced.
        #expect(lane.synced(1) == ["m2: replaced", "c3: object \(others)"])
    }

    @Test func whatCanBeReadIsMergedWith() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", "{A:5} A:5=z@7")])
        _ = lane.mend("k", others, by: "m1")
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k {A:5 B:1} A:5=z@7 B:1=y@6, leaf n3", "commit 1"])
        #expect(lane.committed(1) + lane.synced(1) == ["m1: merged"])
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func aWriteThatCameBeforeItIsKept() {
        var lane = VnodeDialogue(store: ["k": Self.damaged()])
        _ = lane.mend("k", others, by: "m1") + lane.arrives("k")
        #expect(lane.merge("k", "{C:1} C:1=c@9", by: "p2") == [])
        #expect(lane.mend("k", others, by: "m3") == [])
        #expect(lane.turnEnds() == ["write k {A:4 B:1 C:1} A:4=x@5 B:1=y@6 C:1=c@9", "commit 1"])
        #expect(lane.committed(1) == [])
        #expect(lane.synced(1) == ["m1: replaced", "p2: stored", "m3: merged"])
    }

    /// Its checksum holds, so what the leaf counts of it is known.
    @Test func anObjectThatCannotBeDecodedIsReplacedAndItsLeafIsRight() {
        let broken = Record(header: LocalHeader(copies: 3), body: ByteBuffer(string: "?"))
            .encoded(for: VnodeDialogue.key("k"))
        var lane = VnodeDialogue(store: ["k": broken])
        _ = lane.mend("k", others, by: "m1")
        #expect(lane.arrives("k") == [])
        #expect(lane.turnEnds() == ["write k \(others), leaf n3", "commit 1"])
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func aDiskThatIsFullKeepsWhatItHas() {
        var lane = VnodeDialogue(store: ["k": Self.damaged()])
        lane.space = .exhausted
        #expect(lane.mend("k", others, by: "m1") == ["m1: failed(TorcReplication.ReplicaFailure.diskFull)"])
        lane.space = .low
        #expect(lane.mend("k", others, by: "m2") == ["ask k"])
    }
}
