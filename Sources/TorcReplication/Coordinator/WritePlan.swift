// Where the copies of one write go, as the ring has it when the write is planned. When the ring changes under a
// write that is under way it is planned again: what is stored counts, wherever it still belongs.

import TorcModel

struct WritePlan: Sendable {
    let replicas: Replicas
    let own: OwnPlace
    let fallbacks: [NodeID]
    /// In the list that reads go to.
    let needed: WriteQuorum
    /// In the other, while copies move.
    let neededThere: WriteQuorum?
    /// Of the ring.
    let epoch: UInt64

    /// `isForwarded`: another node has chosen this one to coordinate it.
    init(
        _ key: ObjectKey, _ options: QuorumOptions, isDelete: Bool, _ properties: BucketProperties,
        isForwarded: Bool, view: NodeView, lists: inout PreferenceLists
    ) throws(Refusal) {
        let copies = Int(properties.n)
        let phase = lists.placement.phase
        replicas = lists.replicas(of: key, copies: copies)
        func needed(of count: Int, isFormer: Bool) throws(Refusal) -> WriteQuorum {
            let quorums = try Quorums(options: options, properties: properties, replicaCount: count)
            var needed = isDelete ? try quorums.delete() : try quorums.write()
            // Some of the former list may be gone for good, and more than there are cannot be asked of it.
            if isFormer { needed.limit(to: count) }
            return needed
        }
        self.needed = try needed(of: replicas.serving.count, isFormer: phase == .copying && replicas.isMoving)
        var there: WriteQuorum?
        if let other = replicas.other { there = try needed(of: other.count, isFormer: phase == .retiring) }
        neededThere = there
        var fallbacks = self.needed.isSloppy ? lists.fallbacks(of: key, copies: copies) : []
        if let place = replicas.nodes.firstIndex(of: view.node) {
            own = .primary(place)
        } else if self.needed.isSloppy, !isForwarded, !replicas.nodes.contains(where: view.reaches),
            lists.placement.ring.members.contains(view.node)
        {
            // Always writable: what no primary can be reached for is minted here, on what is kept for the first.
            if !fallbacks.contains(view.node) { fallbacks.append(view.node) }
            own = .fallback(fallbacks.firstIndex(of: view.node)!)
        } else {
            own = .outside
        }
        self.fallbacks = fallbacks
        epoch = lists.placement.epoch
    }

    /// Whether so many can be had of those that are reachable; throws if they cannot.
    func check(reachable: ReplicaSet, spare: Int) throws(Refusal) {
        try Self.check(replicas.serving, needed, reachable, spare)
        if let other = replicas.other, let neededThere { try Self.check(other, neededThere, reachable, spare) }
    }

    private static func check(
        _ list: ReplicaSet, _ needed: WriteQuorum, _ reachable: ReplicaSet, _ spare: Int
    ) throws(Refusal) {
        let present = reachable.intersection(list).count
        if present < needed.primaries { throw .unreachable(needed: needed.primaries, reachable: present) }
        if present < needed.copies {
            let possible = present + min(spare, list.count - present)
            if possible < needed.copies { throw .unreachable(needed: needed.copies, reachable: possible) }
        }
    }
}
