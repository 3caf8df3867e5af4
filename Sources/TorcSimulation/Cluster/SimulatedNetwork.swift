// The links between nodes. A link belongs to one incarnation of each end; both ends hear that it stands, each
// notices by itself that it is gone. Within a link messages may be lost, late, out of order or doubled; a cut
// may be one-way; what is sent into a cut is lost, or held and delivered when the cut heals while the link
// still stands, as a retransmission would be.

import TorcModel
import TorcReplication

/// A message under way.
struct Envelope {
    var from: Int
    var to: Int
    /// The link that it was sent on.
    var generation: UInt64
    var message: PeerMessage
}

/// What the network asks of the event loop.
enum NetworkAction {
    case deliver(Envelope, after: Span)
    /// The observer will find out that the link of a generation is broken.
    case detect(observer: Int, peer: Int, generation: UInt64, after: Span)
    case establish(Int, Int, after: Span)
}

struct SimulatedNetwork {
    private struct Link {
        /// The link that each end believes to stand.
        var generation: UInt64?
        var isEstablishing = false
        var isCut = false
        /// Cuts overlap: a direction is open when none is left.
        var cuts = 0
        var slowness: UInt64 = 1
        var lastArrival = VirtualTime.zero
        var held: [Envelope] = []
    }

    private let plan: SimulationPlan.Network
    private let count: Int
    private var random: SeededGenerator
    /// By observer, then peer: what the observer believes, and the direction from it to the peer.
    private var links: [[Link]]
    private var isAlive: [Bool]
    private var nextGeneration: UInt64 = 1
    /// When the faults are over nothing is lost or doubled any more.
    var isCalm = false
    private(set) var lost = 0
    private(set) var duplicated = 0

    init(plan: SimulationPlan.Network, count: Int, random: SeededGenerator) {
        self.plan = plan
        self.count = count
        self.random = random
        links = Array(repeating: Array(repeating: Link(), count: count), count: count)
        isAlive = Array(repeating: false, count: count)
    }

    func stands(_ observer: Int, _ peer: Int) -> Bool { links[observer][peer].generation != nil }

    func isCurrent(_ envelope: Envelope) -> Bool {
        isAlive[envelope.to] && links[envelope.to][envelope.from].generation == envelope.generation
    }

    // MARK: Sending

    mutating func send(_ message: PeerMessage, from: Int, to: Int, at time: VirtualTime, actions: inout [NetworkAction])
    {
        guard let generation = links[from][to].generation else { return }
        let envelope = Envelope(from: from, to: to, generation: generation, message: message)
        if links[from][to].cuts > 0 {
            if random.chance(plan.heldInCutPerMille), links[from][to].held.count < 1_000 {
                links[from][to].held.append(envelope)
            } else {
                lost += 1
            }
            return
        }
        if !isCalm, random.chance(plan.lossPerMille) {
            lost += 1
            return
        }
        actions.append(.deliver(envelope, after: delay(from, to, at: time)))
        if !isCalm, random.chance(plan.duplicatePerMille) {
            duplicated += 1
            let late: UInt64 = random.chance(100) ? 50 : 1
            actions.append(.deliver(envelope, after: drawDelay() * late))
        }
    }

    /// A slow link delays by no more than this: what comes after in order would be late after the faults are over.
    private static let longestSlowDelay = Span.seconds(5)

    private mutating func delay(_ from: Int, _ to: Int, at time: VirtualTime) -> Span {
        let drawn = drawDelay()
        var delay = max(drawn, min(drawn * links[from][to].slowness, Self.longestSlowDelay))
        if plan.ordered {
            let arrival = max(time + delay, links[from][to].lastArrival + .microseconds(1))
            links[from][to].lastArrival = arrival
            delay = arrival - time
        }
        return delay
    }

    private mutating func drawDelay() -> Span {
        switch plan.delay {
        case .constant(let span): span
        case .uniform(let range): random.span(range)
        case .exponential(let mean): random.exponential(mean: mean)
        case .heavyTail(let mean, let factor):
            random.chance(30) ? random.exponential(mean: mean) * factor : random.exponential(mean: mean)
        }
    }

    // MARK: Links

    mutating func started(_ node: Int, actions: inout [NetworkAction]) {
        isAlive[node] = true
        for peer in 0..<count where peer != node { establish(node, peer, actions: &actions) }
    }

    /// The process is gone: its peers notice one by one, now or after a while.
    mutating func stopped(_ node: Int, actions: inout [NetworkAction]) {
        isAlive[node] = false
        for peer in 0..<count where peer != node {
            links[node][peer].generation = nil
            links[node][peer].held = []
            detect(peer, node, actions: &actions)
        }
    }

    private mutating func detect(_ observer: Int, _ peer: Int, actions: inout [NetworkAction]) {
        guard let generation = links[observer][peer].generation else { return }
        actions.append(
            .detect(observer: observer, peer: peer, generation: generation, after: random.span(plan.detection)))
    }

    /// True when the observer's link is broken and it believed it to stand until now.
    mutating func detected(
        observer: Int, peer: Int, generation: UInt64, actions: inout [NetworkAction]
    ) -> Bool {
        guard isAlive[observer], links[observer][peer].generation == generation else { return false }
        let isWhole =
            isAlive[peer] && links[peer][observer].generation == generation && links[observer][peer].cuts == 0
            && links[peer][observer].cuts == 0
        if isWhole { return false }
        links[observer][peer].generation = nil
        links[observer][peer].held = []
        if isAlive[peer], links[peer][observer].generation == generation {
            // The other end sees its connection closed, if the news gets through.
            detect(peer, observer, actions: &actions)
        }
        establish(observer, peer, actions: &actions)
        return true
    }

    private mutating func establish(_ a: Int, _ b: Int, actions: inout [NetworkAction]) {
        let (first, second) = (min(a, b), max(a, b))
        guard isAlive[a], isAlive[b], !links[first][second].isEstablishing else { return }
        links[first][second].isEstablishing = true
        actions.append(.establish(first, second, after: random.span(plan.reconnect)))
    }

    /// The ends that now have a new link, and whether each still believed in an old one.
    mutating func established(_ first: Int, _ second: Int) -> [(observer: Int, peer: Int, hadLink: Bool)] {
        links[first][second].isEstablishing = false
        guard isAlive[first], isAlive[second], links[first][second].cuts == 0, links[second][first].cuts == 0 else {
            return []
        }
        if let generation = links[first][second].generation, links[second][first].generation == generation { return [] }
        let ends = [(first, second), (second, first)].map { observer, peer in
            (observer: observer, peer: peer, hadLink: links[observer][peer].generation != nil)
        }
        for end in ends {
            links[end.observer][end.peer].generation = nextGeneration
            links[end.observer][end.peer].held = []
            // Nothing waits behind what was under way on the link before.
            links[end.observer][end.peer].lastArrival = .zero
        }
        nextGeneration += 1
        return ends
    }

    // MARK: Faults

    mutating func cut(from: Int, to: Int, actions: inout [NetworkAction]) {
        links[from][to].cuts += 1
        detect(from, to, actions: &actions)
        detect(to, from, actions: &actions)
    }

    mutating func heal(from: Int, to: Int, at time: VirtualTime, actions: inout [NetworkAction]) {
        guard links[from][to].cuts > 0 else { return }
        links[from][to].cuts -= 1
        guard links[from][to].cuts == 0 else { return }
        for envelope in links[from][to].held {
            actions.append(.deliver(envelope, after: delay(from, to, at: time)))
        }
        links[from][to].held = []
        if links[from][to].generation == nil || links[to][from].generation != links[from][to].generation {
            establish(from, to, actions: &actions)
        }
    }

    /// Everything is whole again.
    mutating func healAll(at time: VirtualTime, actions: inout [NetworkAction]) {
        isCalm = true
        for from in 0..<count {
            for to in 0..<count where to != from {
                links[from][to].slowness = 1
                if links[from][to].cuts > 0 {
                    links[from][to].cuts = 1
                    heal(from: from, to: to, at: time, actions: &actions)
                }
                establish(from, to, actions: &actions)
            }
        }
    }

    mutating func setSlowness(_ factor: UInt64, from: Int, to: Int) { links[from][to].slowness = factor }
}
