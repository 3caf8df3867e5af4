// The JSON bodies of `/admin/backup`, which `torc backup create` reads back.

package import TorcStorage

/// A node that a backup holds: from now on nothing goes there that another node's copy may still need.
package struct BackupHoldReport: Codable, Sendable {
    package var name: String
    package var node: String
    package var cluster: String
    package var clusterName: String
    package var ringSize: Int
    package var epoch: UInt64
    package var fingerprint: String
    /// settled, copying, retiring.
    package var phase: String
    /// All that have a say.
    package var members: [String]
}

package struct BackupStageReport: Codable, Sendable {
    package var sequence: UInt64
    /// Microseconds since 1970.
    package var time: UInt64
    package var fingerprint: String
}

package struct BackupReleaseReport: Codable, Sendable {
    /// It was held all the time.
    package var wasHeld: Bool
}

package struct BackupCollectReport: Codable, Sendable {
    package var name: String
    package var node: String
    package var store: String
    package var files: Int
    package var bytes: UInt64
    package var newBytes: UInt64
    package var checksum: String

    package var entry: ClusterBackupManifest.Node {
        ClusterBackupManifest.Node(
            name: name, node: node, store: store, files: files, bytes: bytes, newBytes: newBytes, checksum: checksum)
    }
}

package struct BackupProgressReport: Codable, Sendable {
    /// idle, held, busy, staged.
    package var state: String
    /// Of what is collected now.
    package var bytes: UInt64
}
