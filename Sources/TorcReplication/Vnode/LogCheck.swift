// What a store's log says after a stop, clean or not: whether the node may serve, and from which point.
//
// A log is a row of batches, each with the number of its first change (`sequence`) and how many changes it
// holds; numbers run on without a hole. Each batch also carries a mark: the sequence through which the log
// was on disk when the batch was written. Whatever lies at or below a mark was perhaps acknowledged; what
// lies above every mark certainly was not promised to survive by anything that the log can tell.
//
//   intact to the end                                  -> serve
//   damage above the last mark                         -> cut there: a point in time, nothing synced is lost
//   damage at or below a mark that stands after it     -> refuse: acknowledged writes are gone, in silence
//
// Marks are gathered from everything that can still be read, damage or not: a batch behind the damage is
// what proves that the damaged part had been synced. A hole in the numbers (a lost file) is damage. What stands
// behind damage may be bytes of a client's value that look like a batch: the store hands on no mark of one that
// it cannot tell from its own.
// A sync is followed by a mark in the log within moments, so that the proof stands when the writers pause.

import TorcModel

/// One thing found in a log, in log order.
package enum LogFinding: Hashable, Sendable {
    /// A readable batch. A batch may hold no change: a mark alone.
    case batch(sequence: UInt64, count: UInt64, syncedThrough: UInt64?)
    /// Bytes that are no batch.
    case damage
}

package enum LogVerdict: Hashable, Sendable {
    case serve
    /// Keep every change through this sequence, remove what follows.
    case cut(after: UInt64)
    /// The first change that is missing, and the last that is known to have been synced.
    case refuse(damageAt: UInt64, lastMark: UInt64)
}

/// Judges a log, finding by finding.
package struct LogCheck: Hashable, Sendable {
    /// The sequence that the next batch must have; nil before the first batch of a log whose start is not known.
    package private(set) var expected: UInt64?
    /// The first change that cannot be had.
    package private(set) var damagedAt: UInt64?
    /// The largest mark anywhere in the log.
    package private(set) var lastMark: UInt64 = 0

    /// `start`: the sequence that the log must begin with, where that is known from elsewhere. When it is not,
    /// damage ahead of the first readable batch counts as the loss of everything.
    package init(start: UInt64? = nil) { expected = start }

    /// The log is sound so far: what comes next will survive.
    package var isIntact: Bool { damagedAt == nil }

    package mutating func add(_ finding: LogFinding) {
        switch finding {
        case .damage:
            if damagedAt == nil { damagedAt = expected ?? 1 }
        case .batch(let sequence, let count, let syncedThrough):
            if damagedAt == nil, let expected, sequence != expected { damagedAt = expected }
            if damagedAt == nil { expected = sequence &+ count }
            if let syncedThrough { lastMark = max(lastMark, syncedThrough) }
        }
    }

    package var verdict: LogVerdict {
        guard let damagedAt else { return .serve }
        return damagedAt <= lastMark && !Mutation.cutBelowSyncMark.isActive
            ? .refuse(damageAt: damagedAt, lastMark: lastMark) : .cut(after: damagedAt == 0 ? 0 : damagedAt - 1)
    }

    package static func verdict(of findings: some Sequence<LogFinding>, start: UInt64? = nil) -> LogVerdict {
        var check = LogCheck(start: start)
        for finding in findings { check.add(finding) }
        return check.verdict
    }
}
