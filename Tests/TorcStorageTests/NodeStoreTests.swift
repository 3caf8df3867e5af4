import Glibc
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct NodeStoreTests {
    @Test func aWriteIsThereAfterACleanStop() throws {
        let folder = TemporaryFolder()
        let first = try Harness(folder.path, laneCount: 2)
        #expect(first.report.isNew)
        try first.store.beginIncarnation(Incarnation(rawValue: 1))
        for index in 0..<100 { try first.put("k\(index)", "v\(index)") }
        try first.close()

        let second = try Harness(folder.path, laneCount: 3)
        #expect(second.report.wasClean && !second.report.isNew)
        #expect(second.report.leavesRebuilt.isEmpty)
        #expect(try second.contents() == first.model)
        #expect(try second.computedLeaves() == second.leaves)
        #expect(try second.store.incarnations() == [Incarnation(rawValue: 1)])
        try second.store.beginIncarnation(Incarnation(rawValue: 2))
        #expect(try second.store.incarnations().count == 2)
        try second.store.abandon()

        let third = try Harness(folder.path)
        #expect(!third.report.wasClean)
        #expect(third.report.description.contains("unclean"))
        try third.store.abandon()
    }

    @Test func readsFromMemoryDoNotGoToTheDisk() throws {
        let folder = TemporaryFolder()
        let first = try Harness(folder.path)
        for index in 0..<50 { try first.put("k\(index)", "v\(index)") }
        let key = first.key("k7")
        #expect(
            first.lanes[0].readInMemory(RecordPlace(first.partition(key)), key) == .known(.found(first.model[key]!)))
        let other = first.key("other")
        #expect(first.lanes[0].readInMemory(RecordPlace(first.partition(other)), other) == .known(.absent))
        try first.close()

        // All in tables now, nothing cached.
        let second = try Harness(folder.path)
        #expect(second.lanes[0].readInMemory(RecordPlace(second.partition(key)), key) == .notInMemory)
        #expect(second.read(key) == .found(first.model[key]!))
        #expect(
            second.lanes[0].readInMemory(RecordPlace(second.partition(key)), key) == .known(.found(first.model[key]!)))
        #expect(second.read(other) == .absent)
        let partition = second.partition(key)
        let keys = (0..<60).map { second.key("k\($0)") }.filter { second.partition($0) == partition }
        let answers = second.store.multiRead(partition, keys)
        for (key, answer) in zip(keys, answers) {
            #expect(answer == first.model[key].map { .found($0) } ?? .absent)
        }
        try second.store.abandon()
    }

    @Test func scansGoPieceByPiece() throws {
        let folder = TemporaryFolder()
        let harness = try Harness(folder.path)
        for index in 0..<200 { try harness.append("k\(index)", "v\(index)") }
        try harness.commit()
        let partition = PartitionID(3)
        let expected = harness.model.keys.filter { harness.partition($0) == partition }.sorted()
        #expect(expected.count > 5)
        var seen: [ObjectKey] = []
        var after: ByteBuffer?
        while true {
            let (entries, finished) = try harness.store.scan(
                ScanRequest(
                    token: StoreToken(rawValue: 1), partition: partition, after: after, entryLimit: 3,
                    byteLimit: 1 << 20))
            #expect(entries.count <= 3)
            seen += entries.map { try! ObjectKey(storageKey: $0.storageKey) }
            if finished { break }
            after = entries.last!.storageKey
        }
        #expect(seen == expected)
        // One record at the least, whatever its size.
        let (entries, finished) = try harness.store.scan(
            ScanRequest(token: StoreToken(rawValue: 1), partition: partition, after: nil, entryLimit: 9, byteLimit: 1))
        #expect(entries.count == 1 && !finished)
        try harness.store.abandon()
    }

    @Test func smallThingsAreKept() throws {
        let folder = TemporaryFolder()
        let first = try Harness(folder.path)
        try first.store.putMeta([("ring", ByteBuffer(string: "r1")), ("properties", ByteBuffer(string: "p1"))])
        try first.store.putMeta([("ring", ByteBuffer(string: "r2")), ("properties", nil)])
        let copy = TemporaryFolder()
        copyFolder(folder.path, to: copy.path + "/c")
        try first.store.abandon()

        let second = try Harness(copy.path + "/c")
        #expect(try second.store.metaValue("ring") == ByteBuffer(string: "r2"))
        #expect(try second.store.metaValue("properties") == nil)
        try second.store.abandon()
    }

    /// Memtables so small that RocksDB falls behind and asks the writer to wait.
    @Test func aStalledCommitLosesNothing() throws {
        let folder = TemporaryFolder()
        var options = StoreOptions()
        options.partitionMemtableBytes = 64 << 10
        options.backgroundJobs = 1
        let harness = try Harness(folder.path, laneCount: 2, options: options)
        let filler = String(repeating: "x", count: 4000)
        for round in 0..<40 {
            for index in 0..<10 { try harness.append("k\(index)", "\(round) \(filler)") }
            try harness.commit()
        }
        #expect(try harness.contents() == harness.model)
        #expect(try harness.computedLeaves() == harness.leaves)
        let statistics = harness.store.statistics
        #expect(statistics.flushBytes > 0 && statistics.logBytesWritten > 1_600_000)
        #expect(statistics.backgroundErrors == 0)
        try harness.close()
        let again = try Harness(folder.path, laneCount: 2)
        #expect(try again.contents() == harness.model)
        #expect(again.leaves == harness.leaves)
        try again.store.abandon()
    }

    /// RocksDB opens few tables when it starts; one that is not open yet must not pass for an empty record.
    @Test func memoryDoesNotSpeakForTablesThatAreNotOpen() throws {
        let folder = TemporaryFolder()
        let size = RingSize(partitions: 64)!
        let first = try Harness(folder.path, ringSize: size)
        try first.store.beginIncarnation(Incarnation(rawValue: 1))
        for index in 0..<500 { try first.put("k\(index)", "v\(index)") }
        try first.close()

        let second = try Harness(folder.path, ringSize: size)
        var deferred = 0
        for (key, record) in first.model {
            switch second.lanes[0].readInMemory(RecordPlace(second.partition(key)), key) {
            case .notInMemory: deferred += 1
            case .known(let answer): #expect(answer == .found(record))
            }
            #expect(second.read(key) == .found(record))
        }
        #expect(deferred > 0)
        try second.close()
    }
}
