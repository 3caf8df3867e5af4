// The canonical bytes of a scope's properties: what nodes send one another, keep in `meta`, and hash for the
// digest that tells them whether they hold the same.
//
//   u8 scope (0 type, 1 bucket) | prefixed type | bucket: prefixed name | varint stamp | u64be set by
//   | u8 flags | u8 n | r w pr pw dw rw, a byte each | u8 node confirms | u16be cache of ONE, if the flag says so
//
// The last field came after builds that take its flag for damage (`PeerFeatures.cachesOne`). Where it is zero it is not
// there, and the bytes are theirs.
//
// A quorum is its count, or 253 one, 254 quorum, 255 all.

package import NIOCore
package import TorcModel

extension Quorum {
    /// Counts above the most copies that a bucket may have mean nothing.
    fileprivate var byte: UInt8 {
        switch self {
        case .count(let count):
            precondition(count <= BucketProperties.maximumCopies, "a quorum of \(count)")
            return count
        case .one: return 253
        case .quorum: return 254
        case .all: return 255
        }
    }

    fileprivate init(byte: UInt8) throws(MalformedBytes) {
        switch byte {
        case 253: self = .one
        case 254: self = .quorum
        case 255: self = .all
        case 0...UInt8(BucketProperties.maximumCopies): self = .count(byte)
        default: throw MalformedBytes(.notCanonical, "properties")
        }
    }
}

extension BucketProperties {
    private enum Flag {
        static let lww: UInt8 = 1
        static let notFoundOK: UInt8 = 2
        static let basicQuorum: UInt8 = 4
        static let inherits: UInt8 = 8
        static let oneCache: UInt8 = 16
        static let all: UInt8 = 31
    }

    fileprivate func encode(inherits: Bool, into buffer: inout ByteBuffer) {
        buffer.writeInteger(
            (conflictMode == .lww ? Flag.lww : 0) | (notFoundOK ? Flag.notFoundOK : 0)
                | (basicQuorum ? Flag.basicQuorum : 0) | (inherits ? Flag.inherits : 0)
                | (oneCacheMilliseconds > 0 ? Flag.oneCache : 0))
        buffer.writeInteger(n)
        for quorum in [r, w, pr, pw, dw, rw] { buffer.writeInteger(quorum.byte) }
        buffer.writeInteger(nodeConfirms)
        if oneCacheMilliseconds > 0 { buffer.writeInteger(oneCacheMilliseconds) }
    }

    fileprivate static func decode(
        from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> (properties: BucketProperties, inherits: Bool) {
        let flags = try buffer.readFixed(UInt8.self, "properties")
        guard flags & ~Flag.all == 0 else { throw MalformedBytes(.notCanonical, "properties") }
        var properties = BucketProperties()
        properties.conflictMode = flags & Flag.lww != 0 ? .lww : .siblings
        properties.notFoundOK = flags & Flag.notFoundOK != 0
        properties.basicQuorum = flags & Flag.basicQuorum != 0
        properties.n = try buffer.readFixed(UInt8.self, "properties")
        properties.r = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.w = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.pr = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.pw = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.dw = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.rw = try Quorum(byte: try buffer.readFixed(UInt8.self, "properties"))
        properties.nodeConfirms = try buffer.readFixed(UInt8.self, "properties")
        if flags & Flag.oneCache != 0 {
            properties.oneCacheMilliseconds = try buffer.readFixed(UInt16.self, "properties")
            guard properties.oneCacheMilliseconds > 0 else { throw MalformedBytes(.notCanonical, "properties") }
        }
        guard properties.refusal == nil else { throw MalformedBytes(.overLimit, "properties") }
        return (properties, flags & Flag.inherits != 0)
    }

    /// Canonical bytes, for a message that carries properties without a scope.
    package func encode(into buffer: inout ByteBuffer) { encode(inherits: false, into: &buffer) }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let (properties, inherits) = try Self.decode(from: &buffer)
        guard !inherits else { throw MalformedBytes(.notCanonical, "properties") }
        self = properties
    }
}

extension VersionedProperties {
    /// The mode is merged apart from the rest, and must not decide which of two entries wins.
    var bytesWithoutMode: ByteBuffer {
        var buffer = ByteBuffer()
        var properties = properties
        properties.conflictMode = .siblings
        properties.encode(inherits: inherits, into: &buffer)
        return buffer
    }
}

extension PropertiesEntry {
    package func encode(into buffer: inout ByteBuffer) {
        switch scope {
        case .type(let type):
            buffer.writeInteger(UInt8(0))
            buffer.writeLengthPrefixed(type)
        case .bucket(let bucket):
            buffer.writeInteger(UInt8(1))
            buffer.writeLengthPrefixed(bucket.type)
            buffer.writeLengthPrefixed(bucket.name)
        }
        buffer.writeVarint(versioned.stamp.rawValue)
        buffer.writeInteger(versioned.setBy.rawValue)
        versioned.properties.encode(inherits: versioned.inherits, into: &buffer)
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let limit = ObjectKey.maximumBucketBytes
        let kind = try buffer.readFixed(UInt8.self, "properties")
        let type = try buffer.readLengthPrefixed(limit: limit, "properties")
        guard kind <= 1, type != BucketID.defaultTypeName else { throw MalformedBytes(.notCanonical, "properties") }
        if kind == 1 {
            scope = .bucket(BucketID(type: type, name: try buffer.readLengthPrefixed(limit: limit, "properties")))
        } else {
            scope = .type(type)
        }
        let stamp = HybridTimestamp(rawValue: try buffer.readVarint("properties"))
        let setBy = NodeID(rawValue: try buffer.readFixed(UInt64.self, "properties"))
        let (properties, inherits) = try BucketProperties.decode(from: &buffer)
        versioned = VersionedProperties(properties: properties, inherits: inherits, stamp: stamp, setBy: setBy)
    }
}
