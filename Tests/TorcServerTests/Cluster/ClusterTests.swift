import Foundation
import Logging
import NIOCore
import Testing
import TorcClient
import TorcServer

/// Three nodes, from a client's bytes to records on three disks and back.
@Suite(.serialized) struct ServerClusterTests {
    private func bytes(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }
    private func values(_ object: TorcObject) -> [String] {
        object.versions.map { String(buffer: $0.value) }.sorted()
    }

    @Test(.timeLimit(.minutes(10))) func anObjectFromBirthToDeletion() async throws {
        try await TestCluster.with { cluster in
            let clients = [cluster.client(0), cluster.client(1), cluster.client(2)]
            let key = TorcKey("fruit", "apple")
            #expect(try await clients[0].get(key).context == nil)

            try await clients[0].put(bytes("green"), to: key, contentType: "text/plain", consistency: .all)
            for client in clients {
                let object = try await client.get(key, consistency: .all)
                #expect(values(object) == ["green"])
                #expect(object.versions[0].contentType == "text/plain")
            }

            // Two clients write from one context: both versions stand until somebody says what became of them.
            let context = try #require(try await clients[1].get(key).context)
            try await clients[1].put(bytes("red"), to: key, context: context)
            try await clients[2].put(bytes("yellow"), to: key, context: context)
            let conflict = try await clients[0].get(key, consistency: .all)
            #expect(values(conflict) == ["red", "yellow"])
            try await clients[0].put(bytes("red and yellow"), to: key, context: conflict.context)
            #expect(values(try await clients[2].get(key, consistency: .all)) == ["red and yellow"])

            try await clients[2].delete(key)
            let deleted = try await clients[1].get(key, consistency: .all)
            #expect(!deleted.isFound)
        }
    }

    @Test(.timeLimit(.minutes(10))) func listingsAndProperties() async throws {
        try await TestCluster.with { cluster in
            let client = cluster.client(0)
            let written = (0..<50).map { "key \($0)" }
            for name in written { try await client.put(bytes("x"), to: TorcKey("listed", name)) }
            try await client.delete(TorcKey("listed", "key 7"))
            // The deletion may reach the third replica after its answer, and a listing reads one.
            try await client.delete(TorcKey("listed", "key 8"), consistency: .all)
            let keys = Set(try await cluster.client(1).keys(inBucket: "listed").collect().map { String(buffer: $0) })
            #expect(keys.isSuperset(of: Set(written).subtracting(["key 7", "key 8"])))
            #expect(!keys.contains("key 8"))
            #expect(keys.isSubset(of: Set(written)))
            let buckets = try await cluster.client(2).buckets().collect().map { String(buffer: $0) }
            #expect(Set(buckets) == ["listed", "waiting"])

            var change = TorcBucketProperties()
            change.keepsSiblings = false
            change.w = .all
            try await client.setProperties(change, ofBucket: "settings")
            for index in 0..<3 {
                var found = try await cluster.client(index).properties(ofBucket: "settings")
                // They are at a majority when the change is answered, and at the rest soon.
                for _ in 0..<50 where found.keepsSiblings != false {
                    try await Task.sleep(for: .milliseconds(20))
                    found = try await cluster.client(index).properties(ofBucket: "settings")
                }
                #expect(found.keepsSiblings == false)
                #expect(found.w == .all)
                #expect(found.copies == 3)
            }

            var copies = TorcBucketProperties()
            copies.copies = 2
            await #expect(throws: TorcError.self) { try await client.setProperties(copies, ofBucket: "listed") }
            try await client.setProperties(copies, ofBucket: "empty")
            #expect(try await client.properties(ofBucket: "empty").copies == 2)
        }
    }

    @Test(.timeLimit(.minutes(10))) func aDeadReplicaIsNotNeededAndComesBack() async throws {
        try await TestCluster.with { cluster in
            let client = cluster.client()
            for name in 0..<20 { try await client.put(bytes("before"), to: TorcKey("b", "\(name)"), consistency: .all) }
            await cluster.stop(1)
            let rest = cluster.client(0)
            for name in 0..<20 {
                let key = TorcKey("b", "\(name)")
                let context = try await rest.get(key).context
                try await rest.put(bytes("after"), to: key, context: context)
                #expect(values(try await rest.get(key)) == ["after"])
            }
            await #expect(throws: TorcError.self) {
                try await rest.put(bytes("x"), to: TorcKey("b", "0"), consistency: .all)
            }
            try await cluster.start(1)
            try await cluster.waitForLinks()
            // What it missed is repaired by the read.
            let returned = cluster.client(1)
            for name in 0..<20 {
                #expect(values(try await returned.get(TorcKey("b", "\(name)"), consistency: .all)).contains("after"))
            }
        }
    }

    @Test(.timeLimit(.minutes(10))) func allNodesRestartedKeepEverything() async throws {
        try await TestCluster.with { cluster in
            let client = cluster.client()
            for name in 0..<20 { try await client.put(bytes("value \(name)"), to: TorcKey("b", "\(name)")) }
            var change = TorcBucketProperties()
            change.keepsSiblings = false
            try await client.setProperties(change, ofBucket: "kept")
            let incarnation = cluster.nodes[0]!.incarnation
            for index in 0..<3 { await cluster.stop(index) }
            for index in 0..<3 { try await cluster.start(index) }
            try await cluster.waitForLinks()
            #expect(cluster.nodes[0]!.incarnation != incarnation)
            let again = cluster.client(2)
            for name in 0..<20 {
                #expect(values(try await again.get(TorcKey("b", "\(name)"))) == ["value \(name)"])
            }
            #expect(try await again.properties(ofBucket: "kept").keepsSiblings == false)
        }
    }

    @Test(.timeLimit(.minutes(10))) func aCopyOfALiveNodeDoesNotStart() async throws {
        try await TestCluster.with { cluster in
            var copy = try await cluster.configuration(1)
            copy.dataFolder = cluster.folder + "/copy"
            try FileManager.default.copyItem(atPath: cluster.folder + "/n2", toPath: copy.dataFolder)
            copy.peerAddress.port = 0
            let before = try FileManager.default.contentsOfDirectory(atPath: copy.dataFolder).sorted()
            await #expect(throws: NodeStartError.self) {
                let node = try await Node.start(copy, logger: Logger(label: "copy") { _ in SwiftLogNoOpLogHandler() })
                await node.stop()
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: copy.dataFolder).sorted() == before)
            // The original goes on.
            try await cluster.client(1).put(bytes("here"), to: TorcKey("b", "k"), consistency: .all)
        }
    }

    @Test(.timeLimit(.minutes(10))) func theSameOverHTTP() async throws {
        try await TestCluster.with { cluster in
            let ports = cluster.nodes.map { $0!.httpAddress.port }
            let path = "/buckets/fruit/keys/pear"
            let plain = ["Content-Type": "text/plain"]
            #expect(try await HTTPExchange.send("GET", "/ping", port: ports[0]).body == "OK")
            #expect(try await HTTPExchange.send("GET", path, port: ports[0]).status == 404)
            #expect(
                try await HTTPExchange.send("PUT", path + "?w=all", headers: plain, body: "green", port: ports[0])
                    .status
                    == 204)
            let found = try await HTTPExchange.send("GET", path + "?r=all", port: ports[1])
            #expect(found.status == 200)
            #expect(found.body == "green")
            #expect(found.headers["content-type"] == "text/plain")
            let head = try await HTTPExchange.send("HEAD", path, port: ports[2])
            #expect(head.status == 200)
            #expect(head.headers["content-length"] == "5")
            #expect(head.body == "")

            let known = plain.merging(["X-Riak-Vclock": try #require(found.headers["x-riak-vclock"])]) { $1 }
            for (value, port) in [("red", ports[1]), ("yellow", ports[2])] {
                let written = try await HTTPExchange.send(
                    "PUT", path + "?w=all", headers: known, body: value, port: port)
                #expect(written.status == 204)
            }
            let conflict = try await HTTPExchange.send("GET", path, port: ports[0])
            #expect(conflict.status == 300)
            let both = plain.merging(["X-Riak-Vclock": try #require(conflict.headers["x-riak-vclock"])]) { $1 }
            #expect(
                try await HTTPExchange.send(
                    "PUT", path + "?returnbody=true", headers: both, body: "both", port: ports[1]
                )
                .body == "both")

            for name in 0..<30 {
                _ = try await HTTPExchange.send(
                    "PUT", "/buckets/many/keys/\(name)?w=all", headers: plain, body: "x", port: ports[name % 3])
            }
            let listed = try await HTTPExchange.send("GET", "/buckets/many/keys?keys=true", port: ports[2])
            let names = try #require(
                (JSONSerialization.jsonObject(with: Data(listed.body.utf8)) as? [String: [String]])?["keys"])
            #expect(Set(names) == Set((0..<30).map(String.init)))
            let streamed = try await HTTPExchange.send("GET", "/buckets/many/keys?keys=stream", port: ports[0])
            #expect(streamed.headers["transfer-encoding"] == "chunked")
            for name in names { #expect(streamed.body.contains("\"\(name)\"")) }

            let changed = try await HTTPExchange.send(
                "PUT", "/buckets/many/props", headers: ["Content-Type": "application/json"],
                body: "{\"props\":{\"r\":1}}", port: ports[0])
            #expect(changed.status == 204)
            #expect(
                try await HTTPExchange.send("GET", "/buckets/many/props", port: ports[0]).body.contains("\"r\":1"))

            #expect(try await HTTPExchange.send("DELETE", path, port: ports[2]).status == 204)
            #expect(try await HTTPExchange.send("GET", path + "?r=all", port: ports[0]).status == 404)

            let stats = try await HTTPExchange.send("GET", "/stats", port: ports[0])
            let counters = try #require(
                JSONSerialization.jsonObject(with: Data(stats.body.utf8)) as? [String: Any])
            let puts = try #require(counters["put"] as? [String: Any])
            #expect((puts["count"] as? Int ?? 0) > 0)

            let large = String(repeating: "x", count: (2 << 20) + 1)
            #expect(try await HTTPExchange.send("PUT", path, headers: plain, body: large, port: ports[0]).status == 413)
            let announced = try await HTTPExchange.raw(
                "PUT \(path) HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", port: ports[0])
            #expect(announced.hasPrefix("HTTP/1.1 413"))
            #expect(try await HTTPExchange.raw("nonsense\r\n\r\n", port: ports[0]).hasPrefix("HTTP/1.1 400"))
            #expect(try await HTTPExchange.send("GET", "/ping", port: ports[0]).status == 200)
        }
    }
}
