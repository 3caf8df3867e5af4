// Judges the rings of all nodes over a run, and what each tells of its vote.

package import TorcModel
package import TorcReplication

package struct RingChecker {
    private struct Name: Hashable {
        var generation: RingGeneration
        var epoch: UInt64

        init(_ version: RingVersion) {
            generation = version.generation
            epoch = version.epoch
        }
    }

    private let first: ClusterState
    private var rings: [Name: ClusterState] = [:]
    private var fingerprints: Set<ClusterFingerprint> = []
    private var held: [Int: RingVersion] = [:]
    /// What outranks all others that any node has held.
    package private(set) var newest: ClusterState

    package init(first: ClusterState) {
        self.first = first
        newest = first
        rings[Name(first.version)] = first
        fingerprints.insert(first.version.fingerprint)
    }

    /// Rings agreed on so far.
    package var count: Int { rings.count }

    package func state(of version: RingVersion) -> ClusterState? {
        rings[Name(version)].flatMap { $0.version == version ? $0 : nil }
    }

    /// One ring an epoch, each from one that was agreed on; and no node goes back.
    package mutating func installed(_ state: ClusterState, node: Int) -> Violation? {
        let name = Name(state.version)
        if let known = rings[name], known != state {
            return Violation(.wrongRing, "two rings: \(known.version) and \(state.version)")
        }
        rings[name] = state
        if state.version.outranks(newest.version) { newest = state }
        if let last = held[node], !state.version.outranks(last), last != state.version {
            return Violation(.wrongRing, "from \(last) to \(state.version)")
        }
        held[node] = state.version
        guard let parent = state.ancestry.last, fingerprints.contains(parent) || state.generation.number > 0 else {
            return Violation(.wrongRing, "\(state.version) comes from no ring that was agreed on")
        }
        fingerprints.insert(state.version.fingerprint)
        return nil
    }

    /// What is told of a ring and a vote is on disk.
    package func check(_ told: RingMessage, durable: RingRecord?) -> Violation? {
        let record = durable ?? RingRecord(state: first)
        if record.state.version.outranks(told.version) { return nil }
        guard record.state.version == told.version else {
            return Violation(.wrongRing, "tells of \(told.version), and \(record.state.version) is on disk")
        }
        switch told.body {
        case .promise(let ballot, _):
            if let promised = record.vote.promised, promised >= ballot { return nil }
            return Violation(.wrongRing, "promises \(ballot), which is not on disk")
        case .accepted(let ballot):
            if let accepted = record.vote.accepted, accepted.ballot >= ballot { return nil }
            return Violation(.wrongRing, "accepts \(ballot), which is not on disk")
        case .version, .prepare, .accept, .refused, .decided, .report: return nil
        }
    }

    /// A commit that is answered is held by a majority of those who agreed on it, on their disks.
    package func checkCommitted(_ version: RingVersion, durable: (NodeID) -> RingRecord?) -> Violation? {
        guard let state = state(of: version) else {
            return Violation(.wrongRing, "\(version) is answered as committed, and nobody holds it")
        }
        // A forced one rests on one node's word.
        guard let parent = rings.values.first(where: { $0.version.fingerprint == state.ancestry.last }),
            parent.generation == state.generation
        else { return nil }
        let holders = parent.members.count { member in
            guard let record = durable(member.node) else { return false }
            return record.state.version == version || record.state.version.outranks(version)
                || record.vote.accepted?.state.version == version
        }
        return holders >= parent.majority
            ? nil
            : Violation(
                .wrongRing, "\(version) is answered as committed, and \(holders) of \(parent.members.count) hold it")
    }
}
