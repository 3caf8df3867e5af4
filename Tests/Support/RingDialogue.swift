// A few agreement machines, nodes 1, 2, 3 …, with a network and disks that do what they are told: messages wait until
// they are delivered, stores until they are done.

package import TorcModel
package import TorcReplication

package struct RingDialogue {
    package var machines: [UInt64: RingAgreement] = [:]
    /// In the order in which they were sent.
    package var messages: [(from: UInt64, to: UInt64, message: RingMessage)] = []
    package var answers: [RingAnswer] = []
    package var observations: [RingObservation] = []
    /// By node, what was last asked to be stored, and what is.
    package var stores: [UInt64: [(number: UInt64, record: RingRecord)]] = [:]
    package var disks: [UInt64: RingRecord] = [:]
    package var now = MonotonicTime(nanoseconds: 1_000_000_000)
    /// Stores are done as soon as they are asked for.
    package var storesAtOnce = true
    package let first: ClusterState

    package init(members: UInt64, others: UInt64 = 0) {
        first = ClusterState(
            declared: try! .declared(
                members: (1...members).map { ClaimMember(node: NodeID(rawValue: $0)) }, size: RingSize(partitions: 16)!)
        )
        for node in 1...members + others { start(node) }
    }

    /// With what is on its disk.
    package mutating func start(_ node: UInt64) {
        machines[node] = RingAgreement(
            node: NodeID(rawValue: node), start: RingStart(record: disks[node] ?? RingRecord(state: first), seed: node))
        stores[node] = []
    }

    package mutating func handle(_ event: RingEvent, at node: UInt64) {
        var effects: [RingEffect] = []
        machines[node]!.handle(event, now: now, effects: &effects)
        for effect in effects {
            switch effect {
            case .store(let number, let record): stores[node]!.append((number, record))
            case .send(let message, let peer): messages.append((node, peer.rawValue, message))
            case .answer(_, let answer): answers.append(answer)
            case .observed(let observation): observations.append(observation)
            case .installed: break
            }
        }
        if storesAtOnce { finishStores(at: node) }
    }

    package mutating func finishStores(at node: UInt64) {
        while let (number, record) = stores[node]!.first {
            stores[node]!.removeFirst()
            disks[node] = record
            handle(.stored(number), at: node)
        }
    }

    /// The messages that wait are delivered where `passes` holds, the others are lost; and so on with what follows.
    package mutating func deliver(_ passes: (UInt64, UInt64, RingMessage) -> Bool = { _, _, _ in true }) {
        while !messages.isEmpty {
            let (from, to, message) = messages.removeFirst()
            if passes(from, to, message), machines[to] != nil {
                handle(.message(from: NodeID(rawValue: from), message), at: to)
            }
        }
    }

    package mutating func order(_ order: RingOrder, at node: UInt64 = 1) {
        handle(.order(RequestID(rawValue: 1), order), at: node)
    }

    package mutating func commit(at node: UInt64 = 1, seconds: Int64 = 10) {
        order(.commit(plan: nil, deadline: now.advanced(by: .seconds(seconds))), at: node)
    }

    package mutating func pass(_ time: Duration, at nodes: UInt64...) {
        now = now.advanced(by: time)
        for node in nodes { handle(.tick, at: node) }
    }

    /// Everybody says that what moves has arrived, until nothing moves any more.
    package mutating func arrive(except absent: UInt64...) {
        let nodes = machines.keys.sorted().filter { !absent.contains($0) }
        for node in nodes {
            for peer in nodes where peer != node { handle(.peerUp(NodeID(rawValue: peer)), at: node) }
        }
        deliver { from, to, _ in !absent.contains(from) && !absent.contains(to) }
        for _ in 0..<2 {
            for node in nodes where machines[node]!.state.transition != nil { arrived(at: node) }
            deliver { from, to, _ in !absent.contains(from) && !absent.contains(to) }
        }
    }

    package mutating func arrived(at node: UInt64) {
        var report = HandoffReport()
        report.compares = .max
        handle(.progress(report), at: node)
    }

    package func epoch(_ node: UInt64) -> UInt64 { machines[node]!.state.ring.epoch }

    package func phase(_ node: UInt64) -> Placement.Phase? { machines[node]!.state.transition?.phase }

    package static func joiner(_ node: UInt64) -> StagedChange {
        .join(ClusterMember(claim: ClaimMember(node: NodeID(rawValue: node))))
    }
}

extension ClusterState {
    /// When what moves has moved.
    package var atRest: ClusterState {
        var state = self
        while state.transition != nil { state = state.advanced() }
        return state
    }
}
