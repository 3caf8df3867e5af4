// Brings hints home: what this lane keeps for nodes that could not take it, once they can.
//
//   resting ──the node is linked, and something is kept for it──► a pass: scan a page of its hints
//      ▲                                                            │  ▲
//      │                                                            ▼  └── page sent, more to scan
//      │                          each hint as an ordinary `write` ─► `stored` ─► dropped in the lane, if it
//      │                                                            │             still is what was delivered
//      └── all scanned, all answered; after a pause, again ◄────────┘
//
// Invariants:
// - A hint is deleted only after its receivers' synced answers, and only if its body is the one that they
//   took: a write that is kept meanwhile changes it, and is delivered by the next pass.
// - Nothing is remembered that a restart would miss: what is kept is in the store, and a pass begins by
//   scanning it. A write that arrives twice is merged twice, which is once.
// - Receivers are resolved when a hint is sent: its node, if that still is a replica of the key, and will be when
//   what moves has moved; otherwise all replicas that there are now, in both lists while copies move.
// - While it is held (`hold`), no hint goes, delivered or not: it is delivered again.
// - Hints do not expire. One that cannot be delivered is kept, and tried again after a pause that doubles.
//
// On the way at once, to one node: `LaneLimits.hintsInFlight` hints and `hintBytesInFlight` bytes, so that a
// node that comes back is not drowned by those that waited for it (scylladb#8863).

import DequeModule
import NIOCore
package import TorcModel

/// What delivery asks of its lane.
package enum HintEffect: Hashable, Sendable {
    case scan(ScanRequest)
    case send(PeerMessage, to: NodeID)
    case drop(HintDrop)
    case observed(LaneObservation)
}

package struct HintDelivery: Sendable {
    /// A page of hints: what waits in memory to be sent to one node.
    static let entriesForScan = 256
    static let bytesForScan = 1 << 20
    /// Between two passes, doubled with each that delivered nothing or met a failure, up to the last.
    package static let firstPause = Duration.milliseconds(100)
    package static let lastPause = Duration.seconds(10)
    /// An answer that takes longer is given up; the hint is sent again by the next pass.
    static let answerPatience = Duration.seconds(5)

    /// One hint on its way.
    private struct Hint: Sendable {
        let drop: HintDrop
        let bytes: Int
        /// The nodes that have not answered.
        var awaited: [NodeID]
    }

    private struct Entry: Sendable {
        let key: ObjectKey
        let copies: UInt8
        let body: ByteBuffer
        /// When the scan was asked for.
        let readAt: MonotonicTime
    }

    private struct Pass: Sendable {
        /// Scanned, not sent.
        var page: Deque<Entry> = []
        var scan: StoreToken?
        var scannedAt = MonotonicTime.zero
        var after: ByteBuffer?
        var isScanned = false
        /// The node has no room for more: what is left waits for the next pass.
        var isCutShort = false
        var delivered = 0
        var failures = 0
    }

    private struct Target: Sendable {
        /// Nil: resting.
        var pass: Pass?
        var notBefore: MonotonicTime
        var pause = HintDelivery.firstPause
        var inFlight = 0
        var bytesInFlight = 0
        /// Of all passes since delivery began; nil: it has not.
        var delivered: Int?
    }

    private struct Deadline: Sendable {
        var operation: OperationID
        var time: MonotonicTime
    }

    private let configuration: LaneConfiguration
    private var placement: Placement
    /// Asked for membership only, never walked.
    private var linked: Set<NodeID> = []
    /// Only nodes for which something is kept, or was when this was last looked at.
    private var targets: [NodeID: Target] = [:]
    private var hints: [OperationID: Hint] = [:]
    /// Ascending; entries of hints that have been answered are skipped.
    private var deadlines: Deque<Deadline> = []
    private var scans: [StoreToken: NodeID] = [:]
    private var numbers: AskerNumbers
    /// When the next pass is due.
    private var nextPass: MonotonicTime?
    /// No pass begins, and no hint goes, before it.
    private var heldUntil = MonotonicTime.zero

    package init(configuration: LaneConfiguration, placement: Placement) {
        self.configuration = configuration
        self.placement = placement
        numbers = AskerNumbers(.hints, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    /// Nothing is on its way. Hints may be kept all the same.
    package var isIdle: Bool { hints.isEmpty && scans.isEmpty }

    /// When the lane must end a turn, so that delivery goes on.
    package var nextDeadline: MonotonicTime? {
        guard let deadline = deadlines.first?.time else { return nextPass }
        return nextPass.map { min($0, deadline) } ?? deadline
    }

    // MARK: Events

    package mutating func peerUp(_ node: NodeID, _ now: Now, _ effects: inout [HintEffect]) {
        peerDown(node, now, &effects)
        linked.insert(node)
        targets[node]?.notBefore = now.monotonic
        targets[node]?.pause = Self.firstPause
    }

    /// What was sent to it will not be answered.
    package mutating func peerDown(_ node: NodeID, _ now: Now, _ effects: inout [HintEffect]) {
        guard linked.remove(node) != nil else { return }
        var held: Set<NodeID> = []
        for operation in hints.keys.sorted() where hints[operation]!.awaited.contains(node) {
            held.insert(hints[operation]!.drop.target)
            giveUp(operation)
        }
        if targets[node] != nil, placement.nodes.contains(node) {
            if let token = targets[node]!.pass?.scan { scans[token] = nil }
            targets[node]!.pass = nil
            targets[node]!.delivered = nil
        }
        // It may have been one of several receivers of what is kept for another.
        for target in held.sorted() { advance(target, now, &effects) }
    }

    package mutating func ringChanged(_ placement: Placement) { self.placement = placement }

    /// Until then every hint stays. A time that has passed ends it.
    package mutating func hold(until time: MonotonicTime) { heldUntil = time }

    /// `entries` nil: the hints could not be read.
    package mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, _ now: Now, _ effects: inout [HintEffect]
    ) {
        guard let node = scans.removeValue(forKey: token), targets[node]?.pass?.scan == token else { return }
        targets[node]!.pass!.scan = nil
        if let entries {
            for entry in entries { take(entry, for: node, &effects) }
            targets[node]!.pass!.after = entries.last?.storageKey ?? targets[node]!.pass!.after
            targets[node]!.pass!.isScanned = finished
        } else {
            targets[node]!.pass!.failures += 1
            targets[node]!.pass!.isScanned = true
        }
        advance(node, now, &effects)
    }

    /// A receiver's answer: everything that it rests on is synced there.
    package mutating func wrote(
        _ operation: OperationID, _ outcome: WriteOutcome, by node: NodeID, _ now: Now, _ effects: inout [HintEffect]
    ) {
        guard let place = hints[operation]?.awaited.firstIndex(of: node) else { return }
        let target = hints[operation]!.drop.target
        if case .failed(let failure) = outcome, !Mutation.dropRefusedHint.isActive {
            if failure == .overloaded || failure == .diskFull { targets[target]?.pass?.isCutShort = true }
            giveUp(operation)
        } else if heldUntil > now.monotonic {
            giveUp(operation)
        } else {
            hints[operation]!.awaited.remove(at: place)
            guard hints[operation]!.awaited.isEmpty else { return }
            effects.append(.drop(hints[operation]!.drop))
            effects.append(.observed(.hintDelivered(target)))
            remove(operation)
            targets[target]?.pass?.delivered += 1
        }
        advance(target, now, &effects)
    }

    /// The end of each turn. `kept`: what the lane keeps now.
    package mutating func turnEnded(kept: [NodeID: HintTotal], _ now: Now, _ effects: inout [HintEffect]) {
        if kept.isEmpty, targets.isEmpty { return }
        expire(now, &effects)
        nextPass = nil
        for node in Set(kept.keys).union(targets.keys).sorted() {
            guard let total = kept[node] else {
                rest(node, &effects)
                continue
            }
            if targets[node] == nil {
                targets[node] = Target(notBefore: now.monotonic.advanced(by: Self.firstPause))
            }
            guard targets[node]!.pass == nil, isPresent(node) else { continue }
            let opens = max(targets[node]!.notBefore, heldUntil)
            if opens <= now.monotonic {
                begin(node, total, now, &effects)
            } else {
                nextPass = min(nextPass ?? opens, opens)
            }
        }
    }

    // MARK: Passes

    /// A node that left the ring is waited for no more: its hints go to the present replicas.
    private func isPresent(_ node: NodeID) -> Bool { linked.contains(node) || !placement.nodes.contains(node) }

    private mutating func begin(_ node: NodeID, _ total: HintTotal, _ now: Now, _ effects: inout [HintEffect]) {
        targets[node]!.pass = Pass()
        if targets[node]!.delivered == nil {
            targets[node]!.delivered = 0
            effects.append(.observed(.hintDeliveryBegan(node, total)))
        }
        scan(node, now, &effects)
    }

    /// Nothing is kept for it any more.
    private mutating func rest(_ node: NodeID, _ effects: inout [HintEffect]) {
        guard let target = targets[node], target.pass == nil, target.inFlight == 0 else { return }
        if let delivered = target.delivered {
            effects.append(.observed(.hintDeliveryEnded(node, delivered: delivered)))
        }
        targets[node] = nil
    }

    private mutating func scan(_ node: NodeID, _ now: Now, _ effects: inout [HintEffect]) {
        let token = numbers.nextToken()
        scans[token] = node
        targets[node]!.pass!.scan = token
        targets[node]!.pass!.scannedAt = now.monotonic
        effects.append(
            .scan(
                ScanRequest(
                    token: token, partition: PartitionID(0), hints: node, after: targets[node]!.pass!.after,
                    entryLimit: Self.entriesForScan, byteLimit: Self.bytesForScan)))
    }

    private mutating func take(_ entry: ScannedEntry, for node: NodeID, _ effects: inout [HintEffect]) {
        guard let key = try? ObjectKey(storageKey: entry.storageKey) else {
            targets[node]!.pass!.failures += 1
            return
        }
        let partition = placement.ring.size.partition(of: key.position)
        guard LaneConfiguration.lane(of: partition, laneCount: configuration.laneCount) == configuration.lane else {
            return
        }
        guard let record = try? Record(decoding: entry.record, for: key), record.hint?.target == node else {
            // It stays, and is reported with every pass.
            targets[node]!.pass!.failures += 1
            effects.append(.observed(.unreadableRecord(key)))
            return
        }
        targets[node]!.pass!.page.append(
            Entry(
                key: key, copies: record.header.copies, body: record.body,
                readAt: targets[node]!.pass!.scannedAt))
    }

    /// Sends what may be sent, scans when the page is sent, and ends the pass when there is no more.
    private mutating func advance(_ node: NodeID, _ now: Now, _ effects: inout [HintEffect]) {
        guard targets[node]?.pass != nil else { return }
        let limits = configuration.limits
        while !targets[node]!.pass!.isCutShort, targets[node]!.inFlight < limits.hintsInFlight,
            targets[node]!.bytesInFlight < limits.hintBytesInFlight,
            let entry = targets[node]!.pass!.page.popFirst()
        {
            send(entry, kept: node, now, &effects)
        }
        let pass = targets[node]!.pass!
        guard pass.scan == nil else { return }
        if !pass.isCutShort {
            guard pass.page.isEmpty else { return }
            if !pass.isScanned { return scan(node, now, &effects) }
        }
        guard targets[node]!.inFlight == 0 else { return }
        let isSmooth = pass.failures == 0 && !pass.isCutShort && pass.delivered > 0
        let pause = isSmooth ? Self.firstPause : targets[node]!.pause
        targets[node]!.notBefore = now.monotonic.advanced(by: pause)
        targets[node]!.pause = isSmooth ? Self.firstPause : min(pause * 2, Self.lastPause)
        targets[node]!.delivered? += pass.delivered
        targets[node]!.pass = nil
    }

    private mutating func send(_ entry: Entry, kept node: NodeID, _ now: Now, _ effects: inout [HintEffect]) {
        let partition = placement.ring.size.partition(of: entry.key.position)
        let replicas = placement.replicas(of: partition, copies: Int(entry.copies))
        let receivers = replicas.isInEach(node) ? [node] : replicas.nodes
        guard receivers.allSatisfy({ $0 == configuration.node || linked.contains($0) }) else {
            targets[node]!.pass!.failures += 1
            return
        }
        let operation = numbers.nextOperation()
        let drop = HintDrop(
            key: entry.key, target: node,
            delivered: configuration.hashSeed.contentHash(key: entry.key, body: entry.body))
        hints[operation] = Hint(drop: drop, bytes: entry.body.readableBytes, awaited: receivers)
        targets[node]!.inFlight += 1
        targets[node]!.bytesInFlight += entry.body.readableBytes
        deadlines.append(Deadline(operation: operation, time: now.monotonic.advanced(by: Self.answerPatience)))
        let write = ReplicaWrite(
            operation: operation, key: entry.key, copies: entry.copies, epoch: placement.epoch, body: entry.body,
            readAt: entry.readAt)
        for receiver in receivers { effects.append(.send(.write(write), to: receiver)) }
        if Mutation.dropHintBeforeAnswer.isActive { effects.append(.drop(drop)) }
    }

    /// It was not taken, or nobody can tell: it stays, for the next pass.
    private mutating func giveUp(_ operation: OperationID) {
        targets[hints[operation]!.drop.target]?.pass?.failures += 1
        remove(operation)
    }

    private mutating func remove(_ operation: OperationID) {
        let hint = hints.removeValue(forKey: operation)!
        targets[hint.drop.target]?.inFlight -= 1
        targets[hint.drop.target]?.bytesInFlight -= hint.bytes
        while let first = deadlines.first, hints[first.operation] == nil { deadlines.removeFirst() }
    }

    private mutating func expire(_ now: Now, _ effects: inout [HintEffect]) {
        while let first = deadlines.first, first.time <= now.monotonic {
            guard let target = hints[first.operation]?.drop.target else {
                deadlines.removeFirst()
                continue
            }
            giveUp(first.operation)
            // It does not answer: what follows would fare no better.
            targets[target]?.pass?.isCutShort = true
            advance(target, now, &effects)
        }
    }
}
