// What a node says of rings, for people and programs: the JSON bodies of `/admin/cluster/…`, which the commands of
// `torc cluster` read back.

package import Foundation

package enum AdminJSON {
    package static func encode(_ value: some Encodable) -> Data {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Nothing here has values that JSON lacks.
        return (try? encoder.encode(value)) ?? Data()
    }

    package static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: Data) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(type, from: bytes)
    }
}

package struct AdminError: Codable, Sendable {
    package var error: String
}

/// The ring as one node holds it, and how far copies have moved.
package struct RingReport: Codable, Sendable {
    package struct Member: Codable, Sendable {
        package var name: String
        package var id: String
        package var address: String
        package var weight: Int
        package var zone: String?
        /// Those that it owns.
        package var partitions: Int
        package var isLeaving: Bool
        /// Comparisons with former owners that are to be completed, and all; nil: nothing was heard of it.
        package var pending: Int?
        package var total: Int?
    }

    package var cluster: String
    package var node: String
    /// member, leaving, joining, left, fenced.
    package var role: String
    package var generation: UInt64
    package var epoch: UInt64
    package var fingerprint: String
    /// settled, copying, retiring.
    package var phase: String
    package var partitions: Int
    /// Who hears from all how far they are; nil: this node has no link to it.
    package var steward: String?
    /// Partitions that this node gave away and whose records it has yet to remove.
    package var clearing: Int
    package var members: [Member]
    package var fenced: [String]
    /// What waits at this node to be committed.
    package var staged: [String]
}

package struct PlanReport: Codable, Sendable {
    /// Replicas that one node gives up and another gets.
    package struct Flow: Codable, Sendable {
        /// Nil: the lists grew.
        package var from: String?
        /// Nil: they shrank.
        package var to: String?
        package var partitions: Int
        package var bytes: UInt64
    }

    package var plan: String
    package var epoch: UInt64
    package var changes: [String]
    package var partitions: Int
    package var moved: Int
    package var copies: Int
    package var flows: [Flow]
    /// Partitions that share an owner, or a zone, with one of the `copies` − 1 that follow.
    package var repeatedNodes: Int
    package var repeatedZones: Int
}

package struct CommitReport: Codable, Sendable {
    /// committed, lost, indeterminate, unreachable, refused.
    package var outcome: String
    package var text: String
}

package struct TokenReport: Codable, Sendable {
    package var token: String
    /// In seconds since 1970.
    package var expires: UInt64
}

package struct JoinRequest: Codable, Sendable {
    package var token: String
    package var name: String
    /// Of its peer port.
    package var address: String
    package var weight: Int
    package var zone: String?

    package init(token: String, name: String, address: String, weight: Int, zone: String? = nil) {
        self.token = token
        self.name = name
        self.address = address
        self.weight = weight
        self.zone = zone
    }
}

package struct JoinReport: Codable, Sendable {
    /// `ClusterState`, encoded, in Base64.
    package var state: String
    /// Those of its members that it gives no addresses of, because every node's configuration does.
    package var declared: [Declared]

    package struct Declared: Codable, Sendable {
        package var id: UInt64
        /// `NAME=HOST:PORT`
        package var contact: String
    }
}
