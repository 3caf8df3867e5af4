// The batches that are not synced yet, and the replies that rest on them:
//
//   open ── turn ends ──► sealed ── committed ──► may go to peers ── synced ──► may be acknowledged
//
// A reply is kept with the last batch that wrote the record that it speaks of. Batches are committed and
// synced in the order of their numbers.

import DequeModule
import TorcModel

/// A reply and who hears it.
struct AddressedReply {
    let reply: VnodeReply
    let address: ReplyAddress
}

struct UnsyncedBatches {
    struct Batch {
        let number: BatchNumber
        /// The slots of the records that it wrote.
        var slots: [Int] = []
        var recordBytes = 0
        /// It sets leaves right.
        var corrects = false
        /// Stamped writes, which may go to the peers once this batch's unsynced write has gone through.
        var whenCommitted: [AddressedReply] = []
        var whenSynced: [AddressedReply] = []
    }

    /// This turn's batch. It takes replies before it takes records: what changed is written when the turn ends.
    private(set) var open = Batch(number: BatchNumber(rawValue: 1))
    /// Ascending, without gaps up to `open`.
    private var sealed: Deque<Batch> = []
    private var committedThrough = BatchNumber(rawValue: 0)
    private var syncedThrough = BatchNumber(rawValue: 0)

    /// Replies that wait for a sync.
    private(set) var waitingCount = 0
    /// Bytes of records whose sync is under way.
    private(set) var recordBytes = 0

    func isSynced(_ batch: BatchNumber) -> Bool { batch <= syncedThrough }
    func isCommitted(_ batch: BatchNumber) -> Bool { batch <= committedThrough }

    /// Nothing was written that is not committed, this turn's included.
    var areCommitted: Bool {
        open.slots.isEmpty && !open.corrects && committedThrough.rawValue + 1 == open.number.rawValue
    }

    mutating func add(record slot: Int, bytes: Int) {
        open.slots.append(slot)
        open.recordBytes += bytes
        recordBytes += bytes
    }

    mutating func addCorrection() { open.corrects = true }

    mutating func keep(_ reply: AddressedReply, untilSyncOf batch: BatchNumber) {
        waitingCount += 1
        withBatch(batch) { $0.whenSynced.append(reply) }
    }

    mutating func keep(_ reply: AddressedReply, untilCommitOf batch: BatchNumber) {
        withBatch(batch) { $0.whenCommitted.append(reply) }
    }

    /// Ends the open batch; nil when it wrote nothing.
    mutating func seal() -> BatchNumber? {
        guard !open.slots.isEmpty || open.corrects else {
            precondition(
                open.whenCommitted.isEmpty && open.whenSynced.isEmpty,
                "replies rest on batch \(open.number.rawValue), which wrote nothing")
            return nil
        }
        let number = open.number
        sealed.append(open)
        open = Batch(number: BatchNumber(rawValue: number.rawValue + 1))
        return number
    }

    /// The replies that the commit releases.
    mutating func commit(_ batch: BatchNumber) -> [AddressedReply] {
        precondition(
            batch.rawValue == committedThrough.rawValue + 1 && batch < open.number,
            "batch \(batch.rawValue) committed after \(committedThrough.rawValue), \(open.number.rawValue) is open")
        committedThrough = batch
        // A batch is never synced before it is committed, so it is still here.
        let index = position(of: batch)
        let replies = sealed[index].whenCommitted
        sealed[index].whenCommitted = []
        return replies
    }

    /// The next batch that a sync covers, its replies to be released; nil when there is no more.
    mutating func popSynced(through batch: BatchNumber) -> Batch? {
        precondition(
            batch <= committedThrough,
            "synced through batch \(batch.rawValue), committed through \(committedThrough.rawValue)")
        syncedThrough = max(syncedThrough, batch)
        guard let first = sealed.first, first.number <= batch else { return nil }
        sealed.removeFirst()
        waitingCount -= first.whenSynced.count
        recordBytes -= first.recordBytes
        return first
    }

    func slots(of batch: BatchNumber) -> [Int] { sealed[position(of: batch)].slots }

    private func position(of batch: BatchNumber) -> Int {
        precondition(
            !sealed.isEmpty && batch >= sealed[0].number && batch < open.number,
            "batch \(batch.rawValue) is not sealed, \(open.number.rawValue) is open")
        return Int(batch.rawValue - sealed[0].number.rawValue)
    }

    private mutating func withBatch(_ batch: BatchNumber, _ body: (inout Batch) -> Void) {
        if batch == open.number { body(&open) } else { body(&sealed[position(of: batch)]) }
    }
}
