// A record is what a partition's column family holds under an object key:
//
//   u64be checksum | u8 format | u8 n | u64be actor | u64be incarnation | varint counter | body
//
// and what `hints` holds under a target and an object key: format 2, which says after the counter for whom and
// since when.
//
//   … | varint counter | u64be target | varint since | body
//
// A grave is what is left of a tombstone that was reaped, until all replicas have reaped it: format 3, laid out as
// format 1, without actor. Its body is the tombstone's. Readers take it for nothing, and no Merkle leaf counts it.
//
// The checksum is xxh3 over everything after it, seeded with the ring position, so that a record under
// another key's name does not pass for its own. The header after it is local: it is neither replicated nor
// hashed. The body is the object's canonical encoding (`VersionedObject.encode`), the bytes that replicas
// exchange.

package import NIOCore

/// What a replica remembers of its own coordination of a key.
package struct LocalHeader: Hashable, Sendable {
    /// The actor that this replica mints with for this key, in one incarnation only.
    package struct MintingActor: Hashable, Sendable {
        package var actor: Actor
        package var incarnation: Incarnation
        /// The counter that it minted last. A larger one, in a record or a context that arrives, proves that
        /// this replica forgot a write: the actor is retired.
        package var counter: UInt64

        package init(actor: Actor, incarnation: Incarnation, counter: UInt64) {
            self.actor = actor
            self.incarnation = incarnation
            self.counter = counter
        }
    }

    /// The number of replicas of the key's bucket: which of the partition's Merkle trees the record counts in.
    package var copies: UInt8
    package var minting: MintingActor?

    package init(copies: UInt8, minting: MintingActor? = nil) {
        self.copies = copies
        self.minting = minting
    }
}

/// What makes a record a hint: it is kept for another node, until that node has it.
package struct HintNote: Hashable, Sendable {
    /// The replica that it is for.
    package var target: NodeID
    /// When the first write was kept that the hint holds.
    package var since: WallTime

    package init(target: NodeID, since: WallTime) {
        self.target = target
        self.since = since
    }
}

/// A record, its body still encoded.
package struct Record: Hashable, Sendable {
    package static let format: UInt8 = 1
    package static let hintFormat: UInt8 = 2
    package static let graveFormat: UInt8 = 3
    /// Those from `format` to this one are known.
    package static let newestFormat = Int(graveFormat)
    private static let checksumBytes = 8

    package var header: LocalHeader
    /// Nil: a replica's own record.
    package var hint: HintNote?
    /// Its body, a tombstone, was reaped: nothing is here, and it may not come back.
    package var isGrave: Bool
    /// The canonical encoding of a `VersionedObject`.
    package var body: ByteBuffer

    package init(header: LocalHeader, hint: HintNote? = nil, isGrave: Bool = false, body: ByteBuffer) {
        precondition(!isGrave || header.minting == nil && hint == nil, "a grave that mints, or that is kept for a node")
        self.header = header
        self.hint = hint
        self.isGrave = isGrave
        self.body = body
    }

    /// The bytes of `encoded`, before they are written.
    package var encodedBytes: Int {
        var head = ByteBuffer()
        encodeHead(into: &head)
        return head.readableBytes + body.readableBytes
    }

    package func encoded(for key: ObjectKey) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Self.checksumBytes + 28 + (hint == nil ? 0 : 18) + body.readableBytes)
        encodeHead(into: &buffer)
        buffer.writeImmutableBuffer(body)
        buffer.setInteger(Self.checksum(of: buffer, key: key), at: 0)
        return buffer
    }

    private func encodeHead(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt64(0), isGrave ? Self.graveFormat : hint == nil ? Self.format : Self.hintFormat, header.copies,
            header.minting?.actor.rawValue ?? 0, header.minting?.incarnation.rawValue ?? 0)
        buffer.writeVarint(header.minting?.counter ?? 0)
        guard let hint else { return }
        buffer.writeInteger(hint.target.rawValue)
        buffer.writeVarint(hint.since.microseconds)
    }

    /// The format of stored bytes, known or not; nil: they are too short.
    package static func storedFormat(of bytes: ByteBuffer) -> Int? {
        bytes.getInteger(at: bytes.readerIndex + MemoryLayout<UInt64>.size, as: UInt8.self).map(Int.init)
    }

    /// Checks the checksum and the header; the body is decoded when it is needed.
    package init(decoding bytes: ByteBuffer, for key: ObjectKey) throws(MalformedBytes) {
        var buffer = bytes
        let checksum = try buffer.readFixed(UInt64.self, "record")
        guard checksum == Self.checksum(of: bytes, key: key) else {
            throw MalformedBytes(.checksumMismatch, "record")
        }
        let format = try buffer.readFixed(UInt8.self, "record")
        guard (Self.format...Self.graveFormat).contains(format) else {
            throw MalformedBytes(.unknownVersion, "record")
        }
        let copies = try buffer.readFixed(UInt8.self, "record")
        let actor = Actor(rawValue: try buffer.readFixed(UInt64.self, "record"))
        let incarnation = Incarnation(rawValue: try buffer.readFixed(UInt64.self, "record"))
        let counter = try buffer.readVarint("record")
        isGrave = format == Self.graveFormat
        guard !isGrave || counter == 0 else { throw MalformedBytes(.notCanonical, "record") }
        guard copies > 0, (actor.rawValue == 0) == (counter == 0), counter > 0 || incarnation.rawValue == 0 else {
            throw MalformedBytes(.notCanonical, "record")
        }
        header = LocalHeader(
            copies: copies,
            minting: counter == 0
                ? nil : .init(actor: actor, incarnation: incarnation, counter: counter))
        if format == Self.hintFormat {
            let target = NodeID(rawValue: try buffer.readFixed(UInt64.self, "hint"))
            hint = HintNote(target: target, since: WallTime(microseconds: try buffer.readVarint("hint")))
        }
        body = buffer
    }

    package func object() throws(MalformedBytes) -> VersionedObject { try VersionedObject(decoding: body) }

    private static func checksum(of buffer: ByteBuffer, key: ObjectKey) -> UInt64 {
        buffer.withUnsafeReadableBytes { bytes in
            xxh3(UnsafeRawBufferPointer(rebasing: bytes.dropFirst(checksumBytes)), seed: key.position.rawValue)
        }
    }
}
