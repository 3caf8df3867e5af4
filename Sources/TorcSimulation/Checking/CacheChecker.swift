// Judges what a coordinator answers from memory (`ReadCache`): each such answer repeats one that replicas gave at the same
// node, no longer ago by that node's clock than the bucket allows, and after the last write of the key that this node has
// answered. What the replicas' answers may be is for the other checkers, so that what is repeated was true then.

package import TorcModel
package import TorcReplication

package struct CacheChecker {
    /// A key, as one process of one node answers for it.
    package struct Place: Hashable, Sendable {
        package var process: Int
        package var key: Int

        package init(process: Int, key: Int) {
            self.process = process
            self.key = key
        }
    }

    private struct Answer {
        var object: ClientObject
        var at: MonotonicTime
    }

    /// Of reads, the newest last.
    private var answers: [Place: [Answer]] = [:]

    package init() {}

    /// Replicas were asked for it. `milliseconds`: what the bucket allows.
    package mutating func read(_ object: ClientObject, at place: Place, now: MonotonicTime, milliseconds: UInt16) {
        answers[place, default: []].removeAll { Self.isOver($0, now, milliseconds) }
        answers[place, default: []].append(Answer(object: object, at: now))
    }

    /// A write is answered, whatever came of it.
    package mutating func wrote(at place: Place) { answers[place] = nil }

    package func check(
        _ object: ClientObject, at place: Place, now: MonotonicTime, milliseconds: UInt16
    ) -> Violation? {
        let known = answers[place] ?? []
        if known.contains(where: { !Self.isOver($0, now, milliseconds) && $0.object.isSame(as: object) }) { return nil }
        return Violation(
            .staleCache, key: place.key,
            "\(object.siblings.map { "\($0.dot)" }) is answered from memory, and no replica's answer of the last "
                + "\(milliseconds) ms, since the last write, was that")
    }

    private static func isOver(_ answer: Answer, _ now: MonotonicTime, _ milliseconds: UInt16) -> Bool {
        answer.at.advanced(by: .milliseconds(milliseconds)) < now
    }
}

extension ClientObject {
    /// But for what has expired for the one, and not yet for the other.
    fileprivate func isSame(as other: ClientObject) -> Bool {
        context.clock == other.context.clock
            && siblings.filter { $0.expiry == nil }.map(\.dot) == other.siblings.filter { $0.expiry == nil }.map(\.dot)
    }
}
