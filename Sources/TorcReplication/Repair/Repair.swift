// Anti-entropy of one lane: its replicas are compared with their co-owners' again and again, in the background,
// within a budget, and what differs is merged both ways. It needs no read of a client: what a replica missed
// while it was away, or lost with its disk, comes back by itself.
//
//   RepairSchedule ─ which pair is next ─► Exchange ─ questions, scans, reads, writes ─► peers, vnodes, store
//   peers ─ questions ─► answered from the leaves at once, or from a scan of their range
//
// Invariants:
// - Nothing is replaced, only merged, by the ordinary reads and writes of replicas.
// - One exchange at a time. It ends: by completing, by giving way, by a failure, or by silence.
// - Trees are compared only with nodes that know the same placement. So a comparison that was begun and completed
//   under one proves that nothing is left behind at its peer that came there under an older one.
//
// After Dynamo (DeCandia et al., 2007, section 4.7), with trees that the writes themselves keep up to date.

import NIOCore
import OrderedCollections
package import TorcModel

package struct Repair: Sendable {
    private struct Demand: Sendable {
        var waiting: Set<RepairPair>
        var report = RepairReport()
    }

    private struct ServedScan: Sendable {
        var asker: NodeID
        var question: TreeQuestion
        var leaves: [UInt16]
    }

    private let configuration: LaneConfiguration
    private let limits: RepairLimits
    private var placement: Placement
    private var copies: [UInt8]
    private var schedule: RepairSchedule
    private var isScheduled = false
    private var linked: Set<NodeID> = []
    private var isDraining = false

    /// A tree that nothing was written to: most are, in a large ring.
    private let emptyTree: MerkleTree
    private var exchange: Exchange?
    private var budget: RepairBudget
    private var numbers: AskerNumbers
    private var demands: OrderedDictionary<RequestID, Demand> = [:]
    private var served: [StoreToken: ServedScan] = [:]
    package private(set) var statistics = RepairStatistics()
    /// When `tick` is due.
    package private(set) var nextDeadline: MonotonicTime?

    package init(configuration: LaneConfiguration, placement: Placement, properties: PropertiesTable) {
        self.configuration = configuration
        limits = configuration.limits.repair
        self.placement = placement
        copies = properties.copiesInUse
        schedule = RepairSchedule(limits: limits)
        emptyTree = MerkleTree(emptyFor: LeafLayout(ringSize: placement.ring.size))
        budget = RepairBudget(limits)
        numbers = AskerNumbers(.repair, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    package var status: [RepairStatus] { schedule.status }
    /// The pair that is being compared.
    package var current: RepairPair? { exchange?.pair }

    /// A replica of this lane is asked for a client's sake.
    package mutating func giveWay(_ now: Now) { budget.giveWay(at: now.monotonic) }

    // MARK: The node

    package mutating func peerUp(_ node: NodeID, _ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]) {
        if linked.contains(node) { peerDown(node, leaves, now, &effects) }
        linked.insert(node)
        makeSchedule(now)
        schedule.peerUp(node, at: now.monotonic)
        advance(leaves, now, &effects)
    }

    package mutating func peerDown(_ node: NodeID, _ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]) {
        guard linked.remove(node) != nil else { return }
        if exchange?.pair.peer == node { exchange!.abort() }
        served = served.filter { $0.value.asker != node }
        let lost = demands.values.flatMap(\.waiting).filter { $0.peer == node }
        for pair in lost { ended(pair, completed: false, differing: 0, &effects) }
        advance(leaves, now, &effects)
    }

    package mutating func ringChanged(
        _ placement: Placement, _ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]
    ) {
        self.placement = placement
        exchange?.abort()
        // What it was about is done with: it must not count for what the new placement awaits.
        settle(leaves, now, &effects)
        // The pairs are others now: who waits for those of before asks again.
        for pair in awaitedByPeople { ended(pair, completed: false, differing: 0, &effects) }
        rebuild(now, isNew: true)
        advance(leaves, now, &effects)
    }

    /// How far this lane is with what moves to its node.
    package func progress(_ leaves: LeafTable) -> LaneProgress {
        var report = HandoffReport()
        report.pending = schedule.awaited
        report.total = schedule.awaitedAtFirst
        for count in copies { report.compares |= HandoffReport.bit(Int(count)) }
        for tree in leaves.trees where leaves[tree]!.contains(where: { $0 != 0 }) {
            report.holds |= HandoffReport.bit(Int(tree.copies))
        }
        return LaneProgress(placement: placement.fingerprint, report: report)
    }

    /// Comparisons that are awaited.
    package var awaited: Int { schedule.awaited }

    package mutating func propertiesChanged(
        _ properties: PropertiesTable, _ now: Now, _ effects: inout [RepairEffect]
    ) {
        let inUse = properties.copiesInUse
        guard inUse != copies else { return }
        copies = inUse
        rebuild(now)
        // Pairs of a number of copies that is not in use any more are compared by nobody.
        for pair in awaitedByPeople where !inUse.contains(pair.tree.copies) {
            ended(pair, completed: false, differing: 0, &effects)
        }
    }

    package mutating func drain(_ effects: inout [RepairEffect]) {
        isDraining = true
        exchange = nil
        nextDeadline = nil
        for (request, demand) in demands { effects.append(.repaired(request, demand.report)) }
        demands = [:]
    }

    /// Before what is awaited is asked for.
    package mutating func prepare(_ now: Now) { makeSchedule(now) }

    private mutating func makeSchedule(_ now: Now) {
        if !isScheduled { rebuild(now) }
    }

    private mutating func rebuild(_ now: Now, isNew: Bool = false) {
        schedule.rebuild(
            placement: placement, isNew: isNew || !isScheduled, copies: copies, configuration: configuration,
            now: now.monotonic)
        isScheduled = true
    }

    // MARK: People

    /// Compares this node's replicas, of one partition or of all, with every co-owner's, whoever else begins
    /// those exchanges.
    package mutating func demanded(
        _ request: RequestID, _ partition: PartitionID?, _ leaves: LeafTable, _ now: Now,
        _ effects: inout [RepairEffect]
    ) {
        makeSchedule(now)
        guard !isDraining, demands.count < limits.requests else {
            return effects.append(.repaired(request, RepairReport()))
        }
        let pairs = schedule.demand(partition, at: now.monotonic)
        var demand = Demand(waiting: Set(pairs.filter { linked.contains($0.peer) }))
        demand.report.pairs = pairs.count
        guard !demand.waiting.isEmpty else { return effects.append(.repaired(request, demand.report)) }
        demands[request] = demand
        advance(leaves, now, &effects)
    }

    /// What is being compared of a partition began before something was lost there, and proves nothing about it.
    package mutating func lost(
        _ partition: PartitionID, _ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]
    ) {
        guard exchange?.pair.tree.partition == partition else { return }
        exchange!.abort()
        advance(leaves, now, &effects)
    }

    /// Whether one more request can be taken.
    package var takesRequests: Bool { !isDraining && demands.count < limits.requests }
    package var isDrained: Bool { isDraining }

    /// In one order, whatever that of a set is.
    private var awaitedByPeople: [RepairPair] { demands.values.flatMap(\.waiting).sorted() }

    private mutating func ended(
        _ pair: RepairPair, completed: Bool, differing: Int, _ effects: inout [RepairEffect]
    ) {
        for (request, demand) in demands where demand.waiting.contains(pair) {
            var demand = demand
            demand.waiting.remove(pair)
            demand.report.differing += differing
            if completed { demand.report.compared += 1 }
            demands[request] = demand.waiting.isEmpty ? nil : demand
            if demand.waiting.isEmpty { effects.append(.repaired(request, demand.report)) }
        }
    }

    // MARK: Own exchanges

    package mutating func answered(
        _ operation: OperationID, _ answer: TreeAnswer, from node: NodeID, _ leaves: LeafTable, _ now: Now,
        _ effects: inout [RepairEffect]
    ) {
        guard exchange?.pair.peer == node else { return }
        exchange!.answered(operation, answer, leaves, now: now.monotonic)
        advance(leaves, now, &effects)
    }

    /// A replica's answer, of the peer.
    package mutating func received(
        _ message: PeerMessage, from node: NodeID, _ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]
    ) {
        guard exchange?.pair.peer == node else { return }
        switch message {
        case .readResult(let operation, let outcome):
            exchange!.fetched(operation, outcome, &budget, &statistics, now: now.monotonic, &effects)
        case .wrote(let operation, let outcome): exchange!.pushed(operation, outcome, now: now.monotonic)
        default: return
        }
        advance(leaves, now, &effects)
    }

    /// A replica's answer, of this node.
    package mutating func replied(
        _ operation: OperationID, _ reply: VnodeReply, _ leaves: LeafTable, _ now: Now,
        _ effects: inout [RepairEffect]
    ) {
        exchange?.replied(operation, reply, &budget, &statistics, now: now.monotonic, &effects)
        advance(leaves, now, &effects)
    }

    package mutating func tick(_ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]) {
        guard let due = nextDeadline, due <= now.monotonic else { return }
        if let exchange, exchange.lastProgress.advanced(by: limits.patience) <= now.monotonic, !exchange.canAdvance {
            self.exchange!.abort()
        }
        advance(leaves, now, &effects)
    }

    /// Whatever can be done now, as far as the budget reaches; then sets the time of the next step.
    private mutating func advance(_ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]) {
        guard !isDraining else { return }
        makeSchedule(now)
        while true {
            settle(leaves, now, &effects)
            if budget.opens > now.monotonic { break }
            if exchange == nil {
                guard limits.isOn || !demands.isEmpty || schedule.awaited > 0,
                    let pair = schedule.next(at: now.monotonic, linked: linked)
                else { break }
                exchange = Exchange(
                    pair: pair, placement: placement, layout: leaves.layout, seed: configuration.hashSeed,
                    limits: limits,
                    emptyRoot: emptyTree.root, now: now.monotonic)
            }
            guard exchange!.canAdvance else { break }
            budget.spend(operations: 1, at: now.monotonic)
            exchange!.advance(leaves, &numbers, &statistics, now: now.monotonic, &effects)
        }
        setDeadline(now)
    }

    /// Takes leave of an exchange that has ended.
    private mutating func settle(_ leaves: LeafTable, _ now: Now, _ effects: inout [RepairEffect]) {
        guard let exchange, let end = exchange.end else { return }
        self.exchange = nil
        statistics.exchanges += 1
        statistics.failedKeys += UInt64(exchange.failedKeys)
        effects.append(
            .observed(.exchanged(exchange.pair, failed: end == .failed, differing: exchange.differing)))
        switch end {
        case .completed:
            let isEmpty = leaves[exchange.pair.tree] == nil && exchange.differing == 0
            schedule.completed(exchange.pair, differing: exchange.differing, isEmpty: isEmpty, at: now)
        case .gaveWay: return schedule.gaveWay(exchange.pair, at: now.monotonic)
        case .failed:
            statistics.failedExchanges += 1
            schedule.failed(exchange.pair, differing: exchange.differing, at: now.monotonic)
        }
        ended(exchange.pair, completed: end == .completed, differing: exchange.differing, &effects)
    }

    private mutating func setDeadline(_ now: Now) {
        if let exchange {
            nextDeadline =
                exchange.canAdvance ? budget.opens : exchange.lastProgress.advanced(by: limits.patience)
        } else if limits.isOn || !demands.isEmpty || schedule.awaited > 0 {
            nextDeadline = schedule.nextDue(linked: linked).map { max($0, budget.opens) }
        } else {
            nextDeadline = nil
        }
    }

    // MARK: Others' exchanges

    /// `isWhole`: nothing of the partition is lost here.
    package mutating func asked(
        _ question: TreeQuestion, by node: NodeID, _ leaves: LeafTable, isWhole: Bool = true,
        _ effects: inout [RepairEffect]
    ) {
        if let refusal = refusal(of: question, by: node) { return answer(question, .refused(refusal), node, &effects) }
        // Who takes a partition over compares it with this node once, and reads go to it then.
        if !isWhole,
            placement.sources(for: node, of: question.tree.partition, copies: Int(question.tree.copies))
                .contains(configuration.node)
        {
            return answer(question, .refused(.busy), node, &effects)
        }
        let layout = leaves.layout
        switch question.subject {
        case .root(let theirs):
            let tree = leaves[question.tree] == nil ? emptyTree : MerkleTree(question.tree, in: leaves)
            answer(question, tree.root == theirs ? .equal : .branches(tree.branches), node, &effects)
        case .leaves(let branches):
            guard TreeRange.isValid(branches, below: MerkleTree.branchCount(layout)) else {
                return answer(question, .refused(.malformed), node, &effects)
            }
            let tree = MerkleTree(question.tree, in: leaves)
            let asked = branches.flatMap { tree.leaves[MerkleTree.leaves(of: Int($0), layout)] }
            answer(question, .leaves(asked), node, &effects)
        case .keys(let numbers, let after, let through):
            guard TreeRange.isValid(numbers, below: layout.leavesPerPartition) else {
                return answer(question, .refused(.malformed), node, &effects)
            }
            guard served.count < limits.scansServed else {
                return answer(question, .refused(.busy), node, &effects)
            }
            let token = self.numbers.nextToken()
            served[token] = ServedScan(asker: node, question: question, leaves: numbers)
            effects.append(
                .scan(TreeRange.scan(token, question.tree, numbers, after, through: through, layout, limits)))
        }
    }

    private func refusal(of question: TreeQuestion, by node: NodeID) -> TreeRefusal? {
        guard question.ring == placement.fingerprint else { return .otherRing }
        let tree = question.tree
        guard placement.ring.size.contains(tree.partition),
            (1...BucketProperties.maximumCopies).contains(Int(tree.copies)),
            LaneConfiguration.lane(of: tree.partition, laneCount: configuration.laneCount) == configuration.lane
        else { return .malformed }
        let owners = placement.ranked(tree.partition, copies: Int(tree.copies))
        return owners.contains(configuration.node) && owners.contains(node) ? nil : .notHeld
    }

    package mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ leaves: LeafTable, _ now: Now,
        _ effects: inout [RepairEffect]
    ) {
        let bytes = entries.map { TreeRange.bytes(of: $0) } ?? 0
        statistics.scannedBytes += UInt64(bytes)
        guard let scan = served.removeValue(forKey: token) else {
            guard exchange != nil else { return }
            budget.spend(bytes: bytes, at: now.monotonic)
            exchange!.scanned(token, entries, finished: finished, now: now.monotonic, &effects)
            return advance(leaves, now, &effects)
        }
        guard let entries else { return answer(scan.question, .refused(.unreadable), scan.asker, &effects) }
        let keys = TreeRange.keys(
            of: entries, in: scan.question.tree, scan.leaves, leaves.layout, configuration.hashSeed, &effects)
        answer(scan.question, .keys(keys, resume: finished ? nil : entries.last?.storageKey), scan.asker, &effects)
    }

    private func answer(
        _ question: TreeQuestion, _ answer: TreeAnswer, _ node: NodeID, _ effects: inout [RepairEffect]
    ) {
        effects.append(.send(.compared(question.operation, answer), to: node))
    }
}

extension PropertiesTable {
    /// Every n that a bucket may have, ascending: each has trees of its own.
    var copiesInUse: [UInt8] {
        Set(sorted.map(\.versioned.properties.n) + [BucketProperties().n]).sorted()
    }
}
