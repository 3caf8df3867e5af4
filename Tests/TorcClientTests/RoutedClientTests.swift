// The client over several nodes that tell it their ring, and over nodes that carry a put out and do not say so.

import NIOCore
import Synchronization
import Testing
import TorcClient
import TorcModel
import TorcReplication
import TorcWire

private func text(_ string: String) -> ByteBuffer { ByteBuffer(string: string) }

/// Nodes a, b, c, …, each with a store of its own; all tell one ring.
private struct Nodes {
    var nodes: [InMemoryNode] = []
    let client: TorcClient

    init(
        owners: String, count: Int, _ adjust: (inout TorcClient.Configuration) -> Void = { _ in }
    ) async throws {
        for index in 0..<count {
            let node = try await InMemoryNode.start()
            node.store.contents.withLock { $0.name = Self.name(index) }
            nodes.append(node)
        }
        var configuration = TorcClient.Configuration(addresses: nodes.map { TorcAddress(port: $0.port) })
        configuration.requestTimeout = .seconds(2)
        adjust(&configuration)
        client = TorcClient(configuration)
        tell(owners)
        await client.refreshRing()
    }

    private static func name(_ index: Int) -> String { String("abcdefg".dropFirst(index).first!) }

    func tell(_ owners: String, fingerprint: UInt64 = 1) {
        let members = nodes.indices.map(Self.name)
        let ring = RiakRing(
            fingerprint: fingerprint, epoch: fingerprint, size: RingSize(partitions: 8)!, members: members,
            owners: owners.map { UInt16(members.firstIndex(of: String($0))!) })!
        for node in nodes { node.store.contents.withLock { $0.ring = ring } }
    }

    var requests: [Int] { nodes.map { $0.store.contents.withLock { $0.requests } } }

    func end() async throws {
        await client.shutdown()
        for node in nodes { try? await node.stop() }
    }
}

@Suite struct RingAwareTests {
    @Test func eachKeyIsAskedOfItsOwner() async throws {
        let nodes = try await Nodes(owners: "abcabcab", count: 3)
        var expected = [0, 0, 0]
        for index in 0..<60 {
            let key = TorcKey("b", "k\(index)")
            expected[RingSize(partitions: 8)!.partition(of: key.position!).index % 3] += 1
            try await nodes.client.put(text("v"), to: key)
        }
        #expect(nodes.requests == expected && expected.allSatisfy { $0 > 5 })
        // A key that the server makes has no owner yet.
        try await nodes.client.put(text("v"), to: TorcKey("b", ""))
        #expect(nodes.requests.reduce(0, +) == 61)
        try await nodes.end()
    }

    @Test func theNextReplicaWhenTheOwnerIsGone() async throws {
        let nodes = try await Nodes(owners: "bbbbcccc", count: 3)
        let key = (0...).lazy.map { TorcKey("b", "k\($0)") }.first { $0.position!.rawValue < 1 << 63 }!
        try await nodes.client.put(text("v"), to: key)
        #expect(nodes.requests == [0, 1, 0])
        try await nodes.nodes[1].stop()
        // The listener is gone, the connection is not: it is answered as before.
        try await nodes.client.put(text("v"), to: key)
        #expect(nodes.requests == [0, 2, 0])
        let late = try await Nodes(owners: "bbbbcccc", count: 3)
        try await late.nodes[1].stop()
        let other = TorcClient(
            TorcClient.Configuration(addresses: late.nodes.map { TorcAddress(port: $0.port) }))
        await other.refreshRing()
        try await other.put(text("v"), to: key)
        // c follows b on the ring; a holds nothing.
        #expect(late.requests == [0, 0, 1])
        await other.shutdown()
        try await late.end()
        try await nodes.end()
    }

    @Test func aNewRingIsTakenOver() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 2)
        let key = TorcKey("b", "k")
        _ = try await nodes.client.get(key)
        nodes.tell("bbbbbbbb", fingerprint: 2)
        _ = try await nodes.client.get(key)
        #expect(nodes.requests == [2, 0])
        await nodes.client.refreshRing()
        _ = try await nodes.client.get(key)
        #expect(nodes.requests == [2, 1])
        try await nodes.end()
    }

    @Test func withoutTheRingTheFirstNodeIsAsked() async throws {
        let nodes = try await Nodes(owners: "bbbbbbbb", count: 2) { $0.isRingAware = false }
        for index in 0..<10 { _ = try await nodes.client.get(TorcKey("b", "k\(index)")) }
        #expect(nodes.requests == [10, 0])
        for node in nodes.nodes { node.store.contents.withLock { $0.ring = nil } }
        let other = TorcClient(TorcClient.Configuration(addresses: nodes.nodes.map { TorcAddress(port: $0.port) }))
        await other.refreshRing()
        for index in 0..<10 { _ = try await other.get(TorcKey("b", "k\(index)")) }
        #expect(nodes.requests == [20, 0])
        await other.shutdown()
        try await nodes.end()
    }

    @Test func connectionsAreBounded() async throws {
        let nodes = try await Nodes(owners: "aaaabbbb", count: 2) {
            $0.connectionsPerNode = 3
            $0.requestTimeout = .seconds(20)
        }
        let client = nodes.client
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for index in 0..<400 {
                tasks.addTask { try await client.put(text("v"), to: TorcKey("b", "k\(index)")) }
            }
            try await tasks.waitForAll()
        }
        #expect(nodes.requests.reduce(0, +) == 400)
        #expect(client.connectionCounts.allSatisfy { (1...3).contains($0) }, "\(client.connectionCounts)")
        try await nodes.end()
    }
}

@Suite struct WriteRetryTests {
    private func isIndeterminate(_ body: () async throws -> Void) async -> Bool {
        do {
            try await body()
            return false
        } catch let error as TorcError {
            if case .indeterminate = error { return true }
            return false
        } catch {
            return false
        }
    }

    @Test func aPutThatStandsIsFoundAndNotWrittenAgain() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 1)
        let key = TorcKey("b", "k")
        try await nodes.client.put(text("1"), to: key)
        let read = try await nodes.client.get(key)
        nodes.nodes[0].store.contents.withLock { $0.unansweredPuts = 1 }
        try await nodes.client.put(text("2"), to: key, context: read.context)
        let after = try await nodes.client.get(key)
        #expect(after.value == text("2"))
        nodes.nodes[0].store.contents.withLock { contents in
            #expect(contents.writeIDs.count == 3)
            #expect(contents.writeIDs[1] != nil && contents.writeIDs[1] == contents.writeIDs[2])
            // Minted once.
            #expect(contents.nextCounter == 2)
        }
        // The name is not shown: it must not be written back with the next value.
        #expect(after.versions[0].userMetadata.isEmpty)
        try await nodes.end()
    }

    @Test func aPutThatWasReplacedDoesNotComeBack() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 1)
        let store = nodes.nodes[0].store
        let key = TorcKey("b", "k")
        try await nodes.client.put(text("1"), to: key)
        let read = try await nodes.client.get(key)
        // The first attempt is lost; before the second arrives somebody has written something else.
        store.contents.withLock { $0.isMute = true }
        let other = TorcClient(TorcClient.Configuration(addresses: [TorcAddress(port: nodes.nodes[0].port)]))
        async let outcome = isIndeterminate {
            try await nodes.client.put(text("2"), to: key, context: read.context)
        }
        while store.contents.withLock({ $0.writeIDs.count }) < 2 { try await Task.sleep(for: .milliseconds(1)) }
        store.contents.withLock { $0.isMute = false }
        try await other.put(text("3"), to: key, context: read.context)
        #expect(await outcome)
        #expect(try await other.get(key).value == text("3"))
        await other.shutdown()
        try await nodes.end()
    }

    @Test func withoutAContextItIsNotSentAgain() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 1)
        let store = nodes.nodes[0].store
        store.contents.withLock { $0.unansweredPuts = 1 }
        #expect(await isIndeterminate { try await nodes.client.put(text("1"), to: TorcKey("b", "k")) })
        store.contents.withLock { $0.unansweredPuts = 1 }
        #expect(
            await isIndeterminate { try await nodes.client.put(text("1"), to: TorcKey("b", "l"), condition: .ifAbsent) }
        )
        store.contents.withLock { #expect($0.writeIDs == [nil, nil]) }
        try await nodes.end()
    }

    @Test func retriesAreBounded() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 1) {
            $0.writeRetries = 2
            $0.requestTimeout = .milliseconds(500)
        }
        let key = TorcKey("b", "k")
        let store = nodes.nodes[0].store
        try await nodes.client.put(text("1"), to: key)
        let context = try await nodes.client.get(key).context
        store.contents.withLock { $0.isMute = true }
        #expect(await isIndeterminate { try await nodes.client.put(text("2"), to: key, context: context) })
        store.contents.withLock { contents in
            #expect(contents.writeIDs.count == 4 && Set(contents.writeIDs.dropFirst()).count == 1)
        }
        try await nodes.end()
    }

    @Test func namesOfWrites() {
        let operation = WriteOperation()
        #expect(WriteOperation("\(operation)") == operation && "\(operation)".count == 32)
        #expect(WriteOperation() != operation)
        for bad in ["", "1", "+123456789abcdef0123456789abcdef", String(repeating: "g", count: 32)] {
            #expect(WriteOperation(bad) == nil)
        }
    }

    @Test func aProgramsOwnName() async throws {
        let nodes = try await Nodes(owners: "aaaaaaaa", count: 1)
        let operation = WriteOperation()
        for _ in 0..<3 { try await nodes.client.put(text("1"), to: TorcKey("b", "k"), operation: operation) }
        #expect(try await nodes.client.get(TorcKey("b", "k")).value == text("1"))
        try await nodes.end()
    }
}
