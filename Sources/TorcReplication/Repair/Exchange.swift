// One comparison of one Merkle tree with one co-owner's, and the merging of what differs:
//
//   root ──other──► branches ──► leaves of those that differ ──► spans of leaves that differ
//     │ equal                                                      │ for each span, page by page:
//     ▼                                                            │   own scan ─► the peer's keys of that stretch
//   completed ◄──────────── no span left ◄─────────────────────────┘   ─► differing keys, each merged both ways
//
//   a key:  fetch the peer's object ─► merge it here ─► read what stands here now ─► send it, unless the peer has it
//
// Leaves, and the hashes of a page, move while this runs, and may show what is not synced. They only say where
// to look. What is merged is read and written as any replica read and write is: it waits for its sync and goes
// through the key's queue, and nothing is ever replaced by less. So a difference that came and went costs a
// few messages; one that was missed shows in the leaves of the next round; and what a crash took back is in no
// leaf after it.
//
// One exchange holds one page of each side and the numbers of the leaves that differ.

import NIOCore
import OrderedCollections
import TorcModel

struct Exchange: Sendable {
    /// Equal leaves with records in them that a scan reads in vain, rather than that another scan begins.
    private static let leavesPassedOver = 1

    enum End: Hashable, Sendable {
        case completed
        /// Enough for one turn.
        case gaveWay
        case failed
    }

    /// What it can do next, when the budget allows.
    private enum Next: Sendable {
        case askRoot
        case askLeaves([UInt16])
        /// Reads own keys after the cursor.
        case scan
        case list(own: OwnPage)
        /// Keys of the page that are left to begin.
        case transfer
        case nothing
    }

    private struct OwnPage: Sendable {
        var keys: [ListedKey]
        /// The last key that the scan covered; nil: the span's end.
        var through: ByteBuffer?
    }

    private struct Difference: Sendable {
        var key: ObjectKey
        /// As the scans showed it; nil: nothing is there.
        var own: ContentHash?
        var peer: ContentHash?
    }

    private struct Transfer: Sendable {
        enum Stage: Sendable {
            case fetching
            case merging(peer: ContentHash)
            case reading
            case pushing
        }

        let difference: Difference
        var stage: Stage
        /// Before what it carries now was read.
        var readAt: MonotonicTime
    }

    let pair: RepairPair
    private let ring: RingFingerprint
    private let epoch: UInt64
    private let layout: LeafLayout
    private let seed: HashSeed
    private let limits: RepairLimits
    /// Of a tree that nothing was written to.
    private let emptyRoot: ContentHash

    private var next = Next.askRoot
    /// The answer that is awaited.
    private var question: OperationID?
    private var scanToken: StoreToken?
    private var transfers: OrderedDictionary<OperationID, Transfer> = [:]
    /// How many transfers at once neither side has refused.
    private var window: Int

    /// Leaves that differ and are not yet compared, in runs that one scan takes in, the next one last.
    private var spans: [[UInt16]] = []
    private var askedBranches: [UInt16] = []
    private var cursor: ByteBuffer?
    private var ownPage: OwnPage?
    /// Where the cursor goes when the page's keys are merged; nil: the span is done.
    private var cursorAfterPage: ByteBuffer?
    private var differences: ArraySlice<Difference> = []

    private(set) var differing = 0
    private(set) var failedKeys = 0
    private(set) var end: End?
    /// When it last moved on.
    private(set) var lastProgress: MonotonicTime

    init(
        pair: RepairPair, placement: Placement, layout: LeafLayout, seed: HashSeed, limits: RepairLimits,
        emptyRoot: ContentHash, now: MonotonicTime
    ) {
        self.pair = pair
        self.emptyRoot = emptyRoot
        ring = placement.fingerprint
        epoch = placement.epoch
        self.layout = layout
        self.seed = seed
        self.limits = limits
        window = limits.keysInFlight
        lastProgress = now
    }

    /// Whether it waits for the budget alone.
    var canAdvance: Bool {
        guard end == nil, question == nil, scanToken == nil else { return false }
        switch next {
        case .askRoot, .askLeaves, .scan, .list: return true
        case .transfer: return transfers.count < window && !differences.isEmpty
        case .nothing: return false
        }
    }

    // MARK: Steps

    /// Takes one step; what it costs in operations is one.
    mutating func advance(
        _ table: LeafTable, _ numbers: inout AskerNumbers, _ statistics: inout RepairStatistics, now: MonotonicTime,
        _ effects: inout [RepairEffect]
    ) {
        lastProgress = now
        switch next {
        case .askRoot:
            next = .nothing
            let root = table[pair.tree] == nil ? emptyRoot : MerkleTree(pair.tree, in: table).root
            ask(.root(root), &numbers, &effects)
        case .askLeaves(let branches):
            next = .nothing
            askedBranches = branches
            ask(.leaves(branches: branches), &numbers, &effects)
        case .scan:
            next = .nothing
            let token = numbers.nextToken()
            scanToken = token
            effects.append(
                .scan(TreeRange.scan(token, pair.tree, spans.last!, cursor, through: nil, layout, limits)))
        case .list(let own):
            next = .nothing
            ownPage = own
            ask(.keys(leaves: spans.last!, after: cursor, through: own.through), &numbers, &effects)
        case .transfer: begin(differences.removeFirst(), &numbers, &statistics, now, &effects)
        case .nothing: break
        }
    }

    private mutating func ask(
        _ subject: TreeQuestion.Subject, _ numbers: inout AskerNumbers, _ effects: inout [RepairEffect]
    ) {
        let operation = numbers.nextOperation()
        question = operation
        effects.append(
            .send(
                .compare(TreeQuestion(operation: operation, ring: ring, tree: pair.tree, subject: subject)),
                to: pair.peer))
    }

    // MARK: Trees

    /// An answer to the question that is open; others are late and mean nothing.
    mutating func answered(_ operation: OperationID, _ answer: TreeAnswer, _ table: LeafTable, now: MonotonicTime) {
        guard operation == question, end == nil else { return }
        question = nil
        lastProgress = now
        switch answer {
        case .equal: end = .completed
        case .branches(let theirs): compareBranches(theirs, table)
        case .leaves(let theirs): compareLeaves(theirs, table)
        case .keys(let keys, let resume): compareKeys(keys, resume)
        case .refused(.unreadable) where spans.last != nil: splitSpan()
        case .refused: end = .failed
        }
    }

    private mutating func compareBranches(_ theirs: [UInt64], _ table: LeafTable) {
        let own = MerkleTree(pair.tree, in: table).branches
        guard theirs.count == own.count, askedBranches.isEmpty else { return end = .failed }
        let different = own.indices.filter { own[$0] != theirs[$0] }.map { UInt16($0) }
        // They have become equal meanwhile.
        guard !different.isEmpty else { return end = .completed }
        next = .askLeaves(different)
    }

    private mutating func compareLeaves(_ theirs: [UInt64], _ table: LeafTable) {
        let own = MerkleTree(pair.tree, in: table).leaves
        let asked = askedBranches.flatMap { Array(MerkleTree.leaves(of: Int($0), layout)) }
        guard theirs.count == asked.count, spans.isEmpty, ownPage == nil else { return end = .failed }
        spans = runs(asked, own, theirs).reversed()
        if spans.isEmpty { end = .completed } else { next = .scan }
    }

    /// Runs of differing leaves with few records of others between them: a scan has to pass over those.
    private func runs(_ asked: [Int], _ own: [UInt64], _ theirs: [UInt64]) -> [[UInt16]] {
        var runs: [[UInt16]] = []
        var run: [UInt16] = []
        for (place, leaf) in asked.enumerated() where own[leaf] != theirs[place] {
            if let last = run.last {
                let between = own[(Int(last) + 1)..<leaf].count { $0 != 0 }
                if between > Self.leavesPassedOver || run.count >= limits.spanLeaves {
                    runs.append(run)
                    run = []
                }
            }
            run.append(UInt16(leaf))
        }
        if !run.isEmpty { runs.append(run) }
        return runs
    }

    // MARK: Keys

    /// Own keys; nil: the range cannot be read.
    mutating func scanned(
        _ token: StoreToken, _ entries: [ScannedEntry]?, finished: Bool, now: MonotonicTime,
        _ effects: inout [RepairEffect]
    ) {
        guard token == scanToken, end == nil else { return }
        scanToken = nil
        lastProgress = now
        guard let entries else { return splitSpan() }
        let keys = TreeRange.keys(of: entries, in: pair.tree, spans.last!, layout, seed, &effects)
        next = .list(own: OwnPage(keys: keys, through: finished ? nil : entries.last?.storageKey))
    }

    /// A range that cannot be read is tried leaf by leaf, and costs only the leaves that cannot.
    private mutating func splitSpan() {
        ownPage = nil
        cursor = nil
        let span = spans.removeLast()
        if span.count > 1 {
            spans += span.reversed().map { [$0] }
        } else {
            failedKeys += 1
        }
        continueAfterSpan()
    }

    private mutating func compareKeys(_ theirs: [ListedKey], _ resume: ByteBuffer?) {
        guard let page = ownPage, !spans.isEmpty else { return end = .failed }
        ownPage = nil
        if let resume, let cursor, !cursor.lexicographicallyPrecedes(resume) { return end = .failed }
        if let resume, let through = page.through, through.lexicographicallyPrecedes(resume) { return end = .failed }
        var own = page.keys[...]
        if let resume { own = own.prefix { !resume.lexicographicallyPrecedes($0.key.storageKey) } }
        guard isAscending(theirs) else { return end = .failed }
        differences = Self.differences(own, theirs[...])[...]
        cursorAfterPage = resume ?? page.through
        if Mutation.repairSkipsBetweenPages.isActive { cursorAfterPage = page.through }
        differing += differences.count
        if differences.isEmpty { continueAfterPage() } else { next = .transfer }
    }

    private func isAscending(_ keys: [ListedKey]) -> Bool {
        for (index, listed) in keys.enumerated() {
            guard layout.ringSize.partition(of: listed.key.position) == pair.tree.partition,
                index == 0 || keys[index - 1].key < listed.key
            else { return false }
        }
        return true
    }

    private static func differences(
        _ mine: ArraySlice<ListedKey>, _ theirs: ArraySlice<ListedKey>
    ) -> [Difference] {
        var own = mine
        var peer = theirs
        var found: [Difference] = []
        while true {
            switch (own.first, peer.first) {
            case (nil, nil): return found
            case (let left?, nil):
                own.removeFirst()
                found.append(Difference(key: left.key, own: left.hash, peer: nil))
            case (nil, let right?):
                peer.removeFirst()
                found.append(Difference(key: right.key, own: nil, peer: right.hash))
            case (let left?, let right?):
                if left.key < right.key {
                    own.removeFirst()
                    found.append(Difference(key: left.key, own: left.hash, peer: nil))
                } else if right.key < left.key {
                    peer.removeFirst()
                    found.append(Difference(key: right.key, own: nil, peer: right.hash))
                } else {
                    own.removeFirst()
                    peer.removeFirst()
                    if left.hash != right.hash || left.hash == .absent {
                        found.append(Difference(key: left.key, own: left.hash, peer: right.hash))
                    }
                }
            }
            if Mutation.repairIgnoresAbsentKeys.isActive, let last = found.last, last.own == nil || last.peer == nil {
                found.removeLast()
            }
        }
    }

    private mutating func continueAfterPage() {
        cursor = cursorAfterPage
        if Mutation.repairEndsAtFirstPage.isActive { cursor = nil }
        if cursor == nil { spans.removeLast() }
        continueAfterSpan()
    }

    private mutating func continueAfterSpan() {
        if spans.isEmpty {
            end = failedKeys == 0 ? .completed : .failed
        } else if differing - failedKeys >= limits.keysInExchange {
            // The next exchange begins at the first leaf: keys that cannot be repaired must not be all that it does.
            end = .gaveWay
        } else {
            next = .scan
        }
    }

    // MARK: Objects

    private mutating func begin(
        _ difference: Difference, _ numbers: inout AskerNumbers, _ statistics: inout RepairStatistics,
        _ now: MonotonicTime, _ effects: inout [RepairEffect]
    ) {
        let operation = numbers.nextOperation()
        statistics.differingKeys += 1
        if difference.peer == nil || Mutation.repairPushesOnly.isActive {
            transfers[operation] = Transfer(difference: difference, stage: .reading, readAt: now)
            return readOwn(operation, difference.key, unless: nil, &effects)
        }
        transfers[operation] = Transfer(difference: difference, stage: .fetching, readAt: now)
        let want: ReplicaRead.Want = difference.own.map { $0 == .absent ? .full : .unless($0) } ?? .full
        let read = ReplicaRead(
            operation: operation, key: difference.key, copies: pair.tree.copies, want: want)
        effects.append(.send(.read(read, remaining: limits.patience), to: pair.peer))
    }

    private func readOwn(
        _ operation: OperationID, _ key: ObjectKey, unless hash: ContentHash?, _ effects: inout [RepairEffect]
    ) {
        let want: ReplicaRead.Want = hash.map { .unless($0) } ?? .full
        effects.append(
            .localRead(ReplicaRead(operation: operation, key: key, copies: pair.tree.copies, want: want)))
    }

    /// What the peer holds.
    mutating func fetched(
        _ operation: OperationID, _ outcome: ReadOutcome, _ budget: inout RepairBudget,
        _ statistics: inout RepairStatistics, now: MonotonicTime, _ effects: inout [RepairEffect]
    ) {
        guard let transfer = transfers[operation], case .fetching = transfer.stage else { return }
        lastProgress = now
        switch outcome {
        case .absent:
            transfers[operation]!.stage = .reading
            readOwn(operation, transfer.difference.key, unless: nil, &effects)
        // It has become what the scan showed here.
        case .hash: finish(operation)
        case .object(let body):
            statistics.fetchedObjects += 1
            statistics.objectBytes += UInt64(body.readableBytes)
            budget.spend(bytes: body.readableBytes, at: now)
            let hash = seed.contentHash(key: transfer.difference.key, body: body)
            transfers[operation]!.stage = .merging(peer: hash)
            effects.append(
                .localWrite(
                    ReplicaWrite(
                        operation: operation, key: transfer.difference.key, copies: pair.tree.copies, epoch: epoch,
                        body: body,
                        readAt: transfer.readAt)))
        case .failed(let failure): fail(operation, failure)
        }
    }

    /// What this node's own replica answers.
    mutating func replied(
        _ operation: OperationID, _ reply: VnodeReply, _ budget: inout RepairBudget,
        _ statistics: inout RepairStatistics, now: MonotonicTime, _ effects: inout [RepairEffect]
    ) {
        guard let transfer = transfers[operation] else { return }
        lastProgress = now
        switch (transfer.stage, reply) {
        case (.merging(let peer), .wrote(.stored)), (.merging(let peer), .wrote(.superseded)):
            if Mutation.repairPullsOnly.isActive { return finish(operation) }
            transfers[operation]!.stage = .reading
            transfers[operation]!.readAt = now
            readOwn(operation, transfer.difference.key, unless: peer, &effects)
        case (.merging, .wrote(.failed(let failure))), (.reading, .read(.failed(let failure))):
            fail(operation, failure)
        case (.reading, .read(.object(let body))):
            if Mutation.repairPullsOnly.isActive { return finish(operation) }
            statistics.pushedObjects += 1
            statistics.objectBytes += UInt64(body.readableBytes)
            budget.spend(bytes: body.readableBytes, at: now)
            transfers[operation]!.stage = .pushing
            effects.append(
                .send(
                    .write(
                        ReplicaWrite(
                            operation: operation, key: transfer.difference.key, copies: pair.tree.copies, epoch: epoch,
                            body: body, readAt: transfer.readAt)),
                    to: pair.peer))
        // The peer holds all that is here.
        case (.reading, .read(.hash)), (.reading, .read(.absent)): finish(operation)
        default: break
        }
    }

    /// The peer has merged, and synced, what it was sent.
    mutating func pushed(_ operation: OperationID, _ outcome: WriteOutcome, now: MonotonicTime) {
        guard let transfer = transfers[operation], case .pushing = transfer.stage else { return }
        lastProgress = now
        switch outcome {
        case .stored, .superseded: finish(operation)
        case .failed(let failure): fail(operation, failure)
        }
    }

    /// A record that cannot be read keeps its key out of the exchange. A replica that has no room for so many at once
    /// is sent fewer, from the next one on: with as many as before the next exchange would be refused as this one is.
    /// One that has none for a single one, or is no longer a replica, ends it.
    private mutating func fail(_ operation: OperationID, _ failure: ReplicaFailure) {
        if failure == .overloaded, transfers.count > 1 {
            window = transfers.count - 1
            differences = [transfers.removeValue(forKey: operation)!.difference] + differences
            return
        }
        failedKeys += 1
        switch failure {
        case .unreadable, .malformed, .stale: finish(operation)
        case .overloaded, .notHeld, .hintsFull, .diskFull, .otherRing: end = .failed
        }
    }

    private mutating func finish(_ operation: OperationID) {
        transfers[operation] = nil
        if transfers.isEmpty, differences.isEmpty, end == nil { continueAfterPage() }
    }

    /// Nobody will answer any more.
    mutating func abort() { if end == nil { end = .failed } }
}
