// Who is suspected is asked after the others, and never spared when it is needed.

import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct SuspicionTests {
    private let x = "{A:1} A:1=x@5"

    private func node(_ numbers: UInt64...) -> [NodeID] { numbers.map { NodeID(rawValue: $0) } }

    @Test func aSuspectedReplicaIsReadLast() {
        var dialogue = CoordinatorDialogue()
        dialogue.coordinator.suspected(node(2))
        _ = dialogue.get()
        #expect(dialogue.hears(1, "object \(x)") == ["3: read unless \(x)"])
        #expect(dialogue.hears(3, "same") == ["answer: {A:1} A:1=x by 2"])
    }

    @Test func aSuspectedReplicaIsReadAllTheSameWhenItIsNeeded() {
        var dialogue = CoordinatorDialogue(up: [1, 2])
        dialogue.coordinator.suspected(node(2))
        _ = dialogue.get()
        #expect(dialogue.hears(1, "object \(x)") == ["2: read unless \(x)"])
        #expect(dialogue.hears(2, "same") == ["answer: {A:1} A:1=x by 2"])
        var all = CoordinatorDialogue()
        all.coordinator.suspected(node(2, 3))
        _ = all.get("r=3")
        #expect(all.hears(1, "object \(x)") == ["2: read unless \(x)", "3: read unless \(x)"])
    }

    @Test func whoIsClearedIsReadInItsTurnAgain() {
        var dialogue = CoordinatorDialogue()
        dialogue.coordinator.suspected(node(2))
        dialogue.coordinator.suspected([])
        _ = dialogue.get()
        #expect(dialogue.hears(1, "object \(x)") == ["2: read unless \(x)"])
    }

    @Test func aWriteIsForwardedToAReplicaThatIsNotSuspected() {
        var dialogue = CoordinatorDialogue(node: 4, members: 4)
        let first = dialogue.put("v")
        #expect(first.count == 1 && first[0].hasPrefix("1: forward"), "\(first)")
        dialogue.coordinator.suspected(node(1, 2))
        let second = dialogue.put("v")
        #expect(second.count == 1 && second[0].hasPrefix("3: forward"), "\(second)")
        dialogue.coordinator.suspected(node(1, 2, 3))
        let third = dialogue.put("v")
        #expect(third.count == 1 && third[0].hasPrefix("1: forward"), "\(third)")
    }
}
