import Testing
import TestSupport
import TorcModel
import TorcReplication

/// A replica answers what the last incarnation of a node asked on the link to the present one. Found by the
/// simulator: with numbers that began at 1 in each, such an answer was taken for that of an operation that the
/// replica had never seen, and an acknowledgement stood for a copy that did not exist.
@Suite struct StaleAnswerTests {
    private let x = "{A:1} A:1=x@5"

    @Test func anAcknowledgementOfTheLastIncarnation() {
        var before = CoordinatorDialogue(incarnation: 0x7f3a_91c2_0000_0001)
        _ = before.put("x")
        _ = before.minted(x, dot: "A:1")
        let old = before.lastWrite

        var after = CoordinatorDialogue(incarnation: 0x1b44_03ee_0000_0001)
        _ = after.put("x")
        _ = after.minted(x, dot: "A:1")
        #expect(after.lastWrite != old)
        _ = after.mintSynced()
        #expect(after.wrote(2, of: old) == [])
        #expect(after.wrote(2) == ["answer: ok by 2"])
    }

    @Test func aReadOfTheLastIncarnation() {
        var before = CoordinatorDialogue(incarnation: 0x7f3a_91c2_0000_0001)
        _ = before.get()
        let old = before.lastRead

        var after = CoordinatorDialogue(incarnation: 0x1b44_03ee_0000_0001)
        _ = after.get()
        _ = after.hears(1, "absent")
        #expect(after.hears(2, "absent", of: old) == [])
        #expect(after.hears(2, "absent") == ["answer: absent by 2"])
    }
}
