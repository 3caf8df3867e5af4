// What a check finds in a data folder.

/// Something in a folder that is not as a node left it.
package struct Finding: Hashable, Sendable, Encodable {
    package enum Kind: String, Hashable, Sendable, Encodable {
        case manifestDamaged = "manifest-damaged"
        case tableMissing = "table-missing"
        case tableTruncated = "table-truncated"
        case tableDamaged = "table-damaged"
        case tableLeftOver = "table-left-over"
        case logDamaged = "log-damaged"
        case logTorn = "log-torn"
        case metaDamaged = "meta-damaged"
        case familyHalfDropped = "family-half-dropped"
        case familyMissing = "family-missing"
        case familyBeyond = "family-beyond"
        case damageNoted = "damage-noted"
        case recordUnreadable = "record-unreadable"
        case recordMisplaced = "record-misplaced"
        case leavesWrong = "leaves-wrong"
        case leavesUnknown = "leaves-unknown"
        case hintUnreadable = "hint-unreadable"
        case hintOrphaned = "hint-orphaned"
    }

    /// Who mends it.
    package enum Remedy: String, Hashable, Sendable, Encodable, Comparable {
        /// The node, at its next start or while it runs: nothing need be done.
        case node
        /// `torc inspect repair`.
        case repair
        /// Nobody: the node is replaced, and its folder kept aside.
        case replace

        package static func < (lhs: Self, rhs: Self) -> Bool { lhs.order < rhs.order }

        private var order: Int {
            switch self {
            case .node: 0
            case .repair: 1
            case .replace: 2
            }
        }
    }

    package var kind: Kind
    /// A file, a family, or both.
    package var place: String
    package var detail: String
    /// What it does to the node and to those who ask it.
    package var effect: String
    package var remedy: Remedy

    package init(_ kind: Kind, _ place: String, _ detail: String, effect: String, remedy: Remedy) {
        self.kind = kind
        self.place = place
        self.detail = detail
        self.effect = effect
        self.remedy = remedy
    }
}
