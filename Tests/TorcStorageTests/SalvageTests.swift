// Damaged tables: a byte of a table file is another than RocksDB wrote.

import Foundation
import Glibc
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct SalvageTests {
    /// Writes records of a KiB and closes. One lane, and partitions of some hundred records.
    private func filled(_ path: String, hints: Bool = false) throws -> [ObjectKey: ByteBuffer] {
        let harness = try Harness(path)
        for number in 0..<1500 { try harness.append("key\(number)", String(repeating: "\(number % 10)", count: 1000)) }
        try harness.commit()
        try harness.close()
        return harness.model
    }

    private func tables(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(path)/db").filter { $0.hasSuffix(".sst") }.sorted().map {
            "\(path)/db/\($0)"
        }
    }

    private func flip(_ file: String, at offset: Int) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
        bytes[offset] ^= 0x10
        try bytes.write(to: URL(fileURLWithPath: file))
    }

    /// Flips a byte in the middle of the first table that holds these bytes.
    @discardableResult private func damage(_ path: String, tableWith text: String) throws -> String {
        let file = try #require(
            try tables(path).first { try Data(contentsOf: URL(fileURLWithPath: $0)).range(of: Data(text.utf8)) != nil })
        try flip(file, at: try Data(contentsOf: URL(fileURLWithPath: file)).count / 3)
        return file
    }

    private func expectLeaves(_ harness: Harness) throws {
        let computed = try harness.computedLeaves()
        for (held, computed) in zip(harness.leaves, computed) {
            for tree in Set(held.trees + computed.trees) {
                let empty = [UInt64](repeating: 0, count: harness.store.layout.leavesPerPartition)
                #expect((held[tree] ?? empty) == (computed[tree] ?? empty))
            }
        }
    }

    @Test func aPartitionIsMadeAnew() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let model = try filled(path)
        let damaged = try damage(path, tableWith: "key7")

        var harness = try Harness(path)
        var store = harness.store
        let failing = model.keys.filter { harness.read($0) == .failed }
        #expect(!failing.isEmpty && failing.count < 20)
        let partition = harness.partition(failing[0])
        #expect(failing.allSatisfy { harness.partition($0) == partition })
        #expect(try store.noteDamage() == [.partition(partition)])
        #expect(try store.noteDamage().isEmpty && store.damagedPartitions == [partition])
        try harness.close()

        // What was noted is known to the next start.
        harness = try Harness(path)
        store = harness.store
        #expect(store.damagedPartitions == [partition] && store.lostLeaves.isEmpty)
        let before = try String(contentsOfFile: path + "/IDENTITY", encoding: .utf8)
        let salvaged = try store.salvage(partition, hashSeed: testSeed).get()
        // An older build would take the folder for one without this partition.
        let after = try String(contentsOfFile: path + "/IDENTITY", encoding: .utf8)
        #expect(before.hasPrefix("torc-data 1\n") && after.hasPrefix("torc-data 3\n"))
        guard case .ready(let identity) = try DataFolder.peek(path) else {
            Issue.record("the folder is not ready")
            return
        }
        #expect(identity.hasCopies && identity.joinedName == nil && identity.store == store.identity.store)
        harness.lanes[0].add([])
        let lost = Set(salvaged.lost)
        #expect(!lost.isEmpty && lost.count < 2000)
        #expect(store.damagedPartitions.isEmpty && store.lostLeaves == [partition: salvaged.lost])
        for (key, record) in model {
            let read = harness.read(key)
            if failing.contains(key) {
                #expect(read == .absent && lost.contains(store.layout.leaf(of: key.position)))
            } else {
                #expect(read == .found(record))
            }
        }
        #expect(try harness.contents() == model.filter { !failing.contains($0.key) })
        let tree = TreeID(partition: partition, copies: 3)
        #expect(try store.leaves(of: partition, hashSeed: testSeed)[tree] == salvaged.leaves[3])
        // It is written to.
        let key = failing[0]
        let (record, hash) = harness.record(key, value: "anew")
        harness.leaves[0][tree] = salvaged.leaves[3]
        let change = LeafChange(tree: tree, leaf: store.layout.leaf(of: key.position), delta: hash)
        harness.leaves[0].apply(change)
        try harness.lanes[0].append(RecordWrite(partition: partition, key: key, record: record, leaves: [change]))
        try harness.commit()
        #expect(harness.read(key) == .found(record))
        try harness.close()

        // The copy stands, and the damaged table is gone.
        harness = try Harness(path)
        store = harness.store
        #expect(harness.read(key) == .found(record))
        #expect(try harness.contents().count == model.count - failing.count + 1)
        try expectLeaves(harness)
        #expect(try !tables(path).contains(damaged))
        #expect(store.lostLeaves == [partition: salvaged.lost] && store.damagedPartitions.isEmpty)
        try store.restored(partition)
        #expect(store.lostLeaves.isEmpty)
        try harness.close()
        harness = try Harness(path)
        #expect(harness.store.lostLeaves.isEmpty && harness.report.leavesRebuilt.isEmpty)
        #expect(harness.read(key) == .found(record))
        try harness.close()
    }

    /// Killed before the copy counts, and after it.
    @Test(arguments: [false, true]) func aCrash(afterTheCopy isCopied: Bool) throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let model = try filled(path)
        try damage(path, tableWith: "key7")
        var harness = try Harness(path)
        let failing = model.keys.filter { harness.read($0) == .failed }
        let partition = harness.partition(failing[0])
        _ = try harness.store.noteDamage()
        if isCopied { _ = try harness.store.salvage(partition, hashSeed: testSeed).get() }
        let copy = folder.path + "/copy"
        copyFolder(path, to: copy)
        try harness.store.abandon()

        harness = try Harness(copy)
        #expect(harness.store.damagedPartitions == (isCopied ? [] : [partition]))
        #expect(harness.store.lostLeaves.isEmpty != isCopied)
        for key in failing { #expect(harness.read(key) == (isCopied ? .absent : .failed)) }
        if isCopied { #expect(try harness.contents() == model.filter { !failing.contains($0.key) }) }
        try harness.close()
    }

    /// No write is refused for a table that a compaction cannot read.
    @Test func compactionsGoOn() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let model = try filled(path)
        try damage(path, tableWith: "key7")
        var found: [DamagedFamily] = []
        // Every clean stop writes a table: the fourth calls for a compaction.
        for round in 0..<8 {
            let harness = try Harness(path)
            for number in stride(from: round, to: 1500, by: 3) { try harness.append("key\(number)", "\(round)") }
            try harness.commit()
            try harness.store.sync()
            usleep(300_000)
            found += try harness.store.noteDamage()
            try harness.put("last\(round)", "x")
            try harness.close()
        }
        #expect(found.count == 1)
        let harness = try Harness(path)
        guard case .partition(let partition) = found.first else { return }
        let salvaged = try harness.store.salvage(partition, hashSeed: testSeed).get()
        #expect(!salvaged.lost.isEmpty)
        harness.lanes[0].add([])
        #expect(try harness.contents().count > model.count - 20)
        try harness.close()
    }

    @Test func storedLeavesAreMadeAnew() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let model = try filled(path)
        // By far the largest: all partitions' leaves.
        let file = try #require(
            try tables(path).max {
                try Data(contentsOf: URL(fileURLWithPath: $0)).count < Data(contentsOf: URL(fileURLWithPath: $1)).count
            })
        try flip(file, at: 300_000)
        var harness = try Harness(path)
        #expect(try harness.contents() == model)
        try expectLeaves(harness)
        try harness.close()
        harness = try Harness(path)
        #expect(harness.report.leavesRebuilt.isEmpty)
        try expectLeaves(harness)
        try harness.close()
    }
}
