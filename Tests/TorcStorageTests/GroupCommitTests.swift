import Foundation
import Glibc
import StoreSupport
import Synchronization
import Testing
import TorcModel
import TorcReplication
import TorcStorage

/// What the sync thread released, by lane.
private final class Releases: Sendable {
    private let released: Mutex<[[UInt64]]>
    let failures = Mutex<[StoreError]>([])

    init(laneCount: Int) { released = Mutex(.init(repeating: [], count: laneCount)) }

    func add(_ lane: Int, _ through: BatchNumber) { released.withLock { $0[lane].append(through.rawValue) } }
    var all: [[UInt64]] { released.withLock { $0 } }

    func wait(lane: Int, through: UInt64) -> Bool {
        for _ in 0..<5000 {
            if released.withLock({ ($0[lane].last ?? 0) >= through }) { return true }
            usleep(1000)
        }
        return false
    }
}

@Suite struct GroupCommitTests {
    @Test(arguments: [Durability.synced, .buffered(interval: .milliseconds(20))])
    func everyBatchIsReleasedInOrder(durability: Durability) throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path + "/data", laneCount: 2)
        let releases = Releases(laneCount: 2)
        let commits = GroupCommit(
            store: harness.store, laneCount: 2, durability: durability, synced: { releases.add($0, $1) },
            failed: { error in releases.failures.withLock { $0.append(error) } })
        for batch in 1...150 {
            try harness.append("k\(batch)", "v")
            try harness.commit()
            commits.announce(lane: batch % 2, BatchNumber(rawValue: UInt64(batch)))
            if batch == 75 { #expect(releases.wait(lane: 1, through: 75)) }
        }
        #expect(releases.wait(lane: 0, through: 150) && releases.wait(lane: 1, through: 149))
        for lane in releases.all { #expect(lane == lane.sorted() && Set(lane).count == lane.count) }

        // What was released is in the file: a copy has it.
        copyFolder(folder.path + "/data", to: folder.path + "/copy")
        let copy = try Harness(folder.path + "/copy")
        #expect(try copy.contents() == harness.model)
        try copy.store.abandon()

        commits.stop()
        #expect(releases.failures.withLock { $0.isEmpty })
        try harness.close()
    }

    /// With which a log file is done with after some megabytes.
    private static var manyLogs: StoreOptions {
        var options = StoreOptions()
        options.leafStoreBytes = 64 << 10
        options.cacheBytes = 4 << 20
        options.memtableBytes = 2 << 20
        return options
    }

    private func write(_ batches: Int, to harness: Harness, _ commits: GroupCommit, _ releases: Releases) throws {
        let value = String(repeating: "v", count: 64 << 10)
        for batch in 1...batches {
            try harness.append("k\(batch % 50)", value)
            try harness.commit()
            commits.announce(lane: 0, BatchNumber(rawValue: UInt64(batch)))
            #expect(releases.wait(lane: 0, through: UInt64(batch)))
        }
    }

    /// Log files that only leaves needed go once these are stored, by a thread that nobody waits for.
    @Test func archivedLogsGo() throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path, options: Self.manyLogs)
        let releases = Releases(laneCount: 1)
        let commits = GroupCommit(
            store: harness.store, laneCount: 1, durability: .synced, synced: { releases.add($0, $1) },
            failed: { error in releases.failures.withLock { $0.append(error) } })
        try write(400, to: harness, commits, releases)
        func logs(_ part: String) -> [Int] {
            (try? FileManager.default.contentsOfDirectory(atPath: folder.path + part))?
                .filter { $0.hasSuffix(".log") }.compactMap { Int($0.dropLast(4)) } ?? []
        }
        // Each memtable that was written out began one; those of the last round stay.
        let highest = try #require(logs("/db").max())
        #expect(highest > 30)
        var archived = logs("/db/archive")
        for _ in 0..<1000 where archived.count > highest / 3 {
            usleep(10_000)
            archived = logs("/db/archive")
        }
        #expect(archived.count <= highest / 3, "\(archived) of \(highest)")
        commits.stop()
        #expect(releases.failures.withLock { $0.isEmpty })
        #expect(try harness.contents() == harness.model)
        try harness.store.abandon()
        // The next start finds all that it needs.
        let next = try Harness(folder.path, options: Self.manyLogs)
        #expect(next.report.leavesRebuilt.isEmpty)
        #expect(try next.contents() == harness.model)
        #expect(try next.computedLeaves() == next.leaves)
        try next.store.abandon()
    }

    /// Nothing rests on it that they go: writes are released all the same.
    @Test func anArchivedLogThatStays() throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path, options: Self.manyLogs)
        // The oldest, and none that can be removed as a file.
        let obstacle = folder.path + "/db/archive/000000.log"
        try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: true)
        let releases = Releases(laneCount: 1)
        let commits = GroupCommit(
            store: harness.store, laneCount: 1, durability: .synced, synced: { releases.add($0, $1) },
            failed: { error in releases.failures.withLock { $0.append(error) } })
        try write(200, to: harness, commits, releases)
        usleep(200_000)
        commits.stop()
        #expect(releases.failures.withLock { $0.isEmpty })
        try harness.store.sync()
        try harness.store.abandon()
        try FileManager.default.removeItem(atPath: obstacle)
        let next = try Harness(folder.path, options: Self.manyLogs)
        #expect(try next.contents() == harness.model)
        try next.store.abandon()
    }

    /// After a pause the log itself says that its end was synced; and then it rests.
    @Test func thePauseIsMarked() throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path + "/data")
        let releases = Releases(laneCount: 1)
        let commits = GroupCommit(
            store: harness.store, laneCount: 1, durability: .synced, synced: { releases.add($0, $1) },
            failed: { error in releases.failures.withLock { $0.append(error) } })
        for batch in 1...5 {
            try harness.append("k\(batch)", "v")
            try harness.commit()
            commits.announce(lane: 0, BatchNumber(rawValue: UInt64(batch)))
            #expect(releases.wait(lane: 0, through: UInt64(batch)))
        }
        usleep(200_000)
        let path = folder.path + "/copy"
        copyFolder(folder.path + "/data", to: path)
        let found = try NodeStore.inspectLog(of: path, ringSize: harness.ringSize)
        #expect(found.verdict == .serve)
        #expect(found.lastMark + 1 == found.nextSequence)
        let syncs = harness.store.statistics.logSyncs
        usleep(100_000)
        #expect(harness.store.statistics.logSyncs == syncs)
        commits.stop()
        try harness.close()
    }
}
