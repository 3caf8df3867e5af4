// The tokens that a lane was handed by the nodes it sends to. A write leaves with the newest token that had arrived
// when the lane began to read what it writes: an instant of the receiver's clock before that read.
//
// A peer counts as linked when the first token of the link has come: what is sent without one is merged only
// where it changes nothing.

import DequeModule
package import TorcModel

package struct LinkTokens: Sendable {
    /// Between two questions for a token, and until the first is asked for once more.
    static let longestInterval = Duration.seconds(1)
    static let firstInterval = Duration.milliseconds(50)

    private struct Held: Sendable {
        var arrived: MonotonicTime
        var token: LinkToken
    }

    private struct Peer: Sendable {
        var isLinked = false
        /// A link stands, and no token has come over it.
        var isPending = false
        var nextAsk = MonotonicTime.zero
        /// Ascending by arrival; of one incarnation.
        var held: Deque<Held> = []
    }

    private let incarnation: Incarnation
    private let limits: ReapingLimits
    private let interval: Duration
    private var peers: [NodeID: Peer] = [:]
    private var numbers: AskerNumbers
    package private(set) var nextDeadline: MonotonicTime?

    init(configuration: LaneConfiguration) {
        incarnation = configuration.incarnation
        limits = configuration.limits.reaping
        interval = min(Self.longestInterval, limits.maximumAge / 4)
        numbers = AskerNumbers(.reaping, lane: configuration.lane, incarnation: configuration.incarnation)
    }

    /// False: it counts as linked when its token comes.
    mutating func peerUp(_ node: NodeID, _ now: MonotonicTime, _ effects: inout [LaneEffect]) -> Bool {
        guard limits.judgesAge else { return true }
        peers[node, default: Peer()].isLinked = true
        peers[node]!.isPending = true
        ask(node, now, &effects)
        return false
    }

    mutating func peerDown(_ node: NodeID) {
        guard peers[node] != nil else { return }
        peers[node]!.isLinked = false
        peers[node]!.isPending = false
        setDeadline()
    }

    /// True: the peer counts as linked from now on. An answer counts whichever question it is to, or where answers
    /// take longer than the questions are apart none would: a token was handed out before it came, that is all.
    mutating func received(_ token: LinkToken, from node: NodeID, _ now: MonotonicTime) -> Bool {
        guard var peer = peers[node], peer.isLinked else { return false }
        if let last = peer.held.last, last.token.incarnation != token.incarnation { peer.held.removeAll() }
        let isOvertaken = peer.held.last.map { token.time < $0.token.time } ?? false
        // A token that is too old stamps nothing that would be merged.
        while let first = peer.held.first, first.arrived.advanced(by: limits.maximumAge) < now {
            peer.held.removeFirst()
        }
        if !isOvertaken { peer.held.append(Held(arrived: now, token: token)) }
        let isNew = peer.isPending
        peer.isPending = false
        peer.nextAsk = now.advanced(by: interval)
        peers[node] = peer
        setDeadline()
        return isNew
    }

    mutating func tick(_ now: MonotonicTime, _ effects: inout [LaneEffect]) {
        guard let due = nextDeadline, due <= now else { return }
        for node in peers.keys.sorted() where peers[node]!.isLinked && peers[node]!.nextAsk <= now {
            ask(node, now, &effects)
        }
    }

    private mutating func ask(_ node: NodeID, _ now: MonotonicTime, _ effects: inout [LaneEffect]) {
        peers[node]!.nextAsk = now.advanced(by: peers[node]!.isPending ? Self.firstInterval : interval)
        effects.append(.send(.askToken(numbers.nextOperation()), to: node))
        setDeadline()
    }

    private mutating func setDeadline() {
        nextDeadline = peers.values.lazy.filter(\.isLinked).map(\.nextAsk).min()
    }

    /// What is read by this node's own replicas needs no other's clock.
    func stamped(_ write: ReplicaWrite, to node: NodeID, isLocal: Bool) -> ReplicaWrite {
        guard let readAt = write.readAt else { return write }
        var stamped = write
        stamped.readAt = nil
        guard limits.judgesAge else { return stamped }
        stamped.token =
            isLocal
            ? LinkToken(incarnation: incarnation, time: readAt)
            : peers[node]?.held.last { $0.arrived <= readAt }?.token
        return stamped
    }
}
