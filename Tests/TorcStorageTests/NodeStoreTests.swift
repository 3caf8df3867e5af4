import Glibc
import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct NodeStoreTests {
    @Test func aWriteIsThereAfterACleanStop() throws {
        let folder = TemporaryFolder()
        let first = try Harness(folder.path)
        #expect(first.report.isNew)
        try first.store.beginIncarnation(Incarnation(rawValue: 1))
        for index in 0..<100 { try first.put("k\(index)", "v\(index)") }
        try first.close()

        let second = try Harness(folder.path)
        #expect(second.report.wasClean && !second.report.isNew)
        #expect(second.report.leavesRebuilt.isEmpty)
        #expect(second.leaves == first.leaves)
        #expect(try second.contents() == first.model)
        #expect(try second.store.incarnations() == [Incarnation(rawValue: 1)])
        try second.store.beginIncarnation(Incarnation(rawValue: 2))
        try second.close()
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
            switch second.lanes[0].readInMemory(second.partition(key), key) {
            case .notInMemory: deferred += 1
            case .known(let answer): #expect(answer == .found(record))
            }
            #expect(second.read(key) == .found(record))
        }
        #expect(deferred > 0)
        try second.close()
    }
}
