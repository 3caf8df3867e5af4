// Judges what a read showed, while the run goes on.
//
// For every read, whatever its quorum: values that were written to this key and not refused, each once, no two
// of which one replaced the other (an object is one merged state, and a state that has seen a write has seen
// what it replaced). For a strict read, one whose primaries meet those of an acknowledged write: that write is
// shown or replaced, and what it replaced is not shown. Only primaries count here, of a read and of a write:
// what stand-ins made up for is promised nothing until it has been delivered. Both together cover "read your
// writes" and, with the write-back of quorum reads, "monotonic reads", for one session and across sessions.

package struct ReadChecker {
    package init() {}

    package func check(_ read: ReadObservation, in history: History) -> Violation? {
        let promise = history.promises[read.key]
        if let violation = checkValues(read, history) { return violation }
        switch promise.mode {
        case .changing:
            return nil
        case .siblings:
            return checkSiblings(read, history, promise)
        case .lww:
            return checkRegister(read, history, promise)
        }
    }

    /// Whether two such reads, one after the other, may not go back in time: before the first was answered,
    /// `writeQuorum` replicas held what it showed.
    package func isStrict(_ read: ReadObservation, _ promise: KeyPromise) -> Bool {
        read.quorum + promise.writeQuorum > promise.copies
    }

    private func checkValues(_ read: ReadObservation, _ history: History) -> Violation? {
        var seen: Set<Int> = []
        for id in read.values {
            guard history.writes.indices.contains(id), history.writes[id].key == read.key,
                history.writes[id].kind == .put
            else { return Violation(.inventedValue, key: read.key, "v\(id) was never put to this key") }
            if history.writes[id].outcome == .refused {
                return Violation(.refusedValue, key: read.key, "v\(id) is shown, and its put was refused")
            }
            if !seen.insert(id).inserted {
                return Violation(.duplicatedWrite, key: read.key, "v\(id) is shown twice in \(read.list)")
            }
        }
        return nil
    }

    private func checkSiblings(_ read: ReadObservation, _ history: History, _ promise: KeyPromise) -> Violation? {
        for id in read.values where !history.writes[id].isRepeated {
            for successor in history.successors(of: id) {
                if read.values.contains(successor) {
                    return Violation(
                        .falseSibling, key: read.key, "v\(id) is shown beside v\(successor), which replaced it")
                }
                let write = history.writes[successor]
                if !promise.forgets, let acknowledged = write.acknowledged, acknowledged < read.invoked,
                    write.needed + read.quorum > promise.copies
                {
                    return Violation(
                        .staleRead, key: read.key,
                        "v\(id) is shown, although \(write.name) replaced it and was acknowledged at \(acknowledged)")
                }
            }
        }
        if promise.forgets { return nil }
        let accounted = history.accounted(
            key: read.key, values: read.values, before: read.ended, expired: read.expired)
        for (place, id) in history.writesByKey[read.key].enumerated() where !accounted[place] {
            if let violation = missing(history.writes[id], read, promise) { return violation }
        }
        return nil
    }

    /// Why a read had to account for a write that it does not show.
    private func missing(_ write: WriteRecord, _ read: ReadObservation, _ promise: KeyPromise) -> Violation? {
        if let acknowledged = write.acknowledged, acknowledged < read.invoked,
            write.needed + read.quorum > promise.copies
        {
            let whose = write.client == read.client ? "the client's own " : ""
            return Violation(
                .staleRead, key: read.key,
                "\(read.list) misses \(whose)\(write.name), acknowledged at \(acknowledged) by \(write.needed)")
        }
        if isStrict(read, promise), let shown = write.shownByStrictRead, shown < read.invoked {
            return Violation(
                .staleRead, key: read.key, "\(read.list) misses \(write.name), which a quorum read showed at \(shown)")
        }
        return nil
    }

    private func checkRegister(_ read: ReadObservation, _ history: History, _ promise: KeyPromise) -> Violation? {
        if read.values.count > 1 {
            return Violation(.falseSibling, key: read.key, "an lww object shows \(read.list)")
        }
        if promise.forgets { return nil }
        let writes = history.writesByKey[read.key].map { history.writes[$0] }
        let standing = read.values.first.map { history.writes[$0] }
        for write in writes {
            let acknowledgedBefore =
                write.acknowledged.map { $0 < read.invoked && write.needed + read.quorum > promise.copies } ?? false
            let shownBefore =
                isStrict(read, promise) && (write.shownByStrictRead.map { $0 < read.invoked } ?? false)
            guard acknowledgedBefore || shownBefore else { continue }
            if let standing {
                // The one that stands was acknowledged before this one began: it cannot have won.
                if standing.id != write.id, write.isAcknowledged, write.kind != .blindDelete, !standing.isRepeated,
                    let ended = standing.acknowledged, ended < write.invoked,
                    standing.needed + write.needed > promise.copies
                {
                    return Violation(
                        .lostUpdate, key: read.key,
                        "\(standing.name), acknowledged at \(ended), stands; \(write.name) began later, at \(write.invoked)"
                    )
                }
            } else if !write.isDelete, !read.expired.contains(write.id),
                !writes.contains(where: { mayHide($0, write, read, promise) })
            {
                return Violation(
                    .staleRead, key: read.key, "nothing is shown, and no delete can have beaten \(write.name)")
            }
        }
        return nil
    }

    /// A delete, or a put that has expired.
    private func mayHide(
        _ delete: WriteRecord, _ write: WriteRecord, _ read: ReadObservation, _ promise: KeyPromise
    ) -> Bool {
        guard delete.isDelete || read.expired.contains(delete.id), delete.mayStand, delete.invoked < read.ended else {
            return false
        }
        guard let ended = delete.acknowledged, !delete.isRepeated, write.isAcknowledged,
            delete.needed + write.needed > promise.copies
        else {
            return true
        }
        return ended >= write.invoked
    }
}

extension ReadObservation {
    package var list: String { "{" + values.map { "v\($0)" }.joined(separator: " ") + "}" }
}

extension WriteRecord {
    package var name: String {
        switch kind {
        case .put: "v\(id)"
        case .delete: "delete d\(id)"
        case .blindDelete: "blind delete d\(id)"
        }
    }
}
