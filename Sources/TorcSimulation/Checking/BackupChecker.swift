// Judges a backup. What the copies of all members hold of a key, hints among it, is merged as the nodes of a restored
// cluster merge it; that must be what a read of all replicas may show which began when the backup did. What was
// acknowledged before stands, by whomever it was held, and nothing that was replaced or deleted before comes back.

package import TorcModel
import TorcReplication

package struct BackupChecker {
    package init() {}

    /// `copies`: every record of the key in the members' copies. `ended`: when the last of them had been taken.
    package func check(
        key: Int, copies: [VersionedObject], replicas: Int, began: VirtualTime, ended: VirtualTime,
        expired: Set<Int> = [], in history: History
    ) -> Violation? {
        var values: [Int] = []
        if var merged = copies.first {
            for copy in copies.dropFirst() { merged.merge(copy) }
            // As if nothing had expired: what has may be missing, and may be there.
            let answer = ClientObject(merged, at: WallTime(microseconds: 0), headOnly: false)
            values = answer.siblings.compactMap { SimulatedValue.decode($0.value) }
        }
        guard
            var found = FinalChecker().check(
                key: key, values: values, replicas: replicas, expired: expired, since: began, at: ended, in: history)
        else { return nil }
        found.message = "in the backup that began at \(began): \(found.message)"
        return found
    }
}
