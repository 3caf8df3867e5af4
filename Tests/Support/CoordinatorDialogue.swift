// One coordinator, spoken to in short words; what it says back is lines of text.
//
//   node.get("r=2")                        == ["own: read full"]
//   node.hears(1, "object {A:1} A:1=x@5")  == ["2: read unless {A:1} A:1=x@5"]
//   node.hears(2, "same")                  == ["answer: {A:1} A:1=x@5 by 2"]
//
// Node k of the ring is called k; the key's replicas are 1, 2, 3, … in this order. What is heard belongs to
// the last operation of its kind that was asked, unless a test names another.

package import NIOCore
package import TorcModel
package import TorcReplication

package struct CoordinatorDialogue {
    package var coordinator: Coordinator
    package var notation = ObjectNotation()
    package private(set) var now = Now(
        monotonic: MonotonicTime(nanoseconds: 1_000_000_000), wall: WallTime(microseconds: 1_000))
    package let key: ObjectKey
    package let node: UInt64
    package private(set) var lastRead = OperationID(rawValue: 0)
    package private(set) var lastWrite = OperationID(rawValue: 0)
    package private(set) var lastMint = OperationID(rawValue: 0)
    package private(set) var lastForward = OperationID(rawValue: 0)
    package private(set) var lastPages: [UInt16: OperationID] = [:]
    private var wanted: [OperationID: ReplicaRead.Want] = [:]
    private var shown: [ContentHash: String] = [:]
    private var requests: UInt64 = 0

    package static let seed = HashSeed(rawValue: 42)
    package static let timeout = Duration.seconds(10)

    package init(
        node: UInt64 = 1, members: UInt64 = 3, up: [UInt64]? = nil, limits: LaneLimits = LaneLimits(),
        properties: BucketProperties = BucketProperties(), partitions: Int = 8, incarnation: UInt64 = 1
    ) {
        self.node = node
        let size = RingSize(partitions: partitions)!
        let owners = (0..<partitions).map { NodeID(rawValue: UInt64($0) % members + 1) }
        let ring = Ring(epoch: 1, size: size, owners: owners)
        key = (0...)
            .lazy.map { ObjectKey(bucket: Self.bucket, key: ByteBuffer(string: "k\($0)")) }
            .first { size.partition(of: $0.position).index == 0 }!
        let entry = PropertiesEntry(
            scope: .bucket(Self.bucket),
            versioned: VersionedProperties(
                properties: properties, stamp: HybridTimestamp(rawValue: 1), setBy: NodeID(rawValue: 1)))
        coordinator = Coordinator(
            configuration: LaneConfiguration(
                node: NodeID(rawValue: node), lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: incarnation),
                hashSeed: Self.seed, limits: limits),
            placement: Placement(ring), properties: PropertiesTable([entry]))
        for peer in up ?? Array(1...members) where peer != node { _ = self.up(peer) }
    }

    package static let bucket = BucketID(name: ByteBuffer(string: "b"))

    // MARK: Requests

    package mutating func get(_ options: String = "", headOnly: Bool = false, unless clock: String? = nil) -> [String] {
        var get = GetRequest(key: key)
        get.options = Self.options(options)
        get.headOnly = headOnly
        get.unlessClock = clock.map { notation.clock($0) }
        return client(.get(get))
    }

    package mutating func put(
        _ value: String, _ options: String = "", context: String? = nil, condition: WriteCondition? = nil,
        writeID: UInt64? = nil, returning: ReturnedBody = .nothing
    ) -> [String] {
        client(
            .put(
                putRequest(
                    value, options, context: context, condition: condition, writeID: writeID, returning: returning)))
    }

    package func putRequest(
        _ value: String, _ options: String = "", context: String? = nil, condition: WriteCondition? = nil,
        writeID: UInt64? = nil, returning: ReturnedBody = .nothing
    ) -> PutRequest {
        var put = PutRequest(
            key: key, context: context.map { self.context($0) }, metadata: ByteBuffer(),
            value: ByteBuffer(string: value))
        put.options = Self.options(options)
        put.condition = condition
        put.writeID = writeID.map { WriteID(high: 0, low: $0) }
        put.returnedBody = returning
        return put
    }

    package mutating func delete(_ options: String = "", context: String? = nil) -> [String] {
        var delete = DeleteRequest(key: key, context: context.map { self.context($0) })
        delete.options = Self.options(options)
        return client(.delete(delete))
    }

    package mutating func client(_ request: ClientRequest) -> [String] {
        requests += 1
        let id = RequestID(rawValue: requests)
        let deadline = now.monotonic.advanced(by: Self.timeout)
        return step { $0.client(id, request, deadline: deadline, $1, &$2) }
    }

    package mutating func list(_ subject: PageRequest.Subject, from start: RingPosition? = nil) -> [String] {
        requests += 1
        let id = RequestID(rawValue: requests)
        let deadline = now.monotonic.advanced(by: .seconds(60))
        return step { $0.list(id, ListRequest(subject: subject, from: start), deadline: deadline, $1, &$2) }
    }

    package mutating func listContinues() -> [String] {
        let id = RequestID(rawValue: requests)
        return step { $0.listContinue(id, $1, &$2) }
    }

    package mutating func cancelLast() { coordinator.cancel(RequestID(rawValue: requests)) }

    /// A write that a node forwards here.
    package mutating func forwarded(
        _ request: ClientRequest, by peer: UInt64, operation: UInt64 = 77, incarnation: UInt64 = 9
    ) -> [String] {
        let message = ForwardedWrite(
            operation: OperationID(lane: 0, number: operation), incarnation: Incarnation(rawValue: incarnation),
            request: request, properties: coordinator.properties[key.bucket], remaining: .seconds(5))
        return receive(.forward(message), from: peer)
    }

    // MARK: Answers

    /// What a replica answers to a read: absent, unreadable, overloaded, same, object …, hash …
    package mutating func hears(_ peer: UInt64, _ answer: String, of operation: OperationID? = nil) -> [String] {
        let operation = operation ?? lastRead
        let outcome: ReadOutcome
        switch answer.split(separator: " ", maxSplits: 1).first {
        case "absent": outcome = .absent
        case "unreadable": outcome = .failed(.unreadable)
        case "overloaded": outcome = .failed(.overloaded)
        case "same":
            guard case .unless(let hash)? = wanted[operation] else { preconditionFailure("nothing to be the same as") }
            outcome = .hash(hash)
        case "object": outcome = .object(body(String(answer.dropFirst(7))))
        case "hash": outcome = .hash(hash(String(answer.dropFirst(5))))
        case "garbage": outcome = .object(ByteBuffer(string: "garbage"))
        default: preconditionFailure("no answer: \(answer)")
        }
        if peer == node { return step { $0.replied(operation, .read(outcome), $1, &$2) } }
        return receive(.readResult(operation, outcome), from: peer)
    }

    package mutating func ownDeferred() -> [String] { replied(lastRead, .deferred) }

    /// What a replica answers to a write: stored, failed, superseded …
    package mutating func wrote(_ peer: UInt64, _ answer: String = "stored", of operation: OperationID? = nil)
        -> [String]
    {
        let operation = operation ?? lastWrite
        let words = answer.split(separator: " ")
        let outcome: WriteOutcome =
            switch words[0] {
            case "stored": .stored
            case "failed": .failed(.overloaded)
            case "superseded": .superseded(by: HybridTimestamp(rawValue: UInt64(words[1])!))
            default: preconditionFailure("no answer: \(answer)")
            }
        if peer == node { return replied(operation, .wrote(outcome)) }
        return receive(.wrote(operation, outcome), from: peer)
    }

    /// What a stand-in answers about what it keeps for `target`: stored, failed, full, superseded …
    package mutating func hinted(_ peer: UInt64, for target: UInt64, _ answer: String = "stored") -> [String] {
        let words = answer.split(separator: " ")
        let outcome: WriteOutcome =
            switch words[0] {
            case "stored": .stored
            case "failed": .failed(.overloaded)
            case "full": .failed(.hintsFull)
            case "superseded": .superseded(by: HybridTimestamp(rawValue: UInt64(words[1])!))
            default: preconditionFailure("no answer: \(answer)")
            }
        let (operation, target) = (lastWrite, NodeID(rawValue: target))
        if peer == node { return step { $0.hintReplied(operation, .wrote(outcome), of: target, $1, &$2) } }
        return receive(.hinted(operation, target: target, outcome), from: peer)
    }

    /// What a stand-in says that it keeps for `target`: absent, overloaded, object …
    package mutating func hears(_ peer: UInt64, for target: UInt64, _ answer: String) -> [String] {
        let outcome: ReadOutcome =
            switch answer.split(separator: " ", maxSplits: 1).first {
            case "absent": .absent
            case "overloaded": .failed(.overloaded)
            case "object": .object(body(String(answer.dropFirst(7))))
            default: preconditionFailure("no answer: \(answer)")
            }
        let (operation, target) = (lastRead, NodeID(rawValue: target))
        if peer == node { return step { $0.hintReplied(operation, .read(outcome), of: target, $1, &$2) } }
        return receive(.hintResult(operation, target: target, outcome), from: peer)
    }

    package mutating func minted(_ object: String, dot: String?) -> [String] {
        let made = notation.object(object)
        return replied(
            lastMint, .minted(MintedWrite(object: made, body: body(object), dot: dot.map { notation.dot($0) })))
    }

    package mutating func mintSynced() -> [String] { replied(lastMint, .mintSynced) }
    package mutating func mintRefused(_ refusal: Refusal) -> [String] { replied(lastMint, .refused(refusal)) }

    package mutating func replied(_ operation: OperationID, _ reply: VnodeReply) -> [String] {
        step { $0.replied(operation, reply, $1, &$2) }
    }

    package mutating func receive(_ message: PeerMessage, from peer: UInt64) -> [String] {
        step { $0.received(message, from: NodeID(rawValue: peer), $1, &$2) }
    }

    package mutating func page(_ partition: UInt16, of peer: UInt64, _ outcome: PageOutcome) -> [String] {
        let operation = lastPages[partition]!
        return receive(.pageResult(operation, outcome), from: peer)
    }

    package mutating func up(_ peer: UInt64) -> [String] { step { $0.peerUp(NodeID(rawValue: peer), $1, &$2) } }
    package mutating func down(_ peer: UInt64) -> [String] { step { $0.peerDown(NodeID(rawValue: peer), $1, &$2) } }

    /// Time passes, and the tick comes if it is due.
    package mutating func passes(_ duration: Duration) -> [String] {
        now.monotonic = now.monotonic.advanced(by: duration)
        guard let due = coordinator.nextDeadline, due <= now.monotonic else { return [] }
        return step { $0.tick($1, &$2) }
    }

    package mutating func setWall(_ microseconds: UInt64) { now.wall = WallTime(microseconds: microseconds) }

    private mutating func step(
        _ event: (inout Coordinator, Now, inout [CoordinatorEffect]) -> Void
    ) -> [String] {
        var effects: [CoordinatorEffect] = []
        event(&coordinator, now, &effects)
        coordinator.turnEnded()
        var lines: [String] = []
        for effect in effects { lines.append(line(effect)) }
        return lines
    }

    // MARK: Words

    package func context(_ text: String) -> CausalContext {
        CausalContext(clock: notation.clock(text), latestTimestamp: .zero)
    }

    package mutating func body(_ object: String) -> ByteBuffer {
        let body = notation.object(object).encoded
        shown[Self.seed.contentHash(key: key, body: body)] = object
        return body
    }

    package mutating func hash(_ object: String) -> ContentHash { Self.seed.contentHash(key: key, body: body(object)) }

    /// "r=2 pr=all notfound_ok=false"
    package static func options(_ text: String) -> QuorumOptions {
        var options = QuorumOptions()
        for word in text.split(separator: " ") {
            let pair = word.split(separator: "=")
            switch pair[0] {
            case "r": options.r = quorum(pair[1])
            case "w": options.w = quorum(pair[1])
            case "pr": options.pr = quorum(pair[1])
            case "pw": options.pw = quorum(pair[1])
            case "dw": options.dw = quorum(pair[1])
            case "rw": options.rw = quorum(pair[1])
            case "node_confirms": options.nodeConfirms = UInt8(pair[1])!
            case "n": options.n = UInt8(pair[1])!
            case "notfound_ok": options.notFoundOK = pair[1] == "true"
            case "basic_quorum": options.basicQuorum = pair[1] == "true"
            case "sloppy_quorum": options.sloppyQuorum = pair[1] == "true"
            default: preconditionFailure("no option: \(word)")
            }
        }
        return options
    }

    package static func quorum(_ text: some StringProtocol) -> Quorum {
        switch text {
        case "one": .one
        case "quorum": .quorum
        case "all": .all
        default: .count(UInt8(text)!)
        }
    }

    // MARK: Lines

    private mutating func line(_ effect: CoordinatorEffect) -> String {
        switch effect {
        case .localRead(let read): return "own: \(line(read))"
        case .localWrite(let write): return "own: \(line(write))"
        case .mint(let mint): return "own: \(line(mint))"
        case .send(let message, let node): return "\(node.rawValue): \(line(message))"
        case .answer(_, .get(let answer)): return "answer: \(line(answer))"
        case .answer(_, .write(let answer)): return "answer: \(line(answer))"
        case .listed(_, .items(let items)): return "listed: " + items.map { String(buffer: $0) }.joined(separator: " ")
        case .listed(_, .done): return "listed: done"
        case .listed(_, .paused(let place)): return "listed: paused at \(place.rawValue)"
        case .listed(_, .failed(let partition)): return "listed: failed at \(partition)"
        case .observed(.readRepaired(_, let replicas)): return "repaired \(replicas)"
        case .observed(.lwwRestamped): return "stamped again"
        case .observed(.duplicateForwardIgnored(let node)): return "ignored a repeat of \(node.rawValue)"
        case .observed(let observation): return "\(observation)"
        }
    }

    private mutating func line(_ message: PeerMessage) -> String {
        switch message {
        case .write(let write): return line(write)
        case .read(let read, _): return line(read)
        case .forward(let forward):
            lastForward = forward.operation
            return "forward"
        case .forwarded(_, let answer): return "forwarded \(line(answer))"
        case .page(let page):
            lastPages[page.partition.rawValue] = page.operation
            return "page of \(page.partition)" + (page.after.map { " after \(String(buffer: $0))" } ?? "")
        default: return "\(message)"
        }
    }

    private mutating func line(_ read: ReplicaRead) -> String {
        lastRead = read.operation
        wanted[read.operation] = read.want
        let place = read.hint.map { " for \($0.rawValue)" } ?? ""
        switch read.want {
        case .full: return "read full" + place
        case .hash: return "read hash" + place
        case .unless(let hash): return "read unless \(shown[hash] ?? "\(hash)")" + place
        }
    }

    private mutating func line(_ write: ReplicaWrite) -> String {
        lastWrite = write.operation
        let object = try! VersionedObject(decoding: write.body)
        shown[Self.seed.contentHash(key: key, body: write.body)] = notation.line(object)
        let dot = write.dot.map { ", fate of \(notation.name(of: $0.actor)):\($0.counter)" } ?? ""
        return "write \(notation.line(object))\(dot)" + (write.hint.map { " for \($0.rawValue)" } ?? "")
    }

    private mutating func line(_ mint: MintRequest) -> String {
        lastMint = mint.operation
        var line =
            switch mint.change {
            case .put(_, let value, _, _): "mint \(String(buffer: value))"
            case .delete: "mint delete"
            }
        if let context = mint.context { line += " over \(notation.line(context.clock))" }
        switch mint.condition {
        case .ifNoneMatch: line += " if none"
        case .ifNotModified(let clock): line += " if \(notation.line(clock))"
        case nil: break
        }
        if mint.mode == .lww { line += " lww" }
        if let hint = mint.hint { line += " for \(hint.rawValue)" }
        if mint.above > .zero { line += " above @\(mint.above.rawValue)" }
        return line
    }

    /// "2", or "2+1" with a stand-in.
    private func line(_ participation: Participation) -> String {
        "\(participation.primaries)" + (participation.fallbacks > 0 ? "+\(participation.fallbacks)" : "")
    }

    private mutating func line(_ answer: GetAnswer) -> String {
        switch answer {
        case .absent(let participation): "absent by \(line(participation))"
        case .found(let object, let participation): "\(line(object)) by \(line(participation))"
        case .unchanged(let participation): "unchanged by \(line(participation))"
        case .refused(let refusal): "refused \(refusal)"
        case .failed(let failure):
            "failed \(failure.answered) of \(failure.needed)" + (failure.timedOut ? " in time" : "")
        }
    }

    private mutating func line(_ answer: WriteAnswer) -> String {
        switch answer {
        case .ok(let participation, let object):
            "ok by \(line(participation))" + (object.map { " \(line($0))" } ?? "")
        case .refused(let refusal): "refused \(refusal)"
        case .indeterminate(let copies, let needed): "indeterminate \(copies) of \(needed)"
        }
    }

    private mutating func line(_ object: ClientObject) -> String {
        var line = notation.line(object.context.clock)
        for sibling in object.siblings {
            line += " \(notation.name(of: sibling.dot.actor)):\(sibling.dot.counter)=\(String(buffer: sibling.value))"
        }
        return object.headOnly ? line + " (head)" : line
    }
}
