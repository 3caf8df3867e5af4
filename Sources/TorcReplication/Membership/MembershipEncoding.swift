// The bytes of a membership message, without its kind and sequence, which every peer message begins with:
//
//   u8 body (0 ping, 1 ping request, 2 ack, 3 nack, 4 exchange that asks, 5 exchange that answers)
//   | ping request: u64be target | varint incarnation | facts | varint count | claims
//   claim = u64be node | varint incarnation | u8 state | alive: facts, else: u64be by
//   facts = varint sequence | varint operations | varint disk used | varint disk free | u16be major minor patch | u8 protocol

package import NIOCore
package import TorcModel

extension MembershipMessage {
    /// Everything after kind and sequence.
    package func encode(into buffer: inout ByteBuffer) {
        switch body {
        case .ping: buffer.writeInteger(UInt8(0))
        case .pingRequest(let target): buffer.writeMultipleIntegers(UInt8(1), target.rawValue)
        case .ack: buffer.writeInteger(UInt8(2))
        case .nack: buffer.writeInteger(UInt8(3))
        case .exchange(let asks): buffer.writeInteger(UInt8(asks ? 4 : 5))
        }
        buffer.writeVarint(incarnation.rawValue)
        facts.encode(into: &buffer)
        buffer.writeVarint(UInt64(claims.count))
        for claim in claims { claim.encode(into: &buffer) }
    }

    package init(sequence: UInt64, decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let body: Body
        switch try buffer.readFixed(UInt8.self, "membership") {
        case 0: body = .ping
        case 1: body = .pingRequest(NodeID(rawValue: try buffer.readFixed(UInt64.self, "membership")))
        case 2: body = .ack
        case 3: body = .nack
        case 4: body = .exchange(asks: true)
        case 5: body = .exchange(asks: false)
        default: throw MalformedBytes(.notCanonical, "membership")
        }
        let incarnation = MembershipIncarnation(rawValue: try buffer.readVarint("membership"))
        let facts = try MemberFacts(decoding: &buffer)
        var claims: [MemberClaim] = []
        let count = try buffer.readCount(limit: Self.maximumClaims, "membership")
        claims.reserveCapacity(count)
        for _ in 0..<count { claims.append(try MemberClaim(decoding: &buffer)) }
        self.init(sequence: sequence, body: body, incarnation: incarnation, facts: facts, claims: claims)
    }

    /// More than the encoding takes.
    package var sizeBound: Int { 40 + MemberFacts.sizeBound + claims.count * (32 + MemberFacts.sizeBound) }
}

extension MemberClaim {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(node.rawValue)
        buffer.writeVarint(incarnation.rawValue)
        buffer.writeInteger(state.rawValue)
        switch content {
        case .alive(let facts): facts.encode(into: &buffer)
        case .suspect(let by), .dead(let by): buffer.writeInteger(by.rawValue)
        }
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "claim"))
        incarnation = MembershipIncarnation(rawValue: try buffer.readVarint("claim"))
        switch MemberState(rawValue: try buffer.readFixed(UInt8.self, "claim")) {
        case .alive: content = .alive(try MemberFacts(decoding: &buffer))
        case .suspect: content = .suspect(by: NodeID(rawValue: try buffer.readFixed(UInt64.self, "claim")))
        case .dead: content = .dead(by: NodeID(rawValue: try buffer.readFixed(UInt64.self, "claim")))
        case nil: throw MalformedBytes(.notCanonical, "claim")
        }
    }
}

extension MemberFacts {
    /// More than the encoding takes.
    static let sizeBound = 48

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeVarint(sequence)
        buffer.writeVarint(UInt64(operationsPerSecond))
        buffer.writeVarint(diskUsedBytes)
        buffer.writeVarint(diskFreeBytes)
        buffer.writeMultipleIntegers(build.major, build.minor, build.patch, peerProtocol)
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let sequence = try buffer.readVarint("facts")
        guard let operations = UInt32(exactly: try buffer.readVarint("facts")) else {
            throw MalformedBytes(.overLimit, "facts")
        }
        let used = try buffer.readVarint("facts")
        let free = try buffer.readVarint("facts")
        let build = BuildNumber(
            major: try buffer.readFixed(UInt16.self, "facts"), minor: try buffer.readFixed(UInt16.self, "facts"),
            patch: try buffer.readFixed(UInt16.self, "facts"))
        self.init(build: build, peerProtocol: try buffer.readFixed(UInt8.self, "facts"))
        self.sequence = sequence
        operationsPerSecond = operations
        diskUsedBytes = used
        diskFreeBytes = free
    }
}
