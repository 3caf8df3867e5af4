// What a person asks of a sound folder: hints that go, leaves that are computed anew, tables that are rewritten.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct SmallMendTests {
    private func mended(_ damaged: DamagedFolder, _ change: (inout MendPlan) -> Void) throws -> MendReport {
        let held = try DataFolder.hold(damaged.path)
        defer { held.release() }
        var plan = MendPlan()
        change(&plan)
        return try FolderMender.mend(
            held, plan, place: .copy(damaged.folder.path + "/mended"), stamp: 1, logger: quietLogger())
    }

    private func hint(_ damaged: DamagedFolder, for target: NodeID) throws {
        let (key, record) = try #require(damaged.model.first)
        var hintKey = ByteBuffer()
        hintKey.writeInteger(target.rawValue)
        hintKey.writeImmutableBuffer(key.storageKey)
        var hint = try Record(decoding: record, for: key)
        hint.hint = HintNote(target: target, since: WallTime(microseconds: 1))
        hint.header.minting = nil
        try damaged.put("hints", hintKey, hint.encoded(for: key))
    }

    @Test func hintsArePurged() throws {
        let damaged = try DamagedFolder(records: 50)
        let (first, second) = (NodeID(rawValue: 1), NodeID(rawValue: 2))
        try hint(damaged, for: first)
        try hint(damaged, for: second)
        var report = try mended(damaged) { $0.purgedTargets = [second] }
        #expect(report.recordsQuarantined == 1 && report.lostLeaves.isEmpty)
        var harness = try Harness(report.folder)
        #expect(Array(harness.hints[0].keys) == [first])
        #expect(try harness.contents() == damaged.model)
        try harness.close()
        try FileManager.default.removeItem(atPath: report.folder)
        report = try mended(damaged) { $0.purgesHints = true }
        harness = try Harness(report.folder)
        #expect(report.recordsQuarantined == 2 && harness.hints[0].isEmpty)
        try harness.close()
    }

    @Test func leavesAreComputedAnew() throws {
        let damaged = try DamagedFolder(records: 50)
        let report = try mended(damaged) { $0.untrustedLeaves = [PartitionID(2): [], PartitionID(5): []] }
        #expect(report.lostLeaves.isEmpty)
        let harness = try Harness(report.folder)
        #expect(Set(harness.report.leavesRebuilt.keys) == [PartitionID(2), PartitionID(5)])
        #expect(harness.store.lostLeaves.isEmpty)
        try harness.close()
        let again = try Harness(report.folder)
        #expect(again.report.leavesRebuilt.isEmpty)
        try again.close()
    }

    @Test func tablesAreRewritten() async throws {
        let damaged = try DamagedFolder()
        let key = try #require(
            damaged.model.keys.first { RingSize(partitions: 8)!.partition(of: $0.position).index == 1 })
        try damaged.put("p0001", key.storageKey, damaged.model[key])
        let before = try damaged.files(".sst").count
        let report = try mended(damaged) { $0.compacts = true }
        let check = try await damaged.check(report.folder)
        #expect(check.findings.isEmpty && check.summary.records == UInt64(damaged.model.count))
        #expect(check.summary.tables <= before)
    }

    /// Two in one second: the first one's quarantine holds the state that was there, and stays.
    @Test func aQuarantineIsNeverRemoved() throws {
        let damaged = try DamagedFolder(records: 50)
        let held = try DataFolder.hold(damaged.path)
        defer { held.release() }
        var plan = MendPlan()
        plan.compacts = true
        let report = try FolderMender.mend(held, plan, place: .inPlace, stamp: 1, logger: quietLogger())
        let before = try FileManager.default.contentsOfDirectory(atPath: report.quarantine + "/db")
        #expect(before.contains { $0.hasSuffix(".sst") })
        #expect(throws: StoreError.self) {
            try FolderMender.mend(held, plan, place: .inPlace, stamp: 1, logger: quietLogger())
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: report.quarantine + "/db") == before)
    }

    /// What an interrupted run left says so; anything else under that name is somebody's.
    @Test func whatIsSomebodysStays() throws {
        let damaged = try DamagedFolder(records: 50)
        let stranger = damaged.folder.path + "/mended.unfinished"
        try FileManager.default.createDirectory(atPath: stranger, withIntermediateDirectories: true)
        try Data("mine".utf8).write(to: URL(fileURLWithPath: stranger + "/notes"))
        #expect(throws: StoreError.self) { try mended(damaged) { $0.compacts = true } }
        #expect(FileManager.default.fileExists(atPath: stranger + "/notes"))
        try FileManager.default.removeItem(atPath: stranger)
        copyFolder(damaged.path, to: stranger)
        #expect(throws: StoreError.self) { try mended(damaged) { $0.compacts = true } }
        try Data().write(to: URL(fileURLWithPath: stranger + "/UNFINISHED"))
        _ = try mended(damaged) { $0.compacts = true }
        #expect(!FileManager.default.fileExists(atPath: stranger))
    }

    /// A damaged folder is for `repair` alone.
    @Test func aDamagedFolderIsRefused() throws {
        let damaged = try DamagedFolder(isClean: false)
        try damaged.flip(try #require(try damaged.files(".log").last), at: 0.5)
        #expect(throws: StoreError.self) { try mended(damaged) { $0.compacts = true } }
        #expect(!FileManager.default.fileExists(atPath: damaged.folder.path + "/mended"))
    }
}
