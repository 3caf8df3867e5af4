// One lane: the replicas and the coordinator that one event loop of a node runs, as one machine. It carries
// what the one asks of the other, until neither asks anything more, and hands the rest to the shell.
//
//   client, peers ─► Coordinator ──reads, writes, mints──► Vnodes ─► store
//                        ▲  └──────── messages ─────────► peers      │
//                        └───────── replies ◄────────────────────────┘
//   peers ──reads, writes──► Vnodes      peers ──pages──► PageServer ─► store
//   Repair ──reads, writes──► Vnodes, peers; scans ─► store
//   Reaper ──steps──► Vnodes; questions ─► members; scans ─► store
//   store ──hints──► HintDelivery ──writes──► peers ──stored──► HintDelivery ──drops──► Vnodes
//   store ──what is others' now──► Clearance ──discards──► Vnodes
//   store ──everything──► Scrub ──corrections of leaves──► Vnodes
//   store ──damaged partitions──► Salvage ─► the store copies them, Repair compares them
//   all that read ──damaged records──► Mending ──reads──► peers ──copies──► Mending ──► Vnodes
//
// Everything is decided here in the order of the events; nothing depends on the order of a hash table.

package import TorcModel

package struct Lane: Sendable {
    private let configuration: LaneConfiguration
    private var coordinator: Coordinator
    /// Those that this turn has brought.
    private var reads = SharedReads()
    private var vnodes: Vnodes
    private var pageServer: PageServer
    private var repair: Repair
    private var hintDelivery: HintDelivery
    private var clearance: Clearance
    private var scrub: Scrub
    private var mending: Mending
    private var salvage: Salvage
    private var placement: Placement
    /// When the lane last told how far it is: comparisons that were awaited, and whether hints were kept.
    private var told: (awaited: Int, keepsHints: Bool)?
    private var hasBegun = false
    private var reaper: Reaper
    private var tokens: LinkTokens
    /// What clients ask this lane for.
    private var hotKeys = HotKeySketch()
    /// Agreed on with each peer to which a link stands.
    private var features: [NodeID: PeerFeatures] = [:]
    /// Empty between events; kept for their storage.
    private var fromCoordinator: [CoordinatorEffect] = []
    private var fromVnodes: [VnodeEffect] = []
    private var fromRepair: [RepairEffect] = []
    private var fromDelivery: [HintEffect] = []
    private var fromClearance: [ClearanceEffect] = []
    private var fromReaper: [ReapEffect] = []
    private var fromScrub: [ScrubEffect] = []
    private var fromMending: [MendEffect] = []

    /// `leaves`, `hints`, `lost` leaves of partitions: as the store recovered them. `generator` draws this lane's actors: seeded anew in each incarnation.
    package init(
        configuration: LaneConfiguration, placement: Placement, properties: PropertiesTable, leaves: LeafTable,
        hints: [NodeID: HintTotal] = [:], lost: [PartitionID: [Int]] = [:], generator: SeededGenerator
    ) {
        self.configuration = configuration
        salvage = Salvage(lost: lost.keys.sorted(), delay: configuration.limits.mending.delay)
        coordinator = Coordinator(configuration: configuration, placement: placement, properties: properties)
        vnodes = Vnodes(configuration: configuration, leaves: leaves, hints: hints, generator: generator)
        vnodes.ringChanged(placement)
        for (partition, leaves) in lost { vnodes.gates.lose(leaves, of: partition) }
        pageServer = PageServer(configuration: configuration, placement: placement)
        repair = Repair(configuration: configuration, placement: placement, properties: properties)
        hintDelivery = HintDelivery(configuration: configuration, placement: placement)
        clearance = Clearance(configuration: configuration, placement: placement)
        scrub = Scrub(configuration: configuration, layout: leaves.layout)
        mending = Mending(configuration: configuration, placement: placement, properties: properties)
        self.placement = placement
        reaper = Reaper(configuration: configuration, placement: placement, properties: properties)
        tokens = LinkTokens(configuration: configuration)
    }

    /// A read of a class's field copies the whole lane, ten kilobytes of it; this looks at it where it is.
    package mutating func inPlace<Value>(_ read: (inout Lane) -> Value) -> Value { read(&self) }

    /// When `.tick` is due; asked after `.turnEnded`.
    package var nextDeadline: MonotonicTime? {
        var due = coordinator.nextDeadline
        if let repairs = repair.nextDeadline { due = due.map { min($0, repairs) } ?? repairs }
        if let delivery = hintDelivery.nextDeadline { due = due.map { min($0, delivery) } ?? delivery }
        if let clearing = clearance.nextDeadline { due = due.map { min($0, clearing) } ?? clearing }
        if let reaping = reaper.nextDeadline { due = due.map { min($0, reaping) } ?? reaping }
        if let scrubbing = scrub.nextDeadline { due = due.map { min($0, scrubbing) } ?? scrubbing }
        if let mends = mending.nextDeadline { due = due.map { min($0, mends) } ?? mends }
        if repair.takesRequests, let comparing = salvage.nextDeadline {
            due = due.map { min($0, comparing) } ?? comparing
        }
        if let asking = tokens.nextDeadline { due = due.map { min($0, asking) } ?? asking }
        return due
    }

    /// The leaves as the writes up to now make them.
    package var leaves: LeafTable { vnodes.leaves }

    package var repairStatus: [RepairStatus] { repair.status }
    package var repairStatistics: RepairStatistics { repair.statistics }
    package var scrubStatistics: ScrubStatistics { scrub.statistics }
    package var mendStatistics: MendStatistics { mending.statistics }
    package var salvageStatistics: SalvageStatistics { salvage.statistics }
    package var reapStatus: [ReapStatus] { reaper.status }
    /// As it was told last.
    package private(set) var removalsHeldUntil = MonotonicTime.zero
    package var reapStatistics: ReapStatistics {
        var statistics = reaper.statistics
        statistics.reaped = vnodes.reaped
        statistics.gravesClosed = vnodes.closedGraves
        statistics.expired = vnodes.expired
        statistics.pruned = vnodes.pruned
        return statistics
    }

    /// What this lane's clients ask for most, the hottest first.
    package mutating func hotKeys(limit: Int, at now: MonotonicTime) -> HotKeyReport {
        hotKeys.report(at: now, limit: limit)
    }

    /// What is kept for other nodes.
    package var hints: [NodeID: HintTotal] { vnodes.hints }

    /// Nothing is open, parked, unwritten or unsynced: after `.drain`, it may stop. Repair never is at rest, and
    /// can stop at any time.
    package var isIdle: Bool {
        coordinator.isIdle && reads.isEmpty && vnodes.isIdle && pageServer.isIdle && hintDelivery.isIdle
    }

    /// Requests that are not answered.
    package var openCount: Int { coordinator.openCount + coordinator.listingCount + reads.count }

    package mutating func handle(_ event: consuming LaneEvent, now: Now, effects: inout [LaneEffect]) {
        switch consume event {
        case .client(let request, let body, let deadline):
            hotKeys.note(body.key, isRead: body.isRead, at: now.monotonic)
            switch body {
            case .get(let get): reads.add(request, get, deadline: deadline)
            case .put, .delete: coordinator.client(request, body, deadline: deadline, now, &fromCoordinator)
            }
        case .list(let request, let list, let deadline):
            coordinator.list(request, list, deadline: deadline, now, &fromCoordinator)
        case .listContinue(let request): coordinator.listContinue(request, now, &fromCoordinator)
        case .cancel(let request): if !reads.cancel(request) { coordinator.cancel(request) }
        case .peer(let node, let message): receive(message, from: node, now, &effects)
        case .peerUp(let node, let agreed):
            features[node] = agreed
            if tokens.peerUp(node, now.monotonic, &effects) { linked(node, now) }
        case .peerDown(let node):
            features[node] = nil
            coordinator.peerDown(node, now, &fromCoordinator)
            repair.peerDown(node, vnodes.leaves, now, &fromRepair)
            hintDelivery.peerDown(node, now, &fromDelivery)
            reaper.peerDown(node, now, &fromReaper)
            mending.peerDown(node, now, &fromMending)
            tokens.peerDown(node)
        case .recordReadDeferred(let token): vnodes.recordReadDeferred(token, effects: &fromVnodes)
        case .recordRead(let token, let result):
            vnodes.recordRead(token, result, now: now, effects: &fromVnodes)
        case .scanned(let token, let entries, let finished):
            switch token.asker {
            case .repair: repair.scanned(token, entries, finished: finished, vnodes.leaves, now, &fromRepair)
            case .hints: hintDelivery.scanned(token, entries, finished: finished, now, &fromDelivery)
            case .listings: pageServer.scanned(token, entries, finished: finished, vnodes.gates, now.wall, &effects)
            case .clearance: clearance.scanned(token, entries, finished: finished, now, &fromClearance)
            case .reaping: reaper.scanned(token, entries, finished: finished, now, &fromReaper)
            case .scrub: scrub.scanned(token, entries, finished: finished, vnodes.leaves, now, &fromScrub)
            case .requests, .mending: break
            }
        case .turnEnded:
            for read in reads.take() { coordinator.read(read, now, &fromCoordinator) }
            coordinator.turnEnded()
            hintDelivery.turnEnded(kept: vnodes.hints, now, &fromDelivery)
            if reaper.nextDeadline == nil { reaper.advance(now, &fromReaper) }
            settle(now, &effects)
            vnodes.turnEnded(effects: &fromVnodes)
            tellProgress(now, &effects)
            askForSalvage(&effects)
        case .committed(let batch):
            scrub.committed(batch)
            vnodes.committed(batch, effects: &fromVnodes)
            askForSalvage(&effects)
        case .synced(let batch):
            vnodes.synced(through: batch, effects: &fromVnodes)
            pageServer.synced(through: batch, &effects)
            askForSalvage(&effects)
        case .ringChanged(let placement):
            self.placement = placement
            told = nil
            vnodes.ringChanged(placement)
            coordinator.ringChanged(placement, now, &fromCoordinator)
            pageServer.ringChanged(placement, &effects)
            repair.ringChanged(placement, vnodes.leaves, now, &fromRepair)
            hintDelivery.ringChanged(placement)
            clearance.ringChanged(placement, vnodes.leaves, now)
            reaper.ringChanged(placement, now)
            mending.ringChanged(placement, now)
            salvage.ringChanged(now)
        case .propertiesChanged(let entries):
            coordinator.propertiesChanged(entries, now)
            repair.propertiesChanged(coordinator.properties, now, &fromRepair)
            reaper.propertiesChanged(coordinator.properties, now)
            mending.propertiesChanged(coordinator.properties)
            told = nil
        case .suspected(let nodes):
            coordinator.suspected(nodes)
            reaper.suspected(nodes)
        case .diskSpace(let space): vnodes.space = space
        case .holdRemovals(let time):
            removalsHeldUntil = time
            if !Mutation.reapWhileHeld.isActive { reaper.hold(until: time, now) }
            if !Mutation.deliverWhileHeld.isActive { hintDelivery.hold(until: time) }
        case .tick:
            coordinator.tick(now, &fromCoordinator)
            repair.tick(vnodes.leaves, now, &fromRepair)
            clearance.tick(vnodes.leaves, now, &fromClearance)
            reaper.advance(now, &fromReaper)
            scrub.tick(placement, vnodes.leaves, now, &fromScrub)
            mending.tick(now, &fromMending)
            compareSalvaged(now)
            tokens.tick(now.monotonic, &effects)
        case .drain:
            coordinator.drain()
            repair.drain(&fromRepair)
            reaper.drain()
            scrub.drain()
            mending.drain()
            salvage.drain()
        case .repair(let request, let partition):
            repair.demanded(request, partition, vnodes.leaves, now, &fromRepair)
        case .damaged(let partition):
            if salvage.damaged(partition) { vnodes.gates.suspend(partition) }
        case .salvaged(let salvaged): take(salvaged, now, &effects)
        case .salvageFailed(let partition):
            vnodes.gates.resume(partition)
            salvage.failed(partition, hasLost: vnodes.gates.hasLost(partition), now)
        }
        settle(now, &effects)
    }

    // MARK: Damaged partitions

    private mutating func askForSalvage(_ effects: inout [LaneEffect]) {
        guard salvage.awaitsCommit, vnodes.isCommitted else { return }
        let ready = salvage.allCommitted { !vnodes.keepsRecords(of: $0) }
        for partition in ready { effects.append(.salvage(partition)) }
    }

    /// What is not there any more is counted no more, so that a comparison sees it.
    private mutating func take(_ salvaged: SalvagedPartition, _ now: Now, _ effects: inout [LaneEffect]) {
        let partition = salvaged.partition
        for copies in 1...UInt8(BucketProperties.maximumCopies) {
            let tree = TreeID(partition: partition, copies: copies)
            let former = vnodes.leaves[tree]
            let present = salvaged.leaves[copies]
            guard former != nil || present != nil else { continue }
            for leaf in 0..<vnodes.leaves.layout.leavesPerPartition {
                let delta = (present?[leaf] ?? 0) &- (former?[leaf] ?? 0)
                guard delta != 0 else { continue }
                let change = LeafChange(tree: tree, leaf: leaf, delta: delta)
                vnodes.correct(change)
                // A scrub that has read the copy already would set the same leaf right once more.
                scrub.changed([change])
            }
        }
        vnodes.gates.resume(partition)
        vnodes.gates.lose(salvaged.lost, of: partition)
        effects.append(.observed(.salvaged(partition, lostLeaves: salvaged.lost.count)))
        if salvage.copied(partition, hasLost: vnodes.gates.hasLost(partition), now) {
            effects.append(.observed(.restored(partition, differing: 0)))
            effects.append(.restored(partition))
        }
    }

    private mutating func compareSalvaged(_ now: Now) {
        guard !salvage.isIdle else { return }
        // An exchange that has seen leaves as they were before proves nothing.
        while !vnodes.isCorrecting, repair.takesRequests, let (request, partition) = salvage.nextDue(now) {
            repair.lost(partition, vnodes.leaves, now, &fromRepair)
            repair.demanded(request, partition, vnodes.leaves, now, &fromRepair)
        }
    }

    private mutating func compared(
        _ request: RequestID, _ report: RepairReport, _ now: Now, _ effects: inout [LaneEffect]
    ) {
        // Where there is no co-owner nothing can come back: what could not be read is gone.
        let isComplete = report.compared == report.pairs && (report.pairs > 0 || !repair.isDrained)
        guard
            let (partition, differing) = salvage.compared(
                request, isComplete: isComplete, differing: report.differing, now)
        else { return }
        vnodes.gates.restore(partition)
        effects.append(.observed(.restored(partition, differing: differing)))
        effects.append(.restored(partition))
    }

    private mutating func tellProgress(_ now: Now, _ effects: inout [LaneEffect]) {
        if !hasBegun {
            hasBegun = true
            clearance.ringChanged(placement, vnodes.leaves, now)
            scrub.begin(now)
        }
        guard placement.phase != .settled else { return }
        repair.prepare(now)
        let keepsHints = !vnodes.hints.isEmpty
        if let told, told == (repair.awaited, keepsHints) { return }
        told = (repair.awaited, keepsHints)
        var progress = repair.progress(vnodes.leaves)
        progress.report.keepsHints = keepsHints
        effects.append(.progress(progress))
    }

    /// Of what could come back from here: hints, and what was given away and is not cleared out yet.
    private func survey(_ now: Now) -> HintSurvey {
        var survey = vnodes.hintSurvey(now)
        if !clearance.isIdle || !hasBegun { survey.holds = true }
        return survey
    }

    private mutating func linked(_ node: NodeID, _ now: Now) {
        coordinator.peerUp(node, now, &fromCoordinator)
        repair.peerUp(node, vnodes.leaves, now, &fromRepair)
        hintDelivery.peerUp(node, now, &fromDelivery)
        reaper.peerUp(node, features[node] ?? [])
        mending.peerUp(node, now, &fromMending)
    }

    private mutating func receive(
        _ message: consuming PeerMessage, from node: NodeID, _ now: Now, _ effects: inout [LaneEffect]
    ) {
        if placement.isFenced(node), !Mutation.listenToFenced.isActive { return }
        switch message {
        case .write(let write):
            if write.operation.asker == .requests { repair.giveWay(now) }
            let address = write.hint.map { ReplyAddress.hintPeer(node, write.operation, target: $0) }
            vnodes.submit(
                .write(write), replyTo: address ?? .peer(node, write.operation), now: now, effects: &fromVnodes)
        case .read(let read, _):
            if read.operation.asker == .requests { repair.giveWay(now) }
            let address = read.hint.map { ReplyAddress.hintPeer(node, read.operation, target: $0) }
            vnodes.submit(.read(read), replyTo: address ?? .peer(node, read.operation), now: now, effects: &fromVnodes)
        case .wrote(let operation, let outcome) where operation.asker == .hints:
            hintDelivery.wrote(operation, outcome, by: node, now, &fromDelivery)
        case .page(let page): pageServer.requested(page, by: node, vnodes.gates, &effects)
        case .wrote(let operation, _) where operation.asker == .repair,
            .readResult(let operation, _) where operation.asker == .repair:
            repair.received(message, from: node, vnodes.leaves, now, &fromRepair)
        case .readResult(let operation, let outcome) where operation.asker == .mending:
            mending.answered(operation, outcome, from: node, now, &fromMending)
        case .compare(let question):
            let isWhole = vnodes.gates.isWhole(question.tree.partition)
            repair.asked(question, by: node, vnodes.leaves, isWhole: isWhole, &fromRepair)
        case .compared(let operation, let answer):
            repair.answered(operation, answer, from: node, vnodes.leaves, now, &fromRepair)
        case .wrote, .readResult, .forward, .forwarded, .pageResult, .hinted, .hintResult:
            coordinator.received(message, from: node, now, &fromCoordinator)
        case .askToken(let operation):
            let token = LinkToken(incarnation: configuration.incarnation, time: now.monotonic)
            effects.append(.send(.token(operation, token), to: node))
        case .token(_, let token): if tokens.received(token, from: node, now.monotonic) { linked(node, now) }
        case .reap(let question): reaper.asked(question, by: node, survey: survey(now), now, &fromReaper)
        case .reaped(let operation, let answer): reaper.answered(operation, answer, from: node, now, &fromReaper)
        // The control loop's.
        case .properties, .propertiesStored, .propertiesDigest, .membership, .ring: break
        }
    }

    /// Carries effects between the machines until none is left.
    private mutating func settle(_ now: Now, _ effects: inout [LaneEffect]) {
        while !fromCoordinator.isEmpty || !fromVnodes.isEmpty || !fromRepair.isEmpty || !fromDelivery.isEmpty
            || !fromClearance.isEmpty || !fromReaper.isEmpty || !fromScrub.isEmpty || !fromMending.isEmpty
        {
            if !fromScrub.isEmpty {
                var wanted: [ScrubEffect] = []
                swap(&wanted, &fromScrub)
                wanted.takeEach { carryOut($0, now, &effects) }
            }
            if !fromMending.isEmpty {
                var wanted: [MendEffect] = []
                swap(&wanted, &fromMending)
                wanted.takeEach { carryOut($0, now, &effects) }
            }
            if !fromClearance.isEmpty {
                var wanted: [ClearanceEffect] = []
                swap(&wanted, &fromClearance)
                wanted.takeEach { carryOut($0, now, &effects) }
            }
            if !fromReaper.isEmpty {
                var wanted: [ReapEffect] = []
                swap(&wanted, &fromReaper)
                wanted.takeEach { carryOut($0, now, &effects) }
            }
            if !fromRepair.isEmpty {
                var repairs: [RepairEffect] = []
                swap(&repairs, &fromRepair)
                repairs.takeEach { carryOut($0, now, &effects) }
            }
            if !fromDelivery.isEmpty {
                var wanted: [HintEffect] = []
                swap(&wanted, &fromDelivery)
                wanted.takeEach { carryOut($0, now, &effects) }
            }
            var asked: [CoordinatorEffect] = []
            swap(&asked, &fromCoordinator)
            asked.takeEach { carryOut($0, now, &effects) }
            if fromCoordinator.isEmpty { swap(&asked, &fromCoordinator) }
            var answered: [VnodeEffect] = []
            swap(&answered, &fromVnodes)
            answered.takeEach { carryOut($0, now, &effects) }
            if fromVnodes.isEmpty { swap(&answered, &fromVnodes) }
        }
    }

    private mutating func carryOut(_ effect: consuming CoordinatorEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .localRead(let read):
            repair.giveWay(now)
            let address = read.hint.map { ReplyAddress.hintCoordinator(read.operation, target: $0) }
            vnodes.submit(
                .read(read), replyTo: address ?? .coordinator(read.operation), now: now, effects: &fromVnodes)
        case .localWrite(let write):
            repair.giveWay(now)
            let address = write.hint.map { ReplyAddress.hintCoordinator(write.operation, target: $0) }
            vnodes.submit(
                .write(tokens.stamped(write, to: configuration.node, isLocal: true)),
                replyTo: address ?? .coordinator(write.operation), now: now, effects: &fromVnodes)
        case .mint(let mint):
            repair.giveWay(now)
            vnodes.submit(.mint(mint), replyTo: .coordinator(mint.operation), now: now, effects: &fromVnodes)
        case .send(let message, let node): send(message, to: node, &effects)
        case .answer(let request, let answer): effects.append(.answer(request, answer))
        case .listed(let request, let piece): effects.append(.listed(request, piece))
        case .observed(let observation): effects.append(.observed(observation))
        }
    }

    private mutating func carryOut(_ effect: consuming RepairEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .localRead(let read):
            vnodes.submit(.read(read), replyTo: .repair(read.operation), now: now, effects: &fromVnodes)
        case .localWrite(let write):
            vnodes.submit(
                .write(tokens.stamped(write, to: configuration.node, isLocal: true)),
                replyTo: .repair(write.operation), now: now, effects: &fromVnodes)
        case .scan(let scan): effects.append(.scan(scan))
        case .send(let message, let node): send(message, to: node, &effects)
        case .repaired(let request, let report) where Salvage.isOwn(request):
            compared(request, report, now, &effects)
        case .repaired(let request, let report): effects.append(.repaired(request, report))
        case .observed(let observation): observe(observation, now, &effects)
        }
    }

    private mutating func carryOut(_ effect: consuming ClearanceEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .scan(let request): effects.append(.scan(request))
        case .discard(let discard):
            vnodes.submit(.discard(discard), replyTo: .nobody, now: now, effects: &fromVnodes)
        }
    }

    private mutating func carryOut(_ effect: consuming ScrubEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .scan(let request): effects.append(.scan(request))
        case .correct(let change): vnodes.correct(change)
        case .observed(let observation): observe(observation, now, &effects)
        }
    }

    private mutating func carryOut(_ effect: consuming MendEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .send(let message, let node): effects.append(.send(message, to: node))
        case .mend(let write):
            vnodes.submit(
                .mend(tokens.stamped(write, to: configuration.node, isLocal: true)),
                replyTo: .mending(write.operation), now: now, effects: &fromVnodes)
        case .mended(let key): scrub.look(at: key, now)
        case .observed(let observation): effects.append(.observed(observation))
        }
    }

    /// Whoever finds a damaged record has it mended.
    private mutating func observe(_ observation: LaneObservation, _ now: Now, _ effects: inout [LaneEffect]) {
        switch observation {
        case .unreadableRecord(let key), .scrubbed(.unreadableRecord(let key)): mending.found(key, now)
        default: break
        }
        effects.append(.observed(observation))
    }

    private mutating func carryOut(_ effect: consuming HintEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .scan(let request): effects.append(.scan(request))
        case .send(let message, let node): send(message, to: node, &effects)
        case .drop(let drop): vnodes.submit(.drop(drop), replyTo: .nobody, now: now, effects: &fromVnodes)
        case .observed(let observation): effects.append(.observed(observation))
        }
    }

    private mutating func carryOut(_ effect: consuming ReapEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .scan(let request): effects.append(.scan(request))
        case .bury(let burial, let ticket):
            vnodes.submit(.bury(burial), replyTo: .reaping(ticket), now: now, effects: &fromVnodes)
        // Questions to oneself are answered at once: the lane of a partition asks about it.
        case .send(.reap(let question), configuration.node):
            reaper.asked(question, by: configuration.node, survey: survey(now), now, &fromReaper)
        case .send(.reaped(let operation, let answer), configuration.node):
            reaper.answered(operation, answer, from: configuration.node, now, &fromReaper)
        case .send(let message, let node): effects.append(.send(message, to: node))
        case .observed(let observation): effects.append(.observed(observation))
        }
    }

    /// A replica's write leaves with the token of its receiver.
    private func send(_ message: PeerMessage, to node: NodeID, _ effects: inout [LaneEffect]) {
        if case .write(let write) = message {
            effects.append(
                .send(.write(tokens.stamped(write, to: node, isLocal: node == configuration.node)), to: node))
        } else {
            effects.append(.send(message, to: node))
        }
    }

    private mutating func carryOut(_ effect: consuming VnodeEffect, _ now: Now, _ effects: inout [LaneEffect]) {
        switch consume effect {
        case .read(let token, let place, let key): effects.append(.read(token, place, key))
        case .write(let write):
            scrub.changed(write.leaves)
            coordinator.recordChanged(write.key, now)
            effects.append(.write(write))
        case .correct(let change):
            scrub.changed([change])
            effects.append(.correct(change))
        case .commit(let batch):
            scrub.commits(batch)
            pageServer.commits(batch)
            effects.append(.commit(batch))
        case .reply(let reply, .coordinator(let operation)):
            coordinator.replied(operation, reply, now, &fromCoordinator)
        case .reply(let reply, .repair(let operation)):
            repair.replied(operation, reply, vnodes.leaves, now, &fromRepair)
        case .reply(let reply, .reaping(let ticket)):
            switch reply {
            case .buried(let isDone): reaper.buried(ticket, isDone ? .holds(nil) : .differs, &fromReaper)
            case .mints(let actor): reaper.buried(ticket, .holds(actor), &fromReaper)
            default: break
            }
        case .reply(let reply, .peer(let node, let operation)):
            switch reply {
            case .read(let outcome): effects.append(.send(.readResult(operation, outcome), to: node))
            case .wrote(let outcome): effects.append(.send(.wrote(operation, outcome), to: node))
            // Of mints, which are never a peer's, and of waiting, which a peer's own patience answers for.
            case .deferred, .minted, .mintSynced, .refused, .buried, .mints, .mended: break
            }
        case .reply(let reply, .hintCoordinator(let operation, let target)):
            coordinator.hintReplied(operation, reply, of: target, now, &fromCoordinator)
        case .reply(let reply, .hintPeer(let node, let operation, let target)):
            switch reply {
            case .read(let outcome):
                effects.append(.send(.hintResult(operation, target: target, outcome), to: node))
            case .wrote(let outcome): effects.append(.send(.hinted(operation, target: target, outcome), to: node))
            case .deferred, .minted, .mintSynced, .refused, .buried, .mints, .mended: break
            }
        case .reply(let reply, .mending(let operation)):
            if case .mended(let outcome) = reply { mending.written(operation, outcome, now, &fromMending) }
        case .reply(_, .nobody): break
        case .observed(let observation): observe(observation, now, &effects)
        }
    }
}
