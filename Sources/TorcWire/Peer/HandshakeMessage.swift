// The bytes of a handshake, before there are frames. These bytes outlive every version of the messages
// behind them: they are what tells two builds that they have no version in common.
//
//   u32be "TORC" | u8 kind | u16be body length | body
//
//   hello     u8 lowest version | u8 highest | u8 purpose | identity | u64be features | u64be expected node
//             | u16be loop | u16be loops | 32 bytes nonce
//   welcome   u8 version | identity | u64be features | 32 bytes nonce | 32 bytes proof
//   proof     32 bytes
//   accepted  nothing
//   refused   u8 code | varint length, text
//
//   identity  u64be cluster | u64be node | u64be store | u64be incarnation | varint length, name
//
// A later build may append fields to a hello: an earlier one passes over them, and both prove all of it.

package import NIOCore
package import TorcModel

/// Why a link was not made.
package struct PeerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: UInt8, Sendable, CaseIterable {
        /// The other node belongs to another cluster.
        case wrongCluster = 1
        /// No version of the protocol is known to both.
        case versionMismatch = 2
        /// The other node has another cluster secret.
        case badKey = 3
        /// A process with this node id and another incarnation is alive.
        case duplicateNode = 4
        /// The node is no member, or another one answers at its address.
        case unknownNode = 5
        /// The process has dialled itself.
        case notYourself = 6
        /// Bytes or a message that make no sense here.
        case malformed = 7
        /// The node was removed from the cluster, or replaced.
        case fenced = 8
    }

    package var code: Code
    /// For a person: what was found and what to look at.
    package var text: String

    package init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }

    package var description: String { "\(code): \(text)" }
}

/// Drawn anew for each handshake, so that no proof serves twice.
package struct HandshakeNonce: Hashable, Sendable {
    package var words: (UInt64, UInt64, UInt64, UInt64) { (first, second, third, fourth) }
    private var first: UInt64
    private var second: UInt64
    private var third: UInt64
    private var fourth: UInt64

    package init(using generator: inout some RandomNumberGenerator) {
        first = generator.next()
        second = generator.next()
        third = generator.next()
        fourth = generator.next()
    }

    func encode(into buffer: inout ByteBuffer) { buffer.writeMultipleIntegers(first, second, third, fourth) }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        guard let words = buffer.readMultipleIntegers(as: (UInt64, UInt64, UInt64, UInt64).self) else {
            throw MalformedBytes(.truncated, "nonce")
        }
        (first, second, third, fourth) = words
    }
}

package enum HandshakeMessage: Hashable, Sendable {
    package enum Purpose: UInt8, Sendable {
        /// A link for messages.
        case link = 0
        /// Only the question whether the dialling node is alive elsewhere.
        case probe = 1
        /// Each tells the other the ring that it holds, and that is all: between nodes of which one does not know the
        /// other, because its ring is old.
        case news = 2
    }

    package struct Hello: Hashable, Sendable {
        package var versions: ClosedRange<UInt8>
        package var purpose: Purpose
        package var identity: PeerIdentity
        package var features: UInt64
        /// Whom the dialler expects; nil: whoever answers.
        package var expected: NodeID?
        /// The dialling event loop and how many its node has.
        package var loop: UInt16
        package var loopCount: UInt16
        package var nonce: HandshakeNonce
    }

    package struct Welcome: Hashable, Sendable {
        package var version: UInt8
        package var identity: PeerIdentity
        package var features: UInt64
        package var nonce: HandshakeNonce

        package init(version: UInt8, identity: PeerIdentity, features: UInt64, nonce: HandshakeNonce) {
            self.version = version
            self.identity = identity
            self.features = features
            self.nonce = nonce
        }
    }

    case hello(Hello)
    case welcome(Welcome, proof: ByteBuffer)
    case proof(ByteBuffer)
    case accepted
    case refused(PeerRefusal)

    package static let magic: UInt32 = 0x544f_5243
    package static let headBytes = 7
    /// A longer body is refused as hostile; so an unknown peer costs this much memory at most.
    package static let maximumBodyBytes = 2 << 10
    package static let proofBytes = 32
    private static let maximumTextBytes = 1 << 10

    private enum Kind: UInt8 {
        case hello = 1
        case welcome = 2
        case proof = 3
        case accepted = 4
        case refused = 5
    }

    package var encoded: ByteBuffer {
        var body = ByteBuffer()
        let kind: Kind
        switch self {
        case .hello(let hello):
            kind = .hello
            body = Self.body(of: hello)
        case .welcome(let welcome, let proof):
            kind = .welcome
            body = Self.body(of: welcome)
            body.writeImmutableBuffer(proof)
        case .proof(let proof):
            kind = .proof
            body.writeImmutableBuffer(proof)
        case .accepted:
            kind = .accepted
        case .refused(let refusal):
            kind = .refused
            body.writeInteger(refusal.code.rawValue)
            body.writeText(refusal.text, limit: Self.maximumTextBytes)
        }
        var message = ByteBuffer()
        message.writeMultipleIntegers(Self.magic, kind.rawValue, UInt16(body.readableBytes))
        message.writeImmutableBuffer(body)
        return message
    }

    /// What both sides prove of a hello.
    static func body(of hello: Hello) -> ByteBuffer {
        var body = ByteBuffer()
        body.writeMultipleIntegers(hello.versions.lowerBound, hello.versions.upperBound, hello.purpose.rawValue)
        hello.identity.encode(into: &body)
        body.writeMultipleIntegers(hello.features, hello.expected?.rawValue ?? 0, hello.loop, hello.loopCount)
        hello.nonce.encode(into: &body)
        return body
    }

    /// What both sides prove of a welcome: all but the proof.
    static func body(of welcome: Welcome) -> ByteBuffer {
        var body = ByteBuffer()
        body.writeInteger(welcome.version)
        welcome.identity.encode(into: &body)
        body.writeInteger(welcome.features)
        welcome.nonce.encode(into: &body)
        return body
    }

    /// The next message and, for the proofs, its body as it came; nil when more bytes are needed.
    package static func read(
        from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> (message: HandshakeMessage, body: ByteBuffer)? {
        // Whoever speaks another protocol is told apart by the first byte that differs, not after a wait for more.
        var expected = ByteBuffer()
        expected.writeInteger(magic)
        guard buffer.readableBytesView.prefix(4).elementsEqual(expected.readableBytesView.prefix(buffer.readableBytes))
        else { throw MalformedBytes(.notCanonical, "handshake") }
        var reader = buffer
        guard let (_, kindByte, length) = reader.readMultipleIntegers(as: (UInt32, UInt8, UInt16).self) else {
            return nil
        }
        guard Int(length) <= maximumBodyBytes else { throw MalformedBytes(.overLimit, "handshake") }
        guard let kind = Kind(rawValue: kindByte) else { throw MalformedBytes(.notCanonical, "handshake") }
        guard let body = reader.readSlice(length: Int(length)) else { return nil }
        let message = try decode(kind, body)
        buffer = reader
        return (message, body)
    }

    private static func decode(_ kind: Kind, _ body: ByteBuffer) throws(MalformedBytes) -> HandshakeMessage {
        var reader = body
        switch kind {
        case .hello:
            let lowest = try reader.readFixed(UInt8.self, "hello")
            let highest = try reader.readFixed(UInt8.self, "hello")
            guard lowest <= highest, let purpose = Purpose(rawValue: try reader.readFixed(UInt8.self, "hello")) else {
                throw MalformedBytes(.notCanonical, "hello")
            }
            let identity = try PeerIdentity(decoding: &reader)
            let features = try reader.readFixed(UInt64.self, "hello")
            let expected = try reader.readFixed(UInt64.self, "hello")
            let hello = Hello(
                versions: lowest...highest, purpose: purpose, identity: identity, features: features,
                expected: expected == 0 ? nil : NodeID(rawValue: expected),
                loop: try reader.readFixed(UInt16.self, "hello"), loopCount: try reader.readFixed(UInt16.self, "hello"),
                nonce: try HandshakeNonce(decoding: &reader))
            return .hello(hello)
        case .welcome:
            let welcome = Welcome(
                version: try reader.readFixed(UInt8.self, "welcome"), identity: try PeerIdentity(decoding: &reader),
                features: try reader.readFixed(UInt64.self, "welcome"), nonce: try HandshakeNonce(decoding: &reader))
            guard reader.readableBytes == proofBytes else { throw MalformedBytes(.notCanonical, "welcome") }
            return .welcome(welcome, proof: reader)
        case .proof:
            guard reader.readableBytes == proofBytes else { throw MalformedBytes(.notCanonical, "proof") }
            return .proof(reader)
        case .accepted:
            try reader.requireEmpty("accepted")
            return .accepted
        case .refused:
            guard let code = PeerRefusal.Code(rawValue: try reader.readFixed(UInt8.self, "refused")) else {
                throw MalformedBytes(.notCanonical, "refused")
            }
            let text = try reader.readText(limit: maximumTextBytes, "refused")
            try reader.requireEmpty("refused")
            return .refused(PeerRefusal(code, text))
        }
    }
}

extension PeerIdentity {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(cluster.rawValue, node.rawValue, store.rawValue, incarnation.rawValue)
        buffer.writeText(name, limit: Self.maximumNameBytes)
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        guard
            let (cluster, node, store, incarnation) = buffer.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64).self)
        else { throw MalformedBytes(.truncated, "identity") }
        self.init(
            cluster: ClusterID(rawValue: cluster), node: NodeID(rawValue: node), store: StoreID(rawValue: store),
            incarnation: Incarnation(rawValue: incarnation),
            name: try buffer.readText(limit: Self.maximumNameBytes, "identity"))
    }
}

extension ByteBuffer {
    /// UTF-8, cut at a character when it is too long.
    fileprivate mutating func writeText(_ text: String, limit: Int) {
        writeLengthPrefixed(ByteBuffer(string: Self.cut(text, limit: limit)))
    }

    private static func cut(_ text: String, limit: Int) -> String {
        var kept = text
        while kept.utf8.count > limit { kept.removeLast() }
        return kept
    }

    /// Text is for people: whatever is no UTF-8 or could steer a terminal is shown as a question mark.
    fileprivate mutating func readText(limit: Int, _ subject: StaticString) throws(MalformedBytes) -> String {
        let bytes = try readLengthPrefixed(limit: limit, subject)
        let text = String(buffer: bytes)
        let shown = String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
        // Each byte that is no UTF-8 became three: what is taken is what could be sent on.
        return Self.cut(shown, limit: limit)
    }
}
