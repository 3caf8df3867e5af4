import Foundation
import Testing
import TorcServer

/// The members, as `/admin/cluster/status` shows them.
@Suite(.serialized) struct ServerMembershipTests {
    private struct Status: Decodable {
        struct Member: Decodable {
            var name: String
            var state: String
            var incarnation: Int
            var link: String
            var partitions: Int
            var version: String?
            var disk_free_bytes: UInt64?
        }

        var node: String
        var ring_partitions: Int
        var members: [Member]

        func member(_ name: String) -> Member { members.first { $0.name == name }! }
    }

    private func status(_ cluster: TestCluster, _ index: Int) async throws -> Status {
        let port = cluster.nodes[index]!.httpAddress.port
        let answer = try await HTTPExchange.send("GET", "/admin/cluster/status", port: port)
        #expect(answer.status == 200)
        return try JSONDecoder().decode(Status.self, from: Data(answer.body.utf8))
    }

    /// Asks until it is so, for twenty seconds at most.
    private func settled(
        _ cluster: TestCluster, _ index: Int, until isSo: (Status) -> Bool
    ) async throws -> Status {
        for _ in 0..<200 {
            let status = try await status(cluster, index)
            if isSo(status) { return status }
            try await Task.sleep(for: .milliseconds(100))
        }
        return try await status(cluster, index)
    }

    @Test(.timeLimit(.minutes(2))) func membersAreShownWithWhatTheyTell() async throws {
        try await TestCluster.with { cluster in
            let status = try await settled(cluster, 0) { status in
                status.members.allSatisfy { $0.version != nil && ($0.disk_free_bytes ?? 0) > 0 }
            }
            #expect(status.members.count == 3)
            #expect(status.members.map(\.name) == status.members.map(\.name).sorted())
            #expect(status.members.allSatisfy { $0.state == "alive" && $0.incarnation > 0 })
            #expect(status.members.allSatisfy { $0.version == BuildVersion.current })
            #expect(status.members.map(\.link).sorted() == ["self", "up", "up"])
            #expect(status.members.map(\.partitions).reduce(0, +) == status.ring_partitions)
        }
    }

    @Test(.timeLimit(.minutes(2))) func aStoppedNodeIsSuspectedAndComesBackInAHigherIncarnation() async throws {
        try await TestCluster.with { cluster in
            let whole = try await settled(cluster, 0) { $0.members.allSatisfy { $0.incarnation > 0 } }
            let name = cluster.nodes[2]!.configuration.nodeName
            await cluster.stop(2)
            let alone = try await settled(cluster, 0) { $0.member(name).state != "alive" }
            #expect(alone.member(name).state != "alive")
            #expect(alone.member(name).link == "down")
            try await cluster.start(2)
            let again = try await settled(cluster, 0) { $0.member(name).state == "alive" }
            #expect(again.member(name).state == "alive")
            #expect(again.member(name).incarnation > whole.member(name).incarnation)
        }
    }
}
