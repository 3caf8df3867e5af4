// Folders that no crash and no disk makes: names and versions that a hostile hand, or a newer build, has written.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct HostileFolderTests {
    /// The checksum is right: nothing is wrong with it, but this build does not know what it says.
    private func newerRecord(of key: ObjectKey, _ record: ByteBuffer) -> ByteBuffer {
        var bytes = record
        bytes.setInteger(UInt8(9), at: bytes.readerIndex + 8)
        let sum = bytes.withUnsafeReadableBytes { xxh3Sum(UnsafeRawBufferPointer(rebasing: $0.dropFirst(8)), key) }
        bytes.setInteger(sum, at: bytes.readerIndex)
        return bytes
    }

    private func xxh3Sum(_ bytes: UnsafeRawBufferPointer, _ key: ObjectKey) -> UInt64 {
        xxh3(bytes, seed: key.position.rawValue)
    }

    @Test func aRecordOfANewerBuildIsNotDamage() async throws {
        let damaged = try DamagedFolder(records: 100)
        let (key, record) = try #require(damaged.model.first)
        let partition = RingSize(partitions: 8)!.partition(of: key.position)
        try damaged.put(
            FolderReader.familyName(of: partition), key.storageKey, newerRecord(of: key, record))
        let before = try DamagedFolder.listing(damaged.path)
        await #expect(throws: StoreError.newerFormat(path: damaged.path, found: 9, supported: Record.newestFormat)) {
            _ = try await damaged.check()
        }
        let verified = await inspect("verify", damaged.path)
        #expect(verified.status == 2 && verified.warnings.contains("newer version of torc"), "\(verified.warnings)")
        let repaired = await inspect("repair", damaged.path, "--in-place", "--yes")
        #expect(repaired.status == 2 && repaired.warnings.contains("newer version of torc"), "\(repaired.warnings)")
        // Whatever a plan says that was made before.
        var plan = MendPlan()
        plan.partitionsWithBadRecords = [partition]
        let held = try DataFolder.hold(damaged.path)
        defer { held.release() }
        #expect(throws: StoreError.newerFormat(path: damaged.path, found: 9, supported: Record.newestFormat)) {
            _ = try FolderMender.mend(held, plan, place: .inPlace, stamp: 1, logger: quietLogger())
        }
        #expect(try DamagedFolder.listing(damaged.path) == before)
    }

    @Test func familiesOfNoPartitionAndOfTheLastGeneration() async throws {
        let damaged = try DamagedFolder(records: 100)
        try damaged.makeFamily("p9999")
        try damaged.makeFamily("p0001+65535")
        try damaged.makeFamily("p0002+99999")
        try damaged.makeFamily("p+")
        let report = try await damaged.repaired()
        let harness = try Harness(report.folder)
        let last = harness.store.partitionsPresent.first { $0.index == 1 }
        #expect(last != nil)
        // There is no generation after this one: what cannot be made anew says so.
        let outcome = try harness.store.salvage(PartitionID(1), hashSeed: testSeed)
        guard case .failure(let error) = outcome else {
            Issue.record("made anew")
            return
        }
        #expect("\(error)".contains("last generation"), "\(error)")
        try harness.close()
    }

    @Test func foldersThatCannotBeComparedAreNotFoldersThatDiffer() async throws {
        let damaged = try DamagedFolder(records: 10)
        #expect(await inspect("diff", damaged.path, damaged.folder.path + "/nowhere").status == 2)
        #expect(await inspect("diff", damaged.path, damaged.path).status == 0)
    }
}
