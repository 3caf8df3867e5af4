// The control machine of a node: there is one, on the control loop. It keeps the bucket properties (stores them,
// spreads them, answers for them), the membership and the agreement on rings.

package import TorcModel

/// A change to a bucket's or a type's properties: what is nil stays as it is.
package struct PropertiesChange: Hashable, Sendable {
    package var n: UInt8?
    package var conflictMode: ConflictMode?
    package var r: Quorum?
    package var w: Quorum?
    package var pr: Quorum?
    package var pw: Quorum?
    package var dw: Quorum?
    package var rw: Quorum?
    package var nodeConfirms: UInt8?
    package var notFoundOK: Bool?
    package var basicQuorum: Bool?
    package var oneCacheMilliseconds: UInt16?

    package init() {}
}

package enum PropertiesAnswer: Hashable, Sendable {
    /// Durable at a majority of the members.
    case stored
    /// Durable here, not yet known to be at a majority: it spreads when the others answer again.
    case indeterminate(copies: Int, needed: Int)
    case refused(PropertiesRefusal)
}

package enum PropertiesRefusal: Error, Hashable, Sendable {
    /// The bucket holds data, which n would leave on the wrong replicas.
    case copiesFixed
    /// n outside 1…`BucketProperties.maximumCopies`, or above the number of members.
    case invalidCopies(asked: Int, limit: Int)
    /// An `lww` bucket stays one: the versions that it dropped cannot be had back.
    case conflictModeFixed
    case invalidQuorum(name: String, asked: Int, n: Int)
    case invalidOneCache(asked: Int, limit: Int)
    /// A member's build does not know the property.
    case notKnownToAll(name: String, member: NodeID)
    /// The type is Redis's databases': their last write wins, and there are no others in it.
    case reservedType
    /// So many buckets and types have properties of their own already; the others take their type's.
    case tooManyScopes(limit: Int)
    case shuttingDown

    /// For people, with the names that properties have in Riak's interfaces.
    package var text: String {
        switch self {
        case .copiesFixed: "n_val cannot be changed: the bucket holds data"
        case .invalidCopies(let asked, let limit): "n_val of \(asked) is invalid: it must be 1 to \(limit)"
        case .conflictModeFixed:
            "allow_mult cannot be switched on again: versions that the bucket has dropped cannot be had back"
        case .invalidQuorum(let name, let asked, let n):
            "Specified \(name) value of \(asked) is invalid for a bucket n value of \(n)"
        case .invalidOneCache(let asked, let limit):
            "one_cache_ms of \(asked) is invalid: it must be 0 to \(limit)"
        case .notKnownToAll(let name, let member):
            "\(name) cannot be set while a member's build does not know it: upgrade node \(member) first"
        case .reservedType:
            "the bucket type 'redis' is reserved for Redis's databases, 0 to 15, in which the last write wins: "
                + "take another name for a type of your own"
        case .tooManyScopes(let limit):
            "Too many buckets have properties of their own, the limit is \(limit); set them on a bucket type"
        case .shuttingDown: "the node is stopping"
        }
    }
}

package enum ControlEvent: Hashable, Sendable {
    /// `holdsData`: whether a key was found in the scope; asked by the shell (a listing that stops at the first
    /// key) only when the change touches n.
    case setProperties(RequestID, PropertiesScope, PropertiesChange, holdsData: Bool, deadline: MonotonicTime)
    /// Back to what the type, or the build, says.
    case resetProperties(RequestID, PropertiesScope, holdsData: Bool, deadline: MonotonicTime)
    case peer(from: NodeID, PeerMessage)
    case peerUp(NodeID, PeerFeatures = .supported)
    case peerDown(NodeID)
    /// What `storeProperties` asked for is synced.
    case propertiesStored(UInt64)
    /// What `storeMembershipIncarnation` asked for is synced.
    case membershipStored(MembershipIncarnation)
    /// What this node shall tell of itself to the others, now and then.
    case facts(MemberFacts)
    case tick
    /// An operator's, about the members; answered by `answerRing`.
    case ring(RequestID, RingOrder)
    /// What `storeRing` asked for with this number, and all before it, is synced.
    case ringStored(UInt64)
    /// Of one of this node's lanes.
    case progress(lane: Int, LaneProgress)
}

package enum ControlEffect: Hashable, Sendable {
    /// Durably, in `meta`; `.propertiesStored` with the number follows when it is synced.
    case storeProperties(UInt64, [PropertiesEntry])
    /// To every lane: the properties that changed.
    case propertiesChanged([PropertiesEntry])
    case send(PeerMessage, to: NodeID)
    case answer(RequestID, PropertiesAnswer)
    /// Durably, in `meta`; `.membershipStored` follows when it is synced.
    case storeMembershipIncarnation(MembershipIncarnation)
    /// To every lane: all members that are suspect or dead now, ascending.
    case routing(suspected: [NodeID])
    case observed(MembershipObservation)
    /// Durably, in `meta`, a later one over an earlier one; `.ringStored` with the number follows.
    case storeRing(UInt64, RingRecord)
    /// This is the ring now, and durable here. To every lane: its placement.
    case ringInstalled(ClusterState)
    case answerRing(RequestID, RingAnswer)
    case ringObserved(RingObservation)
}
