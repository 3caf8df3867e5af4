// The clients: each a session with one request under way at most, which keeps the contexts that it was given.

import NIOCore
import TorcModel
import TorcReplication

/// Quorums as numbers, by the bucket's properties and a request's options; the checkers' own arithmetic.
struct QuorumNumbers {
    /// Replicas that answer a read, at the least.
    var read: Int
    /// Synced copies of a put.
    var write: Int
    /// Synced copies of a delete.
    var delete: Int
    /// Of those that answer a read, or hold a write: primaries, at the least.
    var readPrimaries: Int
    var writePrimaries: Int

    /// `least`: the copies of the shortest list that was ever asked; nil: n.
    init(bucket: SimulationPlan.Bucket, options: QuorumOptions, least: Int? = nil) {
        let properties = bucket.properties
        let n = bucket.copies
        // Where the bucket's own quorums change, only what the request itself names can be relied on.
        func count(_ own: Quorum?, _ bucketQuorum: Quorum) -> Int {
            guard let quorum = own ?? (bucket.changesQuorums ? nil : bucketQuorum) else { return 0 }
            return min(quorum.count(of: least ?? n), least ?? n)
        }
        let asked = max(1, count(options.r, properties.r), count(options.pr, properties.pr))
        // A majority that holds nothing may end such a read early.
        let endsEarly =
            (options.basicQuorum ?? properties.basicQuorum) && !(options.notFoundOK ?? properties.notFoundOK)
        read = endsEarly ? min(asked, (least ?? n) / 2 + 1) : asked
        let rest = max(
            1, count(options.dw, properties.dw), count(options.pw, properties.pw),
            min(Int(options.nodeConfirms ?? properties.nodeConfirms), least ?? n))
        readPrimaries = count(options.pr, properties.pr)
        writePrimaries = count(options.pw, properties.pw)
        write = max(rest, count(options.w, properties.w))
        delete = max(rest, count(options.w ?? options.rw, properties.rw))
    }
}

/// A context that a client holds, and the values that the read showed from which it comes.
struct KnownContext {
    var context: CausalContext
    var values: [Int]
}

struct OpenRequest {
    enum Operation {
        case read(options: QuorumOptions, head: Bool, isFinal: Bool)
        /// `write`: its number in the history.
        case write(ClientRequest, write: Int)
        case list(bucket: Int, isFinal: Bool)
        case properties(bucket: Int, PropertiesChange)
    }

    var operation: Operation
    var key: Int
    var process: ProcessID
    var request: RequestID
    /// The lane that has it; −1: the control loop.
    var lane: Int
    var invoked: VirtualTime
    /// By then it must have ended.
    var due: VirtualTime
    var isCancelled = false
    var listed: [ByteBuffer] = []
    /// The other listings that its lane had when this one ended.
    var otherListings = 0
    /// The node has answered; the answer is on its way.
    var isAnswered = false
    var isFromMemory = false
    /// Writes that its answer may leave out as expired.
    var expired: Set<Int> = []
}

struct Client {
    var random: SeededGenerator
    /// By key, the newest last.
    var contexts: [Int: [KnownContext]] = [:]
    var home: Int
}

struct Workload {
    /// Contexts that a session remembers for a key.
    static let remembered = 4
    /// The client that reads everything at the end.
    static let finalReader = -1

    let plan: SimulationPlan
    private(set) var clients: [Client]
    var random: SeededGenerator
    /// Requests under way.
    var open: [ClientRequestID: OpenRequest] = [:]
    /// Client requests that were sent.
    var issued = 0
    private var nextNumber = 0

    init(plan: SimulationPlan, random: SeededGenerator) {
        self.plan = plan
        var random = random
        clients = (0..<plan.clientCount).map { _ in
            Client(random: random.split(), home: random.below(plan.nodeCount))
        }
        self.random = random
    }

    var indices: Range<Int> { clients.indices }

    subscript(client: Int) -> Client {
        get { clients[client] }
        _modify { yield &clients[client] }
    }

    mutating func nextID(client: Int) -> ClientRequestID {
        nextNumber += 1
        return ClientRequestID(client: client, number: nextNumber)
    }

    /// What a client hears when its connection breaks.
    func brokenConnection(_ id: ClientRequestID) -> SimulationEvent {
        switch open[id]?.operation {
        case .list: .listPiece(id, nil)
        case .properties: .propertiesAnswer(id, nil)
        case .read, .write, nil: .answer(id, nil)
        }
    }

    mutating func remember(_ context: KnownContext, client: Int, key: Int) {
        guard client >= 0 else { return }
        clients[client].contexts[key, default: []].append(context)
        if clients[client].contexts[key]!.count > Self.remembered { clients[client].contexts[key]!.removeFirst() }
    }
}
