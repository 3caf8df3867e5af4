// Looking at a folder in which something is broken: what can be read is shown, the rest is told, and nothing traps.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct DamageTests {
    private func files(_ path: String, _ suffix: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/db").filter {
            $0.hasPrefix(suffix) || $0.hasSuffix(suffix)
        }
        .sorted().map { "\(path)/db/\($0)" }
    }

    @Test func aDamagedTableCostsItsPartitionAlone() async throws {
        let example = try Example()
        for number in 0..<800 {
            try example.write(
                Example.key("b", "key\(number)"),
                Example.object(Example.sibling(Example.actor, 1, String(repeating: "v", count: 200) + "\(number)")))
        }
        let byPartition = Dictionary(
            grouping: (0..<800).map { example.harness.partition(Example.key("b", "key\($0)")).index }, by: { $0 }
        ).mapValues(\.count)
        try example.harness.close()
        // A partition's table is larger than what `meta` and `hints` hold and far smaller than the leaves.
        let file = try #require(
            try files(example.path, ".sst").first {
                (16_000..<200_000).contains(try Data(contentsOf: URL(fileURLWithPath: $0)).count)
            })
        var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
        bytes[bytes.count / 3] ^= 1
        try bytes.write(to: URL(fileURLWithPath: file))

        let outcome = await inspect("count", example.path, "--by", "partition", "--json")
        #expect(outcome.status == 1)
        #expect(outcome.warnings.contains("nothing behind that was read"), "\(outcome.warnings)")
        #expect(outcome.warnings.contains("block checksum mismatch"), "\(outcome.warnings)")
        var short: [Int] = []
        for (partition, records) in byPartition {
            let line = outcome.objects.first { $0["partition"] as? Int == partition }
            let found = (line?["count"] as? [String: Any])?["records"] as? Int ?? 0
            if found < records { short.append(partition) } else { #expect(found == records) }
        }
        #expect(short.count == 1, "\(short)")
        for command in ["keys", "scan", "histogram", "buckets", "tombstones", "dump"] {
            let other = await inspect(command, example.path)
            #expect(other.status == 1 && other.warnings.contains("checksum mismatch"), "\(command): \(other.warnings)")
        }
    }

    @Test func aDatabaseThatCannotBeOpenedStillHasAnOwner() async throws {
        let example = try Example()
        try example.fill()
        try example.harness.close()
        let manifest = try #require(files(example.path, "MANIFEST-").last)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: manifest))
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: URL(fileURLWithPath: manifest))
        let outcome = await inspect("info", example.path)
        #expect(outcome.status == 1)
        #expect(
            outcome.text.contains("node      \(testNode)") && outcome.text.contains("database  "), "\(outcome.text)")
        #expect(outcome.warnings.contains("torc inspect verify"))
        let json = await inspect("info", example.path, "--json").objects[0]
        #expect(json["node"] as? String == "\(testNode)" && (json["problem"] as? String)?.isEmpty == false)
        #expect(await inspect("count", example.path).status != 0)
    }

    /// Bodies of records that went through a hostile hand, under a checksum that is right, and whole records under one that is not.
    private func hostile(_ number: Int, _ generator: inout SeededGenerator, _ body: ByteBuffer) -> ByteBuffer {
        var bytes = Array(body.readableBytesView)
        switch number % 4 {
        case 0:
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes.removeLast(Int.random(in: 1...bytes.count, using: &generator))
        case 2: bytes.replaceSubrange(0..<Int.random(in: 1...bytes.count, using: &generator), with: [])
        default:
            let at = Int.random(in: 0..<bytes.count, using: &generator)
            bytes.replaceSubrange(at..<min(bytes.count, at + 10), with: [UInt8](repeating: 0xff, count: 9) + [1])
        }
        return ByteBuffer(bytes: bytes)
    }

    @Test(.timeLimit(.minutes(2))) func hostileBytesAreShownAndNeverTrap() async throws {
        let example = try Example()
        var generator = SeededGenerator(seed: 0x100c)
        var expiring = Example.sibling(Example.otherActor, 4, "milk", expiry: .max, writeID: WriteID(high: 1, low: 2))
        expiring.timestamp = HybridTimestamp(rawValue: .max)
        let object = Example.object(Example.sibling(Example.actor, 2, "eggs"), expiring)
        let written = 400
        for number in 0..<written {
            let key = Example.key("b", "key\(number)")
            if number.isMultiple(of: 2) {
                let body = hostile(number / 2, &generator, object.encoded)
                try example.writeRaw(key, Record(header: LocalHeader(copies: 3), body: body).encoded(for: key))
            } else {
                let record = Record(header: LocalHeader(copies: 3), body: object.encoded).encoded(for: key)
                try example.writeRaw(key, hostile(number / 2, &generator, record))
            }
        }
        try example.write(Example.key("b", "far"), object)
        try example.harness.store.putMeta([
            ("declared", ByteBuffer(bytes: [1, 0xff, 0xff, 3])), ("unheard-of", ByteBuffer(bytes: [1, 2, 3])),
        ])
        try example.harness.store.sync()

        let count = await inspect("count", example.path, "--json")
        #expect(count.status == 1)
        let read = (count.objects.last?["count"] as? [String: Any])?["records"] as? Int ?? 0
        #expect(read >= 1 && read < written / 2, "\(read)")
        #expect(count.warnings.contains("more"), "\(count.warnings)")

        let nameless = await inspect("get", example.path, "b", "far")
        #expect(nameless.status == 0 && nameless.warnings.contains("names of nodes are missing below"))
        try example.harness.store.putMeta([("declared", nil)])
        let dump = await inspect("dump", example.path)
        #expect(dump.status == 1)
        #expect(dump.lines.count { $0.hasPrefix("# p0") } == written + 1)
        #expect(dump.lines.count { $0.hasPrefix("DAMAGED") } >= written - read)
        #expect(await inspect("dump", example.path, "meta").text.contains("bytes that this build knows nothing of"))
        let far = await inspect("get", example.path, "b", "far")
        #expect(far.status == 0 && far.text.contains("expires at"), "\(far.text)\(far.warnings)")
        for command in ["scan", "histogram", "tombstones", "buckets", "keys"] {
            #expect(await inspect(command, example.path, "--json").status == 1)
        }
        try example.harness.close()
    }
}
