// Judges what hints leave behind when all of them have been delivered, before any read could repair: every
// write that was acknowledged stands on as many primaries as its acknowledgement counted nodes. A stand-in's
// copy was lent for as long as its hint was kept; delivery has to pay it back.

package import TorcModel

package struct HintChecker {
    package init() {}

    /// `copies`: what the disk of each primary holds as its own. `least`: the copies of the shortest preference list
    /// that the key has had since, as where nodes left; none of them keeps more.
    package func check(
        _ write: WriteRecord, dots: [Dot], copies: [(node: Int, object: VersionedObject?)], least: Int,
        in history: History
    ) -> Violation? {
        guard write.isAcknowledged, write.kind != .blindDelete else { return nil }
        // An `lww` write that lost before anybody saw it, or its delete, leaves nothing to be told by.
        if history.promises[write.key].mode != .siblings, write.isDelete || dots.isEmpty { return nil }
        let holders = DurabilityChecker().holders(of: write.id, dots: dots, copies: copies, in: history)
        guard holders.nonzeroBitCount < min(write.acknowledgedCopies, least) else { return nil }
        return Violation(
            .lostWrite, key: write.key,
            "\(write.name) was acknowledged with \(write.acknowledgedCopies) copies; all hints are delivered, and "
                + "\(holders.nonzeroBitCount) primaries hold it")
    }
}
