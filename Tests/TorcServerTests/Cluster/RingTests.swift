// Joining and leaving: tokens, the folder of a node that joined, what contacts say, and nodes that come and go.

import Foundation
import Logging
import NIOCore
import TestSupport
import TorcClient
import TorcModel
import TorcReplication
import TorcServer
import TorcStorage
import Testing

struct JoinTokenTests {
    private let key = TestCluster.key
    private let cluster = ClusterID(rawValue: 7)

    @Test func oneThatWasIssued() throws {
        let token = JoinToken(node: NodeID(rawValue: 0xfeed), expires: 1_900_000_000, cluster: cluster, key: key)
        let read = try #require(JoinToken("\(token)"))
        #expect(read == token && read.node == NodeID(rawValue: 0xfeed) && read.expires == 1_900_000_000)
        #expect(read.isSealed(by: key, for: cluster))
    }

    @Test func othersAreNoGood() throws {
        let token = JoinToken(node: NodeID(rawValue: 1), expires: 1_900_000_000, cluster: cluster, key: key)
        #expect(!token.isSealed(by: key, for: ClusterID(rawValue: 8)))
        #expect(!token.isSealed(by: ClusterKey(secret: Array("another secret of bytes".utf8))!, for: cluster))
        // A later date or another node under the same seal.
        let text = "\(token)"
        var later = try #require(JoinToken(text))
        later.expires += 1
        #expect(!later.isSealed(by: key, for: cluster))
        var other = try #require(JoinToken(text))
        other.node = NodeID(rawValue: 2)
        #expect(!other.isSealed(by: key, for: cluster))
    }

    @Test(arguments: [
        "", "torc1", "torc1---", "torc2-0000000000000001-713fb300-00000000000000000000000000000000",
        "torc1-000000000000000g-713fb300-00000000000000000000000000000000", "torc1-1-713fb300-0", "torc1-----",
        "torc1-0000000000000001-71 fb300-00000000000000000000000000000000",
    ])
    func textThatIsNone(_ text: String) { #expect(JoinToken(text) == nil) }
}

struct NodeContactTests {
    @Test func readBack() throws {
        for text in ["node4=127.0.0.1:8129", "a=[::1]:1"] { #expect(NodeContact(text).map { "\($0)" } == text) }
    }

    @Test(arguments: ["", "=1.2.3.4:5", "a b=1.2.3.4:5", "a,b=1.2.3.4:5", "a=1.2.3.4", "a", "a=:5", "a=b=1.2.3.4:5x"])
    func textThatIsNone(_ text: String) { #expect(NodeContact(text) == nil) }
}

@Suite(.serialized) struct RingChangeTests {
    private func order(_ node: Node, _ path: String, body: String = "") async throws -> HTTPExchange {
        try await HTTPExchange.send("POST", "/admin/cluster/\(path)", body: body, port: node.httpAddress.port)
    }

    private func look<Report: Decodable>(_ node: Node, _ path: String, _ type: Report.Type) async throws -> Report {
        let answer = try await HTTPExchange.send("GET", "/admin/cluster/\(path)", port: node.httpAddress.port)
        try #require(answer.status == 200, "\(answer)")
        return try AdminJSON.decode(type, Data(answer.body.utf8))
    }

    private func token(_ node: Node, seconds: Int = 60) async throws -> String {
        let answer = try await order(node, "token?ttl=\(seconds)")
        return try AdminJSON.decode(TokenReport.self, Data(answer.body.utf8)).token
    }

    /// What is staged becomes the ring, and everything has moved.
    private func commit(_ node: Node) async throws -> PlanReport {
        let plan = try await look(node, "plan", PlanReport.self)
        let refused = try await order(node, "commit?plan=0")
        #expect(refused.body.contains("\"refused\""), "\(refused)")
        let answer = try await order(node, "commit?plan=\(plan.plan)")
        try #require(answer.body.contains("\"committed\""), "\(answer)")
        let end = ContinuousClock.now + .seconds(60)
        while true {
            let ring = try await look(node, "ring", RingReport.self)
            if ring.phase == "settled", ring.epoch > plan.epoch { return plan }
            try #require(ContinuousClock.now < end, "\(ring)")
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func write(_ client: TorcClient, _ keys: Range<Int>) async throws {
        for key in keys { _ = try await client.put(ByteBuffer(string: "value \(key)"), to: TorcKey("b", "key \(key)")) }
    }

    private func check(_ client: TorcClient, _ keys: Range<Int>) async throws {
        for key in keys {
            let object = try await client.get(TorcKey("b", "key \(key)"))
            #expect(object.value.map { String(buffer: $0) } == "value \(key)")
        }
    }

    @Test(.timeLimit(.minutes(4))) func aNodeJoinsAndAnotherLeaves() async throws {
        try await TestCluster.with { cluster in
            let first = cluster.nodes[0]!
            try await write(cluster.client(0), 0..<100)
            let joined = try await cluster.join("n4", token: try await token(first), at: first)
            let before = try await look(cluster.nodes[joined]!, "ring", RingReport.self)
            #expect(before.role == "joining" && before.members.count == 3)
            let plan = try await commit(first)
            #expect(plan.changes.count == 1 && plan.moved > 0 && !plan.flows.isEmpty)
            #expect(plan.flows.allSatisfy { $0.to == "n4" })
            try await write(cluster.client(1), 100..<120)
            try await check(cluster.client(joined), 0..<120)

            // The folder says who it is.
            await cluster.stop(joined)
            try await cluster.start(joined)
            try await cluster.waitForLinks()
            let after = try await look(cluster.nodes[joined]!, "ring", RingReport.self)
            #expect(after.role == "member" && after.members.map(\.name) == ["n1", "n2", "n3", "n4"])

            let staged = try await order(first, "leave?node=n2")
            #expect(staged.status == 200 && staged.body.contains("leave n2"))
            _ = try await commit(first)
            let left = try await look(cluster.nodes[1]!, "ring", RingReport.self)
            #expect(left.role == "left" && left.members.count == 3)
            try await check(cluster.client(joined), 0..<120)

            // One that has joined is known by its folder alone: that it has left stands there, too.
            let third = cluster.nodes[2]!
            #expect(try await order(third, "leave?node=n4").status == 200)
            _ = try await commit(third)
            let end = ContinuousClock.now + .seconds(20)
            while try await look(cluster.nodes[joined]!, "ring", RingReport.self).role != "left" {
                try #require(ContinuousClock.now < end, "n4 does not know that it has left")
                try await Task.sleep(for: .milliseconds(100))
            }
            await cluster.stop(joined)
            try await cluster.start(joined)
            #expect(try await look(cluster.nodes[joined]!, "ring", RingReport.self).role == "left")
        }
    }

    @Test(.timeLimit(.minutes(2))) func whatIsNoTokenLetsNobodyIn() async throws {
        try await TestCluster.with(nodes: 1) { cluster in
            let first = cluster.nodes[0]!
            func join(_ token: String, _ name: String) async throws -> HTTPExchange {
                let request = JoinRequest(token: token, name: name, address: "127.0.0.1:1", weight: 1)
                return try await order(first, "join", body: String(decoding: AdminJSON.encode(request), as: UTF8.self))
            }
            let good = try await token(first)
            let digit = good.last == "0" ? "1" : "0"
            #expect(try await join(good.dropLast() + digit, "n4").status == 409)
            #expect(try await join(good, "n1").status == 409)
            #expect(try await join(good, "a b").status == 400)
            let short = try await token(first, seconds: 1)
            try await Task.sleep(for: .seconds(2.1))
            #expect(try await join(short, "n4").status == 409)
            // Asked twice by the same node, because an answer was lost; and by another one with the same token.
            #expect(try await join(good, "n4").status == 200)
            #expect(try await join(good, "n4").status == 200)
            #expect(try await join(good, "n5").status == 409)
            let ring = try await look(first, "ring", RingReport.self)
            #expect(ring.staged.count == 1 && ring.staged[0].hasPrefix("join n4"))
            #expect(try await order(first, "abort").status == 200)
            #expect(try await order(first, "leave?node=n9").status == 409)
            #expect(try await order(first, "dance").status == 400)
        }
    }
}
