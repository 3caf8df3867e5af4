// What nodes say to one another about rings. Every message names the ring that its sender holds, and that comes
// first: who holds a newer one answers with it, who holds an older one asks for it, and only among those that hold
// the same is there anything to vote on.
//
//   u8 body | u64be generation | u64be forced by | varint epoch | body's fields
//   body: 0 version | 1 prepare: ballot | 2 promise: ballot, u8 (1: accepted follows), ballot, state
//         3 accept: ballot, state | 4 accepted: ballot | 5 refused: ballot, ballot | 6 decided: state | 7 report
//   ballot = varint round | u64be node
//
// The fingerprint of the version stands where every peer message has its number.

package import NIOCore
package import TorcModel

package struct RingMessage: Hashable, Sendable {
    package enum Body: Hashable, Sendable {
        /// Nothing beyond the version.
        case version
        case prepare(RingBallot)
        /// With what the sender accepted last.
        case promise(RingBallot, AcceptedRing?)
        case accept(RingBallot, ClusterState)
        case accepted(RingBallot)
        /// Something greater was promised before.
        case refused(RingBallot, promised: RingBallot)
        /// The sender holds this one.
        case decided(ClusterState)
        /// How far the sender is with what moves.
        case report(HandoffReport)
    }

    package var version: RingVersion
    package var body: Body

    package init(version: RingVersion, body: Body) {
        self.version = version
        self.body = body
    }

    /// The sender holds this ring.
    package init(told state: ClusterState) { self.init(version: state.version, body: .decided(state)) }

    package func encode(into buffer: inout ByteBuffer) {
        let kind: UInt8 =
            switch body {
            case .version: 0
            case .prepare: 1
            case .promise: 2
            case .accept: 3
            case .accepted: 4
            case .refused: 5
            case .decided: 6
            case .report: 7
            }
        buffer.writeInteger(kind)
        version.encodeName(into: &buffer)
        switch body {
        case .version: break
        case .prepare(let ballot), .accepted(let ballot): ballot.encode(into: &buffer)
        case .promise(let ballot, let accepted):
            ballot.encode(into: &buffer)
            accepted.encode(into: &buffer)
        case .accept(let ballot, let state):
            ballot.encode(into: &buffer)
            state.encode(into: &buffer)
        case .refused(let ballot, let promised):
            ballot.encode(into: &buffer)
            promised.encode(into: &buffer)
        case .decided(let state): state.encode(into: &buffer)
        case .report(let report): report.encode(into: &buffer)
        }
    }

    package init(
        fingerprint: ClusterFingerprint, decoding buffer: inout ByteBuffer
    ) throws(MalformedBytes) {
        let kind = try buffer.readFixed(UInt8.self, "ring message")
        version = try RingVersion(fingerprint: fingerprint, decodingName: &buffer)
        switch kind {
        case 0: body = .version
        case 1: body = .prepare(try RingBallot(decoding: &buffer))
        case 2: body = .promise(try RingBallot(decoding: &buffer), try AcceptedRing?(decodingRing: &buffer))
        case 3: body = .accept(try RingBallot(decoding: &buffer), try ClusterState(decoding: &buffer))
        case 4: body = .accepted(try RingBallot(decoding: &buffer))
        case 5:
            body = .refused(try RingBallot(decoding: &buffer), promised: try RingBallot(decoding: &buffer))
        case 6: body = .decided(try ClusterState(decoding: &buffer))
        case 7: body = .report(try HandoffReport(decoding: &buffer))
        default: throw MalformedBytes(.notCanonical, "ring message")
        }
    }

    /// More than the encoding takes.
    package var sizeBound: Int {
        let state: Int =
            switch body {
            case .version, .prepare, .accepted, .refused, .report: 0
            case .promise(_, let accepted): accepted?.state.sizeBound ?? 0
            case .accept(_, let state), .decided(let state): state.sizeBound
            }
        return 96 + state
    }
}

/// What a node holds of rings, as `meta` keeps it:
///
///   u8 format (2: the node has left) | state | u8 (1: ballot follows), promised | u8 (1: accepted follows), ballot, state
///   | varint count | staged change …
///   staged change = u8 (0 join, 1 leave, 2 remove, 3 replace) | join: member, else: u64be node | replace: member
package struct RingRecord: Hashable, Sendable {
    package var state: ClusterState
    package var vote: RingVote
    package var staged: [StagedChange]
    /// The node took part in an earlier ring and does not in this one: what it held it has handed over. Without it a
    /// node that joined, left and starts again would take itself for one that waits for its join.
    package var hasLeft: Bool

    private static let format: UInt8 = 1
    /// Told apart by the format, so that older builds read the records of everybody else.
    private static let formatOfOneThatLeft: UInt8 = 2

    package init(
        state: ClusterState, vote: RingVote = RingVote(), staged: [StagedChange] = [], hasLeft: Bool = false
    ) {
        self.state = state
        self.vote = vote
        self.staged = staged
        self.hasLeft = hasLeft
    }

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(hasLeft ? Self.formatOfOneThatLeft : Self.format)
        state.encode(into: &buffer)
        buffer.writeInteger(UInt8(vote.promised == nil ? 0 : 1))
        vote.promised?.encode(into: &buffer)
        vote.accepted.encode(into: &buffer)
        buffer.writeVarint(UInt64(staged.count))
        for change in staged { change.encode(into: &buffer) }
        return buffer
    }

    package init(decoding bytes: ByteBuffer) throws(MalformedBytes) {
        var buffer = bytes
        switch try buffer.readFixed(UInt8.self, "ring record") {
        case Self.format: hasLeft = false
        case Self.formatOfOneThatLeft: hasLeft = true
        default: throw MalformedBytes(.unknownVersion, "ring record")
        }
        state = try ClusterState(decoding: &buffer)
        var promised: RingBallot?
        if try buffer.readFlag("ring record") { promised = try RingBallot(decoding: &buffer) }
        vote = RingVote(promised: promised, accepted: try AcceptedRing?(decodingRing: &buffer))
        staged = []
        for _ in 0..<(try buffer.readCount(limit: RingPlan.maximumChanges, "ring record")) {
            staged.append(try StagedChange(decoding: &buffer))
        }
        try buffer.requireEmpty("ring record")
    }
}

extension RingBallot {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeVarint(round)
        buffer.writeInteger(node.rawValue)
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        round = try buffer.readVarint("ballot")
        guard round <= Self.maximumRound else { throw MalformedBytes(.overLimit, "ballot") }
        node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "ballot"))
    }
}

extension AcceptedRing? {
    fileprivate func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(self == nil ? 0 : 1))
        self?.ballot.encode(into: &buffer)
        self?.state.encode(into: &buffer)
    }

    fileprivate init(decodingRing buffer: inout ByteBuffer) throws(MalformedBytes) {
        guard try buffer.readFlag("accepted ring") else {
            self = nil
            return
        }
        self = AcceptedRing(
            ballot: try RingBallot(decoding: &buffer), state: try ClusterState(decoding: &buffer))
    }
}

extension StagedChange {
    fileprivate func encode(into buffer: inout ByteBuffer) {
        switch self {
        case .join(let member):
            buffer.writeInteger(UInt8(0))
            member.encode(into: &buffer)
        case .leave(let node): buffer.writeMultipleIntegers(UInt8(1), node.rawValue)
        case .remove(let node): buffer.writeMultipleIntegers(UInt8(2), node.rawValue)
        case .replace(let node, let member):
            buffer.writeMultipleIntegers(UInt8(3), node.rawValue)
            member.encode(into: &buffer)
        }
    }

    fileprivate init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        switch try buffer.readFixed(UInt8.self, "staged change") {
        case 0: self = .join(try ClusterMember(decoding: &buffer))
        case 1: self = .leave(NodeID(rawValue: try buffer.readFixed(UInt64.self, "staged change")))
        case 2: self = .remove(NodeID(rawValue: try buffer.readFixed(UInt64.self, "staged change")))
        case 3:
            self = .replace(
                NodeID(rawValue: try buffer.readFixed(UInt64.self, "staged change")),
                by: try ClusterMember(decoding: &buffer))
        default: throw MalformedBytes(.notCanonical, "staged change")
        }
    }
}

extension ByteBuffer {
    mutating func readFlag(_ subject: StaticString) throws(MalformedBytes) -> Bool {
        switch try readFixed(UInt8.self, subject) {
        case 0: false
        case 1: true
        default: throw MalformedBytes(.notCanonical, subject)
        }
    }
}
