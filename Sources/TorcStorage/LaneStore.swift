// What one lane reads from and writes to, without ever waiting for the disk. Used by the thread of the
// lane's event loop alone.
//
// The shell carries a lane's effects out like this:
//
//   .read(token, partition, key)   readInMemory: an answer goes back at once as .recordRead; `.notInMemory`
//                                  becomes .recordReadDeferred and a job for a reader thread (`readBlocking`)
//   .write(write)                  append
//   .correct(change)               correct
//   .commit(batch)                 commit(leaves: the lane's table, after the batch's writes)
//                                  .committed: tell the lane, announce the batch to `GroupCommit`
//                                  .stalled: nothing happened; hold back, commit again in a few milliseconds;
//                                            writes that are appended meanwhile join
//   a timer, about once a second   commitIfDue(leaves:), so that an idle lane's leaves get stored too
//
// What was appended is not seen by reads before it is committed: the lane answers for that itself.
//
// Leaves: each append gives its changes the next numbers of its partition and notes them in the log data;
// every so many bytes of log the next partition's leaves are stored whole, in the same batch, so that a
// replay never has to reach back far.

import CRocksDB
import NIOCore
import Synchronization
package import TorcModel
package import TorcReplication

/// An answer from memtables and block cache alone.
package enum MemoryRead: Hashable, Sendable {
    case known(StoreRead)
    case notInMemory
}

package enum CommitOutcome: Hashable, Sendable {
    /// In the log and readable; not synced.
    case committed
    /// RocksDB is behind with its writing and would have made the caller wait. Nothing was written, nothing lost.
    case stalled
}

/// Confined to one thread at a time: it is handed to its event loop once, at the start.
package final class LaneStore: @unchecked Sendable {
    private let store: NodeStore
    private let lane: Int
    private var partitions: [PartitionID]
    private var families: [Family?]
    /// The number of the last leaf change, and whether there was one since the leaves were stored; by partition.
    private var numbers: [UInt64]
    private var isDirty: [Bool]
    /// Their leaves are stored in the batch: they were set right.
    private var corrected: [PartitionID] = []
    private let batch = Batch()
    private var logData: LogDataWriter
    private let value = torc_value_create()!
    private var encodedLeaves = ByteBuffer()

    /// Which of `partitions` comes next in the round, and the log file in which the round began.
    private var roundPosition = 0
    private var roundLog: UInt64 = 0
    /// A round whose last leaves are in the batch: the file in which it began.
    private var finishedRoundLog: UInt64?
    /// `NodeStore.loggedBytes` at which the next partition's leaves are stored.
    private var nextStoreAt: UInt64
    private var bytesBetweenStores: UInt64

    /// `partitions`: those whose leaves it stores.
    init(store: NodeStore, lane: Int, partitions: [PartitionID], numbers: [PartitionID: UInt64]) {
        self.store = store
        self.lane = lane
        self.partitions = partitions
        logData = LogDataWriter(store: store.identity.store)
        families = store.partitions
        self.numbers = .init(repeating: 0, count: families.count)
        isDirty = .init(repeating: false, count: families.count)
        for (partition, number) in numbers { self.numbers[partition.index] = number }
        bytesBetweenStores = UInt64(store.options.leafStoreBytes / max(partitions.count, 1))
        nextStoreAt = store.loggedBytes.load(ordering: .relaxed) + bytesBetweenStores
        // A lane without partitions holds no log file back.
        if partitions.isEmpty { store.retention.withLock { $0.roundFinished(lane: lane, begunIn: .max, through: 0) } }
    }

    deinit { torc_value_destroy(value) }

    /// Partitions that the lane writes to from now on; the store has families for them. Known ones change nothing.
    package func add(_ more: [PartitionID]) {
        families = store.partitions
        let known = Set(partitions)
        let new = more.filter { !known.contains($0) }
        if new.isEmpty { return }
        partitions += new
        bytesBetweenStores = UInt64(store.options.leafStoreBytes / partitions.count)
        nextStoreAt = min(nextStoreAt, store.loggedBytes.load(ordering: .relaxed) + bytesBetweenStores)
    }

    /// A record, if memory can tell. Never waits for the disk.
    package func readInMemory(_ place: RecordPlace, _ key: ObjectKey) -> MemoryRead {
        let family = place.hint == nil ? family(place.partition) : store.hints
        let error = HintKey.storageKey(of: key, in: place).withUnsafeReadableBytes {
            torc_get(store.database.handle, family.handle, $0.baseAddress, $0.count, true, value)
        }
        if error.code == TORC_INCOMPLETE { return .notInMemory }
        let outcome = store.outcome(error, value, of: place, in: family)
        torc_value_reset(value)
        return .known(outcome)
    }

    /// Adds a record, or its removal, and its leaf changes to the batch. RocksDB copies the bytes from where they lie.
    package func append(_ write: RecordWrite) throws(StoreError) {
        let family = write.hint == nil ? family(write.partition) : store.hints
        let error = HintKey.storageKey(of: write.key, in: write.place).withUnsafeReadableBytes { key in
            guard let record = write.record else {
                return torc_batch_delete(batch.handle, family.handle, key.baseAddress, key.count)
            }
            return record.withUnsafeReadableBytes { record in
                torc_batch_put(
                    batch.handle, family.handle, key.baseAddress, key.count, record.baseAddress, record.count)
            }
        }
        try Database.check(error, "add to a batch")
        for change in write.leaves { log(change) }
    }

    private func log(_ change: LeafChange) {
        guard store.options.logsLeaves else { return }
        let index = change.tree.partition.index
        numbers[index] += 1
        isDirty[index] = true
        logData.append(change, number: numbers[index])
    }

    /// Adds a change of a leaf that comes with no record. The partition's leaves are stored whole with it: a batch of
    /// log data alone would be none.
    package func correct(_ change: LeafChange) {
        log(change)
        if !corrected.contains(change.tree.partition) { corrected.append(change.tree.partition) }
    }

    /// Writes the batch, unsynced. `leaves`: the lane's table with every appended change in it.
    package func commit(leaves: LeafTable) throws(StoreError) -> CommitOutcome {
        for partition in corrected { try putLeaves(of: partition, leaves) }
        corrected.removeAll()
        try storeLeavesIfDue(leaves)
        if batch.isEmpty {
            roundWritten()
            return .committed
        }
        // After a stall the batch has the log data of what it held then; a second one holds what came since.
        try logData.finish(syncedThrough: store.syncedThrough.load(ordering: .acquiring), into: batch)
        logData.clear()
        let bytes = batch.byteCount
        let error = torc_write(store.database.handle, batch.handle, true)
        if error.code == TORC_INCOMPLETE { return .stalled }
        try Database.check(error, "write a batch")
        batch.clear()
        store.loggedBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        roundWritten()
        return .committed
    }

    /// Stores leaves that have waited long enough, also when the lane itself writes nothing.
    package func commitIfDue(leaves: LeafTable) throws(StoreError) -> CommitOutcome {
        isStoreDue ? try commit(leaves: leaves) : .committed
    }

    private var isStoreDue: Bool { store.loggedBytes.load(ordering: .relaxed) >= nextStoreAt }

    /// One partition a call at most, so that no turn gets long.
    private func storeLeavesIfDue(_ leaves: LeafTable) throws(StoreError) {
        guard isStoreDue, !partitions.isEmpty else { return }
        nextStoreAt += bytesBetweenStores
        if roundPosition == 0 { roundLog = try store.database.currentLogNumber() }
        try putLeaves(of: partitions[roundPosition], leaves)
        roundPosition += 1
        guard roundPosition == partitions.count else { return }
        roundPosition = 0
        finishedRoundLog = roundLog
    }

    /// The end of a round is written: once that is synced, older log files can go.
    private func roundWritten() {
        guard let log = finishedRoundLog else { return }
        finishedRoundLog = nil
        let through = store.database.latestSequence
        store.retention.withLock { $0.roundFinished(lane: lane, begunIn: log, through: through) }
    }

    /// Stores a partition's leaves, or notes that the stored ones still hold.
    private func putLeaves(of partition: PartitionID, _ leaves: LeafTable) throws(StoreError) {
        let through = store.database.latestSequence
        let key: ByteBuffer
        if isDirty[partition.index] {
            key = StoredLeaves.key(partition)
            StoredLeaves(of: partition, in: leaves, number: numbers[partition.index], through: through)
                .encode(into: &encodedLeaves, partition: partition)
        } else {
            key = StoredLeaves.noteKey(partition)
            encodedLeaves.clear()
            encodedLeaves.writeInteger(through)
        }
        let error = key.withUnsafeReadableBytes { key in
            encodedLeaves.withUnsafeReadableBytes { value in
                torc_batch_put(
                    batch.handle, store.merkle.handle, key.baseAddress, key.count, value.baseAddress, value.count)
            }
        }
        try Database.check(error, "add to a batch")
        isDirty[partition.index] = false
    }

    /// At a clean stop: the leaves of every partition, and whatever was appended.
    func storeAllLeaves(of leaves: LeafTable) throws(StoreError) {
        for partition in partitions { try putLeaves(of: partition, leaves) }
        if batch.isEmpty { return }
        try logData.finish(syncedThrough: store.syncedThrough.load(ordering: .acquiring), into: batch)
        logData.clear()
        try Database.check(torc_write(store.database.handle, batch.handle, false), "write a batch")
        batch.clear()
    }

    private func family(_ partition: PartitionID) -> Family {
        guard let family = families[partition.index] else {
            preconditionFailure("this node's store has no family for \(partition)")
        }
        return family
    }
}
