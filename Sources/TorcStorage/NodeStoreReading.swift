// Reads that may wait for the disk: on reader threads, never on an event loop. And the leaves, computed from
// the records themselves.

import CRocksDB
import Logging
import NIOCore
package import TorcModel
package import TorcReplication

extension NodeStore {
    /// One record. `.failed` was logged.
    package func readBlocking(_ place: RecordPlace, _ key: ObjectKey) -> StoreRead {
        let value = torc_value_create()!
        defer { torc_value_destroy(value) }
        let family = place.hint == nil ? family(place.partition) : hints
        let error = HintKey.storageKey(of: key, in: place).withUnsafeReadableBytes {
            torc_get(database.handle, family.handle, $0.baseAddress, $0.count, false, value)
        }
        return outcome(error, value, of: place, in: family)
    }

    /// Many records of one partition, which share the work on its tables; answers in the order of the keys.
    package func multiRead(_ partition: PartitionID, _ keys: [ObjectKey]) -> [StoreRead] {
        if keys.count == 1 { return [readBlocking(RecordPlace(partition), keys[0])] }
        let family = family(partition)
        let values = keys.map { _ in torc_value_create()! }
        defer { for value in values { torc_value_destroy(value) } }
        var codes = [torc_code](repeating: TORC_OK, count: keys.count)
        // The keys side by side in one buffer, so that all of them stand still during the call.
        var joined = ByteBuffer()
        for key in keys { joined.writeImmutableBuffer(key.storageKey) }
        let lengths = keys.map { $0.storageKey.readableBytes }
        let error = joined.withUnsafeReadableBytes { bytes in
            var at = 0
            let starts = lengths.map { length in
                defer { at += length }
                return UnsafeRawPointer?(bytes.baseAddress! + at)
            }
            let handles = values.map { Optional($0) }
            return torc_multi_get(
                database.handle, family.handle, keys.count, starts, lengths, handles, &codes)
        }
        let place = RecordPlace(partition)
        if error.code != TORC_OK {
            _ = outcome(error, values[0], of: place, in: family)
            return keys.map { _ in .failed }
        }
        return zip(codes, values).map { outcome(torc_error(code: $0, message: nil), $1, of: place, in: family) }
    }

    func outcome(
        _ error: torc_error, _ value: OpaquePointer, of place: RecordPlace, in family: Family
    ) -> StoreRead {
        switch error.code {
        case TORC_OK:
            return .found(ByteBuffer(value: value))
        case TORC_NOT_FOUND:
            return .absent
        case TORC_CORRUPTION:
            noticeDamage(in: family, of: place, "\(StoreError(error, "read"))")
            return .failed
        default:
            logger.error("cannot read a record: \(StoreError(error, "read"))")
            return .failed
        }
    }

    func family(_ partition: PartitionID) -> Family {
        guard let family = familyIfPresent(partition) else {
            preconditionFailure("this node's store has no family for \(partition)")
        }
        return family
    }

    /// A piece of a partition's range, ascending by storage key; what `LaneEvent.scanned` needs.
    package func scan(_ request: ScanRequest) throws(StoreError) -> (entries: [ScannedEntry], finished: Bool) {
        precondition(request.entryLimit > 0, "a scan of \(request.entryLimit) entries")
        let place = RecordPlace(request.partition, hint: request.hints)
        let family = request.hints == nil ? family(request.partition) : hints
        do throws(StoreError) {
            if let target = request.hints { return try scanHints(of: target, request) }
            return try scanRecords(request, of: family)
        } catch {
            if case .corruption = error { noticeDamage(in: family, of: place, "\(error)") }
            throw error
        }
    }

    private func scanRecords(
        _ request: ScanRequest, of family: Family
    ) throws(StoreError) -> (entries: [ScannedEntry], finished: Bool) {
        let iterator = try RangeIterator(
            database, family, from: request.after, before: request.before,
            fillCache: request.fillsCache)
        if let after = request.after, iterator.isValid, iterator.withKey({ after.readableBytesView.elementsEqual($0) })
        {
            iterator.next()
        }
        var entries: [ScannedEntry] = []
        var bytes = 0
        while iterator.isValid, entries.count < request.entryLimit, bytes < request.byteLimit || entries.isEmpty {
            let entry = ScannedEntry(storageKey: iterator.key, record: iterator.value)
            bytes += entry.storageKey.readableBytes + entry.record.readableBytes
            entries.append(entry)
            iterator.next()
        }
        let finished = !iterator.isValid
        if finished { try iterator.check() }
        return (entries, finished)
    }

    func isEmpty(_ partition: PartitionID) throws(StoreError) -> Bool {
        let iterator = try RangeIterator(database, family(partition), from: nil, fillCache: false)
        if iterator.isValid { return false }
        try iterator.check()
        return true
    }

    /// The leaves that a partition's records give, from a scan of all of them: for a log that does not reach
    /// back far enough, for scrubbing, and for tests to compare with.
    package func leaves(of partition: PartitionID, hashSeed: HashSeed) throws(StoreError) -> LeafTable {
        var table = LeafTable(layout: layout)
        for (copies, leaves) in try computeLeaves(of: partition, hashSeed: hashSeed).trees {
            table[TreeID(partition: partition, copies: copies)] = leaves
        }
        return table
    }

    func computeLeaves(
        of partition: PartitionID, hashSeed: HashSeed
    ) throws(StoreError) -> (trees: [(copies: UInt8, leaves: [UInt64])], unreadable: Int) {
        var leaves = StoredLeaves(number: 0, through: 0, trees: [])
        var unreadable = 0
        let iterator = try RangeIterator(database, family(partition), from: nil, fillCache: false)
        while iterator.isValid {
            do {
                let key = try ObjectKey(storageKey: iterator.key)
                let record = try Record(decoding: iterator.value, for: key)
                guard !record.isGrave else {
                    iterator.next()
                    continue
                }
                leaves.apply(
                    LeafDelta(
                        number: 0, copies: record.header.copies, leaf: layout.leaf(of: key.position),
                        delta: hashSeed.contentHash(key: key, body: record.body).rawValue), layout: layout)
            } catch {
                unreadable += 1
                logger.error("a record of \(partition) cannot be read and counts in no leaf: \(error)")
            }
            iterator.next()
        }
        try iterator.check()
        leaves.trees.sort { $0.copies < $1.copies }
        return (leaves.trees, unreadable)
    }
}

/// Walks a family in total order, from a key to the end.
struct RangeIterator: ~Copyable {
    private let handle: OpaquePointer

    /// `before`: where it ends; nil: the family's end.
    init(
        _ database: Database, _ family: Family, from start: ByteBuffer?, before end: ByteBuffer? = nil, fillCache: Bool
    ) throws(StoreError) {
        var iterator: OpaquePointer?
        // Without bytes there is no bound.
        let error = (start ?? ByteBuffer()).withUnsafeReadableBytes { lower in
            (end ?? ByteBuffer()).withUnsafeReadableBytes { upper in
                torc_iterator_create(
                    database.handle, family.handle, start == nil ? nil : lower.baseAddress, lower.count,
                    end == nil ? nil : upper.baseAddress, upper.count, nil, fillCache, &iterator)
            }
        }
        try Database.check(error, "scan")
        handle = iterator!
        torc_iterator_seek_to_first(handle)
    }

    /// Over a whole family, once.
    init(walking database: Database, _ family: Family, checksums: Bool) throws(StoreError) {
        var iterator: OpaquePointer?
        try Database.check(torc_walk_create(database.handle, family.handle, checksums, &iterator), "scan")
        handle = iterator!
        torc_iterator_seek_to_first(handle)
    }

    deinit { torc_iterator_destroy(handle) }

    var isValid: Bool { torc_iterator_valid(handle) }

    /// Throws when the iterator ended because of a failure.
    func check() throws(StoreError) { try Database.check(torc_iterator_error(handle), "scan") }

    func next() { torc_iterator_next(handle) }
    func previous() { torc_iterator_previous(handle) }

    /// Also after a failure.
    func seek(_ key: ByteBuffer) {
        key.withUnsafeReadableBytes { torc_iterator_seek(handle, $0.baseAddress, $0.count) }
    }

    func seekToLast() { torc_iterator_seek_to_last(handle) }

    func withKey<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        var length = 0
        let bytes = torc_iterator_key(handle, &length)
        return body(UnsafeRawBufferPointer(start: bytes, count: length))
    }

    var key: ByteBuffer { withKey { ByteBuffer(bytes: $0) } }

    var valueBytes: Int {
        var length = 0
        _ = torc_iterator_value(handle, &length)
        return length
    }

    /// Copies both into buffers whose storage is used again.
    func read(_ key: inout ByteBuffer, _ value: inout ByteBuffer) {
        var length = 0
        let keyBytes = torc_iterator_key(handle, &length)
        key.clear()
        key.writeBytes(UnsafeRawBufferPointer(start: keyBytes, count: length))
        let valueBytes = torc_iterator_value(handle, &length)
        value.clear()
        value.writeBytes(UnsafeRawBufferPointer(start: valueBytes, count: length))
    }

    var value: ByteBuffer {
        var length = 0
        let bytes = torc_iterator_value(handle, &length)
        return ByteBuffer(bytes: UnsafeRawBufferPointer(start: bytes, count: length))
    }
}
