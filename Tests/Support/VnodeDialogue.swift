// One lane's vnodes, spoken to in short words; what they say back is lines of text.
//
//   lane.read("k", by: "c1")      == ["ask k"]
//   lane.arrives("k")             == ["c1: object {A:1} A:1=x@5"]
//
// An address is c and a number for a coordinator of the lane, p and a number for a peer, m and a number for what mends. The store behind it
// is a dictionary: a turn's writes are in it from their commit on. It never calls anything safe: a test says
// what is synced.

package import NIOCore
package import TorcModel
package import TorcReplication

package struct VnodeDialogue {
    package private(set) var vnodes: Vnodes
    /// Records, encoded, as the store holds them.
    package private(set) var store: [String: ByteBuffer]
    package var notation = ObjectNotation()
    package var wall = WallTime(microseconds: 1_000)

    package let configuration: LaneConfiguration
    private let ring: Ring
    private var asked: [String: StoreToken] = [:]
    private var written: [RecordWrite] = []
    private var names: [ObjectKey: String] = [:]

    package static let node = NodeID(rawValue: 1)
    package static let seed = HashSeed(rawValue: 42)

    /// A node of a ring of three, which holds everything, unless told otherwise.
    package init(
        members: UInt64 = 3, incarnation: UInt64 = 1, limits: LaneLimits = LaneLimits(),
        store: [String: ByteBuffer] = [:]
    ) {
        let size = RingSize(partitions: 8)!
        ring = Ring(
            epoch: 1, size: size,
            owners: (0..<size.partitions).map { NodeID(rawValue: UInt64($0) % members + 1) })
        configuration = LaneConfiguration(
            node: Self.node, lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: incarnation),
            hashSeed: Self.seed, limits: limits)
        self.store = store
        let leaves = Self.leaves(of: store.map { (Self.key($0.key), $0.value) }, layout: LeafLayout(ringSize: size))
        vnodes = Vnodes(configuration: configuration, leaves: leaves, generator: SeededGenerator(seed: incarnation))
        vnodes.ringChanged(Placement(ring))
    }

    /// A start over the same store: what was in memory is gone.
    package func restarted(incarnation: UInt64) -> VnodeDialogue {
        var next = VnodeDialogue(
            members: UInt64(ring.members.count), incarnation: incarnation, limits: configuration.limits, store: store)
        next.notation = notation
        next.wall = wall
        return next
    }

    package static func key(_ name: String) -> ObjectKey {
        ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: name))
    }

    /// A record as the store may hold it.
    package static func record(
        _ name: String, _ object: String, copies: UInt8 = 3, minting: LocalHeader.MintingActor? = nil
    ) -> ByteBuffer {
        Record(header: LocalHeader(copies: copies, minting: minting), body: ObjectNotation().object(object).encoded)
            .encoded(for: key(name))
    }

    // MARK: Requests

    package mutating func read(_ name: String, _ want: ReplicaRead.Want = .full, copies: UInt8 = 3, by: String)
        -> [String]
    {
        let (address, operation) = address(by)
        return submit(
            name, .read(ReplicaRead(operation: operation, key: Self.key(name), copies: copies, want: want)), address)
    }

    package mutating func merge(
        _ name: String, _ object: String, dot: String? = nil, copies: UInt8 = 3, by: String
    ) -> [String] {
        merge(name, body: notation.object(object).encoded, dot: dot, copies: copies, by: by)
    }

    package mutating func merge(
        _ name: String, body: ByteBuffer, dot: String? = nil, copies: UInt8 = 3, by: String
    ) -> [String] {
        let (address, operation) = address(by)
        let write = ReplicaWrite(
            operation: operation, key: Self.key(name), copies: copies, epoch: 1, body: body,
            dot: dot.map { notation.dot($0) })
        return submit(name, .write(write), address)
    }

    package mutating func mend(_ name: String, _ object: String, by: String) -> [String] {
        let (address, operation) = address(by)
        let write = ReplicaWrite(
            operation: operation, key: Self.key(name), copies: 3, epoch: 1, body: notation.object(object).encoded)
        return submit(name, .mend(write), address)
    }

    package mutating func bury(_ name: String, _ step: ReapStep, _ version: ByteBuffer) -> [String] {
        submit(
            name, .bury(Burial(key: Self.key(name), copies: 3, version: version, step: step)),
            .reaping(BurialTicket(question: 1, place: 0)))
    }

    /// A context is written as its clock, with the largest stamp after it: {A:1}@5.
    package mutating func put(
        _ name: String, _ value: String, context: String? = nil, mode: ConflictMode = .siblings, writeID: UInt64? = nil,
        condition: WriteCondition? = nil, above: UInt64 = 0, expiry: WallTime? = nil, copies: UInt8 = 3, by: String
    ) -> [String] {
        let change = MintRequest.Change.put(
            metadata: ByteBuffer(), value: ByteBuffer(string: value), expiry: expiry,
            writeID: writeID.map { WriteID(high: 0, low: $0) })
        return mint(name, change, context: context, mode, condition, above, copies, by)
    }

    package mutating func delete(
        _ name: String, context: String? = nil, mode: ConflictMode = .siblings, condition: WriteCondition? = nil,
        by: String
    ) -> [String] {
        mint(name, .delete, context: context, mode, condition, 0, 3, by)
    }

    private mutating func mint(
        _ name: String, _ change: MintRequest.Change, context: String?, _ mode: ConflictMode,
        _ condition: WriteCondition?, _ above: UInt64, _ copies: UInt8, _ by: String
    ) -> [String] {
        let (address, operation) = address(by)
        let context = context.map { text in
            let parts = text.split(separator: "@")
            return CausalContext(
                clock: notation.clock(parts[0]),
                latestTimestamp: HybridTimestamp(rawValue: parts.count > 1 ? UInt64(parts[1])! : 0))
        }
        let request = MintRequest(
            operation: operation, key: Self.key(name), copies: copies, mode: mode, context: context, change: change,
            condition: condition, above: HybridTimestamp(rawValue: above))
        return submit(name, .mint(request), address)
    }

    private mutating func submit(_ name: String, _ request: VnodeRequest, _ address: ReplyAddress) -> [String] {
        names[Self.key(name)] = name
        var effects: [VnodeEffect] = []
        vnodes.submit(request, replyTo: address, now: now, effects: &effects)
        return lines(effects)
    }

    private func address(_ text: String) -> (ReplyAddress, OperationID) {
        let operation = OperationID(lane: 0, number: UInt64(text.dropFirst())!)
        switch text.first {
        case "c": return (.coordinator(operation), operation)
        case "m": return (.mending(operation), operation)
        default: return (.peer(NodeID(rawValue: 2), operation), operation)
        }
    }

    private var now: Now { Now(monotonic: .zero, wall: wall) }

    // MARK: The store's side

    package mutating func deferred(_ name: String) -> [String] {
        var effects: [VnodeEffect] = []
        vnodes.recordReadDeferred(asked[name]!, effects: &effects)
        return lines(effects)
    }

    /// The answer to what was asked last of a key: what the store holds, unless told otherwise.
    package mutating func arrives(_ name: String, _ read: StoreRead? = nil) -> [String] {
        var effects: [VnodeEffect] = []
        let found = read ?? store[name].map { .found($0) } ?? .absent
        vnodes.recordRead(asked.removeValue(forKey: name)!, found, now: now, effects: &effects)
        return lines(effects)
    }

    package mutating func turnEnds() -> [String] {
        var effects: [VnodeEffect] = []
        vnodes.turnEnded(effects: &effects)
        return lines(effects)
    }

    package mutating func committed(_ batch: UInt64) -> [String] {
        for write in written { store[names[write.key]!] = write.record }
        written = []
        var effects: [VnodeEffect] = []
        vnodes.committed(BatchNumber(rawValue: batch), effects: &effects)
        return lines(effects)
    }

    package mutating func synced(_ batch: UInt64) -> [String] {
        var effects: [VnodeEffect] = []
        vnodes.synced(through: BatchNumber(rawValue: batch), effects: &effects)
        return lines(effects)
    }

    /// Ends the turn, commits and syncs its batch, if there is one; what was said in the meantime.
    package mutating func settle(_ batch: UInt64) -> [String] {
        let told = turnEnds()
        return told.isEmpty ? [] : told + committed(batch) + synced(batch)
    }

    // MARK: State

    package var isIdle: Bool { vnodes.isIdle }

    package var space: DiskSpace {
        get { vnodes.space }
        set { vnodes.space = newValue }
    }

    package func status(_ name: String) -> Vnodes.Status? { vnodes.status(of: Self.key(name)) }

    /// What the store holds of a key.
    package mutating func stored(_ name: String) -> String? {
        store[name].map { notation.line(try! Record(decoding: $0, for: Self.key(name)).object()) }
    }

    package func header(_ name: String) -> LocalHeader? {
        store[name].map { try! Record(decoding: $0, for: Self.key(name)).header }
    }

    /// Whether the leaves are those of the store's records and of what was written since its last commit.
    package var leavesAreThoseOfRecords: Bool {
        var records = store.map { (Self.key($0.key), $0.value) }
        for write in written {
            records.removeAll { $0.0 == write.key }
            if let record = write.record { records.append((write.key, record)) }
        }
        return Self.equal(vnodes.leaves, Self.leaves(of: records, layout: vnodes.leaves.layout))
    }

    /// Recomputed from records; one that cannot be read counts nothing.
    package static func leaves(of records: [(ObjectKey, ByteBuffer)], layout: LeafLayout) -> LeafTable {
        var leaves = LeafTable(layout: layout)
        for (key, bytes) in records {
            guard let record = try? Record(decoding: bytes, for: key) else { continue }
            let tree = TreeID(
                partition: layout.ringSize.partition(of: key.position), copies: record.header.copies)
            let hash = seed.contentHash(key: key, body: record.body)
            leaves.apply(LeafChange(tree: tree, leaf: layout.leaf(of: key.position), delta: hash.rawValue))
        }
        return leaves
    }

    /// A tree of zeroes is the same as none.
    package static func equal(_ left: LeafTable, _ right: LeafTable) -> Bool {
        Set(left.trees + right.trees).allSatisfy { tree in
            let zeroes = [UInt64](repeating: 0, count: left.layout.leavesPerPartition)
            return (left[tree] ?? zeroes) == (right[tree] ?? zeroes)
        }
    }

    package func hash(_ name: String, _ object: String) -> ContentHash {
        Self.seed.contentHash(key: Self.key(name), body: notation.object(object).encoded)
    }

    // MARK: Lines

    private mutating func lines(_ effects: [VnodeEffect]) -> [String] {
        var lines: [String] = []
        for effect in effects { lines.append(line(effect)) }
        return lines
    }

    private mutating func line(_ effect: VnodeEffect) -> String {
        switch effect {
        case .read(let token, _, let key):
            asked[names[key]!] = token
            return "ask \(names[key]!)"
        case .write(let write):
            written.append(write)
            return line(write)
        case .correct(let change): return "correct leaf \(change.leaf)"
        case .commit(let batch): return "commit \(batch.rawValue)"
        case .reply(let reply, .coordinator(let operation)):
            return "c\(operation.rawValue & 0xffff): \(line(reply))"
        case .reply(let reply, .peer(_, let operation)):
            return "p\(operation.rawValue & 0xffff): \(line(reply))"
        case .reply(let reply, .repair(let operation)):
            return "r\(operation.rawValue & 0xffff): \(line(reply))"
        case .reply(let reply, .hintCoordinator), .reply(let reply, .hintPeer), .reply(let reply, .nobody):
            return "hint: \(line(reply))"
        case .reply(let reply, .mending(let operation)): return "m\(operation.rawValue & 0xffff): \(line(reply))"
        case .reply(let reply, .reaping(let ticket)): return "b\(ticket.place): \(line(reply))"
        case .observed(.actorRetired(let key, let actor)):
            return "retired \(notation.name(of: actor)) of \(names[key]!)"
        case .observed(.unreadableRecord(let key)): return "unreadable \(names[key]!)"
        case .observed(let observation): return "\(observation)"
        }
    }

    private mutating func line(_ write: RecordWrite) -> String {
        guard let bytes = write.record else { return "remove \(names[write.key]!)" }
        // The vnode under test has just encoded it.
        let record = try! Record(decoding: bytes, for: write.key)
        var line = "write \(names[write.key]!) \(notation.line(try! record.object()))"
        if let minting = record.header.minting { line += ", \(notation.name(of: minting.actor)):\(minting.counter)" }
        let trees = write.leaves.map { "n\($0.tree.copies)" }
        return line + (trees.isEmpty ? "" : ", leaf \(trees.joined(separator: " "))")
    }

    private mutating func line(_ reply: VnodeReply) -> String {
        switch reply {
        case .deferred: return "deferred"
        case .read(.absent): return "absent"
        case .read(.hash(let hash)): return "hash \(hash)"
        case .read(.object(let body)): return "object \(notation.line(try! VersionedObject(decoding: body)))"
        case .read(.failed(let failure)): return "failed \(failure)"
        case .wrote(.stored): return "stored"
        case .wrote(.superseded(let stamp)): return "superseded by @\(stamp.rawValue)"
        case .wrote(.failed(let failure)): return "failed \(failure)"
        case .minted(let write):
            precondition(write.object.encoded == write.body, "a minted write's body is not its object's")
            let line = notation.line(write.object)
            return "minted \(write.dot.map { "\(notation.name(of: $0.actor)):\($0.counter)" } ?? "nothing") in \(line)"
        case .mintSynced: return "synced"
        case .refused(let refusal): return "refused \(refusal)"
        case .mended(let outcome): return "\(outcome)"
        case .buried(let isDone): return isDone ? "done" : "not done"
        case .mints(let actor): return "mints \(actor.map { notation.name(of: $0) } ?? "nothing")"
        }
    }
}
