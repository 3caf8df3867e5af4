import ArgumentParser
import Foundation
import TorcClient
import TorcConsole

/// `torc cluster status`: the members as one node sees them.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the members as one node sees them.",
        discussion: """
            Examples:
              torc cluster status
              torc cluster status --http 127.0.0.1:8108 --json

            STATE is alive, suspect (it does not answer, and is routed around) or dead (it had its time to answer).
            Neither changes what a member owns. INC counts the member's starts and contradictions. LINK is this node's
            connection to it. A member that leaves hands over what it holds. OPS/S are clients' requests that it
            takes, DATA the bytes of its tables, FREE what its disk has left.
            """)

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        let body = try await admin.get("/admin/cluster/status")
        if admin.json { return print(String(decoding: body, as: UTF8.self), terminator: "") }
        let status = try JSONDecoder().decode(Status.self, from: body)
        print(
            "cluster \(status.cluster), ring epoch \(status.ring_epoch), \(status.ring_partitions) partitions; "
                + "as \(status.node) sees it")
        if status.ring_phase != "settled" {
            print("copies move (\(status.ring_phase)): see `torc cluster transfers`")
        }
        switch status.role {
        case "fenced": print("this node was removed or replaced, and serves nobody")
        case "joining": print("this node is no member yet: it waits for its join to be committed")
        case "left": print("this node has left the cluster")
        default: break
        }
        if let damaged = status.damaged_partitions, damaged > 0 {
            print(
                "\(status.node) has damaged tables: \(damaged) partitions are made anew, what they lost comes from others"
            )
        }
        if !status.fenced.isEmpty { print("removed or replaced for good: \(status.fenced.joined(separator: ", "))") }
        var table = TextTable([
            .left("NAME"), .left("STATE"), .right("INC"), .left("LINK"), .right("PARTITIONS"), .right("OPS/S"),
            .right("DATA"), .right("FREE"), .left("VERSION"), .left("ADDRESS"),
        ])
        for member in status.members {
            table.add([
                member.name, member.leaving ? "\(member.state), leaves" : member.state, "\(member.incarnation)",
                member.link, "\(member.partitions)",
                member.operations_per_second.map { "\($0)" } ?? "-",
                member.disk_used_bytes.map(TextTable.bytes) ?? "-", member.disk_free_bytes.map(TextTable.bytes) ?? "-",
                member.version ?? "-", member.address,
            ])
        }
        print(table.text)
    }

    /// What the node answers, in its own names.
    private struct Status: Decodable {
        struct Member: Decodable {
            var name: String
            var address: String
            var state: String
            var incarnation: UInt64
            var link: String
            var partitions: Int
            var leaving: Bool
            var operations_per_second: UInt64?
            var disk_used_bytes: UInt64?
            var disk_free_bytes: UInt64?
            var version: String?
        }

        var cluster: String
        var node: String
        var ring_epoch: UInt64
        var ring_partitions: Int
        var ring_phase: String
        var damaged_partitions: UInt64?
        var role: String
        var fenced: [String]
        var members: [Member]
    }
}
