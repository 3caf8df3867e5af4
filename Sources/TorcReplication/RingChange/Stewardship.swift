// When a transition may go on. Each member tells the steward (the first member that it has a link to) how far it is;
// the steward, when everybody who matters has said so, has the next step agreed on like any other ring. Two that take
// themselves for the steward propose the same state: there is nothing to lose.

import TorcModel

struct Stewardship: Sendable {
    private struct Movers: Sendable {
        var receivers: Set<NodeID> = []
        var sources: Set<NodeID> = []
    }

    private(set) var reports: [NodeID: HandoffReport] = [:]
    private let placement: Placement
    /// By copies; found when first asked for.
    private var movers: [Int: Movers] = [:]

    init(_ placement: Placement) { self.placement = placement }

    mutating func heard(_ report: HandoffReport, from node: NodeID) { reports[node] = report }

    /// What may follow on a state now.
    mutating func nextStep(of state: ClusterState) -> ClusterState? {
        switch placement.phase {
        // What fenced nodes own goes to the others.
        case .settled: state.fencedOwners.isEmpty ? nil : try? RingPlan(changes: [], of: state).next
        case .copying: hasArrived ? state.advanced() : nil
        case .retiring:
            haveLeft(state) || Mutation.retireEarly.isActive ? state.advanced() : nil
        }
    }

    /// Everybody reads from the next list, and who leaves keeps nothing for others.
    private func haveLeft(_ state: ClusterState) -> Bool {
        state.participants.allSatisfy { member in
            guard let report = reports[member.node] else { return false }
            return !report.keepsHints || state.contains(member.node)
        }
    }

    /// Whoever gets copies has compared with whom it gets them from; and no tree has been overlooked, because those
    /// that give have said what they hold.
    private var hasArrived: Bool {
        mutating get {
            if reports.values.contains(where: { $0.pending > 0 }) { return false }
            let copies = reports.values.reduce(0) { $0 | $1.compares | $1.holds }
            for count in 1...BucketProperties.maximumCopies where copies & HandoffReport.bit(count) != 0 {
                let movers = movers(copies: count)
                guard movers.sources.allSatisfy({ reports[$0] != nil }),
                    movers.receivers.allSatisfy({
                        (reports[$0]?.compares ?? 0) & HandoffReport.bit(count) != 0
                    })
                else { return Mutation.readBeforeArrival.isActive && !reports.isEmpty }
            }
            return !reports.isEmpty
        }
    }

    private mutating func movers(copies: Int) -> Movers {
        if let known = movers[copies] { return known }
        var found = Movers()
        for index in 0..<placement.ring.size.partitions {
            let partition = PartitionID(index)
            for node in placement.replicas(of: partition, copies: copies).nodes {
                let sources = placement.sources(for: node, of: partition, copies: copies)
                if sources.isEmpty { continue }
                found.receivers.insert(node)
                found.sources.formUnion(sources)
            }
        }
        movers[copies] = found
        return found
    }
}
