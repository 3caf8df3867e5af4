// The shell of one lane: it brings events to the pure `Lane` and carries its effects out. One event loop owns
// it; nothing here is locked, and everything that touches it runs on that loop.
//
//   inbox ─► one turn of the loop: handle all that has arrived, reads from memory answered at once
//        ─► turnEnded ─► the turn's writes in one unsynced batch ─► committed ─► the sync thread is told
//        ─► … ─► synced comes back as an event
//
// A turn schedules itself behind the input of the loop's present tick, so everything that the sockets brought
// in this tick shares one batch. While RocksDB asks writers to wait, the batch is tried again and the inbox
// waits: that is the backpressure, and the lane's own bounds answer `overloaded` when it lasts.

import DequeModule
import Logging
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

final class LaneDriver: @unchecked Sendable {
    /// A commit that RocksDB puts off is tried again after the first, then after twice as long, up to the last.
    private static let firstRetryDelay = TimeAmount.milliseconds(1)
    private static let lastRetryDelay = TimeAmount.milliseconds(100)
    /// A turn takes so many rounds of messages that the lane sent itself, and leaves the rest to the next.
    private static let roundsPerTurn = 8

    let index: Int
    let eventLoop: any EventLoop
    private(set) var metrics = LaneMetrics()
    /// Of all that its loop does for requests.
    let stages: StageClock

    private let loops: NodeLoops
    private var lane: Lane
    private let store: LaneStore
    private let nodeStore: NodeStore
    private let groupCommit: GroupCommit
    private let links: PeerLinks
    private let readers: NIOThreadPool
    private let logger: Logger

    /// What is beyond it is refused at once.
    private var window: AdmissionWindow
    /// What other loops see of it.
    let load = LaneLoad()
    private var inbox: LaneInbox
    private var arrived: Deque<LaneEvent> = []
    private var effects: [LaneEffect] = []
    /// Empty; kept for its storage.
    private var spare: [LaneEffect] = []
    private var now = NodeClock.now()
    private var turnIsScheduled = false
    private var stalledBatch: BatchNumber?
    private var timer: (deadline: MonotonicTime, task: Scheduled<Void>)?
    /// Batches whose sync is under way, with the time of their commit.
    private var unsynced = CircularBuffer<(batch: BatchNumber, committed: MonotonicTime)>()

    private struct OpenRequest {
        var operation: ClientOperation
        var began: MonotonicTime
        var receiver: AnswerReceiver
    }

    private var requests: [RequestID: OpenRequest] = [:]
    private var listings: [RequestID: ListingReceiver] = [:]
    private var repairs: [RequestID: @Sendable (RepairReport) -> Void] = [:]
    private var whenDrained: EventLoopPromise<Void>?
    private var isStopped = false

    init(
        index: Int, eventLoop: any EventLoop, loops: NodeLoops, lane: Lane, store: LaneStore, nodeStore: NodeStore,
        groupCommit: GroupCommit,
        window: AdmissionWindow, links: PeerLinks, readers: NIOThreadPool, waitingBytes: Int, stages: StageClock,
        logger: Logger
    ) {
        self.index = index
        inbox = LaneInbox(node: loops.node, waitingBytes: waitingBytes)
        self.stages = stages
        self.eventLoop = eventLoop
        self.loops = loops
        self.lane = lane
        self.store = store
        self.nodeStore = nodeStore
        self.groupCommit = groupCommit
        self.window = window
        self.links = links
        self.readers = readers
        self.logger = logger
    }

    // MARK: In

    /// On the lane's loop.
    func enqueue(_ event: consuming LaneEvent) {
        guard !isStopped else { return }
        if inbox.append(event) { scheduleTurn() } else { metrics.messagesDropped += 1 }
    }

    /// On the lane's loop: a ring, once the store has families for all that the node holds by it.
    func follow(_ placement: Placement, holding partitions: [PartitionID]) {
        guard !isStopped else { return }
        store.add(partitions.filter { LaneConfiguration.lane(of: $0, laneCount: loops.lanes.count) == index })
        enqueue(.ringChanged(placement))
    }

    /// On the lane's loop: a partition was made anew, and is read and written there from now on.
    func turn(to salvaged: SalvagedPartition) {
        guard !isStopped else { return }
        store.add([])
        enqueue(.salvaged(salvaged))
    }

    /// From any thread.
    func send(_ event: LaneEvent) {
        if eventLoop.inEventLoop {
            enqueue(event)
        } else {
            eventLoop.execute { self.enqueue(event) }
        }
    }

    /// On the lane's loop. `began`: when it was read. `deadline` is absolute.
    func submit(
        _ id: RequestID, _ request: ClientRequest, began: MonotonicTime, deadline: MonotonicTime,
        receiver: AnswerReceiver
    ) {
        let operation = ClientOperation(request)
        guard !isStopped else { return receiver.take(operation.refused(.shuttingDown)) }
        guard window.admits(beside: requests.count) else { return refuse(operation, receiver) }
        requests[id] = OpenRequest(operation: operation, began: began, receiver: receiver)
        load.isFull = requests.count >= window.size
        enqueue(.client(id, request, deadline: deadline))
    }

    /// On this loop: there is too much to do, here or in the lane that the request is for. Told before this returns: behind all
    /// that the tick of a busy loop brings it would wait as long as what is taken.
    func refuse(_ operation: ClientOperation, _ receiver: AnswerReceiver) {
        metrics.overloads += 1
        metrics.operations[operation.rawValue].refused += 1
        receiver.take(operation.refused(.overloaded))
    }

    /// On the lane's loop.
    func list(_ id: RequestID, _ request: ListRequest, deadline: MonotonicTime, receiver: ListingReceiver) {
        guard !isStopped else { return receiver.take(.failed(partition: PartitionID(0))) }
        listings[id] = receiver
        enqueue(.list(id, request, deadline: deadline))
    }

    /// On the lane's loop: nobody waits for this request or listing any more.
    func cancel(_ id: RequestID) {
        guard requests.removeValue(forKey: id) != nil || listings.removeValue(forKey: id) != nil else { return }
        load.isFull = requests.count >= window.size
        // While no turn runs it would stay here, and its place in the window is free for another: they would add up.
        if stalledBatch != nil, inbox.removeRequest(id) { return }
        enqueue(.cancel(id))
    }

    /// On the lane's loop: the next piece of a listing.
    func continueListing(_ id: RequestID) {
        guard listings[id] != nil else { return }
        enqueue(.listContinue(id))
    }

    /// On the lane's loop: takes no new requests; succeeds when those that are open have been answered. Peers
    /// go on writing meanwhile: a node that waited for silence would never stop under load.
    func drain() -> EventLoopFuture<Void> {
        guard !isStopped else { return eventLoop.makeSucceededVoidFuture() }
        let promise = whenDrained ?? eventLoop.makePromise()
        whenDrained = promise
        enqueue(.drain)
        return promise.futureResult
    }

    /// On the lane's loop.
    func hotKeys(limit: Int) -> HotKeyReport { lane.hotKeys(limit: limit, at: NodeClock.monotonic()) }

    /// On the lane's loop: what is still open is answered as unfinished.
    func failOpenRequests() {
        for id in requests.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            switch requests[id]!.operation {
            case .get: answer(id, .get(.refused(.shuttingDown)))
            // It may have reached replicas.
            case .put, .delete: answer(id, .write(.indeterminate(copies: 0, needed: 1)))
            }
        }
        for id in listings.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            listed(id, .failed(partition: PartitionID(0)))
        }
        for id in repairs.keys.sorted(by: { $0.rawValue < $1.rawValue }) { repaired(id, RepairReport()) }
    }

    /// On the lane's loop: nothing is carried out any more.
    func stop() {
        // Before the answers, because who gets one may ask for more at once.
        isStopped = true
        failOpenRequests()
        inbox.removeAll()
        timer?.task.cancel()
        timer = nil
        whenDrained?.succeed()
        whenDrained = nil
    }

    /// On the lane's loop.
    func snapshot() -> LaneMetrics {
        var copy = metrics
        copy.openRequests = requests.count
        copy.stages = stages.counted
        copy.repair = lane.repairStatistics
        copy.reaping = lane.reapStatistics
        copy.scrub = lane.scrubStatistics
        copy.mending = lane.mendStatistics
        copy.salvage = lane.salvageStatistics
        for total in lane.hints.values {
            copy.hintsHeld += UInt64(total.records)
            copy.hintBytesHeld += UInt64(total.bytes)
        }
        return copy
    }

    // MARK: A turn

    private func scheduleTurn() {
        guard !turnIsScheduled, stalledBatch == nil, !isStopped else { return }
        turnIsScheduled = true
        eventLoop.execute { self.turn() }
    }

    private func turn() {
        turnIsScheduled = false
        guard !isStopped, stalledBatch == nil else { return }
        now = NodeClock.now()
        metrics.turns += 1
        stages.turnBegins()
        let span = stages.enter(.turn)
        defer { stages.leave(span) }
        var rounds = 0
        inbox.turnBegins()
        while inbox.hasMore, rounds < Self.roundsPerTurn {
            rounds += 1
            inbox.take(into: &arrived)
            metrics.events += UInt64(arrived.count)
            while let event = arrived.popFirst() {
                if stages.isTiming { noteWait(of: event) }
                handle(consume event)
                carryOut()
            }
        }
        handle(.turnEnded)
        carryOut()
        setTimer()
        if !inbox.isEmpty { scheduleTurn() }
        if let promise = whenDrained, requests.isEmpty, listings.isEmpty, inbox.isEmpty, lane.openCount == 0 {
            whenDrained = nil
            promise.succeed()
        }
    }

    private func handle(_ event: consuming LaneEvent) {
        let span = stages.enter(event.stage)
        lane.handle(consume event, now: now, effects: &effects)
        stages.leave(span)
    }

    private func noteWait(of event: LaneEvent) {
        guard case .client(let id, _, _) = event, let request = requests[id] else { return }
        stages.took(afterWaiting: now.monotonic.nanoseconds - min(request.began.nanoseconds, now.monotonic.nanoseconds))
    }

    /// Effects in their order. What is answered from memory appends its own effects behind.
    private func carryOut() {
        while !effects.isEmpty {
            var wanted: [LaneEffect] = []
            swap(&wanted, &spare)
            swap(&wanted, &effects)
            wanted.takeEach { carryOut($0) }
            swap(&wanted, &spare)
        }
    }

    private func carryOut(_ effect: consuming LaneEffect) {
        switch consume effect {
        case .read(let token, let place, let key):
            read(token, place, key)
        case .scan(let request):
            scan(request)
        case .write(let write):
            append(write)
        case .correct(let change):
            store.correct(change)
        case .commit(let batch):
            commit(batch, delay: Self.firstRetryDelay)
        case .send(let message, let node):
            send(message, to: node)
        case .answer(let request, let answer):
            self.answer(request, answer)
        case .listed(let request, let piece):
            listed(request, piece)
        case .repaired(let request, let report):
            repaired(request, report)
        case .observed(let observation):
            note(observation)
        case .progress(let progress):
            loops.control.send(.progress(lane: index, progress))
        case .salvage(let partition): loops.damage.salvage(partition)
        case .restored(let partition): loops.damage.restored(partition)
        }
    }

    private func setTimer() {
        guard let deadline = lane.inPlace({ $0.nextDeadline }) else { return }
        // A timer that fires early finds nothing to do and is set anew: cheaper than moving it with each request.
        if let timer, timer.deadline <= deadline { return }
        timer?.task.cancel()
        let task = eventLoop.scheduleTask(deadline: .uptimeNanoseconds(deadline.nanoseconds)) {
            self.timer = nil
            self.enqueue(.tick)
        }
        timer = (deadline, task)
    }

    // MARK: The store

    private func read(_ token: StoreToken, _ place: RecordPlace, _ key: ObjectKey) {
        let span = stages.enter(.read)
        let found = store.readInMemory(place, key)
        stages.leave(span)
        switch found {
        case .known(let result):
            metrics.readsFromMemory += 1
            handle(.recordRead(token, result))
        case .notInMemory:
            metrics.readsFromDisk += 1
            handle(.recordReadDeferred(token))
            readers.submit { state in
                guard case .active = state else { return }
                let result = self.nodeStore.readBlocking(place, key)
                self.eventLoop.execute { self.enqueue(.recordRead(token, result)) }
            }
        }
    }

    private func scan(_ request: ScanRequest) {
        readers.submit { state in
            guard case .active = state else { return }
            do {
                let page = try self.nodeStore.scan(request)
                self.eventLoop.execute {
                    self.enqueue(.scanned(request.token, entries: page.entries, finished: page.finished))
                }
            } catch {
                // Damage has been told, once.
                if case StoreError.corruption = error {
                } else {
                    self.logger.error("a partition cannot be scanned", metadata: ["error": "\(error)"])
                }
                self.eventLoop.execute { self.enqueue(.scanned(request.token, entries: nil, finished: true)) }
            }
        }
    }

    private func append(_ write: RecordWrite) {
        let span = stages.enter(.batch)
        defer { stages.leave(span) }
        do {
            try store.append(write)
            metrics.recordsWritten += 1
        } catch {
            NodeFailure.stop(logger, "a record cannot be written", error)
        }
    }

    private func commit(_ batch: BatchNumber, delay: TimeAmount) {
        do {
            let span = stages.enter(.commit)
            let outcome = try store.commit(leaves: lane.inPlace { $0.leaves })
            stages.leave(span)
            switch outcome {
            case .committed:
                stalledBatch = nil
                metrics.commits += 1
                unsynced.append((batch, now.monotonic))
                handle(.committed(batch))
                groupCommit.announce(lane: index, batch)
            case .stalled:
                metrics.stalls += 1
                stalledBatch = batch
                eventLoop.scheduleTask(in: delay) { self.retry(batch, delay: delay) }
            }
        } catch {
            NodeFailure.stop(logger, "the log cannot be written", error)
        }
    }

    /// Now and then, so that an idle lane's leaves get stored too.
    func storeLeavesIfDue() {
        guard stalledBatch == nil, !isStopped else { return }
        do {
            _ = try store.commitIfDue(leaves: lane.inPlace { $0.leaves })
        } catch {
            NodeFailure.stop(logger, "the log cannot be written", error)
        }
    }

    /// On the lane's loop: partitions of which records are here that the node holds no longer.
    func partitionsGivenAway(by placement: Placement) -> Int {
        let trees = lane.leaves.trees.filter { tree in
            !placement.holds(loops.node, tree.partition, copies: Int(tree.copies))
                && lane.leaves[tree]!.contains { $0 != 0 }
        }
        return Set(trees.map(\.partition)).count
    }

    /// On the lane's loop, after `stop`: what the store is closed with.
    var leaves: LeafTable { lane.leaves }

    private func retry(_ batch: BatchNumber, delay: TimeAmount) {
        guard !isStopped else { return }
        now = NodeClock.now()
        let next = TimeAmount.nanoseconds(min(delay.nanoseconds * 2, Self.lastRetryDelay.nanoseconds))
        commit(batch, delay: next)
        carryOut()
        if stalledBatch == nil { scheduleTurn() }
    }

    /// From the sync thread.
    func synced(through batch: BatchNumber) {
        eventLoop.execute {
            let time = NodeClock.monotonic()
            while let first = self.unsynced.first, first.batch <= batch {
                self.metrics.sync.record(microseconds: time.microseconds(since: first.committed))
                self.unsynced.removeFirst()
            }
            self.enqueue(.synced(through: batch))
        }
    }

    // MARK: Out

    private func send(_ message: PeerMessage, to node: NodeID) {
        metrics.messagesSent += 1
        if node == loops.node {
            loops.deliver(message, from: node)
        } else {
            transmit(message, to: node)
        }
    }

    /// On the lane's loop. What this loop has no link for goes out on another's: the answer to a message that
    /// came in there must not be lost because its lane is here.
    func transmit(_ message: PeerMessage, to node: NodeID) {
        if !transmitIfLinked(message, to: node) { loops.relay(message, to: node, after: index) }
    }

    /// On the lane's loop; false: no link stands here.
    func transmitIfLinked(_ message: PeerMessage, to node: NodeID) -> Bool {
        guard links.isUp(node) else { return false }
        let span = stages.enter(.peersOut)
        links.send(message, to: node)
        stages.leave(span)
        return true
    }

    /// On the lane's loop, from a peer or from another lane of this node.
    func receive(_ message: PeerMessage, from node: NodeID) {
        metrics.messagesReceived += 1
        enqueue(.peer(from: node, message))
    }

    private func answer(_ id: RequestID, _ answer: ClientAnswer) {
        guard let request = requests.removeValue(forKey: id) else { return }
        let span = stages.enter(.answer)
        defer { stages.leave(span) }
        metrics.note(request.operation, answer, microseconds: now.monotonic.microseconds(since: request.began))
        switch answer {
        case .get(.refused), .write(.refused): break
        case .get, .write:
            if load.takeRefusals() { window.refused() }
            window.answered(begun: request.began, at: now.monotonic)
            load.wait = window.wait
        }
        load.isFull = requests.count >= window.size
        request.receiver.take(answer)
    }

    private func listed(_ id: RequestID, _ piece: ListPiece) {
        guard let receiver = listings[id] else { return }
        switch piece {
        case .items: break
        case .done, .paused, .failed: listings[id] = nil
        }
        receiver.take(piece)
    }

    /// On the lane's loop: compares this lane's replicas with their co-owners'; `receiver` is called on the loop.
    func repair(
        _ id: RequestID, _ partition: PartitionID?, receiver: @escaping @Sendable (RepairReport) -> Void
    ) {
        guard !isStopped else { return receiver(RepairReport()) }
        repairs[id] = receiver
        enqueue(.repair(id, partition))
    }

    /// On the lane's loop.
    var repairStatus: [RepairStatus] { lane.repairStatus }
    var repairStatistics: RepairStatistics { lane.repairStatistics }
    var reapStatus: [ReapStatus] { lane.reapStatus }
    var reapStatistics: ReapStatistics { lane.reapStatistics }
    var removalsHeldUntil: MonotonicTime { lane.removalsHeldUntil }

    private func repaired(_ id: RequestID, _ report: RepairReport) { repairs.removeValue(forKey: id)?(report) }

    private func note(_ observation: LaneObservation) {
        switch observation {
        case .readRepaired(let key, let replicas):
            metrics.readRepairs += 1
            logger.debug("stale replicas repaired", metadata: ["key": "\(key)", "replicas": "\(replicas)"])
        case .readShared(_, let readers):
            metrics.sharedReads += UInt64(readers - 1)
        case .readCached(_, let readers):
            metrics.cachedReads += UInt64(readers)
        case .speculativeRead:
            metrics.speculativeReads += 1
        case .actorRetired(let key, let actor):
            logger.notice(
                "a record shows writes that this node forgot; it goes on under a new actor",
                metadata: ["key": "\(key)", "actor": "\(actor)"])
        case .unreadableRecord(let key):
            metrics.unreadableRecords += 1
            logger.debug("a record on disk cannot be read", metadata: ["key": "\(key)"])
        case .lwwRestamped:
            metrics.restampedWrites += 1
        case .overloaded:
            metrics.overloads += 1
        case .duplicateForwardIgnored(let node):
            metrics.ignoredForwards += 1
            logger.debug("a forwarded write came twice", metadata: ["peer": "\(node)"])
        case .exchanged(let pair, let failed, let differing):
            guard failed || differing > 0 else { return }
            logger.debug(
                "replicas compared",
                metadata: [
                    "partition": "\(pair.tree.partition)", "n": "\(pair.tree.copies)", "peer": "\(pair.peer)",
                    "differing": "\(differing)", "failed": "\(failed)",
                ])
        case .hintKept:
            metrics.hintsKept += 1
        case .hintsFull(let node):
            metrics.hintsRefused += 1
            logger.debug("no more is kept for a node", metadata: ["for": "\(node)"])
        case .hintDeliveryBegan(let node, let total):
            logger.notice(
                "delivering hints",
                metadata: [
                    "to": "\(node)", "lane": "\(index)", "hints": "\(total.records)", "bytes": "\(total.bytes)",
                ])
        case .hintDelivered:
            metrics.hintsDelivered += 1
        case .hintDeliveryEnded(let node, let delivered):
            logger.notice(
                "all hints are delivered",
                metadata: ["to": "\(node)", "lane": "\(index)", "hints": "\(delivered)"])
        case .reapRoundEnded(let tree, let kind, let keys, let obstacle):
            logger.debug(
                "a round of reaping ended",
                metadata: [
                    "partition": "\(tree.partition)", "n": "\(tree.copies)", "kind": "\(kind)", "keys": "\(keys)",
                    "obstacle": "\(obstacle.map { "\($0)" } ?? "none")",
                ])
        case .staleWrite(let key):
            metrics.staleWrites += 1
            logger.debug("a write was read too long ago by its sender", metadata: ["key": "\(key)"])
        case .scrubbed(let finding): note(finding)
        case .salvaged(let partition, let lost):
            logger.notice(
                "what a damaged partition lost is fetched from other nodes; until then nothing is read there",
                metadata: ["partition": "\(partition)", "lost leaves": "\(lost)"])
        case .restored(let partition, let differing):
            logger.notice(
                "a damaged partition is whole again: it was compared with all other nodes that hold it",
                metadata: ["partition": "\(partition)", "keys that differed": "\(differing)"])
        case .mended(let key, let replicas):
            logger.notice(
                "a damaged record is mended: it was written anew with what the other replicas hold",
                metadata: ["key": "\(key)", "replicas": "\(replicas)"])
        case .notMended(let key, let obstacle):
            logger.warning(
                "a damaged record could not be mended yet",
                metadata: ["key": "\(key)", "reason": "\(obstacle.reason)"])
        }
    }

    private func note(_ finding: ScrubFinding) {
        switch finding {
        case .leafCorrected(let tree, let leaf):
            logger.error(
                "the disk holds other records than were written to it: repair now brings what other nodes have of them",
                metadata: ["partition": "\(tree.partition)", "n": "\(tree.copies)", "leaf": "\(leaf)"])
        case .unreadableRecord(let key):
            metrics.unreadableRecords += 1
            logger.error(
                "a record on disk is damaged; until it is mended it counts as a copy that does not answer",
                metadata: ["key": "\(key)"])
        case .unreadableRange(let partition, let leaf):
            logger.debug(
                "a part of the disk cannot be read", metadata: ["partition": "\(partition)", "leaf": "\(leaf)"])
        case .walkEnded(let walk):
            logger.info(
                "the disk has been scrubbed",
                metadata: [
                    "lane": "\(index)", "records": "\(walk.records)", "bytes": "\(walk.bytes)",
                    "corrected": "\(walk.correctedLeaves)",
                    "unreadable": "\(walk.unreadableRecords + walk.unreadableRanges)",
                    "left": "\(walk.leftLeaves)",
                ])
        }
    }
}

extension MendObstacle {
    fileprivate var reason: String {
        switch self {
        case .alone: "no other node holds a copy"
        case .absent: "no other replica holds anything under this key"
        case .unreachable(let node): "\(node) cannot be reached"
        case .silent(let node): "\(node) does not answer"
        case .refused(let node, let failure): "\(node) answers: \(failure)"
        case .unwritten(let failure): "it cannot be written: \(failure)"
        }
    }
}

extension LaneEvent {
    /// What a lane does with it.
    fileprivate var stage: LoopStage {
        switch self {
        case .client: .coordination
        case .peer: .peers
        case .recordRead, .recordReadDeferred: .merge
        case .turnEnded: .record
        case .committed, .synced: .release
        case .list, .listContinue, .cancel, .peerUp, .peerDown, .scanned, .ringChanged, .propertiesChanged, .suspected,
            .diskSpace, .holdRemovals, .tick, .drain, .repair, .damaged, .salvaged, .salvageFailed:
            .turn
        }
    }
}

extension MonotonicTime {
    func microseconds(since earlier: MonotonicTime) -> UInt64 {
        self <= earlier ? 0 : (nanoseconds - earlier.nanoseconds) / 1000
    }
}
