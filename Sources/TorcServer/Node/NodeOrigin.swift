// Who a node is and from where it knows the others, found before anything is written:
//
//   data folder                    node id                        ring
//   of a node that joined          the folder's                   the folder's
//   empty, and cluster.join set    the token's                    the answer of the member that is asked
//   any other                      from the names (`nodeID`)      the folder's, at first the declared one

import Logging
import NIOCore
import TorcModel
import TorcReplication
import TorcStorage

struct NodeOrigin: Sendable {
    /// With the id, the ring size and the members of the node that it is.
    var configuration: ServerConfiguration
    /// Of a node that joins or has joined.
    var joinedName: String?
    /// The ring of a folder that holds none; nil: there must be one.
    var beginning: ClusterState?

    static func find(
        _ configuration: ServerConfiguration, _ cluster: ClusterID, _ found: FolderState, _ logger: Logger
    ) async throws -> NodeOrigin {
        switch found {
        case .ready(let identity), .unfinished(let identity):
            if let name = identity.joinedName, name == configuration.nodeName {
                if configuration.join != nil {
                    logger.info("the data folder says who this node is: cluster.join is without effect")
                }
                return joined(configuration, name, identity.node, identity.ringSize)
            }
        case .vacant:
            if let join = configuration.join {
                let (state, declared) = try await JoinClient.ask(join, for: configuration, cluster: cluster)
                logger.notice(
                    "asked to join: commit it with `torc cluster commit` at the member that was asked",
                    metadata: ["member": "\(join.member)", "id": "\(join.token.node)", "ring": "\(state.version)"])
                var origin = joined(configuration, configuration.nodeName, join.token.node, state.ring.size)
                origin.beginning = state
                origin.configuration.members += declared
                return origin
            }
        }
        let ring: Ring
        do {
            ring = try Ring.declared(
                members: configuration.members.map { ClaimMember(node: $0.node) }, size: configuration.ringSize)
        } catch {
            throw NodeStartError.ring("\(error)")
        }
        return NodeOrigin(configuration: configuration, beginning: ClusterState(declared: ring))
    }

    private static func joined(
        _ configuration: ServerConfiguration, _ name: String, _ node: NodeID, _ size: RingSize
    ) -> NodeOrigin {
        var configuration = configuration
        configuration.node = node
        configuration.ringSize = size
        configuration.members = [DeclaredMember(name: name, node: node, address: configuration.advertisedAddress)]
        return NodeOrigin(configuration: configuration, joinedName: name)
    }
}

/// The declared members' addresses, as `meta` of a node that joined keeps them: its configuration lacks them.
///
///   u8 format | varint count | (u64be node | varint length, NAME=HOST:PORT) …
enum StoredDeclared {
    static let key = "declared"
    private static let format: UInt8 = 1
    /// Of a ring's owners there are no more.
    private static let limit = 16_384

    static func encode(_ members: [DeclaredMember]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(format)
        buffer.writeVarint(UInt64(members.count))
        for member in members {
            buffer.writeInteger(member.node.rawValue)
            buffer.writeLengthPrefixed(ByteBuffer(string: "\(NodeContact(name: member.name, address: member.address))"))
        }
        return buffer
    }

    static func decode(_ bytes: ByteBuffer) throws(MalformedBytes) -> [DeclaredMember] {
        var buffer = bytes
        guard try buffer.readFixed(UInt8.self, "declared members") == format else {
            throw MalformedBytes(.unknownVersion, "declared members")
        }
        var members: [DeclaredMember] = []
        for _ in 0..<(try buffer.readCount(limit: limit, "declared members")) {
            let node = NodeID(rawValue: try buffer.readFixed(UInt64.self, "declared members"))
            let text = try buffer.readLengthPrefixed(limit: ClusterMember.maximumContactBytes, "declared members")
            guard let contact = NodeContact(contact: text) else {
                throw MalformedBytes(.notCanonical, "declared members")
            }
            members.append(DeclaredMember(name: contact.name, node: node, address: contact.address))
        }
        try buffer.requireEmpty("declared members")
        return members
    }
}
