// Torc's own pair of messages beside Riak's: a client that asks a replica of a key directly needs the ring, and which of the
// addresses that it knows is which node. A node says both in one answer, and next to nothing when the client has the ring.
//
//   request  = u64 fingerprint of the ring that the client has, or nothing
//   response = name | u64 fingerprint | varint epoch | varint Q | ring, unless Q is 0: the client has it
//   ring     = varint count | name of each member | Q × u16 member that owns the partition
//   name     = varint length | UTF-8
//
// A key's partition is no secret: it is the first bits of the SHA-1 of its canonical name (`ObjectKey`). Where clients reach
// another node a node does not know, and need not: a client asks each address who is there.

package import NIOCore
package import TorcModel

/// Who owns which partition, by the names of nodes.
package struct RiakRing: Hashable, Sendable {
    package static let maximumNameBytes = PeerIdentity.maximumNameBytes

    /// Another state of the cluster has another one.
    package let fingerprint: UInt64
    package let epoch: UInt64
    package let size: RingSize
    /// Distinct names.
    package let members: [String]
    /// Of each partition, an index of `members`.
    package let owners: [UInt16]

    /// Nil when that is no ring: a wrong number of owners, one that is no member, members that share a name or have none.
    package init?(fingerprint: UInt64, epoch: UInt64, size: RingSize, members: [String], owners: [UInt16]) {
        guard owners.count == size.partitions, members.count <= size.partitions, Set(members).count == members.count,
            members.allSatisfy({ !$0.isEmpty && $0.utf8.count <= Self.maximumNameBytes }),
            owners.allSatisfy({ Int($0) < members.count })
        else { return nil }
        self.fingerprint = fingerprint
        self.epoch = epoch
        self.size = size
        self.members = members
        self.owners = owners
    }

    package init?(_ ring: Ring, fingerprint: UInt64, name: (NodeID) -> String) {
        var place: [NodeID: UInt16] = [:]
        for (index, member) in ring.members.enumerated() { place[member] = UInt16(index) }
        self.init(
            fingerprint: fingerprint, epoch: ring.epoch, size: ring.size, members: ring.members.map(name),
            owners: ring.owners.map { place[$0]! })
    }
}

/// What a node says of itself and the ring.
package struct RiakRingAnswer: Hashable, Sendable {
    package enum News: Hashable, Sendable {
        case unchanged
        case ring(RiakRing)
    }

    package var node: String
    package var news: News

    package init(node: String, news: News) {
        self.node = node
        self.news = news
    }

    /// `ring` nil: the node has none to speak of. `known`: the fingerprint that the client sent.
    package static func frame(node: String, ring: RiakRing?, known: UInt64?) -> RiakFrame? {
        guard let ring else { return nil }
        var body = ByteBuffer()
        body.writeLengthPrefixed(ByteBuffer(string: node))
        body.writeInteger(ring.fingerprint)
        body.writeVarint(ring.epoch)
        if known == ring.fingerprint {
            body.writeVarint(0)
            return RiakFrame(.ringResponse, body: body)
        }
        body.writeVarint(UInt64(ring.size.partitions))
        body.writeVarint(UInt64(ring.members.count))
        for name in ring.members { body.writeLengthPrefixed(ByteBuffer(string: name)) }
        body.reserveCapacity(minimumWritableBytes: 2 * ring.owners.count)
        for owner in ring.owners { body.writeInteger(owner) }
        return RiakFrame(.ringResponse, body: body)
    }

    package init(decoding body: ByteBuffer) throws(MalformedBytes) {
        var reader = body
        node = try Self.name(&reader)
        let fingerprint = try reader.readFixed(UInt64.self, "ring")
        let epoch = try reader.readVarint("ring")
        let partitions = try reader.readVarint("ring")
        if partitions == 0 {
            try reader.requireEmpty("ring")
            news = .unchanged
            return
        }
        guard let partitions = Int(exactly: partitions), let size = RingSize(partitions: partitions) else {
            throw MalformedBytes(.overLimit, "ring")
        }
        let count = try reader.readCount(limit: partitions, "ring")
        var members: [String] = []
        for _ in 0..<count { members.append(try Self.name(&reader)) }
        // Room for the owners only when they have come.
        guard reader.readableBytes == 2 * partitions else { throw MalformedBytes(.truncated, "ring") }
        var owners: [UInt16] = []
        owners.reserveCapacity(partitions)
        for _ in 0..<partitions { owners.append(try reader.readFixed(UInt16.self, "ring")) }
        guard
            let ring = RiakRing(
                fingerprint: fingerprint, epoch: epoch, size: size, members: members, owners: owners)
        else { throw MalformedBytes(.notCanonical, "ring") }
        news = .ring(ring)
    }

    private static func name(_ reader: inout ByteBuffer) throws(MalformedBytes) -> String {
        let bytes = try reader.readLengthPrefixed(limit: RiakRing.maximumNameBytes, "name of a node")
        guard bytes.readableBytes > 0,
            let name = try? bytes.getUTF8ValidatedString(at: bytes.readerIndex, length: bytes.readableBytes)
        else { throw MalformedBytes(.notCanonical, "name of a node") }
        return name
    }
}
