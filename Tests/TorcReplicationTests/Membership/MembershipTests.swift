// The membership machine, event by event: it is node 1, its peers are 2, 3 …; a period takes a second.

import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite struct MembershipTests {
    private func node(_ number: UInt64) -> NodeID { NodeID(rawValue: number) }

    // MARK: Incarnations

    @Test func nothingIsSaidBeforeTheIncarnationIsStored() {
        var dialogue = MembershipDialogue(stored: 4, isStarted: false)
        #expect(dialogue.handle(.tick).stores == [5])
        #expect(dialogue.handle(.peerUp(node(2))).sent.isEmpty)
        #expect(dialogue.hear(from: 2, .ping, sequence: 9).sent.isEmpty)
        #expect(dialogue.pass(.seconds(3)).sent.isEmpty)
        let told = dialogue.handle(.stored(MembershipIncarnation(rawValue: 5))).sent
        #expect(!told.isEmpty)
        #expect(told.allSatisfy { $0.message.incarnation.rawValue == 5 })
    }

    @Test func aSuspectedNodeRefutesInAHigherIncarnationOnceThatIsStored() {
        var dialogue = MembershipDialogue(stored: 4)
        let made = dialogue.hear(from: 2, .ping, sequence: 9, saying: [.suspect(1, 5, by: 3)])
        #expect(made.stores == [6])
        #expect(made.sent(to: 2).map(\.incarnation.rawValue) == [5])
        #expect(made.observations == [.refuted(MembershipIncarnation(rawValue: 6))])
        // The same again, while it is being stored and after.
        #expect(dialogue.hear(from: 3, saying: [.suspect(1, 5, by: 2)]).stores == [])
        let told = dialogue.handle(.stored(MembershipIncarnation(rawValue: 6))).sent
        #expect(Set(told.map(\.to)) == [2, 3])
        #expect(told.allSatisfy { $0.message.incarnation.rawValue == 6 })
        #expect(dialogue.hear(from: 3, saying: [.dead(1, 5, by: 2)]).stores == [])
        #expect(dialogue.hear(from: 3, saying: [.dead(1, 6, by: 2)]).stores == [7])
    }

    @Test func aNodeThatForgotItsIncarnationGoesAboveTheOneThatOthersRemember() {
        var dialogue = MembershipDialogue()
        #expect(dialogue.hear(from: 2, saying: [.alive(1, 1)]).stores == [])
        #expect(dialogue.hear(from: 2, saying: [.alive(1, 9)]).stores == [10])
        #expect(dialogue.hear(from: 2, saying: [.alive(1, 9)]).stores == [])
    }

    @Test func anAbsurdIncarnationIsNotBelieved() {
        var dialogue = MembershipDialogue()
        #expect(dialogue.hear(from: 2, saying: [.dead(1, .max, by: 2)]) == [])
        dialogue.hear(from: 2, incarnation: 3, saying: [.dead(3, 1 << 57, by: 2)])
        #expect(dialogue.state(of: 3) == .alive)
    }

    // MARK: Claims

    @Test func claimsAreOrderedByIncarnationThenState() {
        var dialogue = MembershipDialogue()
        dialogue.hear(from: 2, saying: [.alive(3, 4)])
        dialogue.hear(from: 2, saying: [.suspect(3, 3, by: 2)])
        #expect(dialogue.state(of: 3) == .alive)
        dialogue.hear(from: 2, saying: [.suspect(3, 4, by: 2)])
        #expect(dialogue.state(of: 3) == .suspect)
        dialogue.hear(from: 2, saying: [.alive(3, 4)])
        #expect(dialogue.state(of: 3) == .suspect)
        dialogue.hear(from: 2, saying: [.dead(3, 4, by: 2)])
        #expect(dialogue.state(of: 3) == .dead)
        dialogue.hear(from: 2, saying: [.suspect(3, 4, by: 2), .alive(3, 4)])
        #expect(dialogue.state(of: 3) == .dead)
        let made = dialogue.hear(from: 2, saying: [.alive(3, 5)])
        #expect(dialogue.state(of: 3) == .alive)
        #expect(made.routing == [])
        #expect(made.observations == [.returned(node(3))])
    }

    /// Whatever the order and however often: what stands is the greatest claim.
    @Test(arguments: 0..<20)
    func claimsInAnyOrderGiveOneResult(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var claims: [MemberClaim] = []
        for _ in 0..<30 {
            let member = UInt64.random(in: 2...5, using: &generator)
            let incarnation = UInt64.random(in: 1...4, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: claims.append(.alive(member, incarnation))
            case 1: claims.append(.suspect(member, incarnation, by: 2))
            default: claims.append(.dead(member, incarnation, by: 3))
            }
        }
        func views(_ claims: [MemberClaim]) -> [String] {
            var dialogue = MembershipDialogue(members: 6)
            dialogue.hear(from: 6, saying: claims)
            return dialogue.machine.members.map { "\($0.node) \($0.incarnation) \($0.state)" }
        }
        let expected = views(claims)
        for _ in 0..<10 {
            let shuffled = (claims + claims.prefix(7)).shuffled(using: &generator)
            #expect(views(shuffled) == expected, "seed \(seed)")
        }
    }

    @Test func claimsAboutStrangersAndFromStrangersAreIgnored() {
        var dialogue = MembershipDialogue()
        dialogue.hear(from: 9, saying: [.dead(2, 1, by: 9)])
        dialogue.hear(from: 2, saying: [.dead(9, 1, by: 3)])
        #expect(dialogue.machine.members.map(\.node.rawValue) == [2, 3])
        #expect(dialogue.state(of: 2) == .alive)
    }

    @Test func theSuspectIsToldSoInEveryMessage() {
        var dialogue = MembershipDialogue()
        dialogue.hear(from: 2, saying: [.suspect(3, 1, by: 2)])
        for _ in 0..<30 { dialogue.hear(from: 2, .ping) }
        for sequence in 1...20 {
            let answer = dialogue.hear(from: 3, .ping, sequence: UInt64(sequence)).sent(to: 3)
            #expect(answer.map(\.claims.first) == [.suspect(3, 1, by: 2)])
        }
    }

    @Test func newsIsToldSoManyTimesAndNoMore() {
        var dialogue = MembershipDialogue(members: 8)
        dialogue.hear(from: 2, saying: [.dead(3, 1, by: 2)])
        var told = 0
        for _ in 0..<100 { told += dialogue.hear(from: 4, .ping).sent(to: 4)[0].claims.count }
        // The death, and the first word of 4 itself is not told to 4: twice the four binary digits of 8.
        #expect(told == 8 + 8)
    }

    @Test func aMessageCarriesABoundedNumberOfClaims() {
        var dialogue = MembershipDialogue(members: 700)
        let claims = (3...250).map { MemberClaim.dead($0, 1, by: 2) }
        dialogue.hear(from: 2, saying: claims)
        #expect(dialogue.hear(from: 2, .ping).sent(to: 2)[0].claims.count == 24)
        for member in 251...500 { dialogue.hear(from: 2, saying: [.dead(UInt64(member), 1, by: 2)]) }
        let pages = dialogue.hear(from: 2, .exchange(asks: true)).sent(to: 2)
        #expect(pages.count == 2)
        #expect(pages.allSatisfy { $0.claims.count <= MembershipMessage.maximumClaims })
        #expect(pages.allSatisfy { $0.body == .exchange(asks: false) })
        // Everybody who was heard of: 2 … 500.
        #expect(pages.flatMap(\.claims).count == 499)
    }

    @Test func loadIsTakenFromTheLatestAndNewBuildsAreNews() {
        var dialogue = MembershipDialogue()
        var facts = MembershipDialogue.facts()
        facts.sequence = 2
        facts.operationsPerSecond = 100
        dialogue.hear(from: 2, facts: facts)
        facts.sequence = 1
        facts.operationsPerSecond = 50
        dialogue.hear(from: 2, facts: facts)
        #expect(dialogue.machine.statuses[1].facts?.operationsPerSecond == 100)
        for _ in 0..<20 { dialogue.hear(from: 3, .ping) }
        facts.sequence = 3
        dialogue.hear(from: 2, facts: facts)
        #expect(dialogue.hear(from: 3, .ping).sent(to: 3)[0].claims == [])
        facts.sequence = 4
        facts.build.patch = 2
        dialogue.hear(from: 2, facts: facts)
        #expect(dialogue.hear(from: 3, .ping).sent(to: 3)[0].claims == [.alive(2, 1, facts)])
    }

    // MARK: Probes

    @Test func whoAnswersIsProbedAgainAndAgainAndNeverSuspected() {
        var dialogue = MembershipDialogue(members: 4)
        let made = dialogue.pass(.seconds(20)) { _ in true }
        #expect(made.observations.isEmpty)
        let pings = made.sent.filter { $0.message.body == .ping }
        for peer in UInt64(2)...4 { #expect((18...22).contains(pings.count { $0.to == peer })) }
    }

    @Test func whoDoesNotAnswerIsPingedThroughOthersThenSuspectedThenDead() {
        var dialogue = MembershipDialogue(members: 4)
        for peer in UInt64(2)...4 { dialogue.hear(from: peer) }
        let first = dialogue.pass(.milliseconds(1_400)) { $0 != 3 }
        #expect(first.sent.contains { $0.message.body == .pingRequest(node(3)) && $0.to == 2 })
        #expect(first.sent.contains { $0.message.body == .pingRequest(node(3)) && $0.to == 4 })
        let second = dialogue.pass(.seconds(1)) { $0 != 3 }
        #expect((first + second).observations == [.suspected(node(3), by: node(1))])
        #expect((first + second).routing == [3])
        // Everybody who was asked said that they got no answer, so this node has no reason to doubt itself.
        #expect(dialogue.machine.doubt == 0)
        let suspicion = dialogue.timing.suspicion(members: 4, confirmations: 0)
        #expect(suspicion == .seconds(27))
        #expect(dialogue.pass(suspicion - .seconds(2)) { $0 != 3 }.observations == [])
        #expect(dialogue.pass(.seconds(2)) { $0 != 3 }.observations == [.died(node(3), by: node(1))])
        #expect(dialogue.machine.nextDeadline != nil)
    }

    @Test func anAnswerThroughAnotherIsAnAnswer() {
        var dialogue = MembershipDialogue(members: 4)
        for _ in 0..<10 {
            let made = dialogue.pass(.milliseconds(500)) { $0 != 3 }
            for message in made.sent(to: 2) where message.body == .pingRequest(node(3)) {
                dialogue.hear(from: 2, .ack, sequence: message.sequence)
            }
            #expect(made.observations.isEmpty)
        }
    }

    @Test func aHelperThatSaysNothingMakesTheNodeDoubtItself() {
        var dialogue = MembershipDialogue(members: 4)
        dialogue.pass(.seconds(2)) { _ in false }
        #expect(dialogue.machine.doubt > 0)
        let doubting = dialogue.machine.doubt
        dialogue.pass(.seconds(60)) { _ in true }
        #expect(dialogue.machine.doubt < doubting)
    }

    @Test func confirmationsByDifferentNodesShortenASuspicionRepeatedOnesDoNot() {
        func timeToDeath(_ accusers: [UInt64]) -> Duration {
            var dialogue = MembershipDialogue(members: 6)
            dialogue.hear(from: 2, saying: [.suspect(6, 1, by: 2)])
            for accuser in accusers { dialogue.hear(from: accuser, saying: [.suspect(6, 1, by: accuser)]) }
            let began = dialogue.now
            while dialogue.state(of: 6) == .suspect { dialogue.pass(.milliseconds(100)) { $0 != 6 } }
            return dialogue.now.duration(since: began)
        }
        // This node itself becomes one of them, when its own probe is not answered.
        let alone = timeToDeath([])
        #expect(timeToDeath([2, 2, 2]) == alone)
        #expect(timeToDeath([3]) < alone)
        #expect(timeToDeath([3, 4, 5]) <= .milliseconds(4_600))
        #expect(timeToDeath([3, 4, 5]) >= .milliseconds(4_500))
    }

    @Test func aPingForSomebodyElse() {
        var dialogue = MembershipDialogue()
        let ping = dialogue.hear(from: 2, .pingRequest(node(3)), sequence: 77).sent(to: 3)
        #expect(ping.map(\.body) == [.ping])
        // Only the member itself can answer.
        #expect(dialogue.hear(from: 2, .ack, sequence: ping[0].sequence).sent.isEmpty)
        let answer = dialogue.hear(from: 3, .ack, sequence: ping[0].sequence).sent(to: 2)
        #expect(answer.map(\.body) == [.ack])
        #expect(answer.map(\.sequence) == [77])
        #expect(dialogue.hear(from: 3, .ack, sequence: ping[0].sequence).sent.isEmpty)

        dialogue.hear(from: 2, .pingRequest(node(3)), sequence: 78)
        let late = dialogue.pass(.milliseconds(450)).sent(to: 2)
        #expect(late.contains { $0.body == .nack && $0.sequence == 78 })
        dialogue.handle(.peerDown(node(3)))
        #expect(dialogue.hear(from: 2, .pingRequest(node(3)), sequence: 79).sent(to: 2).map(\.body) == [.nack])
    }

    @Test func aPingThatWasNotAnsweredBeforeTheReturnSaysNothingOfWhatReturned() {
        var dialogue = MembershipDialogue(members: 4)
        for peer in UInt64(2)...4 { dialogue.hear(from: peer) }
        let pinged = dialogue.pass(.milliseconds(1_100)) { $0 != 3 }
        #expect(pinged.sent(to: 3).contains { $0.body == .ping })
        dialogue.hear(from: 3, incarnation: 2)
        #expect(dialogue.pass(.milliseconds(950)) { _ in true }.observations == [])
    }

    @Test func whoIsDeadWithAStandingLinkIsToldSoUntilItRefutes() {
        var dialogue = MembershipDialogue()
        dialogue.hear(from: 3, incarnation: 4)
        dialogue.hear(from: 2, saying: [.dead(3, 4, by: 2)])
        let told = dialogue.pass(.seconds(3)) { $0 == 2 }.sent(to: 3)
        #expect(told.count >= 2)
        #expect(told.allSatisfy { $0.claims.first == .dead(3, 4, by: 2) })
        dialogue.hear(from: 3, incarnation: 5)
        #expect(dialogue.state(of: 3) == .alive)
    }

    // MARK: This node's own pauses

    @Test func aNodeThatDidNotRunJudgesNobodyByWhatItMissed() {
        var dialogue = MembershipDialogue(members: 4)
        dialogue.pass(.milliseconds(1_200)) { _ in false }
        dialogue.now = dialogue.now.advanced(by: .seconds(5))
        let made = dialogue.handle(.tick)
        #expect(made.observations.contains { if case .paused = $0 { true } else { false } })
        #expect(made.routing == nil)
        #expect(dialogue.machine.doubt > 0)
        #expect(dialogue.pass(.seconds(30)) { _ in true }.observations == [])
    }

    @Test func suspicionsDoNotRunOutWhileTheNodeDoesNotRun() {
        var dialogue = MembershipDialogue(members: 4)
        dialogue.hear(from: 2, saying: [.suspect(3, 1, by: 2), .suspect(3, 1, by: 4)])
        dialogue.pass(.milliseconds(200))
        dialogue.now = dialogue.now.advanced(by: .seconds(600))
        let woken = dialogue.handle(.tick)
        #expect(dialogue.state(of: 3) == .suspect)
        #expect(!woken.observations.contains { if case .died = $0 { true } else { false } })
        dialogue.hear(from: 3, incarnation: 2)
        #expect(dialogue.state(of: 3) == .alive)
    }

    // MARK: Members

    @Test func membersComeAndGo() {
        var dialogue = MembershipDialogue(members: 4)
        dialogue.hear(from: 2, saying: [.dead(3, 1, by: 2), .suspect(4, 1, by: 2)])
        #expect(dialogue.handle(.membersChanged([1, 2, 4, 7].map { node($0) })).routing == [4])
        #expect(dialogue.machine.members.map(\.node.rawValue) == [2, 4, 7])
        #expect(dialogue.machine.statuses.map(\.node.rawValue) == [1, 2, 4, 7])
        #expect(dialogue.handle(.membersChanged([node(1)])).routing == [])
        #expect(dialogue.pass(.seconds(100)).sent.isEmpty)
    }

    @Test func aloneItWaitsForNobody() {
        var dialogue = MembershipDialogue(members: 1)
        #expect(dialogue.pass(.seconds(100)).isEmpty)
    }

    @Test func openWorkIsBounded() {
        var dialogue = MembershipDialogue(members: 40)
        var asked = 0
        for sequence in 0..<1_000 {
            asked += dialogue.hear(from: 2, .pingRequest(node(3)), sequence: UInt64(sequence)).sent(to: 3).count
        }
        #expect(asked == 256)
    }

    @Test(arguments: [2, 3, 4, 10, 150, 1_000])
    func suspicionTimesLieBetweenTheirBounds(members: Int) {
        let timing = MembershipTiming(period: .seconds(1))
        let times = (0...4).map { timing.suspicion(members: members, confirmations: $0) }
        #expect(times == times.sorted(by: >))
        #expect(times.last! >= .seconds(4))
        #expect(times.last! <= .seconds(15))
        #expect(times[0] == (members == 2 ? times[4] : times[4] * 6))
    }
}
