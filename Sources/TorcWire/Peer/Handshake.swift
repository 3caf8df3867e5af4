// How two processes come to trust a connection.
//
//   dialler                                    acceptor
//   hello: versions, identity, nonce     ─►    version, cluster, membership judged
//                                        ◄─    welcome: version, identity, nonce, proof
//   proof checked, identity judged
//   proof                                ─►    proof checked, node id judged against the standing links
//                                        ◄─    accepted
//
// Either side may refuse instead, and says why. A proof is HMAC-SHA256 under the cluster's peer key over the
// side's name, the hello and the welcome: it covers both nonces, so it cannot be replayed, and every field, so
// nothing was altered on the way. Whether a node id is alive in another process is asked last, of
// authenticated peers alone, and by both sides: each keeps one incarnation of a node at a time.
//
// The machine is pure: bytes are the link's affair, nonces are given, and the judgement on a node id comes
// back as an event.

package import Crypto
package import NIOCore
package import TorcModel
package import TorcReplication

/// One side of one handshake.
package struct Handshake {
    package enum Role: Hashable, Sendable {
        /// Dials a member, or, with nil, whoever answers.
        case dialler(expecting: NodeID?, purpose: HandshakeMessage.Purpose)
        case acceptor
    }

    /// What the link does next.
    package enum Action: Hashable {
        case send(HandshakeMessage)
        /// Find out whether another process of this node is alive, then call `judged`.
        case judge(PeerIdentity, HandshakeMessage.Purpose)
        /// The link stands; frames follow.
        case established(Session)
        /// Nothing more is sent or read. `byPeer`: the other side refused us.
        case failed(PeerRefusal, byPeer: Bool)
    }

    /// What both sides agreed on.
    package struct Session: Hashable, Sendable {
        package var peer: PeerIdentity
        package var purpose: HandshakeMessage.Purpose
        package var version: UInt8
        /// Those that both announced.
        package var features: UInt64
        package var agreed: PeerFeatures { PeerFeatures(rawValue: features) }
        /// The peer's loop and how many it has; only an acceptor learns them.
        package var peerLoop: Int
        package var peerLoopCount: Int

        package init(
            peer: PeerIdentity, purpose: HandshakeMessage.Purpose, version: UInt8, features: UInt64, peerLoop: Int,
            peerLoopCount: Int
        ) {
            self.peer = peer
            self.purpose = purpose
            self.version = version
            self.features = features
            self.peerLoop = peerLoop
            self.peerLoopCount = peerLoopCount
        }
    }

    /// The other side's claim on a node id.
    package enum Verdict: Hashable, Sendable {
        case sole
        /// Alive in another process, at this address.
        case aliveElsewhere(String)
    }

    private enum State {
        /// Dialler: nothing sent. To awaitingWelcome.
        case idle
        /// Dialler, hello sent. To judgingAcceptor, or over.
        case awaitingWelcome(HandshakeMessage.Hello)
        /// Dialler: the acceptor has proven itself. To awaitingVerdict, or over.
        case judgingAcceptor(Session, proof: ByteBuffer)
        /// Dialler, proof sent. To over.
        case awaitingVerdict(Session)
        /// Acceptor: nothing heard. To awaitingProof, or over.
        case awaitingHello
        /// Acceptor, welcome sent. To judgingDialler, or over.
        case awaitingProof(Session, transcript: ByteBuffer)
        /// Acceptor: the dialler has proven itself. To over.
        case judgingDialler(Session)
        case over
    }

    private let role: Role
    private let identity: PeerIdentity
    private let versions: ClosedRange<UInt8>
    private let features: UInt64
    private let loop: UInt16
    private let loopCount: UInt16
    private let nonce: HandshakeNonce
    private let key: SymmetricKey
    private let members: Set<NodeID>
    private let fenced: Set<NodeID>
    private var state: State

    package init(
        role: Role, identity: PeerIdentity, members: some Sequence<NodeID>, fenced: Set<NodeID> = [], key: SymmetricKey,
        nonce: HandshakeNonce,
        versions: ClosedRange<UInt8> = PeerMessageCodec.supportedVersions, features: UInt64 = 0, loop: Int = 0,
        loopCount: Int = 1
    ) {
        self.role = role
        self.identity = identity
        self.members = Set(members)
        self.fenced = fenced
        self.key = key
        self.nonce = nonce
        self.versions = versions
        self.features = features
        self.loop = UInt16(clamping: loop)
        self.loopCount = UInt16(clamping: loopCount)
        state = role == .acceptor ? .awaitingHello : .idle
    }

    package var isOver: Bool {
        if case .over = state { true } else { false }
    }

    /// The connection stands.
    package mutating func start() -> [Action] {
        guard case .idle = state, case .dialler(let expected, let purpose) = role else { return [] }
        let hello = HandshakeMessage.Hello(
            versions: versions, purpose: purpose, identity: identity, features: features, expected: expected,
            loop: loop, loopCount: loopCount, nonce: nonce)
        state = .awaitingWelcome(hello)
        return [.send(.hello(hello))]
    }

    /// A message arrived, with its body as it came.
    package mutating func received(_ message: HandshakeMessage, body: ByteBuffer) -> [Action] {
        if case .refused(let refusal) = message, !isOver {
            state = .over
            return [.failed(refusal, byPeer: true)]
        }
        switch (state, message) {
        case (.awaitingHello, .hello(let hello)): return receivedHello(hello, body)
        case (.awaitingWelcome(let hello), .welcome(let welcome, let proof)):
            return receivedWelcome(welcome, proof, body, hello)
        case (.awaitingProof(let session, let transcript), .proof(let proof)):
            guard isValid(proof, of: .dialler, transcript) else { return refuse(badKey(session.peer)) }
            if session.peer.node == identity.node {
                return refuse(duplicate(session.peer, at: "this process, \(identity.name)"))
            }
            if fenced.contains(session.peer.node) { return refuse(removed(session.peer)) }
            state = .judgingDialler(session)
            return [.judge(session.peer, session.purpose)]
        case (.awaitingVerdict(let session), .accepted):
            state = .over
            return [.established(session)]
        case (.idle, _), (.awaitingWelcome, _), (.judgingAcceptor, _), (.awaitingVerdict, _), (.awaitingHello, _),
            (.awaitingProof, _), (.judgingDialler, _):
            return refuse(PeerRefusal(.malformed, "a message out of turn"))
        case (.over, _): return []
        }
    }

    /// The answer to `judge`.
    package mutating func judged(_ verdict: Verdict) -> [Action] {
        switch (state, verdict) {
        case (.judgingAcceptor(let session, let proof), .sole):
            state = .awaitingVerdict(session)
            return [.send(.proof(proof))]
        case (.judgingDialler(let session), .sole):
            state = .over
            return [.send(.accepted), .established(session)]
        case (.judgingAcceptor(let session, _), .aliveElsewhere(let address)),
            (.judgingDialler(let session), .aliveElsewhere(let address)):
            return refuse(duplicate(session.peer, at: address))
        case (.idle, _), (.awaitingWelcome, _), (.awaitingVerdict, _), (.awaitingHello, _), (.awaitingProof, _),
            (.over, _):
            return []
        }
    }

    /// Bytes that are no handshake.
    package mutating func receivedGarbage(_ error: MalformedBytes) -> [Action] {
        guard !isOver else { return [] }
        state = .over
        // Whoever sent them would not understand a refusal.
        return [.failed(PeerRefusal(.malformed, "\(error)"), byPeer: false)]
    }

    // MARK: Steps

    private mutating func receivedHello(_ hello: HandshakeMessage.Hello, _ body: ByteBuffer) -> [Action] {
        guard let version = commonVersion(with: hello.versions) else {
            return refuse(
                PeerRefusal(
                    .versionMismatch,
                    "\(identity.name) speaks peer protocol \(Self.text(versions)), \(hello.identity.name) "
                        + "\(Self.text(hello.versions)): upgrade "
                        + (versions.upperBound < hello.versions.upperBound ? identity.name : hello.identity.name)))
        }
        if let refusal = judge(hello.identity) { return refuse(refusal) }
        if let expected = hello.expected, expected != identity.node {
            return refuse(wrongNode(expected: expected, found: identity))
        }
        // One that was removed hears why, once it knows from whom: it ends itself then.
        guard
            hello.purpose == .news || members.contains(hello.identity.node) || fenced.contains(hello.identity.node)
                || hello.identity.node == identity.node
        else {
            return refuse(
                PeerRefusal(
                    .unknownNode,
                    "node \(hello.identity.node) (\(hello.identity.name)) is no member that \(identity.name) knows: "
                        + "if it joins, its join is not committed yet; otherwise compare the member lists"))
        }
        let welcome = HandshakeMessage.Welcome(version: version, identity: identity, features: features, nonce: nonce)
        let transcript = Self.transcript(body, HandshakeMessage.body(of: welcome))
        state = .awaitingProof(
            Session(
                peer: hello.identity, purpose: hello.purpose, version: version, features: features & hello.features,
                peerLoop: Int(hello.loop), peerLoopCount: Int(hello.loopCount)),
            transcript: transcript)
        return [.send(.welcome(welcome, proof: proof(of: .acceptor, transcript)))]
    }

    private mutating func receivedWelcome(
        _ welcome: HandshakeMessage.Welcome, _ theirProof: ByteBuffer, _ body: ByteBuffer,
        _ hello: HandshakeMessage.Hello
    ) -> [Action] {
        guard versions.contains(welcome.version) else {
            return refuse(PeerRefusal(.versionMismatch, "version \(welcome.version) was not offered"))
        }
        if let refusal = judge(welcome.identity) { return refuse(refusal) }
        let proven = body.getSlice(
            at: body.readerIndex, length: body.readableBytes - HandshakeMessage.proofBytes)!
        let transcript = Self.transcript(HandshakeMessage.body(of: hello), proven)
        guard isValid(theirProof, of: .acceptor, transcript) else { return refuse(badKey(welcome.identity)) }
        if welcome.identity.node == identity.node {
            return refuse(duplicate(welcome.identity, at: "the address that was dialled"))
        }
        if let expected = hello.expected, expected != welcome.identity.node {
            return refuse(wrongNode(expected: expected, found: welcome.identity))
        }
        let session = Session(
            peer: welcome.identity, purpose: hello.purpose, version: welcome.version,
            features: features & welcome.features, peerLoop: 0, peerLoopCount: 0)
        state = .judgingAcceptor(session, proof: proof(of: .dialler, transcript))
        return [.judge(session.peer, session.purpose)]
    }

    private func judge(_ other: PeerIdentity) -> PeerRefusal? {
        guard other.cluster == identity.cluster else {
            return PeerRefusal(
                .wrongCluster,
                "\(identity.name) belongs to cluster \(identity.cluster), \(other.name) to \(other.cluster)")
        }
        guard other.node != identity.node || other.incarnation != identity.incarnation else {
            return PeerRefusal(.notYourself, "\(identity.name) has dialled its own address: correct the member list")
        }
        return nil
    }

    private mutating func refuse(_ refusal: PeerRefusal) -> [Action] {
        state = .over
        return [.send(.refused(refusal)), .failed(refusal, byPeer: false)]
    }

    private func commonVersion(with other: ClosedRange<UInt8>) -> UInt8? {
        versions.overlaps(other) ? min(versions.upperBound, other.upperBound) : nil
    }

    private static func text(_ versions: ClosedRange<UInt8>) -> String {
        versions.count == 1 ? "\(versions.lowerBound)" : "\(versions.lowerBound) to \(versions.upperBound)"
    }

    private func badKey(_ other: PeerIdentity) -> PeerRefusal {
        PeerRefusal(.badKey, "\(identity.name) and \(other.name) do not have the same cluster secret")
    }

    private func wrongNode(expected: NodeID, found: PeerIdentity) -> PeerRefusal {
        PeerRefusal(
            .unknownNode,
            "node \(found.node) (\(found.name)) answers where node \(expected) was expected: correct the member list")
    }

    private func duplicate(_ peer: PeerIdentity, at address: String) -> PeerRefusal {
        PeerRefusal(
            .duplicateNode,
            "node \(peer.node) (\(peer.name)) is alive in another process, at \(address): "
                + "stop one of the two; a copy of a node's folder must not be started")
    }

    private func removed(_ peer: PeerIdentity) -> PeerRefusal {
        PeerRefusal(
            .fenced,
            "node \(peer.node) (\(peer.name)) was removed from the cluster, or replaced, and cannot come back: to use the "
                + "machine again, empty its data folder and have it join with a new token")
    }

    // MARK: Proofs

    private enum Side: String {
        case dialler = "torc peer dialler"
        case acceptor = "torc peer acceptor"
    }

    private static func transcript(_ hello: ByteBuffer, _ welcome: ByteBuffer) -> ByteBuffer {
        var transcript = ByteBuffer()
        transcript.writeLengthPrefixed(hello)
        transcript.writeLengthPrefixed(welcome)
        return transcript
    }

    private func proof(of side: Side, _ transcript: ByteBuffer) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeBytes(authenticator(of: side, transcript).finalize())
        return buffer
    }

    /// In constant time.
    private func isValid(_ proof: ByteBuffer, of side: Side, _ transcript: ByteBuffer) -> Bool {
        let expected = authenticator(of: side, transcript).finalize()
        return proof.withUnsafeReadableBytes { expected == $0 }
    }

    private func authenticator(of side: Side, _ transcript: ByteBuffer) -> HMAC<SHA256> {
        var authenticator = HMAC<SHA256>(key: key)
        authenticator.update(data: Array(side.rawValue.utf8))
        transcript.withUnsafeReadableBytes { authenticator.update(data: $0) }
        return authenticator
    }
}
