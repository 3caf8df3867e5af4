import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing
import TorcClient
import TorcModel
import TorcReplication
import TorcWire

private func text(_ string: String) -> ByteBuffer { ByteBuffer(string: string) }

private func client(_ ports: Int..., requestTimeout: TimeAmount = .seconds(5)) -> TorcClient {
    var configuration = TorcClient.Configuration(addresses: ports.map { TorcAddress(port: $0) })
    configuration.requestTimeout = requestTimeout
    return TorcClient(configuration)
}

@Suite struct TorcClientTests {
    @Test func aConflictAndItsResolution() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        let key = TorcKey("carts", "ann")
        #expect(try await client.get(key).isFound == false)
        #expect(try await client.get(key).context == nil)

        let first = try await client.put(
            text("milk"), to: key, contentType: "text/plain", userMetadata: [("by", "phone")], returning: .full)
        #expect(first.object.value == text("milk"))
        let read = try await client.get(key)
        #expect(read.versions.map(\.contentType) == ["text/plain"])
        #expect(read.versions[0].userMetadata.map { "\($0)=\($1)" } == ["by=phone"])

        try await client.put(text("milk, eggs"), to: key, context: read.context)
        try await client.put(text("milk, tea"), to: key, context: read.context)
        let conflict = try await client.get(key)
        #expect(Set(conflict.versions.map { String(buffer: $0.value) }) == ["milk, eggs", "milk, tea"])
        #expect(Set(conflict.versions.map(\.tag)).count == 2)
        #expect(conflict.value == nil)

        try await client.put(text("milk, eggs, tea"), to: key, context: conflict.context)
        #expect(try await client.get(key).value == text("milk, eggs, tea"))

        try await client.delete(key, context: try await client.get(key).context)
        let deleted = try await client.get(key)
        #expect(!deleted.isFound)
        #expect(deleted.context != nil)
        await client.shutdown()
        await #expect(throws: TorcError.closed) { try await client.ping() }
        try await node.stop()
    }

    @Test func manyRequestsAtOnce() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<500 {
                group.addTask {
                    let key = TorcKey("b", "k\(index)")
                    try await client.put(text("v\(index)"), to: key)
                    #expect(try await client.get(key).value == text("v\(index)"))
                }
            }
            try await group.waitForAll()
        }
        #expect(node.store.contents.withLock { $0.objects.count } == 500)
        await client.shutdown()
        try await node.stop()
    }

    @Test func conditionsAndRefusals() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        let key = TorcKey("b", "k")
        let put = try await client.put(text("1"), to: key, condition: .ifAbsent, returning: .head)
        await #expect(throws: TorcError.conditionFailed("match_found")) {
            try await client.put(text("2"), to: key, condition: .ifAbsent)
        }
        try await client.put(text("2"), to: key, context: put.object.context, condition: .ifUnmodified)
        await #expect(throws: TorcError.conditionFailed("modified")) {
            try await client.put(text("3"), to: key, context: put.object.context, condition: .ifUnmodified)
        }
        await #expect(throws: TorcError.refused("Key cannot be zero-length")) { try await client.get(TorcKey("b", "")) }
        await #expect(throws: TorcError.refused("Invalid vclock: not one that this cluster gives out")) {
            try await client.put(text("x"), to: key, context: TorcContext(bytes: text("made up")))
        }
        let made = try await client.put(text("x"), to: TorcKey("b", ""))
        #expect(made.madeKey?.readableBytes == 22)
        await client.shutdown()
        try await node.stop()
    }

    @Test func largeValues() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        var value = ByteBuffer()
        for index in 0..<100_000 { value.writeInteger(UInt64(index)) }
        try await client.put(value, to: TorcKey("b", "k"))
        #expect(try await client.get(TorcKey("b", "k")).value == value)
        var tooLarge = ByteBuffer()
        tooLarge.writeRepeatingByte(0, count: 9 << 20)
        // The server says why and closes; as it was sent, the client cannot tell refused from done by the close
        // alone.
        await #expect(throws: TorcError.self) { try await client.put(tooLarge, to: TorcKey("b", "k")) }
        #expect(try await client.get(TorcKey("b", "k")).value == value)
        await client.shutdown()
        try await node.stop()
    }

    @Test func listings() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        for index in 0..<35 { try await client.put(text("v"), to: TorcKey("b\(index % 3)", "k\(index)")) }
        let keys = try await client.keys(inBucket: "b1").collect().map { String(buffer: $0) }
        #expect(Set(keys) == Set((0..<35).filter { $0 % 3 == 1 }.map { "k\($0)" }))
        #expect(keys.count == 12)
        let buckets = try await client.buckets().collect().map { String(buffer: $0) }
        #expect(buckets.sorted() == ["b0", "b1", "b2"])
        await #expect(throws: TorcError.refused("Bucket cannot be zero-length")) {
            try await client.keys(inBucket: "").collect()
        }
        await client.shutdown()
        try await node.stop()
    }

    /// It closes nothing, either.
    @Test func aListingDoesNotWaitForASilentNode() async throws {
        let node = try await InMemoryNode.start()
        node.store.contents.withLock { $0.isMute = true }
        let client = client(node.port, requestTimeout: .milliseconds(50))
        await #expect(throws: TorcError.self) { try await client.keys(inBucket: "b").collect() }
        await client.shutdown()
        try await node.stop()
    }

    @Test func aListingEndsWithItsTask() async throws {
        let node = try await InMemoryNode.start()
        node.store.contents.withLock { $0.isMute = true }
        let client = client(node.port, requestTimeout: .hours(1))
        let listing = Task { try await client.keys(inBucket: "b").collect() }
        try await Task.sleep(for: .milliseconds(50))
        listing.cancel()
        await #expect(throws: CancellationError.self) { try await listing.value }
        await client.shutdown()
        try await node.stop()
    }

    @Test func propertiesAndNodes() async throws {
        let node = try await InMemoryNode.start()
        let client = client(node.port)
        try await client.ping()
        #expect(try await client.serverInfo().version == "3.2.0")
        #expect(try await client.preferenceList(of: TorcKey("b", "k")).map(\.partition) == [3])
        var change = TorcBucketProperties()
        change.copies = 5
        change.keepsSiblings = false
        change.r = .all
        try await client.setProperties(change, ofBucket: "b")
        let set = try await client.properties(ofBucket: "b")
        #expect(set.copies == 5)
        #expect(set.keepsSiblings == false)
        #expect(set.r == .all)
        #expect(set.pr == .replicas(0))
        try await client.resetProperties(ofBucket: "b")
        #expect(try await client.properties(ofBucket: "b").copies == 3)
        await client.shutdown()
        try await node.stop()
    }

    @Test func goesOnToTheNextNodeWhenNothingWasSent() async throws {
        let store = InMemoryStore()
        // Another test must not be given the port of one that is gone.
        let gone = try await InMemoryNode.start(store, port: reservedPorts(1)[0])
        let node = try await InMemoryNode.start(store)
        let client = client(gone.port, node.port)
        try await client.ping()
        try await gone.stop()
        let other = TorcClientTests.unusedClient(gone.port, node.port)
        try await other.put(text("v"), to: TorcKey("b", "k"))
        #expect(store.contents.withLock { $0.requests } == 1)
        await client.shutdown()
        await other.shutdown()
        try await node.stop()
    }

    private static func unusedClient(_ ports: Int...) -> TorcClient {
        TorcClient(TorcClient.Configuration(addresses: ports.map { TorcAddress(port: $0) }))
    }

    @Test func noNodeAtAll() async throws {
        let gone = try await InMemoryNode.start(port: reservedPorts(1)[0])
        try await gone.stop()
        let client = client(gone.port)
        await #expect(throws: TorcError.unreachable(["127.0.0.1:\(gone.port): cannot connect"])) {
            try await client.put(text("v"), to: TorcKey("b", "k"))
        }
        await client.shutdown()
    }

    @Test func aWriteThatWasSentIsNotSentAgain() async throws {
        let mute = try await InMemoryNode.start()
        mute.store.contents.withLock { $0.isMute = true }
        let node = try await InMemoryNode.start()
        let client = client(mute.port, node.port, requestTimeout: .milliseconds(50))
        do {
            try await client.put(text("v"), to: TorcKey("b", "k"))
            Issue.record("no error")
        } catch {
            guard case .indeterminate = error else {
                Issue.record("\(error)")
                return
            }
        }
        #expect(node.store.contents.withLock { $0.requests } == 0)
        // A read may go to the next node.
        #expect(try await client.get(TorcKey("b", "k")).isFound == false)
        #expect(node.store.contents.withLock { $0.requests } == 1)
        await client.shutdown()
        try await mute.stop()
        try await node.stop()
    }

    @Test func aNodeThatRefusesForNowIsPassedOver() async throws {
        let busy = try await InMemoryNode.start()
        busy.store.contents.withLock { $0.refusal = .overloaded }
        let node = try await InMemoryNode.start()
        let client = client(busy.port, node.port)
        try await client.put(text("v"), to: TorcKey("b", "k"))
        #expect(node.store.contents.withLock { $0.objects.count } == 1)
        node.store.contents.withLock { $0.refusal = .overloaded }
        await #expect(throws: TorcError.refused("overload")) { try await client.get(TorcKey("b", "k")) }
        await client.shutdown()
        try await busy.stop()
        try await node.stop()
    }

    @Test func aLostConnectionIsMadeAgain() async throws {
        let store = InMemoryStore()
        let node = try await InMemoryNode.start(store)
        let client = client(node.port)
        try await client.put(text("v"), to: TorcKey("b", "k"))
        // Not a message: the server ends the connection.
        let channel = try await RiakChannel.connect(
            host: "127.0.0.1", port: node.port, on: MultiThreadedEventLoopGroup.singleton.next()
        ).get()
        let failure: Result<RiakFrame, RiakChannelFailure> = await withCheckedContinuation { continuation in
            channel.eventLoop.execute {
                channel.send(RiakFrame(.getRequest, body: ByteBuffer(bytes: [0xff]))) { _ in
                    channel.channel.closeFuture.assumeIsolated().whenComplete { _ in
                        channel.send(RiakClientMessages.ping) { continuation.resume(returning: $0) }
                    }
                }
            }
        }
        #expect(failure == .failure(.notSent))
        #expect(try await client.get(TorcKey("b", "k")).value == text("v"))
        await client.shutdown()
        try await node.stop()
    }

    @Test(
        arguments: [
            ("h", TorcAddress(host: "h", port: 8087)), ("h:1", TorcAddress(host: "h", port: 1)),
            ("[::1]:2", TorcAddress(host: "::1", port: 2)), ("::1", TorcAddress(host: "::1", port: 8087)),
            ("", nil), ("h:0", nil), ("h:x", nil), (":1", nil), ("[::1]x", nil),
        ] as [(String, TorcAddress?)])
    func addresses(text: String, address: TorcAddress?) { #expect(TorcAddress(text) == address) }
}
