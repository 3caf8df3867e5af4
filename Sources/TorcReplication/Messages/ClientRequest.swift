// What a client asks and what it is answered, in the store's own terms. The codecs of Riak's protocols and
// the command line translate to these; the coordinator knows nothing else of clients.

package import NIOCore
package import TorcModel

/// Quorums that one request overrides; nil takes the bucket's.
package struct QuorumOptions: Hashable, Sendable {
    package var r: Quorum?
    package var w: Quorum?
    package var pr: Quorum?
    package var pw: Quorum?
    package var dw: Quorum?
    /// For deletes: both r and w, when those are not given.
    package var rw: Quorum?
    package var nodeConfirms: UInt8?
    package var notFoundOK: Bool?
    package var basicQuorum: Bool?
    /// Riak's `n_val` of a request: fewer copies than the bucket's are refused, as more are.
    package var n: UInt8?
    /// False asks for primaries only.
    package var sloppyQuorum: Bool?

    package init() {}
}

package struct GetRequest: Hashable, Sendable {
    package var key: ObjectKey
    package var options = QuorumOptions()
    /// Answer metadata without values.
    package var headOnly = false
    /// Answer `unchanged` when the object's clock is this one.
    package var unlessClock: VersionVector?

    package init(key: ObjectKey) { self.key = key }
}

/// A condition that a write is refused by: read at quorum, then checked again in the coordinating lane.
/// Better than reading before writing, and still no consensus: two conditional writes on two sides of a
/// network partition may both pass, and then stand as siblings.
package enum WriteCondition: Hashable, Sendable {
    /// Refuse with `matchFound` when any version stands.
    case ifNoneMatch
    /// Refuse with `modified` when the object's clock is another, with `notFound` when there is no object.
    case ifNotModified(VersionVector)
}

/// What a put answers besides success.
package enum ReturnedBody: UInt8, Hashable, Sendable {
    case nothing
    /// The object as it stands after the write, without values.
    case head
    case full
}

package struct PutRequest: Hashable, Sendable {
    package var key: ObjectKey
    /// What the write replaces. Nil: nothing; it is concurrent with all that stands.
    package var context: CausalContext?
    /// Encoded `ContentMetadata`.
    package var metadata: ByteBuffer
    package var value: ByteBuffer
    package var expiry: WallTime?
    /// In its place: how long the version stands from the instant at which the node that is asked takes the request.
    package var lifetimeSeconds: UInt32?
    package var writeID: WriteID?
    package var condition: WriteCondition?
    package var returnedBody = ReturnedBody.nothing
    package var options = QuorumOptions()

    package init(key: ObjectKey, context: CausalContext? = nil, metadata: ByteBuffer, value: ByteBuffer) {
        self.key = key
        self.context = context
        self.metadata = metadata
        self.value = value
    }

    /// A hundred years: a longer life is refused where it is asked for.
    package static let longestLifetimeSeconds: UInt32 = 100 * 365 * 86_400

    /// With the lifetime as an instant: the same for whoever comes to coordinate it.
    func expiring(from instant: WallTime) -> PutRequest {
        guard let lifetimeSeconds else { return self }
        var put = self
        put.lifetimeSeconds = nil
        put.expiry = WallTime(microseconds: instant.microseconds &+ UInt64(lifetimeSeconds) * 1_000_000)
        return put
    }
}

package struct DeleteRequest: Hashable, Sendable {
    package var key: ObjectKey
    /// Nil: the object is read at quorum first, and what was read is deleted.
    package var context: CausalContext?
    package var options = QuorumOptions()

    package init(key: ObjectKey, context: CausalContext? = nil) {
        self.key = key
        self.context = context
    }
}

package enum ClientRequest: Hashable, Sendable {
    case get(GetRequest)
    case put(PutRequest)
    case delete(DeleteRequest)

    package var key: ObjectKey {
        switch self {
        case .get(let get): get.key
        case .put(let put): put.key
        case .delete(let delete): delete.key
        }
    }

    package var options: QuorumOptions {
        switch self {
        case .get(let get): get.options
        case .put(let put): put.options
        case .delete(let delete): delete.options
        }
    }

    var isDelete: Bool {
        if case .delete = self { true } else { false }
    }

    var isRead: Bool {
        if case .get = self { true } else { false }
    }
}

/// How many replicas stood behind an answer.
package struct Participation: Hashable, Sendable {
    package var primaries: Int
    /// Stand-ins that keep a hint for a primary.
    package var fallbacks: Int

    package init(primaries: Int, fallbacks: Int = 0) {
        self.primaries = primaries
        self.fallbacks = fallbacks
    }
}

/// Why nothing was done. Nothing was written, on any replica; asking again is safe.
package enum Refusal: Hashable, Sendable {
    /// `ifNoneMatch`, and a version stands.
    case matchFound
    /// `ifNotModified`, and the object's clock is another.
    case modified
    /// `ifNotModified`, and there is no object.
    case notFound
    /// A quorum above n, or n above what the bucket or the cluster has.
    case invalidQuorum(name: String, asked: Int, n: Int)
    case objectTooLarge(bytes: Int, limit: Int)
    /// One version more would stand than the limit allows: resolve the siblings with a write that carries the context.
    case tooManySiblings(count: Int, limit: Int)
    case siblingsTooLarge(bytes: Int, limit: Int)
    /// The stamp of an `lww` write would be too far ahead of the clock.
    case clockTooFarBehind
    /// Too many requests are under way.
    case overloaded
    /// Fewer replicas can be reached than the quorum needs.
    case unreachable(needed: Int, reachable: Int)
    /// Every replica that was asked could not read its record.
    case unreadable
    case shuttingDown
    /// This node's disk is nearly full. Another node may take the write.
    case diskFull
}

/// Why a read did not reach its quorum.
package struct ReadFailure: Hashable, Sendable {
    package var needed: Int
    package var answered: Int
    /// The deadline passed; otherwise enough replicas failed before it.
    package var timedOut: Bool

    package init(needed: Int, answered: Int, timedOut: Bool) {
        self.needed = needed
        self.answered = answered
        self.timedOut = timedOut
    }
}

/// An object as a client gets it.
package struct ClientObject: Hashable, Sendable {
    /// Versions that stand, ascending by dot, a retried write shown once. Tombstones of an `lww` object are left out.
    package var siblings: [Sibling]
    package var context: CausalContext
    /// Values were left out, as asked.
    package var headOnly: Bool
    /// The coordinator's, by which it was judged what has expired.
    package var instant = WallTime(microseconds: 0)

    package init(siblings: [Sibling], context: CausalContext, headOnly: Bool = false) {
        self.siblings = siblings
        self.context = context
        self.headOnly = headOnly
    }

    /// Deleted or expired, and nothing written since.
    package var isTombstone: Bool { siblings.isEmpty }

    /// How long a version still stands, the last second counted whole; nil: for ever.
    package func secondsLeft(of version: Sibling) -> UInt64? {
        guard let expiry = version.expiry else { return nil }
        return expiry <= instant ? 0 : (expiry.microseconds - instant.microseconds + 999_999) / 1_000_000
    }
}

package enum GetAnswer: Hashable, Sendable {
    /// Nothing was ever written here, as far as the replicas know.
    case absent(Participation)
    /// The object; without siblings it is a tombstone.
    case found(ClientObject, Participation)
    /// The clock is the one that the client knows.
    case unchanged(Participation)
    case refused(Refusal)
    case failed(ReadFailure)
}

package enum WriteAnswer: Hashable, Sendable {
    /// Synced on as many replicas as were asked for. The object is there when it was asked for.
    case ok(Participation, ClientObject?)
    case refused(Refusal)
    /// The write may or may not stand: it reached `copies` replicas that are known of. Read before writing
    /// again, or retry with the same `WriteID`.
    case indeterminate(copies: Int, needed: Int)
}

package enum ClientAnswer: Hashable, Sendable {
    case get(GetAnswer)
    /// Of a put or a delete.
    case write(WriteAnswer)

    /// Refused because there is too much to do; later it may be done.
    package var isOverload: Bool {
        switch self {
        case .get(.refused(.overloaded)), .write(.refused(.overloaded)): true
        case .get, .write: false
        }
    }
}
