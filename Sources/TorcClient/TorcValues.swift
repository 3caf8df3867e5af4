// What a Swift program says to Torc and hears from it.

public import NIOCore
package import TorcModel
import TorcWire

/// Where a node listens for clients (protocol buffers).
public struct TorcAddress: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int

    public init(host: String = "127.0.0.1", port: Int = 8087) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port`, `host` or `[ipv6]:port`; the port is 8087 when it is left out.
    public init?(_ text: String) {
        let parts: (host: Substring, port: Substring?)
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            parts = (text[text.index(after: text.startIndex)..<end], rest.isEmpty ? nil : rest.dropFirst())
        } else if let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon {
            parts = (text[..<colon], text[text.index(after: colon)...])
        } else {
            parts = (text[...], nil)
        }
        guard !parts.host.isEmpty else { return nil }
        var port = 8087
        if let given = parts.port {
            guard let number = Int(given), (1...65_535).contains(number) else { return nil }
            port = number
        }
        self.init(host: String(parts.host), port: port)
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// The name of an object: a key in a bucket, which may have a type. Names are bytes; text is UTF-8.
public struct TorcKey: Hashable, Sendable, CustomStringConvertible {
    /// Empty: the default type.
    public var type: ByteBuffer
    public var bucket: ByteBuffer
    public var key: ByteBuffer

    public init(type: ByteBuffer = ByteBuffer(), bucket: ByteBuffer, key: ByteBuffer) {
        self.type = type
        self.bucket = bucket
        self.key = key
    }

    public init(_ bucket: String, _ key: String, type: String = "") {
        self.init(type: ByteBuffer(string: type), bucket: ByteBuffer(string: bucket), key: ByteBuffer(string: key))
    }

    public var description: String {
        (type.readableBytes == 0 ? "" : String(buffer: type) + "/") + String(buffer: bucket) + "/" + String(buffer: key)
    }

    var wireName: RiakName { RiakName(type: type, bucket: bucket, key: key) }

    /// Its place on the ring; nil when the server makes the key, or refuses the name.
    package var position: RingPosition? {
        let bucketID = BucketID(type: type, name: bucket)
        guard bucket.readableBytes > 0, key.readableBytes > 0 else { return nil }
        return ObjectKey(bucket: bucketID, key: key).position
    }
}

/// How many replicas must answer.
public enum TorcConsistency: Hashable, Sendable {
    case one
    case quorum
    case all
    case replicas(Int)

    /// Reads `one`, `quorum`, `all` or a number.
    public init?(_ text: String) {
        switch text {
        case "one": self = .one
        case "quorum": self = .quorum
        case "all": self = .all
        default:
            guard let count = Int(text), (0...255).contains(count) else { return nil }
            self = .replicas(count)
        }
    }

    init?(wire: UInt32?) {
        switch wire {
        case nil, RiakQuorum.bucketDefault: return nil
        case RiakQuorum.one: self = .one
        case RiakQuorum.quorum: self = .quorum
        case RiakQuorum.all: self = .all
        case .some(let count): self = .replicas(Int(count))
        }
    }

    var wire: UInt32 {
        switch self {
        case .one: RiakQuorum.one
        case .quorum: RiakQuorum.quorum
        case .all: RiakQuorum.all
        case .replicas(let count): UInt32(clamping: count)
        }
    }
}

/// Which versions a reader has seen; handed back with a write, it says what the write replaces. Opaque, and
/// good for the one object of the one cluster that it came from.
public struct TorcContext: Hashable, Sendable {
    public var bytes: ByteBuffer

    public init(bytes: ByteBuffer) { self.bytes = bytes }
}

/// One version of an object.
public struct TorcVersion: Hashable, Sendable {
    public var value: ByteBuffer
    public var contentType: String
    /// The client's own names and values.
    public var userMetadata: [(name: String, value: String)] {
        metadata.userMetadata.lazy.filter { !RiakLifetime.isLifetime($0) }
            .map { (String(buffer: $0.name), String(buffer: $0.value)) }
    }
    /// How long it still stood when it was read; nil: for ever.
    public var secondsLeft: Int? {
        metadata.userMetadata.first(where: RiakLifetime.isLifetime).flatMap { Int(String(buffer: $0.value)) }
    }
    /// Names this version; two versions never share it.
    public var tag: String
    /// When it was written, by its coordinator's clock, in microseconds since 1970.
    public var lastModifiedMicroseconds: UInt64
    /// A deletion that stands beside other versions.
    public var isDeleted: Bool
    private var metadata: ContentMetadata
    /// All that is kept with the value, but how long it stands.
    package var content: ContentMetadata {
        var content = metadata
        content.userMetadata.removeAll(where: RiakLifetime.isLifetime)
        return content
    }

    init(_ content: RiakContent) {
        value = content.value
        contentType = String(buffer: content.metadata.contentType)
        tag = content.tag
        lastModifiedMicroseconds = content.lastModified
        isDeleted = content.isDeleted
        metadata = content.metadata
    }
}

/// A write's name over its retries: 128 random bits. A node that finds it in its record does not write again, and of two
/// versions of one name readers see one. Two writes must never share one: the second would be taken for the first.
public struct WriteOperation: Hashable, Sendable, CustomStringConvertible {
    let id: WriteID

    /// One that nobody else has.
    public init() {
        id = WriteID(high: .random(in: .min ... .max), low: .random(in: .min ... .max))
    }

    /// Reads what `description` gave.
    public init?(_ text: String) {
        guard let id = RiakWriteName.id(text) else { return nil }
        self.id = id
    }

    public var description: String { RiakWriteName.text(id) }
}

/// An object: its versions, more than one when clients wrote it concurrently, and the context of them all.
public struct TorcObject: Hashable, Sendable {
    /// None: there is no such object, or it was deleted.
    public var versions: [TorcVersion]
    /// Nil: nothing was ever written under this key. A deleted object has a context.
    public var context: TorcContext?

    /// The value, when exactly one version stands.
    public var value: ByteBuffer? { versions.count == 1 ? versions[0].value : nil }
    public var isFound: Bool { !versions.isEmpty }

    init(_ object: RiakObject) {
        versions = object.contents.map(TorcVersion.init)
        context = object.vclock.map(TorcContext.init(bytes:))
    }
}

/// When a put is to be refused. Checked at quorum and again by the coordinating replica, which is better than
/// reading before writing and still no consensus.
public enum TorcCondition: Hashable, Sendable {
    /// When any version stands.
    case ifAbsent
    /// When the object is not as it was read with the put's context.
    case ifUnmodified
}

/// A bucket's properties. In a change, nil leaves a property as it is.
public struct TorcBucketProperties: Hashable, Sendable {
    /// Copies of each object; fixed once the bucket holds data.
    public var copies: Int?
    /// False: the last write wins. A bucket may leave siblings, never come back to them.
    public var keepsSiblings: Bool?
    public var r: TorcConsistency?
    public var w: TorcConsistency?
    public var pr: TorcConsistency?
    public var pw: TorcConsistency?
    public var dw: TorcConsistency?
    public var rw: TorcConsistency?
    public var basicQuorum: Bool?
    public var notFoundOK: Bool?

    public init() {}

    init(_ settings: RiakBucketSettings) {
        copies = settings.n.map(Int.init)
        keepsSiblings = settings.allowMult
        r = TorcConsistency(wire: settings.r)
        w = TorcConsistency(wire: settings.w)
        pr = TorcConsistency(wire: settings.pr)
        pw = TorcConsistency(wire: settings.pw)
        dw = TorcConsistency(wire: settings.dw)
        rw = TorcConsistency(wire: settings.rw)
        basicQuorum = settings.basicQuorum
        notFoundOK = settings.notFoundOK
    }

    var wire: RiakBucketSettings {
        var settings = RiakBucketSettings()
        settings.n = copies.map { UInt32(clamping: $0) }
        settings.allowMult = keepsSiblings
        settings.r = r?.wire
        settings.w = w?.wire
        settings.pr = pr?.wire
        settings.pw = pw?.wire
        settings.dw = dw?.wire
        settings.rw = rw?.wire
        settings.basicQuorum = basicQuorum
        settings.notFoundOK = notFoundOK
        return settings
    }
}

/// Why a request failed.
public enum TorcError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No node could be reached; nothing was sent. With each address, why.
    case unreachable([String])
    /// The condition of a put did not hold; nothing was written.
    case conditionFailed(String)
    /// Refused, in the server's words; nothing was written.
    case refused(String)
    /// A read that had no quorum in time. Asking again is safe.
    case noQuorum(String)
    /// A write may or may not stand. Read before writing again.
    case indeterminate(String)
    /// The server answered what it was not asked.
    case protocolViolation(String)
    /// The client was shut down.
    case closed

    public var description: String {
        switch self {
        case .unreachable(let reasons): "no node can be reached: " + reasons.joined(separator: "; ")
        case .conditionFailed(let message): "the condition does not hold: \(message)"
        case .refused(let message): "refused: \(message)"
        case .noQuorum(let message): "no quorum: \(message)"
        case .indeterminate(let message):
            message.hasPrefix(RiakText.indeterminatePrefix) ? message : RiakText.indeterminatePrefix + message
        case .protocolViolation(let message): "protocol violation: \(message)"
        case .closed: "the client was shut down"
        }
    }
}
