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
}
