// The bytes of a cluster state, of which its fingerprint is the hash:
//
//   u64be generation | u64be forced by | varint epoch | varint Q | varint count, members | u8 phase
//   | unless settled: varint former epoch | varint since | varint count, leaving members
//   | varint count, u64be fenced owner …
//   | Q × u16be place of the owner | unless settled: Q × u16be place of the former owner
//   | varint count | u64be fenced … | varint count | u64be ancestor …
//   member = u64be node | varint weight | u8 (1: zone follows) | varint length, zone | varint length, contact
//
// An owner's place is that among the members, those that leave and the fenced owners, in this order.

package import NIOCore
package import TorcModel

extension ClusterState {
    package func encode(into buffer: inout ByteBuffer) {
        Self.encode(generation, ring, members, transition, fenced, ancestry, into: &buffer)
    }

    static func encode(
        _ generation: RingGeneration, _ ring: Ring, _ members: [ClusterMember], _ transition: RingTransition?,
        _ fenced: [NodeID], _ ancestry: [ClusterFingerprint], into buffer: inout ByteBuffer
    ) {
        buffer.writeMultipleIntegers(generation.number, generation.forcedBy.rawValue)
        buffer.writeVarint(ring.epoch)
        buffer.writeVarint(UInt64(ring.size.partitions))
        buffer.writeVarint(UInt64(members.count))
        for member in members { member.encode(into: &buffer) }
        buffer.writeInteger((transition?.phase ?? .settled).rawValue)
        if let transition {
            buffer.writeVarint(transition.former.epoch)
            buffer.writeVarint(transition.since)
            buffer.writeVarint(UInt64(transition.leaving.count))
            for member in transition.leaving { member.encode(into: &buffer) }
        }
        let gone = fencedOwners(of: ring, transition, fenced)
        buffer.writeVarint(UInt64(gone.count))
        for node in gone { buffer.writeInteger(node.rawValue) }
        let owners = members.map(\.node) + (transition?.leaving.map(\.node) ?? []) + gone
        let places = Dictionary(uniqueKeysWithValues: owners.enumerated().map { ($1, UInt16($0)) })
        for owner in ring.owners { buffer.writeInteger(places[owner]!) }
        for owner in transition?.former.owners ?? [] { buffer.writeInteger(places[owner]!) }
        buffer.writeVarint(UInt64(fenced.count))
        for node in fenced { buffer.writeInteger(node.rawValue) }
        buffer.writeVarint(UInt64(ancestry.count))
        for ancestor in ancestry { buffer.writeInteger(ancestor.rawValue) }
    }

    /// Ascending.
    private static func fencedOwners(
        of ring: Ring, _ transition: RingTransition?, _ fenced: [NodeID]
    ) -> [NodeID] {
        let owners = Set(ring.members).union(transition?.former.members ?? [])
        return fenced.filter(owners.contains)
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let malformed = MalformedBytes(.notCanonical, "cluster state")
        let generation = RingGeneration(
            number: try buffer.readFixed(UInt64.self, "cluster state"),
            forcedBy: NodeID(rawValue: try buffer.readFixed(UInt64.self, "cluster state")))
        let epoch = try buffer.readVarint("cluster state")
        guard let size = RingSize(partitions: Int(clamping: try buffer.readVarint("cluster state"))) else {
            throw malformed
        }
        let members = try Self.decodeMembers(from: &buffer, limit: size.partitions)
        guard let phase = Placement.Phase(rawValue: try buffer.readFixed(UInt8.self, "cluster state")) else {
            throw malformed
        }
        var formerEpoch: UInt64 = 0
        var since: UInt64 = 0
        var leaving: [ClusterMember] = []
        if phase != .settled {
            formerEpoch = try buffer.readVarint("cluster state")
            since = try buffer.readVarint("cluster state")
            leaving = try Self.decodeMembers(from: &buffer, limit: size.partitions)
        }
        let gone = try Self.decodeNodes(from: &buffer, limit: 2 * size.partitions)
        let owners = members.map(\.node) + leaving.map(\.node) + gone
        let ring = Ring(
            epoch: epoch, size: size, owners: try Self.decodeOwners(from: &buffer, size.partitions, among: owners))
        var transition: RingTransition?
        if phase != .settled {
            let former = Ring(
                epoch: formerEpoch, size: size,
                owners: try Self.decodeOwners(from: &buffer, size.partitions, among: owners))
            guard formerEpoch < since, since <= epoch else { throw malformed }
            transition = RingTransition(phase: phase, former: former, since: since, leaving: leaving)
        }
        let fenced = try Self.decodeNodes(from: &buffer, limit: Self.maximumFenced)
        var ancestry: [ClusterFingerprint] = []
        for _ in 0..<(try buffer.readCount(limit: Self.maximumAncestry, "cluster state")) {
            ancestry.append(ClusterFingerprint(rawValue: try buffer.readFixed(UInt64.self, "cluster state")))
        }
        let everybody = Set(ring.members).union(transition?.former.members ?? [])
        guard epoch <= RingGeneration.maximumNumber, generation.number <= RingGeneration.maximumNumber,
            UInt64(ancestry.count) < epoch, Set(owners).count == owners.count, Set(owners) == everybody,
            gone == Self.fencedOwners(of: ring, transition, fenced),
            ring.members.filter({ !gone.contains($0) }) == members.map(\.node)
        else {
            throw malformed
        }
        self.init(
            generation: generation, ring: ring, members: members, transition: transition, fenced: fenced,
            ancestry: ancestry)
    }

    private static func decodeMembers(
        from buffer: inout ByteBuffer, limit: Int
    ) throws(MalformedBytes) -> [ClusterMember] {
        var members: [ClusterMember] = []
        for _ in 0..<(try buffer.readCount(limit: limit, "cluster state")) {
            let member = try ClusterMember(decoding: &buffer)
            if let last = members.last, last.node >= member.node {
                throw MalformedBytes(.notCanonical, "cluster state")
            }
            members.append(member)
        }
        return members
    }

    private static func decodeNodes(from buffer: inout ByteBuffer, limit: Int) throws(MalformedBytes) -> [NodeID] {
        var nodes: [NodeID] = []
        for _ in 0..<(try buffer.readCount(limit: limit, "cluster state")) {
            let node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "cluster state"))
            if let last = nodes.last, last >= node { throw MalformedBytes(.notCanonical, "cluster state") }
            nodes.append(node)
        }
        return nodes
    }

    private static func decodeOwners(
        from buffer: inout ByteBuffer, _ count: Int, among owners: [NodeID]
    ) throws(MalformedBytes) -> [NodeID] {
        var list: [NodeID] = []
        list.reserveCapacity(count)
        for _ in 0..<count {
            let place = Int(try buffer.readFixed(UInt16.self, "cluster state"))
            guard place < owners.count else { throw MalformedBytes(.notCanonical, "cluster state") }
            list.append(owners[place])
        }
        return list
    }

    /// More than the encoding takes.
    var sizeBound: Int {
        96 + ring.owners.count * 4 + (2 * fenced.count + ancestry.count) * 8
            + participants.reduce(0) { $0 + 24 + ($1.claim.zone?.utf8.count ?? 0) + $1.contact.readableBytes }
    }
}

extension ClusterMember {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(node.rawValue)
        buffer.writeVarint(UInt64(claim.weight))
        buffer.writeInteger(UInt8(claim.zone == nil ? 0 : 1))
        if let zone = claim.zone { buffer.writeLengthPrefixed(ByteBuffer(string: zone)) }
        buffer.writeLengthPrefixed(contact)
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "member"))
        let weight = try buffer.readVarint("member")
        guard (1...UInt64(ClaimPlan.maximumWeight)).contains(weight) else { throw MalformedBytes(.overLimit, "member") }
        var zone: String?
        switch try buffer.readFixed(UInt8.self, "member") {
        case 0: break
        case 1:
            let bytes = try buffer.readLengthPrefixed(limit: Self.maximumZoneBytes, "member")
            let text = String(buffer: bytes)
            // What is no text would be another one when it is written again.
            guard ByteBuffer(string: text) == bytes else { throw MalformedBytes(.notCanonical, "member") }
            zone = text
        default: throw MalformedBytes(.notCanonical, "member")
        }
        self.init(
            claim: ClaimMember(node: node, weight: Int(weight), zone: zone),
            contact: try buffer.readLengthPrefixed(limit: Self.maximumContactBytes, "member"))
    }

    /// Whether it can be written: the bounds of the encoding.
    var isWithinBounds: Bool {
        contact.readableBytes <= Self.maximumContactBytes && (claim.zone?.utf8.count ?? 0) <= Self.maximumZoneBytes
            && (1...ClaimPlan.maximumWeight).contains(claim.weight)
    }
}

extension RingVersion {
    /// Without the fingerprint.
    func encodeName(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(generation.number, generation.forcedBy.rawValue)
        buffer.writeVarint(epoch)
    }

    init(fingerprint: ClusterFingerprint, decodingName buffer: inout ByteBuffer) throws(MalformedBytes) {
        self.init(
            generation: RingGeneration(
                number: try buffer.readFixed(UInt64.self, "ring version"),
                forcedBy: NodeID(rawValue: try buffer.readFixed(UInt64.self, "ring version"))),
            epoch: try buffer.readVarint("ring version"), fingerprint: fingerprint)
    }
}
