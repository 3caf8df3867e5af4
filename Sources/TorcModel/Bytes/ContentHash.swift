// xxh3 under a seed that is derived from the cluster key, so that nobody outside the cluster can make
// two states that Torc takes for one.

import CXXHash
package import NIOCore

/// A 64-bit hash of an object's canonical bytes and its key. Equal states have equal bytes, so it serves
/// as the digest of a quorum read and as what a record adds to its Merkle leaf.
package struct ContentHash: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// What an absent key adds to its leaf: nothing.
    package static let absent = ContentHash(rawValue: 0)

    package var description: String { hexadecimal(rawValue) }
}

/// The cluster's seed of content hashes.
package struct HashSeed: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package func contentHash(key: ObjectKey, body: ByteBuffer) -> ContentHash {
        ContentHash(rawValue: xxh3(body, seed: xxh3(key.storageKey, seed: rawValue)))
    }
}

package func xxh3(_ bytes: ByteBuffer, seed: UInt64) -> UInt64 {
    bytes.withUnsafeReadableBytes { torc_xxh3($0.baseAddress, $0.count, seed) }
}

package func xxh3(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
    torc_xxh3(bytes.baseAddress, bytes.count, seed)
}

/// Sixteen lower-case digits.
package func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
