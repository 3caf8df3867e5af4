// Judges conditional writes that went through, as far as their condition is a promise: it is read at quorum,
// so it cannot miss what a quorum acknowledged before. Two that run side by side may both pass.

import TorcModel
package import TorcReplication

package struct ConditionChecker {
    package init() {}

    package func check(
        _ write: Int, _ request: ClientRequest, _ invoked: VirtualTime, dots: DotRegistry, expired: Set<Int> = [],
        in history: History
    ) -> Violation? {
        guard case .put(let put) = request, let condition = put.condition else { return nil }
        let record = history.writes[write]
        let promise = history.promises[record.key]
        guard promise.mode == .siblings, !promise.forgets, !record.isRepeated else { return nil }
        let known: [Int]
        switch condition {
        case .ifNoneMatch: known = []
        case .ifNotModified: known = record.covers
        }
        let majority = promise.copies / 2 + 1
        let accounted = history.accounted(
            key: record.key, values: known, before: record.acknowledged ?? invoked, expired: expired)
        for (place, id) in history.writesByKey[record.key].enumerated() where !accounted[place] && id != write {
            let other = history.writes[id]
            if isEarlier(other, than: write, dots) {
                return Violation(
                    .wrongAnswer, key: record.key,
                    "v\(write) went through its condition at a replica that had stamped \(other.name) before")
            }
            if let acknowledged = other.acknowledged, acknowledged < invoked, other.needed + majority > promise.copies {
                return Violation(
                    .wrongAnswer, key: record.key,
                    "v\(write) went through its condition, although \(other.name) was acknowledged at \(acknowledged)")
            }
        }
        return nil
    }

    /// Stamped by the same replica, in the same incarnation, before.
    private func isEarlier(_ other: WriteRecord, than write: Int, _ dots: DotRegistry) -> Bool {
        guard !other.isRepeated, let late = dots.dots(of: write).first, let early = dots.dots(of: other.id).first
        else { return false }
        return early.actor == late.actor && early.counter < late.counter
    }
}
