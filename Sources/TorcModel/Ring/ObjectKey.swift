// The name of an object: bucket type, bucket and key, in one canonical buffer that is made once, where a
// request enters, and serves from there on as ring input, storage key, wire field and dictionary key.
//
//   storage key = u64be ring position | varint length, type | varint length, bucket | key
//
// The default bucket type is written as an empty type, so that a bucket has one spelling.

package import NIOCore

/// A bucket, with its type. The default type is the empty one.
package struct BucketID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var type: ByteBuffer
    package var name: ByteBuffer

    package init(type: ByteBuffer = ByteBuffer(), name: ByteBuffer) {
        self.type = type == Self.defaultTypeName ? ByteBuffer() : type
        self.name = name
    }

    package static let defaultTypeName = ByteBuffer(string: "default")
    /// Of the buckets that are Redis's databases: the last write wins in them, on every node and from the start.
    package static let redisTypeName = ByteBuffer(string: "redis")
    /// Redis's own default.
    package static let redisDatabases = 16

    /// Whether a bucket of that type is one of Redis's databases: "0" to "15".
    package static func isRedisDatabase(_ name: ByteBuffer) -> Bool {
        (0..<redisDatabases).contains { name == ByteBuffer(string: String($0)) }
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        if lhs.type != rhs.type { return lhs.type.lexicographicallyPrecedes(rhs.type) }
        return lhs.name.lexicographicallyPrecedes(rhs.name)
    }

    package var description: String {
        let bucket = String(buffer: name)
        return type.readableBytes == 0 ? bucket : "\(String(buffer: type))/\(bucket)"
    }
}

/// An object's full name and its place on the ring.
package struct ObjectKey: Sendable {
    /// A longer key, bucket or type is refused where it enters.
    package static let maximumKeyBytes = 64 << 10
    package static let maximumBucketBytes = 4 << 10

    /// Ring position and canonical name: the key in a partition's column family.
    package let storageKey: ByteBuffer
    package let position: RingPosition
    private let bucketStart: Int
    private let keyStart: Int

    /// The caller has checked the lengths and that neither bucket nor key is empty (`ClientRequest.validate`).
    package init(bucket: BucketID, key: ByteBuffer) {
        var name = ByteBuffer()
        name.reserveCapacity(8 + 6 + bucket.type.readableBytes + bucket.name.readableBytes + key.readableBytes)
        name.writeInteger(UInt64(0))
        name.writeLengthPrefixed(bucket.type)
        bucketStart = name.writerIndex
        name.writeLengthPrefixed(bucket.name)
        keyStart = name.writerIndex
        name.writeImmutableBuffer(key)
        position = RingPosition(hashing: name.getSlice(at: 8, length: name.writerIndex - 8)!)
        name.setInteger(position.rawValue, at: 0)
        storageKey = name
    }

    /// Decodes a storage key and checks it whole, the ring position included.
    package init(storageKey: ByteBuffer) throws(MalformedBytes) {
        var reader = storageKey
        let start = reader.readerIndex
        position = RingPosition(rawValue: try reader.readFixed(UInt64.self, "object key"))
        let name = reader
        let type = try reader.readLengthPrefixed(limit: Self.maximumBucketBytes, "object key")
        bucketStart = reader.readerIndex - start
        let bucket = try reader.readLengthPrefixed(limit: Self.maximumBucketBytes, "object key")
        keyStart = reader.readerIndex - start
        guard bucket.readableBytes > 0, reader.readableBytes > 0, type != BucketID.defaultTypeName else {
            throw MalformedBytes(.notCanonical, "object key")
        }
        guard reader.readableBytes <= Self.maximumKeyBytes else { throw MalformedBytes(.overLimit, "object key") }
        guard RingPosition(hashing: name) == position else { throw MalformedBytes(.checksumMismatch, "object key") }
        self.storageKey = storageKey.slice()
    }

    /// Its bucket is of the default type: between the position and the bucket stands nothing but a length of zero.
    package var isOfDefaultType: Bool { bucketStart == 8 + 1 }

    package var bucket: BucketID {
        var reader = storageKey
        reader.moveReaderIndex(forwardBy: 8)
        // Both were checked or written by an initialiser of this type.
        let type = try! reader.readLengthPrefixed("object key")
        return BucketID(type: type, name: try! reader.readLengthPrefixed("object key"))
    }

    /// The key within its bucket.
    package var key: ByteBuffer {
        storageKey.getSlice(
            at: storageKey.readerIndex + keyStart, length: storageKey.readableBytes - keyStart)!
    }
}

extension ObjectKey: Hashable {
    package static func == (lhs: Self, rhs: Self) -> Bool {
        lhs.position == rhs.position && lhs.storageKey == rhs.storageKey
    }

    /// The position is a SHA-1 already: hashing the rest again would buy nothing.
    package func hash(into hasher: inout Hasher) { hasher.combine(position.rawValue) }
}

extension ObjectKey: Comparable {
    /// The order of the column family: by ring position, then by name.
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.storageKey.lexicographicallyPrecedes(rhs.storageKey) }
}

extension ObjectKey: CustomStringConvertible {
    package var description: String { "\(bucket)/\(String(buffer: key))" }
}
