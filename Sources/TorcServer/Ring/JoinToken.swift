// Lets one new node in. A token is the id of a node that does not exist yet, with a date, sealed under the cluster's
// secret: whoever shows it may have that very id staged to join. So a token makes one node, whichever member it is
// shown to, and nobody needs to remember which tokens were used: the members of the cluster are that memory.
//
//   torc1-<node id, 16 digits>-<seconds since 1970, hexadecimal>-<seal, 32 digits>

import Crypto
package import TorcModel

package struct JoinToken: Hashable, Sendable, CustomStringConvertible {
    package static let standardLifetime = 3_600
    /// A longer one is refused: a token lies about in histories and chats.
    package static let longestLifetime = 7 * 24 * 3_600

    private static let version = "torc1"
    private static let sealDigits = 32

    package var node: NodeID
    /// In seconds since 1970.
    package var expires: UInt64
    private var seal: String

    package init(node: NodeID, expires: UInt64, cluster: ClusterID, key: ClusterKey) {
        self.node = node
        self.expires = expires
        seal = Self.seal(of: node, expires, cluster, key)
    }

    /// Nil when it does not look like one; whether it is one, `isSealed` says.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0] == Self.version, parts[1].count == 16, parts[3].count == Self.sealDigits,
            let node = UInt64(parts[1], radix: 16), let expires = UInt64(parts[2], radix: 16)
        else { return nil }
        self.node = NodeID(rawValue: node)
        self.expires = expires
        seal = String(parts[3])
    }

    package var description: String {
        "\(Self.version)-\(hexadecimal(node.rawValue))-\(String(expires, radix: 16))-\(seal)"
    }

    /// Whether it was issued with this cluster's secret. Takes the same time for any seal.
    package func isSealed(by key: ClusterKey, for cluster: ClusterID) -> Bool {
        let expected = Self.seal(of: node, expires, cluster, key)
        return zip(expected.utf8, seal.utf8).reduce(0) { $0 | $1.0 ^ $1.1 } == 0
    }

    private static func seal(of node: NodeID, _ expires: UInt64, _ cluster: ClusterID, _ key: ClusterKey) -> String {
        let text = "torc join token 1 \(cluster) \(hexadecimal(node.rawValue)) \(String(expires, radix: 16))"
        let code = HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key.peerKey)
        return code.withUnsafeBytes { bytes in
            bytes.prefix(sealDigits / 2).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        }
    }
}
