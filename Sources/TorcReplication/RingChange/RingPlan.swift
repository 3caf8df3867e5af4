// Staged changes, and what they come to: who gives what to whom.
//
// Changes are staged at one node, one by one, each checked against the present members and those staged before it.
// The plan is a pure function of the present state and the staged changes; its fingerprint is that of the state
// that would follow, so that an operator commits what was shown to them, or is told that it is no longer so.

package import TorcModel

/// A change of the members that waits to be committed.
package enum StagedChange: Hashable, Sendable {
    case join(ClusterMember)
    /// It hands over what it holds, and is gone then.
    case leave(NodeID)
    /// It cannot be asked: it is fenced, and what it held comes from the others.
    case remove(NodeID)
    /// Another takes over every partition of one that cannot be asked, which is fenced.
    case replace(NodeID, by: ClusterMember)

    /// The member that it takes out.
    var leaver: NodeID? {
        switch self {
        case .join: nil
        case .leave(let node), .remove(let node), .replace(let node, _): node
        }
    }

    /// The member that it brings in.
    var joiner: ClusterMember? {
        switch self {
        case .join(let member), .replace(_, let member): member
        case .leave, .remove: nil
        }
    }

    /// What stays staged beside it: the join of a node that takes another's place becomes the replacement.
    func others(of staged: [StagedChange]) -> [StagedChange] {
        guard case .replace(_, let member) = self else { return staged }
        return staged.filter { $0 != .join(member) }
    }

    var isFencing: Bool {
        switch self {
        case .join, .leave: false
        case .remove, .replace: true
        }
    }
}

/// Why a change cannot be staged, or planned.
package enum StagingRefusal: Error, Hashable, Sendable {
    case alreadyMember(NodeID)
    case notMember(NodeID)
    /// It was removed or replaced, and comes back as another node or not at all.
    case fenced(NodeID)
    case alreadyStaged(NodeID)
    /// Its address or zone is too long, or its weight out of range.
    case outOfBounds(NodeID)
    case tooManyStaged(limit: Int)
    case tooManyFenced(limit: Int)
    case nothingStaged
    /// Copies move, and that must end first. Only removals are possible meanwhile.
    case moving
    case claim(ClaimRefusal)
}

package struct RingPlan: Hashable, Sendable {
    /// Changes in one plan; staging one more is refused.
    package static let maximumChanges = 256

    /// A partition that changes its owner.
    package struct Move: Hashable, Sendable {
        package var partition: PartitionID
        package var source: NodeID
        package var target: NodeID
    }

    /// A replica that one node gives up and another gets.
    package struct Handover: Hashable, Sendable {
        package var partition: PartitionID
        /// In the old preference list, not in the new one. Nil: the list grew.
        package var source: NodeID?
        /// In the new one, not in the old one. Nil: the list shrank.
        package var target: NodeID?
    }

    package let parent: RingVersion
    package let changes: [StagedChange]
    package let next: ClusterState
    /// Partitions that change their owner.
    package let moves: [Move]
    package let repeatedNodes: [PartitionID]
    package let repeatedZones: [PartitionID]
    private let present: Ring

    package init(changes: [StagedChange], of state: ClusterState) throws(StagingRefusal) {
        // Without a change: what fenced nodes own goes to others.
        guard !changes.isEmpty || state.transition == nil && !state.fencedOwners.isEmpty else { throw .nothingStaged }
        var checked: [StagedChange] = []
        for change in changes {
            if let refusal = Self.refusal(of: change, after: checked, in: state) { throw refusal }
            checked.append(change)
        }
        let fencing = changes.filter(\.isFencing).compactMap(\.leaver)
        guard state.fenced.count + fencing.count <= ClusterState.maximumFenced else {
            throw .tooManyFenced(limit: ClusterState.maximumFenced)
        }
        parent = state.version
        present = state.ring
        self.changes = changes
        if state.transition != nil {
            guard state.members.count > fencing.count(where: state.contains) else { throw .claim(.noMembers) }
            next = state.fencing(fencing)
            moves = []
            repeatedNodes = []
            repeatedZones = []
            return
        }
        var members = state.members
        var owners = state.ring.owners
        for change in changes {
            members.removeAll { $0.node == change.leaver }
            if let joiner = change.joiner { members.append(joiner) }
            if case .replace(let old, let new) = change { owners = owners.map { $0 == old ? new.node : $0 } }
        }
        // Replacements first, as if they had always been there: then the rest moves as little as it needs to.
        let claim: ClaimPlan
        do throws(ClaimRefusal) {
            claim = try ClaimPlan(
                changing: Ring(epoch: state.ring.epoch, size: state.ring.size, owners: owners),
                members: members.map(\.claim))
        } catch {
            throw .claim(error)
        }
        next = state.moved(to: claim.owners, members: members, fencing: fencing)
        moves = zip(state.ring.owners, claim.owners).enumerated().compactMap { index, owners in
            owners.0 == owners.1
                ? nil
                : Move(partition: PartitionID(index), source: owners.0, target: owners.1)
        }
        repeatedNodes = claim.repeatedNodes
        repeatedZones = claim.repeatedZones
    }

    /// The replicas that change hands when buckets keep so many copies: ascending by partition.
    package func handovers(copies: Int) -> [Handover] {
        (0..<present.owners.count).flatMap { index in
            let partition = PartitionID(index)
            let old = present.preferenceList(of: partition, count: copies)
            let new = next.ring.preferenceList(of: partition, count: copies)
            let sources = old.filter { !new.contains($0) }
            let targets = new.filter { !old.contains($0) }
            return (0..<max(sources.count, targets.count)).map { place in
                Handover(
                    partition: partition, source: place < sources.count ? sources[place] : nil,
                    target: place < targets.count ? targets[place] : nil)
            }
        }
    }

    static func refusal(
        of change: StagedChange, after staged: [StagedChange], in state: ClusterState
    ) -> StagingRefusal? {
        guard staged.count < maximumChanges else { return .tooManyStaged(limit: maximumChanges) }
        if state.transition != nil {
            guard case .remove = change else { return .moving }
        }
        let touched = staged.compactMap(\.leaver) + staged.compactMap { $0.joiner?.node }
        if let leaver = change.leaver {
            if !state.hasParticipant(leaver) { return .notMember(leaver) }
            if touched.contains(leaver) { return .alreadyStaged(leaver) }
        }
        if let joiner = change.joiner {
            if state.contains(joiner.node) { return .alreadyMember(joiner.node) }
            if state.fenced.contains(joiner.node) { return .fenced(joiner.node) }
            if touched.contains(joiner.node) { return .alreadyStaged(joiner.node) }
            if !joiner.isWithinBounds { return .outOfBounds(joiner.node) }
        }
        return nil
    }

    /// Those of the staged changes that still make sense after the state has changed, or will when nothing moves.
    static func remaining(_ staged: [StagedChange], in state: ClusterState) -> [StagedChange] {
        var rest = state
        while rest.transition != nil { rest = rest.advanced() }
        return staged.reduce(into: []) { kept, change in
            if refusal(of: change, after: kept, in: rest) == nil { kept.append(change) }
        }
    }
}

extension ClusterState {
    /// The state without members that are gone for good, by the word of one node alone.
    func forced(without dead: [NodeID], by node: NodeID) throws(StagingRefusal) -> ClusterState {
        let living = members.filter { !dead.contains($0.node) }
        guard fenced.count + dead.count <= Self.maximumFenced else { throw .tooManyFenced(limit: Self.maximumFenced) }
        let generation = RingGeneration(number: generation.number + 1, forcedBy: node)
        if transition != nil { return fencing(dead, generation: generation) }
        let claim: ClaimPlan
        do throws(ClaimRefusal) {
            claim = try ClaimPlan(changing: ring, members: living.map(\.claim))
        } catch {
            throw .claim(error)
        }
        return moved(to: claim.owners, members: living, fencing: dead, generation: generation)
    }
}
