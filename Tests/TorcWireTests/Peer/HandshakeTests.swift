import Crypto
import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// Node 1 dials node 2, both as configured alike; a test changes what it is about.
private struct Pair {
    static let key = ClusterKey(secret: Array("sixteen bytes and more".utf8))!
    static let otherKey = ClusterKey(secret: Array("quite another secret".utf8))!

    var diallerIdentity = identity(1)
    var acceptorIdentity = identity(2)
    var diallerVersions: ClosedRange<UInt8> = 1...1
    var acceptorVersions: ClosedRange<UInt8> = 1...1
    var diallerKey = key
    var acceptorMembers: [NodeID] = [NodeID(rawValue: 1), NodeID(rawValue: 2)]
    var fenced: Set<NodeID> = []
    var features: (UInt64, UInt64) = (0b0110, 0b0011)
    var expected: NodeID? = NodeID(rawValue: 2)
    var purpose = HandshakeMessage.Purpose.link

    static func identity(_ node: UInt64, incarnation: UInt64? = nil, cluster: UInt64 = 9) -> PeerIdentity {
        PeerIdentity(
            cluster: ClusterID(rawValue: cluster), node: NodeID(rawValue: node), store: StoreID(rawValue: node + 100),
            incarnation: Incarnation(rawValue: incarnation ?? node + 200), name: "n\(node)")
    }

    var dialler: Handshake {
        var generator = SeededGenerator(seed: 1)
        return Handshake(
            role: .dialler(expecting: expected, purpose: purpose), identity: diallerIdentity,
            members: [NodeID(rawValue: 1), NodeID(rawValue: 2)], key: diallerKey.peerKey,
            nonce: HandshakeNonce(using: &generator), versions: diallerVersions, features: features.0, loop: 3,
            loopCount: 4)
    }

    var acceptor: Handshake {
        var generator = SeededGenerator(seed: 2)
        return Handshake(
            role: .acceptor, identity: acceptorIdentity, members: acceptorMembers, fenced: fenced,
            key: Self.key.peerKey,
            nonce: HandshakeNonce(using: &generator), versions: acceptorVersions, features: features.1)
    }
}

extension Handshake {
    /// A message as the other side sent it, over the wire.
    fileprivate mutating func hears(_ message: HandshakeMessage) throws -> [Action] {
        var bytes = message.encoded
        let (read, body) = try unwrap(HandshakeMessage.read(from: &bytes))
        #expect(bytes.readableBytes == 0 && read == message)
        return received(read, body: body)
    }
}

/// `#require` without a macro, which could not hold a mutating call.
func unwrap<T>(_ value: T?, sourceLocation: SourceLocation = #_sourceLocation) throws -> T {
    try #require(value, sourceLocation: sourceLocation)
}

extension [Handshake.Action] {
    fileprivate var sent: HandshakeMessage? {
        for case .send(let message) in self { return message }
        return nil
    }

    /// The code of a refusal that is sent and ends the handshake.
    fileprivate var refusal: PeerRefusal.Code? {
        guard count == 2, case .send(.refused(let sent)) = self[0], case .failed(let failed, byPeer: false) = self[1],
            sent == failed
        else { return nil }
        return sent.code
    }
}

@Suite struct HandshakeTests {
    @Test func twoMembersAgree() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let hello = try unwrap(dialler.start().sent)
        let welcome = try unwrap(acceptor.hears(hello).sent)
        #expect(try dialler.hears(welcome) == [.judge(pair.acceptorIdentity, .link)])
        let proof = try unwrap(dialler.judged(.sole).sent)
        #expect(try acceptor.hears(proof) == [.judge(pair.diallerIdentity, .link)])
        #expect(!acceptor.isOver && !dialler.isOver)
        let accepted = Handshake.Session(
            peer: pair.diallerIdentity, purpose: .link, version: 1, features: 0b0010, peerLoop: 3, peerLoopCount: 4)
        #expect(acceptor.judged(.sole) == [.send(.accepted), .established(accepted)])
        let dialled = Handshake.Session(
            peer: pair.acceptorIdentity, purpose: .link, version: 1, features: 0b0010, peerLoop: 0, peerLoopCount: 0)
        #expect(try dialler.hears(.accepted) == [.established(dialled)])
        #expect(acceptor.isOver && dialler.isOver)
    }

    @Test(arguments: [
        (UInt8(1)...UInt8(3), UInt8(2)...UInt8(5), UInt8?(3)), (1...3, 1...1, 1), (4...6, 1...4, 4),
        (1...2, 3...4, nil),
        (5...6, 1...4, nil),
    ])
    func theHighestCommonVersionIsChosen(
        mine: ClosedRange<UInt8>, theirs: ClosedRange<UInt8>, chosen: UInt8?
    ) throws {
        var pair = Pair()
        pair.diallerVersions = mine
        pair.acceptorVersions = theirs
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let actions = try acceptor.hears(try unwrap(dialler.start().sent))
        if let chosen {
            guard case .welcome(let welcome, _) = actions.sent else {
                Issue.record("\(actions)")
                return
            }
            #expect(welcome.version == chosen)
        } else {
            #expect(actions.refusal == .versionMismatch)
            // Both are told which of them is the older.
            let older = mine.upperBound < theirs.upperBound ? "n1" : "n2"
            #expect(refused(actions).text.hasSuffix("upgrade \(older)"), "\(refused(actions))")
            #expect(try dialler.hears(try unwrap(actions.sent)) == [.failed(refused(actions), byPeer: true)])
            #expect(acceptor.isOver && dialler.isOver)
        }
    }

    private func refused(_ actions: [Handshake.Action]) -> PeerRefusal {
        guard case .send(.refused(let refusal)) = actions.first else { return PeerRefusal(.malformed, "none") }
        return refusal
    }

    /// Whatever the other side has beyond, or lacks: what is agreed is what both have.
    @Test(arguments: [(UInt64(0), UInt64(1)), (1, 0), (1, 1), (3, 1), (.max, 1), (0, 0)])
    func whatBothHaveIsAgreed(mine: UInt64, theirs: UInt64) throws {
        var pair = Pair()
        pair.features = (mine, theirs)
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let hello = try unwrap(dialler.start().sent)
        _ = try dialler.hears(try unwrap(acceptor.hears(hello).sent))
        _ = try acceptor.hears(try unwrap(dialler.judged(.sole).sent))
        let accepted = acceptor.judged(.sole)
        guard case .established(let one) = accepted.last,
            case .established(let other)? = try dialler.hears(.accepted).last
        else {
            Issue.record("no link")
            return
        }
        #expect(one.agreed == other.agreed && one.agreed.rawValue == mine & theirs)
        #expect(one.agreed.contains(.prunesVectors) == (mine & theirs & 1 == 1))
    }

    @Test func aVersionThatWasNotOfferedIsRefused() throws {
        var pair = Pair()
        pair.acceptorVersions = 1...2
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        guard case .welcome(var welcome, let proof) = try acceptor.hears(try unwrap(dialler.start().sent)).sent else {
            Issue.record("no welcome")
            return
        }
        welcome.version = 2
        #expect(try dialler.hears(.welcome(welcome, proof: proof)).refusal == .versionMismatch)
    }

    @Test func anotherClusterIsRefusedByTheAcceptor() throws {
        var pair = Pair()
        pair.diallerIdentity.cluster = ClusterID(rawValue: 8)
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        #expect(try acceptor.hears(try unwrap(dialler.start().sent)).refusal == .wrongCluster)
    }

    @Test func aNodeThatIsNoMemberIsRefused() throws {
        var pair = Pair()
        pair.acceptorMembers = [NodeID(rawValue: 2), NodeID(rawValue: 3)]
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        #expect(try acceptor.hears(try unwrap(dialler.start().sent)).refusal == .unknownNode)
    }

    /// It may be the acceptor's ring that is old.
    @Test func aNodeThatIsNoMemberMayTellItsRing() throws {
        var pair = Pair()
        pair.acceptorMembers = [NodeID(rawValue: 2), NodeID(rawValue: 3)]
        pair.purpose = .news
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let welcome = try unwrap(acceptor.hears(try unwrap(dialler.start().sent)).sent)
        _ = try dialler.hears(welcome)
        _ = try acceptor.hears(try unwrap(dialler.judged(.sole).sent))
        guard case .established(let session) = acceptor.judged(.sole).last else {
            Issue.record("it is not established")
            return
        }
        #expect(session.purpose == .news && session.peer == pair.diallerIdentity)
        // Whoever does not have the cluster's secret tells nothing.
        pair.diallerKey = Pair.otherKey
        var stranger = pair.dialler
        acceptor = pair.acceptor
        let hello = try unwrap(stranger.start().sent)
        _ = try acceptor.hears(hello)
        #expect(try acceptor.hears(.proof(ByteBuffer(repeating: 7, count: 32))).refusal == .badKey)
    }

    /// When both have proven who they are: it ends itself for that.
    @Test(arguments: [[1, 2], [2]] as [[UInt64]]) func aNodeThatWasRemovedIsToldSo(members: [UInt64]) throws {
        var pair = Pair()
        pair.fenced = [NodeID(rawValue: 1)]
        pair.acceptorMembers = members.map { NodeID(rawValue: $0) }
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let welcome = try unwrap(acceptor.hears(try unwrap(dialler.start().sent)).sent)
        _ = try dialler.hears(welcome)
        let actions = try acceptor.hears(try unwrap(dialler.judged(.sole).sent))
        #expect(actions.refusal == .fenced)
        #expect(try dialler.hears(try unwrap(actions.sent)) == [.failed(refused(actions), byPeer: true)])
    }

    @Test func anotherNodeThanTheExpectedOneIsRefused() throws {
        var pair = Pair()
        pair.expected = NodeID(rawValue: 3)
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let hello = try unwrap(dialler.start().sent)
        #expect(try acceptor.hears(hello).refusal == .unknownNode)
    }

    @Test func aProcessThatDialsItselfIsRefused() throws {
        var pair = Pair()
        pair.acceptorIdentity = pair.diallerIdentity
        pair.expected = nil
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        #expect(try acceptor.hears(try unwrap(dialler.start().sent)).refusal == .notYourself)
    }

    /// A copy dials the original, or a probe finds it at its own address: each notices by itself.
    @Test(arguments: [HandshakeMessage.Purpose.link, .probe])
    func aCopyThatMeetsItsOriginalIsRefused(purpose: HandshakeMessage.Purpose) throws {
        var pair = Pair()
        pair.acceptorIdentity = Pair.identity(1, incarnation: 77)
        pair.expected = nil
        pair.purpose = purpose
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let welcome = try unwrap(acceptor.hears(try unwrap(dialler.start().sent)).sent)
        #expect(try dialler.hears(welcome).refusal == .duplicateNode)
    }

    /// Of a dialler that does not look who answers, the acceptor still sees that it carries its own id.
    @Test func theOriginalRefusesItsCopy() throws {
        var pair = Pair()
        pair.acceptorIdentity = Pair.identity(1, incarnation: 77)
        pair.expected = nil
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        var bytes = try unwrap(dialler.start().sent).encoded
        let (hello, helloBody) = try unwrap(try HandshakeMessage.read(from: &bytes))
        var answer = try unwrap(acceptor.received(hello, body: helloBody).sent).encoded
        let welcomeBody = try unwrap(try HandshakeMessage.read(from: &answer)).body
        var transcript = ByteBuffer(string: "torc peer dialler")
        transcript.writeLengthPrefixed(helloBody)
        transcript.writeLengthPrefixed(
            welcomeBody.getSlice(at: welcomeBody.readerIndex, length: welcomeBody.readableBytes - 32)!)
        let proof = HMAC<SHA256>.authenticationCode(for: Array(transcript.readableBytesView), using: Pair.key.peerKey)
        #expect(try acceptor.hears(.proof(ByteBuffer(bytes: proof))).refusal == .duplicateNode)
    }

    @Test func anotherSecretIsNoticedByTheDiallerFirst() throws {
        var pair = Pair()
        pair.diallerKey = Pair.otherKey
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let welcome = try unwrap(acceptor.hears(try unwrap(dialler.start().sent)).sent)
        #expect(try dialler.hears(welcome).refusal == .badKey)
    }

    @Test func aWrongProofIsRefusedByTheAcceptor() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        _ = try acceptor.hears(try unwrap(dialler.start().sent))
        #expect(try acceptor.hears(.proof(ByteBuffer(repeating: 0, count: 32))).refusal == .badKey)
    }

    /// The acceptor's proof is of no use as a dialler's: the sides prove different texts.
    @Test func aProofCannotBeReflected() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        guard case .welcome(_, let proof) = try acceptor.hears(try unwrap(dialler.start().sent)).sent else {
            Issue.record("no welcome")
            return
        }
        #expect(try acceptor.hears(.proof(proof)).refusal == .badKey)
    }

    @Test func whatWasAlteredOnTheWayIsNotProven() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        guard case .hello(var hello) = dialler.start().sent else {
            Issue.record("no hello")
            return
        }
        hello.identity.incarnation = Incarnation(rawValue: 1)
        let welcome = try unwrap(acceptor.hears(.hello(hello)).sent)
        #expect(try dialler.hears(welcome).refusal == .badKey)
    }

    @Test func anOldProofIsOfNoUseInAnotherHandshake() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let hello = try unwrap(dialler.start().sent)
        _ = try dialler.hears(try unwrap(acceptor.hears(hello).sent))
        let proof = try unwrap(dialler.judged(.sole).sent)
        var generator = SeededGenerator(seed: 3)
        var later = Handshake(
            role: .acceptor, identity: pair.acceptorIdentity, members: pair.acceptorMembers, key: Pair.key.peerKey,
            nonce: HandshakeNonce(using: &generator), versions: pair.acceptorVersions)
        _ = try later.hears(hello)
        #expect(try later.hears(proof).refusal == .badKey)
    }

    @Test func eitherSideRefusesANodeThatIsAliveElsewhere() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        let welcome = try unwrap(acceptor.hears(try unwrap(dialler.start().sent)).sent)
        _ = try dialler.hears(welcome)
        var suspicious = dialler
        #expect(suspicious.judged(.aliveElsewhere("10.0.0.1:8099")).refusal == .duplicateNode)
        #expect(suspicious.isOver)
        _ = try acceptor.hears(try unwrap(dialler.judged(.sole).sent))
        let actions = acceptor.judged(.aliveElsewhere("10.0.0.1:8099"))
        #expect(actions.refusal == .duplicateNode && acceptor.isOver)
        #expect(refused(actions).text.contains("10.0.0.1:8099"))
        #expect(try dialler.hears(try unwrap(actions.sent)) == [.failed(refused(actions), byPeer: true)])
    }

    @Test func aMessageOutOfTurnEndsIt() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        #expect(try acceptor.hears(.accepted).refusal == .malformed)
        _ = dialler.start()
        #expect(try dialler.hears(.proof(ByteBuffer(repeating: 0, count: 32))).refusal == .malformed)
        // Nothing is heard after the end.
        #expect(try dialler.hears(.accepted) == [])
        #expect(dialler.judged(.sole) == [])
    }

    @Test func aLaterBuildMayAppendToItsHello() throws {
        let pair = Pair()
        var dialler = pair.dialler
        var acceptor = pair.acceptor
        var bytes = try unwrap(dialler.start().sent).encoded
        let length = try unwrap(bytes.getInteger(at: 5, as: UInt16.self))
        bytes.setInteger(length + 3, at: 5)
        bytes.writeBytes([1, 2, 3])
        let (hello, body) = try unwrap(HandshakeMessage.read(from: &bytes))
        #expect(body.readableBytes == Int(length) + 3)
        guard case .send(.welcome) = acceptor.received(hello, body: body).first else {
            Issue.record("no welcome")
            return
        }
    }

    @Test func anotherProtocolIsRecognisedByItsFirstByte() {
        var http = ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n")
        #expect(throws: MalformedBytes.self) { try HandshakeMessage.read(from: &http) }
        var first = ByteBuffer(string: "G")
        #expect(throws: MalformedBytes.self) { try HandshakeMessage.read(from: &first) }
        var long = ByteBuffer()
        long.writeMultipleIntegers(HandshakeMessage.magic, UInt8(1), UInt16(3000))
        #expect(throws: MalformedBytes(.overLimit, "handshake")) { try HandshakeMessage.read(from: &long) }
    }

    @Test func aHandshakeThatIsCutIsWaitedFor() throws {
        var dialler = Pair().dialler
        let bytes = try unwrap(dialler.start().sent).encoded
        for length in 0..<bytes.readableBytes {
            var cut = bytes.getSlice(at: 0, length: length)!
            #expect(try HandshakeMessage.read(from: &cut) == nil)
            #expect(cut.readableBytes == length)
        }
    }

    @Test func textThatCouldSteerATerminalIsDefused() throws {
        var bytes = HandshakeMessage.refused(PeerRefusal(.badKey, "a\u{1b}[2Jb\nc")).encoded
        let (message, _) = try unwrap(HandshakeMessage.read(from: &bytes))
        #expect(message == .refused(PeerRefusal(.badKey, "a?[2Jb?c")))
    }

    @Test func aLongNameIsCut() throws {
        var pair = Pair()
        pair.diallerIdentity.name = String(repeating: "ö", count: 300)
        var dialler = pair.dialler
        var bytes = try unwrap(dialler.start().sent).encoded
        guard case .hello(let hello) = try unwrap(HandshakeMessage.read(from: &bytes)).message else {
            Issue.record("no hello")
            return
        }
        #expect(hello.identity.name == String(repeating: "ö", count: 127))
    }
}
