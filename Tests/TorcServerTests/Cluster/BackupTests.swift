// A backup of three nodes, asked of them step by step, and the cluster that is restored from it.

import Foundation
import Logging
import NIOCore
import Testing
import TorcClient
import TorcModel
import TorcServer
import TorcStorage

@Suite(.serialized) struct ClusterBackupTests {
    private func values(_ object: TorcObject) -> [String] {
        object.versions.map { String(buffer: $0.value) }.sorted()
    }

    private func ask(_ node: Node, _ path: String) async throws -> HTTPExchange {
        try await HTTPExchange.send("POST", "/admin/backup/\(path)", port: node.httpAddress.port)
    }

    private func ask<Report: Decodable>(_ node: Node, _ path: String, _ type: Report.Type) async throws -> Report {
        let answer = try await ask(node, path)
        try #require(answer.status == 200, "\(answer)")
        return try AdminJSON.decode(type, Data(answer.body.utf8))
    }

    /// As `torc backup create` does it.
    private func backUp(_ nodes: [Node], into directory: String, as id: String) async throws {
        var holds: [BackupHoldReport] = []
        for node in nodes { holds.append(try await ask(node, "hold?token=\(id)", BackupHoldReport.self)) }
        for node in nodes { _ = try await ask(node, "stage?token=\(id)", BackupStageReport.self) }
        for node in nodes {
            #expect(try await ask(node, "release?token=\(id)", BackupReleaseReport.self).wasHeld)
        }
        var parts: [BackupCollectReport] = []
        for node in nodes {
            parts.append(
                try await ask(node, "collect?token=\(id)&id=\(id)&to=\(directory)&rate=0", BackupCollectReport.self))
        }
        let whole = ClusterBackupManifest(
            backup: id, cluster: holds[0].cluster, clusterName: holds[0].clusterName, ringSize: holds[0].ringSize,
            ringEpoch: holds[0].epoch, ringFingerprint: holds[0].fingerprint, began: 1, ended: 2,
            nodes: parts.map(\.entry))
        try whole.finish(in: directory)
    }

    private func expectRefusal(_ words: String, _ body: () throws -> Void) {
        do {
            try body()
            Issue.record("nothing is refused: \(words)")
        } catch {
            #expect("\(error)".contains(words), "\(error)")
        }
    }

    @Test(.timeLimit(.minutes(10))) func aClusterIsRestoredAsAnother() async throws {
        let directory = NSTemporaryDirectory() + "torc-backup-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await TestCluster.with { cluster in
            let nodes = cluster.nodes.compactMap { $0 }
            let (single, double, gone) = (TorcKey("b", "single"), TorcKey("b", "double"), TorcKey("b", "gone"))
            let client = cluster.client(0)
            try await client.put(ByteBuffer(string: "one"), to: single, consistency: .all)
            for text in ["left", "right"] {
                try await client.put(ByteBuffer(string: text), to: double, consistency: .all)
            }
            try await client.put(ByteBuffer(string: "x"), to: gone, consistency: .all)
            try await client.delete(gone, consistency: .all)
            try await backUp(nodes, into: directory, as: "first")
            try await client.put(ByteBuffer(string: "later"), to: TorcKey("b", "later"), consistency: .all)

            let backup = try StoredBackup(latestIn: directory)
            for node in backup.manifest.nodes {
                let verdict = backup.verify(node) { _ in }
                #expect(verdict.problems == [] && verdict.roots > 0)
            }
            var configurations: [ServerConfiguration] = []
            for index in cluster.nodes.indices {
                var configuration = try await cluster.configuration(index)
                expectRefusal("set cluster.name") { _ = try BackupRestore(backup, for: configuration, members: nil) }
                configuration.clusterName = "restored"
                configuration.dataFolder += "-restored"
                configurations.append(configuration)
            }
            let restores = try configurations.map { try BackupRestore(backup, for: $0, members: nil) }
            #expect(await restores[0].findLiving() != nil)
            refusals(of: backup, configurations[0])

            for index in cluster.nodes.indices { await cluster.stop(index) }
            #expect(await restores[0].findLiving() == nil)
            let logger = Logger(label: "restored") { _ in LineLogHandler(level: .error, form: .text) }
            for restore in restores { try restore.carryOut(logger: logger) { _ in } }
            var restored: [Node] = []
            for configuration in configurations {
                restored.append(try await Node.start(configuration, logger: logger))
            }
            let addresses = restored.map { TorcAddress(host: "127.0.0.1", port: $0.protocolBuffersAddress.port) }
            let other = TorcClient(TorcClient.Configuration(addresses: addresses))
            do {
                // Each lane has links of its own.
                for number in 0..<16 { try await untilAllAnswer(other, TorcKey("b", "key \(number)")) }
                #expect(values(try await other.get(single, consistency: .all)) == ["one"])
                #expect(values(try await other.get(double, consistency: .all)) == ["left", "right"])
                let deleted = try await other.get(gone, consistency: .all)
                #expect(!deleted.isFound && deleted.context != nil)
                #expect(try await other.get(TorcKey("b", "later"), consistency: .all).context == nil)
                let context = try await other.get(double).context
                try await other.put(ByteBuffer(string: "both"), to: double, context: context, consistency: .all)
                #expect(values(try await other.get(double, consistency: .all)) == ["both"])
            } catch {
                Issue.record(error)
            }
            await other.shutdown()
            for node in restored { await node.stop() }
        }
    }

    private func untilAllAnswer(_ client: TorcClient, _ key: TorcKey) async throws {
        let end = ContinuousClock.now + .seconds(30)
        while true {
            do {
                _ = try await client.get(key, consistency: .all)
                return
            } catch {
                if ContinuousClock.now > end { throw error }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private func refusals(of backup: StoredBackup, _ good: ServerConfiguration) {
        func refused(_ words: String, _ change: (inout ServerConfiguration) -> Void) {
            var configuration = good
            change(&configuration)
            expectRefusal(words) { _ = try BackupRestore(backup, for: configuration, members: nil) }
        }
        refused("another key") { $0.clusterKey = ClusterKey(secret: Array("another secret of bytes".utf8))! }
        refused("cluster.partitions") { $0.ringSize = RingSize(partitions: 16)! }
        refused("has no part of n9") { $0.nodeName = "n9" }
        refused("the members are to be n1, n2, n3") { $0.members.removeLast() }
    }

    @Test(.timeLimit(.minutes(10))) func oneAtATimeAndNotForEver() async throws {
        try await TestCluster.with(nodes: 1) { cluster in
            let node = cluster.nodes[0]!
            _ = try await ask(node, "hold?token=one&seconds=2", BackupHoldReport.self)
            let refused = try await ask(node, "hold?token=two")
            #expect(refused.status == 409 && refused.body.contains("another backup"))
            #expect(try await ask(node, "stage?token=two").status == 409)
            #expect(try await ask(node, "collect?token=one&id=x&to=/tmp").body.contains("nothing was staged"))
            _ = try await ask(node, "stage?token=one", BackupStageReport.self)
            #expect(try await ask(node, "collect?token=one&id=x&to=relative").status == 400)
            #expect(try await ask(node, "collect?token=one&id=..&to=/tmp").status == 400)
            try await Task.sleep(for: .seconds(2.1))
            // Whoever asks is told that it was not held all the time; the next one begins.
            #expect(try await ask(node, "release?token=one", BackupReleaseReport.self).wasHeld == false)
            _ = try await ask(node, "hold?token=two&seconds=60", BackupHoldReport.self)
            #expect(try await ask(node, "stage?token=one").status == 409)
            let folder = cluster.folder + "/n1"
            func staged() throws -> [String] {
                try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix("backup-") }
            }
            #expect(try staged().isEmpty)
            _ = try await ask(node, "stage?token=two", BackupStageReport.self)
            #expect(try staged() == ["backup-two"])
            _ = try await ask(node, "abandon?token=two", BackupReleaseReport.self)
            #expect(try staged().isEmpty)
            _ = try await ask(node, "hold?token=three", BackupHoldReport.self)
            #expect(try await ask(node, "hold?token=four&seconds=0").status == 400)
            #expect(try await ask(node, "hold?token=../x").status == 400)
        }
    }
}
