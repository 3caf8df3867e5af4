// Merges, and what a replica refuses: bytes that make no sense, keys that it does not hold, more than it can keep.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct VnodeMergeTests {
    private func merge(_ object: String, into record: String?, dot: String? = nil) -> [String] {
        var lane = VnodeDialogue(store: record.map { ["k": VnodeDialogue.record("k", $0)] } ?? [:])
        _ = lane.merge("k", object, dot: dot, by: "p1")
        let told = lane.arrives("k") + lane.settle(1)
        #expect(lane.isIdle)
        #expect(lane.leavesAreThoseOfRecords)
        return told
    }

    @Test func aMergeWritesWhatIsNew() {
        let x = "{A:1} A:1=x@5"
        #expect(merge(x, into: nil) == ["write k \(x), leaf n3", "commit 1", "p1: stored"])
        #expect(
            merge("{B:1} B:1=y@6", into: x) == [
                "write k {A:1 B:1} A:1=x@5 B:1=y@6, leaf n3", "commit 1", "p1: stored",
            ])
        #expect(merge("{A:1}", into: x) == ["write k {A:1}, leaf n3", "commit 1", "p1: stored"])
        #expect(
            merge("{A:2 B:1} A:2=z@6", into: x) == ["write k {A:2 B:1} A:2=z@6, leaf n3", "commit 1", "p1: stored"])
    }

    @Test func aMergeOfWhatIsKnownWritesNothing() {
        let record = "{A:2 B:1} A:2=x@5 B:1=y@5"
        for known in [record, "{A:1} A:1=w@1", "{B:1} B:1=y@5"] {
            #expect(merge(known, into: record) == ["p1: stored"])
        }
    }

    @Test func theSenderOfAnLwwWriteHearsWhetherItStands() {
        let record = "lww {A:1} A:1=x@50"
        #expect(merge("lww {B:1} B:1=y@49", into: record, dot: "B:1").last == "p1: superseded by @50")
        #expect(merge("lww {B:1} B:1=y@50", into: record, dot: "B:1").last == "p1: stored")
        #expect(merge("lww {B:1} B:1=y@51", into: record, dot: "B:1").last == "p1: stored")
        #expect(merge(record, into: record, dot: "A:1") == ["p1: stored"])
        #expect(merge("lww {B:1} B:1=y@51", into: nil, dot: "B:1").last == "p1: stored")
        // One whose sender does not ask is stored, won or not.
        #expect(merge("lww {B:1} B:1=y@49", into: record).last == "p1: stored")
        // A siblings record is adopted by the first lww state that it meets.
        #expect(
            merge("lww {B:1} B:1=y@49", into: "{A:1} A:1=x@50", dot: "B:1") == [
                "write k lww {A:1 B:1} A:1=x@50, leaf n3", "commit 1", "p1: superseded by @50",
            ])
    }

    @Test func bytesThatAreNoObjectFailAndChangeNothing() {
        for body in [ByteBuffer(), ByteBuffer(string: "?"), ByteBuffer(bytes: [0, 0, 0])] {
            var lane = VnodeDialogue(store: ["k": VnodeDialogue.record("k", "{A:1} A:1=x@5")])
            _ = lane.merge("k", body: body, by: "p1")
            #expect(lane.arrives("k") == ["p1: failed malformed"])
            #expect(lane.isIdle)
        }
    }
}

@Suite struct VnodeBoundsTests {
    @Test func aPartitionThatThisNodeIsNoReplicaOfIsNotTouched() {
        // Five members over eight partitions: with three copies some partitions are not node 1's.
        var lane = VnodeDialogue(members: 5)
        let size = RingSize(partitions: 8)!
        let owners = (0..<8).map { NodeID(rawValue: UInt64($0) % 5 + 1) }
        let ring = Ring(epoch: 1, size: size, owners: owners)
        var held = 0
        for index in 0..<64 {
            let name = "k\(index)"
            let partition = size.partition(of: VnodeDialogue.key(name).position)
            for copies in 1...5 as ClosedRange<UInt8> {
                let isReplica = ring.preferenceList(of: partition, count: Int(copies)).contains(VnodeDialogue.node)
                if isReplica {
                    held += 1
                    #expect(lane.read(name, copies: copies, by: "c1") == ["ask \(name)"])
                    #expect(lane.arrives(name) == ["c1: absent"])
                } else {
                    #expect(lane.read(name, copies: copies, by: "c1") == ["c1: failed notHeld"])
                    #expect(lane.merge(name, "{A:1}", copies: copies, by: "p2") == ["p2: failed notHeld"])
                    #expect(
                        lane.put(name, "x", copies: copies, by: "c3")
                            == ["c3: refused unreachable(needed: 1, reachable: 0)"])
                }
                #expect(lane.isIdle)
            }
        }
        #expect((1..<320).contains(held))
    }

    @Test func withoutARingNothingIsHeld() {
        let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
        var vnodes = Vnodes(
            configuration: VnodeDialogue().configuration, leaves: LeafTable(layout: layout),
            generator: SeededGenerator(seed: 1))
        var effects: [VnodeEffect] = []
        let operation = OperationID(lane: 0, number: 1)
        vnodes.submit(
            .read(ReplicaRead(operation: operation, key: VnodeDialogue.key("k"), copies: 3, want: .full)),
            replyTo: .coordinator(operation), now: Now(monotonic: .zero, wall: WallTime(microseconds: 0)),
            effects: &effects)
        #expect(effects == [.reply(.read(.failed(.notHeld)), .coordinator(operation))])
    }

    @Test(arguments: [0, 8, 255] as [UInt8]) func aNumberOfCopiesThatNoBucketHasIsMalformed(copies: UInt8) {
        var lane = VnodeDialogue()
        #expect(lane.merge("k", "{A:1}", copies: copies, by: "p1") == ["p1: failed malformed"])
        #expect(lane.read("k", copies: copies, by: "p1") == ["p1: failed malformed"])
        #expect(lane.isIdle)
    }

    @Test func operationsPastTheBoundOfParkedOnesFail() {
        var limits = LaneLimits()
        limits.parkedOperations = 3
        var lane = VnodeDialogue(limits: limits)
        #expect(lane.read("k", by: "c1") == ["ask k"])
        #expect(lane.read("k", by: "c2") == [])
        #expect(lane.read("l", by: "c3") == ["ask l"])
        #expect(lane.read("k", by: "c4") == ["overloaded", "c4: failed overloaded"])
        #expect(lane.read("m", by: "c5") == ["overloaded", "c5: failed overloaded"])
        #expect(lane.merge("m", "{A:1}", by: "p6") == ["overloaded", "p6: failed overloaded"])
        #expect(lane.put("m", "x", by: "c7") == ["overloaded", "c7: refused overloaded"])
        #expect(lane.status("m") == nil)
        #expect(lane.arrives("k") == ["c1: absent", "c2: absent"])
        #expect(lane.read("m", by: "c8") == ["ask m"])
        #expect(lane.arrives("l") + lane.arrives("m") == ["c3: absent", "c8: absent"])
        #expect(lane.isIdle)
    }

    @Test func aKeyInMemoryNeedsNoPlaceAmongTheParked() {
        var limits = LaneLimits()
        limits.parkedOperations = 1
        var lane = VnodeDialogue(limits: limits)
        _ = lane.merge("k", "{A:1} A:1=x@5", by: "p1")
        #expect(lane.arrives("k") == [])
        #expect(lane.read("l", by: "c2") == ["ask l"])
        #expect(lane.read("k", by: "c3") == [])
        #expect(lane.settle(1).suffix(2) == ["p1: stored", "c3: object {A:1} A:1=x@5"])
    }

    @Test func operationsPastTheBoundOfUnsyncedOnesFailUntilTheSync() {
        var limits = LaneLimits()
        limits.unsyncedOperations = 2
        var lane = VnodeDialogue(limits: limits)
        _ = lane.merge("k", "{A:1} A:1=x@5", by: "p1")
        _ = lane.arrives("k")
        #expect(lane.read("k", by: "p2") == [])
        #expect(lane.read("k", by: "p3") == ["overloaded", "p3: failed overloaded"])
        #expect(lane.put("l", "x", by: "c4") == ["overloaded", "c4: refused overloaded"])
        #expect(lane.settle(1).suffix(2) == ["p1: stored", "p2: object {A:1} A:1=x@5"])
        #expect(lane.read("k", by: "p5") == ["ask k"])
    }

    @Test func writesPastTheBoundOfBytesFailAndReadsDoNot() {
        var limits = LaneLimits()
        limits.unsyncedBytes = 10
        var lane = VnodeDialogue(limits: limits)
        _ = lane.put("k", "0123456789", by: "c1")
        // Parked, it counts with its value,
        #expect(lane.put("l", "x", by: "c2") == ["overloaded", "c2: refused overloaded"])
        _ = lane.arrives("k")
        _ = lane.turnEnds()
        // unsynced, with its record.
        #expect(lane.merge("l", "{A:1}", by: "p3") == ["overloaded", "p3: failed overloaded"])
        #expect(lane.read("l", by: "c4") == ["ask l"])
        _ = lane.committed(1)
        #expect(lane.synced(1) == ["c1: synced"])
        #expect(lane.merge("l", "{A:1}", by: "p5") == [])
        #expect(lane.status("l") == .reading(parked: 2))
    }

    @Test func aTokensThreeUpperBitsAreNeverSet() {
        var lane = VnodeDialogue()
        for index in 0..<100 {
            var effects: [VnodeEffect] = []
            var vnodes = lane.vnodes
            let operation = OperationID(lane: 0, number: 1)
            vnodes.submit(
                .read(ReplicaRead(operation: operation, key: VnodeDialogue.key("x"), copies: 3, want: .full)),
                replyTo: .coordinator(operation), now: Now(monotonic: .zero, wall: WallTime(microseconds: 0)),
                effects: &effects)
            guard case .read(let token, _, _) = effects.first else {
                Issue.record("no read")
                return
            }
            #expect(token.rawValue >> 61 == 0)
            _ = lane.read("k\(index)", by: "c1")
        }
    }
}
