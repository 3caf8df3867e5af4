// Judges what stands when all faults are over and every replica has been read and repaired.

package struct FinalChecker {
    package init() {}

    /// `values`: what a read of so many replicas shows of a key, again and again the same. `began`: what was
    /// acknowledged later need not be in it; nil: nothing was.
    package func check(
        key: Int, values: [Int], replicas: Int, expired: Set<Int> = [], since began: VirtualTime? = nil,
        at time: VirtualTime, in history: History
    ) -> Violation? {
        let promise = history.promises[key]
        let read = ReadObservation(
            key: key, client: -1, invoked: began ?? time, ended: time, values: values, quorum: replicas,
            expired: expired)
        if let violation = ReadChecker().check(read, in: history) { return violation }
        switch promise.mode {
        case .changing:
            return values.count > 1 ? nil : checkSomethingStands(read, history)
        case .lww:
            return checkSomethingStands(read, history)
        case .siblings:
            break
        }
        let accounted = history.accounted(key: key, values: values, before: time, expired: expired)
        for (place, id) in history.writesByKey[key].enumerated() where !accounted[place] {
            let write = history.writes[id]
            if isOwed(write, read) {
                return Violation(
                    .lostWrite, key: key,
                    "\(write.name), acknowledged at \(write.acknowledged!), is not in \(read.list)")
            }
        }
        for id in values where !history.writes[id].isRepeated {
            for successor in history.successors(of: id) {
                let write = history.writes[successor]
                if isOwed(write, read) {
                    return Violation(
                        .falseSibling, key: key,
                        "v\(id) stands, although \(write.name) replaced it and was acknowledged")
                }
            }
        }
        return nil
    }

    /// It was acknowledged in time, and somebody who held it then has it still.
    private func isOwed(_ write: WriteRecord, _ read: ReadObservation) -> Bool {
        write.holders != 0 && write.acknowledged.map { $0 <= read.invoked } ?? false
    }

    /// A register that was written, and not deleted, has a value, unless it has expired.
    private func checkSomethingStands(_ read: ReadObservation, _ history: History) -> Violation? {
        let writes = history.writesByKey[read.key].map { history.writes[$0] }
        guard read.values.isEmpty,
            !writes.contains(where: { ($0.isDelete || read.expired.contains($0.id)) && $0.mayStand })
        else { return nil }
        guard let lost = writes.first(where: { isOwed($0, read) }) else { return nil }
        return Violation(
            .lostWrite, key: read.key, "\(lost.name) was acknowledged, nothing was deleted, and nothing stands")
    }
}
