// What clients do and hear.

import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    // MARK: Asking

    func clientTurn(_ client: Int) {
        guard !isCalm, !isScripted else { return }
        guard let node = pickNode(client) else {
            schedule(.clientTurn(client), after: .milliseconds(5))
            return
        }
        if clients[client].random.chance(plan.propertyChangePerMille) {
            changeProperties(client, node)
            return
        }
        let key = clients[client].random.weighted(plan.keys.map(\.weight))
        let known = clients[client].contexts[key] ?? []
        let mix = plan.mix
        let kind = clients[client].random.weighted([
            mix.get, mix.putWithContext, mix.putBlind, mix.putOldContext, mix.delete, mix.deleteBlind, mix.conditional,
            mix.list,
        ])
        switch kind {
        case 0: get(client, key, node)
        case 1: put(client, key, node, context: known.last)
        case 2: put(client, key, node, context: nil)
        case 3: put(client, key, node, context: known.isEmpty ? nil : clients[client].random.pick(known))
        case 4:
            if let context = known.last { delete(client, key, node, context: context) } else { get(client, key, node) }
        case 5: delete(client, key, node, context: nil)
        case 6:
            if let context = known.last, clients[client].random.chance(500) {
                put(client, key, node, context: context, condition: .ifNotModified(context.context.clock))
            } else {
                put(client, key, node, context: nil, condition: .ifNoneMatch)
            }
        default: list(client, bucket: plan.keys[key].bucket, node)
        }
    }

    /// Mostly the client's own node, if it takes requests.
    private func pickNode(_ client: Int) -> Int? {
        let running = nodes.indices.filter { nodes[$0].process != nil }
        if running.isEmpty { return nil }
        let home = clients[client].home
        if nodes[home].process != nil, clients[client].random.chance(500) { return home }
        return clients[client].random.pick(running)
    }

    private func options(_ client: Int, _ key: Int) -> QuorumOptions {
        if let scriptedOptions { return scriptedOptions }
        var options = QuorumOptions()
        guard clients[client].random.chance(plan.ownQuorumPerMille) else { return options }
        let n = plan.buckets[plan.keys[key].bucket].copies
        func draw() -> Quorum? {
            switch clients[client].random.below(6) {
            case 0: .one
            case 1: .all
            case 2: .quorum
            case 3: .count(UInt8(clients[client].random.within(1...n)))
            default: nil
            }
        }
        options.r = draw()
        options.w = draw()
        if clients[client].random.chance(200) { options.pr = draw() }
        if clients[client].random.chance(200) { options.pw = draw() }
        if clients[client].random.chance(200) { options.dw = draw() }
        if clients[client].random.chance(100) { options.rw = draw() }
        if clients[client].random.chance(100) { options.nodeConfirms = UInt8(clients[client].random.within(0...n)) }
        if clients[client].random.chance(100) { options.notFoundOK = clients[client].random.chance(500) }
        if clients[client].random.chance(100) { options.basicQuorum = clients[client].random.chance(500) }
        if clients[client].random.chance(300) { options.sloppyQuorum = clients[client].random.chance(200) }
        return options
    }

    func get(_ client: Int, _ key: Int, _ node: Int) {
        var request = GetRequest(key: plan.keys[key].object)
        request.options = options(client, key)
        request.headOnly = clients[client].random.chance(plan.headPerMille)
        let operation = OpenRequest.Operation.read(options: request.options, head: request.headOnly, isFinal: false)
        submit(.get(request), operation, client: client, key: key, node: node)
    }

    func put(
        _ client: Int, _ key: Int, _ node: Int, context: KnownContext?, condition: WriteCondition? = nil
    ) {
        var expiry: WallTime?
        if plan.expiryPerMille > 0, clients[client].random.chance(plan.expiryPerMille) {
            let life = clients[client].random.span(plan.lifetime)
            let wall = nodes[node].clock.now(at: now).wall
            expiry = WallTime(microseconds: wall.microseconds + life.nanoseconds / 1_000)
        }
        let write = history.begin(
            .put, key: key, client: client, covers: context?.values ?? [], expiry: expiry, at: now)
        var metadata = ContentMetadata()
        if clients[client].random.chance(300) { metadata.contentType = ByteBuffer(string: "text/plain") }
        var request = PutRequest(
            key: plan.keys[key].object, context: context?.context, metadata: metadata.encoded,
            value: SimulatedValue.encode(write, bytes: clients[client].random.within(plan.valueBytes)))
        request.condition = condition
        request.expiry = expiry
        request.options = options(client, key)
        if clients[client].random.chance(plan.returnBodyPerMille) {
            request.returnedBody = clients[client].random.chance(500) ? .full : .head
        }
        if clients[client].random.chance(plan.writeIDPerMille) {
            request.writeID = WriteID(high: clients[client].random.next(), low: UInt64(write))
        }
        submit(.put(request), .write(.put(request), write: write), client: client, key: key, node: node)
    }

    func delete(_ client: Int, _ key: Int, _ node: Int, context: KnownContext?) {
        let write = history.begin(
            context == nil ? .blindDelete : .delete, key: key, client: client, covers: context?.values ?? [], at: now)
        var request = DeleteRequest(key: plan.keys[key].object, context: context?.context)
        request.options = options(client, key)
        submit(.delete(request), .write(.delete(request), write: write), client: client, key: key, node: node)
    }

    /// Sends a request to the lane of its key.
    func submit(
        _ request: ClientRequest, _ operation: OpenRequest.Operation, client: Int, key: Int, node: Int
    ) {
        let lane = LaneConfiguration.lane(
            of: plan.ringSize.partition(of: request.key.position), laneCount: nodes[node].laneCount)
        let (id, requestID, deadline) = open(operation, client: client, key: key, node: node, lane: lane)
        if cacheMilliseconds(key) > 0 { cacheableKeys[id] = key }
        note("c\(client)", key: key, "\(nodes[node].name)! \(describe(request, operation))")
        enqueue(.client(requestID, request, deadline: deadline), node: node, lane: lane)
        if client >= 0, clients[client].random.chance(plan.cancelPerMille) {
            clients.open[id]!.isCancelled = true
            enqueue(.cancel(requestID), node: node, lane: lane)
            schedule(.answer(id, nil), after: .microseconds(10))
        }
    }

    private func open(
        _ operation: OpenRequest.Operation, client: Int, key: Int, node: Int, lane: Int
    ) -> (ClientRequestID, RequestID, MonotonicTime) {
        clients.issued += 1
        let id = clients.nextID(client: client)
        let timeout = isCalm ? Self.calmTimeout : clients.random.span(plan.timeout)
        nodes[node].process!.nextRequest += 1
        let request = RequestID(rawValue: nodes[node].process!.nextRequest)
        nodes[node].process!.requests[.init(lane: lane, request: request)] = id
        let deadline = nodes[node].clock.now(at: now).monotonic.advanced(by: timeout.duration)
        let due = nodes[node].clock.time(of: deadline) + Self.answerSlack
        clients.open[id] = OpenRequest(
            operation: operation, key: key, process: nodes[node].process!.id, request: request, lane: lane,
            invoked: now, due: due)
        queue.schedule(.overdue(id), at: due)
        return (id, request, deadline)
    }

    static let calmTimeout = Span.seconds(60)

    /// How long after its deadline an operation may end: turns have to come round.
    static let answerSlack = Span.milliseconds(500)

    func checkOverdue(_ id: ClientRequestID) {
        guard let open = clients.open[id], !open.isAnswered, !open.isCancelled,
            let process = nodes[open.process.node].process,
            process.id == open.process
        else { return }
        // A listing goes on for as long as its client takes pieces, until its deadline; all else must be over.
        let stalledUntil = open.lane < 0 ? .zero : process.lanes[open.lane].stalledUntil
        let heldUntil = max(process.pausedUntil, stalledUntil) + Self.answerSlack
        if heldUntil > now {
            queue.schedule(.overdue(id), at: heldUntil + .milliseconds(1))
            return
        }
        report(
            Violation(
                .unanswered, key: open.key,
                "node \(nodes[open.process.node].name) has not answered c\(id.client) since \(open.invoked)"))
    }

    // MARK: Answers, as they leave the node

    func answered(_ request: RequestID, _ answer: ClientAnswer, _ process: ProcessID, lane: Int) {
        let key = SimulatedProcess.RequestKey(lane: lane, request: request)
        guard let id = nodes[process.node].process!.requests.removeValue(forKey: key) else {
            return report(
                Violation(
                    .wrongAnswer,
                    "node \(nodes[process.node].name) answers request \(request.rawValue), which is not open"))
        }
        let isFromMemory = noteAnswer(answer, of: id, process)
        guard let open = clients.open[id] else { return }
        clients.open[id]!.isAnswered = true
        clients.open[id]!.isFromMemory = isFromMemory
        clients.open[id]!.expired = expired(key: open.key, by: answer.isOfGet ? process.node : nil)
        switch (open.operation, answer) {
        case (.read(_, _, _), .get(let answer)):
            if case .found(let object, _) = answer {
                // A copy may have gone bad since it was read.
                let mayBeGone = isFromMemory && (plan.faults.damageRecord > 0 || plan.mayFence)
                if !mayBeGone { checkShown(object, key: open.key, since: open.invoked) }
                checkExpiry(object, key: open.key, by: process.node)
            }
        case (.write(let clientRequest, let write), .write(let answer)):
            if case .ok(let participation, let object) = answer {
                acknowledged(write, clientRequest, participation)
                if let object { checkShown(object, key: open.key, since: open.invoked) }
            }
        default:
            report(Violation(.wrongAnswer, key: open.key, "a request is answered with another's answer"))
        }
        schedule(.answer(id, answer), after: random.span(.zero ... .microseconds(200)))
    }

    /// Looks into the replicas' disks at the moment of an acknowledgement.
    private func acknowledged(_ write: Int, _ request: ClientRequest, _ participation: Participation) {
        let record = history.writes[write]
        let checker = DurabilityChecker()
        let needed = self.needed(request, key: record.key)
        func holding(_ copies: [(node: Int, object: VersionedObject?)]) -> UInt64 {
            checker.holders(
                of: write, dots: dots.dots(of: write), copies: copies,
                primaries: min(needed, participation.primaries), in: history)
        }
        let holders = holding(allDurableCopies(of: record.key))
        let primaryHolders = holding(durableCopies(of: record.key))
        // A hint's copy moves to its primary, where a fault may strike it: only copies that stay can be counted on.
        let copiesMayGo = plan.forgets || plan.faults.damageRecord > 0
        let object = plan.keys[record.key].object
        let damaged = nodes.indices.filter { nodes[$0].store.isDamaged(object) }.reduce(UInt64(0)) {
            $0 | 1 << UInt64($1)
        }
        let listened = listened.reduce(UInt64(0)) { $0 | 1 << UInt64($1) }
        history.setHolders(write, (copiesMayGo ? primaryHolders : holders) & ~damaged & listened)
        if primaryHolders & ~damaged != 0 { history.keep(write) } else if damaged != 0 { history.lose(write) }
        // A node that forgot since may have acknowledged it before.
        let forgetful = nodes.indices.filter { nodes[$0].forgot.map { $0 >= record.invoked } ?? false }
            .reduce(UInt64(0)) { $0 | 1 << UInt64($1) }
        let bucket = plan.buckets[plan.keys[record.key].bucket]
        report(
            checker.check(
                record, holders: holders | forgetful, needed: needed,
                participation: participation,
                // A bucket that becomes `lww` may bring back what was deleted from it.
                primaryHolders: history.promises[record.key].mode == .changing ? nil : primaryHolders | forgetful,
                places: replicas(of: record.key).count,
                neededPrimaries: numbers(bucket, request.options, key: record.key).writePrimaries,
                isSloppy: request.options.sloppyQuorum ?? true))
    }

    /// A list may have been shorter than n.
    private func numbers(
        _ bucket: SimulationPlan.Bucket, _ options: QuorumOptions, key: Int
    ) -> QuorumNumbers {
        QuorumNumbers(bucket: bucket, options: options, least: leastCopies[key])
    }

    private func needed(_ request: ClientRequest, key: Int) -> Int {
        let numbers = numbers(plan.buckets[plan.keys[key].bucket], request.options, key: key)
        switch request {
        case .put: return numbers.write
        case .delete: return numbers.delete
        case .get: return numbers.read
        }
    }

    /// Where a record has gone bad, what no other replica holds is lost: it is mended with what they hold.
    func noteLost(key: Int) {
        let object = plan.keys[key].object
        guard replicas(of: key).contains(where: { nodes[$0].store.isDamaged(object) }) else { return }
        let copies = durableCopies(of: key).filter { !nodes[$0.node].store.isDamaged(object) }
        for id in history.writesByKey[key]
        where DurabilityChecker().holders(of: id, dots: dots.dots(of: id), copies: copies, in: history) == 0 {
            history.lose(id)
        }
    }

    func durableCopies(of key: Int) -> [(node: Int, object: VersionedObject?)] {
        let object = plan.keys[key].object
        let holders = replicas(of: key)
        return nodes.indices.map { node in
            let copy = nodes[node].store.durableRecord(of: object).flatMap {
                try? Record(decoding: $0, for: object).object()
            }
            // What was reaped had been held by all, and what is pruned seen by all.
            guard holders.contains(node) else { return (node, copy) }
            guard let reaped = reaped[key] else { return (node, copy.map { withPruned($0, key: key) }) }
            return (node, withPruned(copy?.merged(with: reaped) ?? reaped, key: key))
        }
    }

    /// Those that stand-ins keep among them.
    func allDurableCopies(of key: Int) -> [(node: Int, object: VersionedObject?)] {
        let object = plan.keys[key].object
        var copies = durableCopies(of: key)
        for node in nodes.indices {
            for hint in nodes[node].store.hints(of: object, durable: true) {
                copies.append((node, try? Record(decoding: hint, for: object).object()))
            }
        }
        return copies
    }

    /// Which writes an answer may leave out: those that have expired by its coordinator's clock (nil: anybody may have
    /// been it), or by the clocks of all replicas, which may have removed them.
    func expired(key: Int, by coordinator: Int?) -> Set<Int> {
        guard plan.expiryPerMille > 0, key >= 0 else { return [] }
        let judges = coordinator.map { [$0] } ?? Array(nodes.indices)
        let wall = judges.map { nodes[$0].clock.latestWall(at: now) }.max()!
        let removed = max(agreedExpiry(key), formerlyAgreedExpiry[key], removedThrough[key] ?? wall)
        return history.expired(key: key) { $0 <= max(wall, removed) }
    }

    /// What has expired by the clocks of all replicas has done so by this.
    private func agreedExpiry(_ key: Int) -> WallTime {
        replicas(of: key).map { nodes[$0].clock.latestWall(at: now) }.min()!
    }

    /// Other nodes become replicas, and their clocks were not asked of what is removed by now.
    func noteAgreedExpiry() {
        guard plan.expiryPerMille > 0 else { return }
        for key in plan.keys.indices {
            formerlyAgreedExpiry[key] = max(formerlyAgreedExpiry[key], agreedExpiry(key))
        }
    }

    /// What a coordinator shows has not expired by its own clock.
    private func checkExpiry(_ object: ClientObject, key: Int, by node: Int) {
        let wall = nodes[node].clock.now(at: now).wall
        guard let version = object.siblings.first(where: { $0.hasExpired(at: wall) }) else { return }
        report(Violation(.expiry, key: key, "\(nodes[node].name) shows \(version.dot), which has expired by its clock"))
    }

    private func checkShown(_ object: ClientObject, key: Int, since began: VirtualTime) {
        if plan.forgets { return }
        let copies = allDurableCopies(of: key)
        for sibling in object.siblings where !dots.wasRemoved(sibling.dot, key: key, since: began) {
            let name = SimulatedValue.decode(sibling.value).map { "v\($0)" } ?? "\(sibling.dot)"
            report(DurabilityChecker().check(shown: sibling.dot, name: name, key: key, copies: copies))
        }
    }

    // MARK: Answers, as the client hears them

    func clientAnswered(_ id: ClientRequestID, _ answer: ClientAnswer?) {
        guard let open = clients.open.removeValue(forKey: id) else { return }
        note("c\(id.client)", key: open.key, "hears \(describe(answer)) of \(describe(open))")
        if isScripted { heard = describe(answer) }
        var isRetried = false
        switch open.operation {
        case .read(let options, _, let isFinal):
            if case .get(let answer) = answer { read(answer, options, open, id.client, isFinal: isFinal) }
        case .write(let request, let write):
            isRetried = wrote(answer, request, write, open, id.client)
        case .list, .properties:
            break
        }
        if id.client >= 0, !isRetried { scheduleNextTurn(id.client) }
    }

    func scheduleNextTurn(_ client: Int) {
        schedule(.clientTurn(client), after: clients[client].random.exponential(mean: plan.thinkTime))
    }

    private func read(
        _ answer: GetAnswer, _ options: QuorumOptions, _ open: OpenRequest, _ client: Int, isFinal: Bool
    ) {
        let bucket = plan.buckets[plan.keys[open.key].bucket]
        var quorum = numbers(bucket, options, key: open.key).read
        if isFinal, case .count(let r) = options.r { quorum = Int(r) }
        if isFinal { finalExpired[open.key] = open.expired }
        let asked = quorum
        func check(_ participation: Participation, absent: Bool) {
            let (primaries, fallbacks) = (participation.primaries, participation.fallbacks)
            // What stand-ins made up for promises nothing.
            if fallbacks > 0 { quorum = min(quorum, primaries) }
            let isSloppy = options.sloppyQuorum ?? true
            let neededPrimaries = numbers(bucket, options, key: open.key).readPrimaries
            if fallbacks > 0 && (absent || !isSloppy) || primaries < neededPrimaries || primaries + fallbacks < asked {
                report(
                    Violation(
                        .wrongAnswer, key: open.key,
                        "a read is answered\(absent ? " with nothing" : "") by \(primaries) primaries and \(fallbacks) "
                            + "fallbacks, needs \(asked), of them \(isSloppy ? neededPrimaries : asked) primaries"))
            }
        }
        switch answer {
        case .absent(let participation):
            check(participation, absent: true)
            if isFinal { finalValues[open.key] = [] }
            observe([], open, client, quorum: quorum)
        case .found(let object, let participation):
            check(participation, absent: false)
            guard let values = values(of: object, key: open.key) else { return }
            if isFinal { finalValues[open.key] = values }
            remember(object, values, open, client)
            observe(values, open, client, quorum: quorum)
        case .unchanged:
            report(Violation(.wrongAnswer, key: open.key, "`unchanged` answers a read without condition"))
        case .refused, .failed:
            break
        }
    }

    /// The writes whose values an object shows; a head names them by their dots.
    func values(of object: ClientObject, key: Int) -> [Int]? {
        var values: [Int] = []
        for sibling in object.siblings {
            guard let value = object.headOnly ? dots.value(of: sibling.dot) : SimulatedValue.decode(sibling.value)
            else {
                // An `lww` write that lost within its own turn was never in a record.
                if object.headOnly, history.promises[key].mode != .siblings { return nil }
                report(Violation(.inventedValue, key: key, "a version \(sibling.dot) is shown that nobody wrote"))
                return nil
            }
            values.append(value)
        }
        return values
    }

    /// A context covers what was left out as expired, too.
    private func remember(_ object: ClientObject, _ values: [Int], _ open: OpenRequest, _ client: Int) {
        let hidden = open.expired.subtracting(values).sorted().filter { write in
            dots.dots(of: write).contains { object.context.clock.contains($0) }
        }
        clients.remember(
            KnownContext(context: object.context, values: values + hidden), client: client, key: open.key)
    }

    private func observe(_ values: [Int], _ open: OpenRequest, _ client: Int, quorum: Int) {
        let read = ReadObservation(
            key: open.key, client: client, invoked: instant(of: open), ended: now, values: values, quorum: quorum,
            expired: open.expired)
        let checker = ReadChecker()
        report(checker.check(read, in: history))
        history.noteShown(read, strict: checker.isStrict(read, history.promises[open.key]))
        noteLost(key: open.key)
    }

    /// True when the client tries again.
    private func wrote(
        _ answer: ClientAnswer?, _ request: ClientRequest, _ write: Int, _ open: OpenRequest, _ client: Int
    ) -> Bool {
        guard case .write(let answer) = answer else {
            history.end(write, .indeterminate, at: now)
            return retry(request, write, open, client)
        }
        switch answer {
        case .ok(let participation, let object):
            history.end(
                write, .acknowledged, needed: needed(request, key: open.key), primaries: participation.primaries,
                at: now)
            report(
                ConditionChecker().check(
                    write, request, open.invoked, dots: dots, expired: open.expired, in: history))
            if let object, let values = values(of: object, key: open.key) {
                remember(object, values, open, client)
                // What stood at the coordinating replica when it was stamped: no quorum was read.
                observe(values, open, client, quorum: 0)
            }
            return false
        case .refused:
            history.end(write, .refused, at: now)
            if history.writes[write].outcome == .refused, let shown = history.writes[write].shown {
                report(
                    Violation(.refusedValue, key: open.key, "v\(write) was shown at \(shown), and its put is refused"))
            }
            return false
        case .indeterminate:
            history.end(write, .indeterminate, at: now)
            return retry(request, write, open, client)
        }
    }

    private func retry(_ request: ClientRequest, _ write: Int, _ open: OpenRequest, _ client: Int) -> Bool {
        guard case .put(let put) = request, put.writeID != nil, !isCalm, !open.isCancelled,
            clients[client].random.chance(plan.retryPerMille), let node = pickNode(client)
        else { return false }
        history.retry(write)
        submit(request, .write(request, write: write), client: client, key: open.key, node: node)
        return true
    }

    // MARK: Listings

    func list(_ client: Int, bucket: Int, _ node: Int, isFinal: Bool = false) {
        let lane = clients.random.below(nodes[node].laneCount)
        let (_, request, deadline) = open(
            .list(bucket: bucket, isFinal: isFinal), client: client, key: -1, node: node, lane: lane)
        note("c\(client)", "\(nodes[node].name)! list \(plan.buckets[bucket].id)")
        enqueue(
            .list(request, ListRequest(subject: .keys(plan.buckets[bucket].id)), deadline: deadline), node: node,
            lane: lane)
    }

    func listed(_ request: RequestID, _ piece: ListPiece, _ process: ProcessID, lane: Int) {
        let key = SimulatedProcess.RequestKey(lane: lane, request: request)
        guard let id = nodes[process.node].process!.requests[key] else {
            return report(Violation(.wrongAnswer, "a piece of a listing that is not open"))
        }
        if case .items = piece {
        } else {
            nodes[process.node].process!.requests[key] = nil
            let others = openListings(process, lane: lane)
            clients.open[id]?.isAnswered = true
            clients.open[id]?.otherListings = others
        }
        schedule(.listPiece(id, piece), after: random.span(.zero ... .microseconds(200)))
    }

    private func openListings(_ process: ProcessID, lane: Int) -> Int {
        nodes[process.node].process!.requests.count { request, id in
            if request.lane == lane, case .list = clients.open[id]?.operation { true } else { false }
        }
    }

    func clientListed(_ id: ClientRequestID, _ piece: ListPiece?) {
        guard let open = clients.open[id], case .list(let bucket, let isFinal) = open.operation else { return }
        if case .items(let items) = piece {
            clients.open[id]!.listed.append(contentsOf: items)
            if isRunning(open.process) {
                enqueue(.listContinue(open.request), node: open.process.node, lane: open.lane)
            }
            return
        }
        clients.open[id] = nil
        note("c\(id.client)", "has the list of \(plan.buckets[bucket].id): \(open.listed.count) keys")
        let keys = open.listed.map { keyIndex[ObjectKey(bucket: plan.buckets[bucket].id, key: $0)] }
        report(ListingChecker().check(keys, in: history))
        if isFinal {
            if case .done = piece {
                finalListings[bucket] = keys.compactMap { $0 }
            } else {
                report(ListingChecker().checkFailure(others: open.otherListings, limit: plan.limits.listings))
            }
        }
        if id.client >= 0 { scheduleNextTurn(id.client) }
    }

    // MARK: Properties

    private func changeProperties(_ client: Int, _ node: Int) {
        let candidates = plan.buckets.indices.filter {
            plan.buckets[$0].turnsLastWriteWins || plan.buckets[$0].changesQuorums
        }
        let index = candidates.isEmpty ? 0 : clients[client].random.pick(candidates)
        let bucket = plan.buckets[index]
        var change = PropertiesChange()
        if bucket.turnsLastWriteWins { change.conflictMode = .lww }
        if bucket.changesQuorums {
            change.r = clients[client].random.pick([.one, .quorum, .all])
            change.w = clients[client].random.pick([.one, .quorum, .all])
        }
        let (_, request, deadline) = open(
            .properties(bucket: index, change), client: client, key: -1, node: node, lane: -1)
        note("c\(client)", "\(nodes[node].name)! changes \(bucket.id)")
        enqueueControl(
            .setProperties(request, .bucket(bucket.id), change, holdsData: true, deadline: deadline), node: node)
    }

    func propertiesAnswered(_ request: RequestID, _ answer: PropertiesAnswer, _ process: ProcessID) {
        let key = SimulatedProcess.RequestKey(lane: -1, request: request)
        guard let id = nodes[process.node].process!.requests.removeValue(forKey: key) else {
            return report(Violation(.wrongAnswer, "an answer about properties that nobody asked"))
        }
        clients.open[id]?.isAnswered = true
        schedule(.propertiesAnswer(id, answer), after: random.span(.zero ... .microseconds(200)))
    }

    func clientPropertiesAnswered(_ id: ClientRequestID, _ answer: PropertiesAnswer?) {
        guard let open = clients.open.removeValue(forKey: id), case .properties(let bucket, let change) = open.operation
        else { return }
        note(
            "c\(id.client)", "hears \(answer.map { "\($0)" } ?? "nothing") of its change of \(plan.buckets[bucket].id)")
        if case .stored = answer, change.conflictMode == .lww {
            bucketsTurned[bucket, default: []].insert(open.process.node)
        }
        scheduleNextTurn(id.client)
    }
}

extension ClientAnswer {
    /// Answered by the node that was asked: a get is never forwarded.
    fileprivate var isOfGet: Bool {
        if case .get = self { true } else { false }
    }
}

extension ClientRequest {
    fileprivate var options: QuorumOptions {
        switch self {
        case .get(let get): get.options
        case .put(let put): put.options
        case .delete(let delete): delete.options
        }
    }
}
