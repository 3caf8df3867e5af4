// Judges acknowledgements by what the disks hold at that moment: `ok` stands for so many replicas that hold
// the write synced, and a version that a read shows is synced somewhere.

package import TorcModel

package struct DurabilityChecker {
    package init() {}

    /// The nodes, as bits, whose synced copy includes a write. `copies`: what each replica's disk holds.
    package func holders(
        of id: Int, dots: [Dot], copies: [(node: Int, object: VersionedObject?)], in history: History
    ) -> UInt64 {
        var holders: UInt64 = 0
        for copy in copies {
            if let object = copy.object, holds(object, history.writes[id], dots, history) {
                holders |= 1 << UInt64(copy.node)
            }
        }
        return holders
    }

    private func holds(_ object: VersionedObject, _ write: WriteRecord, _ dots: [Dot], _ history: History) -> Bool {
        let values = object.liveSiblings.compactMap { SimulatedValue.decode($0.value) }
        if write.isDelete {
            // A delete in a `siblings` bucket has no dot: what it covered is gone. A retried put may be back, and
            // so may an `lww` put that was not acknowledged yet: it is stamped again when it loses.
            return !values.contains { value in
                let covered = history.writes[value]
                let mayReturn =
                    covered.isRepeated
                    || history.promises[write.key].mode != .siblings
                        && covered.acknowledged.map { $0 > write.invoked } ?? true
                return write.covers.contains(value) && !mayReturn
            }
        }
        if dots.contains(where: { object.clock.contains($0) }) { return true }
        // An `lww` attempt that lost within its own turn was never seen; then what won cannot be older, except
        // that a retry of it may have been stamped after its first attempt was acknowledged and replaced.
        if history.promises[write.key].mode == .siblings || !dots.isEmpty && !write.isRepeated { return false }
        return values.allSatisfy {
            history.writes[$0].isRepeated || history.writes[$0].acknowledged.map { $0 >= write.invoked } ?? true
        }
    }

    package func check(_ write: WriteRecord, holders: UInt64, needed: Int, primaries: Int) -> Violation? {
        // What found nothing to delete wrote nothing.
        if write.kind == .blindDelete { return nil }
        if primaries < needed {
            return Violation(
                .wrongAnswer, key: write.key, "\(write.name) is ok with \(primaries) primaries of \(needed) needed")
        }
        if holders.nonzeroBitCount < needed {
            return Violation(
                .notDurable, key: write.key,
                "\(write.name) is ok, needs \(needed) synced copies and has \(holders.nonzeroBitCount)")
        }
        return nil
    }

    /// A version that is shown must be synced somewhere: nothing rests on what a crash may take back.
    package func check(
        shown dot: Dot, name: String, key: Int, copies: [(node: Int, object: VersionedObject?)]
    ) -> Violation? {
        if copies.contains(where: { $0.object?.clock.contains(dot) ?? false }) { return nil }
        return Violation(.notDurable, key: key, "\(name) is shown and no replica holds it synced")
    }
}
