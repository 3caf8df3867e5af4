// One object of a folder: the record with its vector, siblings and values, the hints of it, and its bytes.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct GetAndDumpTests {
    @Test func siblingsAreShownWithDotsTimesAndNodes() async throws {
        let example = try Example()
        try example.fill()
        let key = Example.key("carts", "alice")
        let outcome = await inspect("get", example.path, "carts", "alice")
        #expect(outcome.status == 0, "\(outcome.warnings)")
        for part in [
            "live, 2 siblings", "partition \(example.harness.partition(key).index), leaf",
            "position \(hexadecimal(key.position.rawValue))", "n 3, mode siblings",
            "00a1000000000007, last 2, in the last run", "[1] 00a1000000000007:2", "[2] 00b2000000000009:1",
            "2026-11-23T12:00:00.000Z  10 bytes  text/plain", "milk, eggs", "milk, bread", "Kept for 00000000000000b2",
            "Kept for 00000000000000c3", "for another", "(this one)",
        ] {
            #expect(outcome.text.contains(part), "'\(part)' is not in\n\(outcome.text)")
        }

        let objects = await inspect("get", example.path, "carts", "alice", "--json").objects
        #expect(objects.count == 3)
        #expect(objects[0]["state"] as? String == "live")
        #expect(objects[0]["partition"] as? Int == example.harness.partition(key).index)
        #expect((objects[0]["vector"] as? [[String: Any]])?.compactMap { $0["counter"] as? Int } == [2, 1])
        let versions = objects[0]["versions"] as? [[String: Any]] ?? []
        #expect(versions.compactMap { $0["value"] as? String } == ["milk, eggs", "milk, bread"])
        #expect(versions.compactMap { $0["stamp"] as? UInt64 } == [Example.noon, Example.noon + 1_000_000])
        #expect(objects[1]["keptFor"] as? String == "00000000000000b2")
        #expect(objects[1]["keptSince"] as? String == "2026-11-23T12:00:00.000Z")
        try example.harness.close()
    }

    @Test func statesAreTold() async throws {
        let example = try Example()
        try example.fill()
        for (key, words) in [
            ("bob", "expires at"), ("carol", "deleted: a tombstone"), ("dave", "expired: gone for readers"),
            ("eve", "a grave"), ("bob", "write id 0000000000000abc0000000000000def"),
        ] {
            let outcome = await inspect("get", example.path, "carts", key)
            #expect(outcome.text.contains(words), "\(key): '\(words)' is not in\n\(outcome.text)")
        }
        let absent = await inspect("get", example.path, "carts", "nobody")
        #expect(absent.status == 1)
        #expect(absent.warnings.contains("carts/nobody: the folder holds no record"))
        try example.harness.close()
    }

    @Test func aValueGoesToAFile() async throws {
        let example = try Example()
        try example.fill()
        let file = example.folder.path + "/value"
        let ambiguous = await inspect("get", example.path, "carts", "alice", "--raw", file)
        #expect(ambiguous.status != 0)
        #expect(ambiguous.warnings.contains("choose one with --version 1…2"))
        #expect(!FileManager.default.fileExists(atPath: file))
        let outcome = await inspect("get", example.path, "carts", "alice", "--raw", file, "--version", "2")
        #expect(outcome.status == 0)
        #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data("milk, bread".utf8))
        let deleted = await inspect("get", example.path, "carts", "carol", "--raw", file)
        #expect(deleted.warnings.contains("carts/carol is deleted"))
        try example.harness.close()
    }

    @Test func aNameThatIsNoTextIsWrittenAsItIsShown() async throws {
        let example = try Example()
        try example.fill()
        let keys = await inspect("keys", example.path, "--type", "sets")
        #expect(keys.lines == [#"sets/s/\x00\xff"#])
        let outcome = await inspect("get", example.path, "s", #"\x00\xff"#, "--type", "sets")
        #expect(outcome.text.contains("000000  01 02"), "\(outcome.text)")
        let hex = await inspect("get", example.path, "carts", "bob", "--hex")
        #expect(hex.text.contains("000000  74 65 61"), "\(hex.text)")
        #expect(await inspect("get", example.path, "s", #"\x0"#).warnings.contains(#"\xNN for a byte"#))
        try example.harness.close()
    }

    @Test func bytesAreShownBesideTheirMeaning() async throws {
        let example = try Example()
        try example.fill()
        let outcome = await inspect("dump", example.path, "--bucket", "carts", "--prefix", "alice")
        #expect(outcome.status == 0)
        let key = Example.key("carts", "alice")
        let family = "p000\(example.harness.partition(key).index)"
        #expect(outcome.lines[0] == "# \(family)  carts/alice  \(try storedBytes(example, key)) bytes")
        for row in [
            "00                        bucket type: default", "05                        bucket: 5 bytes",
            "63 61 72 74 73            carts", "03                        n: 3",
            "00 a1 00 00 00 00 00 07   actor that this replica mints with",
            "00 00 00 00 00 00 01 1c   incarnation that it was drawn in", "02                        2 siblings",
            "6d 69 6c 6b 2c 20 65 67   milk, eggs\n67 73",
        ] {
            #expect(outcome.text.contains(row), "'\(row)' is not in\n\(outcome.text)")
        }
        let objects = await inspect("dump", example.path, "hints", "--json").objects
        #expect(objects.count == 3)
        let first = (objects[0]["fields"] as? [[String: Any]])?.first
        #expect(first?["hex"] as? String == "00 00 00 00 00 00 00 b2")
        try example.harness.close()
    }

    private func storedBytes(_ example: Example, _ key: ObjectKey) throws -> Int {
        let reader = try FolderReader.open(example.path)
        let family = try #require(try reader.family(of: example.harness.partition(key)))
        return try #require(try reader.value(of: key.storageKey, in: family)).readableBytes
    }

    @Test func aDamagedRecordIsDumpedAsFarAsItGoes() async throws {
        let example = try Example()
        let key = Example.key("carts", "alice")
        let object = Example.object(Example.sibling(Example.actor, 1, "milk"))
        var flipped = Record(header: LocalHeader(copies: 3), body: object.encoded).encoded(for: key)
        flipped.setInteger(
            flipped.getInteger(at: flipped.writerIndex - 1, as: UInt8.self)! ^ 1, at: flipped.writerIndex - 1)
        try example.writeRaw(key, flipped)
        try example.writeRaw(Example.key("carts", "bob"), flipped.getSlice(at: 0, length: 40)!)
        try example.writeRaw(Example.key("carts", "carol"), ByteBuffer())
        try example.harness.store.sync()

        let outcome = await inspect("dump", example.path, "--prefix", "alice")
        #expect(outcome.status == 1)
        #expect(outcome.text.contains("DAMAGED                   cannot decode record: checksumMismatch"))
        #expect(outcome.text.contains("milj"), "\(outcome.text)")
        let cut = await inspect("dump", example.path, "--prefix", "bob")
        #expect(cut.status == 1)
        #expect(cut.text.contains("not decoded: cannot decode") && cut.text.contains("truncated"), "\(cut.text)")
        #expect(await inspect("dump", example.path, "--prefix", "carol").text.contains("DAMAGED"))
        let get = await inspect("get", example.path, "carts", "alice")
        #expect(get.status != 0 && get.warnings.contains("checksumMismatch"))
        try example.harness.close()
    }

    @Test func entriesBesideRecordsAreDumped() async throws {
        let example = try Example()
        try example.fill()
        _ = try example.storeRing(joining: NodeID(rawValue: 0xd4))
        var properties = BucketProperties()
        properties.n = 2
        let entry = PropertiesEntry(
            scope: .bucket(BucketID(name: ByteBuffer(string: "flags"))),
            versioned: VersionedProperties(
                properties: properties, stamp: HybridTimestamp(rawValue: Example.noon), setBy: testNode))
        try example.harness.store.putMeta([(StoredProperties.key, StoredProperties.encode(PropertiesTable([entry])))])
        try example.harness.close()

        let meta = await inspect("dump", example.path, "meta")
        #expect(meta.status == 0, "\(meta.text)")
        for part in [
            "# meta  store/incarnations", "00 00 00 00 00 00 01 1c   incarnation 000000000000011c, the last",
            "# meta  store/clean", "ended with a clean stop", "# meta  node/ring", "epoch 2", "copying",
            "bucket flags: n 2, siblings, set 2026-11-23T12:00:00.000Z by 00000000000000a1 (this one)",
        ] {
            #expect(meta.text.contains(part), "'\(part)' is not in\n\(meta.text)")
        }
        #expect(await inspect("dump", example.path, "meta", "node/ring", "--json").objects.count == 1)

        let partition = example.harness.partition(Example.key("carts", "alice")).index
        let leaves = await inspect("dump", example.path, "merkle", "\(partition)")
        #expect(leaves.status == 0)
        #expect(leaves.text.contains("leaves: 16384") && leaves.text.contains("bytes more"), "\(leaves.text)")
        #expect(await inspect("dump", example.path, "p9999").warnings.contains("there is no family p9999"))
    }
}
