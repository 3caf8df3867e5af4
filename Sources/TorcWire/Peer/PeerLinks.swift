// The links of one event loop to all peers.
//
// Each loop dials every member and keeps the link that comes of it; members dial likewise, so two loops have
// two links, one dialled by each. A loop sends on the link that it dialled (requests and answers alike: one
// write a turn carries both) and receives on the ones that it accepted; while its own does not stand it sends
// on an accepted one. So a node that can be dialled from one side only is linked all the same. Answers find
// their way by `OperationID`, whichever link brings them.
//
// A link is a connection between two processes, and `PeerRegistry` sees to it that one incarnation of a node
// is linked at a time: the receiver of a message is the incarnation that it was sent to.

package import Logging
package import NIOCore
package import TorcModel
package import TorcReplication

/// What a loop's links tell their user, on that loop.
package protocol PeerReceiver: AnyObject, Sendable {
    func peerMessage(_ message: PeerMessage, from node: NodeID)
    /// All messages of one read have been handed over: a good moment to end a turn.
    func peerReadComplete()
    /// Messages can be sent that need no other than these features. What was sent before the last `peerDown` will not
    /// be answered.
    func peerUp(_ node: NodeID, features: PeerFeatures)
    /// A link was lost and with it, perhaps, messages and answers. `peerUp` follows at once when another one stands.
    func peerDown(_ node: NodeID)
    /// A link that this loop dialled was refused, by the peer or by this side. Told once for each code until a
    /// link stands; the peer is dialled again anyway. `duplicateNode` by the peer means that another process
    /// with this node's id is alive: this one must stop.
    func peerRefused(_ node: NodeID, _ refusal: PeerRefusal, byPeer: Bool)
}

extension PeerReceiver {
    package func peerReadComplete() {}
    package func peerRefused(_ node: NodeID, _ refusal: PeerRefusal, byPeer: Bool) {}
}

/// One event loop's links to the other members.
///
///     let links = PeerLinks(configuration: …, registry: registry, eventLoop: loop, loop: 0, loopCount: 2, logger: …)
///     links.start(receiver: shell)            // from any thread
///     links.send(.write(…), to: node)         // on the loop; dropped when the node is down
///     try await links.stop().get()
///
/// Accepted links are handed in by `PeerListener`.
package final class PeerLinks: @unchecked Sendable {
    /// A member as this loop sees it.
    private final class Peer: @unchecked Sendable {
        var member: PeerMember
        /// The link of an attempt that is under way.
        var attempt: PeerLink?
        /// Standing links.
        var dialled: PeerLink?
        var accepted: [PeerLink] = []
        var redial: Scheduled<Void>?
        /// Attempts since a link last stood.
        var failures = 0
        var lastRefusal: PeerRefusal.Code?
        /// It does not know this node: the next attempt tells it the ring in which both are.
        var lacksNews = false

        init(member: PeerMember) { self.member = member }

        var usable: PeerLink? { dialled ?? accepted.first }
        var standing: [PeerLink] { (dialled.map { [$0] } ?? []) + accepted }
    }

    package let eventLoop: any EventLoop
    private var configuration: PeerConfiguration
    private let registry: PeerRegistry
    private let loop: Int
    private let loopCount: Int
    private let logger: Logger
    /// The loop's; nil: nothing is timed.
    private let stages: StageClock?
    private var limiter = LogLimiter()
    private var receiver: (any PeerReceiver)?
    /// Ascending by node.
    private var peers: [Peer]
    private var peerByNode: [NodeID: Peer]
    /// Accepted connections that have not proven who they are.
    private var strangers: [PeerLink] = []
    /// Links with nodes that are members no longer, until what is queued is sent.
    private var parting: [PeerLink] = []
    private var stopped: EventLoopPromise<Void>?
    private var generator = SystemRandomNumberGenerator()

    /// `loop` is this loop's place among the node's `loopCount`.
    package init(
        configuration: PeerConfiguration, registry: PeerRegistry, eventLoop: any EventLoop, loop: Int, loopCount: Int,
        logger: Logger, stages: StageClock? = nil
    ) {
        let others = configuration.members.count { $0.node != configuration.identity.node }
        var configuration = configuration
        configuration.limits.pingInterval = configuration.limits.pingInterval(peers: others)
        self.configuration = configuration
        self.registry = registry
        self.eventLoop = eventLoop
        self.loop = loop
        self.loopCount = loopCount
        self.logger = logger
        self.stages = stages
        peers = configuration.members.filter { $0.node != configuration.identity.node }
            .sorted { $0.node < $1.node }.map(Peer.init)
        peerByNode = Dictionary(uniqueKeysWithValues: peers.map { ($0.member.node, $0) })
    }

    /// Dials every member, for as long as it takes. From any thread.
    package func start(receiver: any PeerReceiver) {
        eventLoop.execute {
            guard self.stopped == nil else { return }
            self.receiver = receiver
            for peer in self.peers { self.dial(peer) }
        }
    }

    /// Queues a message; all of a turn leave in one write. Dropped when no link to the node stands.
    package func send(_ message: PeerMessage, to node: NodeID) {
        eventLoop.assertInEventLoop()
        peerByNode[node]?.usable?.send(message)
    }

    /// Sends what is queued now, instead of when the loop is done with this turn's tasks.
    package func flush() {
        eventLoop.assertInEventLoop()
        for peer in peers { peer.usable?.flush() }
    }

    package func isUp(_ node: NodeID) -> Bool {
        eventLoop.assertInEventLoop()
        return peerByNode[node]?.usable != nil
    }

    /// Sends what is queued, for a second at most, and ends all links. The receiver hears nothing more.
    /// From any thread.
    package func stop() -> EventLoopFuture<Void> {
        eventLoop.flatSubmit {
            if let stopped = self.stopped { return stopped.futureResult }
            let promise = self.eventLoop.makePromise(of: Void.self)
            self.stopped = promise
            self.receiver = nil
            for peer in self.peers {
                peer.redial?.cancel()
                peer.attempt?.drop("this node stops")
                for link in peer.standing { link.stop("this node stops") }
            }
            for link in self.strangers + self.parting { link.drop("this node stops") }
            self.finishStopping()
            return promise.futureResult
        }
    }

    private func finishStopping() {
        guard let stopped, strangers.isEmpty, parting.isEmpty,
            peers.allSatisfy({ $0.standing.isEmpty && $0.attempt == nil })
        else { return }
        stopped.succeed()
    }

    // MARK: Members

    /// Whom to be linked with from now on. Those that are new are dialled and let in; links with the others end when
    /// what is queued for them is sent. `news`: the ring that says so. On the loop.
    package func setMembers(_ members: [PeerMember], fenced: Set<NodeID>, news: RingMessage? = nil) {
        eventLoop.assertInEventLoop()
        guard stopped == nil else { return }
        configuration.members = members
        configuration.fenced = fenced
        configuration.news = news
        let others = members.filter { $0.node != configuration.identity.node }.sorted { $0.node < $1.node }
        let gone = peers.filter { peer in !others.contains { $0.node == peer.member.node } }
        peers = others.map { member in
            guard let known = peerByNode[member.node] else { return Peer(member: member) }
            known.member = member
            return known
        }
        peerByNode = Dictionary(uniqueKeysWithValues: peers.map { ($0.member.node, $0) })
        for peer in gone { part(with: peer, isFenced: fenced.contains(peer.member.node)) }
        guard receiver != nil else { return }
        for peer in peers where peer.usable == nil && peer.redial == nil { dial(peer) }
    }

    private func part(with peer: Peer, isFenced: Bool) {
        let reason = isFenced ? "it was removed from the cluster, or replaced" : "it is no member any more"
        logger.info("peer \(peer.member.name) is let go: \(reason)")
        peer.redial?.cancel()
        let standing = peer.standing
        parting += standing + (peer.attempt.map { [$0] } ?? [])
        peer.attempt?.drop(reason)
        for link in standing { link.stop(reason) }
        if !standing.isEmpty { receiver?.peerDown(peer.member.node) }
    }

    // MARK: Dialling

    private func dial(_ peer: Peer) {
        guard stopped == nil, peer.dialled == nil, peer.attempt == nil else { return }
        peer.redial?.cancel()
        peer.redial = nil
        let node = peer.member.node
        let purpose: HandshakeMessage.Purpose = peer.lacksNews && configuration.news != nil ? .news : .link
        peer.lacksNews = false
        let link = PeerLink(
            eventLoop: eventLoop, handshake: handshake(.dialler(expecting: node, purpose: purpose)),
            dialledAddress: peer.member.address, limits: configuration.limits, owner: self)
        link.node = node
        link.stages = stages
        peer.attempt = link
        PeerChannels.connect(link, to: peer.member, configuration)
            // Ends the link when the connection never stood; otherwise it has ended already.
            .whenFailure { link.drop("cannot be reached: \($0)") }
    }

    private func redial(_ peer: Peer) {
        guard stopped == nil else { return }
        let delay = Backoff.delay(
            failures: peer.failures, floor: configuration.limits.backoffFloor,
            ceiling: configuration.limits.backoffCeiling, using: &generator)
        peer.failures += 1
        peer.redial = eventLoop.scheduleTask(in: TimeAmount(delay)) { self.dial(peer) }
    }

    private func handshake(_ role: Handshake.Role) -> Handshake {
        Handshake(
            role: role, identity: configuration.identity, members: configuration.members.map(\.node),
            fenced: configuration.fenced, key: configuration.key.peerKey, nonce: HandshakeNonce(using: &generator),
            features: configuration.features.rawValue, loop: loop, loopCount: loopCount)
    }

    // MARK: Accepting

    /// A link for a connection that was accepted on this loop; nil when there are too many strangers, and before
    /// the start: it would stand for the peer, and the receiver would never be told. The peer dials again.
    func accept() -> PeerLink? {
        eventLoop.assertInEventLoop()
        guard receiver != nil else { return nil }
        guard strangers.count < configuration.limits.handshakes else {
            note(.warning, "too many unauthenticated peer connections: one was closed")
            return nil
        }
        let link = PeerLink(
            eventLoop: eventLoop, handshake: handshake(.acceptor), dialledAddress: nil, limits: configuration.limits,
            owner: self)
        link.stages = stages
        strangers.append(link)
        return link
    }

    // MARK: Logging

    /// At most a line a second of what a stranger or a broken peer can cause.
    private func note(_ level: Logger.Level, _ text: @autoclosure () -> String) {
        guard let suppressed = limiter.admit(at: .now()) else { return }
        logger.log(level: level, "\(text())", metadata: suppressed > 0 ? ["suppressed": "\(suppressed)"] : nil)
    }
}

extension PeerLinks: PeerLinkOwner {
    func judge(
        _ link: PeerLink, _ peer: PeerIdentity, _ purpose: HandshakeMessage.Purpose
    ) -> EventLoopFuture<Handshake.Verdict> {
        let verdict = registry.admit(link, peer, purpose).hop(to: eventLoop)
        verdict.whenSuccess { _ in
            // It ended before it was admitted: nobody else will take it out again.
            if link.hasEnded { self.registry.remove(link, of: peer.node) }
        }
        return verdict
    }

    func linkStands(_ link: PeerLink, _ session: Handshake.Session) {
        // It was judged by a link that ended because this node stops, and nobody would end it.
        guard stopped == nil else { return link.drop("this node stops") }
        if session.purpose == .news { return tellNews(on: link) }
        // A probe has its answer; a link's peer is a member, or it would have been refused.
        guard session.purpose == .link, let peer = peerByNode[session.peer.node] else {
            return link.stop("a probe has its answer")
        }
        strangers.removeAll { $0 === link }
        for other in peer.standing where other.session?.peer.incarnation != session.peer.incarnation {
            other.drop("superseded by incarnation \(session.peer.incarnation)")
        }
        let wasUp = peer.usable != nil
        link.node = session.peer.node
        if link.isDialled {
            peer.dialled = link
            peer.attempt = nil
        } else {
            peer.accepted.append(link)
        }
        peer.failures = 0
        peer.lastRefusal = nil
        if !wasUp {
            logger.info(
                "peer \(peer.member.name) is linked at \(link.address), incarnation \(session.peer.incarnation)")
            receiver?.peerUp(session.peer.node, features: session.agreed)
        }
        // It is there: no reason to wait any longer.
        if peer.redial != nil { dial(peer) }
    }

    /// Who was away while all whom it knew left the cluster knows none of those who dial it, and would refuse them for
    /// ever: so whoever is refused as unknown tells the ring in which it is a member, and hears the other's.
    private func tellNews(on link: PeerLink) {
        if let news = configuration.news { link.send(.ring(news)) }
        eventLoop.scheduleTask(in: TimeAmount(configuration.limits.newsTimeout)) {
            link.drop("the rings were not told in time")
        }
    }

    private func heardNews(_ message: PeerMessage, on link: PeerLink, from node: NodeID) {
        guard case .ring = message else { return link.drop("it was to tell its ring, and told something else") }
        receiver?.peerMessage(message, from: node)
        // Both have said what they have to say: the one who asked ends it.
        if link.isDialled { link.stop("the rings are told") }
    }

    func linkReceived(_ message: PeerMessage, on link: PeerLink, from node: NodeID) {
        if link.judgedPurpose == .news { return heardNews(message, on: link, from: node) }
        guard peerByNode[node] != nil else { return }
        receiver?.peerMessage(message, from: node)
    }

    func linkReadComplete(_ link: PeerLink) { receiver?.peerReadComplete() }

    func linkDropped(_ message: PeerMessage, on link: PeerLink) {
        note(
            .error,
            "a message of \(PeerMessageCodec.sizeBound(of: message)) bytes to \(link.address) was not sent: "
                + "the limit is \(configuration.limits.messageBytes)")
    }

    func linkWithheld(_ message: PeerMessage, on link: PeerLink) {
        note(
            .error,
            "a message to \(link.address) was not sent, which that node's older version does not know: it needs "
                + message.requiredFeatures.names.joined(separator: ", "))
    }

    func linkEnded(_ link: PeerLink, _ end: PeerLinkEnd) {
        if let judged = link.judgedNode { registry.remove(link, of: judged) }
        if parting.contains(where: { $0 === link }) {
            parting.removeAll { $0 === link }
            return finishStopping()
        }
        if let node = link.node, let peer = peerByNode[node] {
            ended(link, of: peer, end)
        } else {
            strangers.removeAll { $0 === link }
            if stopped == nil, link.judgedPurpose ?? .link == .link {
                note(.warning, "a peer connection from \(link.address) was not taken: \(end)")
            }
        }
        finishStopping()
    }

    private func ended(_ link: PeerLink, of peer: Peer, _ end: PeerLinkEnd) {
        if peer.attempt === link {
            peer.attempt = nil
            if case .refused(let refusal, let byPeer) = end {
                refused(peer, refusal, byPeer: byPeer, link)
            } else if peer.failures == 0 {
                logger.info("peer \(peer.member.name) at \(link.address) is not linked: \(end)")
            }
        } else {
            if peer.dialled === link { peer.dialled = nil }
            peer.accepted.removeAll { $0 === link }
            if stopped == nil { logger.info("peer \(peer.member.name) lost a link at \(link.address): \(end)") }
            receiver?.peerDown(peer.member.node)
            if let session = peer.usable?.session {
                receiver?.peerUp(peer.member.node, features: session.agreed)
            }
        }
        if link.isDialled { redial(peer) }
    }

    private func refused(_ peer: Peer, _ refusal: PeerRefusal, byPeer: Bool, _ link: PeerLink) {
        if byPeer, refusal.code == .unknownNode { peer.lacksNews = true }
        guard peer.lastRefusal != refusal.code else { return }
        peer.lastRefusal = refusal.code
        logger.warning("no link with peer \(peer.member.name) at \(link.address): \(refusal)")
        receiver?.peerRefused(peer.member.node, refusal, byPeer: byPeer)
    }
}
