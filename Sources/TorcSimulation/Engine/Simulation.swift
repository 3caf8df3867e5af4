// A whole cluster in one thread and in virtual time, drawn from one seed: the production machines of every
// node, the network and the disks between them, clients, faults and the checkers that judge.
//
//   load      clients work, faults strike                 checkers watch every read, acknowledgement and start
//   calm      faults end, everything starts and heals     every operation must end in its time
//   verdict   all replicas of every key are read until    what was acknowledged stands, replicas are equal,
//             nothing changes any more                    leaves are right, nothing is left over
//
// Nothing here looks at a clock, at an address or at the order of a set: one seed gives one run.

import NIOCore
import TorcModel
import TorcReplication

/// What became of a run.
package struct SimulationResult: Sendable {
    package var seed: UInt64
    package var violation: Violation?
    package var operations = 0
    package var acknowledgedWrites = 0
    package var faults = 0
    package var restarts = 0
    package var events = 0
    package var virtualTime = VirtualTime.zero
    package var traceHash: UInt64 = 0
    package var coverage = Coverage()
    /// The end of the trace, as far as it concerns the violation.
    package var traceTail: [String] = []
    package var trace: [String] = []
}

/// A page that was asked for.
struct PageName: Hashable {
    var asker: Int
    var operation: OperationID
}

package final class Simulation {
    let plan: SimulationPlan
    let ring: Ring
    let layout: LeafLayout
    let hashSeed: HashSeed
    let keyIndex: [ObjectKey: Int]

    var queue = EventQueue<SimulationEvent>()
    var now = VirtualTime.zero
    var random: SeededGenerator
    var trace: Trace
    var network: SimulatedNetwork
    var nodes: [SimulatedNode]
    var clients: Workload
    var history: History
    var dots = DotRegistry()
    var violation: Violation?
    var coverage = Coverage()
    var processCount = 0
    var faultCount = 0
    var eventCount = 0
    /// Clients ask no more, faults strike no more.
    var isCalm = false
    var networkActions: [NetworkAction] = []
    /// What the pages under way are of, and how far the log of who is asked had come.
    var pageQuestions: [PageName: (bucket: BucketID, asked: SimulatedStore.SyncPoint)] = [:]
    /// By key, what the last read of all replicas showed.
    var finalValues: [Int: [Int]] = [:]
    /// By key, the tombstones that were reaped, merged: what they cover is gone for good.
    var reaped: [Int: VersionedObject] = [:]
    /// By key, the latest expiry of a version that was removed for it: whatever expired before is gone for every clock.
    var removedThrough: [Int: WallTime] = [:]
    /// By key, the latest that all clocks of its replicas had come to before other nodes became such.
    var formerlyAgreedExpiry: [WallTime]
    /// By key, which of its writes that read may have left out as expired.
    var finalExpired: [Int: Set<Int>] = [:]
    /// When the faults stopped: what had expired by then for every node stays expired.
    var calmWall = WallTime(microseconds: 0)
    /// By bucket, what the last listing named.
    var finalListings: [Int: [Int]] = [:]
    /// From here on every accusation is a mistake, but of those that stand here, until that time.
    var excused: [Int: VirtualTime]?
    /// Keys of which a record went bad.
    var damagedKeys: Set<Int> = []
    /// Buckets whose change to `lww` was acknowledged, and the nodes that did.
    var bucketsTurned: [Int: Set<Int>] = [:]
    /// By key, entries that were pruned from vectors: all replicas had seen them.
    var pruned: [Int: VersionVector] = [:]
    var ringChecker: RingChecker
    var cacheChecker = CacheChecker()
    /// So many of the next answers are from memory.
    var cachedAnswers = 0
    /// The keys of requests that are not answered, of buckets that allow it.
    var cacheableKeys: [ClientRequestID: Int] = [:]
    var operators: [RingOperator] = []
    var backups: BackupOperator
    /// By key, the copies of the shortest list that it ever had.
    var leastCopies: [Int]
    /// A person says what happens; see `ScenarioRun`.
    var isScripted = false
    var scriptedOptions: QuorumOptions?
    /// The last answer to them.
    var heard: String?
    /// Numbers the orders of all operators.
    var lastOrder: UInt64 = 0

    /// `leastFaults`: see `SimulationPlan`.
    package convenience init(seed: UInt64, leastFaults: Int = 0, trace mode: Trace.Mode = .off) {
        self.init(plan: SimulationPlan(seed: seed, leastFaults: leastFaults), trace: mode)
    }

    init(plan: SimulationPlan, trace mode: Trace.Mode) {
        self.plan = plan
        var random = SeededGenerator(seed: plan.seed)
        trace = Trace(mode: mode)
        hashSeed = HashSeed(rawValue: random.next())
        layout = LeafLayout(ringSize: plan.ringSize)

        var ids: [NodeID] = []
        while ids.count < plan.nodeCount {
            let id = NodeID(rawValue: random.next())
            // Tags differ, so that a dot tells who stamped it.
            if !ids.contains(where: { $0.tag == id.tag }) { ids.append(id) }
        }
        let members = Array(ids.prefix(plan.firstMembers ?? ids.count))
        let offset = random.below(plan.nodeCount)
        let owners = (0..<plan.ringSize.partitions).map { partition in
            // Mostly in turn, with some disorder, so that preference lists differ.
            random.chance(200) ? random.pick(members) : members[(partition + offset) % members.count]
        }
        let everyone = Set(owners)
        var complete = owners
        for (index, id) in members.enumerated() where !everyone.contains(id) { complete[index] = id }
        if Set(complete).count < members.count {
            for index in complete.indices { complete[index] = members[index % members.count] }
        }
        ring = Ring(epoch: 1, size: plan.ringSize, owners: complete)
        ringChecker = RingChecker(first: ClusterState(declared: ring))
        leastCopies = plan.keys.map { plan.buckets[$0.bucket].copies }
        formerlyAgreedExpiry = plan.keys.map { _ in WallTime(microseconds: 0) }

        var keyIndex: [ObjectKey: Int] = [:]
        for (index, key) in plan.keys.enumerated() { keyIndex[key.object] = index }
        self.keyIndex = keyIndex
        history = History(promises: plan.keys.map { plan.promise(for: plan.buckets[$0.bucket]) })
        network = SimulatedNetwork(plan: plan.network, count: plan.nodeCount, random: random.split())
        clients = Workload(plan: plan, random: random.split())
        nodes = ids.enumerated().map { index, id in
            let drift = plan.clocks.driftPerMillion
            let skew = Int(plan.clocks.skew.nanoseconds / 1_000)
            let clock = SimulatedClock(
                driftPerMillion: drift == 0 ? 0 : Int64(random.within(-drift...drift)),
                skewMicroseconds: skew == 0 ? 0 : Int64(random.within(-skew...skew)))
            return SimulatedNode(
                index: index, id: id, laneCount: plan.laneCounts[index], clock: clock, random: random.split())
        }
        operators = (0..<plan.operatorCount).map { _ in RingOperator(random: random.split()) }
        backups = BackupOperator(random: SeededGenerator(seed: plan.seed ^ 0x4241_434b_4f50))
        self.random = random
        storeFirstProperties()
    }

    /// The buckets' properties, as every node has had them since the cluster was made.
    private func storeFirstProperties() {
        let entries = plan.buckets.map { bucket in
            PropertiesEntry(
                scope: .bucket(bucket.id),
                versioned: VersionedProperties(
                    properties: bucket.properties, stamp: HybridTimestamp(rawValue: 1), setBy: nodes[0].id))
        }
        for index in nodes.indices { nodes[index].store.store(entries) }
    }

    // MARK: Running

    package func run() -> SimulationResult {
        runLoad()
        if violation == nil { runVerdict() }
        var result = SimulationResult(seed: plan.seed, violation: violation)
        result.operations = clients.issued
        result.acknowledgedWrites = history.writes.filter(\.isAcknowledged).count
        result.faults = faultCount
        result.restarts = processCount - nodes.count
        result.events = eventCount
        result.virtualTime = now
        result.traceHash = trace.hash
        result.coverage = coverage
        if let violation { result.traceTail = trace.tail(key: violation.key, count: 80) }
        if trace.mode == .lines { result.trace = trace.lines.map(\.text) }
        return result
    }

    /// A run that breaks a promise is run again, with its trace kept.
    package static func run(seed: UInt64, leastFaults: Int = 0, trace: Trace.Mode = .off) -> SimulationResult {
        let result = Simulation(seed: seed, leastFaults: leastFaults, trace: trace).run()
        guard result.violation != nil, trace != .lines else { return result }
        var traced = Simulation(seed: seed, leastFaults: leastFaults, trace: .lines).run()
        traced.trace = []
        return traced
    }

    private static let loadTimeLimit = Span.seconds(60)

    private func runLoad() {
        note("plan", plan.summary)
        for index in nodes.indices { start(index) }
        for client in clients.indices { schedule(.clientTurn(client), after: random.span(.zero...plan.thinkTime)) }
        if plan.faults.weights.contains(where: { $0 > 0 }) {
            schedule(.fault, after: random.exponential(mean: plan.faults.meanInterval))
        }
        for index in operators.indices { scheduleOperator(index) }
        scheduleFirstBackup()
        // Of the faults that are drawn many find nothing to strike.
        let end = now + Self.loadTimeLimit + plan.faults.meanInterval * UInt64(20 * plan.leastFaults)
        advance(to: end) {
            self.clients.issued >= self.plan.operations && self.faultCount >= self.plan.leastFaults
        }
        if violation == nil, faultCount < plan.leastFaults {
            report(Violation(.restless, "a storm of \(faultCount) faults, and \(plan.leastFaults) were asked for"))
        }
    }

    /// Takes events until a condition holds, an instant has passed, or a promise is broken.
    func advance(to end: VirtualTime, until condition: () -> Bool = { false }) {
        while violation == nil, let next = queue.nextTime {
            if next > end {
                now = max(now, end)
                return
            }
            if condition() { return }
            let (time, event) = queue.next()!
            now = max(now, time)
            eventCount += 1
            handle(event)
        }
        if queue.isEmpty { now = max(now, end) }
    }

    func schedule(_ event: SimulationEvent, after delay: Span) { queue.schedule(event, at: now + delay) }

    func report(_ found: Violation?) {
        guard let found, violation == nil else { return }
        violation = found
        trace.note(now, "!!", key: found.key, found.description)
    }

    func note(_ place: String, key: Int? = nil, _ text: @autoclosure () -> String) {
        trace.note(now, place, key: key, text())
    }

    private func handle(_ event: SimulationEvent) {
        switch event {
        case .deliver(let envelope): deliver(envelope)
        case .detect(let observer, let peer, let generation):
            if network.detected(observer: observer, peer: peer, generation: generation, actions: &networkActions) {
                tellLinkState(observer, peer, isUp: false)
            }
            performNetworkActions()
        case .establish(let first, let second): establish(first, second)
        case .laneTurn(let id, let lane): runLaneTurn(id, lane: lane)
        case .laneTick(let id, let lane): laneTick(id, lane: lane)
        case .controlTurn(let id): runControlTurn(id)
        case .controlTick(let id): controlTick(id)
        case .recordRead(let id, let lane, let token, let name, let seen):
            guard isRunning(id) else { return }
            let result = seen ?? nodes[id.node].store.read(name.key, hint: name.hint)
            enqueue(.recordRead(token, result), node: id.node, lane: lane)
        case .scanned(let id, let lane, let request): scanned(id, lane: lane, request)
        case .retryCommit(let id, let lane): retryCommit(id, lane: lane)
        case .damageNoted(let id, let partition): noteDamage(id, partition)
        case .damageTold(let id, let partition): tellDamage(id, partition)
        case .salvage(let id, let partition): salvage(id, partition)
        case .restored(let id, let partition): noteRestored(id, partition)
        case .beginSync(let id): beginSync(id)
        case .endSync(let id, let point): endSync(id, point)
        case .propertiesStored(let id, let number, let entries):
            guard isRunning(id) else { return }
            nodes[id.node].store.store(entries)
            enqueueControl(.propertiesStored(number), node: id.node)
        case .membershipStored(let id, let incarnation):
            guard isRunning(id) else { return }
            nodes[id.node].store.store(incarnation)
            enqueueControl(.membershipStored(incarnation), node: id.node)
        case .ringStored(let id, let number, let record): ringStored(id, number, record)
        case .operatorTurn(let index): operatorTurn(index)
        case .backupTurn(let number): backupTurn(number)
        case .exit(let id): exit(id)
        case .start(let node):
            nodes[node].isStartScheduled = false
            if nodes[node].process == nil { start(node) }
        case .clientTurn(let client): clientTurn(client)
        case .answer(let id, let answer): clientAnswered(id, answer)
        case .listPiece(let id, let piece): clientListed(id, piece)
        case .propertiesAnswer(let id, let answer): clientPropertiesAnswered(id, answer)
        case .overdue(let id): checkOverdue(id)
        case .fault: strike()
        case .endFault(let fault): end(fault)
        }
    }

    // MARK: Network

    private func deliver(_ envelope: Envelope) {
        guard network.isCurrent(envelope), checkVersion(envelope) else { return }
        coverage.noteArrival(of: envelope.message)
        route(envelope.message, from: nodes[envelope.from].id, to: envelope.to)
    }

    /// Brings a message to the lane, or the control loop, that it is for.
    func route(_ message: PeerMessage, from sender: NodeID, to node: Int) {
        if let lane = message.lane(ringSize: plan.ringSize, laneCount: nodes[node].laneCount) {
            enqueue(.peer(from: sender, message), node: node, lane: lane)
        } else {
            enqueueControl(.peer(from: sender, message), node: node)
        }
    }

    func performNetworkActions() {
        for action in networkActions {
            switch action {
            case .deliver(let envelope, let delay): schedule(.deliver(envelope), after: delay)
            case .detect(let observer, let peer, let generation, let delay):
                schedule(.detect(observer: observer, peer: peer, generation: generation), after: delay)
            case .establish(let first, let second, let delay): schedule(.establish(first, second), after: delay)
            }
        }
        networkActions.removeAll(keepingCapacity: true)
    }

    private func establish(_ first: Int, _ second: Int) {
        for end in network.established(first, second) {
            if end.hadLink { tellLinkState(end.observer, end.peer, isUp: false) }
            tellLinkState(end.observer, end.peer, isUp: true)
        }
    }

    private func tellLinkState(_ observer: Int, _ peer: Int, isUp: Bool) {
        guard nodes[observer].process != nil else { return }
        note(nodes[observer].name, "\(isUp ? "link to" : "lost link to") \(nodes[peer].name)")
        let id = nodes[peer].id
        let agreed = agreedFeatures(observer, peer)
        for lane in 0..<nodes[observer].laneCount {
            enqueue(isUp ? .peerUp(id, agreed) : .peerDown(id), node: observer, lane: lane)
        }
        enqueueControl(isUp ? .peerUp(id, agreed) : .peerDown(id), node: observer)
    }
}

extension SimulationPlan {
    /// What the checkers may expect of a bucket's keys.
    func promise(for bucket: Bucket) -> KeyPromise {
        let mode: KeyPromise.Mode =
            bucket.turnsLastWriteWins ? .changing : bucket.isLastWriteWins ? .lww : .siblings
        return KeyPromise(
            copies: bucket.copies, mode: mode,
            writeQuorum: bucket.changesQuorums
                ? 1 : QuorumNumbers(bucket: bucket, options: QuorumOptions()).write,
            forgets: forgets || mayFence)
    }

    var summary: String {
        let shape = buckets.map { bucket in
            "\(bucket.id) n=\(bucket.copies) \(bucket.turnsLastWriteWins ? "siblings->lww" : "\(bucket.properties.conflictMode)")"
        }.joined(separator: ", ")
        return "seed \(seed): \(nodeCount) nodes, lanes \(laneCounts), Q=\(ringSize.partitions), "
            + "\(keys.count) keys, \(clientCount) clients, \(operations) operations; \(shape)"
    }
}
