import Foundation
import FuzzChecks
import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// Every input that the fuzzers kept still passes its check.
@Suite struct CorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Corpus").standardizedFileURL

    @Test(arguments: FuzzCheck.all.map(\.name))
    func keptInputsPass(name: String) throws {
        let check = try #require(FuzzCheck.all.first { $0.name == name })
        let files = try FileManager.default.contentsOfDirectory(
            at: Self.folder.appending(path: name), includingPropertiesForKeys: nil)
        #expect(files.count > 10, "the corpus of \(name) is missing")
        for file in files { check.check(ByteBuffer(bytes: try Data(contentsOf: file))) }
    }

    /// Each check gets past the first bytes: valid inputs, and every one of them cut and with a byte changed.
    @Test func validInputsAndTheirNeighboursPass() {
        for (name, inputs) in [("peer", Self.peerSeeds), ("model", Self.modelSeeds)] {
            let check = FuzzCheck.all.first { $0.name == name }!.check
            var generator = SeededGenerator(seed: 8)
            for input in inputs {
                check(input)
                for _ in 0..<20 {
                    var changed = input
                    let place = Int.random(in: 0..<input.readableBytes, using: &generator)
                    changed.setInteger(UInt8.random(in: 0...255, using: &generator), at: place)
                    check(changed)
                    check(input.getSlice(at: 0, length: place)!)
                }
            }
        }
    }

    /// Writes the valid inputs into the corpus. By hand, after a change of the encodings:
    /// TORC_WRITE_CORPUS=1 swift test --filter writeSeeds
    @Test(.enabled(if: ProcessInfo.processInfo.environment["TORC_WRITE_CORPUS"] != nil))
    func writeSeeds() throws {
        for (name, inputs) in [("peer", Self.peerSeeds), ("model", Self.modelSeeds)] {
            let folder = Self.folder.appending(path: name)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            for (index, input) in inputs.enumerated() {
                try Data(input.readableBytesView).write(to: folder.appending(path: "seed-\(index)"))
            }
        }
    }

    private static func input(_ selector: UInt8, _ bytes: ByteBuffer) -> ByteBuffer {
        var input = ByteBuffer()
        input.writeInteger(selector)
        input.writeImmutableBuffer(bytes)
        return input
    }

    private static var peerSeeds: [ByteBuffer] {
        var generator = SeededGenerator(seed: 1)
        var seeds: [ByteBuffer] = []
        for kind in 0..<SeededGenerator.peerMessageKinds {
            for _ in 0..<2 {
                var bytes = ByteBuffer()
                PeerMessageCodec.encode(generator.peerMessage(kind: kind), into: &bytes)
                seeds.append(input(0, bytes))
            }
        }
        var queue = OutboundQueue(limits: PeerLimits())
        for _ in 0..<3 { _ = queue.append(generator.peerMessage()) }
        queue.append(.ping, token: 1)
        seeds.append(input(1, stream(&queue)))
        var limits = PeerLimits()
        limits.bulkThresholdBytes = 10
        limits.bulkFrameBytes = 100
        var bulk = OutboundQueue(limits: limits)
        _ = bulk.append(.readResult(OperationID(rawValue: 1), .object(ByteBuffer(repeating: 0, count: 200))))
        seeds.append(input(1, stream(&bulk)))
        let identity = testIdentity(1, incarnation: 2)
        var dialler = Handshake(
            role: .dialler(expecting: nil, purpose: .link), identity: identity, members: [identity.node],
            key: peerTestKey.peerKey, nonce: HandshakeNonce(using: &generator))
        if case .send(let hello) = dialler.start().first { seeds.append(input(2, hello.encoded)) }
        let welcome = HandshakeMessage.Welcome(
            version: 1, identity: identity, features: 0, nonce: HandshakeNonce(using: &generator))
        for message: HandshakeMessage in [
            .welcome(welcome, proof: ByteBuffer(repeating: 1, count: 32)), .proof(ByteBuffer(repeating: 2, count: 32)),
            .accepted, .refused(PeerRefusal(.badKey, "text")),
        ] { seeds.append(input(2, message.encoded)) }
        seeds.append(input(3, PropertiesCoding.stored((0..<3).map { _ in generator.propertiesEntry() })))
        return seeds
    }

    private static var modelSeeds: [ByteBuffer] {
        var generator = SeededGenerator(seed: 2)
        var seeds: [ByteBuffer] = []
        for _ in 0..<4 {
            let storageKey = generator.objectKey().storageKey
            seeds.append(input(0, storageKey.getSlice(at: 8, length: storageKey.readableBytes - 8)!))
            let object = generator.versionedObject()
            seeds.append(input(1, object.encoded))
            let key = generator.objectKey()
            let header = LocalHeader(
                copies: 3,
                minting: generator.maybe {
                    .init(
                        actor: Actor(rawValue: $0.next()), incarnation: Incarnation(rawValue: $0.next()),
                        counter: max(1, $0.number()))
                })
            let record = Record(header: header, body: object.encoded).encoded(for: key)
            seeds.append(input(2, record.getSlice(at: 8, length: record.readableBytes - 8)!))
            var context = ByteBuffer()
            generator.context().encode(into: &context)
            seeds.append(input(3, context))
            seeds.append(input(4, generator.metadata()))
        }
        return seeds
    }
}
