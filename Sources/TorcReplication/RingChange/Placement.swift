// Where copies lie while one ring changes into the next.
//
//   settled ──commit──► copying ──what moves has arrived──► retiring ──everybody knows──► settled
//
//   settled     one list       reads and writes go to it
//   copying     former, next   reads go to the former; writes to both, with W met in each; what is new to the
//                              next list is fetched from the former (`Repair`)
//   retiring    former, next   reads go to the next; writes to both, with W met in each
//
// Why a strict read sees every strict write, whoever knows which ring:
//   - Each node of the next list that is not of the former has compared its trees with the nodes that leave, once,
//     when both knew that copying had begun. From then on those refuse writes of an older ring. So a write that W of
//     the former list have acknowledged under the older ring is on as many of the next: each that leaves has handed
//     on what it held.
//   - Under copying and retiring W is met in both lists, so it does not matter which of them a read goes to.
//   - Writes leave the former list when every node that may still read from it is known to hold `retiring`.
//
// After joint consensus (Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 4.3): there, too, both sets
// must agree while one follows the other. Departure: three steps, because reads and writes are quorums of their own.

package import TorcModel

package struct Placement: Hashable, Sendable {
    package enum Phase: UInt8, Hashable, Sendable {
        case settled = 0
        case copying = 1
        case retiring = 2
    }

    package let phase: Phase
    /// The newest ring.
    package let ring: Ring
    /// The one before it, while copies move.
    package let former: Ring?
    /// Writes, and reads that are counted, of older epochs are refused. 0: none is. While copies move, the epoch in which
    /// they began to.
    package let floor: UInt64
    /// Tells one placement from another: trees are compared by nodes that hold the same.
    package let fingerprint: RingFingerprint
    /// Every node that holds copies, ascending.
    package let nodes: [NodeID]
    /// Nodes that are gone for good: asked for nothing, and not listened to.
    private let fenced: Set<NodeID>
    private let hasFencedOwners: Bool

    /// At rest.
    package init(_ ring: Ring) {
        self.init(phase: .settled, ring: ring, fingerprint: RingFingerprint(of: ring))
    }

    package init(
        phase: Phase, ring: Ring, former: Ring? = nil, floor: UInt64 = 0, fenced: [NodeID] = [],
        fingerprint: RingFingerprint
    ) {
        precondition(
            (former == nil) == (phase == .settled), "\(phase) with \(former == nil ? "one ring" : "two rings")")
        self.phase = phase
        self.ring = ring
        self.former = former
        self.floor = floor
        self.fingerprint = fingerprint
        let owners = Set(ring.members).union(former?.members ?? [])
        self.fenced = Set(fenced)
        hasFencedOwners = !owners.isDisjoint(with: self.fenced)
        nodes = owners.subtracting(fenced).sorted()
    }

    package var epoch: UInt64 { ring.epoch }

    func replicas(of partition: PartitionID, copies: Int) -> Replicas {
        let next = owners(of: partition, copies, in: ring)
        guard let former else { return Replicas(next) }
        let old = owners(of: partition, copies, in: former)
        // Of a list whose members are all gone for good nothing can be read: what others have by now is all there is.
        return phase == .copying && !old.isEmpty || next.isEmpty ? Replicas(old, and: next) : Replicas(next, and: old)
    }

    /// The nodes that stand in for the replicas of a partition, in their order.
    func fallbacks(of partition: PartitionID, copies: Int, limit: Int) -> [NodeID] {
        let replicas = replicas(of: partition, copies: copies).nodes
        let others = ring.preferenceList(of: partition, count: ring.members.count)
            .filter { !replicas.contains($0) && !fenced.contains($0) }
        return Array(others.prefix(limit))
    }

    package func holds(_ node: NodeID, _ partition: PartitionID, copies: Int) -> Bool {
        replicas(of: partition, copies: copies).nodes.contains(node)
    }

    /// Everybody who holds copies of a partition, those that reads are asked of first.
    package func holders(of partition: PartitionID, copies: Int) -> [NodeID] {
        replicas(of: partition, copies: copies).nodes
    }

    /// The copies of the list that has fewer.
    package func leastCopies(of partition: PartitionID, copies: Int) -> Int {
        let replicas = replicas(of: partition, copies: copies)
        return min(replicas.serving.count, replicas.other?.count ?? .max)
    }

    /// While copies move: the co-owners that a node compares a tree with once before reads go to the next list.
    /// Where as many come as go, those that come fetch from each that goes; otherwise those that come fetch from
    /// everybody, and everybody fetches from each that goes.
    package func sources(for node: NodeID, of partition: PartitionID, copies: Int) -> [NodeID] {
        guard phase == .copying, let former else { return [] }
        let old = owners(of: partition, copies, in: former)
        let next = owners(of: partition, copies, in: ring)
        guard next.contains(node) else { return [] }
        let leaving = old.filter { !next.contains($0) }
        if old.count == next.count { return old.contains(node) ? [] : leaving }
        return old.contains(node) ? leaving : old
    }

    /// All that hold a partition: those that come first, those that go last.
    func ranked(_ partition: PartitionID, copies: Int) -> [NodeID] {
        let next = owners(of: partition, copies, in: ring)
        guard let former else { return next }
        let old = owners(of: partition, copies, in: former)
        return next.filter { !old.contains($0) } + next.filter(old.contains) + old.filter { !next.contains($0) }
    }

    /// It is gone for good, and nothing that it says counts.
    package func isFenced(_ node: NodeID) -> Bool { !fenced.isEmpty && fenced.contains(node) }

    /// With how few copies a node holds something of each partition; `.max`: it does not with any.
    func ranks(of node: NodeID) -> [UInt8] {
        let rings = [ring, former].compactMap(\.self)
        return (0..<ring.size.partitions).map { index in
            let partition = PartitionID(index)
            if !hasFencedOwners {
                let places = rings.compactMap {
                    $0.preferenceList(of: partition, count: BucketProperties.maximumCopies).firstIndex(of: node)
                }
                return places.min().map { UInt8($0 + 1) } ?? .max
            }
            // Where owners are gone their places in a list stay empty.
            let copies = (1...BucketProperties.maximumCopies).first { holds(node, partition, copies: $0) }
            return copies.map { UInt8($0) } ?? .max
        }
    }

    /// A list does not grow for those of it that are gone: who follows holds nothing. But where all are gone, it is
    /// those that follow.
    private func owners(of partition: PartitionID, _ copies: Int, in ring: Ring) -> [NodeID] {
        let list = ring.preferenceList(of: partition, count: copies)
        guard hasFencedOwners else { return list }
        let living = list.filter { !fenced.contains($0) }
        if !living.isEmpty { return living }
        let everybody = ring.preferenceList(of: partition, count: ring.members.count)
        return Array(everybody.filter { !fenced.contains($0) }.prefix(copies))
    }
}

/// The nodes that hold a key's copies: in one list, or in two while they move.
struct Replicas: Hashable, Sendable {
    /// Those that reads are asked of come first, in the order of their list.
    let nodes: [NodeID]
    /// The list that reads are asked of.
    let serving: ReplicaSet
    /// The other that writes go to, too.
    let other: ReplicaSet?

    init(_ nodes: [NodeID]) {
        self.nodes = nodes
        serving = ReplicaSet(first: nodes.count)
        other = nil
    }

    init(_ first: [NodeID], and second: [NodeID]) {
        let nodes = first + second.filter { !first.contains($0) }
        self.nodes = nodes
        serving = ReplicaSet(first: first.count)
        var set = ReplicaSet()
        for node in second { set.insert(nodes.firstIndex(of: node)!) }
        other = set == serving || second.isEmpty ? nil : set
    }

    var isMoving: Bool { other != nil }
    var servingNodes: ArraySlice<NodeID> { nodes.prefix(serving.count) }

    /// It is in every list.
    func isInEach(_ node: NodeID) -> Bool {
        guard let place = nodes.firstIndex(of: node) else { return false }
        return serving.contains(place) && (other?.contains(place) ?? true)
    }
}

extension Placement {
    /// Of which a node may get records of some number of copies.
    package func partitionsHeld(by node: NodeID) -> [PartitionID] {
        (0..<ring.size.partitions).map { PartitionID($0) }.filter { partition in
            // Where all owners of a short list are fenced it reaches beyond those of a longer one.
            (1...BucketProperties.maximumCopies).reversed().contains { holds(node, partition, copies: $0) }
        }
    }
}
