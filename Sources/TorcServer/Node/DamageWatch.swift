// Brings damaged tables from the store to the lanes, and what the lanes want done about them back to the store:
//
//   readers, compactions ─► NodeStore.noteDamage, durable ─► lane: .damaged ─► .salvage ─► NodeStore.salvage
//        ─► lane: .salvaged ─► … compared with all co-owners … ─► .restored ─► NodeStore.restored
//
// One job at a time: the store's table of damage is written by this alone while the node serves.

import Logging
import NIOCore
import NIOPosix
import Synchronization
import TorcModel
import TorcReplication
import TorcStorage

final class DamageWatch: Sendable {
    private enum Job: Sendable {
        case salvage(PartitionID)
        case restored(PartitionID)
    }

    /// Between two looks.
    private static let interval = Duration.milliseconds(250)
    /// After a copy that failed: the disk is full, or gives errors.
    private static let pause = Duration.seconds(60)

    private let loops: NodeLoops
    private let store: NodeStore
    private let hashSeed: HashSeed
    private let folder: String
    /// What must stay free; see `DiskWatch`.
    private let reserve: UInt64
    private let threads: NIOThreadPool
    private let logger: Logger
    /// Bounded by the partitions: a lane asks for one thing of each at a time.
    private let jobs = Mutex<[Job]>([])
    private let failed = Mutex<[(partition: PartitionID, due: ContinuousClock.Instant)]>([])

    init(
        loops: NodeLoops, store: NodeStore, hashSeed: HashSeed, folder: String, reserve: UInt64,
        threads: NIOThreadPool, logger: Logger
    ) {
        self.loops = loops
        self.store = store
        self.hashSeed = hashSeed
        self.folder = folder
        self.reserve = reserve
        self.threads = threads
        self.logger = logger
    }

    // MARK: The lanes

    /// From any loop.
    func salvage(_ partition: PartitionID) { jobs.withLock { $0.append(.salvage(partition)) } }
    func restored(_ partition: PartitionID) { jobs.withLock { $0.append(.restored(partition)) } }

    private func lane(of partition: PartitionID) -> LaneDriver {
        loops.lanes[LaneConfiguration.lane(of: partition, laneCount: loops.lanes.count)]
    }

    // MARK: The store

    /// Until the task is cancelled.
    func run() async {
        // What the last run left.
        for partition in store.damagedPartitions { lane(of: partition).send(.damaged(partition)) }
        while !Task.isCancelled {
            do {
                try await threads.runIfActive { try self.look() }
            } catch let error as StoreError {
                NodeFailure.stop(logger, "what is known of damage cannot be stored", error)
            } catch {
                return
            }
            try? await Task.sleep(for: Self.interval)
        }
    }

    private func look() throws(StoreError) {
        for family in try store.noteDamage() {
            switch family {
            case .partition(let partition): lane(of: partition).send(.damaged(partition))
            case .other("meta"):
                logger.critical(
                    "what this node must not forget is damaged: replace it while it runs, it will not start again")
            case .other(let name):
                logger.error(
                    "a family is made anew when the node starts: restart it", metadata: ["family": "\(name)"])
            }
        }
        let now = ContinuousClock.now
        let due = failed.withLock { failed in
            let due = failed.filter { $0.due <= now }.map(\.partition)
            failed.removeAll { $0.due <= now }
            return due
        }
        for partition in due { lane(of: partition).send(.damaged(partition)) }
        while let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
            switch job {
            case .restored(let partition): try store.restored(partition)
            case .salvage(let partition): try salvageNow(partition)
            }
        }
    }

    /// A copy that cannot be read leaves things as they were. One that cannot be written or synced ends the process.
    private func salvageNow(_ partition: PartitionID) throws(StoreError) {
        let lane = lane(of: partition)
        let needed = store.bytesToSalvage(partition) + reserve
        let outcome: Result<SalvagedPartition, StoreError>
        if let free = DiskWatch.freeBytes(of: folder), free < needed {
            outcome = .failure(
                .diskFull(operation: "copy a partition", detail: "\(free) bytes are free, \(needed) are needed"))
        } else {
            outcome = try store.salvage(partition, hashSeed: hashSeed)
        }
        switch outcome {
        case .success(let salvaged): lane.eventLoop.execute { lane.turn(to: salvaged) }
        case .failure(let error):
            logger.warning(
                "a damaged partition cannot be made anew yet; what can be read of it is served",
                metadata: ["partition": "\(partition)", "error": "\(error)"])
            failed.withLock { $0.append((partition, ContinuousClock.now.advanced(by: Self.pause))) }
            lane.send(.salvageFailed(partition))
        }
    }
}
