// The bytes of a cluster state, of which its fingerprint is the hash:
//
//   u64be generation | u64be forced by | varint epoch | varint Q | varint count | members
//   | Q × u16be place of the owner among the members | varint count | u64be fenced …
//   | varint count | u64be ancestor …
//   member = u64be node | varint weight | u8 (1: zone follows) | varint length, zone | varint length, contact

package import NIOCore
package import TorcModel

extension ClusterState {
    package func encode(into buffer: inout ByteBuffer) {
        Self.encode(generation, ring, members, fenced, ancestry, into: &buffer)
    }

    static func encode(
        _ generation: RingGeneration, _ ring: Ring, _ members: [ClusterMember], _ fenced: [NodeID],
        _ ancestry: [ClusterFingerprint], into buffer: inout ByteBuffer
    ) {
        buffer.writeMultipleIntegers(generation.number, generation.forcedBy.rawValue)
        buffer.writeVarint(ring.epoch)
        buffer.writeVarint(UInt64(ring.size.partitions))
        buffer.writeVarint(UInt64(members.count))
        for member in members { member.encode(into: &buffer) }
        let places = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.node, UInt16($0)) })
        for owner in ring.owners { buffer.writeInteger(places[owner]!) }
        buffer.writeVarint(UInt64(fenced.count))
        for node in fenced { buffer.writeInteger(node.rawValue) }
        buffer.writeVarint(UInt64(ancestry.count))
        for ancestor in ancestry { buffer.writeInteger(ancestor.rawValue) }
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let generation = RingGeneration(
            number: try buffer.readFixed(UInt64.self, "cluster state"),
            forcedBy: NodeID(rawValue: try buffer.readFixed(UInt64.self, "cluster state")))
        let epoch = try buffer.readVarint("cluster state")
        guard let size = RingSize(partitions: Int(clamping: try buffer.readVarint("cluster state"))) else {
            throw MalformedBytes(.notCanonical, "cluster state")
        }
        var members: [ClusterMember] = []
        for _ in 0..<(try buffer.readCount(limit: size.partitions, "cluster state")) {
            let member = try ClusterMember(decoding: &buffer)
            if let last = members.last, last.node >= member.node {
                throw MalformedBytes(.notCanonical, "cluster state")
            }
            members.append(member)
        }
        var owners: [NodeID] = []
        owners.reserveCapacity(size.partitions)
        for _ in 0..<size.partitions {
            let place = Int(try buffer.readFixed(UInt16.self, "cluster state"))
            guard place < members.count else { throw MalformedBytes(.notCanonical, "cluster state") }
            owners.append(members[place].node)
        }
        var fenced: [NodeID] = []
        for _ in 0..<(try buffer.readCount(limit: Self.maximumFenced, "cluster state")) {
            let node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "cluster state"))
            if let last = fenced.last, last >= node { throw MalformedBytes(.notCanonical, "cluster state") }
            fenced.append(node)
        }
        var ancestry: [ClusterFingerprint] = []
        for _ in 0..<(try buffer.readCount(limit: Self.maximumAncestry, "cluster state")) {
            ancestry.append(ClusterFingerprint(rawValue: try buffer.readFixed(UInt64.self, "cluster state")))
        }
        let ring = Ring(epoch: epoch, size: size, owners: owners)
        guard epoch <= RingGeneration.maximumNumber, generation.number <= RingGeneration.maximumNumber,
            UInt64(ancestry.count) < epoch, ring.members == members.map(\.node)
        else {
            throw MalformedBytes(.notCanonical, "cluster state")
        }
        self.init(generation: generation, ring: ring, members: members, fenced: fenced, ancestry: ancestry)
    }

    /// More than the encoding takes.
    var sizeBound: Int {
        64 + ring.owners.count * 2 + (fenced.count + ancestry.count) * 8
            + members.reduce(0) { $0 + 24 + ($1.claim.zone?.utf8.count ?? 0) + $1.contact.readableBytes }
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
