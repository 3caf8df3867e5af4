// Rings, plans and messages about them at random.

import NIOCore
package import TorcModel
package import TorcReplication

extension SeededGenerator {
    package mutating func ringBallot() -> RingBallot {
        RingBallot(round: number() >> 17, node: NodeID(rawValue: number()))
    }

    /// A declared ring, and now and then some changes after it.
    package mutating func clusterState() -> ClusterState {
        let size = RingSize(partitions: pick([8, 16, 32]))!
        let members = (0..<Int.random(in: 1...5, using: &self)).map { _ in ClaimMember(node: NodeID(rawValue: next())) }
        var state = ClusterState(declared: try! .declared(members: members, size: size))
        for _ in 0..<Int.random(in: 0...3, using: &self) {
            if let plan = try? RingPlan(changes: [stagedChange(of: state)], of: state) { state = plan.next }
            for _ in 0..<Int.random(in: 0...2, using: &self) where state.transition != nil { state = state.advanced() }
        }
        return state
    }

    package mutating func clusterMember() -> ClusterMember {
        ClusterMember(
            claim: ClaimMember(
                node: NodeID(rawValue: next()), weight: Int.random(in: 1...9, using: &self),
                zone: pick([nil, "", "east", "größer"])),
            contact: bytes())
    }

    package mutating func stagedChange(of state: ClusterState) -> StagedChange {
        let member = pick(state.ring.members)
        return pick([.join(clusterMember()), .leave(member), .remove(member), .replace(member, by: clusterMember())])
    }

    package mutating func handoffReport() -> HandoffReport {
        var report = HandoffReport()
        report.total = Int.random(in: 0...1_000, using: &self)
        report.pending = Int.random(in: 0...report.total, using: &self)
        report.compares = UInt8.random(in: 0...255, using: &self)
        report.holds = UInt8.random(in: 0...255, using: &self)
        report.keepsHints = chance(2)
        return report
    }

    package mutating func acceptedRing() -> AcceptedRing {
        AcceptedRing(ballot: ringBallot(), state: clusterState())
    }

    package mutating func ringMessage() -> RingMessage {
        let body: RingMessage.Body = pick([
            .version, .prepare(ringBallot()), .promise(ringBallot(), maybe { $0.acceptedRing() }),
            .accept(ringBallot(), clusterState()), .accepted(ringBallot()),
            .refused(ringBallot(), promised: ringBallot()), .decided(clusterState()), .report(handoffReport()),
        ])
        let version = RingVersion(
            generation: RingGeneration(number: number(), forcedBy: NodeID(rawValue: number())), epoch: number(),
            fingerprint: ClusterFingerprint(rawValue: number()))
        return RingMessage(version: version, body: body)
    }
}
