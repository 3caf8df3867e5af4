// How many connections a client keeps to one node, and which of them takes a request. A pure value: decided under a lock,
// done after it.
//
// Requests are pipelined, so one connection serves many at once; another one is made when all have enough under way, up to
// the bound. Nothing waits here: a request that finds all full is refused, as a node with too much to do would refuse it.

package struct ConnectionPool: Hashable, Sendable {
    /// Connections to a node, at the most, whatever a configuration says.
    package static let maximumConnections = 64
    /// With so many under way on each connection another one is made. A node answers one connection in the order of asking, so
    /// that a slow request holds up those behind it.
    package static let busyRequests = 8
    /// What one connection has under way at the most. A node reads no more than 128 of one connection at once.
    package static let fullRequests = 512

    package struct ID: Hashable, Sendable { var number: UInt64 }

    package enum Choice: Hashable {
        case use(ID)
        /// To be made; requests may be given to it meanwhile.
        case connect(ID)
        case full
    }

    private struct Slot: Hashable {
        var id: ID
        var underWay = 0
    }

    private let limit: Int
    private var slots: [Slot] = []
    private var next: UInt64 = 0

    package init(limit: Int) { self.limit = max(1, min(limit, Self.maximumConnections)) }

    package var count: Int { slots.count }
    package var requests: Int { slots.reduce(0) { $0 + $1.underWay } }

    /// Counts the request as under way where it goes.
    package mutating func take() -> Choice {
        let idlest = slots.indices.min { slots[$0].underWay < slots[$1].underWay }
        if let idlest, slots[idlest].underWay < Self.busyRequests || slots.count >= limit {
            guard slots[idlest].underWay < Self.fullRequests else { return .full }
            slots[idlest].underWay += 1
            return .use(slots[idlest].id)
        }
        next += 1
        slots.append(Slot(id: ID(number: next), underWay: 1))
        return .connect(ID(number: next))
    }

    /// A request has ended.
    package mutating func release(_ id: ID) {
        guard let slot = slots.firstIndex(where: { $0.id == id }) else { return }
        slots[slot].underWay = max(0, slots[slot].underWay - 1)
    }

    /// A connection is gone, or was never made.
    package mutating func remove(_ id: ID) { slots.removeAll { $0.id == id } }
}
