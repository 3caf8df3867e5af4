// Agrees with the other members on the next ring, and learns what they have agreed on.
//
//   commit ─► own promise durable ─► prepare ─► promises of a majority ─► accept ─► acceptances of a majority
//          ─► decided: durable here ─► told to old and new members, operator answered
//
// Invariants
//   - One decision for each ring, by its members: a vote is cast only by who holds that very ring.
//   - Nothing that rests on a vote, a ring or a staged change leaves before it is durable: every effect waits for
//     the last store that was asked for before it.
//   - A proposer with a majority of promises proposes the greatest that was accepted among them, and its own plan
//     only where there was none.
//   - The ring of a node is replaced only by one that descends from it, or by one of a greater generation.
//
// Whoever has accepted a ring and hears nothing of its decision goes on with it after a while: so a commit ends
// although its proposer died. Two that propose at once pause for random times; the one whose plan was not chosen is
// told so. Rings spread by the proposer's word, by gossip of their versions on new links and now and then, and by
// every message about rings, because each carries its sender's version.
//
// A commit begins a transition (`Placement`): its steps are rings, too, and agreed on by the same votes.
//
// Departure from Raft and its like: no leader, no log. A ring changes some times a year, and any node proposes.

import DequeModule
package import TorcModel

package struct RingAgreement: Sendable {
    /// Between two tellings of one's version, to so many of the linked peers.
    static let gossipInterval = Duration.seconds(2)
    static let gossipPeers = 3
    /// Within it so many peers are told on new links, and so many are asked for a newer ring: a node that comes
    /// back to a thousand others needs it once, not from each.
    static let greetedPeers = 8
    static let askedPeers = 3
    static let resendInterval = Duration.milliseconds(500)
    /// Pauses between attempts: drawn below this, which doubles with each failure up to the longest.
    static let firstPause = Duration.milliseconds(50)
    static let longestPause = Duration.seconds(2)
    /// A ring was accepted here, and no decision was heard of, for once to three times so long: then it is seen to.
    static let doubtInterval = Duration.seconds(2)
    /// How long one recovery tries.
    static let recoveryTime = Duration.seconds(5)

    private let node: NodeID
    /// As it will be when what is being stored is stored; `record.state` is the node's ring.
    package private(set) var record: RingRecord
    private var proposal: RingProposal?
    private var linked: [NodeID] = []
    private var greatestRound: UInt64 = 0
    private var lastStore: UInt64 = 0
    private var storedThrough: UInt64 = 0
    /// Effects that rest on a store which is under way.
    private var waiting: Deque<(after: UInt64, effect: RingEffect)> = []
    /// Messages of this node to itself.
    private var loopback: Deque<RingMessage> = []
    private var random: SeededGenerator
    private var nextGossip: MonotonicTime?
    /// Since the last gossip.
    private var greeted = 0
    private var asked = 0
    private var doubtAt: MonotonicTime?
    private var stewardship: Stewardship

    package init(node: NodeID, start: RingStart) {
        self.node = node
        record = start.record
        if Mutation.forgetRingVoteAtStart.isActive { record.vote = RingVote() }
        random = SeededGenerator(seed: start.seed)
        stewardship = Stewardship(start.record.state.placement)
        greatestRound = record.vote.promised?.round ?? 0
    }

    package var state: ClusterState { record.state }

    package var nextDeadline: MonotonicTime? {
        var deadlines = [nextGossip, doubtAt].compactMap { $0 }
        if let proposal {
            deadlines.append(proposal.deadline)
            if case .pausing(let until) = proposal.phase {
                deadlines.append(until)
            } else {
                deadlines.append(proposal.resendAt)
            }
        }
        return deadlines.min()
    }

    /// What this node has heard of how far the members are, itself among them.
    package var reports: [NodeID: HandoffReport] { stewardship.reports }

    /// Nothing is being stored or decided, as far as this node knows.
    package var isIdle: Bool { waiting.isEmpty && proposal == nil && record.vote.accepted == nil }

    // MARK: Events

    package mutating func handle(_ event: RingEvent, now: MonotonicTime, effects: inout [RingEffect]) {
        if nextGossip == nil { nextGossip = now.advanced(by: Self.gossipInterval) }
        switch event {
        case .order(let request, let order): obey(order, request, now, &effects)
        case .message(let sender, let message): receive(message, from: sender, now, &effects)
        case .peerUp(let peer):
            if !linked.contains(peer) { linked.append(peer) }
            linked.sort()
            if greeted < Self.greetedPeers {
                greeted += 1
                send(.version, to: peer, &effects)
            }
        case .peerDown(let peer): linked.removeAll { $0 == peer }
        case .stored(let number): stored(number, &effects)
        case .progress(let report):
            stewardship.heard(report, from: node)
            tellSteward(now, &effects)
        case .tick: tick(now, &effects)
        }
        while let message = loopback.popFirst() { receive(message, from: node, now, &effects) }
        if record.vote.accepted == nil || proposal != nil {
            doubtAt = nil
        } else if doubtAt == nil {
            doubtAt = now.advanced(by: Self.doubtInterval + Self.doubtInterval * Int(random.next() % 257) / 128)
        }
    }

    // MARK: Orders

    private mutating func obey(
        _ order: RingOrder, _ request: RequestID, _ now: MonotonicTime, _ effects: inout [RingEffect]
    ) {
        func refuse(_ refusal: RingRefusal) { effects.append(.answer(request, .refused(refusal))) }
        guard state.contains(node) else { return refuse(.notMember) }
        switch order {
        case .stage(let change):
            let others = change.others(of: record.staged)
            if let refusal = RingPlan.refusal(of: change, after: others, in: state) {
                return refuse(.staging(refusal))
            }
            record.staged = others + [change]
            store(&effects)
            emit(.answer(request, .staged(record.staged)), &effects)
        case .plan:
            switch plan {
            case .success(let plan): emit(.answer(request, .plan(plan)), &effects)
            case .failure(let refusal): refuse(.staging(refusal))
            }
        case .commit(let shown, let deadline):
            if proposal?.order != nil { return refuse(.busy) }
            switch plan {
            case .success(let plan):
                if let shown, shown != plan.next.version.fingerprint {
                    return refuse(.planChanged(plan.next.version.fingerprint))
                }
                begin(RingProposal.Order(request: request, plan: plan, deadline: deadline), now, &effects)
            case .failure(let refusal): refuse(.staging(refusal))
            }
        case .abort:
            record.staged = []
            store(&effects)
            emit(.answer(request, .staged([])), &effects)
        case .force(let dead): force(without: dead, request, now, &effects)
        }
    }

    private var plan: Result<RingPlan, StagingRefusal> {
        do throws(StagingRefusal) {
            return .success(try RingPlan(changes: record.staged, of: state))
        } catch {
            return .failure(error)
        }
    }

    private mutating func force(
        without dead: [NodeID], _ request: RequestID, _ now: MonotonicTime, _ effects: inout [RingEffect]
    ) {
        if let stranger = dead.first(where: { !state.hasParticipant($0) }) {
            return effects.append(.answer(request, .refused(.staging(.notMember(stranger)))))
        }
        let living = state.members.count { !dead.contains($0.node) }
        guard living < state.majority, !dead.contains(node) else {
            return effects.append(.answer(request, .refused(.majorityLives(living: living, needed: state.majority))))
        }
        do throws(StagingRefusal) {
            let forced = try state.forced(without: dead, by: node)
            effects.append(.observed(.forced(forced.version, without: dead)))
            install(forced, now, &effects)
            emit(.answer(request, .committed(forced.version)), &effects)
        } catch {
            effects.append(.answer(request, .refused(.staging(error))))
        }
    }

    // MARK: Proposing

    /// An order, or a recovery when there is none.
    private mutating func begin(
        _ order: RingProposal.Order?, wish: ClusterState? = nil, _ now: MonotonicTime, failures: Int = 0,
        deadline: MonotonicTime? = nil, isPlanOut: Bool = false, _ effects: inout [RingEffect]
    ) {
        let wish = wish ?? order?.plan.next
        greatestRound += 1
        let ballot = RingBallot(round: greatestRound, node: node)
        effects.append(.observed(wish == nil ? .recovering(ballot) : .proposed(ballot)))
        proposal = RingProposal(
            order: order, wish: wish, ballot: ballot, phase: .preparing(promises: [], greatest: nil),
            failures: failures,
            resendAt: now.advanced(by: Self.resendInterval),
            deadline: deadline ?? order?.deadline ?? now.advanced(by: Self.recoveryTime), isPlanOut: isPlanOut)
        // This node's own promise goes first: the others hear of the ballot when it is durable here, so that no
        // later process uses it again.
        receive(RingMessage(version: state.version, body: .prepare(ballot)), from: node, now, &effects)
        for member in state.members.map(\.node) where member != node { send(.prepare(ballot), to: member, &effects) }
    }

    private mutating func promised(
        _ ballot: RingBallot, _ accepted: AcceptedRing?, by member: NodeID, _ now: MonotonicTime,
        _ effects: inout [RingEffect]
    ) {
        guard var present = proposal, present.ballot == ballot,
            case .preparing(var promises, var greatest) = present.phase
        else { return }
        promises.insert(member)
        if let accepted, greatest.map({ $0.ballot < accepted.ballot }) ?? true { greatest = accepted }
        present.phase = .preparing(promises: promises, greatest: greatest)
        guard promises.count >= state.majority else { return proposal = present }
        if Mutation.ignoreAcceptedRing.isActive, present.wish != nil { greatest = nil }
        guard let next = greatest?.state ?? present.wish else {
            // There was nothing to recover: nobody of a majority has accepted anything, and this node's own
            // acceptance would have been among the promises.
            return proposal = nil
        }
        if greatest == nil { present.isPlanOut = true }
        present.phase = .accepting(next, acceptances: [])
        present.resendAt = now.advanced(by: Self.resendInterval)
        proposal = present
        for member in state.members.map(\.node) { send(.accept(ballot, next), to: member, &effects) }
    }

    private mutating func accepted(
        _ ballot: RingBallot, by member: NodeID, _ now: MonotonicTime, _ effects: inout [RingEffect]
    ) {
        guard var present = proposal, present.ballot == ballot,
            case .accepting(let next, var acceptances) = present.phase
        else { return }
        acceptances.insert(member)
        present.phase = .accepting(next, acceptances: acceptances)
        proposal = present
        let needed = Mutation.decideRingByMinority.isActive ? state.members.count / 2 : state.majority
        if acceptances.count >= max(needed, 1) { install(next, now, &effects) }
    }

    private mutating func refused(
        _ ballot: RingBallot, _ promised: RingBallot, _ now: MonotonicTime
    ) {
        greatestRound = max(greatestRound, promised.round)
        guard var present = proposal, present.ballot == ballot else { return }
        if case .pausing = present.phase { return }
        present.failures += 1
        let longest = min(Self.firstPause * (1 << min(present.failures, 10)), Self.longestPause)
        present.phase = .pausing(until: now.advanced(by: longest * Int(random.next() % 256 + 1) / 256))
        proposal = present
    }

    private mutating func tick(_ now: MonotonicTime, _ effects: inout [RingEffect]) {
        if let present = proposal, present.deadline <= now { giveUp(present, &effects) }
        if let present = proposal {
            if case .pausing(let until) = present.phase {
                if until <= now {
                    begin(
                        present.order, wish: present.wish, now, failures: present.failures, deadline: present.deadline,
                        isPlanOut: present.isPlanOut, &effects)
                }
            } else if present.resendAt <= now {
                proposal!.resendAt = now.advanced(by: Self.resendInterval)
                resend(present, &effects)
            }
        } else if let due = doubtAt, due <= now, state.contains(node) {
            begin(nil, now, &effects)
        }
        guard let due = nextGossip, due <= now else { return }
        nextGossip = now.advanced(by: Self.gossipInterval)
        greeted = 0
        asked = 0
        var others = linked
        for _ in 0..<min(Self.gossipPeers, others.count) {
            send(.version, to: others.remove(at: Int(random.next() % UInt64(others.count))), &effects)
        }
        tellSteward(now, &effects)
    }

    // MARK: Transitions

    /// While copies move: says how far this node is, to itself if it is the steward.
    private mutating func tellSteward(_ now: MonotonicTime, _ effects: inout [RingEffect]) {
        guard let steward = state.members.lazy.map(\.node).first(where: { $0 == node || linked.contains($0) }) else {
            return
        }
        if steward == node {
            goOn(now, &effects)
        } else if state.transition != nil, let report = stewardship.reports[node] {
            send(.report(report), to: steward, &effects)
        }
    }

    /// The steward has the next step decided, when it may be.
    private mutating func goOn(_ now: MonotonicTime, _ effects: inout [RingEffect]) {
        guard proposal == nil, record.vote.accepted == nil, let next = stewardship.nextStep(of: state) else { return }
        begin(nil, wish: next, now, &effects)
    }

    private mutating func resend(_ present: RingProposal, _ effects: inout [RingEffect]) {
        for member in state.members.map(\.node) {
            switch present.phase {
            case .preparing(let promises, _):
                if !promises.contains(member) { send(.prepare(present.ballot), to: member, &effects) }
            case .accepting(let next, let acceptances):
                if !acceptances.contains(member) { send(.accept(present.ballot, next), to: member, &effects) }
            case .pausing: break
            }
        }
    }

    private mutating func giveUp(_ present: RingProposal, _ effects: inout [RingEffect]) {
        proposal = nil
        doubtAt = nil
        guard let order = present.order else { return }
        let answer: RingAnswer =
            present.isPlanOut
            ? .indeterminate(reached: present.reached, needed: state.majority)
            : .unreachable(reached: present.reached, needed: state.majority)
        emit(.answer(order.request, answer), &effects)
    }

    // MARK: Messages

    private mutating func receive(
        _ message: RingMessage, from sender: NodeID, _ now: MonotonicTime, _ effects: inout [RingEffect]
    ) {
        if case .decided(let state) = message.body { return learn(state, from: sender, now, &effects) }
        guard message.version == state.version else {
            if state.version.outranks(message.version) {
                send(.decided(state), to: sender, &effects)
            } else if message.version.outranks(state.version) {
                // A version is answered with what it lacks.
                if asked < Self.askedPeers {
                    asked += 1
                    send(.version, to: sender, &effects)
                }
            } else {
                effects.append(.observed(.forked(sender, message.version)))
            }
            return
        }
        if case .report(let report) = message.body {
            stewardship.heard(report, from: sender)
            return tellSteward(now, &effects)
        }
        // Only members of this ring have a say in the next.
        guard state.contains(node), state.contains(sender) else { return }
        switch message.body {
        case .version, .decided, .report: break
        case .prepare(let ballot):
            greatestRound = max(greatestRound, ballot.round)
            vote(on: ballot, from: sender, { $0.prepare(ballot) }, &effects) {
                .promise(ballot, $0.accepted)
            }
        case .accept(let ballot, let next):
            guard next.isSuccessor(of: state) else { return }
            greatestRound = max(greatestRound, ballot.round)
            vote(on: ballot, from: sender, { $0.accept(ballot, next) }, &effects) { _ in .accepted(ballot) }
        case .promise(let ballot, let accepted): promised(ballot, accepted, by: sender, now, &effects)
        case .accepted(let ballot): self.accepted(ballot, by: sender, now, &effects)
        case .refused(let ballot, let promised): refused(ballot, promised, now)
        }
    }

    private mutating func vote(
        on ballot: RingBallot, from sender: NodeID, _ cast: (inout RingVote) -> Bool, _ effects: inout [RingEffect],
        answer: (RingVote) -> RingMessage.Body
    ) {
        let before = record.vote
        guard cast(&record.vote) else {
            return send(.refused(ballot, promised: before.promised!), to: sender, &effects)
        }
        if Mutation.answerRingBeforeStored.isActive, sender != node {
            effects.append(.send(RingMessage(version: state.version, body: answer(record.vote)), to: sender))
            if record.vote != before { store(&effects) }
            return
        }
        if record.vote != before { store(&effects) }
        send(answer(record.vote), to: sender, &effects)
    }

    /// Somebody holds this ring: so it was agreed on, or forced.
    private mutating func learn(
        _ news: ClusterState, from sender: NodeID, _ now: MonotonicTime, _ effects: inout [RingEffect]
    ) {
        if news.version == state.version { return }
        if state.version.outranks(news.version) { return send(.decided(state), to: sender, &effects) }
        guard news.version.outranks(state.version) else {
            return effects.append(.observed(.forked(sender, news.version)))
        }
        let isOurs =
            news.generation == state.generation
            ? news.descends(from: state.version) : news.isRelated(to: state)
        guard isOurs, news.ring.size == state.ring.size else {
            return effects.append(.observed(.strayed(sender, news.version)))
        }
        install(news, now, &effects)
    }

    // MARK: Installing

    private mutating func install(_ next: ClusterState, _ now: MonotonicTime, _ effects: inout [RingEffect]) {
        let former = state
        let order = proposal?.order
        // A proposer tells everybody; others leave that to it, and to gossip.
        let tells = proposal != nil || next.generation != former.generation
        proposal = nil
        let tookPart = record.hasLeft || former.hasParticipant(node)
        record = RingRecord(
            state: next, staged: RingPlan.remaining(record.staged, in: next),
            hasLeft: tookPart && !next.hasParticipant(node))
        stewardship = Stewardship(next.placement)
        store(&effects)
        emit(.installed(next), &effects)
        if tells {
            let everybody = (former.participants + next.participants).map(\.node) + next.fenced
            for member in Set(everybody).sorted() where member != node {
                send(.decided(next), to: member, &effects)
            }
        }
        if let order {
            let plan = order.plan.next
            let isChosen = next.version == plan.version || next.descends(from: plan.version)
            emit(.answer(order.request, isChosen ? .committed(plan.version) : .lost(to: next.version)), &effects)
        }
        if next.fenced.contains(node), !former.fenced.contains(node) { effects.append(.observed(.fenced)) }
    }

    // MARK: Effects

    private mutating func store(_ effects: inout [RingEffect]) {
        lastStore += 1
        effects.append(.store(lastStore, record))
    }

    private mutating func stored(_ number: UInt64, _ effects: inout [RingEffect]) {
        storedThrough = max(storedThrough, number)
        while let first = waiting.first, first.after <= storedThrough {
            waiting.removeFirst()
            release(first.effect, &effects)
        }
    }

    /// At once, or when what it rests on is durable.
    private mutating func emit(_ effect: RingEffect, _ effects: inout [RingEffect]) {
        if storedThrough >= lastStore {
            release(effect, &effects)
        } else {
            waiting.append((lastStore, effect))
        }
    }

    private mutating func release(_ effect: RingEffect, _ effects: inout [RingEffect]) {
        if case .send(let message, to: node) = effect {
            loopback.append(message)
        } else {
            effects.append(effect)
        }
    }

    private mutating func send(_ body: RingMessage.Body, to peer: NodeID, _ effects: inout [RingEffect]) {
        emit(.send(RingMessage(version: state.version, body: body), to: peer), &effects)
    }
}
