// Bytes from a disk or a client that end in the model: object keys, objects, records, contexts, metadata.
// Checksums and positions are computed for the input where a decoder wants them, or no fuzzer would get past them.

package import NIOCore
import TorcModel

package func checkModelDecoders(_ input: ByteBuffer) {
    var bytes = input
    switch bytes.readInteger(as: UInt8.self).map({ $0 % 5 }) {
    case nil: break
    case 0: checkObjectKey(bytes)
    case 1: checkObject(bytes)
    case 2: checkRecord(bytes)
    case 3: checkContext(bytes)
    default: checkMetadata(bytes)
    }
}

private func checkObjectKey(_ name: ByteBuffer) {
    _ = try? ObjectKey(storageKey: name)
    var storageKey = ByteBuffer()
    storageKey.writeInteger(RingPosition(hashing: name).rawValue)
    storageKey.writeImmutableBuffer(name)
    guard let key = try? ObjectKey(storageKey: storageKey) else { return }
    let made = ObjectKey(bucket: key.bucket, key: key.key)
    precondition(made == key && made.storageKey == storageKey, "\(key) has two names")
}

private func checkObject(_ bytes: ByteBuffer) {
    guard let object = try? VersionedObject(decoding: bytes) else { return }
    precondition(object.encoded == bytes, "\(object) has two encodings")
    precondition(object.merged(with: object) == object)
    precondition(object.siblings.allSatisfy { object.clock.contains($0.dot) })
    for sibling in object.siblings { checkMetadata(sibling.metadata) }
}

private func checkRecord(_ rest: ByteBuffer) {
    let key = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k"))
    var bytes = ByteBuffer()
    bytes.writeInteger(xxh3(rest, seed: key.position.rawValue))
    bytes.writeImmutableBuffer(rest)
    guard let record = try? Record(decoding: bytes, for: key) else { return }
    precondition(record.encoded(for: key) == bytes, "\(record) has two encodings")
    guard let object = try? record.object() else { return }
    precondition(object.encoded == record.body)
}

private func checkContext(_ bytes: ByteBuffer) {
    let cluster = ClusterKey(secret: Array("sixteen bytes and more".utf8))!
    let key = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k"))
    if (try? cluster.open(bytes, for: key)) != nil { preconditionFailure("a context was forged") }
    var reader = bytes
    guard let context = try? CausalContext(decoding: &reader) else { return }
    var encoded = ByteBuffer()
    context.encode(into: &encoded)
    let consumed = bytes.getSlice(at: bytes.readerIndex, length: bytes.readableBytes - reader.readableBytes)!
    precondition(encoded == consumed, "\(context) has two encodings")
    precondition((try? cluster.open(cluster.seal(context, for: key), for: key)) == context)
}

private func checkMetadata(_ bytes: ByteBuffer) {
    guard let metadata = try? ContentMetadata(decoding: bytes), bytes.readableBytes > 0 else { return }
    precondition(metadata.encoded == bytes, "\(metadata) has two encodings")
}
