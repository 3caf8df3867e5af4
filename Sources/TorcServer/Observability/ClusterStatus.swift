// `/admin/cluster/status`: the cluster as this node sees it, as one JSON object.

import NIOCore
import TorcModel
import TorcReplication

struct ClusterStatus: Sendable {
    struct Row: Sendable {
        var name: String
        /// Where its peers find it.
        var address: String
        var partitions: Int
        var status: MemberStatus
    }

    var cluster: String
    /// Whose view it is.
    var node: String
    var periodMilliseconds: Int
    var ring: (epoch: UInt64, partitions: Int)
    /// By name.
    var rows: [Row]

    static func collect(_ configuration: ServerConfiguration, _ ring: Ring, _ loops: NodeLoops) async -> ClusterStatus {
        let control = loops.control!
        let members = (try? await control.eventLoop.submit { control.members }.get()) ?? []
        let rows = members.map { status in
            let declared = configuration.members.first { $0.node == status.node }
            return Row(
                name: declared?.name ?? "\(status.node)", address: declared.map { "\($0.address)" } ?? "",
                partitions: ring.owners.count { $0 == status.node }, status: status)
        }
        return ClusterStatus(
            cluster: configuration.clusterName, node: configuration.nodeName,
            periodMilliseconds: Int(configuration.membershipPeriod / .milliseconds(1)),
            ring: (ring.epoch, ring.size.partitions), rows: rows.sorted { $0.name < $1.name })
    }

    func json() -> String {
        let text = LineLogHandler.jsonString
        let members = rows.map { row in
            var fields: [(String, String)] = [
                ("name", text(row.name)), ("id", text("\(row.status.node)")), ("address", text(row.address)),
                ("state", text("\(row.status.state)")), ("incarnation", "\(row.status.incarnation)"),
                ("link", text(row.status.isSelf ? "self" : row.status.isLinked ? "up" : "down")),
                ("partitions", "\(row.partitions)"),
            ]
            if let facts = row.status.facts {
                fields += [
                    ("operations_per_second", "\(facts.operationsPerSecond)"),
                    ("disk_used_bytes", "\(facts.diskUsedBytes)"), ("disk_free_bytes", "\(facts.diskFreeBytes)"),
                    ("version", text("\(facts.build)")), ("peer_protocol", "\(facts.peerProtocol)"),
                ]
            }
            return "{" + fields.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
        }
        return "{\"cluster\":\(text(cluster)),\"node\":\(text(node)),\"membership_period_ms\":\(periodMilliseconds),"
            + "\"ring_epoch\":\(ring.epoch),\"ring_partitions\":\(ring.partitions),"
            + "\"members\":[\(members.joined(separator: ","))]}\n"
    }
}
