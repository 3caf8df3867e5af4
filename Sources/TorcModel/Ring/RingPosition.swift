// The ring is 0…2^160, and a key's position the SHA-1 of its bucket and key. Q is at most 2^14, a leaf
// takes at most 14 bits more, so the first 64 bits decide everything; the rest is never kept.

import Crypto
package import NIOCore

/// The first 64 bits of a position on the ring.
package struct RingPosition: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The position of a key, from its canonical name (`ObjectKey`).
    package init(hashing canonicalName: ByteBuffer) {
        let digest = canonicalName.withUnsafeReadableBytes { bytes in
            var hasher = Insecure.SHA1()
            hasher.update(bufferPointer: bytes)
            return hasher.finalize()
        }
        rawValue = digest.withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) }
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// One of the Q equal ranges of the ring: a virtual node.
package struct PartitionID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }
    package init(_ index: Int) { rawValue = UInt16(index) }

    package var index: Int { Int(rawValue) }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    package var description: String { "p\(rawValue)" }
}

/// Q, the number of partitions: a power of two, fixed when a cluster is made.
package struct RingSize: Hashable, Sendable {
    package static let minimum = 8
    package static let maximum = 16_384
    package static let standard = RingSize(partitions: 64)!

    package let partitions: Int
    private let shift: UInt64

    /// Nil unless `partitions` is a power of two in 8…16,384.
    package init?(partitions: Int) {
        guard (Self.minimum...Self.maximum).contains(partitions), partitions.nonzeroBitCount == 1 else { return nil }
        self.partitions = partitions
        shift = UInt64(64 - partitions.trailingZeroBitCount)
    }

    package func partition(of position: RingPosition) -> PartitionID {
        PartitionID(rawValue: UInt16(truncatingIfNeeded: position.rawValue >> shift))
    }

    /// The first position of a partition.
    package func start(of partition: PartitionID) -> RingPosition {
        RingPosition(rawValue: UInt64(partition.rawValue) << shift)
    }

    package func contains(_ partition: PartitionID) -> Bool { partition.index < partitions }

    /// The bits of a position below the partition's.
    package var bitsBelowPartition: Int { Int(shift) }
}
