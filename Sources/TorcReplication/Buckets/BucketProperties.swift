// What a bucket promises: how many copies, which quorums, how conflicts end.

package import NIOCore
package import TorcModel

/// How many replicas must answer: a number, or a word for one.
package enum Quorum: Hashable, Sendable {
    case count(UInt8)
    case one
    case quorum
    case all

    /// The number it stands for with n replicas.
    package func count(of n: Int) -> Int {
        switch self {
        case .count(let count): Int(count)
        case .one: 1
        case .quorum: n / 2 + 1
        case .all: n
        }
    }
}

/// A bucket's properties. Every request may override the quorums, none the rest.
package struct BucketProperties: Hashable, Sendable {
    /// Copies of each object, 1…`maximumCopies`. Fixed once the bucket holds data.
    package var n: UInt8 = 3
    package var conflictMode: ConflictMode = .siblings
    package var r: Quorum = .quorum
    package var w: Quorum = .quorum
    /// Primaries that must take part. 0: any replica will do.
    package var pr: Quorum = .count(0)
    package var pw: Quorum = .count(0)
    /// Copies that must be synced. In `synced` durability every acknowledgement is.
    package var dw: Quorum = .quorum
    /// Replicas that a delete reads and writes, when it names no other.
    package var rw: Quorum = .quorum
    /// Distinct nodes that must confirm. 0: not asked for.
    package var nodeConfirms: UInt8 = 0
    /// Whether a replica that holds nothing counts as an answer.
    package var notFoundOK = true
    /// With `notFoundOK` off: whether a quorum of "nothing here" ends a read early.
    package var basicQuorum = false
    /// A read at ONE may be answered with what its coordinator read so long ago at most; 0: it never is.
    package var oneCacheMilliseconds: UInt16 = 0

    package static let maximumCopies = 7
    /// A reader waits longer for nothing that was written.
    package static let maximumOneCacheMilliseconds = 10_000

    package init() {}

    /// Why no bucket may have these properties; nil when one may.
    package var refusal: PropertiesRefusal? {
        guard (1...Self.maximumCopies).contains(Int(n)) else {
            return .invalidCopies(asked: Int(n), limit: Self.maximumCopies)
        }
        for (name, quorum) in [("r", r), ("w", w), ("pr", pr), ("pw", pw), ("dw", dw), ("rw", rw)] {
            let count = quorum.count(of: Int(n))
            if count > Int(n) { return .invalidQuorum(name: name, asked: count, n: Int(n)) }
        }
        if oneCacheMilliseconds > Self.maximumOneCacheMilliseconds {
            return .invalidOneCache(asked: Int(oneCacheMilliseconds), limit: Self.maximumOneCacheMilliseconds)
        }
        if nodeConfirms > n { return .invalidQuorum(name: "node_confirms", asked: Int(nodeConfirms), n: Int(n)) }
        return nil
    }
}

/// A bucket's properties and when they were set: the later stamp wins on every node.
package struct VersionedProperties: Hashable, Sendable {
    package var properties: BucketProperties
    /// The scope was reset: it has what its type, or the build, says. Of `properties` only `lww` counts then,
    /// which a scope never leaves.
    package var inherits: Bool
    package var stamp: HybridTimestamp
    package var setBy: NodeID

    package init(properties: BucketProperties, inherits: Bool = false, stamp: HybridTimestamp, setBy: NodeID) {
        self.properties = properties
        self.inherits = inherits
        self.stamp = stamp
        self.setBy = setBy
    }
}

/// What properties are set on: a bucket, or a bucket type, whose properties its buckets inherit.
package enum PropertiesScope: Hashable, Sendable {
    case type(ByteBuffer)
    case bucket(BucketID)
}
