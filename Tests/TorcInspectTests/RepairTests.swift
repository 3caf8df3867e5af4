// What `verify` finds in a damaged folder, and what its node has once it was mended: nothing but what was written, and where
// something may be missing, that is noted.

import CRocksDB
import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct RepairTests {
    private let allLeaves = LeafLayout(ringSize: RingSize(partitions: 8)!).leavesPerPartition

    /// Opens a mended folder as its node does. Leaves follow from records, and what is missing lies in lost leaves.
    private func expectTrue(_ path: String, _ model: [ObjectKey: ByteBuffer]) throws -> [PartitionID: [Int]] {
        let harness = try Harness(path)
        let contents = try harness.contents()
        let lost = harness.store.lostLeaves
        for (key, record) in model where contents[key] != record {
            #expect(contents[key] == nil)
            let leaf = harness.store.layout.leaf(of: key.position)
            #expect(lost[harness.partition(key)]?.contains(leaf) == true)
        }
        for key in contents.keys { #expect(model[key] != nil) }
        for (held, computed) in zip(harness.leaves, try harness.computedLeaves()) {
            for tree in Set(held.trees + computed.trees) {
                let empty = [UInt64](repeating: 0, count: harness.store.layout.leavesPerPartition)
                #expect((held[tree] ?? empty) == (computed[tree] ?? empty))
            }
        }
        try harness.close()
        // And once more, after a clean stop.
        let again = try Harness(path)
        #expect(again.store.lostLeaves == lost)
        #expect(try again.contents() == contents)
        try again.close()
        return lost
    }

    private func kinds(_ check: FolderCheck) -> [Finding.Kind] { check.findings.map(\.kind) }

    @Test(arguments: [true, false]) func aSoundFolder(isClean: Bool) async throws {
        let damaged = try DamagedFolder(isClean: isClean)
        let check = try await damaged.check()
        #expect(check.findings.isEmpty, "\(check.findings)")
        #expect(check.summary.records == UInt64(damaged.model.count) && check.summary.leavesCompared == 8)
        #expect(check.plan.isEmpty && check.remedy == .node && check.summary.skipped.isEmpty)
    }

    @Test func aRunningNodesFolder() async throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let harness = try Harness(path)
        for number in 0..<100 { try harness.put("key\(number)", "value") }
        try harness.store.sync()
        let check = try await FolderCheck.run(path, settings: DamagedFolder.settings)
        #expect(check.findings.isEmpty && check.summary.records == 100)
        #expect(throws: StoreError.heldByAnotherProcess(path: path, processID: getpid())) {
            try DataFolder.hold(path)
        }
        try harness.close()
    }

    @Test func aFlippedByteInATable() async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "key7")
        try damaged.flip(table, at: 0.3)
        let check = try await damaged.check()
        #expect(kinds(check) == [.tableDamaged] && check.remedy == .repair)
        #expect(check.findings[0].place.contains((table as NSString).lastPathComponent))
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.count == 1 && !lost.first!.value.isEmpty && lost.first!.value.count < allLeaves)
        #expect(report.lostLeaves == lost.mapValues(\.count))
    }

    @Test(arguments: [Finding.Kind.tableMissing, .tableTruncated, .tableDamaged])
    func aTableThatCannotBeOpened(kind: Finding.Kind) async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "key7")
        switch kind {
        case .tableMissing: try FileManager.default.removeItem(atPath: table)
        case .tableTruncated: try damaged.truncate(table)
        default: try damaged.flip(table, at: 0.99999)
        }
        let check = try await damaged.check()
        #expect(kinds(check) == [kind] && check.remedy == .repair)
        #expect(check.plan.lostTables.count == 1)
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.count == 1 && lost.first!.value.count == allLeaves)
        #expect(report.tablesQuarantined == (kind == .tableMissing ? 0 : 1))
    }

    /// It is named, no server starts on it, and a mend loses what was in it, and no more.
    private func expectUnopenable(_ table: String, in damaged: DamagedFolder) async throws {
        let check = try await damaged.check()
        #expect(kinds(check) == [.tableDamaged] && check.remedy == .repair)
        #expect(check.findings[0].place.contains((table as NSString).lastPathComponent))
        #expect(throws: StoreError.self) { try Harness(damaged.path) }
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.count == 1 && lost.first!.value.count == allLeaves)
        #expect(report.tablesQuarantined == 1)
    }

    /// RocksDB reads this block before its checksum, and ends the process over what it may find there.
    @Test func garbageInATablesProperties() async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "key7")
        try damaged.overwriteProperties(of: table)
        try await expectUnopenable(table, in: damaged)
    }

    /// RocksDB makes room for what its footer claims before it looks at how long the file is.
    @Test(arguments: [0, 1]) func aTablesFooterThatClaimsTooMuch(handle: Int) async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "key7")
        try damaged.overwriteHandle(handle, inTheFooterOf: table)
        try await expectUnopenable(table, in: damaged)
    }

    @Test func noByteOfATablesEndEndsTheProcess() throws {
        let damaged = try DamagedFolder(records: 40)
        let path = try damaged.table(with: "key7")
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        let name = (path as NSString).lastPathComponent
        let number = try #require(UInt64(name.prefix { $0 != "." }))
        let tables = try FolderTables(folder: damaged.path)
        let end = max(0, whole.count - 4_000)..<whole.count
        for garbage: UInt8 in [0, 0xff] {
            var unnoticed = 0
            for position in end where whole[position] != garbage {
                var bytes = whole
                bytes[position] = garbage
                try bytes.write(to: URL(fileURLWithPath: path))
                if try tables.check(number, checksums: true).problem == nil { unnoticed += 1 }
            }
            // A footer is padded.
            #expect(unnoticed < 40)
        }
    }

    /// With all records in tables, and with all of them in the log.
    @Test(arguments: [true, false], ["flipped", "no CURRENT"]) func theManifest(isClean: Bool, how: String) async throws
    {
        let damaged = try DamagedFolder(isClean: isClean)
        if how == "flipped" {
            try damaged.flip(try #require(try damaged.files("MANIFEST-").last), at: 0.5)
        } else {
            try FileManager.default.removeItem(atPath: damaged.path + "/db/CURRENT")
        }
        let check = try await damaged.check()
        #expect(kinds(check) == [.manifestDamaged] && check.remedy == .repair)
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.count == 8 && lost.values.allSatisfy { $0.count == allLeaves })
        // All tables and the log were there.
        let harness = try Harness(report.folder)
        #expect(try harness.contents() == damaged.model)
        #expect(try harness.store.incarnations() == [Incarnation(rawValue: 7)])
        try harness.close()
    }

    @Test func theLogBelowASync() async throws {
        let damaged = try DamagedFolder(isClean: false)
        let log = try #require(try damaged.files(".log").last)
        try damaged.flip(log, at: 0.5)
        let check = try await damaged.check()
        #expect(kinds(check) == [.logDamaged] && check.remedy == .repair)
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.count == 8 && lost.values.allSatisfy { $0.count == allLeaves })
        let harness = try Harness(report.folder)
        // The whole is one batch: it is gone, or there.
        #expect(try harness.contents().count < damaged.model.count)
        #expect(try harness.store.incarnations() == [Incarnation(rawValue: 7)])
        try harness.close()
    }

    /// Behind damage batches are looked for at every byte, in what clients have stored, too.
    @Test func aValueThatLooksLikeWhatANodeMustNotForget() async throws {
        try await expectNothingForged(try damagedValue { _ in forgedRecords() })
    }

    /// A value may hold the first fragment of a record alone, at the end of a block. What follows in the log are
    /// fragments of that value, and the last has the tag of its batch.
    @Test func aValueThatTakesInTheTagBehindIt() async throws {
        let damaged = try damagedValue { start in
            let filler = [UInt8](repeating: 0x2e, count: 100_000)
            // What of it stands in the fragment that begins at `start`, behind a header, and 27 bytes of its batch: number and
            // count, family, key, lengths.
            let inFirst = blockBytes - start % blockBytes - 7 - 27
            var batch = forgedBatch()
            // Log data, up to the end of the value; the fragment ends where the block ends, as a record's first must.
            let inBlock = inFirst - 64 - 7 - batch.count - 4
            let rest = filler.count - inFirst + inBlock
            batch += [3, UInt8(rest & 0x7f | 0x80), UInt8(rest >> 7 & 0x7f | 0x80), UInt8(rest >> 14)]
            let forged = logRecord(type: 2, batch + filler[..<(try #require(inBlock > 0 ? inBlock : nil))])
            return filler[..<64] + forged + filler[inFirst...]
        }
        try await expectNothingForged(damaged)
    }

    /// What stands behind the damage is the rest of a write that was cut short: nobody was told of it.
    @Test func aTornValueThatLooksLikeBatches() async throws {
        let damaged = try DamagedFolder(records: 20, isClean: false)
        let harness = try Harness(damaged.path)
        try harness.put("before", "one")
        try harness.store.sync()
        let contents = try harness.contents()
        let log = URL(fileURLWithPath: try #require(try damaged.files(".log").last))
        let start = try Data(contentsOf: log).count
        try harness.store.putMeta([("blob", ByteBuffer(bytes: forgedRecords()))])
        try harness.store.abandon()
        let bytes = try Data(contentsOf: log)
        try bytes.prefix((start + bytes.count) / 2).write(to: log)
        try FileManager.default.removeItem(atPath: damaged.path + "/db/CURRENT")
        let report = try await damaged.repaired()
        #expect(report.steps.contains { $0.contains("may be a client's bytes") }, "\(report.steps)")
        let mended = try Harness(report.folder)
        #expect(try mended.contents() == contents)
        #expect(try mended.store.metaValue("forged") == nil)
        try mended.close()
    }

    private let blockBytes = 32_768

    /// A folder with such a value in its log, whose batch is damaged, and with sound batches behind it. `value`: made for the
    /// place in the log where its batch begins.
    private func damagedValue(_ value: (_ start: Int) throws -> [UInt8]) throws -> DamagedFolder {
        let damaged = try DamagedFolder(records: 20, isClean: false)
        let harness = try Harness(damaged.path)
        try harness.put("before", "one")
        try harness.store.sync()
        let log = try #require(try damaged.files(".log").last)
        let start = try Data(contentsOf: URL(fileURLWithPath: log)).count
        try harness.store.putMeta([("blob", ByteBuffer(bytes: try value(start)))])
        try harness.store.putMeta([("kept", ByteBuffer(string: "one"))])
        try harness.put("behind", "one")
        try harness.store.sync()
        try harness.store.abandon()
        // The first of several fragments.
        #expect(try Data(contentsOf: URL(fileURLWithPath: log))[start + 6] == 2)
        try damaged.flip(log, byte: start + 40)
        return damaged
    }

    /// What the node was told behind the damage is kept, and what the value says is not, and that is said.
    private func expectNothingForged(_ damaged: DamagedFolder) async throws {
        let report = try await damaged.repaired()
        let mended = try Harness(report.folder)
        #expect(try mended.store.metaValue("forged") == nil)
        #expect(try mended.store.metaValue("kept") == ByteBuffer(string: "one"))
        let said = report.steps.first { $0.contains("may be a client's bytes") }
        let kept = try #require(said?.split(separator: " ").last)
        #expect(FileManager.default.fileExists(atPath: "\(report.folder)/\(kept)"), "\(report.steps)")
        try mended.close()
    }

    private func forgedRecords() -> [UInt8] {
        Array(repeatElement(logRecord(type: 1, forgedBatch()), count: 60).joined())
    }

    /// A batch that puts `node/forged` into each of the first families, with a mark that has no tag.
    private func forgedBatch() -> [UInt8] {
        let families = UInt8(40)
        // Its number, and how many changes there are.
        var bytes: [UInt8] = [200] + [UInt8](repeating: 0, count: 7) + [families, 0, 0, 0]
        for family in 0..<families {
            let key = Array("node/forged".utf8)
            bytes += [5, family, UInt8(key.count)] + key + [3] + Array("yes".utf8)
        }
        bytes += [3, 16]
        bytes += Array("TLG1".utf8)
        bytes += [UInt8](repeating: 0x7f, count: 8)
        bytes += [UInt8](repeating: 0, count: 4)
        return bytes
    }

    /// As it stands in RocksDB's log. `type`: 1, a whole record; 2, the first fragment of one.
    private func logRecord(type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        let checked = [type] + bytes
        let sum = checked.withUnsafeBytes { torc_crc32c(0, $0.baseAddress, $0.count) }
        let masked = ((sum >> 15) | (sum << 17)) &+ 0xa282_ead8
        let length = bytes.count
        return (0..<4).map { UInt8(truncatingIfNeeded: masked >> (8 * UInt32($0))) }
            + [UInt8(length & 0xff), UInt8(length >> 8)] + checked
    }

    @Test func aFamilyThatIsGone() async throws {
        let damaged = try DamagedFolder()
        try damaged.drop("p0003")
        let check = try await damaged.check()
        #expect(kinds(check) == [.familyMissing] && check.plan.missingPartitions == [PartitionID(3)])
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.keys.map { $0 } == [PartitionID(3)] && lost[PartitionID(3)]?.count == allLeaves)
    }

    /// A copy was begun, and the process killed.
    @Test func aFamilyHalfDropped() async throws {
        let damaged = try DamagedFolder()
        let harness = try Harness(damaged.path)
        try damaged.flip(try damaged.table(with: "key7"), at: 0.3)
        let failing = damaged.model.keys.filter { harness.read($0) == .failed }
        let partition = harness.partition(try #require(failing.first))
        _ = try harness.store.noteDamage()
        try harness.store.abandon()
        let name = "p000\(partition.index)"
        try damaged.makeFamily(name + "+1")
        let check = try await damaged.check()
        #expect(kinds(check).contains(.familyHalfDropped) && check.remedy == .repair)
        let report = try await damaged.repaired()
        let lost = try expectTrue(report.folder, damaged.model)
        #expect(lost.keys.map { $0 } == [partition])
        #expect(report.steps.contains { $0.contains("\(name) and \(name)+1") })
    }

    @Test func aLeafThatLies() async throws {
        let damaged = try DamagedFolder()
        let key = try #require(
            damaged.model.keys.first { RingSize(partitions: 8)!.partition(of: $0.position).index == 5 })
        try damaged.put("p0005", key.storageKey, nil)
        let check = try await damaged.check()
        #expect(kinds(check) == [.leavesWrong] && Array(check.plan.untrustedLeaves.keys) == [PartitionID(5)])
        var model = damaged.model
        model[key] = nil
        // What it counts may have stood there: until it is compared nothing there counts.
        let leaf = LeafLayout(ringSize: RingSize(partitions: 8)!).leaf(of: key.position)
        #expect(try expectTrue(try await damaged.repaired().folder, model) == [PartitionID(5): [leaf]])
        // Without the key of the cluster that is not seen, and said.
        let blind = try await FolderCheck.run(damaged.path, settings: NodeSettings())
        #expect(blind.findings.isEmpty && blind.summary.skipped.contains { $0.hasPrefix("leaves: ") })
    }

    @Test func aRecordInTheWrongPartition() async throws {
        let damaged = try DamagedFolder()
        let (key, record) = try #require(
            damaged.model.first { RingSize(partitions: 8)!.partition(of: $0.key.position).index == 5 })
        try damaged.put("p0002", key.storageKey, record)
        let check = try await damaged.check()
        #expect(kinds(check) == [.recordMisplaced] && check.findings[0].detail.contains("partition 5"))
        let report = try await damaged.repaired()
        #expect(try expectTrue(report.folder, damaged.model).isEmpty)
        #expect(report.recordsQuarantined == 1)
        let kept = try String(contentsOfFile: report.quarantine + "/records.jsonl", encoding: .utf8)
        #expect(kept.hasPrefix(#"{"family":"p0002","key":""#) && kept.contains("belongs to partition"))
    }

    @Test func aRecordThatCannotBeDecoded() async throws {
        let damaged = try DamagedFolder()
        let (key, record) = try #require(
            damaged.model.first { RingSize(partitions: 8)!.partition(of: $0.key.position).index == 5 })
        var bytes = record
        bytes.setInteger(UInt8(0xff), at: 40)
        try damaged.put("p0005", key.storageKey, bytes)
        #expect(kinds(try await damaged.check()) == [.recordUnreadable])
        let lost = try expectTrue(try await damaged.repaired().folder, damaged.model)
        #expect(lost == [PartitionID(5): [LeafLayout(ringSize: RingSize(partitions: 8)!).leaf(of: key.position)]])
    }

    @Test func aHintForANodeThatIsGone() async throws {
        let damaged = try DamagedFolder()
        let (key, record) = try #require(damaged.model.first)
        let gone = NodeID(rawValue: 0xdead)
        var hintKey = ByteBuffer()
        hintKey.writeInteger(gone.rawValue)
        hintKey.writeImmutableBuffer(key.storageKey)
        var hint = try Record(decoding: record, for: key)
        hint.hint = HintNote(target: gone, since: WallTime(microseconds: 1))
        hint.header.minting = nil
        try damaged.put("hints", hintKey, hint.encoded(for: key))
        let check = try await damaged.check()
        // It is one copy of what was acknowledged, and goes to whoever holds the key now.
        #expect(kinds(check) == [.hintOrphaned] && check.remedy == .node && check.plan.isEmpty)
        #expect(check.summary.hints == 1)
    }

    /// As a crash leaves it: RocksDB passes over it, and so nothing is to be mended. With a byte behind it that can be read it is
    /// another matter.
    @Test func aTornEndOfTheManifest() async throws {
        let damaged = try DamagedFolder(records: 50)
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: damaged.path + "/db").first {
                $0.hasPrefix("MANIFEST-")
            })
        let file = URL(fileURLWithPath: "\(damaged.path)/db/\(name)")
        let whole = try Data(contentsOf: file)
        try (whole + Data([1, 2, 3, 4, 200, 0, 1, 5, 5])).write(to: file)
        let check = try await damaged.check()
        #expect(check.findings.isEmpty && check.summary.records == UInt64(damaged.model.count))
        let harness = try Harness(damaged.path)
        #expect(try harness.contents() == damaged.model)
        try harness.close()
    }

    @Test func aNewerFormatIsRefused() async throws {
        let damaged = try DamagedFolder(records: 10)
        let file = damaged.path + "/IDENTITY"
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        try (["torc-data 99"] + lines.dropFirst()).joined(separator: "\n").write(
            toFile: file, atomically: true, encoding: .utf8)
        let error = StoreError.newerFormat(path: damaged.path, found: 99, supported: DataFolder.format)
        await #expect(throws: error) { try await damaged.check() }
        #expect(throws: error) { try DataFolder.hold(damaged.path) }
    }

    /// Its votes and incarnations stand nowhere else.
    @Test(arguments: ["flipped", "missing"]) func metaIsNotMended(how: String) async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "store/incarnations")
        if how == "flipped" {
            try damaged.flip(table, at: 0.02)
        } else {
            try FileManager.default.removeItem(atPath: table)
        }
        let check = try await damaged.check()
        #expect(kinds(check).contains(.metaDamaged) && check.remedy == .replace, "\(check.findings)")
        let held = try DataFolder.hold(damaged.path)
        #expect(throws: StoreError.self) {
            var plan = MendPlan()
            plan.rebuildsManifest = true
            _ = try FolderMender.mend(
                held, plan, place: .copy(damaged.folder.path + "/mended"), stamp: 1, logger: quietLogger())
        }
        held.release()
        #expect(!FileManager.default.fileExists(atPath: damaged.folder.path + "/mended"))
        #expect(!FileManager.default.fileExists(atPath: damaged.folder.path + "/mended.unfinished"))
    }

    @Test func inPlace() async throws {
        let damaged = try DamagedFolder()
        let table = try damaged.table(with: "key7")
        try damaged.flip(table, at: 0.3)
        let before = try Data(contentsOf: URL(fileURLWithPath: table))
        let report = try await damaged.repaired(place: .inPlace)
        #expect(report.folder == damaged.path && report.quarantine == damaged.path + "/quarantine-1")
        let kept = report.quarantine + "/db/" + (table as NSString).lastPathComponent
        #expect(try Data(contentsOf: URL(fileURLWithPath: kept)) == before)
        #expect(try expectTrue(damaged.path, damaged.model).count == 1)
        #expect(FileManager.default.fileExists(atPath: report.quarantine + "/report.txt"))
    }

    /// Two damages that meet: a lost table, and leaves that were stored before.
    @Test func severalAtOnce() async throws {
        let damaged = try DamagedFolder()
        let first = try damaged.table(with: "key7")
        try damaged.flip(first, at: 0.3)
        let others = try damaged.files(".sst").filter {
            try $0 != first && Data(contentsOf: URL(fileURLWithPath: $0)).range(of: Data("key".utf8)) != nil
        }
        try FileManager.default.removeItem(atPath: try #require(others.first))
        let check = try await damaged.check()
        #expect(Set(kinds(check)) == [.tableDamaged, .tableMissing])
        #expect(try expectTrue(try await damaged.repaired().folder, damaged.model).count == 2)
    }
}
