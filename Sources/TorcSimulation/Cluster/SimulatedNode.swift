// One node: its process, when one runs, and its disk. The process runs the production machines as the
// server's shell does, but against the grain: turns of any size, reads that are answered at once or much
// later, commits that stall, syncs that take their time.

import DequeModule
import NIOCore
import TorcModel
import TorcReplication

/// One event loop's lane and what waits for it.
///
/// This, a process and a node are classes: they hold all that a node knows, and reading one field must not copy it.
final class SimulatedLane {
    var machine: Lane
    var inbox: Deque<LaneEvent> = []
    var isTurnScheduled = false
    /// The earliest tick that is on its way.
    var scheduledTick: VirtualTime?
    /// Turns on end after which it asked for a time that had passed.
    var vainTurns = 0
    /// Writes of the turn, until `.commit` names their batch.
    var turnBatch = SimulatedBatch()
    /// What RocksDB would have stalled on; no turn runs before it is written.
    var stalledCommit: (number: BatchNumber, batch: SimulatedBatch)?
    /// The end of the last such stall.
    var stalledUntil = VirtualTime.zero

    init(machine: consuming Lane) { self.machine = machine }

    var nextDeadline: MonotonicTime? { machine.inPlace { $0.nextDeadline } }
    var isIdle: Bool { machine.inPlace { $0.isIdle } }
    var removalsHeldUntil: MonotonicTime { machine.inPlace { $0.removalsHeldUntil } }
}

struct SimulatedControl {
    var machine: Control
    var inbox: Deque<ControlEvent> = []
    var isTurnScheduled = false
    var scheduledTick: VirtualTime?
    /// The last record of rings that is on disk: a later one is never followed by an earlier one.
    var ringStoredThrough: UInt64 = 0
}

/// A running process.
final class SimulatedProcess {
    var id: ProcessID
    var incarnation: Incarnation
    /// What its version has.
    let features: PeerFeatures
    var lanes: [SimulatedLane]
    var control: SimulatedControl
    var isSyncing = false
    var isDraining = false
    var isCommitFailing = false
    var pausedUntil = VirtualTime.zero
    var nextRequest: UInt64 = 0
    /// The last backup that it was held for.
    var hold: BackupHold?
    /// Partitions of which reads have met a block that cannot be read, and that are not noted yet.
    var damageFound: Set<PartitionID> = []
    /// The clients that wait for an answer of this process, by lane and request; lane −1 is the control loop.
    var requests: [RequestKey: ClientRequestID] = [:]

    init(
        id: ProcessID, incarnation: Incarnation, features: PeerFeatures, lanes: [SimulatedLane],
        control: SimulatedControl
    ) {
        self.features = features
        self.id = id
        self.incarnation = incarnation
        self.lanes = lanes
        self.control = control
    }

    struct RequestKey: Hashable {
        var lane: Int
        var request: RequestID
    }
}

final class SimulatedNode {
    let index: Int
    let id: NodeID
    let name: String
    let laneCount: Int
    var clock: SimulatedClock
    var store = SimulatedStore()
    var process: SimulatedProcess?
    var random: SeededGenerator
    /// Syncs and reads take this many times as long.
    var diskSlowness: UInt64 = 1
    var diskSpace = DiskSpace.ample
    /// Copies of the folder, oldest first; only kept when the plan rolls back.
    var images: [SimulatedStore.Image] = []
    /// The next start comes back with this one.
    var rollback: SimulatedStore.Image?
    var isStartScheduled = false
    /// It is not started again until somebody says so.
    var staysDown = false
    /// Leaves of which its disk lost a record, or which were altered on it.
    var flaws: Set<LeafAddress> = []
    /// Leaves that a salvaged partition counts otherwise: its lane sets them right when it hears of it.
    var uncounted: Set<LeafAddress> = []
    /// Of the version that is installed: the next process is of it. Nil: none was yet.
    var features: PeerFeatures?
    /// When it last came back with less than it had synced.
    var forgot: VirtualTime?

    init(index: Int, id: NodeID, laneCount: Int, clock: SimulatedClock, random: SeededGenerator) {
        self.index = index
        self.id = id
        name = String(UnicodeScalar(UInt8(65 + index)))
        self.laneCount = laneCount
        self.clock = clock
        self.random = random
    }
}
