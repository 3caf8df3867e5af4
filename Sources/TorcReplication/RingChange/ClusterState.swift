// What the members agree on: one epoch's ring, how far copies have moved to it (`Placement`), who the members are,
// who may never come back, and where it comes from.
//
//   genesis (epoch 1) ─► epoch 2 ─► epoch 3 …          one after the other, each agreed by the members of the last
//                            └────► epoch 3' (generation 1) …   forced, when a majority of them is gone for good
//
// A state carries the fingerprints of those before it. So a node that was away needs only the newest one, sees by
// it that it descends from its own, and refuses one that does not. Of two generations the greater outranks, however
// many epochs the other has seen; a generation names the node that forced it, so that no two are the same.

package import NIOCore
package import TorcModel

/// Counts the ways out of a lost majority.
package struct RingGeneration: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var number: UInt64
    /// Who forced it. Two operators who force at once, each for dead what the other works on, make two of one
    /// number; one outranks the other, and is told by nobody but the nodes that it fences.
    package var forcedBy: NodeID

    package init(number: UInt64, forcedBy: NodeID) {
        self.number = number
        self.forcedBy = forcedBy
    }

    /// As with ballots: there is always a next one. Of generations, and of epochs.
    package static let maximumNumber: UInt64 = 1 << 48

    package static let first = RingGeneration(number: 0, forcedBy: NodeID(rawValue: 0))

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.number, lhs.forcedBy) < (rhs.number, rhs.forcedBy)
    }

    package var description: String { number == 0 ? "0" : "\(number) by \(forcedBy)" }
}

/// Tells one cluster state from another.
package struct ClusterFingerprint: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package var description: String { hexadecimal(rawValue) }
}

/// The name of a cluster state. Never do two states bear the same generation and epoch.
package struct RingVersion: Hashable, Sendable, CustomStringConvertible {
    package var generation: RingGeneration
    package var epoch: UInt64
    package var fingerprint: ClusterFingerprint

    package init(generation: RingGeneration, epoch: UInt64, fingerprint: ClusterFingerprint) {
        self.generation = generation
        self.epoch = epoch
        self.fingerprint = fingerprint
    }

    package func outranks(_ other: RingVersion) -> Bool {
        (generation, epoch) > (other.generation, other.epoch)
    }

    package var description: String {
        (generation.number == 0 ? "" : "generation \(generation), ") + "epoch \(epoch) (\(fingerprint))"
    }
}

package struct ClusterMember: Hashable, Sendable {
    /// Its node, weight and zone.
    package var claim: ClaimMember
    /// Where it is reached, as the shell writes it; empty: as every node's configuration says.
    package var contact: ByteBuffer

    package static let maximumContactBytes = 1_024
    package static let maximumZoneBytes = 255

    package init(claim: ClaimMember, contact: ByteBuffer = ByteBuffer()) {
        self.claim = claim
        self.contact = contact
    }

    package var node: NodeID { claim.node }
}

/// Copies move from one ring to the next.
package struct RingTransition: Hashable, Sendable {
    /// `copying` or `retiring`.
    package var phase: Placement.Phase
    /// Whose copies they are.
    package let former: Ring
    /// The epoch in which copying began.
    package let since: UInt64
    /// Members of the former ring alone, who hand over what they hold. Ascending by node.
    package var leaving: [ClusterMember]
}

package struct ClusterState: Hashable, Sendable {
    package let generation: RingGeneration
    package let ring: Ring
    /// Ascending by node; who has a say: the owners of the ring but those that are fenced.
    package let members: [ClusterMember]
    /// Nil: copies are where the ring says.
    package let transition: RingTransition?
    /// Removed or replaced without their consent: never members again. Ascending.
    package let fenced: [NodeID]
    /// Of the states before it, one an epoch, the oldest first; the last is its parent.
    package let ancestry: [ClusterFingerprint]
    package let version: RingVersion

    /// Nodes that can be fenced; removing one more is refused.
    package static let maximumFenced = 4_096
    /// Of those further back nothing is known: a node that was away for longer does not find its way back by itself.
    package static let maximumAncestry = 1_024

    init(
        generation: RingGeneration, ring: Ring, members: [ClusterMember], transition: RingTransition? = nil,
        fenced: [NodeID], ancestry: [ClusterFingerprint]
    ) {
        precondition(
            ring.members.filter { !fenced.contains($0) } == members.map(\.node),
            "\(ring.members) own the ring of \(members.map(\.node))")
        precondition(ancestry.count < ring.epoch, "\(ancestry.count) ancestors of epoch \(ring.epoch)")
        self.generation = generation
        self.ring = ring
        self.members = members
        self.transition = transition
        self.fenced = fenced
        self.ancestry = ancestry
        var bytes = ByteBuffer()
        Self.encode(generation, ring, members, transition, fenced, ancestry, into: &bytes)
        version = RingVersion(
            generation: generation, epoch: ring.epoch,
            fingerprint: ClusterFingerprint(rawValue: xxh3(bytes, seed: 0)))
    }

    /// Where a cluster begins whose members every node's configuration lists: the same ring, the same state.
    package init(declared ring: Ring) {
        precondition(ring.epoch == 1, "a cluster begins with epoch \(ring.epoch)")
        self.init(
            generation: .first, ring: ring,
            members: ring.members.map { ClusterMember(claim: ClaimMember(node: $0)) }, fenced: [], ancestry: [])
    }

    /// Whether it has a say.
    package func contains(_ node: NodeID) -> Bool { members.contains { $0.node == node } }

    /// What more than half of the members hold, any other majority meets.
    package var majority: Int { members.count / 2 + 1 }

    /// Everybody who holds copies and is not fenced, ascending by node.
    package var participants: [ClusterMember] {
        (members + (transition?.leaving ?? [])).sorted { $0.node < $1.node }
    }

    package func hasParticipant(_ node: NodeID) -> Bool { participants.contains { $0.node == node } }

    /// Owners that are fenced: what they held has yet to be given to others.
    package var fencedOwners: [NodeID] { ring.members.filter(fenced.contains) }

    package var placement: Placement {
        // At rest the step before had the same owners, or wrote to them, too. Who knows only an older one, such as a
        // declared node that lost its disk, is told, instead of choosing stand-ins for owners of long ago.
        Placement(
            phase: transition?.phase ?? .settled, ring: ring, former: transition?.former,
            floor: transition?.since ?? ring.epoch - 1, fenced: fenced,
            fingerprint: placementFingerprint)
    }

    var placementFingerprint: RingFingerprint { RingFingerprint(rawValue: version.fingerprint.rawValue) }

    // MARK: What follows

    /// Copies begin to move to other owners.
    func moved(
        to owners: [NodeID], members: [ClusterMember], fencing: [NodeID], generation: RingGeneration? = nil
    ) -> ClusterState {
        precondition(transition == nil, "copies move already")
        let gone = Set(fenced + fencing)
        let leaving = self.members.filter { member in
            !gone.contains(member.node) && !members.contains { $0.node == member.node }
        }
        return successor(
            owners: owners, members: members.sorted { $0.node < $1.node },
            transition: RingTransition(phase: .copying, former: ring, since: ring.epoch + 1, leaving: leaving),
            fenced: gone.sorted(), generation: generation)
    }

    /// The same owners, one step on.
    package func advanced() -> ClusterState {
        var next = transition
        precondition(next != nil, "nothing moves")
        switch next!.phase {
        case .copying: next!.phase = .retiring
        case .retiring, .settled: next = nil
        }
        return successor(owners: ring.owners, members: members, transition: next, fenced: fenced)
    }

    /// The same owners, some of whom are gone for good. What they own is given to others later.
    func fencing(_ nodes: [NodeID], generation: RingGeneration? = nil) -> ClusterState {
        var next = transition
        next?.leaving.removeAll { nodes.contains($0.node) }
        return successor(
            owners: ring.owners, members: members.filter { !nodes.contains($0.node) }, transition: next,
            fenced: Set(fenced + nodes).sorted(), generation: generation)
    }

    /// The same owners under other addresses: with what the cluster begins that is restored from a backup. Nothing moves.
    package func restored(at contacts: [NodeID: ByteBuffer]) -> ClusterState {
        precondition(transition == nil, "copies move")
        let members = members.map { ClusterMember(claim: $0.claim, contact: contacts[$0.node] ?? $0.contact) }
        return successor(owners: ring.owners, members: members, transition: nil, fenced: fenced)
    }

    private func successor(
        owners: [NodeID], members: [ClusterMember], transition: RingTransition?, fenced: [NodeID],
        generation: RingGeneration? = nil
    ) -> ClusterState {
        ClusterState(
            generation: generation ?? self.generation,
            ring: Ring(epoch: ring.epoch + 1, size: ring.size, owners: owners), members: members,
            transition: transition, fenced: fenced,
            ancestry: (ancestry + [version.fingerprint]).suffix(Self.maximumAncestry))
    }

    /// Whether it is the very next one after another, as the members of that one may agree on.
    func isSuccessor(of other: ClusterState) -> Bool {
        generation == other.generation && ring.epoch == other.ring.epoch + 1 && ring.size == other.ring.size
            && ancestry.last == other.version.fingerprint
    }

    package func descends(from other: RingVersion) -> Bool {
        ring.epoch > other.epoch && ancestor(ofEpoch: other.epoch) == other.fingerprint
    }

    /// Whether both go back to one state, of which either still knows.
    func isRelated(to other: ClusterState) -> Bool {
        if version == other.version || descends(from: other.version) || other.descends(from: version) { return true }
        let common = min(ring.epoch, other.ring.epoch) - 1
        let first = max(ring.epoch - UInt64(ancestry.count), other.ring.epoch - UInt64(other.ancestry.count))
        guard first <= common else { return false }
        return (first...common).contains { ancestor(ofEpoch: $0) == other.ancestor(ofEpoch: $0) }
    }

    private func ancestor(ofEpoch epoch: UInt64) -> ClusterFingerprint? {
        guard epoch < ring.epoch, ring.epoch - epoch <= UInt64(ancestry.count) else { return nil }
        return ancestry[ancestry.count - Int(ring.epoch - epoch)]
    }
}
