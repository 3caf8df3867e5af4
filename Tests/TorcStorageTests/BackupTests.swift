// A node's part of a backup, from a store that goes on, and what becomes of it.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct BackupTests {
    private func draft(_ harness: Harness, _ staged: StagedBackup, _ id: String) -> NodeBackupManifest {
        NodeBackupManifest(
            backup: id, cluster: "\(testCluster)", clusterName: "c", name: "n1", identity: harness.store.identity,
            incarnation: "1", ringEpoch: 1, ring: "", time: staged.time, sequence: staged.sequence)
    }

    private func collect(_ harness: Harness, _ staged: StagedBackup, _ id: String, _ directory: String) throws
        -> CollectedBackup
    {
        let made = try NodeBackup.collect(staged, into: directory, draft(harness, staged, id), bytesPerSecond: 0) { _ in
        }
        try whole(made, id).finish(in: directory)
        return made
    }

    private func whole(_ made: CollectedBackup, _ id: String) -> ClusterBackupManifest {
        ClusterBackupManifest(
            backup: id, cluster: "\(testCluster)", clusterName: "c", ringSize: 8, ringEpoch: 1, ringFingerprint: "f",
            began: UInt64(id.utf8.last!), ended: 2,
            nodes: [
                .init(
                    name: "n1", node: made.manifest.node, store: made.manifest.store, files: made.manifest.files.count,
                    bytes: made.manifest.bytes, newBytes: made.newBytes, checksum: made.manifest.checksum)
            ])
    }

    private func contents(_ reader: FolderReader) throws -> [ObjectKey: ByteBuffer] {
        var result: [ObjectKey: ByteBuffer] = [:]
        for family in reader.families where family.partition != nil {
            try reader.walk(family) { key, value in
                result[try ObjectKey(storageKey: key)] = value
                return true
            }
        }
        return result
    }

    private func flip(_ path: String) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    @Test(arguments: [1, 2]) func itHoldsWhatTheStoreHeldWhenItWasStaged(_ laneCount: Int) throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path + "/node", laneCount: laneCount)
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        let staged = try harness.store.stageBackup("t1")
        let (model, leaves) = (harness.model, harness.leaves)
        // The store goes on, and what it wrote out goes.
        for number in 0..<300 { try harness.put("key\(number)", "another") }
        let made = try collect(harness, staged, "b1", folder.path + "/backups")
        #expect(made.newBytes == made.manifest.bytes && made.newBytes > 0)
        #expect(!FileManager.default.fileExists(atPath: staged.path))

        let part = folder.path + "/backups/b1/n1"
        #expect(try contents(FolderReader.open(part)) == model)
        let roots = leaves.flatMap { NodeBackup.roots(of: $0) }.sorted { $0.partition < $1.partition }
        #expect(made.manifest.roots == roots && roots.count == 8)
        #expect(made.manifest.rootless.isEmpty)
        #expect(throws: StoreError.isBackup(path: part)) {
            try DataFolder.open(
                part, cluster: testCluster, node: testNode, ringSize: harness.ringSize, create: false)
        }
        let backup = try StoredBackup(latestIn: folder.path + "/backups")
        let verdict = backup.verify(backup.manifest.nodes[0]) { _ in }
        #expect(verdict.problems == [] && verdict.roots == 8)
        #expect(try harness.contents() == harness.model)
        try harness.close()
        #expect(try contents(FolderReader.open(part)) == model)
    }

    @Test func theNextOneSharesItsFiles() throws {
        let folder = TemporaryFolder()
        let backups = folder.path + "/backups"
        let harness = try Harness(folder.path + "/node")
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        let first = try collect(harness, try harness.store.stageBackup("t1"), "b1", backups)
        try harness.put("key1", "another")
        let second = try collect(harness, try harness.store.stageBackup("t2"), "b2", backups)
        let tables = first.manifest.files.filter { $0.path.hasSuffix(".sst") }
        #expect(!tables.isEmpty && Set(second.manifest.files).isSuperset(of: tables))
        #expect(second.newBytes < second.manifest.bytes - tables.reduce(0) { $0 + $1.bytes } + 1)
        // A copy on another file system: the same files, and other inodes.
        #expect(shell("cp -r \(backups)/b1 \(folder.path)/b1 && rm -rf \(backups) && mkdir \(backups)") == 0)
        #expect(shell("mv \(folder.path)/b1 \(backups)/b1") == 0)
        let third = try collect(harness, try harness.store.stageBackup("t3"), "b3", backups)
        #expect(third.newBytes < third.manifest.bytes - tables.reduce(0) { $0 + $1.bytes } + 1)
        for table in tables {
            let numbers = try ["b1", "b3"].map {
                try FileManager.default.attributesOfItem(atPath: "\(backups)/\($0)/n1/\(table.path)")[.systemFileNumber]
                    as? UInt64
            }
            #expect(numbers[0] == numbers[1])
        }
        #expect(try StoredBackup.list(backups).map(\.id) == ["b1", "b3"])
        try harness.close()
    }

    @Test func whatIsDamagedIsNamed() throws {
        let folder = TemporaryFolder()
        let backups = folder.path + "/backups"
        let harness = try Harness(folder.path + "/node")
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        let made = try collect(harness, try harness.store.stageBackup("t1"), "b1", backups)
        try harness.store.abandon()
        func problems() throws -> [String] {
            let backup = try StoredBackup(backups, "b1")
            return backup.verify(backup.manifest.nodes[0]) { _ in }.problems
        }
        let part = backups + "/b1/n1"
        for file in made.manifest.files {
            copyFolder(backups, to: folder.path + "/kept")
            try flip("\(part)/\(file.path)")
            #expect(try problems().count == 1 && problems()[0].contains("\(file.path) holds other bytes"))
            try FileManager.default.removeItem(atPath: "\(part)/\(file.path)")
            #expect(try problems()[0].contains("\(file.path) is missing"))
            copyFolder(folder.path + "/kept", to: backups)
        }
        #expect(try problems().isEmpty)
        try flip(part + "/backup.json")
        #expect(try problems().count == 1)
        try FileManager.default.removeItem(atPath: part)
        #expect(try problems()[0].contains("the part of n1 is missing"))
        try flip(backups + "/b1/cluster.json")
        #expect(throws: BackupError.self) { try StoredBackup(backups, "b1") }
        let entry = try #require(try StoredBackup.list(backups).first)
        #expect(entry.backup == nil && entry.reason != nil)
        #expect(throws: BackupError.noBackup(path: backups)) { try StoredBackup(latestIn: backups) }
    }

    @Test func figuresThatNobodyCanHaveAddUpToTheLargest() {
        #expect(UInt64.sum([.max, 5, .max]) == .max)
        #expect(UInt64.sum([1, 2, 3]) == 6 && UInt64.sum([]) == 0)
    }

    @Test func whatWasNotFinishedCountsForNothing() throws {
        let folder = TemporaryFolder()
        let backups = folder.path + "/backups"
        let harness = try Harness(folder.path + "/node")
        try harness.put("key", "value")
        // The node died when it had been staged.
        let stale = try harness.store.stageBackup("t1")
        try harness.store.removeStagedBackups()
        #expect(!FileManager.default.fileExists(atPath: stale.path))
        // … or collected half of it.
        struct Killed: Error {}
        let staged = try harness.store.stageBackup("t2")
        var steps = 0
        #expect(throws: Killed.self) {
            try NodeBackup.collect(staged, into: backups, draft(harness, staged, "b1"), bytesPerSecond: 0) { _ in
                steps += 1
                if steps == 3 { throw Killed() }
            }
        }
        #expect(FileManager.default.fileExists(atPath: backups + "/b1/n1.making"))
        #expect(try StoredBackup.list(backups).map { $0.backup == nil } == [true])
        // … or all of it, and the whole was never said to be one.
        let again = try harness.store.stageBackup("t3")
        _ = try NodeBackup.collect(again, into: backups, draft(harness, again, "b1"), bytesPerSecond: 0) { _ in }
        #expect(throws: BackupError.self) { try StoredBackup(latestIn: backups) }
        // Nothing is linked to what is no backup.
        let next = try collect(harness, try harness.store.stageBackup("t4"), "b2", backups)
        #expect(next.newBytes == next.manifest.bytes)
        try harness.close()
    }

    @Test func aCopyOfItIsADataFolder() throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path + "/node")
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        _ = try collect(harness, try harness.store.stageBackup("t1"), "b1", folder.path + "/backups")
        let model = harness.model
        try harness.store.abandon()
        let backup = try StoredBackup(latestIn: folder.path + "/backups")
        let node = backup.manifest.nodes[0]
        let own = try backup.manifest(of: node)
        let target = folder.path + "/restored"
        try FileManager.default.createDirectory(atPath: target, withIntermediateDirectories: true)
        // One was broken off.
        try FileManager.default.createDirectory(atPath: target + ".restoring/db", withIntermediateDirectories: true)
        // Somebody called a folder so.
        #expect(throws: BackupError.self) { try NewFolder.begin(target) }
        #expect(FileManager.default.fileExists(atPath: target + ".restoring/db"))
        try Data().write(to: URL(fileURLWithPath: target + ".restoring/UNFINISHED"))
        let making = try NewFolder.begin(target)
        let identity = StoreIdentity(
            cluster: testCluster, node: testNode, store: StoreID(rawValue: 99), ringSize: harness.ringSize)
        try backup.copy(own, of: node, to: making, as: identity) { _ in }
        try NewFolder.finish(making, as: target)
        #expect(!FileManager.default.fileExists(atPath: making))
        let restored = try Harness(target)
        #expect(restored.store.identity == identity)
        #expect(try restored.contents() == model)
        #expect(restored.report.leavesRebuilt.isEmpty)
        #expect(try restored.computedLeaves() == restored.leaves)
        try restored.close()
        #expect(throws: BackupError.self) { try NewFolder.begin(target) }
    }
}
