// News that waits to go along with messages, least told first. An entry is a member's name alone: what is told
// is what is known of it when a message leaves, so there is never more than one entry a member, and never an
// old one.

import TorcModel

struct GossipQueue: Sendable {
    private struct Entry: Comparable, Sendable {
        var transmissions: Int
        var node: NodeID

        static func < (lhs: Entry, rhs: Entry) -> Bool {
            (lhs.transmissions, lhs.node) < (rhs.transmissions, rhs.node)
        }
    }

    /// Ascending.
    private var entries: [Entry] = []
    /// How often each of them was told.
    private var transmissions: [NodeID: Int] = [:]

    var count: Int { entries.count }

    /// There is news of a member: it is told from the beginning again.
    mutating func add(_ node: NodeID) {
        if let told = transmissions[node] { entries.remove(at: place(of: Entry(transmissions: told, node: node))) }
        insert(Entry(transmissions: 0, node: node))
    }

    /// The next names, for a message to somebody else than them. Each is forgotten after `limit` times.
    mutating func take(_ count: Int, besides receiver: NodeID, limit: Int) -> [NodeID] {
        if entries.isEmpty { return [] }
        var next = 0
        var taken: [Entry] = []
        var spared: Entry?
        while next < entries.count, taken.count < count {
            if entries[next].node == receiver { spared = entries[next] } else { taken.append(entries[next]) }
            next += 1
        }
        entries.removeFirst(next)
        if let spared { insert(spared) }
        for entry in taken {
            if entry.transmissions + 1 < limit {
                insert(Entry(transmissions: entry.transmissions + 1, node: entry.node))
            } else {
                transmissions[entry.node] = nil
            }
        }
        return taken.map(\.node)
    }

    mutating func keep(_ isMember: (NodeID) -> Bool) {
        entries.removeAll { !isMember($0.node) }
        transmissions = transmissions.filter { isMember($0.key) }
    }

    private mutating func insert(_ entry: Entry) {
        transmissions[entry.node] = entry.transmissions
        entries.insert(entry, at: place(of: entry))
    }

    /// Where it is, or would be.
    private func place(of entry: Entry) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle] < entry { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
