// Judges acknowledgements by what the disks hold at that moment: `ok` stands for so many nodes that hold the
// write synced, as their own or as a hint, and for so many primaries as it says; a version that a read shows is
// synced somewhere.

package import TorcModel
package import TorcReplication

package struct DurabilityChecker {
    package init() {}

    /// The nodes, as bits, whose synced copy includes a write. `copies`: what each replica's disk holds. `primaries`: that
    /// acknowledge the write, where that is not in the history yet.
    package func holders(
        of id: Int, dots: [Dot], copies: [(node: Int, object: VersionedObject?)], primaries: Int? = nil,
        in history: History
    ) -> UInt64 {
        let primaries = primaries ?? history.writes[id].needed
        var holders: UInt64 = 0
        for copy in copies {
            if let object = copy.object, holds(object, history.writes[id], dots, primaries, history) {
                holders |= 1 << UInt64(copy.node)
            }
        }
        return holders
    }

    private func holds(
        _ object: VersionedObject, _ write: WriteRecord, _ dots: [Dot], _ primaries: Int, _ history: History
    ) -> Bool {
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
        // An `lww` attempt that lost within its own turn was never seen; then what won cannot be older where both must have
        // met, except that a retry of it may have been stamped after its first attempt was acknowledged and replaced.
        if history.promises[write.key].mode == .siblings || !dots.isEmpty && !write.isRepeated { return false }
        return values.allSatisfy { value in
            let winner = history.writes[value]
            // What stand-ins helped to acknowledge may come home later, and win.
            return winner.isRepeated || winner.acknowledged.map { $0 >= write.invoked } ?? true
                || winner.needed < winner.acknowledgedCopies
                || winner.needed + primaries <= history.promises[write.key].copies
        }
    }

    /// `primaryHolders`: nodes, as bits, that hold it as their own. `places`: of the key's replicas as they are now; there
    /// may have been more when they answered.
    package func check(
        _ write: WriteRecord, holders: UInt64, needed: Int, participation: Participation, primaryHolders: UInt64? = nil,
        places: Int = .max, neededPrimaries: Int = 0, isSloppy: Bool = true
    ) -> Violation? {
        // What found nothing to delete wrote nothing.
        if write.kind == .blindDelete { return nil }
        let (primaries, fallbacks) = (participation.primaries, participation.fallbacks)
        if primaries + fallbacks < needed || primaries < neededPrimaries || fallbacks > 0 && !isSloppy {
            return Violation(
                .wrongAnswer, key: write.key,
                "\(write.name) is ok with \(primaries) primaries and \(fallbacks) fallbacks, needs \(needed), of them "
                    + "\(isSloppy ? neededPrimaries : needed) primaries")
        }
        if let primaryHolders, primaryHolders.nonzeroBitCount < min(primaries, places) {
            return Violation(
                .notDurable, key: write.key,
                "\(write.name) is ok by \(primaries) primaries, and \(primaryHolders.nonzeroBitCount) hold it synced")
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
