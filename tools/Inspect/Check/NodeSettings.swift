// What a folder does not say of its node: the cluster's key, from which the hashes in leaves follow, and the members of a
// cluster that never changed. A node's configuration has both.

package import ArgumentParser
import Foundation
package import Synchronization
package import TorcModel

package struct NodeSettings: Sendable {
    /// nil: leaves cannot be computed.
    package var hashSeed: HashSeed?
    /// The declared members; nil: not known.
    package var members: [NodeID]?

    package init(hashSeed: HashSeed? = nil, members: [NodeID]? = nil) {
        self.hashSeed = hashSeed
        self.members = members
    }

    /// Reads a node's configuration file as `torc serve` does; the program that has the server in it sets it.
    package static let reader = Mutex<(@Sendable (String) async throws -> NodeSettings)?>(nil)
}

package struct NodeSettingsOptions: ParsableArguments {
    @Option(help: "The node's configuration file: for the cluster's key and its members; also TORC_CONFIG.")
    package var config: String?
    @Option(help: "The file that holds the cluster's key, without --config; also TORC_CLUSTER_KEY_FILE.")
    package var clusterKeyFile: String?

    package init() {}

    package func settings() async throws -> NodeSettings {
        let environment = ProcessInfo.processInfo.environment
        if let path = clusterKeyFile { return NodeSettings(hashSeed: try Self.seed(inFile: path)) }
        if let path = config ?? environment["TORC_CONFIG"] {
            guard let read = NodeSettings.reader.withLock({ $0 }) else {
                throw ValidationError("this program reads no configuration: give --cluster-key-file")
            }
            return try await read(path)
        }
        if let path = environment["TORC_CLUSTER_KEY_FILE"] {
            return NodeSettings(hashSeed: try Self.seed(inFile: path))
        }
        if let secret = environment["TORC_CLUSTER_KEY"] {
            return NodeSettings(hashSeed: try Self.seed(Array(secret.utf8), "TORC_CLUSTER_KEY"))
        }
        return NodeSettings()
    }

    private static func seed(inFile path: String) throws -> HashSeed {
        guard let content = FileManager.default.contents(atPath: path) else {
            throw ValidationError("\(path) cannot be read")
        }
        let space = Set(" \t\r\n".utf8)
        return try seed(Array(content.reversed().drop { space.contains($0) }.reversed()), path)
    }

    private static func seed(_ secret: [UInt8], _ place: String) throws -> HashSeed {
        guard let key = ClusterKey(secret: secret) else {
            throw ValidationError("\(place): a cluster's key has at least \(ClusterKey.minimumSecretBytes) bytes")
        }
        return key.hashSeed
    }
}
