// A random life of one Vnodes value: clients and peers ask in any order, the store answers when it likes,
// turns end, batches are committed and synced at their own pace, and the node crashes: what was not synced is
// lost but for a prefix, now and then the folder is one of yesterday. What the vnodes say is judged by a store
// that is a dictionary and by joins of everything that went in.
//
// The rules:
// - one dot names one write, for ever;
// - what an answer speaks of is on disk when it is given;
// - the leaves are those of the records;
// - a record is the join of all that was merged into it and minted on it since the last start;
// - an lww write that is called stored is at least matched by what stands, one that is called superseded is not;
// - every operation is answered.

import NIOCore
import TestSupport
import TorcModel
import TorcReplication

struct VnodeRun {
    private struct Asked {
        var token: StoreToken
        var key: ObjectKey
        var isDeferred = false
    }

    private struct Batch {
        var number: BatchNumber
        var writes: [RecordWrite]
        var isCommitted = false
    }

    private struct Pending {
        var request: VnodeRequest
        var isMinted = false
    }

    private static let keys = (0..<6).map { VnodeDialogue.key("k\($0)") }
    private static let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
    private static let seed = VnodeDialogue.seed

    private(set) var violations: [String] = []
    /// How much happened of each kind, so that a test can see that it tested something.
    private(set) var counts: [String: Int] = [:]

    private var random: SeededGenerator
    private var vnodes: Vnodes
    private var incarnation: UInt64 = 0
    private var wall: UInt64 = 1_000_000

    // The store.
    private var onDisk: [ObjectKey: ByteBuffer] = [:]
    private var inStore: [ObjectKey: ByteBuffer] = [:]
    private var earlier: [[ObjectKey: ByteBuffer]] = [[:]]
    private var open: [RecordWrite] = []
    private var batches: [Batch] = []
    private var asked: [Asked] = []

    // What is known of what went in.
    private var pending: [UInt64: Pending] = [:]
    private var mintedObjects: [UInt64: VersionedObject] = [:]
    private var nextOperation: UInt64 = 0
    private var model: [ObjectKey: VersionedObject] = [:]
    private var writes: [Dot: Sibling] = [:]
    private var objects: [ObjectKey: [VersionedObject]] = [:]
    private var hashes: [ContentHash: VersionedObject] = [:]
    private var peerCounter: UInt64 = 0

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        vnodes = Self.start(incarnation: 0, store: [:], random: &random)
        start()
    }

    private mutating func start() {
        incarnation += 1
        vnodes = Self.start(incarnation: incarnation, store: onDisk, random: &random)
        inStore = onDisk
        (open, batches, asked, pending, mintedObjects) = ([], [], [], [:], [:])
        model = [:]
        for (key, record) in onDisk { model[key] = object(record, key) }
    }

    private static func start(
        incarnation: UInt64, store: [ObjectKey: ByteBuffer], random: inout SeededGenerator
    ) -> Vnodes {
        var limits = LaneLimits()
        limits.siblings = 4
        let configuration = LaneConfiguration(
            node: VnodeDialogue.node, lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: incarnation),
            hashSeed: seed, limits: limits)
        var vnodes = Vnodes(
            configuration: configuration,
            leaves: VnodeDialogue.leaves(of: store.map { ($0.key, $0.value) }, layout: layout),
            generator: SeededGenerator(seed: random.next()))
        let owners = (0..<8).map { NodeID(rawValue: UInt64($0) % 3 + 1) }
        vnodes.ringChanged(Placement(Ring(epoch: 1, size: layout.ringSize, owners: owners)))
        return vnodes
    }

    // MARK: Steps

    mutating func run(steps: Int) {
        for _ in 0..<steps where violations.isEmpty { step() }
        finish()
    }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    private mutating func count(_ what: String) { counts[what, default: 0] += 1 }

    private mutating func step() {
        wall += UInt64.random(in: 0...50, using: &random)
        switch Int.random(in: 0..<1_000, using: &random) {
        case ..<450: submit()
        case ..<700: answerRead()
        case ..<800: endTurn()
        case ..<890: commitNext()
        case ..<985: syncSome()
        case ..<995: crash()
        default: rollBack()
        }
    }

    private var now: Now { Now(monotonic: .zero, wall: WallTime(microseconds: wall)) }

    private mutating func submit() {
        let index = Int.random(in: 0..<Self.keys.count, using: &random)
        let key = Self.keys[index]
        let mode: ConflictMode = index < 3 ? .siblings : .lww
        nextOperation += 1
        let operation = OperationID(lane: 0, number: nextOperation)
        let copies: UInt8 = chance(2) ? 4 : 3
        let request: VnodeRequest
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3:
            let known = knownObject(key).map { Self.seed.contentHash(key: key, body: $0.encoded) }
            let wants: [ReplicaRead.Want] = [.full, .hash, .unless(known ?? .absent)]
            let want = wants[Int.random(in: 0..<3, using: &random)]
            request = .read(ReplicaRead(operation: operation, key: key, copies: copies, want: want))
        case 3..<6:
            let object = peersObject(key, mode)
            request = .write(
                ReplicaWrite(
                    operation: operation, key: key, copies: copies, epoch: 1, body: object.encoded,
                    dot: mode == .lww ? object.siblings.first?.dot : nil))
        default:
            request = .mint(mintRequest(key, mode, operation, copies))
        }
        pending[operation.rawValue] = Pending(request: request)
        let address: ReplyAddress =
            if case .mint = request {
                .coordinator(operation)
            } else {
                chance(50) ? .coordinator(operation) : .peer(NodeID(rawValue: 2), operation)
            }
        tell { vnodes, now, effects in
            vnodes.submit(request, replyTo: address, now: now, effects: &effects)
        }
    }

    /// A state that this replica or another one has had, with a write of the other's on top.
    private mutating func peersObject(_ key: ObjectKey, _ mode: ConflictMode) -> VersionedObject {
        var object = knownObject(key) ?? VersionedObject(mode: mode)
        if object.clock.isEmpty || chance(70) {
            peerCounter += 1
            let dot = Dot(actor: ObjectNotation.actor(chance(50) ? "B" : "C"), counter: peerCounter)
            let stamp = wall + UInt64.random(in: 0...200, using: &random)
            let version = Sibling(
                dot: dot, timestamp: HybridTimestamp(rawValue: stamp), value: ByteBuffer(string: "peer \(peerCounter)"))
            let context = chance(60) ? object.clock : VersionVector()
            object.put(version, context: context, mode: mode)
        } else if object.mode == .siblings, chance(30) {
            object.delete(context: object.clock)
        }
        remember(object, key)
        return object
    }

    private mutating func knownObject(_ key: ObjectKey) -> VersionedObject? {
        guard let known = objects[key], !known.isEmpty else { return nil }
        // Mostly what was seen of late.
        let reach = chance(80) ? min(4, known.count) : known.count
        return known[known.count - 1 - Int.random(in: 0..<reach, using: &random)]
    }

    private mutating func mintRequest(
        _ key: ObjectKey, _ mode: ConflictMode, _ operation: OperationID, _ copies: UInt8
    ) -> MintRequest {
        let context = chance(70) ? knownObject(key).map { CausalContext(of: $0) } : nil
        let writeID = chance(40) ? WriteID(high: 0, low: UInt64.random(in: 0..<20, using: &random)) : nil
        var change = MintRequest.Change.put(
            metadata: ByteBuffer(), value: ByteBuffer(string: "own \(operation.rawValue)"), expiry: nil,
            writeID: writeID)
        if chance(20) { change = .delete }
        let condition: WriteCondition? =
            chance(10) ? .ifNoneMatch : chance(10) ? context.map { .ifNotModified($0.clock) } : nil
        return MintRequest(
            operation: operation, key: key, copies: copies, mode: mode, context: context, change: change,
            condition: condition)
    }

    private mutating func answerRead() {
        guard !asked.isEmpty else { return }
        let index = Int.random(in: 0..<asked.count, using: &random)
        if !asked[index].isDeferred, chance(30) {
            asked[index].isDeferred = true
            let token = asked[index].token
            tell { vnodes, _, effects in vnodes.recordReadDeferred(token, effects: &effects) }
            return
        }
        let read = asked.remove(at: index)
        // A disk that fails for once loses nothing.
        let result = chance(3) ? StoreRead.failed : inStore[read.key].map { .found($0) } ?? .absent
        tell { vnodes, now, effects in vnodes.recordRead(read.token, result, now: now, effects: &effects) }
    }

    private mutating func endTurn() {
        tell { vnodes, _, effects in vnodes.turnEnded(effects: &effects) }
        var records = inStore
        for write in batches.lazy.filter({ !$0.isCommitted }).flatMap(\.writes) { records[write.key] = write.record }
        let expected = VnodeDialogue.leaves(of: records.map { ($0.key, $0.value) }, layout: Self.layout)
        if !VnodeDialogue.equal(vnodes.leaves, expected) {
            violations.append("the leaves are not those of the records")
        }
        count("turn")
    }

    private mutating func commitNext() {
        guard let index = batches.firstIndex(where: { !$0.isCommitted }) else { return }
        batches[index].isCommitted = true
        for write in batches[index].writes { inStore[write.key] = write.record }
        let number = batches[index].number
        tell { vnodes, _, effects in vnodes.committed(number, effects: &effects) }
    }

    private mutating func syncSome() {
        let committed = batches.prefix { $0.isCommitted }.count
        guard committed > 0 else { return }
        let count = Int.random(in: 1...committed, using: &random)
        let through = batches[count - 1].number
        for batch in batches.prefix(count) { putOnDisk(batch.writes) }
        batches.removeFirst(count)
        tell { vnodes, _, effects in vnodes.synced(through: through, effects: &effects) }
        if chance(20) { earlier.append(onDisk) }
        self.count("sync")
    }

    private mutating func putOnDisk(_ writes: [RecordWrite]) {
        for write in writes { onDisk[write.key] = write.record }
    }

    private mutating func crash() {
        let committed = batches.prefix { $0.isCommitted }.count
        for batch in batches.prefix(Int.random(in: 0...committed, using: &random)) { putOnDisk(batch.writes) }
        start()
        count("crash")
    }

    private mutating func rollBack() {
        onDisk = earlier[Int.random(in: 0..<earlier.count, using: &random)]
        start()
        count("rollback")
    }

    /// Lets everything come to its end.
    private mutating func finish() {
        for _ in 0..<10_000 where violations.isEmpty {
            if !asked.isEmpty {
                answerRead()
            } else if batches.contains(where: { !$0.isCommitted }) {
                commitNext()
            } else if !batches.isEmpty {
                syncSome()
            } else if !vnodes.isIdle {
                endTurn()
            } else {
                break
            }
        }
        guard violations.isEmpty else { return }
        if !vnodes.isIdle { violations.append("something is pending for ever") }
        if !pending.isEmpty { violations.append("\(pending.count) operations were never answered") }
        for key in Self.keys {
            let stored = onDisk[key].flatMap { object($0, key) }
            if stored != model[key] {
                violations.append("\(key) holds \(line(stored)), the join of what went in is \(line(model[key]))")
            }
        }
    }

    // MARK: What the vnodes say

    private mutating func tell(_ event: (inout Vnodes, Now, inout [VnodeEffect]) -> Void) {
        var effects: [VnodeEffect] = []
        event(&vnodes, now, &effects)
        for effect in effects { heard(effect) }
    }

    private mutating func heard(_ effect: VnodeEffect) {
        switch effect {
        case .read(let token, _, let key):
            asked.append(Asked(token: token, key: key))
        case .write(let write):
            if open.contains(where: { $0.key == write.key }) { violations.append("\(write.key) is twice in a batch") }
            open.append(write)
            if let object = object(write.record!, write.key) {
                requireOwnDots(object)
                hashes[Self.seed.contentHash(key: write.key, body: object.encoded)] = object
            } else {
                violations.append("what was written of \(write.key) cannot be read")
            }
        case .correct(let change): violations.append("leaf \(change.leaf) is corrected, and nobody asked for it")
        case .commit(let number):
            if open.isEmpty { violations.append("batch \(number.rawValue) is empty") }
            batches.append(Batch(number: number, writes: open))
            open = []
        case .reply(let reply, .coordinator(let operation)), .reply(let reply, .peer(_, let operation)),
            .reply(let reply, .repair(let operation)):
            replied(reply, to: operation)
        case .reply(let reply, let address): violations.append("\(reply) for \(address), which nobody asked for")
        case .observed(.actorRetired): count("retired")
        case .observed: break
        }
    }

    private mutating func replied(_ reply: VnodeReply, to operation: OperationID) {
        guard let request = pending[operation.rawValue]?.request else {
            violations.append("an answer to \(operation), which awaits none: \(reply)")
            return
        }
        let key = request.key
        let isMinted = pending[operation.rawValue]?.isMinted ?? false
        if case .deferred = reply { return }
        if case .minted = reply {} else { pending[operation.rawValue] = nil }
        switch (request, reply) {
        case (.read, .read(.absent)), (.read, .read(.failed)): count("absent")
        case (.read, .read(.hash(let hash))):
            // A state that was written over in its own turn was never a record: nothing is known of its hash.
            if let object = hashes[hash] { requireOnDisk(object, key, "the hash of") }
            count("hash")
        case (.read, .read(.object(let body))):
            guard let object = try? VersionedObject(decoding: body) else {
                violations.append("\(key) was answered with bytes that are no object")
                return
            }
            remember(object, key)
            requireOnDisk(object, key, "an answer with")
            count("object")
        case (.write, .wrote(.failed(.unreadable))): count("unreadable")
        case (.write, .wrote(.failed(let failure))): violations.append("a merge failed: \(failure)")
        case (.write(let write), .wrote(let outcome)):
            let object = try! VersionedObject(decoding: write.body)
            requireOnDisk(object, key, "an acknowledgement of")
            judge(outcome, of: write, object)
            join(object, key)
            count("stored")
        case (.mint, .refused(let refusal)):
            if isMinted { violations.append("\(operation) was minted and then refused") }
            count("refused")
            if refusal == .matchFound, onDisk[key] == nil { violations.append("a match was found in nothing") }
        case (.mint, .minted(let write)):
            if isMinted { violations.append("\(operation) was minted twice") }
            pending[operation.rawValue]?.isMinted = true
            minted(write, key, request)
        case (.mint, .mintSynced):
            if !isMinted { violations.append("\(operation) was synced before it was minted") }
            if let object = mintedObjects.removeValue(forKey: operation.rawValue) {
                requireOnDisk(object, key, "an acknowledgement of")
            }
            count("mintSynced")
        default: violations.append("\(reply) is no answer to \(request)")
        }
    }

    private mutating func minted(_ write: MintedWrite, _ key: ObjectKey, _ request: VnodeRequest) {
        guard case .mint(let mint) = request else { return }
        let isInStore = inStore[key].flatMap { object($0, key) }.map { $0.merged(with: write.object) == $0 } ?? false
        if !isInStore { violations.append("\(line(write.object)) left for the peers before it was in the log") }
        if write.body != write.object.encoded { violations.append("a minted body is not its object's") }
        mintedObjects[mint.operation.rawValue] = write.object
        remember(write.object, key)
        join(write.object, key)
        if case .put(_, let value, _, let writeID) = mint.change {
            guard let dot = write.dot else {
                violations.append("a put without a dot")
                return
            }
            guard let sibling = write.object.siblings.first(where: { $0.dot == dot }) else {
                violations.append("a put that does not stand after itself: \(line(write.object))")
                return
            }
            if sibling.value != value, writeID == nil || sibling.writeID != writeID {
                violations.append("\(dot) is another write's")
            }
            let attempts = write.object.siblings.filter { $0.writeID != nil && $0.writeID == writeID }
            if sibling.value == value, attempts.count > 1 {
                violations.append("\(dot) was minted, and \(line(write.object)) held an attempt at it")
            }
            guard sibling.value == value else {
                // An earlier attempt, with the context of its own.
                count("retry")
                return
            }
            if mint.mode == .lww, let context = mint.context, sibling.timestamp <= context.latestTimestamp {
                violations.append("\(dot) is stamped at or below its context")
            }
        }
        if let context = mint.context, !write.object.clock.dominates(context.clock) {
            violations.append("\(line(write.object)) forgot its context \(context.clock)")
        }
        count("minted")
    }

    // MARK: Rules

    /// One dot, one write, wherever it is met.
    private mutating func requireOwnDots(_ object: VersionedObject) {
        for sibling in object.siblings {
            if let other = writes[sibling.dot], other != sibling {
                violations.append(
                    "\(sibling.dot) names \(String(buffer: other.value)) and \(String(buffer: sibling.value))")
            }
            writes[sibling.dot] = sibling
        }
    }

    /// What left the node, or came to it: others may come back with it.
    private mutating func remember(_ object: VersionedObject, _ key: ObjectKey) {
        requireOwnDots(object)
        objects[key, default: []].append(object)
    }

    private mutating func requireOnDisk(_ object: VersionedObject, _ key: ObjectKey, _ what: String) {
        let stored = onDisk[key].flatMap { self.object($0, key) }
        guard let stored, stored.merged(with: object) == stored else {
            violations.append("\(what) \(line(object)) of \(key), and on disk is \(line(stored))")
            return
        }
    }

    private mutating func judge(_ outcome: WriteOutcome, of write: ReplicaWrite, _ object: VersionedObject) {
        guard let dot = write.dot, let mine = object.siblings.first(where: { $0.dot == dot }) else { return }
        guard let winner = onDisk[write.key].flatMap({ self.object($0, write.key) })?.siblings.first else { return }
        switch outcome {
        case .stored:
            if winner.loses(to: mine) { violations.append("\(dot) is called stored and a smaller version stands") }
        case .superseded(let stamp):
            if stamp < mine.timestamp { violations.append("\(dot) is called superseded by a smaller stamp") }
            count("superseded")
        case .failed: break
        }
    }

    private mutating func join(_ object: VersionedObject, _ key: ObjectKey) {
        model[key] = model[key]?.merged(with: object) ?? object
    }

    private func object(_ record: ByteBuffer, _ key: ObjectKey) -> VersionedObject? {
        try? Record(decoding: record, for: key).object()
    }

    private func line(_ object: VersionedObject?) -> String {
        var notation = ObjectNotation()
        return object.map { notation.line($0) } ?? "nothing"
    }
}
