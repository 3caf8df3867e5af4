// What the coordinator's deliberate faults do, each in the dialogue that a test of the sound code has, too.

#if TORC_MUTATIONS
    import TestSupport
    import Testing
    import TorcModel
    import TorcReplication

    @Suite(.serialized) struct CoordinatorFaultTests {
        private let x = "{A:1} A:1=x@5"
        private let y = "{A:1 B:1} B:1=y@6"

        private func with(_ fault: Mutation, _ body: () -> Bool) -> Bool {
            Mutation.active = fault
            defer { Mutation.active = nil }
            return body()
        }

        private func answers(_ lines: [String]) -> Bool { lines.contains { $0.hasPrefix("answer") } }

        @Test func countReplicaTwice() {
            #expect(
                with(.countReplicaTwice) {
                    var node = CoordinatorDialogue(node: 5, members: 5)
                    _ = node.get()
                    _ = node.hears(1, "absent")
                    return answers(node.hears(1, "absent"))
                })
            #expect(
                with(.countReplicaTwice) {
                    var node = CoordinatorDialogue()
                    _ = node.put("x")
                    _ = node.minted(x, dot: "A:1")
                    _ = node.wrote(2)
                    return answers(node.wrote(2))
                })
        }

        @Test func coordinateForwardTwice() {
            #expect(
                with(.coordinateForwardTwice) {
                    var node = CoordinatorDialogue(members: 5)
                    let put = ClientRequest.put(node.putRequest("x"))
                    _ = node.forwarded(put, by: 5)
                    return node.forwarded(put, by: 5) == ["own: mint x"]
                })
        }

        @Test func forwardAgainAfterSend() {
            #expect(
                with(.forwardAgainAfterSend) {
                    var node = CoordinatorDialogue(node: 5, members: 5)
                    _ = node.put("x")
                    return node.down(1) == ["2: forward"]
                })
        }

        @Test func answerBeforeWriteBack() {
            #expect(
                with(.answerBeforeWriteBack) {
                    var node = CoordinatorDialogue()
                    _ = node.get()
                    _ = node.hears(1, "object \(x)")
                    return answers(node.hears(2, "object \(y)"))
                })
        }

        @Test func skipReadRepair() {
            #expect(
                with(.skipReadRepair) {
                    var node = CoordinatorDialogue()
                    _ = node.get("r=1 pr=2")
                    _ = node.passes(.milliseconds(21))
                    _ = node.hears(1, "object \(x)")
                    _ = node.hears(2, "object \(x)")
                    return node.hears(3, "absent") == []
                })
        }

        @Test func acceptStaleRestampAck() {
            #expect(
                with(.acceptStaleRestampAck) {
                    var properties = BucketProperties()
                    properties.conflictMode = .lww
                    var node = CoordinatorDialogue(properties: properties)
                    _ = node.put("x")
                    _ = node.minted("lww {A:1} A:1=x@5", dot: "A:1")
                    let first = node.lastWrite
                    _ = node.wrote(2, "superseded 9")
                    _ = node.minted("lww {A:2} A:2=x@10", dot: "A:2")
                    _ = node.wrote(3, of: first)
                    return answers(node.mintSynced())
                })
        }

        @Test func countUnsyncedMint() {
            #expect(
                with(.countUnsyncedMint) {
                    var node = CoordinatorDialogue()
                    _ = node.put("x")
                    _ = node.minted(x, dot: "A:1")
                    return answers(node.wrote(2))
                })
        }

        @Test func hashAsAgreement() {
            #expect(
                with(.hashAsAgreement) {
                    var node = CoordinatorDialogue(node: 5, members: 5)
                    _ = node.get()
                    _ = node.hears(1, "object \(x)")
                    return answers(node.hears(2, "hash \(y)"))
                })
        }

        @Test func ignoreUnreadable() {
            #expect(
                with(.ignoreUnreadable) {
                    var node = CoordinatorDialogue()
                    _ = node.get()
                    _ = node.hears(1, "unreadable")
                    return node.hears(2, "absent") == ["answer: absent by 2"]
                })
        }

        @Test func conditionOnlyAtCoordinator() {
            #expect(
                with(.conditionOnlyAtCoordinator) {
                    var node = CoordinatorDialogue()
                    _ = node.put("y", condition: .ifNoneMatch)
                    _ = node.hears(1, "absent")
                    return node.hears(2, "absent") == ["own: mint y"]
                })
        }
    }
#endif
