// One thread syncs the log for all lanes, again and again, and releases what each had written before the
// sync began. So a slow disk makes the groups larger, not the queue longer, and no lane ever waits.
//
//   lane:    commit ─► announce(lane, batch) ─► goes on with the next turn
//   thread:  take all that is announced ─► sync ─► synced(lane, through) for each ─► again
//
// How far the log is synced is written into every batch (`LogData`), so that a later start can tell a torn
// tail from lost acknowledgements. When the writers pause, one empty batch carries the mark of the last
// sync: it waits until nothing has come for a moment, and is itself never followed by another.
//
// `buffered`: the log goes out to the kernel each turn and counts as synced then; a second thread syncs it
// once an interval. Killing the process loses nothing, a power loss up to the interval.

package import TorcReplication

package enum Durability: Hashable, Sendable {
    /// An acknowledgement waits until the log is on disk.
    case synced
    /// It waits until the kernel has it; the log is on disk within the interval.
    case buffered(interval: Duration)
}

package final class GroupCommit: Sendable {
    private struct State {
        /// By lane: the last batch that was announced, and the last that was released. Batches count from 1.
        var announced: [UInt64]
        var released: [UInt64]
        var isStopping = false
        /// A sync has passed whose mark is not in the log.
        var isMarkDue = false
        /// Buffered: something was written since the last real sync.
        var isUnsynced = false
    }

    /// Of archived log files: with a thousand of them it takes seconds, and nobody is to wait for it.
    private struct Removal {
        /// Those below it are needed no longer.
        var floor: UInt64 = 0
        var isStopping = false
    }

    /// How long nothing must have come before the last sync is marked: a lone client's next write comes sooner,
    /// and should not find the disk busy with a mark.
    private static let idleBeforeMark = Duration.milliseconds(20)

    private let store: NodeStore
    private let durability: Durability
    private let monitor: Monitor<State>
    private let interval: Monitor<Bool>
    private let removal: Monitor<Removal>
    private let synced: @Sendable (_ lane: Int, _ through: BatchNumber) -> Void
    private let failed: @Sendable (StoreError) -> Void
    private let threads: Monitor<[StoreThread]>

    /// `synced` is called on the sync thread, for each lane that has something released: it hops to the lane's
    /// loop. `failed` is called once, after which nothing is released any more: it ends the process.
    package init(
        store: NodeStore, laneCount: Int, durability: Durability,
        synced: @escaping @Sendable (_ lane: Int, _ through: BatchNumber) -> Void,
        failed: @escaping @Sendable (StoreError) -> Void
    ) {
        self.store = store
        self.durability = durability
        self.synced = synced
        self.failed = failed
        monitor = Monitor(
            State(
                announced: .init(repeating: 0, count: laneCount), released: .init(repeating: 0, count: laneCount)))
        interval = Monitor(false)
        removal = Monitor(Removal())
        threads = Monitor([])
        let commits = StoreThread("torc-sync") { self.run() }
        let removals = StoreThread("torc-logs") { self.removeLogs() }
        threads.withLock { $0 += [commits, removals] }
        if case .buffered(let interval) = durability {
            let background = StoreThread("torc-sync-later") { self.syncEvery(interval) }
            threads.withLock { $0.append(background) }
        }
    }

    /// A lane has committed a batch and wants to hear when it is synced. From any thread.
    package func announce(lane: Int, _ batch: BatchNumber) {
        monitor.withLock { state in
            precondition(
                batch.rawValue > state.announced[lane], "batch \(batch) after \(state.announced[lane]) in lane \(lane)")
            state.announced[lane] = batch.rawValue
        }
        monitor.wakeAll()
    }

    /// Syncs and releases what was announced, then ends the threads. Blocks.
    package func stop() {
        monitor.withLock { $0.isStopping = true }
        monitor.wakeAll()
        interval.withLock { $0 = true }
        interval.wakeAll()
        removal.withLock { $0.isStopping = true }
        removal.wakeAll()
        for thread in threads.withLock({ state in
            defer { state = [] }
            return state
        }) { thread.join() }
    }

    private enum Step {
        case release([(lane: Int, through: UInt64)])
        case mark
        case end
    }

    private func run() {
        do throws(StoreError) {
            while true {
                switch nextStep() {
                case .release(let groups):
                    switch durability {
                    case .synced: try sync()
                    case .buffered: try store.database.flushLog(sync: false)
                    }
                    for (lane, through) in groups { synced(lane, BatchNumber(rawValue: through)) }
                case .mark:
                    try store.writeMark()
                    try sync()
                case .end:
                    try sync()
                    return
                }
            }
        } catch {
            failed(error)
        }
    }

    private func sync() throws(StoreError) {
        guard let floor = try store.syncLog() else { return }
        removal.withLock { $0.floor = max($0.floor, floor) }
        removal.wakeAll()
    }

    private func removeLogs() {
        var done: UInt64 = 0
        while true {
            let next = removal.wait { $0.isStopping || $0.floor > done ? $0 : nil }
            guard let next, !next.isStopping else { return }
            store.removeArchivedLogs(below: next.floor) { self.removal.withLock(\.isStopping) }
            done = next.floor
        }
    }

    private func nextStep() -> Step {
        while true {
            let markDue = monitor.withLock(\.isMarkDue)
            let step: Step? = monitor.wait(timeout: markDue ? Self.idleBeforeMark : nil) { state in
                var groups: [(lane: Int, through: UInt64)] = []
                for lane in state.announced.indices where state.announced[lane] > state.released[lane] {
                    groups.append((lane, state.announced[lane]))
                    state.released[lane] = state.announced[lane]
                }
                if !groups.isEmpty {
                    state.isMarkDue = durability == .synced
                    state.isUnsynced = true
                    return .release(groups)
                }
                return state.isStopping ? .end : nil
            }
            if let step { return step }
            // The time is up, and nothing came.
            monitor.withLock { $0.isMarkDue = false }
            return .mark
        }
    }

    /// The real syncs of buffered mode.
    private func syncEvery(_ period: Duration) {
        do throws(StoreError) {
            while true {
                let isStopping = interval.wait(timeout: period) { $0 ? true : nil } ?? false
                if isStopping { return }
                let isUnsynced = monitor.withLock { state in
                    defer { state.isUnsynced = false }
                    return state.isUnsynced
                }
                guard isUnsynced else { continue }
                try sync()
                try store.writeMark()
                try sync()
            }
        } catch {
            failed(error)
        }
    }
}
