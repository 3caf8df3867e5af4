// Before a node opens its store for writing it asks whether it is alive already: a copy of a live node's
// folder must refuse to start with nothing written. It dials every member, and its own address too, because
// that is where the original listens when folder and configuration were copied together. A peer that is linked
// with a process of this node id pings it and, when it answers, refuses the probe as `duplicateNode`.
//
// A peer that cannot be reached says nothing; the handshakes of the links that follow ask again.

package import NIOCore
import TorcModel
import TorcReplication

/// What one address answered.
package enum PeerProbeOutcome: Hashable, Sendable {
    /// The peer knows no other process with this node's id.
    case unknownElsewhere
    /// By the peer, or by this side after it had seen who answered.
    case refused(PeerRefusal)
    case unreachable(String)
}

package struct PeerProbeReport: Sendable {
    /// In the order of the members, this node's own address last.
    package var outcomes: [(address: String, outcome: PeerProbeOutcome)]

    /// Where this node's id is known to be alive, and who says so; nil: nobody who answered knows of it.
    package var duplicate: (address: String, refusal: PeerRefusal)? { refusal(.duplicateNode) }

    /// Who says that this node was removed from the cluster.
    package var removal: (address: String, refusal: PeerRefusal)? { refusal(.fenced) }

    private func refusal(_ code: PeerRefusal.Code) -> (address: String, refusal: PeerRefusal)? {
        for (address, outcome) in outcomes {
            if case .refused(let refusal) = outcome, refusal.code == code { return (address, refusal) }
        }
        return nil
    }
}

/// One question to all known peers: is my node id alive elsewhere?
///
///     let report = try await PeerProbe.run(configuration, on: loop, within: .seconds(2)).get()
///     if let duplicate = report.duplicate { … refuse to start … }
package enum PeerProbe {
    /// The incarnation in `configuration.identity` is ignored: none has been drawn yet.
    /// Answers in `timeout` at the latest; `PeerLimits.duplicateTimeout` should fit in it.
    package static func run(
        _ configuration: PeerConfiguration, on eventLoop: any EventLoop, within timeout: Duration = .seconds(2)
    ) -> EventLoopFuture<PeerProbeReport> {
        var configuration = configuration
        configuration.identity.incarnation = Incarnation(rawValue: 0)
        let own = configuration.identity.node
        let targets =
            configuration.members.filter { $0.node != own } + configuration.members.filter { $0.node == own }
        return eventLoop.flatSubmit { [configuration] in
            let probes = targets.map { target in
                Probe(configuration, target, eventLoop).run(within: timeout).map { (target.address, $0) }
            }
            return EventLoopFuture.whenAllSucceed(probes, on: eventLoop).map { PeerProbeReport(outcomes: $0) }
        }
    }
}

/// One address that is asked.
private final class Probe: PeerLinkOwner, @unchecked Sendable {
    private let configuration: PeerConfiguration
    private let target: PeerMember
    private let eventLoop: any EventLoop
    private let answer: EventLoopPromise<PeerProbeOutcome>
    private var isAnswered = false

    init(_ configuration: PeerConfiguration, _ target: PeerMember, _ eventLoop: any EventLoop) {
        self.configuration = configuration
        self.target = target
        self.eventLoop = eventLoop
        answer = eventLoop.makePromise()
    }

    func run(within timeout: Duration) -> EventLoopFuture<PeerProbeOutcome> {
        var generator = SystemRandomNumberGenerator()
        let isOwn = target.node == configuration.identity.node
        let handshake = Handshake(
            role: .dialler(expecting: isOwn ? nil : target.node, purpose: .probe), identity: configuration.identity,
            members: configuration.members.map(\.node), fenced: configuration.fenced, key: configuration.key.peerKey,
            nonce: HandshakeNonce(using: &generator))
        let link = PeerLink(
            eventLoop: eventLoop, handshake: handshake, dialledAddress: target.address, limits: configuration.limits,
            owner: self)
        PeerChannels.connect(link, to: target, configuration).whenFailure { link.drop("\($0)") }
        let limit = eventLoop.scheduleTask(in: TimeAmount(timeout)) { link.drop("no answer within \(timeout)") }
        answer.futureResult.whenComplete { _ in limit.cancel() }
        return answer.futureResult
    }

    private func finish(_ outcome: PeerProbeOutcome) {
        guard !isAnswered else { return }
        isAnswered = true
        answer.succeed(outcome)
    }

    func judge(
        _ link: PeerLink, _ peer: PeerIdentity, _ purpose: HandshakeMessage.Purpose
    ) -> EventLoopFuture<Handshake.Verdict> {
        // Who answers is not in question here.
        eventLoop.makeSucceededFuture(.sole)
    }

    func linkStands(_ link: PeerLink, _ session: Handshake.Session) {
        finish(.unknownElsewhere)
        link.drop("the probe has its answer")
    }

    func linkReceived(_ message: PeerMessage, on link: PeerLink, from node: NodeID) {}
    func linkReadComplete(_ link: PeerLink) {}
    func linkDropped(_ message: PeerMessage, on link: PeerLink) {}
    func linkWithheld(_ message: PeerMessage, on link: PeerLink) {}

    func linkEnded(_ link: PeerLink, _ end: PeerLinkEnd) {
        switch end {
        case .closed(let reason): finish(.unreachable(reason))
        case .refused(let refusal, _): finish(.refused(refusal))
        }
    }
}
