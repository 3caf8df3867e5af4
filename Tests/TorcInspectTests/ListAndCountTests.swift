// Records of a folder, listed and counted: filters, groups, histograms, and what is said of what cannot be read.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct ListAndCountTests {
    private func names(_ example: Example, _ filters: String...) async -> Set<String> {
        let outcome = await inspect(["keys", example.path] + filters)
        #expect(outcome.status == 0, "\(outcome.warnings)")
        return Set(outcome.lines)
    }

    @Test func filtersChooseRecords() async throws {
        let example = try Example()
        try example.fill()
        #expect(await names(example).count == 9)
        #expect(await names(example, "--bucket", "flags") == ["flags/on", "flags/off"])
        #expect(await names(example, "--type", "default").count == 8)
        #expect(await names(example, "--bucket", "carts", "--prefix", "da") == ["carts/dave"])
        #expect(await names(example, "--siblings", "2") == ["carts/alice", "carts/frank"])
        #expect(await names(example, "--siblings", "3") == [])
        #expect(await names(example, "--limit", "4").count == 4)
        // The newest of alice's versions is a second past noon; tombstones have no time.
        #expect(await names(example, "--bucket", "carts", "--since", "2026-11-23T12:00:00Z") == ["carts/alice"])
        #expect(
            await names(example, "--bucket", "carts", "--since", "2026-11-23", "--until", "2026-11-23T12:00:00Z")
                == ["carts/bob"])
        #expect(await names(example, "--bucket", "carts", "--until", "2026-11-23") == ["carts/dave", "carts/frank"])
        let alice = Example.key("carts", "alice")
        let partition = example.harness.partition(alice)
        let here = await names(example, "--partition", "\(partition.index)")
        #expect(here.contains("carts/alice") && here.count < 9)
        for (filter, problem) in [
            (["--partition", "8"], "the ring has partitions 0…7"),
            (["--since", "yesterday"], "write 2026-11-23T14:30:00Z"),
            (["--siblings", "0"], "a number from 1"), (["--prefix", #"a\"#], "for a backslash"),
        ] {
            let outcome = await inspect(["keys", example.path] + filter)
            #expect(outcome.status != 0 && outcome.warnings.contains(problem), "\(filter): \(outcome.warnings)")
        }
        try example.harness.close()
    }

    @Test func aScanShowsStatesAndValues() async throws {
        let example = try Example()
        try example.fill()
        let outcome = await inspect("scan", example.path, "--bucket", "carts")
        func line(_ name: String) -> String { outcome.lines.first { $0.contains("carts/" + name) } ?? "" }
        #expect(line("alice").hasPrefix("live              2"))
        #expect(line("alice").hasSuffix("2026-11-23T12:00:01.000Z  carts/alice  milk, bread"))
        #expect(
            line("carol").hasPrefix("tombstone         0")
                && line("carol").hasSuffix("-                         carts/carol"))
        #expect(line("dave").hasPrefix("expired") && line("eve").hasPrefix("grave"))
        let objects = await inspect("scan", example.path, "--prefix", "bob", "--json", "--values").objects
        #expect(((objects[0]["versions"] as? [[String: Any]])?[0]["value"] as? String) == "tea")
        let plain = await inspect("scan", example.path, "--prefix", "bob", "--json").objects
        #expect(((plain[0]["versions"] as? [[String: Any]])?[0]["value"]) == nil)
        try example.harness.close()
    }

    private func counts(_ object: [String: Any]) -> [String: Int] {
        (object["count"] as? [String: Any] ?? [:]).compactMapValues { $0 as? Int }
    }

    @Test func recordsAreCountedByKind() async throws {
        let example = try Example()
        try example.fill()
        let objects = await inspect("count", example.path, "--json").objects
        #expect(objects.map { $0["bucket"] as? String } == ["carts", "flags", "s", nil])
        #expect(objects[2]["type"] as? String == "sets")
        let carts = counts(objects[0])
        #expect(
            carts["records"] == 6 && carts["live"] == 3 && carts["withSiblings"] == 2 && carts["partlyExpired"] == 1)
        #expect(carts["tombstones"] == 1 && carts["expired"] == 1 && carts["graves"] == 1)
        #expect(carts["valueBytes"] == 10 + 11 + 3 + 3 + 5 + 4)
        let flags = counts(objects[1])
        #expect(flags["records"] == 2 && flags["live"] == 1 && flags["tombstones"] == 1)
        let total = counts(objects[3])
        #expect(objects[3]["isTotal"] as? Bool == true && total["records"] == 9 && total["live"] == 5)
        #expect(total["bytes"] == objects.dropLast().reduce(0) { $0 + (counts($1)["bytes"] ?? 0) })

        let partitions = await inspect("count", example.path, "--by", "partition", "--json").objects
        #expect(partitions.dropLast().reduce(0) { $0 + (counts($1)["records"] ?? 0) } == 9)
        let index = example.harness.partition(Example.key("carts", "alice")).index
        #expect(partitions.contains { $0["partition"] as? Int == index })

        let table = await inspect("count", example.path, "--siblings", "2").lines
        #expect(table.count == 3)
        #expect(table[1].split(separator: " ").prefix(4) == ["carts", "2", "2", "2"])
        try example.harness.close()
    }

    @Test func whatCannotBeReadIsToldAndTheRestCounted() async throws {
        let example = try Example()
        try example.fill()
        try example.writeRaw(Example.key("carts", "zoe"), ByteBuffer(string: "no record at all"))
        try example.harness.store.sync()
        let outcome = await inspect("count", example.path, "--json")
        #expect(outcome.status == 1)
        #expect(counts(outcome.objects.last!)["records"] == 9)
        let key = PlainText.hex(Example.key("carts", "zoe").storageKey)
        #expect(outcome.warnings.contains("key \(key): cannot decode record: checksumMismatch"), "\(outcome.warnings)")
        #expect(outcome.warnings.contains("torc inspect verify \(example.path)"))
        try example.harness.close()
    }

    @Test func bucketsAreListedWithTheirProperties() async throws {
        let example = try Example()
        try example.fill()
        var properties = BucketProperties()
        properties.n = 2
        properties.conflictMode = .lww
        let entries = ["flags", "empty"].map { name in
            PropertiesEntry(
                scope: .bucket(BucketID(name: ByteBuffer(string: name))),
                versioned: VersionedProperties(
                    properties: properties, stamp: HybridTimestamp(rawValue: Example.noon), setBy: testNode))
        }
        try example.harness.store.putMeta([(StoredProperties.key, StoredProperties.encode(PropertiesTable(entries)))])
        let objects = await inspect("buckets", example.path, "--json").objects
        #expect(objects.map { $0["bucket"] as? String } == ["carts", "empty", "flags", "s"])
        #expect(objects[2]["n"] as? Int == 2 && objects[2]["mode"] as? String == "lww")
        #expect(objects[2]["isSet"] as? Bool == true && objects[0]["isSet"] as? Bool == false)
        #expect(objects[0]["newest"] as? String == "2026-11-23T12:00:01.000Z")
        #expect(counts(objects[1])["records"] == 0)
        #expect(await inspect("buckets", example.path, "--prefix", "a", "--json").objects.count == 1)
        try example.harness.close()
    }

    @Test func sizesSiblingsAndVectorsAreSpread() async throws {
        let example = try Example()
        try example.fill()
        let objects = await inspect("histogram", example.path, "--json").objects
        #expect(objects.map { $0["of"] as? String } == ["record bytes", "versions", "vector entries"])
        // A grave is none of them.
        #expect(objects.allSatisfy { $0["records"] as? Int == 8 })
        func rows(_ object: [String: Any]) -> [[Int]] {
            (object["rows"] as? [[String: Any]] ?? []).map { [$0["from"] as? Int ?? -1, $0["records"] as? Int ?? -1] }
        }
        #expect(rows(objects[1]) == [[0, 1], [1, 5], [2, 2]])
        #expect(rows(objects[2]) == [[1, 6], [2, 2]])
        #expect(["carts/alice", "carts/frank"].contains(objects[1]["largestKey"] as? String))
        #expect(await inspect("histogram", example.path).text.contains("largest 2 (carts/"))
        try example.harness.close()
    }

    @Test func aHistogramsRowsAndQuantiles() {
        var histogram = Histogram("bytes")
        #expect(histogram.text == "bytes: none")
        for amount: UInt64 in [0, 3, 15, 16, 31, 32, 1000, 1023, 1024, .max] { histogram.add(amount) }
        let rows = histogram.rows.map { [$0.from, $0.through, $0.count] }
        #expect(
            rows == [
                [0, 0, 1], [3, 3, 1], [15, 15, 1], [16, 31, 2], [32, 63, 1], [512, 1023, 2], [1024, 2047, 1],
                [1 << 63, .max, 1],
            ])
        #expect(histogram.quantile(0.5) == 31)
        #expect(histogram.quantile(0.8) == 1023)
        #expect(histogram.quantile(1) == .max)
    }

    @Test func timesAreThoseOfTheCalendar() {
        for seconds: UInt64 in [
            0, 951_782_399, 951_782_400, 951_868_800, 1_078_012_800, 1_795_435_200, 4_107_542_399, 4_107_542_400,
            253_402_300_799,
        ] + (0..<400).map({ $0 * 97 * 86_400 + 11 * $0 }) {
            let date = Date(timeIntervalSince1970: Double(seconds) + 0.25)
            #expect(
                PlainText.time(WallTime(microseconds: seconds * 1_000_000 + 250_000))
                    == date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)), "\(seconds)")
        }
        // Whatever stands in a record is shown.
        #expect(PlainText.time(WallTime(microseconds: .max)) == "586524-01-19T08:01:49.551Z")
    }

    @Test func namesAreTypedAsTheyAreShown() {
        for bytes: [UInt8] in [Array("käse".utf8), [0, 255, 92], Array("a\\xb".utf8), [], Array("two words\n".utf8)] {
            let buffer = ByteBuffer(bytes: bytes)
            #expect(PlainText.bytes(of: PlainText.name(buffer)) == buffer, "\(bytes)")
        }
        #expect(PlainText.name(ByteBuffer(string: "käse/1")) == "käse/1")
        #expect(PlainText.name(ByteBuffer(string: "a\nb")) == #"a\x0ab"#)
        for wrong in [#"\"#, #"\n"#, #"\x1"#, #"\xzz"#, #"\x+1"#] {
            #expect(PlainText.bytes(of: wrong) == nil, "\(wrong)")
        }
        // The cut falls into a character of two bytes.
        let long = ByteBuffer(string: String(repeating: "ä", count: 500) + "b")
        #expect(PlainText.preview(long, width: 10) == String(repeating: "ä", count: 10) + "…")
        #expect(PlainText.preview(ByteBuffer(bytes: [0xff, 0, 1]), width: 48) == "ff 00 01")
    }
}
