// What nodes say to one another about who is there.
//
// A claim is what somebody says of a member: (incarnation, state). Claims about one member are ordered by
// incarnation, then alive < suspect < dead, and the greater stands: so they may arrive in any order, late and
// often, and all nodes come to hold the same. Only the member itself raises its incarnation, which is how it
// contradicts a claim that it is suspect or dead.
//
// Facts (load, disk, build) are the member's own, ordered by (incarnation, sequence), beside the state: a member
// that is suspected still tells its load.

package import TorcModel

/// A member's own number, raised by it alone: at each start, and to refute. Durable before it is told.
package struct MembershipIncarnation: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Nothing has been heard of the member.
    package static let unheard = MembershipIncarnation(rawValue: 0)
    /// No member comes near it by itself; a claim above it is not believed, so that there is always a next one.
    package static let maximum = MembershipIncarnation(rawValue: 1 << 56)

    package var next: MembershipIncarnation { MembershipIncarnation(rawValue: rawValue + 1) }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    package var description: String { "\(rawValue)" }
}

package enum MemberState: UInt8, Hashable, Comparable, Sendable, CaseIterable {
    case alive = 0
    /// Somebody got no answer from it. It is routed around, and has some time to refute.
    case suspect = 1
    /// The time has passed. It owns what it owned; it is only not asked.
    case dead = 2

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// The version of a build.
package struct BuildNumber: Hashable, Sendable, CustomStringConvertible {
    package var major: UInt16
    package var minor: UInt16
    package var patch: UInt16

    package init(major: UInt16, minor: UInt16, patch: UInt16) {
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    package var description: String { "\(major).\(minor).\(patch)" }
}

/// What a member tells of itself.
package struct MemberFacts: Hashable, Sendable {
    /// Counts what it has told in one process: later facts have a greater one.
    package var sequence: UInt64 = 0
    /// Requests of clients, over the last few seconds.
    package var operationsPerSecond: UInt32 = 0
    /// Of its data folder.
    package var diskUsedBytes: UInt64 = 0
    package var diskFreeBytes: UInt64 = 0
    package var build: BuildNumber
    /// The highest version of the peer protocol that it speaks.
    package var peerProtocol: UInt8

    package init(build: BuildNumber, peerProtocol: UInt8) {
        self.build = build
        self.peerProtocol = peerProtocol
    }

    /// What changes seldom, and is spread at once when it does. Load and disk change always: they go along with
    /// what is sent anyway.
    func differsForGood(from other: MemberFacts?) -> Bool {
        build != other?.build || peerProtocol != other?.peerProtocol
    }
}

package struct MemberClaim: Hashable, Sendable {
    package enum Content: Hashable, Sendable {
        case alive(MemberFacts)
        /// `by`: who got no answer. Different ones are independent confirmations.
        case suspect(by: NodeID)
        /// `by`: whose patience ended.
        case dead(by: NodeID)
    }

    package var node: NodeID
    package var incarnation: MembershipIncarnation
    package var content: Content

    package init(node: NodeID, incarnation: MembershipIncarnation, content: Content) {
        self.node = node
        self.incarnation = incarnation
        self.content = content
    }

    package var state: MemberState {
        switch content {
        case .alive: .alive
        case .suspect: .suspect
        case .dead: .dead
        }
    }
}

package struct MembershipMessage: Hashable, Sendable {
    package enum Body: Hashable, Sendable {
        /// Answered by `ack` with the same sequence, at once.
        case ping
        /// Ping this member for me; answered by `ack` when it answers, by `nack` when it does not in time.
        case pingRequest(NodeID)
        case ack
        /// The helper is well, the member did not answer it.
        case nack
        /// Claims about all members that the sender knows of, in as many messages as they need; the last one of
        /// those that begin an exchange asks for the receiver's.
        case exchange(asks: Bool)
    }

    /// Drawn by whoever asks; an answer carries it back.
    package var sequence: UInt64
    package var body: Body
    /// What the sender says of itself, in every message.
    package var incarnation: MembershipIncarnation
    package var facts: MemberFacts
    /// What it says of others.
    package var claims: [MemberClaim]

    /// Claims in one message; one with more is refused as hostile. About ten kilobytes.
    package static let maximumClaims = 256

    package init(
        sequence: UInt64, body: Body, incarnation: MembershipIncarnation, facts: MemberFacts, claims: [MemberClaim]
    ) {
        self.sequence = sequence
        self.body = body
        self.incarnation = incarnation
        self.facts = facts
        self.claims = claims
    }
}
