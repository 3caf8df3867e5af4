// What a client sees of an object.

import NIOCore
package import TorcModel

extension ClientObject {
    /// The versions that stand at the coordinator's instant: tombstones of an `lww` object and versions past
    /// their expiry are left out, and of several that one retried write made, the one with the lowest dot is
    /// shown.
    package init(_ object: VersionedObject, at instant: WallTime, headOnly: Bool) {
        var shown: [Sibling] = []
        shown.reserveCapacity(object.siblings.count)
        var writes: Set<WriteID> = []
        for sibling in object.siblings where sibling.stands(at: instant) {
            if let writeID = sibling.writeID, !writes.insert(writeID).inserted { continue }
            shown.append(sibling)
            if headOnly { shown[shown.count - 1].value = ByteBuffer() }
        }
        self.init(siblings: shown, context: CausalContext(of: object), headOnly: headOnly)
        self.instant = instant
    }
}

extension Sibling {
    /// Whether a reader sees it: it has a value and has not expired.
    func stands(at instant: WallTime) -> Bool {
        if isTombstone { return false }
        return !hasExpired(at: instant) || Mutation.showExpired.isActive
    }
}

extension WriteCondition {
    /// Why a write under this condition is refused, by what a quorum, or one replica, holds; nil when it passes.
    func refusal(by object: VersionedObject?, at instant: WallTime) -> Refusal? {
        let stands = object?.siblings.contains { $0.stands(at: instant) } ?? false
        switch self {
        case .ifNoneMatch: return stands ? .matchFound : nil
        case .ifNotModified(let clock):
            guard let object, stands else { return .notFound }
            // Nothing is here that the context had not seen. Not that the clocks are equal: of what both have seen entries
            // may have been pruned from the object since.
            return clock.dominates(object.clock) ? nil : .modified
        }
    }
}
