// Backups of a simulated cluster, as `torc backup create` and the nodes' `BackupEndpoint` make them. Everything else
// goes on meanwhile.
//
//   holding     each member is told to remove nothing, and says so when all its lanes have heard
//   copying     each is copied, one after the other: what its disk holds at that moment
//   releasing   each is let go, and says whether it was held all the time
//
// No member is asked for the next before all have taken the last. One that is gone meanwhile, that holds another ring,
// or that was held too briefly ends it: there is no backup. Each that is made is judged (`BackupChecker`).

import TorcModel
import TorcReplication

/// How backups are made in a run.
package struct BackupPlan: Sendable {
    /// Between the end of one and the next.
    package var interval = Span.milliseconds(100)
    /// Between two members that are asked.
    package var pace = Span.milliseconds(10)
    /// For how long members are held.
    package var hold = Span.seconds(1)
    /// One is begun in each cut, so that hints go home between two of its copies.
    package var followsCuts = false
    /// Turns before which the command is killed: then nobody is let go.
    package var killPerMille = 0
}

/// What a process knows of a backup that it takes part in.
struct BackupHold {
    var number: Int
    /// Zero: it was let go.
    var until: MonotonicTime
}

/// A backup that is being made.
struct SimulatedBackup {
    enum Step {
        case holding
        case copying
        case releasing
    }

    let number: Int
    let began: VirtualTime
    let hold: Span
    let members: [Int]
    var step = Step.holding
    /// Those that are still to be asked; the last one is the next.
    var waiting: [Int]
    /// What all of them held when it began.
    var state: ClusterState?
    var copied: Set<Int> = []
    /// By key, its records in the copies.
    var contents: [Int: [VersionedObject]] = [:]
}

/// A person who backs the cluster up.
struct BackupOperator {
    var random: SeededGenerator
    var present: SimulatedBackup?
    var count = 0
    /// The turn that is on its way; those before it were called off.
    var turn = 0

    init(random: SeededGenerator) { self.random = random }
}

extension SimulationPlan {
    /// From a generator of its own: what else a seed is stays as it was before there were backups.
    mutating func drawBackups() {
        var random = SeededGenerator(seed: seed ^ 0x4241_434b)
        // A node that forgets, a record that goes bad and a node that is removed while it runs take what is in no copy.
        guard nodeCount > 1, !forgets, !mayFence, faults.damageRecord == 0, random.chance(250) else { return }
        var plan = BackupPlan()
        plan.interval = random.pick([.milliseconds(20), .milliseconds(100), .milliseconds(400)])
        plan.pace = random.pick([.milliseconds(1), .milliseconds(10), .milliseconds(60)])
        plan.hold = random.pick([.milliseconds(300), .seconds(1), .seconds(5)])
        plan.killPerMille = random.pick([0, 0, 10])
        if faults.weights.contains(where: { $0 > 0 }), random.chance(500) {
            // What one hint alone holds goes home when the cut ends: seeds hardly ever come to that by themselves.
            plan.followsCuts = true
            faults.partition = max(faults.partition, 10)
            thinkTime = max(thinkTime, .milliseconds(10))
            for index in buckets.indices
            where buckets[index].properties.oneCacheMilliseconds == 0 && random.chance(700) {
                buckets[index].properties.n = 1
            }
        }
        backups = plan
    }
}

extension Simulation {
    /// What takes longer than the hold and this is given up.
    private static let backupPatience = Span.seconds(10)
    /// Those who keep hints are copied after those who may be given them, this often.
    private static let keepersLastPerMille = 700

    // MARK: Turns

    private func scheduleBackup(after delay: Span) {
        backups.turn += 1
        schedule(.backupTurn(backups.turn), after: delay)
    }

    func scheduleFirstBackup() {
        guard let settings = plan.backups else { return }
        scheduleBackup(after: backups.random.exponential(mean: settings.interval))
    }

    func backUpDuringCut() {
        guard let settings = plan.backups, settings.followsCuts, backups.present == nil else { return }
        scheduleBackup(after: backups.random.span(.zero...plan.faults.cutTime.upperBound))
    }

    func backupTurn(_ number: Int) {
        guard number == backups.turn, let settings = plan.backups else { return }
        if backups.present == nil {
            // One that is under way when the faults are over is finished.
            guard !isCalm else { return }
            beginBackup(hold: settings.hold)
            return scheduleBackup(after: .zero)
        }
        if backups.random.chance(settings.killPerMille) {
            note("bak", "the command is killed")
            backups.present = nil
        } else if let reason = takeBackupStep() {
            abandonBackup(reason)
        }
        let mean = backups.present == nil ? settings.interval : settings.pace
        scheduleBackup(after: backups.random.exponential(mean: mean))
    }

    /// Asks the next member. Answers why there is no backup; nil: it goes on, or is done.
    private func takeBackupStep() -> String? {
        guard let backup = backups.present else { return nil }
        if now > backup.began + backup.hold + Self.backupPatience { return "it takes too long" }
        guard let node = backup.waiting.last else { return endBackupStep(backup.step) }
        // One that hangs answers when it goes on.
        if let process = nodes[node].process, process.pausedUntil > now { return nil }
        backups.present!.waiting.removeLast()
        switch backup.step {
        case .holding: return holdForBackup(node)
        case .copying: return copyForBackup(node)
        case .releasing: return releaseFromBackup(node)
        }
    }

    private func endBackupStep(_ step: SimulatedBackup.Step) -> String? {
        switch step {
        case .holding:
            if awaitsHolds { return nil }
            if let reason = checkHolds() { return reason }
            beginBackupStep(.copying)
        case .copying: beginBackupStep(.releasing)
        case .releasing: judgeBackup()
        }
        return nil
    }

    private func beginBackupStep(_ step: SimulatedBackup.Step) {
        var order = backups.present!.members
        for place in order.indices.reversed() {
            let other = backups.random.below(place + 1)
            order.swapAt(place, other)
        }
        if step == .copying, backups.random.chance(Self.keepersLastPerMille) {
            let keepers = order.filter { !nodes[$0].store.hintNames.isEmpty }
            order = keepers + order.filter { !keepers.contains($0) }
        }
        backups.present!.step = step
        backups.present!.waiting = order
    }

    // MARK: One step of one member

    func beginBackup(hold: Span) {
        backups.count += 1
        note("bak", "backup \(backups.count) begins")
        backups.present = SimulatedBackup(
            number: backups.count, began: now, hold: hold, members: members, waiting: members)
    }

    private func tellHold(_ node: Int, until time: MonotonicTime) {
        for lane in 0..<nodes[node].laneCount { enqueue(.holdRemovals(until: time), node: node, lane: lane) }
    }

    private func monotonic(_ node: Int) -> MonotonicTime { nodes[node].clock.now(at: now).monotonic }

    func holdForBackup(_ node: Int) -> String? {
        guard let backup = backups.present else { return "no backup is being made" }
        guard let process = nodes[node].process, !process.isDraining else {
            return "\(nodes[node].name) does not answer"
        }
        if let other = process.hold, other.number != backup.number, other.until > monotonic(node) {
            return "another backup is being made of \(nodes[node].name)"
        }
        let until = monotonic(node).advanced(by: backup.hold.duration)
        process.hold = BackupHold(number: backup.number, until: until)
        note("bak", "holds \(nodes[node].name)")
        tellHold(node, until: until)
        return nil
    }

    /// The process of a member that still takes part.
    private func participant(_ node: Int) -> SimulatedProcess? {
        guard let backup = backups.present, let process = nodes[node].process,
            process.hold?.number == backup.number
        else { return nil }
        return process
    }

    /// A lane has not heard yet.
    var awaitsHolds: Bool {
        guard let backup = backups.present else { return false }
        return backup.members.contains { node in
            guard let process = participant(node), let hold = process.hold else { return false }
            return process.lanes.contains { $0.removalsHeldUntil != hold.until }
        }
    }

    /// All members, of one ring that stands still.
    func checkHolds() -> String? {
        guard let backup = backups.present else { return "no backup is being made" }
        var states: [ClusterState] = []
        for node in backup.members {
            guard let process = participant(node) else { return "\(nodes[node].name) knows nothing of this backup" }
            states.append(process.control.machine.agreement.state)
        }
        guard let first = states.first, states.allSatisfy({ $0.transition == nil && $0.version == first.version })
        else { return "copies move, or not all have heard of the ring" }
        guard first.participants.map(\.node) == backup.members.map({ nodes[$0].id }).sorted() else {
            return "these are not all members"
        }
        backups.present!.state = first
        return nil
    }

    func copyForBackup(_ node: Int) -> String? {
        guard let backup = backups.present, let state = backup.state else { return "no backup is being made" }
        let name = nodes[node].name
        guard let process = participant(node), let hold = process.hold else {
            return "\(name) knows nothing of this backup"
        }
        guard hold.until > monotonic(node) else { return "the time is over for which \(name) could be held" }
        let present = process.control.machine.agreement.state
        guard present.transition == nil, present.version == state.version else { return "another ring was agreed on" }
        guard nodes[node].store.damagedPartitions.all.isEmpty else { return "tables of \(name) are damaged" }
        note("bak", "copies \(name)")
        for key in plan.keys.indices {
            let object = plan.keys[key].object
            var records = nodes[node].store.hints(of: object, durable: true)
            // What a node has given away, and not cleared out yet, a restored one clears out.
            if holders(of: key, in: state).contains(node), let own = nodes[node].store.durableRecord(of: object) {
                records.append(own)
            }
            for bytes in records {
                guard let record = try? Record(decoding: bytes, for: object), !record.isGrave,
                    let held = try? record.object()
                else { continue }
                backups.present!.contents[key, default: []].append(held)
            }
        }
        backups.present!.copied.insert(node)
        return nil
    }

    private func holders(of key: Int, in state: ClusterState) -> [Int] {
        let partition = plan.ringSize.partition(of: plan.keys[key].object.position)
        let ids = state.placement.holders(of: partition, copies: plan.buckets[plan.keys[key].bucket].copies)
        return ids.compactMap { id in nodes.firstIndex { $0.id == id } }
    }

    func releaseFromBackup(_ node: Int) -> String? {
        guard let process = participant(node), let hold = process.hold else {
            return "\(nodes[node].name) knows nothing of this backup"
        }
        process.hold!.until = .zero
        note("bak", "lets \(nodes[node].name) go")
        tellHold(node, until: .zero)
        return hold.until > monotonic(node) ? nil : "it took longer than \(nodes[node].name) could be held"
    }

    // MARK: The end

    /// Of a story: lets all members go, and judges what was copied of them.
    func endBackup() -> String? {
        guard let backup = backups.present else { return "no backup is being made" }
        if let left = backup.members.first(where: { !backup.copied.contains($0) }) {
            return "\(nodes[left].name) is not copied"
        }
        for node in backup.members {
            if let reason = releaseFromBackup(node) { return reason }
        }
        judgeBackup()
        return nil
    }

    func abandonBackup(_ reason: String) {
        guard let backup = backups.present else { return }
        note("bak", "no backup \(backup.number): \(reason)")
        for node in backup.members {
            guard let process = participant(node) else { continue }
            process.hold!.until = .zero
            tellHold(node, until: .zero)
        }
        backups.present = nil
    }

    private func judgeBackup() {
        guard let backup = backups.present, let state = backup.state else { return }
        backups.present = nil
        coverage.note(.backup)
        note("bak", "backup \(backup.number) is whole")
        for key in plan.keys.indices where !damagedKeys.contains(key) {
            report(
                BackupChecker().check(
                    key: key, copies: backup.contents[key] ?? [], replicas: holders(of: key, in: state).count,
                    began: backup.began, ended: now, expired: expired(key: key, by: nil), in: history))
        }
    }
}
