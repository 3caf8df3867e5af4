// A walk through a folder's records: those that a filter admits, decoded, in the order of the ring. What cannot be read is
// counted and told, and the walk goes on behind it as far as that is possible: a look is most wanted where something is broken.

import ArgumentParser
package import NIOCore
package import TorcConsole
package import TorcModel
package import TorcStorage

/// What a walk met.
package struct WalkSummary: Sendable {
    package struct Unreadable: Sendable {
        package var family: String
        package var key: ByteBuffer
        package var problem: String
    }

    /// Entries that were read, admitted or not.
    package var entries: UInt64 = 0
    package var unreadableCount = 0
    /// The first of them.
    package var unreadable: [Unreadable] = []
    /// Families of which the rest could not be read, and what RocksDB says.
    package var broken: [(family: String, problem: String)] = []

    private static let kept = 10

    package init() {}

    package var isWhole: Bool { unreadableCount == 0 && broken.isEmpty }

    package mutating func add(_ family: StoredFamily, _ key: ByteBuffer, _ problem: any Error) {
        unreadableCount += 1
        guard unreadable.count < Self.kept else { return }
        // The caller's buffer is used again.
        unreadable.append(
            Unreadable(family: family.name, key: ByteBuffer(bytes: key.readableBytesView), problem: "\(problem)"))
    }

    /// Says on standard error what could not be read, and ends the command with status 1 then.
    func report(folder: String) throws {
        if isWhole { return }
        for entry in unreadable {
            Console.warn("\(entry.family), key \(PlainText.hex(entry.key, limit: 64)): \(entry.problem)")
        }
        if unreadableCount > unreadable.count { Console.warn("… and \(unreadableCount - unreadable.count) more") }
        for (family, problem) in broken { Console.warn("\(family): \(problem); nothing behind that was read") }
        Console.warn("what could not be read is not in the answer; 'torc inspect verify \(folder)' tells more")
        throw ExitCode.failure
    }
}

extension FolderReader {
    /// Walks all partitions, ascending. `body` answers whether to go on; it is given no more than `filter.limit` records.
    package func walkRecords(
        _ filter: RecordFilter = RecordFilter(), progress: ProgressBar? = nil,
        _ body: (StoredFamily, RecordView) throws -> Bool
    ) throws -> WalkSummary {
        var summary = WalkSummary()
        var left = filter.limit ?? .max
        defer { progress?.finish() }
        for partition in filter.partition.map({ [$0] }) ?? partitions where left > 0 {
            guard let family = try family(of: partition) else { continue }
            try walkEntries(family, progress, &summary) { key, value, summary in
                let view: RecordView
                do {
                    let name = try ObjectKey(storageKey: key)
                    guard filter.admits(name) else { return true }
                    view = try RecordView(key: name, value: value)
                } catch {
                    summary.add(family, key, error)
                    return true
                }
                guard filter.admits(view) else { return true }
                left -= 1
                guard try body(family, view) else {
                    left = 0
                    return false
                }
                return left > 0
            }
        }
        return summary
    }

    /// Walks what is kept for other nodes, by node and in the order of the ring within one.
    package func walkHints(
        _ filter: RecordFilter = RecordFilter(), target: NodeID? = nil, progress: ProgressBar? = nil,
        _ body: (HintView) throws -> Bool
    ) throws -> WalkSummary {
        var summary = WalkSummary()
        guard let family = hintsKept else { return summary }
        var left = filter.limit ?? .max
        defer { progress?.finish() }
        let start = target.map { Self.hintKey($0) }
        let end = target.flatMap { $0.rawValue == .max ? nil : Self.hintKey(NodeID(rawValue: $0.rawValue + 1)) }
        try walkEntries(family, from: start, before: end, progress, &summary) { key, value, summary in
            let hint: HintView
            do { hint = try HintView(storageKey: key, value: value) } catch {
                summary.add(family, key, error)
                return true
            }
            let place = identity.ringSize.partition(of: hint.view.key.position)
            guard filter.partition.map({ $0 == place }) ?? true, filter.admits(hint.view.key), filter.admits(hint.view)
            else { return true }
            left -= 1
            guard try body(hint) else { return false }
            return left > 0
        }
        return summary
    }

    /// Steps of this size between two words to a progress bar.
    private static let stride: UInt64 = 1_000

    private func walkEntries(
        _ family: StoredFamily, from start: ByteBuffer? = nil, before end: ByteBuffer? = nil, _ progress: ProgressBar?,
        _ summary: inout WalkSummary, _ body: (ByteBuffer, ByteBuffer, inout WalkSummary) throws -> Bool
    ) throws {
        var pending: UInt64 = 0
        do {
            try walk(family, from: start, before: end) { key, value in
                summary.entries += 1
                pending += 1
                if pending == Self.stride {
                    progress?.advance(by: pending)
                    pending = 0
                }
                return try body(key, value, &summary)
            }
        } catch let error as StoreError {
            summary.broken.append((family.name, "\(error)"))
        }
        progress?.advance(by: pending)
    }

    /// The nodes for which something is kept, ascending: a step for each.
    package func hintTargets() throws -> [NodeID] {
        guard let family = hintsKept else { return [] }
        var targets: [NodeID] = []
        var next: NodeID? = NodeID(rawValue: 0)
        while let from = next {
            next = nil
            try walk(family, from: Self.hintKey(from)) { key, _ in
                var reader = key
                guard let target = reader.readInteger(as: UInt64.self) else { return true }
                targets.append(NodeID(rawValue: target))
                if target < .max { next = NodeID(rawValue: target + 1) }
                return false
            }
        }
        return targets
    }
}
