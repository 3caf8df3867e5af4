// What is printed: JSON that any reader takes, and nothing that a terminal would take for a command.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcConsole
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct OutputTests {
    private static let texts = [
        "", "plain", #"quote " and \ backslash / slash"#, "\n\r\t", "\u{0}\u{1}\u{1f}\u{7f}\u{1b}[31m", "\u{85}\u{9b}",
        "käse 🧀 \u{202e}", String(repeating: "long ", count: 1_000) + "\"",
    ]

    @Test func jsonIsReadAsItWasMeant() throws {
        var text = JSONText()
        for _ in 0..<2 {
            text.clear()
            text.beginObject()
            text.field("texts")
            text.beginArray()
            for string in Self.texts { text.value(string) }
            text.endArray()
            text.field("none")
            text.beginArray()
            text.endArray()
            text.field("numbers")
            text.beginArray()
            for number in [0, 7, -1, Int.max, .min] { text.value(number) }
            text.value(UInt64.max)
            text.value(true)
            text.value(false)
            text.endArray()
            text.field(named: Self.texts[2])
            text.beginObject()
            text.endObject()
            text.endObject()
        }
        struct Read: Decodable, Equatable {
            struct Empty: Decodable, Equatable {}
            var texts: [String]
            var none: [Int]
        }
        let read = try JSONDecoder().decode(Read.self, from: Data(text.bytes))
        #expect(read == Read(texts: Self.texts, none: []))
        let line = String(decoding: text.bytes, as: UTF8.self)
        #expect(line.contains("[0,7,-1,9223372036854775807,-9223372036854775808,18446744073709551615,true,false]"))
        #expect(line.hasSuffix(#","quote \" and \\ backslash / slash":{}}"#))
        #expect(text.bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7f })
    }

    @Test func aRecordsLine() async throws {
        let example = try Example()
        try example.fill()
        let line = try #require(
            await inspect("scan", example.path, "--bucket", "carts", "--prefix", "bob", "--json", "--values").lines
                .first)
        let place = await inspect("locate", example.path, "carts", "bob", "--json").objects[0]
        let record = await inspect("get", example.path, "carts", "bob", "--json").lines[0]
        #expect(record == line)
        let bytes = try #require(await inspect("get", example.path, "carts", "bob", "--json").objects[0]["storedBytes"])
        // Apart from #expect, which takes a minute to compile such a text.
        let expected: String = """
            {"bucket":"carts","key":"bob","leaf":\(place["leaf"]!),"mode":"siblings","n":3,\
            "partition":\(place["partition"]!),"position":"\(place["position"]!)","state":"live","storedBytes":\(bytes),\
            "type":"default","vector":[{"actor":"00a1000000000007","counter":1,"node":"00000000000000a1"}],\
            "versions":[{"actor":"00a1000000000007","bytes":3,"contentType":"text/plain","counter":1,\
            "expires":"2096-10-02T07:06:40.000Z","isDeleted":false,"isExpired":false,"node":"00000000000000a1",\
            "stamp":1795428000000000,"value":"tea","writeID":"0000000000000abc0000000000000def",\
            "written":"2026-11-23T10:00:00.000Z"}]}
            """
        #expect(line == expected)
        let alice = await inspect("get", example.path, "carts", "alice", "--json").objects[0]
        #expect(alice["incarnation"] as? String == "000000000000011c")
        #expect((alice["minting"] as? [String: Any])?["counter"] as? Int == 2)
        let binary = await inspect("scan", example.path, "--type", "sets", "--json", "--values").objects[0]
        #expect(binary["key"] as? String == #"\x00\xff"# && binary["type"] as? String == "sets")
        let key = await inspect("keys", example.path, "--type", "sets", "--json").lines
        #expect(key == [#"{"bucket":"s","key":"\\x00\\xff","type":"sets"}"#])
        try example.harness.close()
    }

    @Test func aTerminalIsGivenNoCommands() {
        #expect(Console.harmless("names: ä\tb\nc") == "names: ä\tb\nc")
        #expect(Console.harmless("\u{1b}]0;title\u{7}\r\u{7f}\u{9b}2J") == #"\x1b]0;title\x07\x0d\x7f\x9b2J"#)
        #expect(Console.coloured("x", nil, environment: [:]) == "x")
        #expect(Console.coloured("x", .bad, environment: ["TERM": "xterm"]) == "\u{1b}[31mx\u{1b}[0m")
        #expect(Console.coloured("x", .bad, environment: ["NO_COLOR": "1"]) == "x")
        #expect(Console.coloured("x", .bad, environment: ["TERM": "dumb"]) == "x")
    }

    /// As `diff` had them.
    @Test func namesInADifference() async throws {
        let folder = TemporaryFolder()
        let key = Example.binaryKey
        for (name, actor) in [("one", Example.actor), ("other", Example.otherActor)] {
            let harness = try Harness("\(folder.path)/\(name)")
            try harness.store.beginIncarnation(Example.run)
            let record = Record(
                header: LocalHeader(copies: 3), body: Example.object(Example.sibling(actor, 1, name)).encoded)
            let partition = harness.partition(key)
            let change = LeafChange(
                tree: TreeID(partition: partition, copies: 3), leaf: harness.store.layout.leaf(of: key.position),
                delta: testSeed.contentHash(key: key, body: record.body).rawValue)
            try harness.lanes[0].append(
                RecordWrite(partition: partition, key: key, record: record.encoded(for: key), leaves: [change]))
            try harness.commit()
            try harness.store.sync()
            try harness.store.abandon()
        }
        let outcome = await inspect("diff", folder.path + "/one", folder.path + "/other")
        #expect(outcome.text.contains(#"sets/s/\x00\xff"#), "\(outcome)")
        let object = await inspect("diff", folder.path + "/one", folder.path + "/other", "--json").objects.first
        #expect(object?["key"] as? String == #"\x00\xff"# && object?["bucket"] as? String == "sets/s")
    }
}
