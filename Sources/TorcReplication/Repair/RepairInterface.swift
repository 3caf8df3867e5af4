// Between repair and its lane.

package import TorcModel

/// What repair asks of its lane, which hands replica work to its vnodes and the rest to the shell.
package enum RepairEffect: Hashable, Sendable {
    /// Of this node's own replica; the answer comes back by operation.
    case localRead(ReplicaRead)
    case localWrite(ReplicaWrite)
    case scan(ScanRequest)
    case send(PeerMessage, to: NodeID)
    case repaired(RequestID, RepairReport)
    case observed(LaneObservation)
}

/// What a person asked to compare has been compared.
package struct RepairReport: Hashable, Sendable {
    /// Trees and co-owners of them that were to be compared.
    package var pairs = 0
    /// Of these, those that were, and all of whose differing keys were merged.
    package var compared = 0
    /// Keys that differed.
    package var differing = 0

    package init() {}
}

/// One tree and one co-owner of it.
package struct RepairPair: Hashable, Comparable, Sendable {
    package var tree: TreeID
    package var peer: NodeID

    package init(tree: TreeID, peer: NodeID) {
        self.tree = tree
        self.peer = peer
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        lhs.tree == rhs.tree ? lhs.peer < rhs.peer : lhs.tree < rhs.tree
    }
}

/// How far the comparison of a pair has come, by the node that begins its exchanges.
package struct RepairStatus: Hashable, Sendable {
    package var pair: RepairPair
    /// Rounds in which everything was compared and every difference merged.
    package var rounds: UInt64
    package var lastCompleted: WallTime?
    /// Keys that differed in the last exchange.
    package var lastDiffering: Int
    /// Exchanges that failed since the last one that did not.
    package var failures: Int
}

package struct RepairStatistics: Hashable, Sendable {
    package var exchanges: UInt64 = 0
    package var failedExchanges: UInt64 = 0
    package var differingKeys: UInt64 = 0
    package var fetchedObjects: UInt64 = 0
    package var pushedObjects: UInt64 = 0
    package var failedKeys: UInt64 = 0
    /// Of objects that were fetched or sent.
    package var objectBytes: UInt64 = 0
    /// Of records that were read to list their keys, for own exchanges and for others'.
    package var scannedBytes: UInt64 = 0

    package init() {}
}
