// A quorum read.
//
//   reading ──R answers──► writingBack ──W copies hold it──► repairing ──all asked have answered──► gone
//      │                        │                               ▲
//      │                        └──────── cannot, deadline ─────┤ (failed)
//      └── R answers, no write-back asked for ──────────────────┘
//
// This node's own replica is read first where it is one: its answer costs no network, and its hash lets the
// others answer with a hash alone. A disk read is not waited for. The others are asked in the order of the
// preference list, one more for each that fails, goes down, or takes longer than an answer in a hundred does.
//
// Every answer is merged. `current` are the replicas that are known to hold exactly the merged object; the
// others that have answered are stale and are sent it: read repair. With overlapping quorums the client is
// answered only when W replicas hold what it is answered, or a later read could go back in time: two copies
// of an unfinished write, say, of which this read saw one and the next none.
//
// Only answers count, never replicas as such: a replica that cannot read its record has not said "not found".
//
// Stand-ins. For each primary that cannot be reached the fallback that would keep its hints is asked for them.
// What it keeps is merged when it comes in time; that it keeps nothing says nothing. While R primaries can
// answer, only theirs count, so a read that p primaries have answered meets every write that q primaries have
// acknowledged, if p + q > n, whatever stand-ins did. Only where R primaries cannot be had does an object that a
// stand-in keeps count as the answer of the one that it stands for: such a read promises what its p primaries
// do, and says how many they were.
//
// After riak_kv_get_core.erl: enough / response / final action.

import NIOCore
import TorcModel

struct GetOperation: Sendable {
    /// How long late answers are waited for, to repair with, after the client has its own.
    static let linger = Duration.seconds(1)

    private enum Phase: Sendable {
        case reading(waitsForOwn: Bool)
        case writingBack(WriteBack)
        /// The reader is answered; late answers are repaired.
        case repairing
    }

    /// The object that will be answered, and who holds it: that, or something that includes it.
    private struct WriteBack: Sendable {
        var object: VersionedObject
        var participation: Participation
        var needed: Int
        /// Of the other list.
        var neededThere: Int
        var holders: ReplicaSet
        var sent = ReplicaSet()
        var failed = ReplicaSet()

        var pending: ReplicaSet { sent.subtracting(holders).subtracting(failed) }
    }

    /// The fallback that is asked in place of a primary.
    private struct StandIn: Sendable {
        let node: NodeID
        /// Its primary's place.
        let target: Int
    }

    private struct HashAnswer: Sendable {
        var place: Int
        var hash: ContentHash
    }

    let id: OperationID
    let key: ObjectKey
    /// It loses those who go away.
    var reader: Reader
    /// As its reader asked for it.
    let options: QuorumOptions
    let properties: BucketProperties
    let replicas: Replicas
    let epoch: UInt64
    private let node: NodeID
    /// Among those that are read.
    let begunAt: MonotonicTime
    private let own: Int?
    private let fallbacks: [NodeID]
    /// Their places follow those of the replicas.
    private var standIns: [StandIn] = []
    private let quorum: ReadQuorum
    private(set) var deadline: MonotonicTime
    /// When the coordinator's timer for it is set.
    var scheduled: MonotonicTime
    /// What it finds is kept for others.
    var fillsCache = false

    private var phase: Phase
    /// Who was asked, who has answered what, who will not.
    private var asked = ReplicaSet()
    private var heard = ReplicaSet()
    private var absent = ReplicaSet()
    private var failed = ReplicaSet()
    private var unreadable = ReplicaSet()
    /// Asked for the object itself.
    private var askedForObject = ReplicaSet()
    private var merged: MergedAnswers?
    /// Hashes of objects that nobody has shown yet.
    private var unmatched: [HashAnswer] = []
    /// Only a deliberate fault makes it more than none.
    private var repeatedVotes = 0

    private var firstAsk: MonotonicTime?
    private var firstRound = ReplicaSet()
    /// When one replica more is asked. It moves forward only, so one timer serves.
    private var nextAsk: MonotonicTime
    /// There may be a replica more to ask when the answers take too long.
    private var othersAreLeft = true

    init(
        id: OperationID, key: ObjectKey, reader: Reader, options: QuorumOptions, properties: BucketProperties,
        replicas: Replicas, fallbacks: [NodeID], quorum: ReadQuorum, epoch: UInt64, deadline: MonotonicTime,
        now: MonotonicTime, node: NodeID
    ) {
        self.id = id
        self.key = key
        self.reader = reader
        self.options = options
        self.properties = properties
        self.replicas = replicas
        self.epoch = epoch
        self.node = node
        self.fallbacks = fallbacks
        self.quorum = quorum
        self.deadline = deadline
        begunAt = now
        scheduled = deadline
        own = replicas.servingNodes.firstIndex(of: node)
        nextAsk = now
        phase = .reading(waitsForOwn: own != nil)
    }

    /// The reader has not been answered.
    var isOpen: Bool {
        if case .repairing = phase { false } else { true }
    }

    /// What its answers come to, and its canonical bytes.
    var seen: (object: VersionedObject, body: ByteBuffer)? { merged.map { ($0.object, $0.body) } }

    /// Nothing more can come of it.
    var isFinished: Bool { !isOpen && waiting.isEmpty }

    private var waiting: ReplicaSet { asked.subtracting(heard).subtracting(failed) }

    /// Who was asked for the object and may yet send it; this node's own disk is not waited for.
    private var objectsComing: ReplicaSet {
        var coming = askedForObject.subtracting(heard).subtracting(failed)
        if let own { coming.remove(own) }
        return coming
    }

    /// Those whose answers count.
    private var primaries: ReplicaSet { replicas.serving }
    private var copies: UInt8 { properties.n }

    /// Primaries that have answered, and those of them that hold nothing.
    private var primaryHeard: ReplicaSet { heard.intersection(primaries) }
    private var primaryAbsent: ReplicaSet { absent.intersection(primaries) }

    private var votes: Int {
        (quorum.notFoundOK ? primaryHeard.count : primaryHeard.subtracting(absent).count) + repeatedVotes
    }

    /// Primaries that have not answered and whose stand-ins keep something: as many as there are nodes behind it.
    private var standInVotes: Int {
        var nodes: [NodeID] = []
        for (index, standIn) in standIns.enumerated() {
            let place = replicas.nodes.count + index
            guard heard.contains(place), !absent.contains(place) || Mutation.countFallbackAbsence.isActive,
                !heard.contains(standIn.target), !nodes.contains(standIn.node)
            else { continue }
            nodes.append(standIn.node)
        }
        return nodes.count
    }

    private var standInsAwaited: Int { waiting.subtracting(ReplicaSet(first: replicas.nodes.count)).count }

    // MARK: Events

    mutating func begin(_ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]) -> GetOutcome? {
        let reachable = reachable(view)
        if reachable.count < quorum.primaries {
            phase = .repairing
            return .refused(.unreachable(needed: quorum.primaries, reachable: reachable.count))
        }
        if reachable.count < quorum.needed {
            let spare = fallbacks.count { view.reaches($0) }
            if reachable.count + min(spare, primaries.count - reachable.count) < quorum.needed {
                return giveUp(&effects)
            }
        }
        nextAsk = now.advanced(by: view.patience)
        guard let own else { return advance(view, now, &effects) }
        asked.insert(own)
        askedForObject.insert(own)
        effects.append(.localRead(ReplicaRead(operation: id, key: key, copies: copies, want: .full)))
        return nil
    }

    /// This node's own record is not in memory: the others are asked meanwhile.
    mutating func ownDeferred(
        _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        guard case .reading(waitsForOwn: true) = phase else { return nil }
        phase = .reading(waitsForOwn: false)
        return advance(view, now, &effects)
    }

    mutating func answered(
        _ outcome: ReadOutcome, by node: NodeID, _ view: NodeView, _ latency: inout LatencyEstimate,
        _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        guard let place = replicas.nodes.firstIndex(of: node), asked.contains(place), !failed.contains(place) else {
            return nil
        }
        if heard.contains(place) {
            guard Mutation.countReplicaTwice.isActive else { return nil }
            repeatedVotes += 1
            return advance(view, now, &effects)
        }
        if place == own, case .reading(waitsForOwn: true) = phase { phase = .reading(waitsForOwn: false) }
        // It knows the next ring; so will this node soon, and reads anew.
        if case .failed(.otherRing) = outcome { return advance(view, now, &effects) }
        if firstRound.contains(place), let firstAsk {
            firstRound.remove(place)
            latency.record(now.duration(since: firstAsk))
        }
        take(outcome, from: place, view)
        return advance(view, now, &effects)
    }

    /// What a stand-in keeps for `target`.
    mutating func hintAnswered(
        _ outcome: ReadOutcome, of target: NodeID, by node: NodeID, _ view: NodeView, _ now: MonotonicTime,
        _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        guard let index = standIns.firstIndex(where: { $0.node == node && replicas.nodes[$0.target] == target }) else {
            return nil
        }
        let place = replicas.nodes.count + index
        guard waiting.contains(place) else { return nil }
        take(outcome, from: place, view)
        return advance(view, now, &effects)
    }

    /// An answer to a write-back, or to a repair, of which nothing is made.
    mutating func wrote(
        _ outcome: WriteOutcome, by node: NodeID, _ view: NodeView, _ now: MonotonicTime,
        _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        guard case .writingBack(var back) = phase, let place = replicas.nodes.firstIndex(of: node) else {
            return nil
        }
        switch outcome {
        // It knows the next ring; so will this node soon, and reads again.
        case .failed(.otherRing): return nil
        // Superseded is merged, too: it is said of one dot's fate, not of the object.
        case .stored, .superseded: back.holders.insert(place)
        case .failed: back.failed.insert(place)
        }
        phase = .writingBack(back)
        return advance(view, now, &effects)
    }

    mutating func peerDown(
        _ node: NodeID, _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        for (index, standIn) in standIns.enumerated() where standIn.node == node {
            lose(replicas.nodes.count + index)
        }
        if let place = replicas.nodes.firstIndex(of: node) {
            lose(place)
            if case .writingBack(var back) = phase, back.pending.contains(place) {
                back.failed.insert(place)
                phase = .writingBack(back)
            }
        } else if standIns.isEmpty {
            return nil
        }
        return advance(view, now, &effects)
    }

    private mutating func lose(_ place: Int) {
        guard waiting.contains(place) else { return }
        failed.insert(place)
        unmatched.removeAll { $0.place == place }
    }

    /// When it wants to be woken, or to expire.
    var wakeTime: MonotonicTime { isOpen && othersAreLeft ? min(deadline, nextAsk) : deadline }

    /// The answers take longer than they mostly do: one more replica is asked.
    mutating func woken(_ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]) -> GetOutcome? {
        guard now >= wakeTime else { return nil }
        switch phase {
        case .reading(waitsForOwn: true): return ownDeferred(view, now, &effects)
        case .reading(waitsForOwn: false):
            if let place = view.next(of: reachable(view).subtracting(asked), in: replicas.nodes) {
                effects.append(.observed(.speculativeRead))
                ask(place, view, now, &effects)
            } else {
                othersAreLeft = false
            }
        case .writingBack(var back):
            nextAsk = now.advanced(by: view.patience)
            let others = view.reachable(of: replicas.nodes).subtracting(back.holders.union(back.sent))
            if let place = view.next(of: others, in: replicas.nodes) {
                back.sent.insert(place)
                phase = .writingBack(back)
                sendMerged(to: place, &effects)
            } else {
                othersAreLeft = false
            }
        case .repairing: break
        }
        return nil
    }

    /// The time is up: it shall be forgotten. Nil: its reader has been answered.
    func expired() -> GetOutcome? {
        switch phase {
        case .reading: .failed(ReadFailure(needed: quorum.needed, answered: votes, timedOut: true))
        case .writingBack(let back):
            .failed(
                ReadFailure(
                    needed: back.needed, answered: back.holders.intersection(primaries).count, timedOut: true))
        case .repairing: nil
        }
    }

    /// The reader has been answered: what remains is to repair, and not for long.
    mutating func lingers(from now: MonotonicTime) {
        deadline = min(deadline, now.advanced(by: Self.linger))
    }

    // MARK: Answers

    private mutating func take(_ outcome: ReadOutcome, from place: Int, _ view: NodeView) {
        switch outcome {
        case .absent:
            heard.insert(place)
            absent.insert(place)
        case .hash(let hash): take(hash, from: place)
        case .object(let body):
            do throws(MalformedBytes) {
                try merge(body, from: place, view)
                heard.insert(place)
            } catch {
                failed.insert(place)
            }
        case .failed(let failure):
            if Mutation.ignoreUnreadable.isActive {
                heard.insert(place)
                absent.insert(place)
                return
            }
            failed.insert(place)
            if failure == .unreadable { unreadable.insert(place) }
        }
    }

    private mutating func take(_ hash: ContentHash, from place: Int) {
        if let held = merged {
            if hash == held.hash || Mutation.hashAsAgreement.isActive {
                merged!.current.insert(place)
                heard.insert(place)
                noteHolder(place, of: nil)
                return
            }
            if held.earlier.contains(hash) {
                heard.insert(place)
                return
            }
        }
        if !unmatched.contains(where: { $0.place == place }) { unmatched.append(HashAnswer(place: place, hash: hash)) }
    }

    private mutating func merge(_ body: ByteBuffer, from place: Int, _ view: NodeView) throws(MalformedBytes) {
        let hash = view.hashSeed.contentHash(key: key, body: body)
        if merged?.hash == hash {
            merged!.current.insert(place)
            noteHolder(place, of: nil)
            return
        }
        let object = try VersionedObject(decoding: body)
        noteHolder(place, of: object)
        let answer = MergedAnswers(object: object, body: body, hash: hash, current: ReplicaSet(place))
        merged = merged?.merged(with: answer) { view.hashSeed.contentHash(key: key, body: $0) } ?? answer
    }

    /// A late answer, while W copies of what will be answered are waited for, may be one of them.
    private mutating func noteHolder(_ place: Int, of object: VersionedObject?) {
        guard case .writingBack(var back) = phase, place < replicas.nodes.count else { return }
        if let object, object.merged(with: back.object) != object { return }
        back.holders.insert(place)
        phase = .writingBack(back)
    }

    // MARK: Decisions

    private mutating func advance(
        _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        matchHashes(view, now, &effects)
        switch phase {
        case .reading(let waitsForOwn):
            if votes >= quorum.needed { return conclude(fallbacks: 0, view, now, &effects) }
            if quorum.basicQuorum, !quorum.notFoundOK, absent == heard,
                primaryAbsent.count >= max(primaries.count / 2 + 1, quorum.primaries)
            {
                phase = .repairing
                return .absent(Participation(primaries: primaryAbsent.count))
            }
            var others = reachable(view).subtracting(asked)
            let mayCome = waiting.intersection(primaries).count + others.count
            if votes + mayCome < quorum.needed {
                askStandIns(view, now, &effects)
                let answered = votes + standInVotes
                if answered >= quorum.needed, primaryHeard.count >= quorum.primaries {
                    return conclude(fallbacks: standInVotes, view, now, &effects)
                }
                let isPossible =
                    answered + mayCome + standInsAwaited >= quorum.needed
                    && primaryHeard.count + mayCome >= quorum.primaries
                // R objects cannot be had any more. That R replicas hold nothing still can be.
                let mayBeAbsent =
                    !quorum.notFoundOK && absent == heard && failed.intersection(primaries).isEmpty
                    && primaryAbsent.count < quorum.needed
                    && !Mutation.absentOfOne.isActive && primaryAbsent.count + mayCome >= quorum.needed
                if !isPossible, !mayBeAbsent { return giveUp(&effects) }
            }
            if waitsForOwn { return nil }
            askStandIns(view, now, &effects)
            askOtherList(view, now, &effects)
            var expected = votes + waiting.intersection(primaries).count
            while expected < quorum.needed, let place = view.next(of: others, in: replicas.nodes) {
                others.remove(place)
                ask(place, view, now, &effects)
                expected += 1
            }
            return nil
        case .writingBack:
            repairStale(&effects)
            return advanceWriteBack(view, &effects)
        case .repairing:
            repairStale(&effects)
            return nil
        }
    }

    /// For each primary that cannot be reached, or has failed, the fallback that would keep its hints: the next
    /// that stands for none, or the first.
    private mutating func askStandIns(_ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]) {
        if fallbacks.isEmpty { return }
        let present = reachable(view).union(heard).subtracting(failed)
        if present.intersection(primaries).count == primaries.count { return }
        let reachable = fallbacks.filter { view.reaches($0) }
        guard let first = reachable.first else { return }
        for target in primaries
        where !present.contains(target) && !standIns.contains(where: { $0.target == target }) {
            let node = reachable.first { candidate in !standIns.contains { $0.node == candidate } } ?? first
            let place = replicas.nodes.count + standIns.count
            standIns.append(StandIn(node: node, target: target))
            asked.insert(place)
            read(place, merged.map { .unless($0.hash) } ?? .full, now, view, &effects)
        }
    }

    /// While copies move: what is answered must be on W of the other list, too, or a read that goes there later could
    /// go back in time. Most of the time it is, and their hashes say so.
    private mutating func askOtherList(_ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]) {
        guard let other = replicas.other, quorum.writeBackThere != nil else { return }
        for place in view.reachable(of: replicas.nodes).intersection(other).subtracting(primaries).subtracting(asked) {
            asked.insert(place)
            read(place, merged.map { .unless($0.hash) } ?? .hash, now, view, &effects)
        }
    }

    private func reachable(_ view: NodeView) -> ReplicaSet {
        view.reachable(of: replicas.nodes).intersection(primaries)
    }

    /// Hashes that match nothing that is held: the objects themselves are asked for.
    private mutating func matchHashes(
        _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) {
        if unmatched.isEmpty { return }
        if merged != nil {
            let answers = unmatched
            unmatched = []
            for answer in answers { take(answer.hash, from: answer.place) }
            for answer in unmatched { fetch(from: answer.place, view, now, &effects) }
            unmatched = []
        } else if askedForObject.subtracting(heard).subtracting(failed).isEmpty {
            fetch(from: unmatched.removeFirst().place, view, now, &effects)
        }
    }

    /// R answers are in. Nil: they must be written back first.
    private mutating func conclude(
        fallbacks: Int, _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        let participation = Participation(primaries: primaryHeard.count, fallbacks: fallbacks)
        guard let merged else {
            phase = .repairing
            return .absent(participation)
        }
        let holders = merged.current.intersection(ReplicaSet(first: replicas.nodes.count))
        let back = writeBack(answered: primaryHeard.count).map { needed in
            WriteBack(
                object: merged.object, participation: participation, needed: needed,
                neededThere: Mutation.writeToOneList.isActive ? 0 : quorum.writeBackThere ?? 0, holders: holders)
        }
        if let back, !isHeldWidely(back), !Mutation.answerBeforeWriteBack.isActive {
            phase = .writingBack(back)
            nextAsk = max(nextAsk, now.advanced(by: view.patience))
            othersAreLeft = true
            repairStale(&effects)
            return advanceWriteBack(view, &effects)
        }
        phase = .repairing
        repairStale(&effects)
        // The condition is checked again on this node's record, which must not be behind what was read.
        if case .condition = reader, let own, !merged.current.contains(own),
            !self.merged!.repaired.contains(own)
        {
            sendMerged(to: own, &effects)
        }
        return .found(merged.object, participation)
    }

    /// What stand-ins made up for does not make the quorums overlap; then nothing need be written back.
    private func writeBack(answered: Int) -> Int? {
        guard let needed = quorum.writeBack else { return nil }
        return answered + needed > primaries.count ? needed : nil
    }

    private func isHeldWidely(_ back: WriteBack) -> Bool {
        back.holders.intersection(primaries).count >= back.needed
            && back.holders.intersection(replicas.other ?? primaries).count >= back.neededThere
    }

    private mutating func advanceWriteBack(
        _ view: NodeView, _ effects: inout [CoordinatorEffect]
    ) -> GetOutcome? {
        guard case .writingBack(var back) = phase else { return nil }
        if isHeldWidely(back) {
            phase = .repairing
            return .found(back.object, back.participation)
        }
        let isPossible =
            writeBack(&back, on: primaries, needed: back.needed, view, &effects)
            && writeBack(&back, on: replicas.other ?? primaries, needed: back.neededThere, view, &effects)
        guard isPossible else {
            phase = .repairing
            let answered = back.holders.intersection(primaries).count
            return .failed(ReadFailure(needed: back.needed, answered: answered, timedOut: false))
        }
        phase = .writingBack(back)
        return nil
    }

    /// To as many of a list as are needed beside those that hold it, or may yet say so. False: there are not enough.
    private mutating func writeBack(
        _ back: inout WriteBack, on list: ReplicaSet, needed: Int, _ view: NodeView,
        _ effects: inout [CoordinatorEffect]
    ) -> Bool {
        let awaited = waiting.intersection(list).subtracting(primaries)
        var others = view.reachable(of: replicas.nodes).intersection(list)
            .subtracting(back.holders.union(back.sent).union(awaited))
        func expected() -> Int { back.holders.union(back.pending).union(awaited).intersection(list).count }
        while expected() < needed, let place = view.next(of: others, in: replicas.nodes) {
            others.remove(place)
            back.sent.insert(place)
            sendMerged(to: place, &effects)
        }
        return expected() >= needed
    }

    /// R answers cannot be had any more.
    private mutating func giveUp(_ effects: inout [CoordinatorEffect]) -> GetOutcome {
        phase = .repairing
        repairStale(&effects)
        // R replicas hold nothing, and none has failed: fewer would not meet every W that was acknowledged. Nor is
        // what fewer than PR say an answer.
        if primaryAbsent.count >= max(quorum.needed, quorum.primaries) || Mutation.absentOfOne.isActive,
            absent == heard,
            failed.intersection(primaries).isEmpty
        {
            return .absent(Participation(primaries: primaryAbsent.count))
        }
        if !unreadable.isEmpty, unreadable == asked.intersection(primaries) { return .refused(.unreadable) }
        return .failed(ReadFailure(needed: quorum.needed, answered: votes, timedOut: false))
    }

    // MARK: Effects

    private mutating func ask(
        _ place: Int, _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) {
        asked.insert(place)
        nextAsk = max(nextAsk, now.advanced(by: view.patience))
        if firstAsk == nil { firstAsk = now }
        if firstAsk == now, place != own { firstRound.insert(place) }
        let want: ReplicaRead.Want
        if let merged {
            want = .unless(merged.hash)
            askedForObject.insert(place)
        } else if objectsComing.isEmpty {
            want = .full
            askedForObject.insert(place)
        } else {
            want = .hash
        }
        read(place, want, now, view, &effects)
    }

    private mutating func fetch(
        from place: Int, _ view: NodeView, _ now: MonotonicTime, _ effects: inout [CoordinatorEffect]
    ) {
        askedForObject.insert(place)
        read(place, merged.map { .unless($0.hash) } ?? .full, now, view, &effects)
    }

    private func read(
        _ place: Int, _ want: ReplicaRead.Want, _ now: MonotonicTime, _ view: NodeView,
        _ effects: inout [CoordinatorEffect]
    ) {
        var read = ReplicaRead(operation: id, key: key, copies: copies, want: want, epoch: epoch)
        var node = place < replicas.nodes.count ? replicas.nodes[place] : view.node
        if place >= replicas.nodes.count {
            let standIn = standIns[place - replicas.nodes.count]
            node = standIn.node
            read.hint = replicas.nodes[standIn.target]
        }
        if node == view.node {
            effects.append(.localRead(read))
        } else {
            effects.append(.send(.read(read, remaining: deadline.duration(since: now)), to: node))
        }
    }

    /// Sends the merged object to those that are known to hold less.
    private mutating func repairStale(_ effects: inout [CoordinatorEffect]) {
        guard let merged, !Mutation.skipReadRepair.isActive else { return }
        // A hint that is behind is merged where it is delivered.
        let holders = heard.intersection(ReplicaSet(first: replicas.nodes.count))
        let stale = holders.subtracting(merged.current).subtracting(merged.repaired)
        if stale.isEmpty { return }
        for place in stale {
            if case .writingBack(var back) = phase {
                back.sent.insert(place)
                phase = .writingBack(back)
            }
            sendMerged(to: place, &effects)
        }
        effects.append(.observed(.readRepaired(key, replicas: stale.count)))
    }

    private mutating func sendMerged(to place: Int, _ effects: inout [CoordinatorEffect]) {
        merged!.repaired.insert(place)
        let write = ReplicaWrite(
            operation: id, key: key, copies: copies, epoch: epoch, body: merged!.body,
            readAt: begunAt)
        let receiver = replicas.nodes[place]
        effects.append(receiver == node ? .localWrite(write) : .send(.write(write), to: receiver))
    }
}
