// Reads the changes of some families out of log files that no database has open.

import CRocksDB
import NIOCore
import TorcModel

final class LogReplay {
    struct Change {
        var family: String
        var key: ByteBuffer
        /// nil: it was removed.
        var value: ByteBuffer?
    }

    /// By id.
    private let wanted: [UInt32: String]
    /// Families that are not wanted are told by their keys.
    private let guesses: RingSize?
    private let store: StoreID
    private var origin = LogOrigin()
    private var batch: [Change] = []
    /// Changes of the batch that are of families that are not wanted, or not known.
    private var notWanted = 0
    /// The same of all batches that were handed on.
    private(set) var passedOver = 0
    /// Batches behind damage that may be a client's bytes, and were not handed on.
    private(set) var doubtful = 0
    /// Something that the store has written could be read behind damage: that is no torn end.
    private(set) var readsBehindDamage = false

    /// `guesses`: the manifest that said which id is which family is damaged. A key says by itself where it belongs. `store`:
    /// the one that wrote the log.
    init(wanting families: [UInt32: String], guesses: RingSize? = nil, store: StoreID) {
        wanted = families
        self.guesses = guesses
        self.store = store
    }

    /// Hands the changes of each batch of the store's from `offset` on to `body`, and says whether they stand behind damage.
    /// Answers whether there was any damage. Files are read in order.
    func read(
        _ path: String, from offset: UInt64 = 0,
        _ body: (_ changes: [Change], _ isBehindDamage: Bool) throws(StoreError) -> Void
    ) throws(StoreError) -> Bool {
        var reader: OpaquePointer?
        try Database.check(torc_log_reader_open(path, &reader), "read the log")
        defer { torc_log_reader_destroy(reader) }
        var visitor = torc_batch_visitor()
        visitor.context = Unmanaged.passUnretained(self).toOpaque()
        visitor.put = { context, family, key, keyLength, value, valueLength in
            Unmanaged<LogReplay>.fromOpaque(context!).takeUnretainedValue().add(
                family, UnsafeRawBufferPointer(start: key, count: keyLength),
                UnsafeRawBufferPointer(start: value, count: valueLength))
        }
        visitor.remove = { context, family, key, keyLength in
            Unmanaged<LogReplay>.fromOpaque(context!).takeUnretainedValue().add(
                family, UnsafeRawBufferPointer(start: key, count: keyLength), nil)
        }
        visitor.log_data = { context, bytes, length in
            Unmanaged<LogReplay>.fromOpaque(context!).takeUnretainedValue()
                .addLogData(UnsafeRawBufferPointer(start: bytes, count: length))
        }
        origin.beginFile(path)
        var isDamaged = false
        while true {
            var item = TORC_LOG_END
            var position = torc_log_position()
            try Database.check(torc_log_reader_next(reader, &item, &position), "read the log \(path)")
            switch item {
            case TORC_LOG_RECORD:
                batch.removeAll(keepingCapacity: true)
                notWanted = 0
                origin.beginBatch()
                var sequence: UInt64 = 0
                var count: UInt32 = 0
                let error = torc_batch_visit(position.bytes, position.length, &visitor, &sequence, &count)
                torc_error_free(error)
                guard error.code == TORC_OK else {
                    isDamaged = true
                    continue
                }
                try origin.endBatch(at: position.start)
                // All that a store writes has a mark.
                if isDamaged, origin.mark != nil { readsBehindDamage = true }
                guard position.start >= offset else { continue }
                guard origin.isInPlace else {
                    doubtful += 1
                    continue
                }
                passedOver += notWanted
                try body(batch, isDamaged)
            case TORC_LOG_DAMAGE:
                isDamaged = true
                origin.passDamage()
            default: return isDamaged
            }
        }
    }

    private func addLogData(_ bytes: UnsafeRawBufferPointer) {
        if let data = try? LogData(decoding: bytes, store: store) { origin.add(data) }
    }

    private func add(_ family: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) {
        let key = ByteBuffer(bytes: key)
        guard let name = wanted[family] ?? guesses.flatMap({ Self.family(of: key, ringSize: $0) }) else {
            notWanted += 1
            return
        }
        batch.append(Change(family: name, key: key, value: value.map { ByteBuffer(bytes: $0) }))
    }

    /// A storage key holds a hash of itself.
    private static func family(of key: ByteBuffer, ringSize: RingSize) -> String? {
        if let name = try? ObjectKey(storageKey: key) {
            return FamilyName.name(of: ringSize.partition(of: name.position))
        }
        if let rest = key.getSlice(
            at: key.readerIndex + HintKey.targetBytes, length: key.readableBytes - HintKey.targetBytes),
            (try? ObjectKey(storageKey: rest)) != nil
        {
            return FamilyName.hints
        }
        let text = String(buffer: key)
        if text.hasPrefix(NodeStore.MetaKey.callers) || text.hasPrefix(NodeStore.MetaKey.own) { return FamilyName.meta }
        return key.readableBytes == 2 || key.readableBytes == 3 ? FamilyName.merkle : nil
    }
}
