// Mending of one lane: a record that cannot be read is written anew with what the other replicas hold.
//
//   found ─► waiting ──delay──► asking every other replica ──all have answered──► writing ──synced──► told, leaf looked at
//               ▲                   │ one cannot be reached, fails, or is late       │ failed
//               └───── backoff ─────┴───────────────────────────────────────────────┘
//
// Invariants:
// - What is written includes every acknowledged write of which another replica holds a copy. So all of them are asked,
//   those of both lists while copies move, and one that does not answer is waited for. A quorum would not do: the
//   damaged copy may have been the one in which two quorums met.
// - Nobody's acknowledgement still rests on the damaged copy. A write that counted it, and is not on others yet, may be
//   acknowledged when the next copy is synced: after these copies have been read, say. So they are asked for only when
//   such a write has ended, `MendingLimits.delay` after the damage was found. Since then this replica has failed
//   whatever was asked of it.
// - Where nobody else holds anything nothing is written: "nothing here" would be a guess.
//
// What this copy alone held is lost, and was lost before. It lives in memory: after a restart the next walk of the scrub,
// or the next request, finds the record again.

import NIOCore
import OrderedCollections
import TorcModel

struct Mending: Sendable {
    private enum Step: Sendable {
        case waiting(until: MonotonicTime)
        case asking(Round)
        case writing
    }

    private struct Round: Sendable {
        let copies: UInt8
        let begun: MonotonicTime
        var awaited: [OperationID: NodeID]
        /// Of those that have answered.
        var merged: VersionedObject?
        var holders = 0
    }

    private struct Entry: Sendable {
        var step: Step
        var failures = 0
        /// Replicas that held something, of those that were asked last.
        var holders = 0
    }

    private let configuration: LaneConfiguration
    private let limits: MendingLimits
    private let isOn: Bool
    private var placement: Placement
    private var properties: PropertiesTable
    private var linked: Set<NodeID> = []
    private var isDraining = false
    /// In the order in which they were found.
    private var entries: OrderedDictionary<ObjectKey, Entry> = [:]
    /// The key that a question, or the write that follows, is about.
    private var questions: [OperationID: ObjectKey] = [:]
    private var numbers: AskerNumbers
    private var budget: RepairBudget
    private var counted = MendStatistics()
    private(set) var nextDeadline: MonotonicTime?

    init(configuration: LaneConfiguration, placement: Placement, properties: PropertiesTable) {
        self.configuration = configuration
        limits = configuration.limits.mending
        // A leaf may be wrong afterwards, and a scrub alone would set it right.
        isOn = configuration.limits.scrub.isOn
        self.placement = placement
        self.properties = properties
        numbers = AskerNumbers(.mending, lane: configuration.lane, incarnation: configuration.incarnation)
        var pace = RepairLimits()
        pace.bytesPerSecond = configuration.limits.scrub.bytesPerSecond
        pace.operationsPerSecond = .max
        budget = RepairBudget(pace)
    }

    var statistics: MendStatistics {
        var statistics = counted
        statistics.waiting = UInt64(entries.count)
        return statistics
    }

    // MARK: The lane

    mutating func peerUp(_ node: NodeID, _ now: Now, _ effects: inout [MendEffect]) {
        if linked.contains(node) { peerDown(node, now, &effects) }
        linked.insert(node)
    }

    mutating func peerDown(_ node: NodeID, _ now: Now, _ effects: inout [MendEffect]) {
        guard linked.remove(node) != nil else { return }
        for key in entries.keys {
            if case .asking(let round) = entries[key]!.step, round.awaited.values.contains(node) {
                fail(key, .unreachable(node), now, &effects)
            }
        }
        setDeadline()
    }

    /// Whom to ask may be others now.
    mutating func ringChanged(_ placement: Placement, _ now: Now) {
        self.placement = placement
        for key in entries.keys {
            guard case .asking(let round) = entries[key]!.step else { continue }
            for operation in round.awaited.keys { questions[operation] = nil }
            entries[key]!.step = .waiting(until: now.monotonic.advanced(by: limits.firstBackoff))
        }
        setDeadline()
    }

    mutating func propertiesChanged(_ properties: PropertiesTable) { self.properties = properties }

    mutating func drain() {
        isDraining = true
        nextDeadline = nil
    }

    /// A record of this lane cannot be read.
    mutating func found(_ key: ObjectKey, _ now: Now) {
        let partition = placement.ring.size.partition(of: key.position)
        guard isOn, !isDraining, entries[key] == nil, entries.count < limits.records,
            LaneConfiguration.lane(of: partition, laneCount: configuration.laneCount) == configuration.lane
        else { return }
        entries[key] = Entry(step: .waiting(until: now.monotonic.advanced(by: limits.delay)))
        setDeadline()
    }

    mutating func tick(_ now: Now, _ effects: inout [MendEffect]) {
        guard let due = nextDeadline, due <= now.monotonic else { return }
        var inFlight = 0
        for key in entries.keys {
            switch entries[key]!.step {
            case .waiting: continue
            case .writing: inFlight += 1
            case .asking(let round):
                if round.begun.advanced(by: limits.patience) <= now.monotonic {
                    fail(key, .silent(round.awaited.values.min()!), now, &effects)
                } else {
                    inFlight += 1
                }
            }
        }
        for key in entries.keys where inFlight < limits.inFlight && budget.opens <= now.monotonic {
            if case .waiting(let until) = entries[key]?.step, until <= now.monotonic {
                begin(key, now, &effects)
                if case .asking = entries[key]?.step { inFlight += 1 }
            }
        }
        setDeadline()
    }

    // MARK: One record

    private mutating func begin(_ key: ObjectKey, _ now: Now, _ effects: inout [MendEffect]) {
        let copies = properties[key.bucket].n
        let partition = placement.ring.size.partition(of: key.position)
        let holders = placement.replicas(of: partition, copies: Int(copies)).nodes
        guard holders.contains(configuration.node) else {
            // It is another's now; what is left here is cleared out.
            entries[key] = nil
            return
        }
        let others = holders.filter { $0 != configuration.node }
        guard !others.isEmpty else { return fail(key, .alone, now, &effects) }
        if let away = others.first(where: { !linked.contains($0) }) {
            return fail(key, .unreachable(away), now, &effects)
        }
        var round = Round(copies: copies, begun: now.monotonic, awaited: [:])
        for node in others {
            let operation = numbers.nextOperation()
            round.awaited[operation] = node
            questions[operation] = key
            let read = ReplicaRead(operation: operation, key: key, copies: copies, want: .full)
            effects.append(.send(.read(read, remaining: limits.patience), to: node))
        }
        entries[key]!.step = .asking(round)
    }

    mutating func answered(
        _ operation: OperationID, _ outcome: ReadOutcome, from node: NodeID, _ now: Now, _ effects: inout [MendEffect]
    ) {
        guard let key = questions[operation], case .asking(var round) = entries[key]?.step,
            round.awaited[operation] == node
        else { return }
        defer { setDeadline() }
        switch outcome {
        case .absent: break
        case .object(let body):
            budget.spend(bytes: body.readableBytes, at: now.monotonic)
            guard let object = try? VersionedObject(decoding: body) else {
                return fail(key, .refused(node, .malformed), now, &effects)
            }
            round.merged = round.merged?.merged(with: object) ?? object
            round.holders += 1
        case .hash: return fail(key, .refused(node, .malformed), now, &effects)
        case .failed(let failure): return fail(key, .refused(node, failure), now, &effects)
        }
        questions[operation] = nil
        round.awaited[operation] = nil
        entries[key]!.step = .asking(round)
        guard round.awaited.isEmpty else { return }
        guard let object = round.merged else { return fail(key, .absent, now, &effects) }
        entries[key]!.step = .writing
        entries[key]!.holders = round.holders
        let write = numbers.nextOperation()
        questions[write] = key
        effects.append(
            .mend(
                ReplicaWrite(
                    operation: write, key: key, copies: round.copies, epoch: placement.epoch, body: object.encoded,
                    readAt: round.begun)))
    }

    /// This node's own replica has taken it, and it is synced; or not.
    mutating func written(
        _ operation: OperationID, _ outcome: MendOutcome, _ now: Now, _ effects: inout [MendEffect]
    ) {
        guard let key = questions.removeValue(forKey: operation), let entry = entries[key] else { return }
        switch outcome {
        case .replaced:
            entries[key] = nil
            counted.mended += 1
            effects.append(.observed(.mended(key, replicas: entry.holders)))
            effects.append(.mended(key))
        case .merged: entries[key] = nil
        case .failed(let failure): fail(key, .unwritten(failure), now, &effects)
        }
        setDeadline()
    }

    /// Told once for each record, not for each attempt.
    private mutating func fail(
        _ key: ObjectKey, _ obstacle: MendObstacle, _ now: Now, _ effects: inout [MendEffect]
    ) {
        if case .asking(let round) = entries[key]!.step {
            for operation in round.awaited.keys { questions[operation] = nil }
        }
        counted.failed += 1
        let failures = entries[key]!.failures
        if failures == 0 { effects.append(.observed(.notMended(key, obstacle))) }
        if obstacle.isFinal {
            // Found again, it is asked for again: others may have it by then.
            entries[key] = nil
        } else {
            let backoff = min(limits.firstBackoff * (1 << min(failures, 20)), limits.lastBackoff)
            entries[key]!.failures += 1
            entries[key]!.step = .waiting(until: now.monotonic.advanced(by: backoff))
        }
    }

    private mutating func setDeadline() {
        guard !isDraining else { return nextDeadline = nil }
        var due: MonotonicTime?
        var waiting: MonotonicTime?
        var inFlight = 0
        for entry in entries.values {
            switch entry.step {
            case .waiting(let until): waiting = min(waiting ?? until, until)
            case .asking(let round):
                inFlight += 1
                let late = round.begun.advanced(by: limits.patience)
                due = min(due ?? late, late)
            case .writing: inFlight += 1
            }
        }
        if let waiting, inFlight < limits.inFlight {
            let opens = max(waiting, budget.opens)
            due = min(due ?? opens, opens)
        }
        nextDeadline = due
    }
}
