// A data folder is read while a server holds it, after a crash and after a clean stop, and nothing in it changes.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct FolderReaderTests {
    private func listing(_ path: String) throws -> [String: Data] {
        var result: [String: Data] = [:]
        let files = FileManager.default.enumerator(atPath: path)!
        for case let name as String in files {
            result[name] = (try? Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)"))) ?? Data()
        }
        return result
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

    private func expectLeaves(_ reader: FolderReader, _ harness: Harness) throws {
        let log = try reader.log()
        for partition in harness.store.partitionsPresent {
            guard case .known(let trees) = try reader.leaves(of: partition, log: log) else {
                Issue.record("the leaves of \(partition) are not known")
                continue
            }
            for (copies, leaves) in trees {
                #expect(harness.leaves[0][TreeID(partition: partition, copies: copies)] == leaves)
            }
        }
    }

    @Test func aRunningNodesFolderIsRead() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        let harness = try Harness(path)
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        try harness.store.sync()

        let before = try listing(path)
        let reader = try FolderReader.open(path)
        #expect(reader.holder == getpid())
        #expect(try reader.wasClean() == false)
        #expect(try contents(reader) == harness.model)
        try expectLeaves(reader, harness)
        #expect(try listing(path) == before)
        // The server goes on.
        try harness.put("key1", "another")
        try harness.store.sync()
        #expect(try contents(reader) != harness.model)
        #expect(try contents(FolderReader.open(path)) == harness.model)
        try harness.close()
    }

    @Test func tablesThatAServerRemovesAreReadOn() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        var harness = try Harness(path)
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        let model = harness.model
        try harness.close()
        // It holds the folder, and everything lies in tables.
        harness = try Harness(path)
        let reader = try FolderReader.open(path)
        #expect(reader.holder == getpid())
        let tables = try FileManager.default.contentsOfDirectory(atPath: path + "/db").filter { $0.hasSuffix(".sst") }
        #expect(tables.count >= 8)
        for table in tables { try FileManager.default.removeItem(atPath: "\(path)/db/\(table)") }
        #expect(try contents(reader) == model)
        // Whoever comes now finds none, and is told when they read.
        let late = try FolderReader.open(path)
        #expect(throws: StoreError.self) { try contents(late) }
        try harness.store.abandon()
    }

    @Test func afterACrashAndAfterACleanStop() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/node"
        var harness = try Harness(path)
        for number in 0..<300 { try harness.put("key\(number)", "value \(number)") }
        try harness.store.sync()
        let model = harness.model
        try harness.store.abandon()

        var before = try listing(path)
        do {
            let reader = try FolderReader.open(path)
            #expect(reader.holder == nil)
            #expect(try contents(reader) == model)
            try expectLeaves(reader, harness)
        }
        #expect(try listing(path) == before)

        harness = try Harness(path)
        try harness.close()
        before = try listing(path)
        let reader = try FolderReader.open(path)
        #expect(try reader.wasClean())
        #expect(try contents(reader) == model)
        #expect(try listing(path) == before)
    }

    @Test func whatIsNoFolderIsRefused() throws {
        let folder = TemporaryFolder()
        #expect(throws: StoreError.missing(path: folder.path + "/none")) {
            try FolderReader.open(folder.path + "/none")
        }
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/none"))
    }
}
