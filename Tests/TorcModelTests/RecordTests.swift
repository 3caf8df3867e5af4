import Crypto
import NIOCore
import Testing
import TorcModel

@Suite struct RecordTests {
    static let key = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k"))
    static let seed = HashSeed(rawValue: 0x0123_4567_89ab_cdef)

    static func records() -> [Record] {
        (1...12 as ClosedRange<UInt64>).map { seed in
            var generator = SeededGenerator(seed: seed)
            let minting = LocalHeader.MintingActor(
                actor: Actor(node: NodeID(rawValue: 3), using: &generator),
                incarnation: Incarnation(rawValue: generator.next()), counter: seed)
            return Record(
                header: LocalHeader(copies: 3, minting: seed % 3 == 0 ? nil : minting),
                body: EncodingTests.history(&generator).encoded)
        }
    }

    @Test func noRecordSurvivesAFlippedBit() {
        for record in Self.records() {
            let bytes = Array(record.encoded(for: Self.key).readableBytesView)
            for bit in 0..<bytes.count * 8 {
                var flipped = bytes
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(throws: MalformedBytes.self, "bit \(bit)") {
                    try Record(decoding: ByteBuffer(bytes: flipped), for: Self.key)
                }
            }
        }
    }

    @Test func noRecordSurvivesACutOrAnAddition() {
        for record in Self.records() {
            let bytes = Array(record.encoded(for: Self.key).readableBytesView)
            for length in bytes.indices {
                #expect(throws: MalformedBytes.self) {
                    try Record(decoding: ByteBuffer(bytes: bytes.prefix(length)), for: Self.key)
                }
            }
            #expect(throws: MalformedBytes.self) { try Record(decoding: ByteBuffer(bytes: bytes + [0]), for: Self.key) }
        }
    }

    @Test func aRecordUnderAnotherKeyIsRefused() {
        let other = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "l"))
        for record in Self.records() {
            #expect(throws: MalformedBytes(.checksumMismatch, "record")) {
                try Record(decoding: record.encoded(for: Self.key), for: other)
            }
        }
    }

    /// With a true checksum, so that only the header's own rules can refuse.
    @Test func headersHaveOneSpelling() {
        func reason(format: UInt8 = 1, copies: UInt8 = 3, actor: UInt64, incarnation: UInt64, counter: UInt64)
            -> MalformedBytes.Reason?
        {
            var tail = ByteBuffer()
            tail.writeInteger(format)
            tail.writeInteger(copies)
            tail.writeInteger(actor)
            tail.writeInteger(incarnation)
            tail.writeVarint(counter)
            var bytes = ByteBuffer()
            bytes.writeInteger(xxh3(tail, seed: Self.key.position.rawValue))
            bytes.writeImmutableBuffer(tail)
            do throws(MalformedBytes) {
                _ = try Record(decoding: bytes, for: Self.key)
                return nil
            } catch {
                return error.reason
            }
        }
        #expect(reason(actor: 0, incarnation: 0, counter: 0) == nil)
        #expect(reason(actor: 1, incarnation: 9, counter: 1) == nil)
        #expect(reason(format: 4, actor: 0, incarnation: 0, counter: 0) == .unknownVersion)
        #expect(reason(format: 3, actor: 0, incarnation: 0, counter: 0) == nil)
        #expect(reason(format: 3, actor: 1, incarnation: 9, counter: 1) == .notCanonical)
        #expect(reason(copies: 0, actor: 0, incarnation: 0, counter: 0) == .notCanonical)
        #expect(reason(actor: 1, incarnation: 9, counter: 0) == .notCanonical)
        #expect(reason(actor: 0, incarnation: 0, counter: 1) == .notCanonical)
        #expect(reason(actor: 0, incarnation: 9, counter: 0) == .notCanonical)
    }

    @Test func theHeaderIsLocalAndTheHashIsNot() throws {
        let body = Self.records()[0].body
        let mine = Record(header: LocalHeader(copies: 3), body: body)
        let theirs = Record(
            header: LocalHeader(
                copies: 3,
                minting: .init(actor: Actor(rawValue: 1), incarnation: Incarnation(rawValue: 2), counter: 3)),
            body: body)
        #expect(mine.encoded(for: Self.key) != theirs.encoded(for: Self.key))
        let read = try Record(decoding: theirs.encoded(for: Self.key), for: Self.key)
        #expect(read == theirs && read.body == mine.body)
        #expect(
            Self.seed.contentHash(key: Self.key, body: read.body) == Self.seed.contentHash(key: Self.key, body: body))
    }

    @Test func hashesKnowKeyBodyAndCluster() {
        let bodies = Self.records().map(\.body)
        let other = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "l"))
        var hashes = Set(bodies.map { Self.seed.contentHash(key: Self.key, body: $0) })
        #expect(hashes.count == Set(bodies).count)
        for body in Set(bodies) {
            #expect(hashes.insert(Self.seed.contentHash(key: other, body: body)).inserted)
            #expect(hashes.insert(HashSeed(rawValue: 1).contentHash(key: Self.key, body: body)).inserted)
        }
        // The published test vector of XXH3_64bits for no input.
        #expect(xxh3(ByteBuffer(), seed: 0) == 0x2d06_8005_38d3_94c2)
    }
}

@Suite struct ContextTokenTests {
    static let cluster = ClusterKey(secret: Array("a secret of this cluster".utf8))!
    static let key = RecordTests.key

    static func contexts() -> [CausalContext] {
        (1...10 as ClosedRange<UInt64>).map { seed in
            var generator = SeededGenerator(seed: seed)
            return CausalContext(of: EncodingTests.history(&generator))
        }
    }

    @Test func aTokenOpensToWhatWasSealed() throws {
        for context in Self.contexts() {
            #expect(try Self.cluster.open(Self.cluster.seal(context, for: Self.key), for: Self.key) == context)
        }
    }

    @Test func noTokenSurvivesAFlippedBitOrACut() {
        for context in Self.contexts() {
            let token = Array(Self.cluster.seal(context, for: Self.key).readableBytesView)
            for bit in 0..<token.count * 8 {
                var flipped = token
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(throws: bit < 8 ? ContextRefusal.malformed : .forged) {
                    try Self.cluster.open(ByteBuffer(bytes: flipped), for: Self.key)
                }
            }
            for length in token.indices {
                #expect(throws: ContextRefusal.self) {
                    try Self.cluster.open(ByteBuffer(bytes: token.prefix(length)), for: Self.key)
                }
            }
            #expect(throws: ContextRefusal.forged) {
                try Self.cluster.open(ByteBuffer(bytes: token + [0]), for: Self.key)
            }
        }
    }

    @Test func theSealIsThatOfTheLibrary() {
        var generator = SeededGenerator(seed: 5)
        for length in 0..<200 {
            let key = SymmetricKey(data: (0..<length % 65).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
            let message = (0..<length).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let ours = message.withUnsafeBytes { KeyedSHA256(key: key).authenticationCode(for: $0) }
            #expect(Array(ours) == Array(HMAC<SHA256>.authenticationCode(for: message, using: key)))
        }
    }

    @Test func aTokenIsGoodForOneObjectOfOneCluster() {
        let others = [("b", "l"), ("bk", "k"), ("c", "k")].map {
            ObjectKey(bucket: BucketID(name: ByteBuffer(string: $0)), key: ByteBuffer(string: $1))
        }
        let foreign = ClusterKey(secret: Array("a secret of another one".utf8))!
        for context in Self.contexts() {
            let token = Self.cluster.seal(context, for: Self.key)
            for other in others {
                #expect(throws: ContextRefusal.forged) { try Self.cluster.open(token, for: other) }
            }
            #expect(throws: ContextRefusal.forged) { try foreign.open(token, for: Self.key) }
        }
    }

    @Test func nonsenseIsRefused() {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<2_000 {
            let bytes = EncodingTests.string(&generator, atMost: 60)
            #expect(throws: ContextRefusal.self) { try Self.cluster.open(bytes, for: Self.key) }
        }
    }

    @Test func theKeysOfAClusterDifferFromOneAnother() {
        #expect(ClusterKey(secret: [UInt8](repeating: 7, count: 15)) == nil)
        let cluster = ClusterKey(secret: [UInt8](repeating: 7, count: 16))!
        let again = ClusterKey(secret: [UInt8](repeating: 7, count: 16))!
        #expect(cluster.hashSeed == again.hashSeed && cluster.peerKey == again.peerKey)
        #expect(cluster.hashSeed != Self.cluster.hashSeed && cluster.peerKey != Self.cluster.peerKey)
    }
}
