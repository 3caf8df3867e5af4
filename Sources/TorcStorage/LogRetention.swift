// How far back log files must be kept for the leaf deltas in them. Each lane stores the leaves of its
// partitions in turn, once a round; when a round is synced, no delta from before its beginning is needed.

import TorcModel

struct LogRetention {
    private struct Lane {
        /// The log file that was written when the lane's last synced round began.
        var floor: UInt64
        /// A finished round: the file at its beginning, and the sequence of its last write.
        var finished: (log: UInt64, through: UInt64)?
    }

    private var lanes: [Lane]

    init(laneCount: Int, log: UInt64) { lanes = .init(repeating: Lane(floor: log), count: laneCount) }

    mutating func roundFinished(lane: Int, begunIn log: UInt64, through sequence: UInt64) {
        lanes[lane].finished = (log, sequence)
    }

    /// A lane gets partitions whose leaves stand as they were in this file, and has stored nothing of them since.
    mutating func hold(lane: Int, from log: UInt64) {
        lanes[lane].floor = min(lanes[lane].floor, log)
        if let finished = lanes[lane].finished, finished.log > log { lanes[lane].finished = nil }
    }

    var laneCount: Int { lanes.count }

    /// The oldest file that is still needed, when a sync has raised it.
    mutating func synced(through sequence: UInt64) -> UInt64? {
        let before = floor
        for index in lanes.indices {
            guard let finished = lanes[index].finished, finished.through <= sequence else { continue }
            lanes[index].floor = finished.log
            lanes[index].finished = nil
        }
        return floor > before ? floor : nil
    }

    private var floor: UInt64 { lanes.map(\.floor).min() ?? 0 }
}
