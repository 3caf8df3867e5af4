// Buckets are listed partition by partition, and most buckets are in every partition: this drops the repeats.

package import NIOCore

/// Lets each name through once, as far as its memory reaches: past `memoryBytes` of distinct names a name may
/// come twice, which Riak's streaming listings allow.
package struct BucketNameFilter: Sendable {
    package static let memoryBytes = 4 << 20

    private var seen: Set<ByteBuffer> = []
    private var seenBytes = 0

    package init() {}

    package mutating func newNames(_ names: [ByteBuffer]) -> [ByteBuffer] {
        names.filter { name in
            if seen.contains(name) { return false }
            if seenBytes < Self.memoryBytes {
                // A copy: the name is a slice of a whole page.
                let copy = ByteBuffer(bytes: name.readableBytesView)
                seenBytes += copy.readableBytes + MemoryLayout<ByteBuffer>.stride + 48
                seen.insert(copy)
            }
            return true
        }
    }
}
