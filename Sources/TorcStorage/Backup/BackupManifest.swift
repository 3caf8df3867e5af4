// What a backup says of itself:
//
//   DIR/ID/cluster.json         the backup: its nodes, each with the checksum of what it says. Written last: without it
//                               there is no backup, whatever else stands there
//   DIR/ID/NAME/backup.json     one node's part: every file with its size and checksum, and the tree roots
//   DIR/ID/NAME/IDENTITY, db/   the files: a data folder that is read, and never served from
//
// Both are JSON with fields sorted by name, sealed by a checksum of themselves with that field empty. A file's checksum is
// xxh3 over its pieces of 1 MiB, each seeded with that of the piece before it, the first with 0.

import Foundation
import Glibc
import TorcModel

/// Why a backup is not made, not read, or not used.
package enum BackupError: Error, Hashable, Sendable, CustomStringConvertible {
    /// There is none of that name, or it was never finished.
    case noBackup(path: String)
    /// It is there, and cannot be read.
    case damaged(path: String, reason: String)
    /// The text says what is to be done.
    case refused(String)
    /// The node stops.
    case stopped

    package var description: String {
        switch self {
        case .noBackup(let path):
            "there is no finished backup at \(path): `torc backup list` shows those that there are"
        case .damaged(let path, let reason): "\(path) cannot be used: \(reason). Take another backup"
        case .refused(let text): text
        case .stopped: "the node stops: the backup was not finished. Make another one when it runs again"
        }
    }
}

/// A document of a backup that carries a checksum of itself.
package protocol BackupDocument: Codable {
    var format: Int { get }
    var checksum: String { get set }
}

/// What every format has.
private struct BackupHead: Decodable {
    var format: Int
}

package enum BackupFormat {
    package static let current = 1
    static let clusterFile = "cluster.json"
    static let nodeFile = "backup.json"
    /// Of a manifest; a longer one is none.
    static let largestManifestBytes = 256 << 20
    private static let seed: UInt64 = 0x7462_6163_6b75_7001

    /// Names of folders that this makes are made of these alone.
    package static func isPlain(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 128 && !text.hasPrefix(".")
            && text.utf8.allSatisfy {
                UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0
                    || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                    || $0 == UInt8(ascii: ".")
            }
    }

    static func checksum(of bytes: Data) -> String {
        hexadecimal([UInt8](bytes).withUnsafeBytes { xxh3($0, seed: seed) })
    }
}

extension BackupDocument {
    private var encoded: Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        // Nothing here has values that JSON lacks.
        return (try? encoder.encode(self)) ?? Data()
    }

    package func sealed() -> Self {
        var document = self
        document.checksum = ""
        document.checksum = BackupFormat.checksum(of: document.encoded)
        return document
    }

    func write(_ path: String) throws(StoreError) {
        try Files.replace(path, with: [UInt8](encoded) + [UInt8(ascii: "\n")])
    }

    init(reading path: String) throws {
        guard Files.exists(path) else { throw BackupError.noBackup(path: path) }
        let size = try Files.size(path)
        guard size <= BackupFormat.largestManifestBytes else {
            throw BackupError.damaged(path: path, reason: "it is too long")
        }
        let bytes = try Data(Files.read(path, limit: Int(size) + 1))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let head = try? decoder.decode(BackupHead.self, from: bytes) else {
            throw BackupError.damaged(path: path, reason: "it is no manifest of a backup")
        }
        guard head.format <= BackupFormat.current else {
            throw BackupError.damaged(
                path: path, reason: "it has format \(head.format), this build reads up to \(BackupFormat.current)")
        }
        guard let document = try? decoder.decode(Self.self, from: bytes),
            document.sealed().checksum == document.checksum
        else { throw BackupError.damaged(path: path, reason: "its checksum does not match") }
        self = document
    }
}

/// One node's part.
package struct NodeBackupManifest: BackupDocument, Hashable, Sendable {
    package struct File: Codable, Hashable, Sendable {
        /// Below the node's folder.
        package var path: String
        package var bytes: UInt64
        package var checksum: String
    }

    /// Of one partition's tree. A tree in which there is nothing is left out.
    package struct Root: Codable, Hashable, Sendable {
        package var partition: Int
        package var copies: Int
        package var root: String
    }

    package var format = BackupFormat.current
    package var backup: String
    package var cluster: String
    package var clusterName: String
    package var name: String
    package var node: String
    package var store: String
    package var incarnation: String
    package var ringSize: Int
    package var ringEpoch: UInt64
    /// What the members had agreed on (`ClusterState`), encoded, in Base64.
    package var ring: String
    /// Microseconds since 1970.
    package var time: UInt64
    /// Everything that the store had written through this number is in the files.
    package var sequence: UInt64
    package var files: [File] = []
    package var roots: [Root] = []
    /// Partitions whose trees the files do not say.
    package var rootless: [Int] = []
    package var checksum = ""

    package init(
        backup: String, cluster: String, clusterName: String, name: String, identity: StoreIdentity,
        incarnation: String,
        ringEpoch: UInt64, ring: String, time: UInt64, sequence: UInt64
    ) {
        self.backup = backup
        self.cluster = cluster
        self.clusterName = clusterName
        self.name = name
        node = "\(identity.node)"
        store = "\(identity.store)"
        self.incarnation = incarnation
        ringSize = identity.ringSize.partitions
        self.ringEpoch = ringEpoch
        self.ring = ring
        self.time = time
        self.sequence = sequence
    }

    package var bytes: UInt64 { .sum(files.map(\.bytes)) }
}

/// The whole.
package struct ClusterBackupManifest: BackupDocument, Hashable, Sendable {
    package struct Node: Codable, Hashable, Sendable {
        package var name: String
        package var node: String
        package var store: String
        package var files: Int
        package var bytes: UInt64
        /// Of files that no earlier backup in the folder had.
        package var newBytes: UInt64
        /// That of its manifest.
        package var checksum: String

        package init(
            name: String, node: String, store: String, files: Int, bytes: UInt64, newBytes: UInt64, checksum: String
        ) {
            self.name = name
            self.node = node
            self.store = store
            self.files = files
            self.bytes = bytes
            self.newBytes = newBytes
            self.checksum = checksum
        }
    }

    package var format = BackupFormat.current
    package var backup: String
    package var cluster: String
    package var clusterName: String
    package var ringSize: Int
    package var ringEpoch: UInt64
    package var ringFingerprint: String
    /// Microseconds since 1970: what was acknowledged before `began` is in it, what was written after `ended` is not.
    package var began: UInt64
    package var ended: UInt64
    /// By name.
    package var nodes: [Node]
    package var checksum = ""

    package init(
        backup: String, cluster: String, clusterName: String, ringSize: Int, ringEpoch: UInt64, ringFingerprint: String,
        began: UInt64, ended: UInt64, nodes: [Node]
    ) {
        self.backup = backup
        self.cluster = cluster
        self.clusterName = clusterName
        self.ringSize = ringSize
        self.ringEpoch = ringEpoch
        self.ringFingerprint = ringFingerprint
        self.began = began
        self.ended = ended
        self.nodes = nodes
    }

    package var bytes: UInt64 { .sum(nodes.map(\.bytes)) }

    /// Makes the backup one: from here on it counts.
    package func finish(in directory: String) throws(StoreError) {
        let path = "\(directory)/\(backup)"
        try Files.makeFolder(path)
        try sealed().write("\(path)/\(BackupFormat.clusterFile)")
        try Files.syncFolder(of: path)
    }
}

extension UInt64 {
    /// Of figures that somebody may have made up: at most what there is room for.
    package static func sum(_ parts: [UInt64]) -> UInt64 {
        parts.reduce(0) { sum, part in
            let (value, isTooLarge) = sum.addingReportingOverflow(part)
            return isTooLarge ? .max : value
        }
    }
}
