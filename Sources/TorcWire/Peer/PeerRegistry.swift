// Which process of each node this node is linked with. One a process, on one event loop: the links live on
// many. It is asked before any link comes to stand, so that of one node id a single incarnation is ever
// linked at a time. When another process claims the id of a linked one, the standing link is pinged: if the
// process behind it answers, it is alive, and the newcomer a copy of it; if not, it is dead and gives way.

package import NIOCore
import TorcModel

package final class PeerRegistry: @unchecked Sendable {
    private struct Entry {
        var link: PeerLink
        var incarnation: Incarnation
    }

    private let eventLoop: any EventLoop
    private let timeout: Duration
    private var entries: [NodeID: [Entry]] = [:]

    /// Confined to `eventLoop`; everything here may be called from any thread.
    package init(eventLoop: any EventLoop, limits: PeerLimits = PeerLimits()) {
        self.eventLoop = eventLoop
        timeout = limits.duplicateTimeout
    }

    /// Admits a link whose peer has proven itself, or says where its node id is alive. An admitted link is
    /// known from here on and must be removed when it ends.
    func admit(
        _ link: PeerLink, _ peer: PeerIdentity, _ purpose: HandshakeMessage.Purpose
    ) -> EventLoopFuture<Handshake.Verdict> {
        eventLoop.flatSubmit { self.judge(link, peer, purpose) }
    }

    func remove(_ link: PeerLink, of node: NodeID) {
        eventLoop.execute { self.forget([link], of: node) }
    }

    private func judge(
        _ link: PeerLink, _ peer: PeerIdentity, _ purpose: HandshakeMessage.Purpose
    ) -> EventLoopFuture<Handshake.Verdict> {
        // A probe has no incarnation yet: whoever is linked under its node id is another process.
        let others = (entries[peer.node] ?? []).filter { purpose == .probe || $0.incarnation != peer.incarnation }
        guard !others.isEmpty else {
            if purpose == .link {
                entries[peer.node, default: []].append(Entry(link: link, incarnation: peer.incarnation))
            }
            return eventLoop.makeSucceededFuture(.sole)
        }
        let questions = others.map { other in
            other.link.isAlive(within: timeout).map { $0 ? other.link.address : nil }.hop(to: eventLoop)
        }
        return EventLoopFuture.whenAllSucceed(questions, on: eventLoop).flatMap { answers in
            if let address = answers.compactMap(\.self).first {
                return self.eventLoop.makeSucceededFuture(.aliveElsewhere(address))
            }
            for other in others { other.link.drop("its process does not answer, and another one claims its node id") }
            self.forget(others.map(\.link), of: peer.node)
            // Another newcomer may have been admitted while the pings were out.
            return self.judge(link, peer, purpose)
        }
    }

    private func forget(_ links: [PeerLink], of node: NodeID) {
        entries[node]?.removeAll { entry in links.contains { $0 === entry.link } }
        if entries[node]?.isEmpty == true { entries[node] = nil }
    }
}
