// Reads, and the key that is parked while its record is read.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodeReadTests {
    private let one = "{A:1} A:1=x@5"

    private func lane(_ object: String? = nil) -> VnodeDialogue {
        VnodeDialogue(store: object.map { ["k": VnodeDialogue.record("k", $0)] } ?? [:])
    }

    @Test func aReadIsAnsweredFromTheStoreAndLeavesNothingBehind() {
        var lane = lane(one)
        #expect(lane.read("k", by: "c1") == ["ask k"])
        #expect(lane.status("k") == .reading(parked: 1))
        #expect(lane.arrives("k") == ["c1: object {A:1} A:1=x@5"])
        #expect(lane.isIdle)
        #expect(lane.turnEnds() == [])
    }

    @Test func whatIsNotThereIsAbsentWhateverIsWanted() {
        var lane = lane()
        for want in [ReplicaRead.Want.full, .hash, .unless(ContentHash(rawValue: 7)), .unless(.absent)] {
            #expect(lane.read("k", want, by: "p1") == ["ask k"])
            #expect(lane.arrives("k") == ["p1: absent"])
        }
        #expect(lane.isIdle)
    }

    @Test func aTombstoneIsAnObject() {
        var lane = lane("{A:2}")
        #expect(lane.read("k", by: "p1") + lane.arrives("k") == ["ask k", "p1: object {A:2}"])
    }

    @Test func onlyWhatDiffersFromTheAskersHashTravels() {
        var lane = lane(one)
        let hash = lane.hash("k", one)
        #expect(lane.read("k", .hash, by: "p1") + lane.arrives("k") == ["ask k", "p1: hash \(hash)"])
        #expect(lane.read("k", .unless(hash), by: "p2") + lane.arrives("k") == ["ask k", "p2: hash \(hash)"])
        let other = lane.hash("k", "{A:1}")
        #expect(
            lane.read("k", .unless(other), by: "p3") + lane.arrives("k") == ["ask k", "p3: object {A:1} A:1=x@5"])
    }

    @Test func operationsOnAKeyThatIsBeingReadRunInTheirOrderWhenItArrives() {
        var lane = lane(one)
        #expect(lane.read("k", by: "p1") == ["ask k"])
        #expect(lane.merge("k", "{A:1 B:1} A:1=x@5 B:1=y@6", by: "p2") == [])
        #expect(lane.read("k", by: "p3") == [])
        #expect(lane.put("k", "z", context: "{A:1}@5", by: "c4") == [])
        #expect(lane.status("k") == .reading(parked: 4))
        // The first read came before anything changed: it rests on what is synced.
        #expect(lane.arrives("k") == ["p1: object {A:1} A:1=x@5"])
        #expect(lane.status("k") == .changed)
        #expect(
            lane.turnEnds() == [
                "write k {A:1 B:1 a1:1} B:1=y@6"
                    + " a1:1=z@1000, a1:1, leaf n3", "commit 1",
            ])
        #expect(lane.committed(1) == ["c4: minted a1:1 in {A:1 B:1 a1:1} B:1=y@6 a1:1=z@1000"])
        #expect(
            lane.synced(1) == ["p2: stored", "p3: object {A:1 B:1} A:1=x@5 B:1=y@6", "c4: synced"])
        #expect(lane.isIdle)
        #expect(lane.leavesAreThoseOfRecords)
    }

    @Test func keysAreParkedEachForItself() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", one), "l": VnodeDialogue.record("l", "{B:1}")])
        #expect(lane.read("k", by: "c1") == ["ask k"])
        #expect(lane.read("l", by: "c2") == ["ask l"])
        #expect(lane.arrives("l") == ["c2: object {B:1}"])
        #expect(lane.status("k") == .reading(parked: 1))
        #expect(lane.arrives("k") == ["c1: object {A:1} A:1=x@5"])
    }

    @Test func onlyCoordinatorsOfTheLaneHearThatTheDiskIsAsked() {
        var lane = lane(one)
        _ = lane.read("k", by: "c1")
        _ = lane.read("k", by: "p2")
        _ = lane.merge("k", one, by: "c3")
        _ = lane.delete("k", by: "c4")
        #expect(lane.deferred("k") == ["c1: deferred", "c4: deferred"])
        // Who comes later waits as long.
        #expect(lane.read("k", by: "c5") == ["c5: deferred"])
        #expect(lane.put("k", "y", by: "p6") == [])
        #expect(lane.merge("k", one, by: "c7") == [])
        #expect(lane.status("k") == .reading(parked: 7))
    }

    // MARK: What cannot be read

    @Test(arguments: [StoreRead.failed, .found(ByteBuffer(string: "no record at all"))])
    func anUnreadableRecordIsAnErrorToAllAndIsNotWrittenOver(read: StoreRead) {
        var lane = lane(one)
        _ = lane.read("k", by: "c1")
        _ = lane.merge("k", "{A:9} A:9=y@9", by: "p2")
        _ = lane.put("k", "y", by: "c3")
        #expect(
            lane.arrives("k", read) == [
                "unreadable k", "c1: failed unreadable", "p2: failed unreadable", "c3: refused unreadable",
            ])
        #expect(lane.isIdle)
        #expect(lane.turnEnds() == [])
        // The next one asks again: a disk may recover.
        #expect(lane.read("k", by: "c4") + lane.arrives("k") == ["ask k", "c4: object {A:1} A:1=x@5"])
    }

    @Test func aRecordOfAnotherKeyDoesNotPass() {
        var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("l", one)])
        _ = lane.read("k", by: "c1")
        #expect(lane.arrives("k") == ["unreadable k", "c1: failed unreadable"])
    }

    @Test func aRecordWhoseObjectCannotBeDecodedIsNotWrittenOver() {
        let broken = Record(header: LocalHeader(copies: 3), body: ByteBuffer(string: "?"))
            .encoded(for: VnodeDialogue.key("k"))
        var lane = VnodeDialogue(store: ["k": broken])
        _ = lane.merge("k", one, by: "p1")
        _ = lane.put("k", "y", by: "c2")
        #expect(
            lane.arrives("k") == ["unreadable k", "p1: failed unreadable", "unreadable k", "c2: refused unreadable"])
        #expect(lane.turnEnds() == [])
        #expect(lane.isIdle)
    }
}
