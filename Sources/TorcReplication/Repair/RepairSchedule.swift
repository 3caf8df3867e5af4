// Which pair is compared next. Of two co-owners the one that comes first in the preference list begins; the
// other does only when a person asks it to. Each pair has an instant at which it is due: an interval after its
// last comparison, a while after a failure, at once when a link to the peer comes up, because a node that was
// away has missed something. While copies move, a node that gets some begins with those that it gets them from, and
// what it awaits of them counts until it has completed once.

import TorcModel

struct RepairSchedule: Sendable {
    private struct Entry: Sendable {
        var pair: RepairPair
        /// This node begins the pair's exchanges.
        var isOurs: Bool
        /// Nil: only when asked to.
        var due: MonotonicTime?
        var rounds: UInt64 = 0
        var lastCompleted: WallTime?
        var lastDiffering = 0
        var failures = 0
        /// Reads may not go to the next ring before it has been completed.
        var isAwaited = false
    }

    /// Trees without records are compared this many times more seldom: there are many, and little comes to them.
    private static let patienceWithNothing = 3

    /// Ascending by pair.
    private var entries: [Entry] = []
    private let limits: RepairLimits

    init(limits: RepairLimits) { self.limits = limits }

    /// The trees that a lane's node holds, for every n that buckets ask for. What is known of pairs that stay is
    /// kept; new ones are due at once. `isNew`: it is another placement, so all that moves is still awaited.
    mutating func rebuild(
        placement: Placement, isNew: Bool, copies: [UInt8], configuration: LaneConfiguration, now: MonotonicTime
    ) {
        var known: [RepairPair: Entry] = [:]
        for entry in entries { known[entry.pair] = entry }
        entries = []
        let node = configuration.node
        for index in 0..<placement.ring.size.partitions {
            let partition = PartitionID(index)
            guard
                LaneConfiguration.lane(of: partition, laneCount: configuration.laneCount) == configuration.lane
            else { continue }
            for count in copies {
                let owners = placement.ranked(partition, copies: Int(count))
                guard let own = owners.firstIndex(of: node) else { continue }
                let sources = placement.sources(for: node, of: partition, copies: Int(count))
                for (place, peer) in owners.enumerated() where place != own {
                    let pair = RepairPair(tree: TreeID(partition: partition, copies: count), peer: peer)
                    let isSource = sources.contains(peer)
                    let isOurs = own < place || isSource
                    var entry = known[pair] ?? Entry(pair: pair, isOurs: isOurs, isAwaited: isSource)
                    entry.isOurs = isOurs
                    if isNew { entry.isAwaited = isSource }
                    if isNew, isSource { entry.due = now }
                    // Somebody may wait for one that is not ours.
                    entry.due = isOurs ? entry.due ?? now : isNew ? nil : entry.due
                    entries.append(entry)
                }
            }
        }
        entries.sort { $0.pair < $1.pair }
        awaited = entries.count { $0.isAwaited }
        awaitedAtFirst = isNew ? awaited : max(awaitedAtFirst, awaited)
    }

    /// Pairs that are awaited, and how many there were at first.
    private(set) var awaited = 0
    private(set) var awaitedAtFirst = 0

    var isEmpty: Bool { entries.isEmpty }

    /// The pair that has been due for the longest, of those whose peer can be reached. What is awaited goes first.
    func next(at now: MonotonicTime, linked: Set<NodeID>) -> RepairPair? {
        if awaited > 0, let pair = next(at: now, linked: linked, where: \.isAwaited) { return pair }
        return next(at: now, linked: linked) { _ in true }
    }

    private func next(
        at now: MonotonicTime, linked: Set<NodeID>, where isWanted: (Entry) -> Bool
    ) -> RepairPair? {
        var best: (due: MonotonicTime, pair: RepairPair)?
        for entry in entries where isWanted(entry) {
            guard let due = entry.due, due <= now, linked.contains(entry.pair.peer) else { continue }
            if best.map({ due < $0.due }) ?? true { best = (due, entry.pair) }
        }
        return best?.pair
    }

    func nextDue(linked: Set<NodeID>) -> MonotonicTime? {
        entries.lazy.filter { linked.contains($0.pair.peer) }.compactMap(\.due).min()
    }

    mutating func peerUp(_ peer: NodeID, at now: MonotonicTime) {
        for index in entries.indices where entries[index].pair.peer == peer && entries[index].isOurs {
            entries[index].due = now
            entries[index].failures = 0
        }
    }

    /// Makes pairs due that a person asks for; answers which.
    mutating func demand(_ partition: PartitionID?, at now: MonotonicTime) -> [RepairPair] {
        var asked: [RepairPair] = []
        for index in entries.indices {
            guard partition == nil || entries[index].pair.tree.partition == partition else { continue }
            entries[index].due = now
            asked.append(entries[index].pair)
        }
        return asked
    }

    /// Everything was compared and merged. `isEmpty`: there is nothing here, nor at the peer.
    mutating func completed(_ pair: RepairPair, differing: Int, isEmpty: Bool, at now: Now) {
        guard let index = index(of: pair) else { return }
        entries[index].rounds += 1
        if entries[index].isAwaited {
            entries[index].isAwaited = false
            awaited -= 1
        }
        entries[index].lastCompleted = now.wall
        entries[index].lastDiffering = differing
        entries[index].failures = 0
        let interval = isEmpty ? limits.interval * Self.patienceWithNothing : limits.interval
        entries[index].due = entries[index].isOurs ? now.monotonic.advanced(by: interval) : nil
        if Mutation.repairComparesOnce.isActive, differing == 0 { entries[index].due = nil }
    }

    /// There is more: it takes its turn again.
    mutating func gaveWay(_ pair: RepairPair, at now: MonotonicTime) {
        guard let index = index(of: pair) else { return }
        entries[index].due = now
    }

    mutating func failed(_ pair: RepairPair, differing: Int, at now: MonotonicTime) {
        guard let index = index(of: pair) else { return }
        entries[index].lastDiffering = differing
        let backoff = min(limits.firstBackoff * (1 << min(entries[index].failures, 16)), limits.lastBackoff)
        entries[index].failures += 1
        entries[index].due = entries[index].isOurs ? now.advanced(by: backoff) : nil
    }

    /// Of the pairs whose exchanges this node begins.
    var status: [RepairStatus] {
        entries.filter { $0.isOurs || $0.rounds > 0 }.map {
            RepairStatus(
                pair: $0.pair, rounds: $0.rounds, lastCompleted: $0.lastCompleted, lastDiffering: $0.lastDiffering,
                failures: $0.failures)
        }
    }

    private func index(of pair: RepairPair) -> Int? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].pair < pair { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].pair == pair ? low : nil
    }
}
