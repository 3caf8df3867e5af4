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
        /// It hands over what it holds.
        var isLeaving: Bool
        var status: MemberStatus
        /// What this node and that one both have; nil: it is not linked.
        var features: PeerFeatures?
    }

    var cluster: String
    /// Whose view it is.
    var node: String
    var periodMilliseconds: Int
    var ring: (epoch: UInt64, partitions: Int, phase: Placement.Phase)
    /// What this node is to the cluster.
    var role: ClusterDirectory.Role
    var fenced: [String]
    /// Of this node: partitions that are being made anew, or compared, because a table is damaged.
    var damaged: UInt64
    /// By name.
    var rows: [Row]

    static func collect(
        _ configuration: ServerConfiguration, _ directory: ClusterDirectory, _ loops: NodeLoops
    ) async -> ClusterStatus {
        let state = directory.state
        let control = loops.control!
        let (members, features) =
            (try? await control.eventLoop.submit { (control.members, control.features) }.get()) ?? ([], [:])
        let rows = members.map { status in
            let contact = directory.contact(of: status.node)
            return Row(
                name: contact?.name ?? "\(status.node)", address: contact.map { "\($0.address)" } ?? "",
                partitions: state.ring.owners.count { $0 == status.node },
                isLeaving: state.isLeaving(status.node), status: status,
                features: status.isSelf ? .supported : features[status.node])
        }
        var salvage = SalvageStatistics()
        for lane in loops.lanes {
            if let metrics = try? await lane.eventLoop.submit({ lane.snapshot() }).get() {
                salvage.add(metrics.salvage)
            }
        }
        return ClusterStatus(
            cluster: configuration.clusterName, node: configuration.nodeName,
            periodMilliseconds: Int(configuration.membershipPeriod / .milliseconds(1)),
            ring: (state.ring.epoch, state.ring.size.partitions, state.placement.phase),
            role: directory.role, fenced: state.fenced.map(directory.name),
            damaged: salvage.damaged + salvage.comparing, rows: rows.sorted { $0.name < $1.name })
    }

    func json() -> String {
        let text = LineLogHandler.jsonString
        let members = rows.map { row in
            var fields: [(String, String)] = [
                ("name", text(row.name)), ("id", text("\(row.status.node)")), ("address", text(row.address)),
                ("state", text("\(row.status.state)")), ("incarnation", "\(row.status.incarnation)"),
                ("link", text(row.status.isSelf ? "self" : row.status.isLinked ? "up" : "down")),
                ("partitions", "\(row.partitions)"), ("leaving", "\(row.isLeaving)"),
            ]
            if let features = row.features {
                fields.append(("features", "[\(features.names.map(text).joined(separator: ","))]"))
            }
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
            + "\"ring_phase\":\(text("\(ring.phase)")),\"role\":\(text(role.rawValue)),"
            + "\"damaged_partitions\":\(damaged),"
            + "\"fenced\":[\(fenced.map(text).joined(separator: ","))],"
            + "\"members\":[\(members.joined(separator: ","))]}\n"
    }
}
