// Several nodes in this process, on ephemeral ports, over real storage in a temporary folder.

import Foundation
import Logging
import NIOCore
import TestSupport
import TorcClient
import TorcModel
import TorcReplication
import TorcServer

final class TestCluster: @unchecked Sendable {
    static let key = ClusterKey(secret: Array("a secret of many bytes".utf8))!

    let folder: String
    private(set) var names: [String]
    private var peerPorts: [Int]
    /// Those after them have joined.
    private let declaredCount: Int
    /// What a node that joins is told at its first start.
    private var joinFlags: [String] = []
    private var clients: [TorcClient] = []
    private(set) var nodes: [Node?]

    private init(folder: String, names: [String], peerPorts: [Int]) {
        self.folder = folder
        self.names = names
        self.peerPorts = peerPorts
        declaredCount = names.count
        nodes = names.map { _ in nil }
    }

    /// A running cluster, gone after the body.
    static func with<R>(nodes count: Int = 3, _ body: (TestCluster) async throws -> R) async throws -> R {
        let names = (1...count).map { "n\($0)" }
        let folder = NSTemporaryDirectory() + "torc-cluster-\(UUID().uuidString)"
        let cluster = TestCluster(folder: folder, names: names, peerPorts: try reservedPorts(count))
        do {
            for index in names.indices { try await cluster.start(index) }
            try await cluster.waitForLinks()
            let result = try await body(cluster)
            await cluster.tearDown()
            return result
        } catch {
            await cluster.tearDown()
            throw error
        }
    }

    func configuration(_ index: Int) async throws -> ServerConfiguration {
        let members = zip(names, peerPorts).prefix(declaredCount).map { "\($0)=127.0.0.1:\($1)" }.joined(separator: ",")
        let membership = index < declaredCount ? ["--cluster-members", members] : joinFlags
        let flags =
            membership + [
                "--node-name", names[index], "--data-folder", "\(folder)/\(names[index])", "--cluster-key",
                "a secret of many bytes", "--cluster-partitions", "8", "--listen-pb",
                "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-peer", "127.0.0.1:\(peerPorts[index])",
                "--threads-lanes", index == 0 ? "2" : "1", "--request-timeout-ms", "5000",
            ]
        return try ServerConfiguration(await ConfigurationSource.load(file: nil, environment: [:], flags: flags))
    }

    func start(_ index: Int) async throws {
        var logger = Logger(label: names[index]) { _ in LineLogHandler(level: .error, form: .text) }
        logger[metadataKey: "in"] = "\(names[index])"
        nodes[index] = try await Node.start(try await configuration(index), logger: logger)
    }

    /// A new node asks a member to be let in, and waits for that to be committed. Its index.
    func join(_ name: String, token: String, at member: Node) async throws -> Int {
        names.append(name)
        peerPorts += try reservedPorts(1)
        nodes.append(nil)
        joinFlags = ["--cluster-join", "\(member.httpAddress)", "--cluster-join-token", token]
        defer { joinFlags = [] }
        try await start(names.count - 1)
        return names.count - 1
    }

    func stop(_ index: Int) async {
        await nodes[index]?.stop()
        nodes[index] = nil
    }

    /// A client of the nodes that run, or of one of them.
    func client(_ index: Int? = nil) -> TorcClient {
        let addresses = nodes.indices.filter { index == nil || $0 == index }.compactMap { nodes[$0] }
            .map { TorcAddress(host: "127.0.0.1", port: $0.protocolBuffersAddress.port) }
        let client = TorcClient(TorcClient.Configuration(addresses: addresses))
        clients.append(client)
        return client
    }

    /// Until writes at all replicas succeed through every node that runs, and in each of its lanes.
    func waitForLinks() async throws {
        for index in nodes.indices where nodes[index] != nil {
            let client = client(index)
            for key in 0..<16 { try await insist(client, TorcKey("waiting", "node \(index) key \(key)")) }
        }
    }

    private func insist(_ client: TorcClient, _ key: TorcKey) async throws {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            do {
                _ = try await client.put(ByteBuffer(string: "there"), to: key, consistency: .all)
                return
            } catch {
                if ContinuousClock.now > end { throw error }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private func tearDown() async {
        for client in clients { await client.shutdown() }
        for index in nodes.indices { await stop(index) }
        try? FileManager.default.removeItem(atPath: folder)
    }
}
