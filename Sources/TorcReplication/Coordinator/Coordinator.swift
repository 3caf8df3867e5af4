// The coordinator of one lane: takes the requests of clients and of nodes that forward, asks the replicas,
// counts their answers, and decides when and what the client is told. Each kind of request is a small machine
// in a file of its own; this file finds the machine that an event is for, and does what it has decided.
//
//   client ─► get ───────► GetOperation ──────────────────────────────► answer
//          ─► put ───────► [GetOperation for the condition] PutOperation ─► answer
//          ─► delete ────► [GetOperation for the context]   PutOperation ─► answer
//          ─► no replica here: ForwardedOperation ─► that node's coordinator ─► answer
//          ─► list ──────► ListOperation ─► pages from one replica of each partition
//
// An answer that finds no operation is late, repeated or stray, and is dropped: that is what makes lost,
// delayed and repeated messages harmless here.

import NIOCore
package import TorcModel

package struct Coordinator: Sendable {
    var view: NodeView
    var lists: PreferenceLists
    package private(set) var properties: PropertiesTable
    var draining = false

    var numbers: AskerNumbers
    // On the hot path changed by their place among the values: `puts[id]?.change()` moves them out and back, and allocates.
    private var gets: [OperationID: GetOperation] = [:]
    private var puts: [OperationID: PutOperation] = [:]
    private var deletes: [OperationID: DeleteOperation] = [:]
    var forwards: [OperationID: ForwardedOperation] = [:]
    var listings: [OperationID: ListOperation] = [:]
    /// The listing that a page belongs to.
    var pages: [OperationID: OperationID] = [:]
    /// Reads of clients that are not answered. A read that a write begins with counts as that write.
    private var openReads = 0
    /// Reads whose reader is answered, and which only repair.
    private var lingering = 0
    /// For a client that goes away.
    var requests: [RequestID: OperationID] = [:]

    var timers = Timers()
    /// For reads at ONE.
    var cache = ReadCache()
    private var latency = LatencyEstimate()
    private var window = ForwardWindow()

    package init(configuration: LaneConfiguration, placement: Placement, properties: PropertiesTable) {
        view = NodeView(
            node: configuration.node, incarnation: configuration.incarnation, hashSeed: configuration.hashSeed,
            limits: configuration.limits, patience: LatencyEstimate().patience)
        lists = PreferenceLists(placement)
        self.properties = properties
        cache.reset(isOn: properties.cachesOne, at: .zero)
        numbers = AskerNumbers(.requests, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    /// Requests that are not answered.
    package var openCount: Int { openReads + puts.count + deletes.count + forwards.count }
    package var listingCount: Int { listings.count }
    /// Nothing is under way, late repair included.
    package var isIdle: Bool { openCount == 0 && gets.isEmpty && listings.isEmpty }

    /// When `tick` is due. It may name an operation that has ended, after which `tick` does nothing.
    package var nextDeadline: MonotonicTime? { timers.earliest?.time }

    // MARK: Clients

    package mutating func client(
        _ request: RequestID, _ body: ClientRequest, deadline: MonotonicTime, _ now: Now,
        _ effects: inout [CoordinatorEffect]
    ) {
        switch body {
        case .get(let get):
            let reader = ClientReader(request, get)
            read(SharedRead(key: get.key, options: get.options, deadline: deadline, readers: [reader]), now, &effects)
        case .put, .delete:
            write(body, for: .client(request), properties[bucketOf: body.key], deadline, now, &effects)
        }
    }

    /// One read for all of its readers.
    package mutating func read(_ shared: SharedRead, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        var readers = shared.readers
        do throws(Refusal) {
            try admit()
            let room = view.limits.operations - openCount
            if readers.count > room {
                refuse(readers[room...], .overloaded, &effects)
                readers.removeSubrange(room...)
            }
            if Mutation.joinSentRead.isActive, joinSent(readers, shared) { return }
            if readers.count > 1 { effects.append(.observed(.readShared(shared.key, readers: readers.count))) }
            let id = numbers.nextOperation()
            try read(
                id, shared.key, Reader(readers), shared.options, properties[bucketOf: shared.key], shared.deadline, now,
                &effects)
            if gets[id] != nil { for reader in readers { requests[reader.request] = id } }
        } catch {
            refuse(readers[...], error, &effects)
        }
    }

    private func refuse(
        _ readers: ArraySlice<ClientReader>, _ refusal: Refusal, _ effects: inout [CoordinatorEffect]
    ) {
        for reader in readers {
            note(refusal, &effects)
            effects.append(.answer(reader.request, .get(.refused(refusal))))
        }
    }

    /// A deliberate fault.
    private mutating func joinSent(_ readers: [ClientReader], _ shared: SharedRead) -> Bool {
        let sent = gets.keys.sorted().first { id in
            guard let get = gets[id], get.isOpen, get.reader.clientCount > 0 else { return false }
            return get.key == shared.key && get.options == shared.options && shared.deadline >= get.deadline
        }
        guard let sent else { return false }
        gets[sent]!.reader = Reader(gets[sent]!.reader.clients + readers)
        openReads += readers.count
        for reader in readers { requests[reader.request] = sent }
        return true
    }

    /// Reads and listings end; a write goes on, and nobody hears of it.
    package mutating func cancel(_ request: RequestID) {
        guard let id = requests.removeValue(forKey: request) else { return }
        if let get = gets[id] {
            if get.isOpen { openReads -= 1 } else { lingering -= 1 }
            let others = get.reader.clients.filter { $0.request != request }
            if get.isOpen, !others.isEmpty { gets[id]!.reader = Reader(others) } else { gets[id] = nil }
        }
        puts[id]?.writer = .nobody
        deletes[id]?.writer = .nobody
        forwards[id]?.writer = .nobody
        dropListing(id)
    }

    package mutating func drain() { draining = true }

    // MARK: Writes

    mutating func write(
        _ request: ClientRequest, for writer: Writer, _ properties: BucketProperties, _ deadline: MonotonicTime,
        _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        cache.changed(request.key, at: now.monotonic)
        do throws(Refusal) {
            try admit()
            try begin(request, for: writer, properties, deadline, now, &effects)
        } catch {
            note(error, &effects)
            answer(writer, .refused(error), &effects)
        }
    }

    private mutating func begin(
        _ request: ClientRequest, for writer: Writer, _ properties: BucketProperties, _ deadline: MonotonicTime,
        _ now: Now, _ effects: inout [CoordinatorEffect]
    ) throws(Refusal) {
        var request = request
        if case .put(let put) = request, put.lifetimeSeconds != nil { request = .put(put.expiring(from: now.wall)) }
        let key = request.key
        if case .put(let put) = request {
            let bytes = put.metadata.readableBytes + put.value.readableBytes
            guard bytes <= view.limits.objectBytes else {
                throw .objectTooLarge(bytes: bytes, limit: view.limits.objectBytes)
            }
        }
        let plan = try plan(request.key, request.options, isDelete: request.isDelete, properties, writer)
        let nodes = plan.replicas.nodes
        let reachable = view.reachable(of: nodes)
        switch plan.own {
        // Who is not read from may lack what a condition asks about.
        case .primary(let place) where plan.replicas.serving.contains(place) || writer.isPeer: break
        case .fallback: break
        case .primary, .outside:
            try forward(request, for: writer, properties, plan, deadline, now, &effects)
            return
        }
        if reachable.count < nodes.count {
            try plan.check(reachable: reachable, spare: plan.fallbacks.count { view.reaches($0) })
        }
        switch request {
        case .get: preconditionFailure("a get is not written")
        case .put(let put):
            let id = register(writer)
            let operation = PutOperation(
                id: id, key: key, writer: writer, options: put.options, properties: properties, plan: plan,
                context: put.context,
                change: .put(metadata: put.metadata, value: put.value, expiry: put.expiry, writeID: put.writeID),
                condition: put.condition, returnedBody: put.returnedBody, deadline: deadline)
            guard put.condition != nil else {
                add(operation, id, now, &effects)
                return
            }
            wakePut(id, before: operation.deadline, now)
            puts[id] = operation
            readFirst(key, .condition(of: id), put.options, properties, deadline, now, &effects)
        case .delete(let delete):
            let id = register(writer)
            if let context = delete.context {
                let operation = PutOperation(
                    id: id, key: key, writer: writer, options: delete.options, properties: properties, plan: plan,
                    context: context, change: .delete, deadline: deadline)
                add(operation, id, now, &effects)
                return
            }
            deletes[id] = DeleteOperation(
                writer: writer, key: key, options: delete.options, properties: properties, plan: plan,
                deadline: deadline)
            readFirst(key, .deletion(of: id), delete.options, properties, deadline, now, &effects)
        }
    }

    /// Where a write goes by the present ring.
    mutating func plan(
        _ key: ObjectKey, _ options: QuorumOptions, isDelete: Bool, _ properties: BucketProperties, _ writer: Writer
    ) throws(Refusal) -> WritePlan {
        try WritePlan(
            key, options, isDelete: isDelete, properties, isForwarded: writer.isPeer, view: view, lists: &lists)
    }

    private mutating func add(
        _ operation: consuming PutOperation, _ id: OperationID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        operation.mint(now, &effects)
        wakePut(id, before: operation.deadline, now)
        puts[id] = operation
    }

    /// At its deadline, or when who has not answered shall be stood in for.
    private mutating func wakePut(_ id: OperationID, before deadline: MonotonicTime, _ now: Now) {
        timers.wake(id, .put, at: min(deadline, now.monotonic.advanced(by: view.limits.writePatience)))
    }

    mutating func register(_ writer: Writer) -> OperationID {
        let id = numbers.nextOperation()
        if case .client(let request) = writer { requests[request] = id }
        return id
    }

    private mutating func conclude(
        _ id: OperationID, _ outcome: PutOutcome?, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        switch outcome {
        case nil: break
        case .done(let result):
            if let put = puts.removeValue(forKey: id) {
                cache.changed(put.key, at: now.monotonic)
                finish(put.writer, result, &effects)
            }
        case .restamp:
            guard var put = puts.removeValue(forKey: id) else { return }
            effects.append(.observed(.lwwRestamped(put.key)))
            let next = Mutation.acceptStaleRestampAck.isActive ? id : numbers.nextOperation()
            put.rename(to: next)
            if case .client(let request) = put.writer { requests[request] = next }
            add(put, next, now, &effects)
        }
    }

    // MARK: Reads

    private mutating func read(
        _ id: OperationID, _ key: ObjectKey, _ reader: Reader, _ options: QuorumOptions,
        _ properties: BucketProperties, _ deadline: MonotonicTime, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) throws(Refusal) {
        let copies = Int(properties.n)
        let replicas = lists.replicas(of: key, copies: copies)
        let needed = try ReadQuorum(
            for: reader, options, properties, of: replicas, phase: lists.placement.phase)
        var fillsCache = false
        if properties.oneCacheMilliseconds > 0, needed.isOne, reader.clientCount > 0, options.nodeConfirms ?? 1 <= 1 {
            if let held = cache.held(key, milliseconds: properties.oneCacheMilliseconds, at: now.monotonic) {
                effects.append(.observed(.readCached(key, readers: reader.clientCount)))
                deliver(.found(held.object, held.participation), to: reader, key, now, &effects)
                return
            }
            fillsCache = cache.isAskedAgain(key, milliseconds: properties.oneCacheMilliseconds, at: now.monotonic)
        }
        let fallbacks = needed.isSloppy ? lists.fallbacks(of: key, copies: copies) : []
        var get = GetOperation(
            id: id, key: key, reader: reader, options: options, properties: properties, replicas: replicas,
            fallbacks: fallbacks, quorum: needed, epoch: lists.placement.epoch, deadline: deadline,
            now: now.monotonic, node: view.node)
        if let outcome = get.begin(view, now.monotonic, &effects) {
            // Nothing was asked, so nothing is waited for.
            deliver(outcome, to: reader, key, now, &effects)
            return
        }
        let wake = get.wakeTime
        get.fillsCache = fillsCache
        get.scheduled = wake
        gets[id] = get
        openReads += reader.clientCount
        timers.wake(id, .get, at: wake)
    }

    /// What a write begins with.
    private mutating func readFirst(
        _ key: ObjectKey, _ reader: Reader, _ options: QuorumOptions, _ properties: BucketProperties,
        _ deadline: MonotonicTime, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        do throws(Refusal) {
            try read(numbers.nextOperation(), key, reader, options, properties, deadline, now, &effects)
        } catch {
            deliver(.refused(error), to: reader, key, now, &effects)
        }
    }

    /// After an event of a read: tells its reader, sets its timer, or forgets it.
    private mutating func settle(
        _ id: OperationID, _ outcome: GetOutcome?, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        guard let outcome else {
            if let get = gets[id] { reschedule(id, get, now) }
            return
        }
        guard var get = gets[id] else { return }
        let reader = get.reader
        openReads -= reader.clientCount
        if get.fillsCache { keep(get, outcome) }
        if get.isFinished || lingering >= view.limits.operations {
            gets[id] = nil
        } else {
            lingering += 1
            get.lingers(from: now.monotonic)
            gets[id] = get
            reschedule(id, get, now)
        }
        deliver(outcome, to: reader, get.key, now, &effects)
    }

    /// Where no stand-in helped: what those keep is not what a replica holds.
    private mutating func keep(_ get: GetOperation, _ outcome: GetOutcome) {
        guard case .found(_, let participation) = outcome, participation.fallbacks == 0, let seen = get.seen else {
            return
        }
        cache.keep(seen.object, body: seen.body, of: get.key, by: participation, readAt: get.begunAt)
    }

    private mutating func reschedule(_ id: OperationID, _ get: GetOperation, _ now: Now) {
        if get.isFinished {
            gets[id] = nil
            lingering -= 1
            return
        }
        let wake = get.wakeTime
        if wake < get.scheduled {
            gets[id]!.scheduled = wake
            timers.wake(id, .get, at: wake)
        }
    }

    private mutating func deliver(
        _ outcome: GetOutcome, to reader: Reader, _ key: ObjectKey, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        switch reader {
        case .client(let client): deliver(outcome, to: client, now, &effects)
        case .clients(let clients): for client in clients { deliver(outcome, to: client, now, &effects) }
        case .condition(let id): conclude(id, puts[id]?.checked(outcome, now, &effects), now, &effects)
        case .deletion(let id):
            guard let delete = deletes.removeValue(forKey: id) else { return }
            switch delete.read(outcome) {
            case .done(let result):
                cache.changed(key, at: now.monotonic)
                finish(delete.writer, result, &effects)
            case .write(let context): add(delete.write(context, id: id), id, now, &effects)
            }
        }
    }

    private mutating func deliver(
        _ outcome: GetOutcome, to client: ClientReader, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        requests[client.request] = nil
        let answer: GetAnswer =
            switch outcome {
            case .absent(let participation): .absent(participation)
            case .found(let object, let participation):
                object.clock == client.unlessClock
                    ? .unchanged(participation)
                    : .found(ClientObject(object, at: now.wall, headOnly: client.headOnly), participation)
            case .refused(let refusal): .refused(refusal)
            case .failed(let failure): .failed(failure)
            }
        effects.append(.answer(client.request, .get(answer)))
    }

    // MARK: Replicas

    /// An answer of this node's own replica.
    package mutating func replied(
        _ id: OperationID, _ reply: VnodeReply, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        switch reply {
        case .deferred: settle(id, gets[id]?.ownDeferred(view, now.monotonic, &effects), now, &effects)
        case .read(let outcome): read(id, outcome, from: view.node, now, &effects)
        case .wrote(let outcome): wrote(id, outcome, from: view.node, now, &effects)
        case .minted(let minted):
            guard let place = puts.index(forKey: id) else { return }
            if Mutation.cacheUnsynced.isActive {
                cache.keepUnsynced(minted, of: puts.values[place].key, at: now.monotonic)
            }
            conclude(id, puts.values[place].minted(minted, view, now, &effects), now, &effects)
        case .mintSynced:
            guard let place = puts.index(forKey: id) else { return }
            conclude(id, puts.values[place].mintSynced(view, now, &effects), now, &effects)
        case .refused(.unreadable):
            if let put = puts[id], let request = put.requestNotMinted,
                forwardPast([], request, for: put.writer, put.properties, put.deadline, now, &effects)
            {
                puts[id] = nil
            } else {
                conclude(id, puts[id]?.refused(.unreadable), now, &effects)
            }
        case .refused(let refusal): conclude(id, puts[id]?.refused(refusal), now, &effects)
        case .buried, .mints, .mended: break
        }
    }

    /// An answer of this node as a stand-in for `target`.
    package mutating func hintReplied(
        _ id: OperationID, _ reply: VnodeReply, of target: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        switch reply {
        case .read(let outcome): hintRead(id, outcome, of: target, from: view.node, now, &effects)
        case .wrote(let outcome): hinted(id, outcome, of: target, from: view.node, now, &effects)
        // What a stand-in reads is not waited for, and it mints under its own name.
        case .deferred, .minted, .mintSynced, .refused, .buried, .mints, .mended: break
        }
    }

    private mutating func hinted(
        _ id: OperationID, _ outcome: WriteOutcome, of target: NodeID, from node: NodeID, _ now: Now,
        _ effects: inout [CoordinatorEffect]
    ) {
        conclude(id, puts[id]?.hinted(outcome, of: target, by: node, view, now, &effects), now, &effects)
    }

    private mutating func hintRead(
        _ id: OperationID, _ outcome: ReadOutcome, of target: NodeID, from node: NodeID, _ now: Now,
        _ effects: inout [CoordinatorEffect]
    ) {
        let result = gets[id]?.hintAnswered(outcome, of: target, by: node, view, now.monotonic, &effects)
        if cache.isOn, let get = gets[id], let seen = get.seen { cache.saw(seen.object, of: get.key) }
        settle(id, result, now, &effects)
    }

    /// A message of a peer, or of another lane of this node.
    package mutating func received(
        _ message: PeerMessage, from node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        switch message {
        case .wrote(let id, let outcome): wrote(id, outcome, from: node, now, &effects)
        case .readResult(let id, let outcome): read(id, outcome, from: node, now, &effects)
        case .hinted(let id, let target, let outcome): hinted(id, outcome, of: target, from: node, now, &effects)
        case .hintResult(let id, let target, let outcome):
            hintRead(id, outcome, of: target, from: node, now, &effects)
        case .forward(let forward): take(forward, from: node, now, &effects)
        case .forwarded(let id, let result): forwarded(id, result, by: node, now, &effects)
        case .pageResult(let page, let outcome):
            guard let id = pages.removeValue(forKey: page) else { return }
            listings[id]?.received(outcome, page: page)
            advanceListing(id, now, &effects)
        case .write, .read, .page, .properties, .propertiesStored, .propertiesDigest, .membership, .compare,
            .compared, .askToken, .token, .reap, .reaped, .ring:
            break
        }
    }

    private mutating func read(
        _ id: OperationID, _ outcome: ReadOutcome, from node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        guard let place = gets.index(forKey: id) else { return }
        let result = gets.values[place].answered(outcome, by: node, view, &latency, now.monotonic, &effects)
        view.patience = latency.patience
        if cache.isOn, case .object = outcome, let seen = gets.values[place].seen {
            cache.saw(seen.object, of: gets.values[place].key)
        }
        settle(id, result, now, &effects)
    }

    private mutating func wrote(
        _ id: OperationID, _ outcome: WriteOutcome, from node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        if let place = puts.index(forKey: id) {
            conclude(id, puts.values[place].wrote(outcome, by: node, view, now, &effects), now, &effects)
        } else if let place = gets.index(forKey: id) {
            settle(id, gets.values[place].wrote(outcome, by: node, view, now.monotonic, &effects), now, &effects)
        }
    }

    private mutating func take(
        _ forward: ForwardedWrite, from node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        guard
            window.admit(forward.operation, from: node, incarnation: forward.incarnation)
                || Mutation.coordinateForwardTwice.isActive
        else {
            effects.append(.observed(.duplicateForwardIgnored(node)))
            return
        }
        // Neither comes from a node that works.
        if case .get = forward.request { return }
        guard forward.properties.refusal == nil else { return }
        var known = forward.properties
        // Whoever knows a bucket as `lww` is right: it never goes back.
        if properties[forward.request.key.bucket].conflictMode == .lww { known.conflictMode = .lww }
        write(
            forward.request, for: .peer(node, forward.operation), known,
            now.monotonic.advanced(by: forward.remaining), now, &effects)
    }

    // MARK: The node

    package mutating func peerUp(_ node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        if view.linked.contains(node) { peerDown(node, now, &effects) }
        view.linked.insert(node)
    }

    /// What was awaited of it will not come.
    package mutating func peerDown(_ node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        guard view.linked.remove(node) != nil else { return }
        for id in puts.keys.sorted() { conclude(id, puts[id]?.peerDown(node, view, now, &effects), now, &effects) }
        for id in gets.keys.sorted() where gets[id] != nil {
            settle(id, gets[id]!.peerDown(node, view, now.monotonic, &effects), now, &effects)
        }
        for id in forwards.keys.sorted() where forwards[id]?.target == node { lost(id, now, &effects) }
        for id in listings.keys.sorted() {
            guard let lost = listings[id]?.pages(askedOf: node), !lost.isEmpty else { continue }
            for page in lost {
                pages[page] = nil
                listings[id]?.gaveUp(page: page)
            }
            advanceListing(id, now, &effects)
        }
    }

    package mutating func suspected(_ nodes: [NodeID]) { view.suspected = Set(nodes) }

    /// What is under way goes on by the new ring: writes with what they have reached, reads and listings anew.
    package mutating func ringChanged(_ placement: Placement, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        lists = PreferenceLists(placement)
        cache.reset(isOn: cache.isOn, at: now.monotonic)
        window.forget(placement.isFenced)
        for id in deletes.keys.sorted() {
            guard let delete = deletes[id],
                let plan = try? plan(delete.key, delete.options, isDelete: true, delete.properties, delete.writer)
            else { continue }
            deletes[id]!.plan = plan
        }
        for id in puts.keys.sorted() {
            guard let put = puts[id],
                let plan = try? plan(put.key, put.options, isDelete: put.isDelete, put.properties, put.writer)
            else { continue }
            conclude(id, puts[id]?.replan(plan, view, now, &effects), now, &effects)
        }
        for id in gets.keys.sorted() {
            guard let get = gets[id], get.isOpen,
                // Replicas that know this ring refuse what is written back by the one before.
                get.epoch != placement.epoch
                    || get.replicas != lists.replicas(of: get.key, copies: Int(get.properties.n))
            else { continue }
            gets[id] = nil
            let next = numbers.nextOperation()
            openReads -= get.reader.clientCount
            for client in get.reader.clients { requests[client.request] = next }
            do throws(Refusal) {
                try read(next, get.key, get.reader, get.options, get.properties, get.deadline, now, &effects)
            } catch {
                deliver(.refused(error), to: get.reader, get.key, now, &effects)
            }
        }
        for id in listings.keys.sorted() { listings[id]!.ringChanged(&lists) }
    }

    package mutating func propertiesChanged(_ entries: [PropertiesEntry], _ now: Now) {
        for entry in entries { properties.merge(entry) }
        cache.reset(isOn: properties.cachesOne, at: now.monotonic)
    }

    /// A record of it is written here: as a replica's, or for one.
    mutating func recordChanged(_ key: ObjectKey, _ now: Now) {
        if cache.isOn { cache.changed(key, at: now.monotonic) }
    }

    // MARK: Time

    package mutating func tick(_ now: Now, _ effects: inout [CoordinatorEffect]) {
        while let entry = timers.earliest, entry.time <= now.monotonic {
            timers.removeEarliest()
            guard isLive(entry) else { continue }
            wake(entry, now, &effects)
        }
    }

    private mutating func wake(_ entry: Timers.Entry, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        let id = entry.operation
        switch entry.kind {
        case .get:
            if now.monotonic >= gets[id]!.deadline {
                let get = gets.removeValue(forKey: id)!
                if !get.isOpen { lingering -= 1 }
                if let outcome = get.expired() {
                    openReads -= get.reader.clientCount
                    deliver(outcome, to: get.reader, get.key, now, &effects)
                }
            } else {
                gets[id]!.scheduled = MonotonicTime(nanoseconds: .max)
                settle(id, gets[id]!.woken(view, now.monotonic, &effects), now, &effects)
            }
        case .put:
            if now.monotonic >= puts[id]!.deadline {
                let put = puts.removeValue(forKey: id)!
                cache.changed(put.key, at: now.monotonic)
                finish(put.writer, put.timedOut(), &effects)
            } else {
                puts[id]!.impatient(view, &effects)
                wakePut(id, before: puts[id]!.deadline, now)
            }
        case .forward:
            if let forward = forwards.removeValue(forKey: id) {
                cache.changed(forward.request.key, at: now.monotonic)
                finish(forward.writer, forward.lost, &effects)
            }
        case .list: endListing(id, with: .failed(partition: listings[id]!.currentPartition), &effects)
        case .page:
            guard let listing = pages.removeValue(forKey: id) else { return }
            listings[listing]?.gaveUp(page: id)
            advanceListing(listing, now, &effects)
        }
    }

    /// Once a turn: forgets timers of operations that have ended, so that nobody is woken for them.
    package mutating func turnEnded() {
        while let entry = timers.earliest, !isLive(entry) { timers.removeEarliest() }
        let living = gets.count + puts.count + forwards.count + listings.count + pages.count
        guard timers.isCrowded(living: living) else { return }
        var kept = timers
        timers = Timers()
        kept.keep { isLive($0) }
        timers = kept
    }

    private func isLive(_ entry: Timers.Entry) -> Bool {
        switch entry.kind {
        case .get: gets[entry.operation]?.scheduled == entry.time
        case .put: puts[entry.operation] != nil
        case .forward: forwards[entry.operation] != nil
        case .list: listings[entry.operation] != nil
        case .page: pages[entry.operation] != nil
        }
    }

    // MARK: Answers

    private func admit() throws(Refusal) {
        if draining { throw .shuttingDown }
        // Nobody listens to it any more: what it kept would be lost.
        if lists.placement.isFenced(view.node) { throw .unreachable(needed: 1, reachable: 0) }
        if openCount >= view.limits.operations { throw .overloaded }
    }

    private func note(_ refusal: Refusal, _ effects: inout [CoordinatorEffect]) {
        if refusal == .overloaded { effects.append(.observed(.overloaded)) }
    }

    mutating func finish(_ writer: Writer, _ result: WriteAnswer, _ effects: inout [CoordinatorEffect]) {
        if case .client(let request) = writer { requests[request] = nil }
        answer(writer, result, &effects)
    }

    private func answer(_ writer: Writer, _ result: WriteAnswer, _ effects: inout [CoordinatorEffect]) {
        switch writer {
        case .client(let request): effects.append(.answer(request, .write(result)))
        case .peer(let node, let operation): effects.append(.send(.forwarded(operation, result), to: node))
        case .nobody: break
        }
    }
}
