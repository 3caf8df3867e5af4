// The client that knows the ring, and the generator that does, over real nodes.

import ArgumentParser
import Foundation
import NIOCore
import Testing
import TorcClient
import TorcLoad
import TorcServer

@Suite(.serialized) struct RoutedClusterTests {
    private func text(_ string: String) -> ByteBuffer { ByteBuffer(string: string) }

    /// Of all nodes that run: what lanes have said to peers.
    private func messagesSent(_ cluster: TestCluster) async throws -> Int {
        var sum = 0
        for node in cluster.nodes.compactMap({ $0 }) {
            let stats = try await HTTPExchange.send("GET", "/stats", port: node.httpAddress.port)
            let json = try #require(try JSONSerialization.jsonObject(with: Data(stats.body.utf8)) as? [String: Any])
            sum += try #require(json["messages_sent"] as? Int)
        }
        return sum
    }

    @Test(.timeLimit(.minutes(10))) func replicasAreAskedInTheOrderOfThePreferenceList() async throws {
        try await TestCluster.with(nodes: 5) { cluster in
            let client = cluster.client()
            await client.refreshRing()
            var names: [Int: String] = [:]
            for (index, node) in cluster.nodes.enumerated() {
                names[node!.protocolBuffersAddress.port] = cluster.names[index]
            }
            for index in 0..<40 {
                let key = TorcKey("b", "k\(index)", type: index % 2 == 0 ? "" : "redis")
                let expected = try await client.preferenceList(of: key).map(\.node)
                #expect(client.addresses(for: key).prefix(3).map { names[$0.port] } == expected)
            }
            // Nobody has to be asked by the node that is asked.
            let keys = (0..<100).map { TorcKey("b", "k\($0)") }
            for key in keys { try await client.put(text("v"), to: key, consistency: .all) }
            // On a machine that is busy a second replica is asked, too, when the first is slow: one quiet round will do.
            var rounds: [(direct: Int, indirect: Int)] = []
            let other = cluster.client(0)
            repeat {
                let before = try await messagesSent(cluster)
                for key in keys { #expect(try await client.get(key, consistency: .one).value == text("v")) }
                let between = try await messagesSent(cluster)
                for key in keys { #expect(try await other.get(key, consistency: .one).value == text("v")) }
                rounds.append((between - before, try await messagesSent(cluster) - between))
            } while rounds.count < 10 && !rounds.contains { $0.indirect > 40 && $0.direct * 2 < $0.indirect }
            #expect(rounds.contains { $0.indirect > 40 && $0.direct * 2 < $0.indirect }, "\(rounds) messages")
        }
    }

    @Test(.timeLimit(.minutes(10))) func aNodeThatIsGoneIsPassedOver() async throws {
        try await TestCluster.with(nodes: 4) { cluster in
            let client = cluster.client()
            await client.refreshRing()
            try await client.put(text("v"), to: TorcKey("b", "first"))
            await cluster.stop(2)
            for index in 0..<30 {
                let key = TorcKey("b", "k\(index)")
                // A write is not sent again when it was sent: the first one to a node that has just gone may say so.
                do { try await client.put(text("v"), to: key) } catch TorcError.indeterminate { continue }
                #expect(try await client.get(key).value == text("v"))
            }
            await client.refreshRing()
            let gone = try #require(client.addresses(for: TorcKey("b", "first")).last)
            #expect(client.connectionCounts.count == 4 && gone.port > 0)
        }
    }

    /// Through two coordinators, which both would mint it.
    @Test(.timeLimit(.minutes(10))) func aWriteThatIsSentTwiceIsOneVersion() async throws {
        try await TestCluster.with { cluster in
            for index in 0..<10 {
                let key = TorcKey("b", "k\(index)")
                try await cluster.client(0).put(text("1"), to: key, consistency: .all)
                let context = try await cluster.client(0).get(key, consistency: .all).context
                let operation = WriteOperation()
                for node in 0..<3 {
                    try await cluster.client(node).put(text("2"), to: key, context: context, operation: operation)
                }
                let object = try await cluster.client(1).get(key, consistency: .all)
                #expect(object.versions.map { String(buffer: $0.value) } == ["2"])
                #expect(object.versions.map(\.userMetadata.count) == [0])
            }
        }
    }

    @Test(.timeLimit(.minutes(10))) func updatesThroughAllNodesAreAllThere() async throws {
        try await TestCluster.with { cluster in
            let visits = SplitKey(TorcKey("b", "visits"), parts: 2)
            let tags = TorcKey("b", "tags")
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for node in 0..<3 {
                    let client = cluster.client(node)
                    tasks.addTask {
                        for step in 0..<8 {
                            try await client.add(1, to: visits, by: "n\(node)")
                            try await client.update(tags, resolver: UnionOfLines()) { content in
                                UnionOfLines.content(UnionOfLines.lines(content).union(["\(node).\(step)"]))
                            }
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            #expect(try await cluster.client(0).total(of: visits) == 24)
            let all = try await cluster.client(1).read(tags, resolver: UnionOfLines())
            #expect(UnionOfLines.lines(all).count == 24)
        }
    }

    private struct Report: Decodable {
        struct Latency: Decodable {
            var operation: String
            var count: Int
        }
        struct Settings: Decodable { var ringAware: Bool }
        var latencies: [Latency]
        var errorCount: Int
        var notFound: Int
        var settings: Settings
    }

    private func load(_ cluster: TestCluster, _ flags: String, without left: Int? = nil) async throws -> Report {
        let targets = cluster.nodes.enumerated().filter { $0.offset != left }.compactMap { _, node in
            node.map { "127.0.0.1:\($0.protocolBuffersAddress.port)" }
        }
        let file = "\(cluster.folder)/load.json"
        var command = try LoadCommand.parse(
            ["--targets", targets.joined(separator: ","), "--json", file, "--value-bytes", "20", "--connections", "10"]
                + flags.split(separator: " ").map(String.init))
        try await command.run()
        return try JSONDecoder().decode(Report.self, from: try Data(contentsOf: URL(fileURLWithPath: file)))
    }

    @Test(.timeLimit(.minutes(10))) func theGeneratorGoesStraightToTheOwners() async throws {
        try await TestCluster.with(nodes: 5) { cluster in
            _ = try await load(cluster, "--keys 300 --preload --w all --get --operations 10 --warmup 0 --duration 5")
            let gets = "--keys 300 --get --r one --operations 1500 --warmup 0 --duration 30"
            let begin = try await messagesSent(cluster)
            let any = try await load(cluster, gets)
            let middle = try await messagesSent(cluster)
            let aware = try await load(cluster, gets + " --ring-aware")
            let end = try await messagesSent(cluster)
            for report in [any, aware] {
                #expect(report.errorCount == 0 && report.notFound == 0)
                #expect(report.latencies.map(\.count) == [1_500])
            }
            #expect(aware.settings.ringAware && !any.settings.ringAware)
            #expect(middle - begin > 400 && (end - middle) * 2 < middle - begin, "\(begin) \(middle) \(end)")

            // Of all kinds, pipelined, over several loops, at a fixed rate; each ends with all that was asked.
            for flags in [
                "--workload f --pipeline 4 --threads 2 --operations 1200", "--workload a --rate 2000 --operations 600",
                "--workload d --operations 600 --pipeline 3", "--preload --put --operations 300 --threads 3",
            ] {
                let report = try await load(cluster, "--keys 300 --warmup 0 --duration 20 --ring-aware \(flags)")
                #expect(report.errorCount == 0, "\(flags)")
                let asked = flags.split(separator: " ").drop { $0 != "--operations" }.dropFirst().first.flatMap {
                    Int($0)
                }
                #expect(report.latencies.map(\.count).reduce(0, +) == asked, "\(flags)")
            }
            // One that owns keys is not among the targets.
            await #expect(throws: (any Error).self) {
                _ = try await load(cluster, gets + " --ring-aware", without: 2)
            }
        }
    }
}
