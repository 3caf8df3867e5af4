// What copies of an object are called when they differ, and what `explain` says of them.

import NIOCore
import StoreSupport
import Testing
import TorcConsole
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct ExplainTests {
    private static let first = NodeID(rawValue: 0xa1)
    private static let second = NodeID(rawValue: 0xb2)
    private static let third = NodeID(rawValue: 0xc3)
    private static let fourth = NodeID(rawValue: 0xd4)
    private let key = Example.key("carts", "alice")

    private var place: KeyPlace {
        KeyPlace(
            key: key, ringSize: RingSize(partitions: 8)!, copies: 3, epoch: 7, phase: "settled",
            replicas: [Self.first, Self.second, Self.third], fallbacks: [Self.fourth],
            names: [Self.first: "node1", Self.second: "node2", Self.third: "node3", Self.fourth: "node4"])
    }

    private func sight(_ node: NodeID, _ object: VersionedObject?, hints: [KeySight.Hint] = [], leaf: UInt64? = 1)
        -> KeySight
    {
        let record = object.map { Record(header: LocalHeader(copies: 3), body: $0.encoded).encoded(for: key) }
        return KeySight(
            node: node, holding: record.map { .record($0) } ?? .nothing, hints: hints, isSynced: true, leaf: leaf)
    }

    private func hint(_ target: NodeID, _ object: VersionedObject) -> KeySight.Hint {
        let note = HintNote(target: target, since: WallTime(microseconds: Example.noon))
        return KeySight.Hint(
            target: target,
            record: Record(header: LocalHeader(copies: 3), hint: note, body: object.encoded).encoded(for: key))
    }

    private func text(_ explanation: Explanation) -> String {
        explanation.text(now: WallTime(microseconds: Example.noon))
    }

    private let one = Example.object(Example.sibling(Example.actor, 1, "milk"))
    private let two = Example.object(
        Example.sibling(Example.actor, 1, "milk"), Example.sibling(Example.otherActor, 1, "eggs"))

    @Test func copiesThatAreEqual() {
        let explanation = Explanation(place, [sight(Self.third, one), sight(Self.first, one), sight(Self.second, one)])
        #expect(explanation.own.map(\.node) == [Self.first, Self.second, Self.third])
        #expect(explanation.own.allSatisfy { $0.relation == .current })
        #expect(explanation.leavesAgree == true)
        let text = text(explanation)
        #expect(text.contains("all 3 replicas hold the same") && text.contains("their Merkle leaves are equal"))
        #expect(text.contains("preference list: node1, node2, node3; then node4"))
        #expect(text.contains("through node1") && text.contains("on node1, node2, node3"))
    }

    @Test func oneThatIsBehind() {
        let explanation = Explanation(
            place, [sight(Self.first, two), sight(Self.second, one, leaf: 2), sight(Self.third, nil, leaf: 0)])
        #expect(
            explanation.own.map(\.relation) == [
                .current, .behind(lacks: [Dot(actor: Example.otherActor, counter: 1)]), .nothing,
            ])
        #expect(explanation.leavesAgree == false)
        let text = text(explanation)
        #expect(text.contains("behind: lacks \(Example.otherActor):1 (node2)"))
        #expect(text.contains("1 of 3 replicas hold all of it") && text.contains("2 siblings: none of their writers"))
        #expect(text.contains("their Merkle leaves differ, so repair finds it"))
    }

    @Test func twoThatAreConcurrent() {
        let other = Example.object(Example.sibling(Example.otherActor, 1, "eggs"))
        let explanation = Explanation(place, [sight(Self.first, one), sight(Self.second, other)])
        let dots = [Dot(actor: Example.actor, counter: 1), Dot(actor: Example.otherActor, counter: 1)]
        #expect(
            explanation.own.map(\.relation) == [
                .concurrent(lacks: [dots[1]], alone: [dots[0]]), .concurrent(lacks: [dots[0]], alone: [dots[1]]),
            ])
        #expect(explanation.whole == two)
        #expect(explanation.currentReplicas.isEmpty)
        #expect(text(explanation).contains("not asked, or no answer"))
    }

    @Test func whatOnlyAHintHas() {
        let explanation = Explanation(
            place,
            [
                sight(Self.first, one), sight(Self.second, one), sight(Self.third, one),
                sight(Self.fourth, nil, hints: [hint(Self.third, two)]),
            ])
        #expect(explanation.hints.map(\.relation) == [.current])
        #expect(explanation.own[0].relation == .behind(lacks: [Dot(actor: Example.otherActor, counter: 1)]))
        let text = text(explanation)
        #expect(text.contains("HINT AT") && text.contains("on no replica: only in hints"))
        #expect(text.contains("fallback 1"))
    }

    @Test func whatIsDeletedAndWhatIsDamaged() {
        let deleted = Example.deleted(two)
        var damaged = sight(Self.third, one)
        guard case .record(var bytes) = damaged.holding else { return }
        bytes.setInteger(bytes.getInteger(at: 12, as: UInt8.self)! ^ 1, at: 12)
        damaged.holding = .record(bytes)
        let explanation = Explanation(place, [sight(Self.first, deleted), sight(Self.second, two), damaged])
        #expect(explanation.own[0].relation == .current)
        // It has seen as much, and holds what the delete removed.
        #expect(explanation.own[1].relation == .differs)
        guard case .unknown(let reason) = explanation.own[2].relation else {
            Issue.record("\(explanation.own[2])")
            return
        }
        #expect(reason.contains("damaged"))
        #expect(text(explanation).contains("deleted: the tombstone is reaped once all replicas hold it"))
        let nothing = Explanation(place, [sight(Self.first, nil)])
        #expect(nothing.whole == nil && text(nothing).contains("nobody holds anything of it"))
    }

    @Test func foldersAreCompared() async throws {
        let folders = try [Self.first, Self.second].map { try Example(node: $0) }
        try folders[0].write(key, two)
        try folders[1].write(key, one)
        try folders[1].write(
            key, two, hintFor: HintNote(target: Self.first, since: WallTime(microseconds: Example.noon)))
        for folder in folders { try folder.harness.store.sync() }
        let told = await inspect("explain", "carts", "alice", folders[0].path, folders[1].path)
        #expect(told.status == 0)
        #expect(told.text.contains("behind: lacks") && told.text.contains("HINT AT"), "\(told.text)")
        #expect(told.text.contains("1 of 2 replicas hold all of it"))
        let json = await inspect("explain", "carts", "alice", folders[0].path, folders[1].path, "--json").objects[0]
        let copies = try #require(json["copies"] as? [[String: Any]])
        #expect(copies.map { $0["relation"] as? String } == ["current", "behind", "current"])
        #expect(json["leavesAgree"] as? Bool == false)
        let twice = await inspect("explain", "carts", "alice", folders[0].path, folders[0].path)
        #expect(twice.status != 0 && twice.warnings.contains("of one node"))
        for folder in folders { try folder.harness.close() }
    }
}
