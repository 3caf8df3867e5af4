// What an entry of a partition's family or of `hints` is, decoded: the shape that every command looks at.

import Glibc
package import NIOCore
package import TorcModel

/// A record with its name, whole and checked.
package struct RecordView: Sendable {
    package let key: ObjectKey
    package let record: Record
    package let object: VersionedObject
    /// What it takes in the store, key and value.
    package let storedBytes: Int

    package enum State: String, Sendable, Encodable, CaseIterable {
        /// A reader sees a value.
        case live
        case tombstone
        /// All its versions have expired by the clock that is asked.
        case expired
        /// A tombstone that was reaped, until all replicas have reaped it.
        case grave
    }

    /// An entry of a partition's family, or of `hints` without the target in front of its key. Throws what is wrong
    /// with the key, the checksum, the header or the object.
    package init(storageKey: ByteBuffer, value: ByteBuffer) throws(MalformedBytes) {
        try self.init(key: ObjectKey(storageKey: storageKey), value: value)
    }

    package init(key: ObjectKey, value: ByteBuffer) throws(MalformedBytes) {
        self.key = key
        record = try Record(decoding: value, for: key)
        object = try record.object()
        storedBytes = key.storageKey.readableBytes + value.readableBytes
    }

    package func state(at now: WallTime) -> State {
        if record.isGrave { return .grave }
        if object.isTombstone { return .tombstone }
        return object.siblings.contains { !$0.isTombstone && !$0.hasExpired(at: now) } ? .live : .expired
    }

    /// When the newest version was written; nil: none stands, and a tombstone of a `siblings` bucket names no time.
    package var newest: HybridTimestamp? { object.siblings.lazy.map(\.timestamp).max() }

    /// Bytes of the values, without metadata.
    package var valueBytes: Int { object.siblings.reduce(0) { $0 + $1.value.readableBytes } }
}

/// An entry of `hints`: a record, and for whom it is kept.
package struct HintView: Sendable {
    package let target: NodeID
    package let view: RecordView
    package var since: WallTime? { view.record.hint?.since }

    /// Throws, too, when key and record name different targets.
    package init(storageKey: ByteBuffer, value: ByteBuffer) throws(MalformedBytes) {
        var reader = storageKey
        target = NodeID(rawValue: try reader.readFixed(UInt64.self, "hint key"))
        view = try RecordView(storageKey: reader.slice(), value: value)
        guard view.record.hint?.target == target else { throw MalformedBytes(.notCanonical, "hint") }
    }
}

extension WallTime {
    /// This machine's clock.
    static var now: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(microseconds: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000)
    }
}
