// Judges what one node holds of the others, before and after a turn, and what it tells.

import TorcModel
package import TorcReplication

package struct MembershipChecker {
    package init() {}

    /// What is held of a member never goes back, whatever arrives and in whatever order.
    package func check(_ before: [Member], _ after: [Member]) -> Violation? {
        // Those that are members no more are forgotten.
        let present = Dictionary(uniqueKeysWithValues: after.map { ($0.node, $0) })
        for old in before {
            guard let new = present[old.node], (old.incarnation, old.state) > (new.incarnation, new.state) else {
                continue
            }
            return Violation(
                .wrongMembership,
                "\(old.node) was \(old.state) in incarnation \(old.incarnation), and is \(new.state) in \(new.incarnation)"
            )
        }
        return nil
    }

    /// An incarnation that is told is on disk, or the next process would tell it again.
    package func check(_ told: MembershipMessage, durable: MembershipIncarnation) -> Violation? {
        told.incarnation <= durable
            ? nil
            : Violation(.wrongMembership, "incarnation \(told.incarnation) is told, and \(durable) is on disk")
    }
}
