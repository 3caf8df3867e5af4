// Which of a client's nodes is asked for a key, and which next. A pure value: what has been learned goes in, an order of
// addresses comes out; connections, clocks and locks are `NodeConnections`'.
//
//   addresses   a b c d e          as configured; who listens there each one has said
//   ring        b owns the key's partition, then e, then d
//   order       b e d  a c         its replicas in the order of the ring, then the others, beginning with the one that answered
//               e d  a c b         … when b has just failed: who fails is asked last for a while
//
// A ring that is out of date is no danger: any node takes any request and passes on what is not its own.

package import NIOCore
package import TorcModel
package import TorcWire

/// The ring, as far as a client needs it.
package struct ClientRing: Hashable, Sendable {
    package let ring: RiakRing

    package init(_ ring: RiakRing) { self.ring = ring }

    /// The names of the first `count` distinct owners from a position on: the head of the preference list, whatever a
    /// bucket's n is.
    package func owners(of position: RingPosition, count: Int) -> [String] {
        let wanted = min(count, ring.members.count)
        var found: [UInt16] = []
        var partition = ring.size.partition(of: position).index
        // Members without partitions are not met on the way around.
        for _ in 0..<ring.owners.count where found.count < wanted {
            let owner = ring.owners[partition]
            if !found.contains(owner) { found.append(owner) }
            partition = partition + 1 == ring.owners.count ? 0 : partition + 1
        }
        return found.map { ring.members[Int($0)] }
    }
}

package struct NodeRouting: Sendable {
    /// Replicas that are asked in the order of the ring before any other node: as many as most buckets keep copies.
    package static let replicasFirst = 3
    /// How long a node that failed is asked last.
    package static let pause = TimeAmount.seconds(2)
    /// How often a client that is in use asks whether the ring has changed.
    package static let refreshInterval = TimeAmount.seconds(10)
    /// After a failure it asks earlier, but not more often than that.
    package static let shortestRefreshInterval = TimeAmount.seconds(1)
    /// Addresses that are asked at once, in turn. One would be enough for the ring; all are asked who they are.
    package static let refreshWidth = 16

    package private(set) var ring: ClientRing?
    /// Who listens at each address, as it has said itself.
    package private(set) var names: [String?]
    private var places: [String: Int] = [:]
    private var pausedUntil: [NIODeadline?]
    private var anyPaused = false
    /// The address that answered last a request for no key in particular.
    private var preferred = 0

    private var refreshAt = NIODeadline.uptimeNanoseconds(0)
    private var isRefreshing = false
    private var lastRefresh: NIODeadline?
    private var nextRefreshed = 0

    package init(addresses: Int) {
        names = Array(repeating: nil, count: addresses)
        pausedUntil = Array(repeating: nil, count: addresses)
    }

    /// Every address once: in this order they are asked. `position` nil: for no key.
    package mutating func order(_ position: RingPosition?, at now: NIODeadline) -> [Int] {
        var order: [Int] = []
        order.reserveCapacity(names.count)
        if let position, let ring {
            for owner in ring.owners(of: position, count: Self.replicasFirst) {
                if let place = places[owner] { order.append(place) }
            }
        }
        let replicas = order.count
        for step in 0..<names.count {
            let place = (preferred + step) % names.count
            if !order[..<replicas].contains(place) { order.append(place) }
        }
        guard anyPaused else { return order }
        let paused = pausedUntil.map { $0.map { $0 > now } ?? false }
        anyPaused = paused.contains(true)
        return anyPaused ? order.filter { !paused[$0] } + order.filter { paused[$0] } : order
    }

    package mutating func answered(_ place: Int, forKey: Bool) {
        pausedUntil[place] = nil
        // With a ring every key has its own; without one the client stays where it is answered.
        if !forKey || ring == nil { preferred = place }
    }

    package mutating func failed(_ place: Int, at now: NIODeadline) {
        pausedUntil[place] = now + Self.pause
        anyPaused = true
        // Perhaps it has left.
        let soonest = lastRefresh.map { $0 + Self.shortestRefreshInterval } ?? now
        refreshAt = min(refreshAt, max(now, soonest))
    }

    // MARK: News of the ring

    /// The addresses to ask for the ring now; nil: it is not the time, or they are being asked.
    package mutating func beginRefresh(at now: NIODeadline, evenEarly: Bool = false) -> [Int]? {
        guard !isRefreshing, evenEarly || now >= refreshAt else { return nil }
        isRefreshing = true
        // Those first of whom it is not known who they are.
        let unknown = names.indices.filter { names[$0] == nil }
        let known = (0..<names.count).map { ($0 + nextRefreshed) % names.count }.filter { names[$0] != nil }
        let asked = Array((unknown + known).prefix(Self.refreshWidth))
        nextRefreshed = (nextRefreshed + Self.refreshWidth) % names.count
        return asked
    }

    /// The fingerprint of the ring that is known.
    package var known: UInt64? { ring?.ring.fingerprint }

    package mutating func learned(_ answer: RiakRingAnswer, from place: Int) {
        if names[place] != answer.node { unlearned(place) }
        // Two addresses of one node: the first is kept, the other is asked as one of nobody in particular.
        if places[answer.node] == nil { places[answer.node] = place }
        names[place] = answer.node
        if case .ring(let ring) = answer.news { self.ring = ClientRing(ring) }
    }

    /// It does not say, or is not there.
    package mutating func unlearned(_ place: Int) {
        guard let name = names[place] else { return }
        if places[name] == place { places[name] = nil }
        names[place] = nil
    }

    package mutating func endRefresh(at now: NIODeadline) {
        isRefreshing = false
        lastRefresh = now
        refreshAt = now + Self.refreshInterval
    }
}
