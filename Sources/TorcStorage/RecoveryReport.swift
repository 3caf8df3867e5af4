// What a start found, for one line in the log and for tests.

package import TorcModel

package struct RecoveryReport: Hashable, Sendable {
    /// The folder was made by this start.
    package var isNew = false
    /// The last run closed the store. Every start is a new incarnation all the same.
    package var wasClean = false
    package var logFiles = 0
    package var logBytes: UInt64 = 0
    /// Record changes that were replayed from the log.
    package var changesReplayed: UInt64 = 0
    /// What was cut off the log's end: never anything that had been synced.
    package var cut: LogCut?
    /// Leaf changes that were replayed on top of the stored leaves.
    package var leafChangesReplayed = 0
    /// Partitions whose leaves had to be computed from their records, and why.
    package var leavesRebuilt: [PartitionID: String] = [:]
    /// Records that a rebuild could not read.
    package var unreadableRecords = 0
    /// Families of partitions that the folder holds beyond those that were asked for.
    package var partitionsBeyond: [PartitionID] = []
    package var seconds = 0.0

    package init() {}
}

extension RecoveryReport: CustomStringConvertible {
    package var description: String {
        var parts: [String] = []
        if isNew {
            parts.append("made a new store")
        } else if wasClean {
            parts.append("opened after a clean stop")
        } else {
            parts.append("recovered after an unclean stop")
        }
        if !isNew {
            parts.append("replayed \(changesReplayed) changes from \(logFiles) log files of \(logBytes) bytes")
            if leafChangesReplayed > 0 { parts.append("\(leafChangesReplayed) leaf changes") }
        }
        if let cut {
            var text = "cut \(cut.bytes) unsynced bytes off the log after change \(cut.after)"
            if let kept = cut.keptIn { text += ", kept in \(kept)" }
            parts.append(text)
        }
        if !leavesRebuilt.isEmpty {
            let list = leavesRebuilt.keys.sorted().map { "\($0) (\(leavesRebuilt[$0]!))" }.joined(separator: ", ")
            parts.append("computed the leaves of \(leavesRebuilt.count) partitions anew: \(list)")
        }
        if unreadableRecords > 0 { parts.append("\(unreadableRecords) records cannot be read") }
        if !partitionsBeyond.isEmpty { parts.append("\(partitionsBeyond.count) partitions beyond this node's own") }
        let milliseconds = Int((seconds * 1000).rounded())
        return parts.joined(separator: "; ") + "; \(milliseconds) ms"
    }
}
