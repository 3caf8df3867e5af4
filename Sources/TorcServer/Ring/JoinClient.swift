// A new node's request to be let in: one POST to a member's HTTP address. The answer is the cluster as it is now,
// without the new node, whose join waits there to be committed.

import Foundation
import FoundationNetworking
import Logging
import NIOCore
import TorcModel
import TorcReplication

/// How a node comes into a cluster that runs.
package struct JoinSettings: Hashable, Sendable {
    /// A member's HTTP listener.
    package var member: HostAddress
    package var token: JoinToken

    package init(member: HostAddress, token: JoinToken) {
        self.member = member
        self.token = token
    }
}

enum JoinClient {
    private static let timeout = 15.0

    static func ask(
        _ settings: JoinSettings, for configuration: ServerConfiguration, cluster: ClusterID
    ) async throws(NodeStartError) -> (state: ClusterState, declared: [DeclaredMember]) {
        guard settings.token.isSealed(by: configuration.clusterKey, for: cluster) else {
            throw .joinRefused(
                "the token is not of cluster \(configuration.clusterName) with this cluster secret: "
                    + "compare cluster.name and cluster.key with the members'")
        }
        let body = JoinRequest(
            token: "\(settings.token)", name: configuration.nodeName, address: "\(configuration.advertisedAddress)",
            weight: configuration.weight, zone: configuration.zone)
        let (status, answer) = try await post(AdminJSON.encode(body), to: settings.member)
        guard status == 200 else {
            let error = try? AdminJSON.decode(AdminError.self, answer)
            throw .joinRefused(
                "\(settings.member) says: \(error?.error ?? "HTTP \(status)")")
        }
        guard let report = try? AdminJSON.decode(JoinReport.self, answer), let bytes = Data(base64Encoded: report.state)
        else { throw .joinRefused("\(settings.member) answered with what is no cluster") }
        var buffer = ByteBuffer(bytes: bytes)
        do throws(MalformedBytes) {
            let state = try ClusterState(decoding: &buffer)
            try buffer.requireEmpty("cluster state")
            let declared = report.declared.compactMap { member in
                NodeContact(member.contact).map {
                    DeclaredMember(name: $0.name, node: NodeID(rawValue: member.id), address: $0.address)
                }
            }
            return (state, declared)
        } catch {
            throw .joinRefused("\(settings.member) answered with what is no cluster: \(error)")
        }
    }

    private static func post(_ body: Data, to member: HostAddress) async throws(NodeStartError) -> (Int, Data) {
        guard let url = URL(string: "http://\(member)\(RingEndpoint.path)join") else {
            throw .joinRefused("\(member) is no address")
        }
        var request = URLRequest(url: url, timeoutInterval: timeout)
        request.httpMethod = "POST"
        request.httpBody = body
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        do {
            let (data, response) = try await URLSession.shared.data(for: request)
            return ((response as? HTTPURLResponse)?.statusCode ?? 0, data)
        } catch {
            throw .joinUnreachable("\(member) does not answer: \(error.localizedDescription)")
        }
    }
}
