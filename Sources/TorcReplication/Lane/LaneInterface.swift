// Between a lane and its shell. A lane is everything that one event loop of a node does for its partitions:
// the replicas (`Vnodes`) and the coordination of the requests whose keys fall into them (`Coordinator`).
// It takes events and a clock reading and returns effects as data; the server's shell and the simulator
// carry them out alike.
//
// A turn, as the shell runs it:
//
//   events in ─► handle ─► effects ─► reads from memory answered at once (more events) ─► … until none
//        ─► .turnEnded ─► .commit(batch): one unsynced write of everything since the last one
//        ─► .committed(batch)            stamped records may now go to the peers
//        ─► the sync thread …            ─► .synced(through: batch): acknowledgements may leave
//
// The lane holds back what rests on an unsynced record until the sync that covers it: that order is decided
// here, where the simulator can test it, and not by the shell.

package import NIOCore
package import TorcModel

/// A client's request at this node: drawn by the shell, unique in its lane and incarnation.
package struct RequestID: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The writes of one turn; numbered from 1 in each lane and incarnation.
package struct BatchNumber: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// A read or scan that the store was asked for.
package struct StoreToken: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// Where a record lies.
package struct RecordPlace: Hashable, Sendable {
    package var partition: PartitionID
    /// It is kept for this node, among the hints; nil: it is the partition's.
    package var hint: NodeID?

    package init(_ partition: PartitionID, hint: NodeID? = nil) {
        self.partition = partition
        self.hint = hint
    }
}

/// One record and what it changes in its leaf: one atomic batch, always.
package struct RecordWrite: Hashable, Sendable {
    package var partition: PartitionID
    /// The node that it is kept for; nil: it is the partition's.
    package var hint: NodeID?
    package var key: ObjectKey
    /// `Record.encoded`; nil: there shall be none.
    package var record: ByteBuffer?
    /// More than one when the record moved from one tree to another. A hint counts in none.
    package var leaves: [LeafChange]

    package init(
        partition: PartitionID, hint: NodeID? = nil, key: ObjectKey, record: ByteBuffer?, leaves: [LeafChange]
    ) {
        self.partition = partition
        self.hint = hint
        self.key = key
        self.record = record
        self.leaves = leaves
    }

    package var place: RecordPlace { RecordPlace(partition, hint: hint) }
}

/// Hints that are kept for one node.
package struct HintTotal: Hashable, Sendable {
    package var records = 0
    /// Of keys and records, as the store holds them: `HintTotal.bytes(of:record:)`.
    package var bytes = 0

    package init() {}

    /// What one hint counts: its record, its key, and the target in front of it.
    package static func bytes(of key: ObjectKey, record bytes: Int) -> Int {
        MemoryLayout<UInt64>.size + key.storageKey.readableBytes + bytes
    }
}

/// What the store found under a key.
package enum StoreRead: Hashable, Sendable {
    case absent
    /// Undecoded: the lane checks it.
    case found(ByteBuffer)
    /// The store could not say (an IO error, a damaged block).
    case failed
}

/// Raw records: from a partition's range, for listing, comparing and scrubbing, or of those kept for one node.
package struct ScanRequest: Hashable, Sendable {
    package var token: StoreToken
    /// Without meaning for hints, which lie side by side for all partitions.
    package var partition: PartitionID
    /// The node whose hints are scanned, those of other lanes among them; nil: the partition's records.
    package var hints: NodeID?
    /// Storage key to begin after; nil: the first.
    package var after: ByteBuffer?
    /// Storage key to end before; nil: the partition's end.
    package var before: ByteBuffer?
    /// The scan ends at whichever limit it meets first, and after one record at the least.
    package var entryLimit: Int
    package var byteLimit: Int
    /// Whether what is read stays in the store's memory: what is read once for all would drive out the rest.
    package var fillsCache: Bool

    package init(
        token: StoreToken, partition: PartitionID, hints: NodeID? = nil, after: ByteBuffer?,
        before: ByteBuffer? = nil, entryLimit: Int, byteLimit: Int, fillsCache: Bool = true
    ) {
        self.token = token
        self.partition = partition
        self.hints = hints
        self.after = after
        self.before = before
        self.entryLimit = entryLimit
        self.byteLimit = byteLimit
        self.fillsCache = fillsCache
    }
}

package struct ScannedEntry: Hashable, Sendable {
    package var storageKey: ByteBuffer
    package var record: ByteBuffer

    package init(storageKey: ByteBuffer, record: ByteBuffer) {
        self.storageKey = storageKey
        self.record = record
    }
}

/// Lists the keys of a bucket, or the buckets of a type, over all partitions, from one replica of each.
package struct ListRequest: Hashable, Sendable {
    package var subject: PageRequest.Subject

    /// Where on the ring it begins; it comes in the order of the ring then. nil: everything, in no order.
    package var start: RingPosition?

    package init(subject: PageRequest.Subject, from start: RingPosition? = nil) {
        self.subject = subject
        self.start = start
    }
}

/// A listing goes out in pieces; the shell asks for the next when the client has taken the last.
package enum ListPiece: Hashable, Sendable {
    case items([ByteBuffer])
    case done
    /// Of a listing in the order of the ring: that was all for this time, and another goes on there.
    case paused(at: RingPosition)
    /// No replica of a partition could be read, or the deadline passed.
    case failed(partition: PartitionID)
}

package enum LaneEvent: Hashable, Sendable {
    /// The deadline is absolute, by this node's monotonic clock.
    indirect case client(RequestID, ClientRequest, deadline: MonotonicTime)
    case list(RequestID, ListRequest, deadline: MonotonicTime)
    /// The client has taken the last piece of its listing.
    case listContinue(RequestID)
    /// The client went away: reads and listings end; a write goes on without an answer.
    case cancel(RequestID)
    case peer(from: NodeID, PeerMessage)
    /// A link to a peer stands, and both sides have these features. Nothing that was sent on an earlier one will be answered.
    case peerUp(NodeID, PeerFeatures = .supported)
    case peerDown(NodeID)
    /// The record is not in memory; `.recordRead` follows when a reader thread has it.
    case recordReadDeferred(StoreToken)
    case recordRead(StoreToken, StoreRead)
    /// Entries ascending by key; nil when the range could not be read. `finished`: the range holds no more.
    case scanned(StoreToken, entries: [ScannedEntry]?, finished: Bool)
    /// All events of the turn have been handled.
    case turnEnded
    /// The batch's unsynced write has gone through.
    case committed(BatchNumber)
    /// Every batch up to this one is on disk.
    case synced(through: BatchNumber)
    case ringChanged(Placement)
    case propertiesChanged([PropertiesEntry])
    /// All members that are suspect or dead now, ascending.
    case suspected([NodeID])
    /// The disk was looked at. Ample until then.
    case diskSpace(DiskSpace)
    /// Until then no tombstone, no hint, nothing that has expired goes: a backup is made. A time that has passed ends it.
    case holdRemovals(until: MonotonicTime)
    /// Time has passed `Lane.nextDeadline`.
    case tick
    /// Take no new requests; finish what is open.
    case drain
    /// Compares this node's replicas, of one partition or of all of this lane, with every co-owner's, now.
    case repair(RequestID, PartitionID?)
    /// Something of a partition cannot be read. Noted durably before it is told.
    case damaged(PartitionID)
    /// The answer to `.salvage`, durable: reads and writes go to what was made anew.
    case salvaged(SalvagedPartition)
    /// It could not be: nothing is changed.
    case salvageFailed(PartitionID)
}

package enum LaneEffect: Hashable, Sendable {
    case read(StoreToken, RecordPlace, ObjectKey)
    case scan(ScanRequest)
    /// Joins this turn's batch.
    case write(RecordWrite)
    /// A leaf is set right, and no record changes. Joins this turn's batch.
    case correct(LeafChange)
    /// Write the batch, unsynced, and ask the sync thread for it.
    case commit(BatchNumber)
    case send(PeerMessage, to: NodeID)
    case answer(RequestID, ClientAnswer)
    case listed(RequestID, ListPiece)
    case observed(LaneObservation)
    /// What `.repair` asked for is done, or as far as it can be.
    case repaired(RequestID, RepairReport)
    /// How far the lane is with what moves to its node. To the control loop.
    case progress(LaneProgress)
    /// Make a damaged partition anew from what can be read of it: nothing writes to it until it is answered.
    case salvage(PartitionID)
    /// Nothing of it is lost any more: forget what was noted of its damage.
    case restored(PartitionID)
}

/// What the shell turns into logs and metrics.
package enum LaneObservation: Hashable, Sendable {
    case readRepaired(ObjectKey, replicas: Int)
    /// So many clients share one read.
    case readShared(ObjectKey, readers: Int)
    /// So many clients are answered with what was read a moment ago. Their answers follow.
    case readCached(ObjectKey, readers: Int)
    /// A replica asked beyond R because another was slow.
    case speculativeRead
    case actorRetired(ObjectKey, Actor)
    /// A record on disk that cannot be decoded.
    case unreadableRecord(ObjectKey)
    case lwwRestamped(ObjectKey)
    case overloaded
    case duplicateForwardIgnored(NodeID)
    /// An exchange of anti-entropy ended. `differing`: keys that differed.
    case exchanged(RepairPair, failed: Bool, differing: Int)
    /// A write was kept for a node that could not take it.
    case hintKept(NodeID)
    /// A write was not kept, because as much is kept for that node already as may be.
    case hintsFull(NodeID)
    /// Hints are on their way to the node for which they were kept.
    case hintDeliveryBegan(NodeID, HintTotal)
    case hintDelivered(NodeID)
    /// Nothing is kept for that node any more.
    case hintDeliveryEnded(NodeID, delivered: Int)
    /// A round of reaping ended: so many tombstones were reaped, or so many graves closed.
    case reapRoundEnded(TreeID, ReapRoundKind, keys: Int, ReapObstacle?)
    /// A write was refused because its sender read it too long ago.
    case staleWrite(ObjectKey)
    case scrubbed(ScrubFinding)
    /// A record that could not be read is written anew with what so many other replicas hold, and synced.
    case mended(ObjectKey, replicas: Int)
    /// The first attempt to mend a record failed. Others follow, where waiting can help.
    case notMended(ObjectKey, MendObstacle)
    /// A damaged partition was made anew from what could be read of it; of so many leaves something could not.
    case salvaged(PartitionID, lostLeaves: Int)
    /// It has been compared with every co-owner in full; so many keys differed.
    case restored(PartitionID, differing: Int)
}

/// What a lane must know of its node.
package struct LaneConfiguration: Hashable, Sendable {
    package var node: NodeID
    /// This lane's place among the node's lanes.
    package var lane: Int
    package var laneCount: Int
    package var incarnation: Incarnation
    package var hashSeed: HashSeed
    package var limits: LaneLimits
    /// What this build has.
    package var features: PeerFeatures

    package init(
        node: NodeID, lane: Int, laneCount: Int, incarnation: Incarnation, hashSeed: HashSeed,
        limits: LaneLimits = LaneLimits(), features: PeerFeatures = .supported
    ) {
        self.features = features
        self.node = node
        self.lane = lane
        self.laneCount = laneCount
        self.incarnation = incarnation
        self.hashSeed = hashSeed
        self.limits = limits
    }

    /// The lane that owns a partition at a node of so many lanes.
    package static func lane(of partition: PartitionID, laneCount: Int) -> Int { partition.index % laneCount }
}

/// The bounds of one lane.
package struct LaneLimits: Hashable, Sendable {
    /// Requests and forwarded writes under way; one more is answered `overloaded`, at once.
    package var operations = 8_192
    /// Replica operations that wait for a disk read or behind one; one more fails `overloaded`.
    package var parkedOperations = 8_192
    /// Replica operations whose answer waits for a sync; one more fails `overloaded`.
    package var unsyncedOperations = 65_536
    /// Bytes of records whose sync is under way and of writes that are parked; at this, another write fails
    /// `overloaded`.
    package var unsyncedBytes = 256 << 20
    /// Versions that may stand after a coordinated write; one more is refused `tooManySiblings`. Merges are never refused.
    package var siblings = 100
    /// Bytes of metadata and values that may stand together after a coordinated write.
    package var siblingBytes = 8 << 20
    /// Bytes of one version's metadata and value.
    package var objectBytes = 1 << 20
    /// Listings under way; one more is answered `overloaded`.
    package var listings = 16
    /// How often an `lww` write that lost is stamped anew before the client is answered `indeterminate`.
    package var lwwRestamps = 4
    package var repair = RepairLimits()
    package var reaping = ReapingLimits()
    package var scrub = ScrubLimits()
    package var mending = MendingLimits()
    /// How long a write waits for a replica, or a stand-in, before a hint of it is kept by the next stand-in.
    package var writePatience = Duration.milliseconds(500)
    /// Bytes of hints that a lane keeps for one node; one more is refused `hintsFull`.
    package var hintBytes = 256 << 20
    /// Hints on their way to one node from one lane: the next wait for answers.
    package var hintsInFlight = 64
    /// Bytes of hints on their way to one node from one lane, and one hint more.
    package var hintBytesInFlight = 1 << 20

    package init() {}
}
