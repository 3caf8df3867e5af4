// The checker of rings is shown each promise broken, and beside it kept.

import Testing
import TorcModel
import TorcReplication
import TorcSimulation

@Suite struct RingCheckerTests {
    private func node(_ number: UInt64) -> NodeID { NodeID(rawValue: number) }

    private let first = ClusterState(
        declared: try! .declared(
            members: (1...4).map { ClaimMember(node: NodeID(rawValue: $0)) }, size: RingSize(partitions: 16)!))

    private func next(_ state: ClusterState, leaver: UInt64) -> ClusterState {
        try! RingPlan(changes: [.leave(node(leaver))], of: state).next
    }

    @Test func oneRingAnEpoch() {
        var checker = RingChecker(first: first)
        #expect(checker.installed(next(first, leaver: 1), node: 0) == nil)
        #expect(checker.installed(next(first, leaver: 1), node: 1) == nil)
        #expect(checker.installed(next(first, leaver: 2), node: 2)?.promise == .wrongRing)
    }

    @Test func noNodeGoesBackAndNoRingComesFromNowhere() {
        let second = next(first, leaver: 1)
        let third = second.advanced()
        var checker = RingChecker(first: first)
        #expect(checker.installed(third, node: 0)?.promise == .wrongRing)
        checker = RingChecker(first: first)
        #expect(checker.installed(second, node: 0) == nil)
        #expect(checker.installed(third, node: 1) == nil)
        #expect(checker.installed(second, node: 1)?.promise == .wrongRing)
    }

    @Test func whatIsToldIsOnDisk() {
        let checker = RingChecker(first: first)
        let ballot = RingBallot(round: 1, node: node(1))
        let promise = RingMessage(version: first.version, body: .promise(ballot, nil))
        #expect(checker.check(promise, durable: nil)?.promise == .wrongRing)
        var machine = RingAgreement(
            node: node(1), start: RingStart(record: RingRecord(state: first), seed: 1))
        var effects: [RingEffect] = []
        machine.handle(
            .message(from: node(2), RingMessage(version: first.version, body: .prepare(ballot))),
            now: MonotonicTime(nanoseconds: 1), effects: &effects)
        #expect(checker.check(promise, durable: machine.record) == nil)
        let acceptance = RingMessage(version: first.version, body: .accepted(ballot))
        #expect(checker.check(acceptance, durable: machine.record)?.promise == .wrongRing)
        let second = next(first, leaver: 3)
        #expect(checker.check(acceptance, durable: RingRecord(state: second)) == nil)
        let news = RingMessage(version: second.version, body: .version)
        #expect(checker.check(news, durable: machine.record)?.promise == .wrongRing)
    }

    @Test func whatIsCommittedIsHeldByAMajority() {
        var checker = RingChecker(first: first)
        let second = next(first, leaver: 3)
        #expect(checker.checkCommitted(second.version) { _ in RingRecord(state: second) }?.promise == .wrongRing)
        #expect(checker.installed(second, node: 0) == nil)
        for holders in UInt64(0)...4 {
            let found = checker.checkCommitted(second.version) { member in
                member.rawValue <= holders ? RingRecord(state: second) : RingRecord(state: first)
            }
            #expect((found == nil) == (holders >= 3))
        }
    }
}
