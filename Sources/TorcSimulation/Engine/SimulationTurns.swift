// A node's event loops: turns of its lanes and of its control loop, and what becomes of their effects.

import DequeModule
import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    func isRunning(_ id: ProcessID) -> Bool { nodes[id.node].process?.id == id }

    // MARK: Lanes

    func enqueue(_ event: LaneEvent, node: Int, lane: Int) {
        guard nodes[node].process != nil else { return }
        nodes[node].process!.lanes[lane].inbox.append(event)
        scheduleTurn(node: node, lane: lane)
    }

    private func scheduleTurn(node: Int, lane: Int) {
        guard !nodes[node].process!.lanes[lane].isTurnScheduled else { return }
        nodes[node].process!.lanes[lane].isTurnScheduled = true
        let id = nodes[node].process!.id
        schedule(.laneTurn(id, lane: lane), after: nodes[node].random.span(.zero...plan.turnDelay))
    }

    func runLaneTurn(_ id: ProcessID, lane: Int) {
        guard isRunning(id) else { return }
        if nodes[id.node].process!.pausedUntil > now {
            queue.schedule(.laneTurn(id, lane: lane), at: nodes[id.node].process!.pausedUntil)
            return
        }
        nodes[id.node].process!.lanes[lane].isTurnScheduled = false
        // As on a server: nothing is handled before what the last turn decided is in the log.
        guard nodes[id.node].process!.lanes[lane].stalledCommit == nil else { return }
        let waiting = nodes[id.node].process!.lanes[lane].inbox.count
        let count = isCalm ? waiting : min(waiting, 1 + nodes[id.node].random.below(plan.turnSize))
        var events: [LaneEvent] = []
        for _ in 0..<count {
            guard let event = nodes[id.node].process!.lanes[lane].inbox.popFirst() else { break }
            events.append(event)
        }
        runTurn(of: events, id, lane: lane)
    }

    /// Handles events and what follows at once from them, then ends the turn, until there is nothing to commit or a
    /// commit stalls.
    private func runTurn(of events: [LaneEvent], _ id: ProcessID, lane: Int) {
        var pending: [LaneEvent] = []
        for event in events {
            handle(event, id, lane: lane, pending: &pending)
            drain(&pending, id, lane: lane)
            if !isRunning(id) || violation != nil { return }
        }
        repeat {
            drain(&pending, id, lane: lane)
            guard isRunning(id), violation == nil else { return }
            if nodes[id.node].process!.lanes[lane].stalledCommit != nil { break }
            handle(.turnEnded, id, lane: lane, pending: &pending)
        } while isRunning(id) && !pending.isEmpty
        guard isRunning(id) else { return }
        scheduleTick(id, lane: lane)
        if !nodes[id.node].process!.lanes[lane].inbox.isEmpty { scheduleTurn(node: id.node, lane: lane) }
    }

    private func drain(_ pending: inout [LaneEvent], _ id: ProcessID, lane: Int) {
        while !pending.isEmpty, isRunning(id), violation == nil {
            let events = pending
            pending = []
            for event in events where isRunning(id) { handle(event, id, lane: lane, pending: &pending) }
        }
    }

    private func handle(_ event: LaneEvent, _ id: ProcessID, lane: Int, pending: inout [LaneEvent]) {
        var effects: [LaneEffect] = []
        let time = nodes[id.node].clock.now(at: now)
        nodes[id.node].process!.lanes[lane].machine.handle(event, now: time, effects: &effects)
        for effect in effects {
            perform(effect, id, lane: lane, pending: &pending)
            if !isRunning(id) || violation != nil { return }
        }
    }

    private func perform(_ effect: LaneEffect, _ id: ProcessID, lane: Int, pending: inout [LaneEvent]) {
        let node = id.node
        switch effect {
        case .read(let token, let place, let key):
            read(token, RecordName(key, hint: place.hint), id, lane: lane, pending: &pending)
        case .scan(let request):
            let delay = diskDelay(plan.disk.readDelay, node)
            schedule(.scanned(id, lane: lane, request), after: delay)
        case .write(let write):
            notePruning(write, node: node)
            noteVersions(ofRecord: write)
            note(nodes[node].name, key: keyIndex[write.key], "writes \(describe(write))")
            nodes[node].process!.lanes[lane].turnBatch.writes.append(write)
        case .correct(let change):
            checkCorrection(change, node: node)
            nodes[node].process!.lanes[lane].turnBatch.corrections.append(change)
        case .commit(let batch):
            commit(batch, id, lane: lane, pending: &pending)
        case .send(let message, let target):
            send(message, from: node, to: target)
        case .answer(let request, let answer):
            answered(request, answer, id, lane: lane)
        case .listed(let request, let piece):
            listed(request, piece, id, lane: lane)
        case .repaired(_, let report):
            note(nodes[node].name, "repaired \(report)")
        case .salvage(let partition):
            schedule(.salvage(id, partition), after: nodes[node].random.span(Self.salvageTime))
        case .restored(let partition):
            schedule(.restored(id, partition), after: nodes[node].random.span(Self.damageInterval))
        case .progress(let progress):
            enqueueControl(.progress(lane: lane, progress), node: node)
        case .observed(let observation):
            note(nodes[node].name, key: key(of: observation), "observed \(describe(observation))")
            if case .mended = observation { coverage.note(.mended) }
            if case .salvaged(_, let lost) = observation, lost > 0 { coverage.note(.salvaged) }
            if case .restored = observation { coverage.note(.restored) }
            if case .readShared = observation { coverage.note(.readShared) }
            if case .readCached(let key, let readers) = observation { noteCached(key, readers: readers) }
        }
    }

    private func read(_ token: StoreToken, _ name: RecordName, _ id: ProcessID, lane: Int, pending: inout [LaneEvent]) {
        let key = name.key
        let result = nodes[id.node].store.read(key, hint: name.hint)
        if result == .failed { foundDamage(of: plan.ringSize.partition(of: key.position), id) }
        guard nodes[id.node].random.chance(plan.disk.deferredReadPerMille) else {
            pending.append(.recordRead(token, result))
            return
        }
        note(nodes[id.node].name, key: keyIndex[key], "reads k\(keyIndex[key] ?? -1) from disk")
        pending.append(.recordReadDeferred(token))
        let delay = diskDelay(plan.disk.readDelay, id.node)
        // While the key is parked nothing changes it, so it cannot matter when the reader thread looks.
        let seen = nodes[id.node].random.chance(500) ? result : nil
        schedule(.recordRead(id, lane: lane, token, name, seen: seen), after: delay)
    }

    func scanned(_ id: ProcessID, lane: Int, _ request: ScanRequest) {
        guard isRunning(id) else { return }
        let result = nodes[id.node].store.scan(request, ringSize: plan.ringSize)
        if result == nil, request.hints == nil { foundDamage(of: request.partition, id) }
        enqueue(
            .scanned(request.token, entries: result?.entries, finished: result?.finished ?? false), node: id.node,
            lane: lane)
    }

    /// A machine that has nothing to do at the time it asked for, and asks for it again, keeps a processor busy.
    private static let vainTurnLimit = 1_000

    private func scheduleTick(_ id: ProcessID, lane: Int) {
        guard let deadline = nodes[id.node].process!.lanes[lane].nextDeadline else { return }
        let due = nodes[id.node].clock.time(of: deadline)
        let isVain = due <= now
        nodes[id.node].process!.lanes[lane].vainTurns = isVain ? nodes[id.node].process!.lanes[lane].vainTurns + 1 : 0
        if nodes[id.node].process!.lanes[lane].vainTurns > Self.vainTurnLimit {
            report(Violation(.restless, "lane \(lane) of \(nodes[id.node].name) waits for a time that has passed"))
        }
        let time = max(due, now + .microseconds(1))
        if let scheduled = nodes[id.node].process!.lanes[lane].scheduledTick, scheduled <= time { return }
        nodes[id.node].process!.lanes[lane].scheduledTick = time
        queue.schedule(.laneTick(id, lane: lane), at: time)
    }

    func laneTick(_ id: ProcessID, lane: Int) {
        guard isRunning(id), nodes[id.node].process!.lanes[lane].scheduledTick == now else { return }
        nodes[id.node].process!.lanes[lane].scheduledTick = nil
        enqueue(.tick, node: id.node, lane: lane)
    }

    // MARK: Sending

    private func send(_ message: PeerMessage, from node: Int, to target: NodeID) {
        guard let to = nodes.firstIndex(where: { $0.id == target }) else {
            return report(Violation(.wrongAnswer, "\(nodes[node].name) sends to \(target), which is no node"))
        }
        noteVersions(in: message, from: node, to: to)
        notePage(message, from: node, to: to)
        if case .membership(let told) = message { checkTold(told, by: node) }
        if case .ring(let told) = message { checkVote(told, by: node) }
        if to == node {
            route(message, from: target, to: node)
            return
        }
        note(nodes[node].name, key: key(of: message), "-> \(nodes[to].name) \(describe(message))")
        let agreed = agreedFeatures(node, to)
        let carried = message.adapted(to: agreed)
        // Who asked may have been replaced by an older build since: the link withholds the answer. A question must never come
        // to that (`checkVersion`).
        if case .reaped = carried, !agreed.isSuperset(of: carried.requiredFeatures) { return }
        network.send(carried, from: node, to: to, at: now, actions: &networkActions)
        performNetworkActions()
    }

    /// An answer does not name its key; its dots do.
    private func noteVersions(in message: PeerMessage, from node: Int, to: Int) {
        let sender = to == node ? nil : node
        switch message {
        case .write(let write): noteVersions(ofBody: write.body, key: write.key, sentBy: sender)
        case .readResult(_, .object(let body)), .hintResult(_, _, .object(let body)):
            guard let dot = try? VersionedObject(decoding: body).siblings.first?.dot, let key = dots.key(of: dot)
            else { return }
            noteVersions(ofBody: body, key: plan.keys[key].object, sentBy: sender)
        default: break
        }
    }

    private func noteVersions(ofRecord write: RecordWrite) {
        guard let bytes = write.record else { return }
        guard let record = try? Record(decoding: bytes, for: write.key) else {
            return report(
                Violation(.inventedValue, key: keyIndex[write.key], "a record is written that cannot be decoded"))
        }
        noteVersions(ofBody: record.body, key: write.key)
        guard record.isGrave, let key = keyIndex[write.key], let tombstone = try? record.object() else { return }
        reaped[key] = reaped[key]?.merged(with: tombstone) ?? tombstone
    }

    private func noteVersions(ofBody body: ByteBuffer, key: ObjectKey, sentBy sender: Int? = nil) {
        guard let index = keyIndex[key] else {
            return report(Violation(.inventedValue, "\(key) is written, and no client named it"))
        }
        guard let object = try? VersionedObject(decoding: body) else {
            return report(Violation(.inventedValue, key: index, "a body is sent that cannot be decoded"))
        }
        for sibling in object.siblings {
            report(dots.note(sibling, key: index, in: history))
            if let expiry = dots.removedExpiry(sibling, key: index) { checkRemoval(expiry, key: index) }
        }
        report(DotRegistry.checkRetries(object, key: index))
        guard let sender else { return }
        report(dots.noteSent(object, by: nodes[sender].id, key: index, held: loggedClock(of: key, at: sender)))
    }

    /// A version is removed as expired when the clocks of all its replicas have said so, and no sooner. Those of nodes
    /// that become its replicas later are not asked again.
    private func checkRemoval(_ expiry: WallTime, key: Int) {
        if let agreed = removedThrough[key], expiry <= agreed { return }
        for node in replicas(of: key) where nodes[node].clock.latestWall(at: now) < expiry {
            return report(
                Violation(
                    .expiry, key: key,
                    "a version of k\(key) is removed as expired, by the clock of \(nodes[node].name) it is not"))
        }
        removedThrough[key] = expiry
    }

    private func loggedClock(of key: ObjectKey, at node: Int) -> VersionVector {
        var clock = VersionVector()
        let own = nodes[node].store.intactRecord(of: key).map { [$0] } ?? []
        for bytes in own + nodes[node].store.hints(of: key, durable: false) {
            if let object = try? Record(decoding: bytes, for: key).object() { clock.merge(object.clock) }
        }
        return clock
    }

    /// A page names what its replica holds synced, or held when it was read and has handed over since. It may have come to
    /// hold the partition again before what it discarded is gone from its disk.
    private func notePage(_ message: PeerMessage, from node: Int, to: Int) {
        switch message {
        case .page(let page):
            guard case .keys(let bucket) = page.subject else { return }
            pageQuestions[PageName(asker: node, operation: page.operation)] = (bucket, nodes[to].store.syncPoint)
        case .pageResult(let operation, .page(let items, _)):
            guard let (bucket, asked) = pageQuestions[PageName(asker: to, operation: operation)] else { return }
            for item in items {
                let key = ObjectKey(bucket: bucket, key: item)
                let isHeld = keyIndex[key].map { replicas(of: $0).contains(node) } ?? true
                if isHeld, nodes[node].store.durableRecord(of: key) == nil,
                    !nodes[node].store.hasRemoved(key, since: asked)
                {
                    report(
                        Violation(
                            .notDurable, key: keyIndex[key],
                            "node \(nodes[node].name) lists \(name(key)), and does not hold it synced"))
                }
            }
        default: break
        }
    }

    /// However slow a disk is, it answers in the end.
    private static let longestDiskDelay = Span.seconds(2)

    private func diskDelay(_ mean: Span, _ node: Int) -> Span {
        min(nodes[node].random.exponential(mean: mean) * nodes[node].diskSlowness, Self.longestDiskDelay)
    }

    // MARK: The control loop

    /// `goesFirst`: a timer may be served before the messages that came earlier.
    func enqueueControl(_ event: ControlEvent, node: Int, goesFirst: Bool = false) {
        guard nodes[node].process != nil else { return }
        if goesFirst {
            nodes[node].process!.control.inbox.prepend(event)
        } else {
            nodes[node].process!.control.inbox.append(event)
        }
        guard !nodes[node].process!.control.isTurnScheduled else { return }
        nodes[node].process!.control.isTurnScheduled = true
        schedule(.controlTurn(nodes[node].process!.id), after: nodes[node].random.span(.zero...plan.turnDelay))
    }

    func runControlTurn(_ id: ProcessID) {
        guard isRunning(id) else { return }
        if nodes[id.node].process!.pausedUntil > now {
            queue.schedule(.controlTurn(id), at: nodes[id.node].process!.pausedUntil)
            return
        }
        nodes[id.node].process!.control.isTurnScheduled = false
        let views = nodes[id.node].process!.control.machine.membership.members
        var followed = false
        let time = nodes[id.node].clock.now(at: now)
        while let event = nodes[id.node].process!.control.inbox.popFirst() {
            var effects: [ControlEffect] = []
            nodes[id.node].process!.control.machine.handle(event, now: time, effects: &effects)
            for effect in effects {
                if case .ringInstalled = effect { followed = true }
                perform(effect, id)
            }
        }
        // Who left and is back has been forgotten in between.
        if !followed { checkViews(views, id) }
        guard let deadline = nodes[id.node].process!.control.machine.nextDeadline else { return }
        let tick = max(nodes[id.node].clock.time(of: deadline), now + .microseconds(1))
        if let scheduled = nodes[id.node].process!.control.scheduledTick, scheduled <= tick { return }
        nodes[id.node].process!.control.scheduledTick = tick
        queue.schedule(.controlTick(id), at: tick)
    }

    func controlTick(_ id: ProcessID) {
        guard isRunning(id), nodes[id.node].process!.control.scheduledTick == now else { return }
        nodes[id.node].process!.control.scheduledTick = nil
        enqueueControl(.tick, node: id.node, goesFirst: nodes[id.node].random.chance(500))
    }

    private func perform(_ effect: ControlEffect, _ id: ProcessID) {
        switch effect {
        case .storeProperties(let number, let entries):
            let delay = diskDelay(plan.disk.syncDelay, id.node)
            schedule(.propertiesStored(id, number, entries), after: delay)
        case .propertiesChanged(let entries):
            for lane in 0..<nodes[id.node].laneCount { enqueue(.propertiesChanged(entries), node: id.node, lane: lane) }
        case .send(let message, let target):
            send(message, from: id.node, to: target)
        case .answer(let request, let answer):
            propertiesAnswered(request, answer, id)
        case .storeMembershipIncarnation(let incarnation):
            schedule(.membershipStored(id, incarnation), after: diskDelay(plan.disk.syncDelay, id.node))
        case .routing(let suspected):
            for lane in 0..<nodes[id.node].laneCount { enqueue(.suspected(suspected), node: id.node, lane: lane) }
        case .observed(let observation):
            note(nodes[id.node].name, "observed \(describe(observation))")
            checkAccusation(observation, by: id.node)
        case .storeRing(let number, let record):
            schedule(.ringStored(id, number, record), after: diskDelay(plan.disk.syncDelay, id.node))
        case .ringInstalled(let state): ringInstalled(state, node: id.node)
        case .answerRing(let request, let answer): ringAnswered(request, answer, node: id.node)
        case .ringObserved(let observation): ringObserved(observation, node: id.node)
        }
    }

    /// A leaf is set right that something is wrong with, and no other.
    private func checkCorrection(_ change: LeafChange, node: Int) {
        note(nodes[node].name, "sets leaf \(change.leaf) of \(change.tree.partition) n=\(change.tree.copies) right")
        let address = LeafAddress(tree: change.tree, leaf: change.leaf)
        if nodes[node].uncounted.remove(address) != nil { return }
        guard !nodes[node].flaws.contains(address) else { return }
        report(
            Violation(
                .leafMismatch,
                "node \(nodes[node].name) changes leaf \(change.leaf) of \(change.tree.partition) n=\(change.tree.copies), "
                    + "which was right"))
    }

    // MARK: Commits and syncs

    private func commit(_ batch: BatchNumber, _ id: ProcessID, lane: Int, pending: inout [LaneEvent]) {
        let node = id.node
        let content = nodes[node].process!.lanes[lane].turnBatch
        nodes[node].process!.lanes[lane].turnBatch = SimulatedBatch()
        if nodes[node].process!.isCommitFailing {
            // A failed write may have reached the log all the same.
            if nodes[node].random.chance(500) {
                for write in content.writes { noteMend(write, node: node) }
                nodes[node].store.append(content, lane: lane, batch: batch)
            }
            note(nodes[node].name, "a commit fails")
            return crash(node, .nothing)
        }
        if !isCalm, nodes[node].random.chance(plan.disk.stalledCommitPerMille) {
            nodes[node].process!.lanes[lane].stalledCommit = (batch, content)
            let delay = nodes[node].random.exponential(mean: plan.disk.stallDelay)
            nodes[node].process!.lanes[lane].stalledUntil = now + delay
            return schedule(.retryCommit(id, lane: lane), after: delay)
        }
        append(content, batch, node: node, lane: lane)
        pending.append(.committed(batch))
    }

    /// A damaged record is written over: its leaf goes on counting what it held, until a scrub looks.
    private func noteMend(_ write: RecordWrite, node: Int) {
        guard write.hint == nil, nodes[node].store.isDamaged(write.key), let key = keyIndex[write.key] else { return }
        var sums: [LeafAddress: UInt64] = [:]
        func add(_ bytes: ByteBuffer?, sign: UInt64) {
            guard let record = bytes.flatMap({ try? Record(decoding: $0, for: write.key) }), !record.isGrave else {
                return
            }
            let hash = hashSeed.contentHash(key: write.key, body: record.body).rawValue
            sums[address(of: key, copies: record.header.copies), default: 0] &+= hash &* sign
        }
        add(write.record, sign: 1)
        add(nodes[node].store.intactRecord(of: write.key), sign: .max)
        for change in write.leaves {
            sums[LeafAddress(tree: change.tree, leaf: change.leaf), default: 0] &-= change.delta
        }
        nodes[node].flaws.formUnion(sums.filter { $0.value != 0 }.keys)
    }

    func retryCommit(_ id: ProcessID, lane: Int) {
        guard isRunning(id) else { return }
        if nodes[id.node].process!.pausedUntil > now {
            queue.schedule(.retryCommit(id, lane: lane), at: nodes[id.node].process!.pausedUntil)
            return
        }
        let (batch, content) = nodes[id.node].process!.lanes[lane].stalledCommit!
        nodes[id.node].process!.lanes[lane].stalledCommit = nil
        append(content, batch, node: id.node, lane: lane)
        runTurn(of: [.committed(batch)], id, lane: lane)
    }

    /// What was in the log may be sent, or shown, when it is not there any more: a hint that has been delivered, say.
    private func noteRemoval(_ write: RecordWrite, node: Int) {
        guard write.record == nil, let key = keyIndex[write.key] else { return }
        let own = nodes[node].store.intactRecord(of: write.key).map { [$0] } ?? []
        for bytes in write.hint == nil ? own : nodes[node].store.hints(of: write.key, durable: false) {
            guard let object = try? Record(decoding: bytes, for: write.key).object() else { continue }
            dots.noteRemoved(object, key: key, at: now)
        }
    }

    private func append(_ content: SimulatedBatch, _ batch: BatchNumber, node: Int, lane: Int) {
        for write in content.writes {
            noteMend(write, node: node)
            noteRemoval(write, node: node)
        }
        nodes[node].store.append(content, lane: lane, batch: batch)
        if nodes[node].random.chance(plan.disk.leafStorePerMille) { nodes[node].store.storeLeaves() }
        guard !nodes[node].process!.isSyncing else { return }
        nodes[node].process!.isSyncing = true
        schedule(.beginSync(nodes[node].process!.id), after: nodes[node].random.span(.zero...plan.disk.syncWait))
    }

    func beginSync(_ id: ProcessID) {
        guard isRunning(id) else { return }
        let delay = diskDelay(plan.disk.syncDelay, id.node)
        schedule(.endSync(id, nodes[id.node].store.syncPoint), after: delay)
    }

    func endSync(_ id: ProcessID, _ point: SimulatedStore.SyncPoint) {
        guard isRunning(id) else { return }
        let covered = nodes[id.node].store.synced(point, laneCount: nodes[id.node].laneCount)
        for (lane, batch) in covered.enumerated() {
            if let batch { enqueue(.synced(through: batch), node: id.node, lane: lane) }
        }
        if plan.faults.rollback > 0, nodes[id.node].random.chance(30) {
            nodes[id.node].images.append(nodes[id.node].store.image(at: now))
            if nodes[id.node].images.count > 4 { nodes[id.node].images.removeFirst() }
        }
        if nodes[id.node].store.hasUnsynced {
            schedule(.beginSync(id), after: nodes[id.node].random.span(.zero...plan.disk.syncWait))
        } else {
            nodes[id.node].process!.isSyncing = false
        }
    }
}
