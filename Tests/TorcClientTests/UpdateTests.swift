// Resolvers, updates under contention, keys that are spread over parts, counters.

import NIOCore
import Synchronization
import Testing
import TorcClient
import TorcModel
import TorcWire

private func text(_ string: String) -> ByteBuffer { ByteBuffer(string: string) }

/// A node, a client, and nothing left of them afterwards.
private func withClient(_ body: (TorcClient, InMemoryStore) async throws -> Void) async throws {
    let node = try await InMemoryNode.start()
    let client = TorcClient(TorcClient.Configuration(addresses: [TorcAddress(port: node.port)]))
    do {
        try await body(client, node.store)
    } catch {
        await client.shutdown()
        try? await node.stop()
        throw error
    }
    await client.shutdown()
    try await node.stop()
}

@Suite struct UpdateTests {
    private let key = TorcKey("carts", "ann")

    private func add(_ line: String, _ client: TorcClient) async throws {
        try await client.update(key, resolver: UnionOfLines()) { content in
            UnionOfLines.content(UnionOfLines.lines(content).union([line]))
        }
    }

    @Test func siblingsBecomeOne() async throws {
        try await withClient { client, _ in
            try await client.put(text("eggs\nmilk"), to: key)
            try await client.put(text("milk\ntea"), to: key)
            #expect(try await client.read(key, resolver: UnionOfLines())?.text == "eggs\nmilk\ntea")
            #expect(try await client.get(key).versions.count == 2)
            try await add("bread", client)
            #expect(try await client.get(key).value == text("bread\neggs\nmilk\ntea"))
        }
    }

    @Test func nobodysChangeIsLost() async throws {
        try await withClient { client, _ in
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for writer in 0..<4 {
                    tasks.addTask { for step in 0..<10 { try await add("\(writer).\(step)", client) } }
                }
                try await tasks.waitForAll()
            }
            let stands = try await client.get(key)
            #expect(stands.versions.count == 1)
            #expect(UnionOfLines.lines(TorcContent(stands.versions[0])).count == 40)
        }
    }

    @Test func itGivesUpWhenOthersAlwaysComeFirst() async throws {
        try await withClient { client, _ in
            var calls = 0
            await #expect(throws: TorcError.conditionFailed("modified")) {
                try await client.update(key, resolver: LatestVersion()) { _ in
                    calls += 1
                    try await client.put(text("other \(calls)"), to: key)
                    return TorcContent("mine")
                }
            }
            #expect(calls == TorcClient.updateAttempts)
        }
    }

    @Test func whatIsNotThereAndWhatIsDeleted() async throws {
        try await withClient { client, store in
            // Nothing there, and nothing to write.
            #expect(try await client.update(key, resolver: LatestVersion()) { $0 } == nil)
            #expect(store.contents.withLock { $0.writeIDs.isEmpty })
            try await add("milk", client)
            #expect(try await client.update(key, resolver: LatestVersion()) { _ in nil } == nil)
            #expect(try await client.get(key).isFound == false)
            // Over a tombstone.
            try await add("tea", client)
            #expect(try await client.get(key).value == text("tea"))
            struct Stop: Error {}
            await #expect(throws: Stop.self) {
                try await client.update(key, resolver: LatestVersion()) { _ in throw Stop() }
            }
            #expect(try await client.get(key).value == text("tea"))
        }
    }

    @Test func metadataIsKept() async throws {
        try await withClient { client, _ in
            try await client.update(key, resolver: LatestVersion()) { _ in
                TorcContent(text("{}"), contentType: "application/json", userMetadata: ["by": "phone"])
            }
            let changed = try await client.update(key, resolver: LatestVersion()) { content in
                var content = try #require(content)
                content.value = text("[]")
                return content
            }
            let version = try #require(try await client.get(key).versions.first)
            #expect(TorcContent(version) == changed && version.contentType == "application/json")
            #expect(version.userMetadata.map { "\($0.name)=\($0.value)" } == ["by=phone"])
        }
    }

    @Test func theLatestOfSeveral() async throws {
        try await withClient { client, _ in
            for value in ["1", "2", "3"] { try await client.put(text(value), to: key) }
            #expect(try await client.get(key).versions.count == 3)
            #expect(try await client.read(key, resolver: LatestVersion())?.text == "3")
        }
    }
}

@Suite struct SplitKeyTests {
    @Test func partsHaveNamesOfTheirOwn() {
        let split = SplitKey(TorcKey("b", "visits", type: "t"), parts: 12)
        #expect(Set(split.all).count == 12)
        #expect(split.part(3) == TorcKey("b", "visits\u{1f}3", type: "t"))
        // They lie all over the ring.
        let partitions = split.all.map { RingSize(partitions: 64)!.partition(of: $0.position!) }
        #expect(Set(partitions).count > 6)
    }

    @Test func writesAreSpreadAndReadsMerge() async throws {
        try await withClient { client, store in
            let split = SplitKey(TorcKey("b", "tags"), parts: 4)
            #expect(try await client.read(split, resolver: UnionOfLines()) == nil)
            for number in 0..<60 {
                try await client.update(split, resolver: UnionOfLines()) { content, _ in
                    UnionOfLines.content(UnionOfLines.lines(content).union(["t\(number)"]))
                }
            }
            #expect(store.contents.withLock { $0.objects.count } == 4)
            let all = try await client.read(split, resolver: UnionOfLines())
            #expect(UnionOfLines.lines(all) == Set((0..<60).map { "t\($0)" }))
            try await client.delete(split)
            #expect(try await client.read(split, resolver: UnionOfLines()) == nil)
        }
    }

    @Test func aCounterCountsAll() async throws {
        try await withClient { client, _ in
            let visits = SplitKey(TorcKey("b", "visits"), parts: 3)
            #expect(try await client.total(of: visits) == 0)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for writer in 0..<4 {
                    tasks.addTask {
                        for step in 0..<15 {
                            try await client.add(step % 5 == 4 ? -1 : 1, to: visits, by: "w\(writer)")
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            #expect(try await client.total(of: visits) == 4 * (12 - 3))
            // Something else under a part's key.
            try await client.put(text("no counter"), to: visits.part(0))
            await #expect(throws: TorcCounter.Failure.self) { try await client.total(of: visits) }
        }
    }
}

@Suite struct CounterTests {
    private func counter(_ text: String) throws -> TorcCounter { try TorcCounter(TorcContent(text)) }

    @Test func mergingTakesTheGreaterOfEach() throws {
        var merged = try counter("a 5 0\nb 1 1")
        try merged.merge(try counter("a 3 2\nc 7 0"))
        #expect(merged.content.text == "a 5 2\nb 1 1\nc 7 0")
        #expect(merged.total == 10)
        var again = merged
        try again.merge(merged)
        #expect(again == merged)
        try again.add(-4, by: "c")
        #expect(again.total == 6 && again.content.text.hasSuffix("c 7 4"))
    }

    @Test(arguments: ["x", "a 1", "a 1 2 3", "a -1 0", "a 1 0\na 1 0", "a  1", " 1 0", "a 99999999999999999999 0"])
    func whatIsNone(_ text: String) {
        #expect(throws: TorcCounter.Failure.notACounter) { try counter(text) }
    }

    @Test func bounds() throws {
        var full = try counter("a \(Int64.max) 0\nb 1 0")
        #expect(full.total == nil)
        #expect(throws: TorcCounter.Failure.overflow) { try full.add(1, by: "a") }
        #expect(throws: TorcCounter.Failure.overflow) { try full.add(.min, by: "b") }
        #expect(throws: TorcCounter.Failure.badName("two words")) { try full.add(1, by: "two words") }
        var many = TorcCounter()
        for index in 0..<TorcCounter.maximumWriters { try many.add(1, by: "w\(index)") }
        #expect(throws: TorcCounter.Failure.tooManyWriters) { try many.add(1, by: "one-more") }
        #expect(try TorcCounter(many.content) == many)
    }
}
