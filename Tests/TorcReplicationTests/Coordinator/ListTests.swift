import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct ListTests {
    private func page(_ items: String, resume: String? = nil) -> PageOutcome {
        .page(
            items: items.split(separator: " ").map { ByteBuffer(string: String($0)) },
            resume: resume.map { ByteBuffer(string: $0) })
    }

    @Test func aFewPartitionsAtATimeAndOnePieceAtATime() {
        var node = CoordinatorDialogue()
        let keys = PageRequest.Subject.keys(CoordinatorDialogue.bucket)
        #expect(node.list(keys) == ["1: page of p0", "1: page of p1", "1: page of p2", "1: page of p3"])
        #expect(node.page(1, of: 1, page("c d", resume: "m")) == ["listed: c d", "1: page of p1 after m"])
        // The client has not taken the first piece yet: the second waits, and its partition with it.
        #expect(node.page(0, of: 1, page("a b")) == [])
        #expect(node.listContinues() == ["listed: a b", "1: page of p4"])
        #expect(node.page(2, of: 1, page("")) == ["1: page of p5"])
        #expect(node.page(3, of: 1, page("", resume: "q")) == ["1: page of p3 after q"])
        #expect(node.page(1, of: 1, page("")) == ["1: page of p6"])
        #expect(node.page(3, of: 1, page("")) == ["1: page of p7"])
        for partition in [UInt16](4...6) { #expect(node.page(partition, of: 1, page("")) == []) }
        #expect(node.page(7, of: 1, page("z")) == [])
        #expect(node.listContinues() == ["listed: z"])
        #expect(node.listContinues() == ["listed: done"])
        #expect(node.coordinator.isIdle)
    }

    /// In a large store that holds few keys of the bucket, whoever goes around the ring is told where it is in time.
    @Test func oneInTheOrderOfTheRingPausesWhereItIs() {
        var node = CoordinatorDialogue()
        let keys = PageRequest.Subject.keys(CoordinatorDialogue.bucket)
        func resume(_ position: UInt64, items: [String] = []) -> PageOutcome {
            var key = ByteBuffer(integer: position)
            key.writeString("rest of a key")
            return .page(items: items.map { ByteBuffer(string: $0) }, resume: key)
        }
        #expect(node.list(keys, from: RingPosition(rawValue: 0)).map { $0.prefix(13) } == ["1: page of p0"])
        #expect(node.passes(.seconds(4)) == [])
        #expect(node.page(0, of: 1, resume(77)).count == 1)
        #expect(node.passes(.seconds(4)) == [])
        #expect(node.page(0, of: 1, resume(99)).count == 1, "a quarter of its minute is not over")
        #expect(node.passes(.seconds(3)) == [])
        #expect(node.page(0, of: 1, resume(110, items: ["a"])).first == "listed: a")
        #expect(node.passes(.seconds(4)) == [])
        // The client has what it waited for.
        #expect(node.page(0, of: 1, resume(123)).count == 1)
        #expect(node.page(0, of: 1, .page(items: [], resume: nil)).count == 1)
        #expect(node.listContinues() == ["listed: paused at \(UInt64(1) << 61)"])
        #expect(node.coordinator.isIdle)
        // Nothing could be read: that is a failure, or the same would be asked for for ever.
        _ = node.list(keys, from: RingPosition(rawValue: 5))
        #expect(node.passes(.seconds(5)).count == 1)
        #expect(node.passes(.seconds(5)).count == 1)
        #expect(node.passes(.seconds(5)) == ["listed: failed at p0"])
    }

    @Test func anotherReplicaGoesOnWhereOneFailed() {
        var node = CoordinatorDialogue()
        _ = node.list(.keys(CoordinatorDialogue.bucket))
        #expect(node.page(0, of: 1, page("a", resume: "m")) == ["listed: a", "1: page of p0 after m"])
        #expect(node.page(0, of: 1, .failed(.unreadable)) == ["2: page of p0 after m"])
        #expect(node.down(2) == ["3: page of p0 after m"])
        #expect(node.page(0, of: 3, .failed(.overloaded)) == ["listed: failed at p0"])
        #expect(node.coordinator.isIdle)
    }

    @Test func silenceIsAFailure() {
        var node = CoordinatorDialogue()
        _ = node.list(.keys(CoordinatorDialogue.bucket))
        let late = node.lastPages[0]!
        #expect(
            node.passes(.seconds(5)) == ["2: page of p0", "2: page of p1", "3: page of p2", "2: page of p3"])
        #expect(node.receive(.pageResult(late, page("a")), from: 1) == [])
        #expect(node.passes(.seconds(60)).last == "listed: failed at p0")
        #expect(node.coordinator.isIdle)
    }

    @Test func aPageThatGoesBackIsAFailure() {
        var node = CoordinatorDialogue()
        _ = node.list(.keys(CoordinatorDialogue.bucket))
        _ = node.page(0, of: 1, page("a", resume: "m"))
        #expect(node.page(0, of: 1, page("a", resume: "m")) == ["2: page of p0 after m"])
    }

    @Test func bucketsAreAskedOfTheFirstOwnerAndNamedOnce() {
        var node = CoordinatorDialogue()
        #expect(
            node.list(.buckets(type: ByteBuffer())) == [
                "1: page of p0", "2: page of p1", "3: page of p2", "1: page of p3",
            ])
        #expect(node.page(0, of: 1, page("b c")) == ["listed: b c", "2: page of p4"])
        _ = node.listContinues()
        #expect(node.page(1, of: 2, page("c b")) == ["3: page of p5"])
        #expect(node.page(2, of: 3, page("c d")) == ["listed: d", "1: page of p6"])
    }

    @Test func boundsAndClientsThatGoAway() {
        var limits = LaneLimits()
        limits.listings = 1
        var node = CoordinatorDialogue(limits: limits)
        _ = node.list(.keys(CoordinatorDialogue.bucket))
        node.cancelLast()
        #expect(node.coordinator.isIdle)
        _ = node.list(.keys(CoordinatorDialogue.bucket))
        #expect(node.list(.keys(CoordinatorDialogue.bucket)) == ["overloaded", "listed: failed at p0"])
    }
}
