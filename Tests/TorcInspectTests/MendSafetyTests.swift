// What a mend must not do: touch what is not its own, leave a part where a node could start on it, or let something count that
// may be missing.

import CRocksDB
import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct MendSafetyTests {
    private let compaction: MendPlan = {
        var plan = MendPlan()
        plan.compacts = true
        return plan
    }()

    private func mend(_ path: String, to place: MendPlace, listener: MendListener = MendListener()) throws -> MendReport
    {
        let held = try DataFolder.hold(path)
        defer { held.release() }
        return try FolderMender.mend(
            held, compaction, place: place, stamp: 1, logger: quietLogger(), listener: listener)
    }

    /// A mend to X works in X.unfinished.
    @Test(arguments: ["itself", "a link to it", "a copy of it"]) func aFolderThatIsCalledLikeAnUnfinishedOne(
        what: String
    ) throws {
        let damaged = try DamagedFolder(records: 50)
        let target = damaged.folder.path + "/target"
        let work = target + ".unfinished"
        var source = damaged.path
        switch what {
        case "itself":
            try FileManager.default.moveItem(atPath: damaged.path, toPath: work)
            source = work
        case "a link to it": try FileManager.default.createSymbolicLink(atPath: work, withDestinationPath: damaged.path)
        default: copyFolder(damaged.path, to: work)
        }
        let before = try DamagedFolder.listing(source)
        #expect(throws: StoreError.self) { try mend(source, to: .copy(target)) }
        #expect(try DamagedFolder.listing(source) == before && before.count > 5)
        if what == "a copy of it" { #expect(try DamagedFolder.listing(work).count == before.count) }
    }

    @Test func nothingServesFromWhatIsBeingMade() throws {
        let damaged = try DamagedFolder(records: 50)
        let target = damaged.folder.path + "/target"
        let copy = damaged.folder.path + "/copy"
        copyFolder(damaged.path, to: copy)
        var steps = 0
        let report = try mend(
            damaged.path, to: .copy(target),
            listener: MendListener(step: { _ in
                steps += 1
                if steps > 1 { return }
                #expect(throws: StoreError.isBackup(path: target + ".unfinished")) {
                    try Harness(target + ".unfinished")
                }
                // Nor does another take it for what an interrupted one has left.
                #expect(throws: StoreError.heldByAnotherProcess(path: target + ".unfinished", processID: getpid())) {
                    try mend(copy, to: .copy(target))
                }
            }))
        #expect(steps > 0 && report.folder == target)
        let harness = try Harness(target)
        #expect(try harness.contents() == damaged.model)
        try harness.close()
        #expect(!FileManager.default.fileExists(atPath: target + "/UNFINISHED"))
    }

    /// What was left is removed by the next, and nothing else is.
    @Test func anInterruptedMend() throws {
        let damaged = try DamagedFolder(records: 50)
        let target = damaged.folder.path + "/target"
        var isCopied = false
        _ = try mend(
            damaged.path, to: .copy(target),
            listener: MendListener(step: { _ in
                guard !isCopied else { return }
                isCopied = true
                copyFolder(target + ".unfinished", to: damaged.folder.path + "/left")
            }))
        try FileManager.default.removeItem(atPath: target)
        copyFolder(damaged.folder.path + "/left", to: target + ".unfinished")
        #expect(try mend(damaged.path, to: .copy(target)).folder == target)
        #expect(!FileManager.default.fileExists(atPath: target + ".unfinished"))
        // In place, beside a quarantine in which the state before another mend is.
        let left = damaged.path + "/quarantine-77"
        copyFolder(damaged.folder.path + "/left", to: left)
        let kept = damaged.path + "/quarantine-78"
        copyFolder(target, to: kept)
        let before = try DamagedFolder.listing(kept)
        let report = try mend(damaged.path, to: .inPlace)
        #expect(!FileManager.default.fileExists(atPath: left))
        #expect(try DamagedFolder.listing(kept) == before)
        // The state before stands in the quarantine; no node takes it for its own beside the mended one.
        #expect(!FileManager.default.fileExists(atPath: report.quarantine + "/UNFINISHED"))
        #expect(throws: StoreError.isBackup(path: report.quarantine)) { try Harness(report.quarantine) }
        #expect(try FolderReader.open(report.quarantine).partitions == FolderReader.open(target).partitions)
        let harness = try Harness(damaged.path)
        #expect(try harness.contents() == damaged.model)
        try harness.close()
    }

    @Test func foldersOfWhichOnlyANameIsGiven() throws {
        let damaged = try DamagedFolder(records: 50)
        let mended = damaged.folder.path + "/new/deep/mended"
        #expect(try mend(damaged.path, to: .copy(mended)).folder == mended)
        #expect(try FolderReader.open(mended).families.count > 5)
    }

    @Test func aRecordElsewhereIsMissingWhereItBelongs() async throws {
        let damaged = try DamagedFolder()
        let (key, record) = try #require(damaged.model.first)
        let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
        let own = layout.ringSize.partition(of: key.position)
        let other = PartitionID((own.index + 1) % 8)
        try damaged.put(FolderReader.familyName(of: other), key.storageKey, record)
        try damaged.put(FolderReader.familyName(of: own), key.storageKey, nil)
        // Without the cluster's key the leaves say nothing.
        let held = try DataFolder.hold(damaged.path)
        defer { held.release() }
        let check = try await FolderCheck.run(damaged.path, settings: NodeSettings())
        #expect(check.findings.map(\.kind) == [.recordMisplaced])
        let report = try FolderMender.mend(
            held, check.plan, place: .copy(damaged.folder.path + "/mended"), stamp: 1, logger: quietLogger())
        let harness = try Harness(report.folder)
        #expect(harness.store.lostLeaves[own] == [layout.leaf(of: key.position)])
        try harness.close()
    }

    @Test func aDamagedKeyMayBeAnyKey() async throws {
        let damaged = try DamagedFolder()
        let (key, record) = try #require(damaged.model.first)
        let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
        let own = layout.ringSize.partition(of: key.position)
        var flipped = key.storageKey
        flipped.setInteger(flipped.getInteger(at: 6, as: UInt8.self)! ^ 0x10, at: 6)
        try damaged.put(FolderReader.familyName(of: own), flipped, record)
        try damaged.put(FolderReader.familyName(of: own), key.storageKey, nil)
        let held = try DataFolder.hold(damaged.path)
        defer { held.release() }
        let check = try await FolderCheck.run(damaged.path, settings: NodeSettings())
        #expect(check.findings.map(\.kind) == [.recordUnreadable])
        let report = try FolderMender.mend(
            held, check.plan, place: .copy(damaged.folder.path + "/mended"), stamp: 1, logger: quietLogger())
        #expect(report.lostLeaves == [own: layout.leavesPerPartition])
    }

    /// One fault does not hide another of the same partition.
    @Test func aRecordThatIsGoneBesideABadOne() async throws {
        let damaged = try DamagedFolder()
        let layout = LeafLayout(ringSize: RingSize(partitions: 8)!)
        let inFirst = damaged.model.keys.filter { layout.ringSize.partition(of: $0.position) == PartitionID(0) }
            .sorted()
        let (bad, gone) = (inFirst[0], inFirst[inFirst.count / 2])
        try damaged.put("p0000", bad.storageKey, ByteBuffer(string: "this is no record"))
        try damaged.put("p0000", gone.storageKey, nil)
        let report = try await damaged.repaired()
        let harness = try Harness(report.folder)
        #expect(
            harness.store.lostLeaves[PartitionID(0)]
                == [bad, gone].map { layout.leaf(of: $0.position) }.sorted())
        try harness.close()
    }

    /// Its checksum is right, and what it says of its tables no disk holds.
    @Test func aManifestOfTablesThatNoDiskHolds() async throws {
        let damaged = try DamagedFolder(records: 50)
        let manifest = try #require(try damaged.files("MANIFEST-").last)
        for number in [UInt64(900_001), 900_002, .max] {
            var edit = ByteBuffer()
            // A new file of level 6, of all bytes that there can be.
            for part: UInt64 in [103, 6, number, .max - 1] { edit.writeVarint(part) }
            for _ in 0..<2 { edit.writeLengthPrefixed(ByteBuffer(bytes: [UInt8](repeating: 1, count: 16))) }
            for part: UInt64 in [1, 2, 1, 200, 1] { edit.writeVarint(part) }
            try edit.withUnsafeReadableBytes {
                try DamagedFolder.check(torc_log_append(manifest, $0.baseAddress, $0.count))
            }
        }
        let verified = await inspect("verify", damaged.path)
        #expect(verified.status > 0, "\(verified)")
        _ = await inspect("repair", damaged.path, "--yes")
        for command in ["info", "families", "count", "ring", "merkle"] { _ = await inspect(command, damaged.path) }
        _ = await inspect("compact", damaged.path, "--yes")
    }
}
