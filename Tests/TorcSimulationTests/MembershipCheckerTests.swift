import Testing
import TorcModel
import TorcReplication
import TorcSimulation

@Suite struct MembershipCheckerTests {
    @Test func theCheckerSeesAnIncarnationThatIsNotStored() {
        let facts = MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: 0), peerProtocol: 1)
        let message = MembershipMessage(
            sequence: 1, body: .ping, incarnation: MembershipIncarnation(rawValue: 3), facts: facts, claims: [])
        let checker = MembershipChecker()
        #expect(checker.check(message, durable: MembershipIncarnation(rawValue: 3)) == nil)
        #expect(checker.check(message, durable: MembershipIncarnation(rawValue: 2))?.promise == .wrongMembership)
    }

    @Test func theCheckerSeesAViewThatGoesBack() {
        func members(_ claims: [MemberClaim]) -> [Member] {
            let facts = MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: 0), peerProtocol: 1)
            let nodes = (1...3).map { NodeID(rawValue: $0) }
            var machine = Membership(
                node: nodes[0], members: nodes,
                start: MembershipStart(timing: MembershipTiming(), stored: .unheard, facts: facts, seed: 1))
            var effects: [MembershipEffect] = []
            let message = MembershipMessage(
                sequence: 1, body: .ack, incarnation: MembershipIncarnation(rawValue: 1), facts: facts, claims: claims)
            machine.handle(.message(from: nodes[1], message), now: .zero, effects: &effects)
            return machine.members
        }
        let five = MembershipIncarnation(rawValue: 5)
        let alive = members([])
        let suspect = members([
            MemberClaim(node: NodeID(rawValue: 3), incarnation: five, content: .suspect(by: NodeID(rawValue: 2)))
        ])
        let dead = members([
            MemberClaim(node: NodeID(rawValue: 3), incarnation: five, content: .dead(by: NodeID(rawValue: 2)))
        ])
        let checker = MembershipChecker()
        #expect(checker.check(alive, suspect) == nil)
        #expect(checker.check(suspect, dead) == nil)
        #expect(checker.check(dead, dead) == nil)
        #expect(checker.check(dead, suspect)?.promise == .wrongMembership)
        #expect(checker.check(suspect, alive)?.promise == .wrongMembership)
    }
}
