// The examples of docs/CLIENT.md: each line of them stands here too, compiled and run.

import Foundation
import NIOCore
import Synchronization
import Testing
import TorcClient

struct LongestText: SiblingResolver {
    func resolve(_ versions: [TorcVersion]) -> TorcContent {
        let all = versions.map { TorcContent($0) }
        return all.max { ($0.text.count, $0.text) < ($1.text.count, $1.text) }!
    }
}

@Suite struct ExampleTests {
    @Test func whatIsDocumentedRuns() async throws {
        do {
            let addresses = ["10.0.0.1:8087", "10.0.0.2:8087", "10.0.0.3:8087"].compactMap { TorcAddress($0) }
            let client = TorcClient(TorcClient.Configuration(addresses: addresses))
            #expect(client.connectionCounts == [0, 0, 0])
            await client.shutdown()
        }
        let node = try await InMemoryNode.start()
        let client = TorcClient(TorcClient.Configuration(addresses: [TorcAddress(port: node.port)]))
        let order = TorcKey("orders", "7")
        try await client.put(ByteBuffer(string: "open"), to: order)
        let seen = try await client.get(order).context
        do {
            let operation = WriteOperation()
            try await client.put(
                ByteBuffer(string: "paid"), to: order, context: seen, condition: .ifUnmodified, operation: operation)
            #expect(try await client.get(order).value == ByteBuffer(string: "paid"))
        }
        do {
            try await client.update(TorcKey("carts", "bob"), resolver: UnionOfLines()) { content in
                UnionOfLines.content(UnionOfLines.lines(content).union(["bread"]))
            }
            #expect(try await client.read(TorcKey("carts", "bob"), resolver: UnionOfLines())?.text == "bread")
        }
        do {
            let visits = SplitKey(TorcKey("pages", "home"), parts: 8)
            try await client.add(1, to: visits, by: "web-3")
            let total = try await client.total(of: visits)
            #expect(total == 1)
        }
        do {
            for text in ["short", "longer", "long"] {
                try await client.put(ByteBuffer(string: text), to: TorcKey("texts", "t"))
            }
            #expect(try await client.read(TorcKey("texts", "t"), resolver: LongestText())?.text == "longer")
        }
        do {
            let cart = TorcKey("carts", "ann")
            let read = try await client.get(cart)
            try await client.put(
                ByteBuffer(string: "milk, tea"), to: cart, contentType: "text/plain", context: read.context)
            await client.shutdown()
            #expect(node.store.contents.withLock { $0.writeIDs.count } == 8)
        }
        try await node.stop()
    }

    /// Whatever stands in the document's Swift is in this file, but for how lines are broken.
    @Test func theDocumentSaysNothingElse() throws {
        func words(_ text: String) -> String { text.filter { !$0.isWhitespace } }
        let here = URL(fileURLWithPath: #filePath)
        let root = here.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let code = words(try String(contentsOf: here, encoding: .utf8))
        let document = try String(
            contentsOf: root.appendingPathComponent("docs").appendingPathComponent("CLIENT.md"), encoding: .utf8)
        let blocks = document.components(separatedBy: "```swift\n").dropFirst().map {
            $0.components(separatedBy: "```")[0]
        }
        #expect(blocks.count > 4)
        for block in blocks { #expect(code.contains(words(block)), "not in the test: \(block)") }
    }
}
