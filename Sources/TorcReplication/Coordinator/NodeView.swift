// What every operation must know of the node that coordinates it.

import TorcModel

/// Who this node is and whom it can reach.
struct NodeView: Sendable {
    let node: NodeID
    let incarnation: Incarnation
    let hashSeed: HashSeed
    let limits: LaneLimits
    /// The peers to which a link stands. Asked for membership only, never walked.
    var linked: Set<NodeID> = []
    /// Members that do not answer others, or did not answer this node: asked after the rest, and only when there
    /// are not enough without them. Asked for membership only, never walked.
    var suspected: Set<NodeID> = []
    /// How long an answer may take before one more replica is asked.
    var patience: Duration

    func reaches(_ other: NodeID) -> Bool { other == node || linked.contains(other) }

    /// The places of those that can be reached.
    func reachable(of replicas: [NodeID]) -> ReplicaSet {
        var set = ReplicaSet()
        for place in replicas.indices where reaches(replicas[place]) { set.insert(place) }
        return set
    }

    /// The place that is asked before the others in a set: the first that is not suspected, or else the first.
    func next(of places: ReplicaSet, in replicas: [NodeID]) -> Int? {
        if suspected.isEmpty { return places.first }
        return places.first { !suspected.contains(replicas[$0]) } ?? places.first
    }
}

/// Preference lists of one placement, made once for each number of copies that is asked for.
struct PreferenceLists: Sendable {
    let placement: Placement
    private var byCopies: [[Replicas]] = []
    /// By copies, then partition; made when they are first asked for.
    private var fallbacksByCopies: [[[NodeID]]] = []

    /// So many nodes after the primaries may stand in for them; those that follow are not asked.
    static let fallbackLimit = 16

    init(_ placement: Placement) { self.placement = placement }

    private var size: RingSize { placement.ring.size }

    /// The replicas of a partition: `copies` nodes, or all members where there are fewer.
    mutating func replicas(of partition: PartitionID, copies: Int) -> Replicas {
        precondition((1...BucketProperties.maximumCopies).contains(copies), "\(copies) copies")
        if byCopies.isEmpty { byCopies = Array(repeating: [], count: BucketProperties.maximumCopies + 1) }
        if byCopies[copies].isEmpty {
            byCopies[copies] = (0..<size.partitions).map { placement.replicas(of: PartitionID($0), copies: copies) }
        }
        return byCopies[copies][partition.index]
    }

    /// Those that reads are asked of.
    mutating func serving(_ partition: PartitionID, copies: Int) -> [NodeID] {
        Array(replicas(of: partition, copies: copies).servingNodes)
    }

    mutating func replicas(of key: ObjectKey, copies: Int) -> Replicas {
        replicas(of: size.partition(of: key.position), copies: copies)
    }

    /// The nodes that may stand in for the replicas of a key, in their order.
    mutating func fallbacks(of key: ObjectKey, copies: Int) -> [NodeID] {
        if placement.nodes.count <= copies { return [] }
        if fallbacksByCopies.isEmpty {
            fallbacksByCopies = Array(repeating: [], count: BucketProperties.maximumCopies + 1)
        }
        if fallbacksByCopies[copies].isEmpty {
            fallbacksByCopies[copies] = (0..<size.partitions).map {
                placement.fallbacks(of: PartitionID($0), copies: copies, limit: Self.fallbackLimit)
            }
        }
        return fallbacksByCopies[copies][size.partition(of: key.position).index]
    }
}
