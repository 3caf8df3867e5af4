// Reaping of one lane: tombstones go once nothing can carry any more what they cover.
//
//   walk ─► tombstones of a tree, where this node is its first replica ─► a round
//
//   agreeing     every replica holds exactly this tombstone, synced
//   surveying    every member keeps no hint …
//   marking      … and has taken none since: from here on nothing older is read anywhere
//   aging        until whatever was read before is too old to be merged, by every member's own clock
//   confirming   still no hint, and none taken: nothing older was kept meanwhile either
//   burying      every replica has a grave instead
//
//   walk ─► graves, wherever they are ─► a round
//
//   burying      every replica has a grave, or nothing, instead
//   aging        until no message brings the tombstone back; then the own grave goes
//
//   walk ─► versions past their expiry, where this node is its first replica ─► a round
//
//   agreeing     every replica holds exactly this object, synced, and takes them for expired by its own clock
//   burying      every replica has removed them, as if they had been deleted; a tombstone is left, or what still stands
//
//   walk ─► vectors with many dead entries, where this node is their first replica ─► a round (`Pruning`)
//
//   agreeing     every replica holds exactly this object, synced, and says with which actor it mints: that one stays
//   surveying … confirming    as for tombstones
//   burying      every replica that holds exactly this object has dropped the entries
//
// Invariants:
// - No tombstone is buried before all replicas have held it and all members, all of them, were surveyed. A member
//   that cannot be asked holds everything up.
// - The proof, once had, holds for ever: what the tombstone covers is nowhere, so a replica that is asked to bury
//   exactly it may, whenever the question comes. A replica that holds anything else keeps it.
// - No round is begun while copies move, and none outlives a change of the ring. A member that has not cleared out what
//   it gave away says that it keeps hints: it is as bad, if it should get the tree back.
// - A round lives in memory, and ends without harm at any point: the next walk finds what is left.
// - While it is held (`hold`), no round is under way here and no question of another's is answered. One node that is held so
//   holds up every round that needs it; what was proven before it, nobody will miss.
//
// The last message that brings something older is kept out by its age (`LinkToken`), not by a guess at how long
// networks delay: so no timer alone ever lets a tombstone go.

import NIOCore
import OrderedCollections
package import TorcModel

package struct Reaper: Sendable {
    private enum Stage: Hashable, Sendable {
        case agreeing
        case surveying
        case marking
        case aging(until: MonotonicTime)
        case confirming
        case burying
    }

    private struct Round: Sendable {
        let tree: TreeID
        let kind: ReapRoundKind
        let owners: [NodeID]
        var entries: [ReapEntry]
        var stage = Stage.agreeing
        var waiting: Set<NodeID> = []
        /// Of the present stage: entries that somebody said no to.
        var refused: Set<Int> = []
        /// Of pruning: by entry, the actors with which replicas mint.
        var minting: [Int: Set<Actor>] = [:]
        var surveys: [NodeID: HintSurvey] = [:]
        /// The clocks of the marking.
        var marks: [NodeID: MonotonicTime] = [:]
        /// Nil: it waits for nobody.
        var deadline: MonotonicTime?
    }

    private struct Asked: Sendable {
        var round: UInt64
        var node: NodeID
    }

    /// A question that this node's own replicas are answering.
    private struct Served: Sendable {
        var asker: NodeID
        var operation: OperationID
        let step: ReapStep
        var answers: [MintingAnswer]
        var open: Int
    }

    private struct Found: Sendable {
        var tombstones = 0
        var graves = 0
        var expired = 0
        var vectors = 0

        var isEmpty: Bool { tombstones + graves + expired + vectors == 0 }
    }

    private let configuration: LaneConfiguration
    private let limits: ReapingLimits
    private var placement: Placement
    private var copies: [UInt8]
    /// With what was agreed on.
    private var linked: [NodeID: PeerFeatures] = [:]
    private var suspected: Set<NodeID> = []
    private var isDraining = false
    /// Nothing is begun, and nobody helped, before it.
    private var heldUntil = MonotonicTime.zero
    private var numbers: AskerNumbers
    private var lastNumber: UInt64 = 0

    /// This lane's partitions of which this node is a replica, ascending.
    private var partitions: [PartitionID] = []
    /// Where the walk is; nil: it rests until `nextWalk`.
    private var walk: Int?
    private var walks: UInt = 1
    private var cursor: ByteBuffer?
    private var scan: StoreToken?
    private var nextWalk: MonotonicTime?
    private var budget: RepairBudget
    /// What the walk has found in the trees so far, and what the last one found.
    private var finding: [TreeID: Found] = [:]
    private var found: [TreeID: Found] = [:]
    private var obstacles: [TreeID: ReapObstacle] = [:]

    private var rounds: OrderedDictionary<UInt64, Round> = [:]
    private var questions: [OperationID: Asked] = [:]
    private var served: [UInt64: Served] = [:]
    /// Keys of rounds under way.
    private var busy: Set<ObjectKey> = []
    package private(set) var statistics = ReapStatistics()
    package private(set) var nextDeadline: MonotonicTime?

    package init(configuration: LaneConfiguration, placement: Placement, properties: PropertiesTable) {
        self.configuration = configuration
        limits = configuration.limits.reaping
        self.placement = placement
        copies = properties.copiesInUse
        numbers = AskerNumbers(.reaping, lane: configuration.lane, incarnation: configuration.incarnation)
        var pace = RepairLimits()
        pace.bytesPerSecond = limits.bytesPerSecond
        pace.operationsPerSecond = .max
        budget = RepairBudget(pace)
        findPartitions()
    }

    /// Trees in which something waits, ascending.
    package var status: [ReapStatus] {
        Set(found.keys).union(obstacles.keys).sorted().compactMap { tree in
            let counts = found[tree] ?? Found()
            guard let leader = owners(of: tree).first, !counts.isEmpty else { return nil }
            return ReapStatus(
                tree: tree, tombstones: counts.tombstones, graves: counts.graves, expired: counts.expired,
                vectors: counts.vectors, leader: leader, obstacle: obstacles[tree])
        }
    }

    private func owners(of tree: TreeID) -> [NodeID] {
        placement.holders(of: tree.partition, copies: Int(tree.copies))
    }

    // MARK: The node

    package mutating func peerUp(_ node: NodeID, _ features: PeerFeatures) { linked[node] = features }
    package mutating func suspected(_ nodes: [NodeID]) { suspected = Set(nodes) }

    private func reaches(_ node: NodeID) -> Bool {
        node == configuration.node || linked[node] != nil && !suspected.contains(node)
    }

    private func features(of node: NodeID) -> PeerFeatures {
        node == configuration.node ? configuration.features : linked[node] ?? []
    }

    package mutating func peerDown(_ node: NodeID, _ now: Now, _ effects: inout [ReapEffect]) {
        guard linked.removeValue(forKey: node) != nil else { return }
        for (number, served) in served.sorted(by: { $0.key < $1.key }) where served.asker == node {
            self.served[number] = nil
        }
        for number in Array(rounds.keys) where rounds[number]?.waiting.contains(node) ?? false {
            end(number, .unreachable(node), &effects)
        }
        setDeadline(now)
    }

    package mutating func ringChanged(_ placement: Placement, _ now: Now) {
        self.placement = placement
        rounds = [:]
        questions = [:]
        busy = []
        obstacles = [:]
        found = [:]
        findPartitions()
        setDeadline(now)
    }

    package mutating func propertiesChanged(_ properties: PropertiesTable, _ now: Now) {
        copies = properties.copiesInUse
    }

    /// Until then nothing goes. A time that has passed ends it.
    package mutating func hold(until time: MonotonicTime, _ now: Now) {
        heldUntil = time
        if time > now.monotonic {
            rounds = [:]
            questions = [:]
            busy = []
        }
        setDeadline(now)
    }

    package mutating func drain() {
        isDraining = true
        rounds = [:]
        questions = [:]
        nextDeadline = nil
    }

    private mutating func findPartitions() {
        let ranks = placement.ranks(of: configuration.node)
        partitions = ranks.indices.filter { ranks[$0] < .max }.map { PartitionID($0) }.filter {
            LaneConfiguration.lane(of: $0, laneCount: configuration.laneCount) == configuration.lane
        }
        walk = nil
        cursor = nil
        scan = nil
    }

    // MARK: The walk

    /// The end of each turn, and whenever time has passed.
    package mutating func advance(_ now: Now, _ effects: inout [ReapEffect]) {
        guard limits.isOn, limits.judgesAge, !isDraining else { return }
        guard heldUntil <= now.monotonic else { return setDeadline(now) }
        if nextWalk == nil { nextWalk = now.monotonic.advanced(by: limits.interval) }
        for number in Array(rounds.keys) {
            guard let round = rounds[number] else { continue }
            if case .aging(let until) = round.stage, until <= now.monotonic { aged(number, now, &effects) }
            if let deadline = rounds[number]?.deadline, deadline <= now.monotonic {
                end(number, .silent(rounds[number]!.waiting.min()!), &effects)
            }
        }
        if walk == nil, nextWalk! <= now.monotonic, !partitions.isEmpty, placement.phase == .settled {
            walk = 0
            walks &+= 1
            cursor = nil
            finding = [:]
        }
        if let walk, scan == nil, rounds.count < limits.rounds, budget.opens <= now.monotonic {
            let token = numbers.nextToken()
            scan = token
            effects.append(
                .scan(
                    ScanRequest(
                        token: token, partition: partitions[walk], after: cursor, entryLimit: limits.pageEntries,
                        byteLimit: limits.pageBytes)))
        }
        setDeadline(now)
    }

    package mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        guard token == scan, let place = walk, !isDraining else { return }
        scan = nil
        let bytes = TreeRange.bytes(of: entries ?? [])
        statistics.scannedBytes += UInt64(bytes)
        budget.spend(bytes: bytes, at: now.monotonic)
        take(entries ?? [], of: partitions[place], now, &effects)
        if !finished, let last = entries?.last {
            cursor = last.storageKey
        } else {
            // A range that cannot be read is left for the next walk.
            cursor = nil
            walk = place + 1 < partitions.count ? place + 1 : nil
            if walk == nil {
                found = finding
                obstacles = obstacles.filter { found[$0.key] != nil }
                nextWalk = now.monotonic.advanced(by: limits.interval)
            }
        }
        advance(now, &effects)
    }

    private mutating func take(
        _ entries: [ScannedEntry], of partition: PartitionID, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        var tombstones: [TreeID: [ReapEntry]] = [:]
        var graves: [TreeID: [ReapEntry]] = [:]
        var expired: [TreeID: [ReapEntry]] = [:]
        var vectors: [TreeID: [ReapEntry]] = [:]
        for entry in entries {
            guard let key = try? ObjectKey(storageKey: entry.storageKey),
                let record = try? Record(decoding: entry.record, for: key), record.hint == nil
            else { continue }
            let tree = TreeID(partition: partition, copies: record.header.copies)
            if record.isGrave {
                finding[tree, default: Found()].graves += 1
                guard !busy.contains(key) else { continue }
                graves[tree, default: []].append(ReapEntry(key: key, version: record.body))
            } else if let object = try? record.object(), object.isTombstone {
                finding[tree, default: Found()].tombstones += 1
                guard !busy.contains(key), owners(of: tree).first == configuration.node else { continue }
                tombstones[tree, default: []].append(ReapEntry(key: key, version: record.body))
            } else if let object = try? record.object(),
                let through = object.siblings.filter({ $0.hasExpired(at: now.wall) }).compactMap(\.expiry).max()
            {
                finding[tree, default: Found()].expired += 1
                guard !busy.contains(key), owners(of: tree).first == configuration.node else { continue }
                let note = ExpiryNote(
                    object: configuration.hashSeed.contentHash(key: key, body: record.body), through: through)
                expired[tree, default: []].append(ReapEntry(key: key, version: note.encoded))
            } else if configuration.features.contains(.prunesVectors),
                let note = Pruning.note(of: record, key, seed: configuration.hashSeed, least: limits.pruneEntries)
            {
                finding[tree, default: Found()].vectors += 1
                guard !busy.contains(key), owners(of: tree).first == configuration.node else { continue }
                vectors[tree, default: []].append(ReapEntry(key: key, version: note.encoded))
            }
        }
        guard heldUntil <= now.monotonic else { return }
        var begun: [(ReapRoundKind, [TreeID: [ReapEntry]])] = [
            (.reap, tombstones), (.close, graves), (.expire, expired), (.prune, vectors),
        ]
        // Who serves few questions at a time, or has room for few keys, refuses the later ones. They must not be the same in
        // every walk.
        if walks % 2 == 1 { begun.reverse() }
        for (kind, found) in begun {
            for tree in found.keys.sorted() {
                let entries = found[tree]!
                let first = Int(walks % UInt(entries.count))
                begin(kind, tree, Array(entries[first...] + entries[..<first]), now, &effects)
            }
        }
    }

    // MARK: Rounds

    private mutating func begin(
        _ kind: ReapRoundKind, _ tree: TreeID, _ entries: [ReapEntry], _ now: Now, _ effects: inout [ReapEffect]
    ) {
        let owners = owners(of: tree)
        guard owners.contains(configuration.node) else { return }
        lastNumber += 1
        rounds[lastNumber] = Round(tree: tree, kind: kind, owners: owners, entries: entries)
        for entry in entries { busy.insert(entry.key) }
        statistics.rounds += 1
        switch kind {
        case .reap, .expire, .prune: ask(lastNumber, .agreeing, now, &effects)
        case .close: ask(lastNumber, .burying, now, &effects)
        }
    }

    /// Ends a round; what it did stands.
    private mutating func end(_ number: UInt64, _ obstacle: ReapObstacle?, _ effects: inout [ReapEffect]) {
        guard let round = rounds.removeValue(forKey: number) else { return }
        for entry in round.entries { busy.remove(entry.key) }
        questions = questions.filter { $0.value.round != number }
        obstacles[round.tree] = obstacle
        if obstacle != nil { statistics.failedRounds += 1 }
        effects.append(
            .observed(
                .reapRoundEnded(round.tree, round.kind, keys: obstacle == nil ? round.entries.count : 0, obstacle)))
    }

    private mutating func ask(_ number: UInt64, _ stage: Stage, _ now: Now, _ effects: inout [ReapEffect]) {
        let round = rounds[number]!
        let subject: ReapQuestion.Subject
        var nodes = round.owners
        switch stage {
        case .agreeing:
            let step: ReapStep =
                switch round.kind {
                case .reap, .close: .hold
                case .expire: .expired
                case .prune: .minting
                }
            subject = .step(step, round.entries)
        case .burying:
            let step: ReapStep =
                switch round.kind {
                case .reap: .bury
                case .close: .settle
                case .expire: .expire
                case .prune: .prune
                }
            subject = .step(step, round.entries)
        case .surveying, .marking, .confirming:
            subject = .survey
            nodes = placement.nodes
        case .aging: preconditionFailure("nobody is asked while a round ages")
        }
        if Mutation.reapWithoutAbsentOwner.isActive { nodes.removeAll { !reaches($0) } }
        if Mutation.removeExpiredAlone.isActive, round.kind == .expire { nodes = [configuration.node] }
        if let away = nodes.first(where: { !reaches($0) }) {
            return end(number, .unreachable(away), &effects)
        }
        // Asked anew in each stage: a node may have come back as another version.
        if round.kind == .prune, !Mutation.sendUnknownMessage.isActive,
            let old = round.owners.first(where: { !features(of: $0).contains(.prunesVectors) })
        {
            return end(number, .olderVersion(old), &effects)
        }
        rounds[number]!.stage = stage
        rounds[number]!.waiting = Set(nodes)
        rounds[number]!.refused = []
        rounds[number]!.deadline = now.monotonic.advanced(by: limits.patience)
        for node in nodes {
            let operation = numbers.nextOperation()
            questions[operation] = Asked(round: number, node: node)
            effects.append(
                .send(
                    .reap(
                        ReapQuestion(
                            operation: operation, ring: placement.fingerprint, tree: round.tree, subject: subject)),
                    to: node))
        }
    }

    /// An answer, of this node's own lane, too.
    package mutating func answered(
        _ operation: OperationID, _ answer: ReapAnswer, from node: NodeID, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        guard let asked = questions[operation], asked.node == node else { return }
        questions[operation] = nil
        guard rounds[asked.round] != nil else { return }
        switch answer {
        case .refused(let refusal): end(asked.round, .refused(node, refusal), &effects)
        case .keys(let answers):
            if rounds[asked.round]!.kind == .prune, rounds[asked.round]!.stage == .agreeing {
                // It does not say with whom it mints.
                end(asked.round, .refused(node, .malformed), &effects)
            } else {
                agreed(asked.round, answers, node, now, &effects)
            }
        case .minting(let answers):
            for (place, answer) in answers.enumerated() {
                guard case .holds(let actor?) = answer, !Mutation.pruneMintingActor.isActive else { continue }
                rounds[asked.round]!.minting[place, default: []].insert(actor)
            }
            agreed(asked.round, answers.map { $0 != .differs }, node, now, &effects)
        case .survey(let survey): surveyed(asked.round, survey, node, now, &effects)
        }
        setDeadline(now)
    }

    private mutating func agreed(
        _ number: UInt64, _ answers: [Bool], _ node: NodeID, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        let round = rounds[number]!
        guard round.stage == .agreeing || round.stage == .burying, answers.count == round.entries.count else {
            return end(number, .refused(node, .malformed), &effects)
        }
        for (place, answer) in answers.enumerated() where !answer { rounds[number]!.refused.insert(place) }
        if answers.contains(false) { obstacles[round.tree] = .differs(node) }
        rounds[number]!.waiting.remove(node)
        guard rounds[number]!.waiting.isEmpty else { return }
        let refused = rounds[number]!.refused
        let minting = rounds[number]!.minting
        var left: [ReapEntry] = []
        for (place, entry) in round.entries.enumerated() {
            if !refused.contains(place),
                let entry = round.kind == .prune && round.stage == .agreeing
                    ? Pruning.entry(entry, without: minting[place] ?? []) : entry
            {
                left.append(entry)
            } else {
                busy.remove(entry.key)
            }
        }
        rounds[number]!.entries = left
        rounds[number]!.minting = [:]
        if left.isEmpty { return end(number, refused.isEmpty ? nil : obstacles[round.tree], &effects) }
        switch (round.kind, round.stage) {
        case (.reap, .agreeing): ask(number, .surveying, now, &effects)
        case (.prune, .agreeing):
            ask(number, Mutation.pruneWithoutAging.isActive ? .burying : .surveying, now, &effects)
        case (.expire, .agreeing): ask(number, .burying, now, &effects)
        // The graves are closed by the walks of those who have them; a tombstone that is left, by the next walk. So is a
        // vector that repair has made whole again meanwhile.
        case (.reap, _), (.expire, _), (.prune, _): end(number, refused.isEmpty ? nil : obstacles[round.tree], &effects)
        case (.close, _): age(number, now)
        }
    }

    private mutating func age(_ number: UInt64, _ now: Now) {
        rounds[number]!.deadline = nil
        let age = Mutation.reapWithoutAging.isActive ? .zero : limits.maximumAge
        rounds[number]!.stage = .aging(until: now.monotonic.advanced(by: age))
    }

    private mutating func surveyed(
        _ number: UInt64, _ survey: HintSurvey, _ node: NodeID, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        let round = rounds[number]!
        let isSame =
            round.surveys[node].map { $0.incarnation == survey.incarnation && $0.accepted == survey.accepted } ?? true
        guard !survey.holds && isSame || Mutation.reapDespiteHints.isActive else {
            return end(number, .hints(node), &effects)
        }
        switch round.stage {
        case .surveying: rounds[number]!.surveys[node] = survey
        case .marking: rounds[number]!.marks[node] = survey.clock
        case .confirming:
            // Its clock runs slower than this node's.
            let mark = round.marks[node] ?? survey.clock
            if survey.clock.duration(since: mark) < limits.maximumAge, !Mutation.reapWithoutAging.isActive {
                rounds[number]!.waiting = []
                questions = questions.filter { $0.value.round != number }
                rounds[number]!.deadline = nil
                rounds[number]!.stage = .aging(until: now.monotonic.advanced(by: limits.maximumAge / 8))
                return
            }
        case .agreeing, .aging, .burying: return end(number, .refused(node, .malformed), &effects)
        }
        rounds[number]!.waiting.remove(node)
        guard rounds[number]!.waiting.isEmpty else { return }
        switch round.stage {
        case .surveying: ask(number, Mutation.reapWithoutAging.isActive ? .burying : .marking, now, &effects)
        case .marking: age(number, now)
        default: ask(number, .burying, now, &effects)
        }
    }

    private mutating func aged(_ number: UInt64, _ now: Now, _ effects: inout [ReapEffect]) {
        let round = rounds[number]!
        switch round.kind {
        case .reap, .prune: ask(number, .confirming, now, &effects)
        case .expire: preconditionFailure("a round of expiry does not age")
        case .close:
            serve(.forget, round.entries, of: round.tree, for: configuration.node, nil, &effects)
            end(number, nil, &effects)
        }
    }

    // MARK: Questions

    /// `survey`: what this lane keeps now.
    package mutating func asked(
        _ question: ReapQuestion, by node: NodeID, survey: HintSurvey, _ now: Now, _ effects: inout [ReapEffect]
    ) {
        if let refusal = heldUntil > now.monotonic ? .busy : refusal(of: question, by: node) {
            return answer(question.operation, .refused(refusal), node, &effects)
        }
        switch question.subject {
        case .survey: answer(question.operation, .survey(survey), node, &effects)
        case .step(let step, let entries):
            serve(step, entries, of: question.tree, for: node, question.operation, &effects)
        }
    }

    private func refusal(of question: ReapQuestion, by node: NodeID) -> TreeRefusal? {
        guard question.ring == placement.fingerprint else { return .otherRing }
        let tree = question.tree
        guard placement.ring.size.contains(tree.partition),
            (1...BucketProperties.maximumCopies).contains(Int(tree.copies)),
            LaneConfiguration.lane(of: tree.partition, laneCount: configuration.laneCount) == configuration.lane
        else { return .malformed }
        let owners = owners(of: tree)
        guard owners.contains(node) else { return .notHeld }
        guard case .step(let step, let entries) = question.subject else { return limits.judgesAge ? nil : .busy }
        guard owners.contains(configuration.node) else { return .notHeld }
        guard step != .forget, !entries.isEmpty,
            entries.allSatisfy({
                placement.ring.size.partition(of: $0.key.position) == tree.partition
            })
        else { return .malformed }
        // Its own are bounded by its rounds.
        let isServed = node == configuration.node || served.count < limits.questionsServed
        return limits.judgesAge && isServed ? nil : .busy
    }

    private mutating func serve(
        _ step: ReapStep, _ entries: [ReapEntry], of tree: TreeID, for asker: NodeID, _ operation: OperationID?,
        _ effects: inout [ReapEffect]
    ) {
        lastNumber += 1
        if let operation {
            served[lastNumber] = Served(
                asker: asker, operation: operation, step: step,
                answers: [MintingAnswer](repeating: .differs, count: entries.count), open: entries.count)
        }
        for (place, entry) in entries.enumerated() {
            effects.append(
                .bury(
                    Burial(key: entry.key, copies: tree.copies, version: entry.version, step: step),
                    BurialTicket(question: lastNumber, place: place)))
        }
    }

    /// What became of one key here, synced. `differs`: the step was not taken.
    package mutating func buried(_ ticket: BurialTicket, _ answer: MintingAnswer, _ effects: inout [ReapEffect]) {
        guard served[ticket.question] != nil else { return }
        served[ticket.question]!.answers[ticket.place] = answer
        served[ticket.question]!.open -= 1
        guard served[ticket.question]!.open == 0 else { return }
        let question = served.removeValue(forKey: ticket.question)!
        self.answer(
            question.operation,
            question.step == .minting ? .minting(question.answers) : .keys(question.answers.map { $0 != .differs }),
            question.asker, &effects)
    }

    private func answer(
        _ operation: OperationID, _ answer: ReapAnswer, _ node: NodeID, _ effects: inout [ReapEffect]
    ) {
        effects.append(.send(.reaped(operation, answer), to: node))
    }

    private mutating func setDeadline(_ now: Now) {
        guard limits.isOn, limits.judgesAge, !isDraining else { return nextDeadline = nil }
        guard heldUntil <= now.monotonic else { return nextDeadline = heldUntil }
        var due: MonotonicTime?
        func consider(_ time: MonotonicTime?) {
            if let time { due = due.map { min($0, time) } ?? time }
        }
        for round in rounds.values {
            consider(round.deadline)
            if case .aging(let until) = round.stage { consider(until) }
        }
        if walk == nil {
            // Whoever holds nothing, or is moving, has nothing to walk, and must not wait for a time that has passed.
            if placement.phase == .settled, !partitions.isEmpty { consider(nextWalk ?? now.monotonic) }
        } else if scan == nil, rounds.count < limits.rounds {
            consider(budget.opens)
        }
        nextDeadline = due
    }
}
