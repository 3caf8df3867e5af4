// Processes start, stop and die, and faults strike.

import DequeModule
import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    // MARK: Starting

    func start(_ node: Int) {
        if let image = nodes[node].rollback {
            nodes[node].rollback = nil
            nodes[node].store.rollBack(to: image)
            nodes[node].images.removeAll { $0.taken > image.taken }
            nodes[node].forgot = now
            history.forget(node: node, since: image.taken)
            note(nodes[node].name, "comes back with its folder of \(image.taken)")
        }
        let features = installedVersion(node)
        processCount += 1
        let id = ProcessID(node: node, number: processCount)
        let incarnation = Incarnation(rawValue: nodes[node].random.next())
        nodes[node].clock.restart(at: now, base: nodes[node].random.next() >> 20)
        let laneCount = nodes[node].laneCount
        let properties = nodes[node].store.properties
        let record = nodes[node].store.ringRecord ?? RingRecord(state: ClusterState(declared: ring))
        countAnew(node)
        let lost = nodes[node].store.damagedPartitions.lost
        var lanes: [SimulatedLane] = []
        for lane in 0..<laneCount {
            let leaves = nodes[node].store.leafTable(layout: layout, lane: lane, laneCount: laneCount)
            checkLeaves(leaves, node: node, lane: lane, except: nodes[node].flaws)
            let configuration = LaneConfiguration(
                node: nodes[node].id, lane: lane, laneCount: laneCount, incarnation: incarnation, hashSeed: hashSeed,
                limits: plan.limits, features: features)
            let machine = Lane(
                configuration: configuration, placement: record.state.placement, properties: properties, leaves: leaves,
                hints: nodes[node].store.hintTotals(ringSize: plan.ringSize, lane: lane, laneCount: laneCount),
                lost: lost.filter { LaneConfiguration.lane(of: $0.key, laneCount: laneCount) == lane },
                generator: nodes[node].random.split())
            lanes.append(SimulatedLane(machine: machine))
        }
        let control = Control(
            node: nodes[node].id, laneCount: laneCount, incarnation: incarnation, record: record, table: properties,
            membership: membershipStart(node))
        nodes[node].process = SimulatedProcess(
            id: id, incarnation: incarnation, features: features, lanes: lanes,
            control: SimulatedControl(machine: control))
        note(
            nodes[node].name,
            "starts as incarnation \(incarnation)\(features == .supported ? "" : ", the older version")")
        enqueueControl(.tick, node: node)
        tellSpace(node)
        for partition in nodes[node].store.damagedPartitions.waiting { tellDamage(id, partition) }
        network.started(node, actions: &networkActions)
        performNetworkActions()
    }

    /// The leaves of a lane against the records that the store holds for it.
    func checkLeaves(_ table: LeafTable, node: Int, lane: Int, except flaws: Set<LeafAddress>) {
        let laneCount = nodes[node].laneCount
        let records = nodes[node].store.records.filter {
            LaneConfiguration.lane(of: plan.ringSize.partition(of: $0.key.position), laneCount: laneCount) == lane
        }
        if var found = LeafChecker(layout: layout, hashSeed: hashSeed).check(table, records: records, except: flaws) {
            found.message = "node \(nodes[node].name), lane \(lane): " + found.message
            report(found)
        }
    }

    // MARK: Ending

    /// The process ends, with all that it had not written.
    func crash(_ node: Int, _ loss: SimulatedStore.Loss) {
        guard let process = nodes[node].process else { return }
        var luck = nodes[node].random.split()
        if loss != .nothing, nodes[node].store.refusesDamageBelowMark(random: &luck) == false {
            report(Violation(.logCheck, "node \(nodes[node].name): damage below a sync mark is not refused"))
        }
        nodes[node].process = nil
        do {
            let survived = try nodes[node].store.crash(loss, random: &luck)
            note(nodes[node].name, "crashes (\(loss)), \(survived) unsynced changes survive")
        } catch {
            report(error)
        }
        leave(process)
    }

    private func leave(_ process: SimulatedProcess) {
        network.stopped(process.id.node, actions: &networkActions)
        performNetworkActions()
        for id in process.requests.values.sorted() {
            schedule(clients.brokenConnection(id), after: random.span(.zero ... .milliseconds(2)))
        }
        scheduleStart(process.id.node, after: isCalm ? .milliseconds(1) : random.span(plan.faults.downtime))
    }

    func scheduleStart(_ node: Int, after delay: Span) {
        guard !nodes[node].isStartScheduled, !nodes[node].staysDown else { return }
        nodes[node].isStartScheduled = true
        schedule(.start(node: node), after: delay)
    }

    func stopGracefully(_ node: Int) {
        guard let process = nodes[node].process, !process.isDraining else { return }
        nodes[node].process!.isDraining = true
        note(nodes[node].name, "drains")
        for lane in 0..<nodes[node].laneCount { enqueue(.drain, node: node, lane: lane) }
        schedule(.exit(process.id), after: random.span(.milliseconds(1) ... .milliseconds(300)))
    }

    /// The end of a graceful stop: what is in the log is synced, what is stalled is written first.
    func exit(_ id: ProcessID) {
        guard isRunning(id), let process = nodes[id.node].process else { return }
        for (lane, state) in process.lanes.enumerated() {
            if let (number, batch) = state.stalledCommit {
                nodes[id.node].store.append(batch, lane: lane, batch: number)
            }
        }
        let end = nodes[id.node].store.syncPoint
        _ = nodes[id.node].store.synced(end, laneCount: nodes[id.node].laneCount)
        note(nodes[id.node].name, "stops")
        nodes[id.node].process = nil
        var luck = nodes[id.node].random.split()
        do { _ = try nodes[id.node].store.crash(.nothing, random: &luck) } catch { report(error) }
        leave(process)
    }

    // MARK: Faults

    func strike() {
        guard !isCalm else { return }
        schedule(.fault, after: random.exponential(mean: plan.faults.meanInterval))
        let node = random.below(nodes.count)
        let other = nodes.count > 1 ? (node + 1 + random.below(nodes.count - 1)) % nodes.count : node
        let loss: SimulatedStore.Loss = plan.faults.losesBlocks ? .blocks : .suffix
        let kind = random.weighted(plan.faults.weights)
        guard strike(kind, node, other, loss) else { return }
        faultCount += 1
        coverage.note(Coverage.Site.faults[kind])
    }

    /// False: there was nothing to strike.
    private func strike(_ kind: Int, _ node: Int, _ other: Int, _ loss: SimulatedStore.Loss) -> Bool {
        let runs = nodes[node].process != nil
        switch kind {
        case 0: crash(node, .nothing)
        case 1: crash(node, loss)
        case 2: for index in nodes.indices { crash(index, loss) }
        case 3: stopGracefully(node)
        case 4:
            nodes[node].process?.isCommitFailing = true
            note(nodes[node].name, "its next commit will fail")
        case 5:
            guard runs else { return false }
            let pause = random.span(.milliseconds(5) ... .milliseconds(600))
            let end = max(nodes[node].process!.pausedUntil, now + pause)
            nodes[node].process!.pausedUntil = end
            note(nodes[node].name, "hangs until \(end)")
        case 6:
            nodes[node].diskSlowness = random.chance(500) ? 20 : 200
            note(nodes[node].name, "its disk is slow")
            schedule(.endFault(.slowDisk(node: node)), after: random.span(plan.faults.cutTime))
            return true
        case 7: return strikeLink(node, other)
        case 8: return partition()
        case 9:
            let jump = Int(plan.clocks.jump.nanoseconds / 1_000)
            let microseconds = random.within(-jump...jump)
            nodes[node].clock.jump(microseconds: Int64(microseconds), at: now)
            note(nodes[node].name, "its clock jumps by \(microseconds / 1_000) ms")
            return true
        case 10:
            guard !nodes[node].images.isEmpty, runs else { return false }
            nodes[node].rollback =
                random.chance(250) || plan.limits.reaping.isOn
                ? nodes[node].store.wipedImage() : random.pick(nodes[node].images)
            crash(node, loss)
        case 11: return damageRecord(node)
        case 13: return loseRecord(node)
        case 14: return alterLeaf(node)
        default:
            setSpace(random.chance(700) ? .low : .exhausted, node)
            schedule(.endFault(.fullDisk(node: node)), after: random.span(plan.faults.cutTime))
            return true
        }
        return runs
    }

    private func strikeLink(_ node: Int, _ other: Int) -> Bool {
        guard node != other else { return false }
        if random.chance(300) {
            network.setSlowness(random.chance(500) ? 10 : 100, from: node, to: other)
            note(nodes[node].name, "its link to \(nodes[other].name) is slow")
            schedule(.endFault(.slowLink(from: node, to: other)), after: random.span(plan.faults.cutTime))
        } else {
            cut([(node, other)])
        }
        return true
    }

    private func partition() -> Bool {
        let side = nodes.indices.map { _ in random.chance(500) }
        var cuts: [(from: Int, to: Int)] = []
        for from in nodes.indices {
            for to in nodes.indices where side[from] != side[to] { cuts.append((from, to)) }
        }
        if !cuts.isEmpty { cut(cuts) }
        return !cuts.isEmpty
    }

    private func cut(_ cuts: [(from: Int, to: Int)]) {
        note("net", "cuts " + cuts.map { "\(nodes[$0.from].name)->\(nodes[$0.to].name)" }.joined(separator: " "))
        for (from, to) in cuts { network.cut(from: from, to: to, actions: &networkActions) }
        performNetworkActions()
        schedule(.endFault(.cut(cuts)), after: random.span(plan.faults.cutTime))
        backUpDuringCut()
    }

    private func damageRecord(_ node: Int) -> Bool {
        // One damaged copy of a key at most: what is acknowledged must be somewhere else.
        let key = plan.salvages ? keyThatSomebodyLacks(beside: node) : random.below(plan.keys.count)
        let object = plan.keys[key].object
        guard plan.buckets[plan.keys[key].bucket].copies > 1, replicas(of: key).contains(node),
            nodes[node].store.durableRecord(of: object) != nil,
            !replicas(of: key).contains(where: { nodes[$0].store.isDamaged(object) }),
            // What was lost of a partition may be this key, until it is restored.
            !replicas(of: key).contains(where: {
                nodes[$0].store.damagedPartitions.contains(plan.ringSize.partition(of: object.position))
            })
        else { return false }
        nodes[node].store.damage(
            object, random.chance(plan.salvages ? 800 : 500) ? .block : .bit(random.below(1 << 16)))
        history.forget(key: key, node: node)
        damagedKeys.insert(key)
        noteLost(key: key)
        note(nodes[node].name, key: key, "its record of k\(key) goes bad")
        return true
    }

    /// Where another replica has something else, so that this node's copy may be the one in which quorums meet.
    private func keyThatSomebodyLacks(beside node: Int) -> Int {
        let first = random.below(plan.keys.count)
        for offset in plan.keys.indices {
            let key = (first + offset) % plan.keys.count
            let object = plan.keys[key].object
            guard let own = nodes[node].store.durableRecord(of: object) else { continue }
            if replicas(of: key).contains(where: { $0 != node && nodes[$0].store.durableRecord(of: object) != own }) {
                return key
            }
        }
        return first
    }

    /// A node stops, and its disk has lost a record in silence: a scrub alone can find it.
    private func loseRecord(_ node: Int) -> Bool {
        let key = random.below(plan.keys.count)
        let object = plan.keys[key].object
        guard replicas(of: key).contains(node), nodes[node].process != nil else { return false }
        crash(node, .nothing)
        // What is acknowledged must be somewhere else.
        guard violation == nil,
            let own = nodes[node].store.durableRecord(of: object).flatMap({ try? Record(decoding: $0, for: object) }),
            let held = try? own.object(),
            replicas(of: key).contains(where: { other in
                guard other != node, let bytes = nodes[other].store.durableRecord(of: object),
                    let theirs = try? Record(decoding: bytes, for: object).object()
                else { return false }
                return theirs.merged(with: held) == theirs
            })
        else { return true }
        nodes[node].store.lose(object)
        nodes[node].forgot = now
        nodes[node].flaws.insert(address(of: key, copies: own.header.copies))
        history.forget(key: key, node: node)
        damagedKeys.insert(key)
        note(nodes[node].name, key: key, "its disk has lost k\(key)")
        return true
    }

    func address(of key: Int, copies: UInt8) -> LeafAddress {
        let position = plan.keys[key].object.position
        let tree = TreeID(partition: plan.ringSize.partition(of: position), copies: copies)
        return LeafAddress(tree: tree, leaf: layout.leaf(of: position))
    }

    /// A node stops, and one of its stored leaves is another when it starts.
    private func alterLeaf(_ node: Int) -> Bool {
        let key = random.below(plan.keys.count)
        let delta = random.next()
        guard replicas(of: key).contains(node), nodes[node].process != nil else { return false }
        crash(node, .nothing)
        guard violation == nil else { return true }
        var leaf = address(of: key, copies: plan.buckets[plan.keys[key].bucket].properties.n)
        // One in which there is nothing, too.
        if random.chance(300) { leaf.leaf = (leaf.leaf + 1) % layout.leavesPerPartition }
        nodes[node].store.alter(leaf, by: delta)
        nodes[node].flaws.insert(leaf)
        note(nodes[node].name, key: key, "its disk has altered leaf \(leaf.leaf) of \(leaf.tree.partition)")
        return true
    }

    func end(_ fault: Fault) {
        switch fault {
        case .cut(let cuts):
            guard !isCalm else { return }
            note("net", "heals " + cuts.map { "\(nodes[$0.from].name)->\(nodes[$0.to].name)" }.joined(separator: " "))
            for (from, to) in cuts { network.heal(from: from, to: to, at: now, actions: &networkActions) }
            performNetworkActions()
        case .slowLink(let from, let to): network.setSlowness(1, from: from, to: to)
        case .slowDisk(let node): nodes[node].diskSlowness = 1
        case .fullDisk(let node): if !isCalm { setSpace(.ample, node) }
        }
    }

    func setSpace(_ space: DiskSpace, _ node: Int) {
        nodes[node].diskSpace = space
        note(nodes[node].name, "its disk has \(space) space")
        tellSpace(node)
    }

    private func tellSpace(_ node: Int) {
        guard nodes[node].process != nil else { return }
        for lane in 0..<nodes[node].laneCount { enqueue(.diskSpace(nodes[node].diskSpace), node: node, lane: lane) }
    }

    /// Everything is whole again, and stays so.
    func calm() {
        isCalm = true
        note("all", "the faults are over")
        network.healAll(at: now, actions: &networkActions)
        performNetworkActions()
        for node in nodes.indices {
            nodes[node].diskSlowness = 1
            setSpace(.ample, node)
            nodes[node].process?.isCommitFailing = false
            if nodes[node].process == nil { scheduleStart(node, after: .milliseconds(1)) }
        }
        finishUpgrade()
    }
}
