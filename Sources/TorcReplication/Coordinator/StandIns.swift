// Who stands in for a replica that does not take a write, and what stand-ins count.
//
// The fallbacks of a key are the nodes after its primaries on the ring, in that order. One keeps a hint: the
// stamped object, under the name of the primary that it is for. What counts toward W are places in the
// preference list: a place is filled by its primary, or by a fallback that keeps a hint for it; and a fallback
// fills one place at the most, however many it stands for. So W filled places are W copies on W distinct
// nodes now, and on W distinct primaries once the hints are delivered: neither side of the count is lent twice.

import TorcModel

/// The hints of one write.
struct StandIns: Sendable {
    struct Hint: Sendable {
        enum State: Sendable {
            case awaited
            case stored
            case failed
        }

        /// Its place among the fallbacks.
        let fallback: Int
        /// The place of its primary in the preference list.
        let target: Int
        var state = State.awaited
        /// It has been awaited for as long as a write is patient: another is kept beside it.
        var isLate = false
    }

    let fallbacks: [NodeID]
    private(set) var hints: [Hint] = []

    init(fallbacks: [NodeID]) { self.fallbacks = fallbacks }

    /// The next fallback for a primary: one that can be reached and keeps nothing of this write yet, or else one
    /// that keeps nothing for this primary.
    mutating func next(for target: Int, reachable: (NodeID) -> Bool) -> Int? {
        var best: (fallback: Int, load: Int)?
        for fallback in fallbacks.indices where reachable(fallbacks[fallback]) {
            var load = 0
            var isUsable = true
            for hint in hints where hint.fallback == fallback {
                load += 1
                if hint.target == target || hint.state == .failed { isUsable = false }
            }
            if isUsable, load < best?.load ?? .max { best = (fallback, load) }
        }
        guard let fallback = best?.fallback else { return nil }
        add(fallback, for: target)
        return fallback
    }

    mutating func add(_ fallback: Int, for target: Int) { hints.append(Hint(fallback: fallback, target: target)) }

    /// Something is, or may yet be, kept for it.
    func covers(_ target: Int, late: Bool = true) -> Bool {
        hints.contains { $0.target == target && ($0.state == .stored || $0.state == .awaited && (late || !$0.isLate)) }
    }

    /// Targets for which something was to be kept.
    var targets: ReplicaSet {
        var set = ReplicaSet()
        for hint in hints { set.insert(hint.target) }
        return set
    }

    /// False: nobody waits for that answer.
    mutating func settle(_ node: NodeID, _ target: Int, _ state: Hint.State) -> Bool {
        guard
            let index = hints.firstIndex(where: {
                fallbacks[$0.fallback] == node && $0.target == target && $0.state == .awaited
            })
        else { return false }
        hints[index].state = state
        return true
    }

    /// What was awaited of it will not come. The targets that it was to stand for.
    mutating func fail(_ node: NodeID) -> ReplicaSet {
        var lost = ReplicaSet()
        for index in hints.indices where fallbacks[hints[index].fallback] == node && hints[index].state == .awaited {
            hints[index].state = .failed
            lost.insert(hints[index].target)
        }
        return lost
    }

    /// The same hints, as far as their nodes have a place in another ring.
    func carried(from old: [NodeID], to replicas: [NodeID], fallbacks next: [NodeID]) -> StandIns {
        var carried = StandIns(fallbacks: next)
        for hint in hints {
            guard let fallback = next.firstIndex(of: fallbacks[hint.fallback]),
                let target = replicas.firstIndex(of: old[hint.target])
            else { continue }
            carried.hints.append(Hint(fallback: fallback, target: target, state: hint.state, isLate: hint.isLate))
        }
        return carried
    }

    mutating func growLate() {
        for index in hints.indices { hints[index].isLate = true }
    }

    /// The most places of a list, other than those in `filled`, that fallbacks fill; with `awaited` also those that
    /// may yet.
    func places(in list: ReplicaSet, beside filled: ReplicaSet, awaited: Bool = false) -> Int {
        if hints.isEmpty { return 0 }
        let counted = hints.filter { hint in
            list.contains(hint.target) && !filled.contains(hint.target)
                && (hint.state == .stored || awaited && hint.state == .awaited)
        }
        if Mutation.countFallbackTwice.isActive { return Set(counted.map(\.target)).count }
        // A maximum matching, by augmenting paths: there are seven places at the most.
        var matched: [Int: Int] = [:]
        func augment(_ target: Int, _ visited: inout ReplicaSet) -> Bool {
            for hint in counted where hint.target == target && !visited.contains(hint.fallback) {
                visited.insert(hint.fallback)
                guard let other = matched[hint.fallback] else {
                    matched[hint.fallback] = target
                    return true
                }
                if augment(other, &visited) {
                    matched[hint.fallback] = target
                    return true
                }
            }
            return false
        }
        var count = 0
        for target in targets.intersection(list) where !filled.contains(target) {
            var visited = ReplicaSet()
            if augment(target, &visited) { count += 1 }
        }
        return count
    }
}
