import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Random lives of one coordinator: answers of every kind come late, twice, from the wrong node or never;
/// peers come and go; time passes. Whatever happens, each request is answered once, an ok is backed by the
/// replicas that it claims, and nothing is left behind.
@Suite struct CoordinatorRandomTests {
    @Test(arguments: 1...400 as ClosedRange<UInt64>)
    func everyRequestIsAnsweredOnce(seed: UInt64) {
        var life = Life(seed: seed)
        life.run(steps: 250)
        #expect(life.violations == [], "seed \(seed)")
    }
}

private struct Life {
    private var coordinator: Coordinator
    private var generator: SeededGenerator
    private var now = Now(monotonic: .zero, wall: WallTime(microseconds: 1_000))
    private let keys: [ObjectKey]
    private let node = NodeID(rawValue: 1)
    private var open: [RequestID: Bool] = [:]
    private var answered: Set<RequestID> = []
    /// What could be heard next: questions that were asked, kept after they were answered, to be answered again.
    private var questions: [(CoordinatorEffect, NodeID)] = []
    private var acknowledged: [OperationID: Set<NodeID>] = [:]
    private var reads: [OperationID: Set<NodeID>] = [:]
    private var requests: UInt64 = 0
    var violations: [String] = []

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        let size = RingSize(partitions: 8)!
        let ring = Ring(epoch: 1, size: size, owners: (0..<8).map { NodeID(rawValue: UInt64($0) % 5 + 1) })
        keys = (0..<6).map {
            ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k\($0)"))
        }
        var properties = BucketProperties()
        properties.n = .random(in: 1...5, using: &generator)
        properties.conflictMode = .random(using: &generator)
        properties.notFoundOK = .random(using: &generator)
        properties.basicQuorum = .random(using: &generator)
        for quorum in [\BucketProperties.r, \.w, \.dw, \.rw] {
            properties[keyPath: quorum] = [.one, .quorum, .all].randomElement(using: &generator)!
        }
        var limits = LaneLimits()
        limits.operations = 12
        limits.listings = 2
        let entry = PropertiesEntry(
            scope: .type(ByteBuffer()),
            versioned: VersionedProperties(
                properties: properties, stamp: HybridTimestamp(rawValue: 1), setBy: node))
        coordinator = Coordinator(
            configuration: LaneConfiguration(
                node: node, lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: 1),
                hashSeed: HashSeed(rawValue: 42), limits: limits),
            placement: Placement(ring), properties: PropertiesTable([entry]))
    }

    mutating func run(steps: Int) {
        for peer in 2...5 { step { $0.peerUp(NodeID(rawValue: UInt64(peer)), $1, &$2) } }
        for _ in 0..<steps { random() }
        // Silence: every deadline passes.
        for _ in 0..<8 {
            now.monotonic = now.monotonic.advanced(by: .seconds(3))
            step { $0.tick($1, &$2) }
            for request in open.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
                step { $0.listContinue(request, $1, &$2) }
            }
        }
        for (request, isOpen) in open where isOpen { violations.append("\(request) was never answered") }
        if !coordinator.isIdle { violations.append("operations are left") }
        if let due = coordinator.nextDeadline { violations.append("a timer is left at \(due)") }
    }

    private mutating func random() {
        switch Int.random(in: 0..<20, using: &generator) {
        case 0..<5: request()
        case 5..<15: answer()
        case 15:
            let request = RequestID(rawValue: .random(in: 0...requests, using: &generator))
            open[request] = open[request].map { _ in false }
            step { $0.cancel(request) }
        case 16:
            let request = RequestID(rawValue: .random(in: 0...requests, using: &generator))
            step { $0.listContinue(request, $1, &$2) }
        case 17:
            let peer = NodeID(rawValue: .random(in: 2...5, using: &generator))
            if Bool.random(using: &generator) {
                step { $0.peerDown(peer, $1, &$2) }
            } else {
                step { $0.peerUp(peer, $1, &$2) }
            }
        case 18: forward()
        default:
            now.monotonic = now.monotonic.advanced(by: .milliseconds(.random(in: 1...700, using: &generator)))
            step { $0.tick($1, &$2) }
        }
    }

    private mutating func request() {
        requests += 1
        let request = RequestID(rawValue: requests)
        open[request] = true
        let deadline = now.monotonic.advanced(by: .milliseconds(.random(in: 0...3_000, using: &generator)))
        let key = keys.randomElement(using: &generator)!
        switch Int.random(in: 0..<8, using: &generator) {
        case 0..<3: step { $0.client(request, .get(GetRequest(key: key)), deadline: deadline, $1, &$2) }
        case 3..<6:
            let put = put(key)
            step { $0.client(request, put, deadline: deadline, $1, &$2) }
        case 6: step { $0.client(request, .delete(DeleteRequest(key: key)), deadline: deadline, $1, &$2) }
        default:
            let list = ListRequest(subject: .keys(key.bucket))
            step { $0.list(request, list, deadline: deadline, $1, &$2) }
        }
    }

    private mutating func put(_ key: ObjectKey) -> ClientRequest {
        var put = PutRequest(key: key, metadata: ByteBuffer(), value: ByteBuffer(string: "x"))
        put.condition = Int.random(in: 0..<4, using: &generator) == 0 ? .ifNoneMatch : nil
        put.returnedBody = .random(using: &generator)
        return .put(put)
    }

    private mutating func forward() {
        let key = keys.randomElement(using: &generator)!
        let message = ForwardedWrite(
            operation: OperationID(lane: 0, number: .random(in: 1...40, using: &generator)),
            incarnation: Incarnation(rawValue: 7), request: put(key), properties: coordinator.properties[key.bucket],
            remaining: .milliseconds(.random(in: 0...2_000, using: &generator)))
        let peer = NodeID(rawValue: .random(in: 2...5, using: &generator))
        step { $0.received(.forward(message), from: peer, $1, &$2) }
    }

    private mutating func answer() {
        guard let index = questions.indices.randomElement(using: &generator) else { return }
        let (question, asked) = questions[index]
        if Int.random(in: 0..<5, using: &generator) > 0 { questions.remove(at: index) }
        // Now and then from somebody else.
        let from = Int.random(in: 0..<10, using: &generator) == 0 ? NodeID(rawValue: 3) : asked
        switch question {
        case .localRead(let read), .send(.read(let read, _), _):
            let outcome = readOutcome(read)
            reads[read.operation, default: []].insert(from)
            if from == node {
                let reply: VnodeReply = Int.random(in: 0..<4, using: &generator) == 0 ? .deferred : .read(outcome)
                step { $0.replied(read.operation, reply, $1, &$2) }
            } else {
                step { $0.received(.readResult(read.operation, outcome), from: from, $1, &$2) }
            }
        case .localWrite(let write), .send(.write(let write), _):
            let outcome = writeOutcome(write)
            if outcome == .stored { acknowledged[write.operation, default: []].insert(from) }
            if from == node {
                step { $0.replied(write.operation, .wrote(outcome), $1, &$2) }
            } else {
                step { $0.received(.wrote(write.operation, outcome), from: from, $1, &$2) }
            }
        case .mint(let mint):
            if Int.random(in: 0..<6, using: &generator) == 0 {
                step { $0.replied(mint.operation, .refused(.overloaded), $1, &$2) }
                return
            }
            let minted = minted(mint)
            step { $0.replied(mint.operation, .minted(minted), $1, &$2) }
            if Int.random(in: 0..<4, using: &generator) > 0 {
                acknowledged[mint.operation, default: []].insert(node)
                step { $0.replied(mint.operation, .mintSynced, $1, &$2) }
            }
        case .send(.forward(let forward), _):
            let answer = WriteAnswer.indeterminate(copies: 1, needed: 2)
            step { $0.received(.forwarded(forward.operation, answer), from: from, $1, &$2) }
        case .send(.page(let page), _):
            let more = ByteBuffer(integer: UInt64.random(in: 0..<4, using: &generator))
            let outcome: PageOutcome =
                switch Int.random(in: 0..<5, using: &generator) {
                case 0: .failed(.unreadable)
                case 1: .page(items: [ByteBuffer(string: "k")], resume: more)
                case 2: .page(items: [], resume: more)
                default: .page(items: [ByteBuffer(string: "k")], resume: nil)
                }
            step { $0.received(.pageResult(page.operation, outcome), from: from, $1, &$2) }
        default: break
        }
    }

    private mutating func readOutcome(_ read: ReplicaRead) -> ReadOutcome {
        let body = object().encoded
        let hash = HashSeed(rawValue: 42).contentHash(key: read.key, body: body)
        switch (Int.random(in: 0..<8, using: &generator), read.want) {
        case (0, _): return .absent
        case (1, _): return .failed(.unreadable)
        case (2, _): return .failed(.overloaded)
        case (3, _): return .object(ByteBuffer(string: "garbage"))
        case (4, .unless(let known)): return .hash(known)
        case (_, .hash): return .hash(hash)
        default: return .object(body)
        }
    }

    private mutating func writeOutcome(_ write: ReplicaWrite) -> WriteOutcome {
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: .failed(.overloaded)
        case 1 where write.dot != nil:
            .superseded(by: HybridTimestamp(rawValue: .random(in: 1...99, using: &generator)))
        default: .stored
        }
    }

    /// One of a few objects, as replicas that have heard different things hold them.
    private mutating func object() -> VersionedObject {
        let objects = [
            "{A:1} A:1=x@5", "{A:2} A:2=y@6", "{B:1} B:1=z@7", "{A:1 B:1} A:1=x@5 B:1=z@7", "{A:2}",
            "lww {A:1} A:1=x@5", "lww {A:2 B:1} A:2=†@9",
        ]
        return ObjectNotation().object(objects.randomElement(using: &generator)!)
    }

    private mutating func minted(_ mint: MintRequest) -> MintedWrite {
        let object = ObjectNotation().object(mint.mode == .lww ? "lww {A:1} A:1=x@5" : "{A:1} A:1=x@5")
        return MintedWrite(object: object, body: object.encoded, dot: object.siblings[0].dot)
    }

    private mutating func step(_ event: (inout Coordinator, Now, inout [CoordinatorEffect]) -> Void) {
        var effects: [CoordinatorEffect] = []
        event(&coordinator, now, &effects)
        coordinator.turnEnded()
        for effect in effects { take(effect) }
        if questions.count > 60 { questions.removeFirst(questions.count - 60) }
        if coordinator.openCount > 12 { violations.append("\(coordinator.openCount) operations are open") }
    }

    private mutating func step(_ event: (inout Coordinator) -> Void) {
        step { coordinator, _, _ in event(&coordinator) }
    }

    private mutating func take(_ effect: CoordinatorEffect) {
        switch effect {
        case .localRead, .localWrite, .mint: questions.append((effect, node))
        case .send(.forwarded, _), .observed: break
        case .send(_, let peer): questions.append((effect, peer))
        case .answer(let request, let answer):
            finish(request)
            check(answer)
        case .listed(_, .items): break
        case .listed(let request, .done), .listed(let request, .paused), .listed(let request, .failed): finish(request)
        }
    }

    private mutating func finish(_ request: RequestID) {
        if !answered.insert(request).inserted { violations.append("\(request) was answered twice") }
        if open[request] != true { violations.append("\(request) was answered after its client had gone") }
        open[request] = false
    }

    private mutating func check(_ answer: ClientAnswer) {
        guard case .write(.ok(let participation, _)) = answer else { return }
        // A delete of nothing counts the replicas that were read.
        let most = max(acknowledged.values.map(\.count).max() ?? 0, reads.values.map(\.count).max() ?? 0)
        if participation.primaries > most { violations.append("ok by \(participation.primaries), \(most) said so") }
    }
}

extension ConflictMode {
    fileprivate static func random(using generator: inout SeededGenerator) -> ConflictMode {
        allCases.randomElement(using: &generator)!
    }
}

extension ReturnedBody {
    fileprivate static func random(using generator: inout SeededGenerator) -> ReturnedBody {
        [.nothing, .head, .full].randomElement(using: &generator)!
    }
}
