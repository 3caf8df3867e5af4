// An export holds what several folders merge to, goes on where it was broken off, and says where it is damaged.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcConsole
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct ExportTests {
    private func entries(_ path: String) throws -> [ExportEntry] {
        let reader = try ExportReader(path)
        var all: [ExportEntry] = []
        while let piece = try reader.next() { all += piece }
        #expect(reader.isFinished)
        return all
    }

    private func object(_ entry: ExportEntry) throws -> VersionedObject {
        try Record(decoding: entry.record, for: entry.key).object()
    }

    private func header(_ filter: String = "") -> ExportHeader {
        ExportHeader(cluster: "c", ringSize: 8, stores: ["s"], filter: filter)
    }

    /// Ascending, of some size.
    private func samples(_ count: Int, bytes: Int = 100_000) -> [ExportEntry] {
        var generator = SeededGenerator(seed: 5)
        return (0..<count).map { number in
            let key = Example.key("b", "k\(number)")
            let value = (0..<bytes / 8).map { _ in String(generator.next() % 256, radix: 16) }.joined()
            let object = Example.object(Example.sibling(Example.actor, 1, value))
            return ExportEntry(
                key: key, record: Record(header: LocalHeader(copies: 3), body: object.encoded).encoded(for: key))
        }.sorted { $0.key < $1.key }
    }

    @Test func aFileIsReadAsItWasWritten() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/x.torc"
        let samples = samples(300)
        let writer = try ExportWriter(path, header: header())
        for sample in samples { try writer.add(sample) }
        #expect(!FileManager.default.fileExists(atPath: path))
        try writer.finish()
        #expect(try entries(path) == samples)
        let raw = samples.reduce(0) { $0 + $1.record.readableBytes }
        #expect(writer.fileBytes < UInt64(raw) * 3 / 4 && writer.records == 300)
        #expect(throws: ExportError.self) { try ExportWriter(path, header: header()) }
    }

    @Test func oneThatWasBrokenOffGoesOn() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/x.torc"
        let samples = samples(300)
        let first = try ExportWriter(path, header: header())
        for sample in samples.prefix(200) { try first.add(sample) }
        // Killed: what had not been written is gone, and the last piece was written by half.
        let part = URL(fileURLWithPath: path + ".part")
        let bytes = try Data(contentsOf: part)
        try bytes.dropLast(1000).write(to: part)
        #expect(throws: ExportError.self) { try ExportWriter(path, header: header("bucket b")) }
        let second = try ExportWriter(path, header: header())
        let after = try #require(second.resumesAfter)
        #expect(second.records > 0 && second.records < 200)
        for sample in samples where after < sample.key { try second.add(sample) }
        try second.finish()
        #expect(second.records == 300)
        #expect(try entries(path) == samples)
    }

    @Test func damageIsToldAndWhatIsBeforeItIsRead() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/x.torc"
        let samples = samples(120)
        let writer = try ExportWriter(path, header: header())
        for sample in samples { try writer.add(sample) }
        try writer.finish()
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for place in Swift.stride(from: 0, to: whole.count, by: whole.count / 97) {
            var bytes = whole
            bytes[place] ^= 0x20
            try bytes.write(to: URL(fileURLWithPath: path))
            #expect(throws: (any Error).self) { try entries(path) }
        }
        for length in [0, 7, 30, whole.count / 2, whole.count - 1] {
            try whole.prefix(length).write(to: URL(fileURLWithPath: path))
            #expect(throws: ExportError.self) { try entries(path) }
        }
        try whole.prefix(whole.count - 10).write(to: URL(fileURLWithPath: path))
        let reader = try ExportReader(path)
        var read: [ExportEntry] = []
        while let piece = try? reader.next() { read += piece }
        #expect(read == samples && !reader.isFinished)
    }

    @Test func foldersAreMerged() async throws {
        let folders = try [NodeID(rawValue: 0xa1), NodeID(rawValue: 0xb2)].map { try Example(node: $0) }
        let (alice, bob, gone) = (
            Example.key("carts", "alice"), Example.key("carts", "bob"), Example.key("flags", "gone")
        )
        let milk = Example.object(Example.sibling(Example.actor, 1, "milk"))
        let eggs = Example.object(Example.sibling(Example.otherActor, 1, "eggs"))
        try folders[0].write(alice, milk)
        try folders[1].write(alice, eggs)
        try folders[1].write(bob, eggs)
        try folders[0].write(gone, milk)
        try folders[1].write(gone, Example.deleted(milk))
        for folder in folders { try folder.harness.store.sync() }
        let path = folders[0].folder.path + "/x.torc"
        let told = await inspect("export", "--to", path, folders[0].path, folders[1].path, "--json")
        #expect(told.objects[0]["records"] as? Int == 3, "\(told)")
        let found = Dictionary(uniqueKeysWithValues: try entries(path).map { ($0.key, try object($0)) })
        #expect(found[alice] == milk.merged(with: eggs))
        #expect(found[bob] == eggs)
        #expect(found[gone]?.isTombstone == true)
        let one = await inspect(
            "export", "--to", path + "2", folders[0].path, folders[1].path, "--bucket", "carts", "--siblings", "2")
        #expect(one.status == 0)
        #expect(try entries(path + "2").map(\.key) == [alice])
        let again = await inspect("export", "--to", path, folders[0].path)
        #expect(again.status != 0)
        for folder in folders { try folder.harness.close() }
    }
}
