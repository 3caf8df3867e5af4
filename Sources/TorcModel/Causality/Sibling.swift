package import NIOCore

/// A client's name for one attempt to write, kept over its retries: 128 bits that it drew at random.
package struct WriteID: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// One version of an object: a write that nothing has superseded yet.
package struct Sibling: Hashable, Sendable {
    package var dot: Dot
    package var timestamp: HybridTimestamp
    /// When the version ceases to be, in microseconds since 1970 by the reader's instant. Nil: never.
    package var expiry: WallTime?
    /// The client's name for the write, by which a retry is recognised.
    package var writeID: WriteID?
    /// A delete in an `lww` bucket: a stamped sibling without value. Never set in a `siblings` bucket.
    package var isTombstone: Bool
    /// Encoded `ContentMetadata`; replication does not look inside.
    package var metadata: ByteBuffer
    package var value: ByteBuffer

    package init(
        dot: Dot, timestamp: HybridTimestamp, expiry: WallTime? = nil, writeID: WriteID? = nil,
        isTombstone: Bool = false, metadata: ByteBuffer = ByteBuffer(), value: ByteBuffer = ByteBuffer()
    ) {
        self.dot = dot
        self.timestamp = timestamp
        self.expiry = expiry
        self.writeID = writeID
        self.isTombstone = isTombstone
        self.metadata = metadata
        self.value = value
    }

    /// The order of an `lww` register: the later stamp wins, the dot breaks a tie. An expired version that was removed
    /// wins over itself.
    package func loses(to other: Sibling) -> Bool {
        if timestamp != other.timestamp { return timestamp < other.timestamp }
        return dot == other.dot ? !isTombstone && other.isTombstone : dot < other.dot
    }

    /// Whether a clock that shows `instant` takes it for gone.
    package func hasExpired(at instant: WallTime) -> Bool {
        guard let expiry, !isTombstone else { return false }
        return expiry <= instant
    }
}

extension Sibling {
    private enum Flag {
        static let tombstone: UInt8 = 1
        static let expires: UInt8 = 2
        static let named: UInt8 = 4
        static let all: UInt8 = 7
    }

    package func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(dot.actor.rawValue)
        buffer.writeVarint(dot.counter)
        buffer.writeVarint(timestamp.rawValue)
        buffer.writeInteger(
            (isTombstone ? Flag.tombstone : 0) | (expiry != nil ? Flag.expires : 0)
                | (writeID != nil ? Flag.named : 0))
        if let expiry { buffer.writeVarint(expiry.microseconds) }
        if let writeID {
            buffer.writeInteger(writeID.high)
            buffer.writeInteger(writeID.low)
        }
        buffer.writeLengthPrefixed(metadata)
        buffer.writeLengthPrefixed(value)
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let actor = Actor(rawValue: try buffer.readFixed(UInt64.self, "sibling"))
        let counter = try buffer.readVarint("sibling")
        let timestamp = HybridTimestamp(rawValue: try buffer.readVarint("sibling"))
        let flags = try buffer.readFixed(UInt8.self, "sibling")
        guard counter > 0, flags & ~Flag.all == 0 else { throw MalformedBytes(.notCanonical, "sibling") }
        let expiry =
            flags & Flag.expires != 0 ? WallTime(microseconds: try buffer.readVarint("sibling")) : nil
        var writeID: WriteID?
        if flags & Flag.named != 0 {
            writeID = WriteID(
                high: try buffer.readFixed(UInt64.self, "sibling"), low: try buffer.readFixed(UInt64.self, "sibling"))
        }
        self.init(
            dot: Dot(actor: actor, counter: counter), timestamp: timestamp, expiry: expiry, writeID: writeID,
            isTombstone: flags & Flag.tombstone != 0,
            metadata: try buffer.readLengthPrefixed("sibling"), value: try buffer.readLengthPrefixed("sibling"))
    }
}
