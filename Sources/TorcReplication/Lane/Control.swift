// The control machine of a node. It keeps the properties of buckets and types, and holds the membership
// (`Membership`) and the agreement on rings (`RingAgreement`), to which it hands what is for them.
//
//   set ─► stored durably here ─► lanes told, every member sent it ─► durable at a majority: answered
//
// A change that a majority holds meets every later change at some node, but nothing here needs that: entries
// merge in any order to one table (`PropertiesTable`). The majority is what the client is told, so that a
// change that was answered outlives any minority of the disks.
//
// Nodes that were away are brought up by digests: on a new link, and now and then, each tells some peers what
// its table hashes to; who hears another hash than its own sends all it holds. Both sides do, so each gets
// what it lacks. Only what is durable here is told, hashed or acknowledged.
//
// How many are told does not grow with the cluster: what one peer lacks another has told it. In a cluster of a
// thousand a node that missed one change would otherwise be sent a thousand tables, half a gigabyte at the most.

import NIOCore
import OrderedCollections
package import TorcModel

package struct Control: Sendable {
    /// Scopes with properties of their own; setting one more is refused.
    package static let maximumScopes = 4_096
    /// Two nodes may set the last ones at once, so somewhat more are merged; past this the rest is dropped.
    static let maximumMergedScopes = 2 * maximumScopes
    /// Entries in one message: at most half a megabyte of names.
    static let entriesInMessage = 64
    /// Between two digests, to so many peers; within it only so many are told on a new link, and only so many are
    /// sent everything. Whoever is left out asks again, or is asked, in the next.
    static let digestInterval = Duration.seconds(10)
    static let digestPeers = 3
    static let greetedPeers = 8
    static let updatedPeers = 8
    /// Changes that wait for a majority; one more is not begun, and answered `indeterminate` with no copies.
    static let openChanges = 256

    /// A client's change on its way to a majority.
    private struct Change: Sendable {
        var request: RequestID
        var entry: PropertiesEntry
        var deadline: MonotonicTime
        var holders: Set<NodeID> = []
    }

    /// A write of `meta` under way, and what follows it.
    private struct Store: Sendable {
        var entries: [PropertiesEntry]
        var change: OperationID?
        var acknowledge: [(NodeID, OperationID)] = []
    }

    let node: NodeID
    let laneCount: Int
    /// Who has a say.
    var members: [NodeID]
    /// By lane, of the placement that is held here.
    var laneProgress: [Int: HandoffReport] = [:]
    package internal(set) var membership: Membership
    package internal(set) var agreement: RingAgreement
    /// Durable here.
    package private(set) var table: PropertiesTable
    /// The table as it will be when what is being stored is stored: what changes build on.
    private var accepted: PropertiesTable
    private var digest: ContentHash
    private var linked: [NodeID] = []
    /// What was agreed on with those that are linked: for people, to see how far an upgrade is.
    package private(set) var features: [NodeID: PeerFeatures] = [:]

    private var stores: OrderedDictionary<UInt64, Store> = [:]
    private var changes: OrderedDictionary<OperationID, Change> = [:]
    private var lastStore: UInt64 = 0
    private var numbers: AskerNumbers
    private var nextDigest: MonotonicTime?
    /// Peers that were told the digest on a new link, and that were sent everything, since the last tellings.
    private var greeted = 0
    private var updated = 0
    /// Draws the peers that are told.
    private var random: SeededGenerator

    /// `table`, `record`: what `meta` holds.
    package init(
        node: NodeID, laneCount: Int, incarnation: Incarnation, record: RingRecord, table: PropertiesTable,
        membership: MembershipStart
    ) {
        self.node = node
        self.laneCount = laneCount
        members = record.state.members.map(\.node)
        self.membership = Membership(
            node: node, members: record.state.participants.map(\.node), start: membership)
        agreement = RingAgreement(node: node, start: RingStart(record: record, seed: incarnation.rawValue))
        numbers = AskerNumbers(.requests, lane: 0, incarnation: incarnation)
        random = SeededGenerator(seed: ~membership.seed)
        self.table = table
        accepted = table
        digest = table.digest
    }

    package var nextDeadline: MonotonicTime? {
        let deadlines =
            changes.values.map(\.deadline)
            + [nextDigest, membership.nextDeadline, agreement.nextDeadline].compactMap { $0 }
        return deadlines.min()
    }

    /// Nothing is being stored, no change waits for a majority.
    package var isIdle: Bool { stores.isEmpty && changes.isEmpty && agreement.isIdle }

    // MARK: Events

    package mutating func handle(_ event: ControlEvent, now: Now, effects: inout [ControlEffect]) {
        if nextDigest == nil { nextDigest = now.monotonic.advanced(by: Self.digestInterval) }
        if case .peer(let peer, let message) = event, agreement.state.fenced.contains(peer) {
            // It is told why nobody listens to it any more.
            guard case .ring = message else { return }
        }
        switch event {
        case .setProperties(let request, let scope, let change, let holdsData, let deadline):
            set(request, scope.canonical, change, holdsData, deadline, now, &effects)
        case .resetProperties(let request, let scope, let holdsData, let deadline):
            reset(request, scope.canonical, holdsData, deadline, now, &effects)
        case .peer(let node, let message): receive(message, from: node, &effects)
        case .peerUp(let node, let agreed):
            features[node] = agreed
            peerUp(node, &effects)
        case .peerDown(let node):
            features[node] = nil
            linked.removeAll { $0 == node }
        case .propertiesStored(let number): stored(number, &effects)
        case .membershipStored, .facts, .ring, .ringStored, .progress: break
        case .tick: tick(now, &effects)
        }
        tellMembership(of: event, now, &effects)
        tellAgreement(of: event, now, &effects)
    }

    private mutating func set(
        _ request: RequestID, _ scope: PropertiesScope, _ change: PropertiesChange, _ holdsData: Bool,
        _ deadline: MonotonicTime, _ now: Now, _ effects: inout [ControlEffect]
    ) {
        if change.oneCacheMilliseconds ?? 0 > 0,
            let old = linked.first(where: { !knowsCache($0) && members.contains($0) })
        {
            return effects.append(.answer(request, .refused(.notKnownToAll(name: "one_cache_ms", member: old))))
        }
        switch accepted.changed(scope, by: change, holdsData: holdsData, members: members.count, at: now.wall, by: node)
        {
        case .success(let entry): store(request, entry, deadline, &effects)
        case .failure(let refusal): effects.append(.answer(request, .refused(refusal)))
        }
    }

    private mutating func reset(
        _ request: RequestID, _ scope: PropertiesScope, _ holdsData: Bool, _ deadline: MonotonicTime, _ now: Now,
        _ effects: inout [ControlEffect]
    ) {
        let present = accepted[scope]
        var next = accepted.inherited(by: scope)
        if present.conflictMode == .lww { next.conflictMode = .lww }
        let entry = VersionedProperties(
            properties: next, inherits: true, stamp: accepted.stamp(above: scope, at: now.wall), setBy: node)
        if let refusal = accepted.refusal(of: next, on: scope, holdsData: holdsData, members: members.count) {
            return effects.append(.answer(request, .refused(refusal)))
        }
        store(request, PropertiesEntry(scope: scope, versioned: entry), deadline, &effects)
    }

    private mutating func receive(_ message: PeerMessage, from peer: NodeID, _ effects: inout [ControlEffect]) {
        switch message {
        case .properties(let operation, let entries):
            var news: [PropertiesEntry] = []
            for entry in entries where accepts(entry) && accepted.merge(entry) {
                // As merged: `lww` may have been added to it.
                news.append(
                    PropertiesEntry(scope: entry.scope.canonical, versioned: accepted.versioned(entry.scope)!))
            }
            if !news.isEmpty {
                begin(Store(entries: news, acknowledge: [(peer, operation)]), &effects)
            } else if let last = stores.keys.last {
                // What it repeats may be on its way to the disk only.
                stores[last]!.acknowledge.append((peer, operation))
            } else {
                effects.append(.send(.propertiesStored(operation), to: peer))
            }
        case .propertiesStored(let operation): confirmed(operation, by: peer, &effects)
        case .propertiesDigest(let theirs):
            if theirs != digest, updated < Self.updatedPeers {
                updated += 1
                sendAll(to: peer, &effects)
            }
        case .write, .wrote, .read, .readResult, .forward, .forwarded, .page, .pageResult, .hinted, .hintResult,
            .membership, .compare, .compared, .askToken, .token, .reap, .reaped, .ring:
            break
        }
    }

    private mutating func peerUp(_ peer: NodeID, _ effects: inout [ControlEffect]) {
        if !linked.contains(peer) {
            linked.append(peer)
            linked.sort()
        }
        if greeted < Self.greetedPeers {
            greeted += 1
            effects.append(.send(.propertiesDigest(digest), to: peer))
        }
        for (operation, change) in changes
        where change.holders.contains(node) && !change.holders.contains(peer) && members.contains(peer) {
            send([change.entry], operation, to: peer, &effects)
        }
    }

    /// Synced here: now it may be told.
    private mutating func stored(_ number: UInt64, _ effects: inout [ControlEffect]) {
        guard let store = stores.removeValue(forKey: number) else { return }
        let news = store.entries.filter { table.merge($0) }
        if !news.isEmpty {
            digest = table.digest
            effects.append(.propertiesChanged(news))
        }
        for (peer, operation) in store.acknowledge { effects.append(.send(.propertiesStored(operation), to: peer)) }
        guard let operation = store.change, let entry = changes[operation]?.entry else { return }
        for peer in linked where members.contains(peer) {
            send([entry], operation, to: peer, &effects)
        }
        confirmed(operation, by: node, &effects)
    }

    private mutating func confirmed(
        _ operation: OperationID, by holder: NodeID, _ effects: inout [ControlEffect]
    ) {
        guard members.contains(holder), changes[operation]?.holders.insert(holder).inserted == true,
            let change = changes[operation], change.holders.count >= majority
        else { return }
        changes[operation] = nil
        effects.append(.answer(change.request, .stored))
    }

    private mutating func tick(_ now: Now, _ effects: inout [ControlEffect]) {
        for (operation, change) in changes where change.deadline <= now.monotonic {
            changes[operation] = nil
            effects.append(
                .answer(change.request, .indeterminate(copies: change.holders.count, needed: majority)))
        }
        guard let due = nextDigest, due <= now.monotonic else { return }
        nextDigest = now.monotonic.advanced(by: Self.digestInterval)
        greeted = 0
        updated = 0
        var others = linked
        for _ in 0..<min(Self.digestPeers, others.count) {
            let peer = others.remove(at: Int(random.next() % UInt64(others.count)))
            effects.append(.send(.propertiesDigest(digest), to: peer))
        }
    }

    // MARK: Decisions

    private var majority: Int { members.count / 2 + 1 }

    private func accepts(_ entry: PropertiesEntry) -> Bool {
        entry.versioned.properties.refusal == nil
            && (accepted.versioned(entry.scope) != nil || accepted.count < Self.maximumMergedScopes)
    }

    // MARK: Effects

    private mutating func store(
        _ request: RequestID, _ entry: PropertiesEntry, _ deadline: MonotonicTime, _ effects: inout [ControlEffect]
    ) {
        guard changes.count < Self.openChanges else {
            return effects.append(.answer(request, .indeterminate(copies: 0, needed: majority)))
        }
        accepted.merge(entry)
        let operation = numbers.nextOperation()
        changes[operation] = Change(request: request, entry: entry, deadline: deadline)
        begin(Store(entries: [entry], change: operation), &effects)
    }

    private mutating func begin(_ store: Store, _ effects: inout [ControlEffect]) {
        lastStore += 1
        stores[lastStore] = store
        effects.append(.storeProperties(lastStore, store.entries))
    }

    private mutating func sendAll(to peer: NodeID, _ effects: inout [ControlEffect]) {
        let entries = table.sorted
        for start in stride(from: 0, to: entries.count, by: Self.entriesInMessage) {
            let chunk = Array(entries[start..<min(start + Self.entriesInMessage, entries.count)])
            send(chunk, numbers.nextOperation(), to: peer, &effects)
        }
    }

    /// Without those that an older build cannot read: it is sent them when it has been upgraded.
    private func send(
        _ entries: [PropertiesEntry], _ operation: OperationID, to peer: NodeID, _ effects: inout [ControlEffect]
    ) {
        let known = knowsCache(peer) ? entries : entries.filter { !$0.needsCachesOne }
        if !known.isEmpty { effects.append(.send(.properties(operation, known), to: peer)) }
    }

    private func knowsCache(_ peer: NodeID) -> Bool { features[peer]?.contains(.cachesOne) ?? false }
}

extension PropertiesTable {
    /// Equal tables have equal digests.
    var digest: ContentHash {
        var bytes = ByteBuffer()
        for entry in sorted { entry.encode(into: &bytes) }
        return ContentHash(rawValue: xxh3(bytes, seed: 0))
    }
}
