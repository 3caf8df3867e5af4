// Who a node is to its peers, whom it knows, and the bounds of its links.

package import NIOPosix
package import TorcModel
package import TorcReplication

/// One process of one node over one data folder, as it names itself in a handshake.
package struct PeerIdentity: Hashable, Sendable {
    /// A longer name is cut where it is announced; it is for people alone.
    package static let maximumNameBytes = 255

    package var cluster: ClusterID
    package var node: NodeID
    package var store: StoreID
    /// Zero in a probe, which comes before an incarnation is drawn.
    package var incarnation: Incarnation
    package var name: String

    package init(cluster: ClusterID, node: NodeID, store: StoreID, incarnation: Incarnation, name: String) {
        self.cluster = cluster
        self.node = node
        self.store = store
        self.incarnation = incarnation
        self.name = name
    }
}

/// A member of the cluster, and where its peer port is.
package struct PeerMember: Hashable, Sendable {
    package var node: NodeID
    package var name: String
    package var host: String
    package var port: Int

    package init(node: NodeID, name: String, host: String, port: Int) {
        self.node = node
        self.name = name
        self.host = host
        self.port = port
    }

    package var address: String { "\(host):\(port)" }
}

/// What a node's links are made of; the same for all its loops.
package struct PeerConfiguration: Sendable {
    package var identity: PeerIdentity
    package var key: ClusterKey
    /// All members of the cluster; whether this node is among them makes no difference.
    package var members: [PeerMember]
    /// Nodes that were removed or replaced: told so, and never linked with.
    package var fenced: Set<NodeID>
    /// The ring that all this comes from, for those who do not know this node; nil: they stay without it.
    package var news: RingMessage?
    /// What this build announces.
    package var features = PeerFeatures.supported
    package var limits: PeerLimits
    /// Says which addresses a member's host has; nil: the system does.
    package var resolver: (any Resolver & Sendable)?

    package init(
        identity: PeerIdentity, key: ClusterKey, members: [PeerMember], fenced: Set<NodeID> = [],
        limits: PeerLimits = PeerLimits()
    ) {
        self.fenced = fenced
        self.identity = identity
        self.key = key
        self.members = members
        self.limits = limits
    }

    func member(_ node: NodeID) -> PeerMember? { members.first { $0.node == node } }
}

/// The bounds of peer links, and what happens at each.
package struct PeerLimits: Hashable, Sendable {
    /// A longer message goes as bulk, behind control.
    package var bulkThresholdBytes = 16 << 10
    /// The payload of a bulk frame; a longer message is cut and put together again.
    package var bulkFrameBytes = 64 << 10
    /// Control messages are gathered in one frame up to this.
    package var controlFrameBytes = 64 << 10
    /// One message, encoded. A longer one is not sent and closes the link that it came in on. Siblings are held
    /// to 8 MiB where writes are coordinated; seven coordinators on both sides of a partition stay below this.
    package var messageBytes = 64 << 20
    /// What a link may hold back for a peer that reads too slowly; past it the link is closed.
    package var queuedBytes = 64 << 20
    /// Unsent bytes in the channel above which bulk and control are held back, and below which they go on.
    /// Small, because what is in the channel can no longer be overtaken.
    package var channelHighBytes = 128 << 10
    package var channelLowBytes = 32 << 10
    /// Unauthenticated connections at a time; one more is closed at once.
    package var handshakes = 256

    /// A connection that does not stand by then is closed.
    package var connectTimeout: Duration = .seconds(2)
    package var handshakeTimeout: Duration = .seconds(5)
    /// Each side of a link pings at this interval, or less often where there are many links…
    package var pingInterval: Duration = .seconds(1)
    /// With more links than these a loop pings each less often, and all together as often as these: a thousand
    /// nodes would otherwise send one another more pings than anything else. Who is silent the membership knows
    /// much sooner.
    package var promptLinks = 64
    /// …and closes after so many intervals without a byte from the other.
    package var silentIntervals = 5
    /// How long a standing link may take to prove that its node is alive when another process claims the node id.
    /// Long enough for a busy process, or its copy would be taken for it.
    package var duplicateTimeout: Duration = .seconds(1)
    /// Then a connection ends on which rings were to be told.
    package var newsTimeout: Duration = .seconds(5)
    /// After a link is lost or refused the next attempt waits from the first to the second, doubling, with jitter.
    package var backoffFloor: Duration = .milliseconds(50)
    package var backoffCeiling: Duration = .seconds(2)

    package init() {}

    /// With one link dialled and one accepted for each peer.
    package func pingInterval(peers: Int) -> Duration {
        pingInterval * max(promptLinks, 2 * peers) / promptLinks
    }

    /// The longest payload that a frame may announce: a control frame closes after the message that crosses its
    /// limit, and that message is no bulk.
    package var framePayloadBytes: Int { max(bulkFrameBytes, controlFrameBytes + bulkThresholdBytes) }
}
