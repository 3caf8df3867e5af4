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
        for (name, inputs) in [
            ("peer", Self.peerSeeds), ("model", Self.modelSeeds), ("riak", Self.riakSeeds),
            ("resp", Self.respSeeds),
        ] {
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
        for (name, inputs) in [
            ("peer", Self.peerSeeds), ("model", Self.modelSeeds), ("riak", Self.riakSeeds),
            ("resp", Self.respSeeds),
        ] {
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

    private static var respSeeds: [ByteBuffer] {
        let lines = [
            "SET alice milk EX 10\nGET alice\nDEL alice bob", "set k v nx get\nGETSET k v\nSETNX k v\nPSETEX k 5 v",
            "GETEX key PERSIST\nGETEX key\nGETEX key PXAT 1700000001000\nGETDEL key",
            "EXPIRE key 10 GT\nPEXPIREAT key 5\nPERSIST key\nTTL key\nPEXPIRETIME key\nTYPE key\nSTRLEN key",
            "MSET a 1 bbb 2 a 3\nMGET a bb bbb\nEXISTS a a\nUNLINK a bbb",
            "SCAN 0 MATCH [^a-c]*\\?x COUNT 5 TYPE string\nDBSIZE",
            "HELLO 3 SETNAME me\nGET bb\nCONFIG GET * save\nCLIENT INFO\nRESET\nHELLO",
            "SELECT 3\nSELECT 16\nINFO\nCOMMAND COUNT",
            "CLIENT CONSISTENCY ONE\nCLIENT CONSISTENCY\nCLIENT SETNAME x\nCLIENT GETNAME\nECHO \"a b\"\nPING x",
            "GET key\nQUIT\nGET key", "POST / HTTP/1.1\nHost: h\n", "*1\n$4\nPING\n*0\n\n*-1\nPING 'a' \"b\\n\"",
        ]
        let arrays = [["SET", "key", "value", "KEEPTTL"], ["GET", "key"], ["MGET", "key", "a", "key"]].map { words in
            "*\(words.count)\n" + words.map { "$\($0.utf8.count)\n\($0)\n" }.joined()
        }
        return (lines.map { $0 + "\n" } + arrays + [arrays.joined()]).map { text($0.replacing("\n", with: "\r\n")) }
    }

    private static var riakSeeds: [ByteBuffer] {
        let name = RiakName(type: text("t"), bucket: text("b"), key: text("k"))
        var options = RiakRequestOptions()
        options.r = RiakQuorum.one
        options.w = 2
        options.timeoutMilliseconds = 1000
        var details = RiakPutDetails()
        details.metadata.contentType = text("text/plain")
        details.metadata.links = [.init(bucket: text("b"), key: text("k"), tag: text("t"))]
        details.metadata.userMetadata = [.init(name: text("n"), value: text("v"))]
        details.metadata.indexes = [.init(name: text("n_int"), value: text("1"))]
        details.ifNoneMatch = true
        details.returned = .full
        var settings = RiakBucketSettings()
        settings.n = 3
        settings.allowMult = true
        settings.r = RiakQuorum.all
        let requests = [
            RiakClientMessages.ping, RiakClientMessages.serverInfo, RiakClientMessages.get(name, options, head: true),
            RiakClientMessages.put(name, value: text("value"), details, options),
            RiakClientMessages.delete(name, options),
            RiakClientMessages.listKeys(type: text("t"), bucket: text("b"), timeoutMilliseconds: 5),
            RiakClientMessages.listBuckets(type: text("t"), timeoutMilliseconds: 5),
            RiakClientMessages.properties(type: text("t"), bucket: text("b")),
            RiakClientMessages.setProperties(type: text("t"), bucket: text("b"), to: settings),
            RiakClientMessages.resetProperties(type: text("t"), bucket: text("b")),
            RiakClientMessages.preferenceList(name),
        ]
        let encoder = RiakResponseEncoder(clusterKey: testKey)
        let answers = [
            encoder.error("error"), encoder.serverInfo(node: "n"), encoder.keys([text("a"), text("b")], done: true),
            encoder.buckets([text("a")], done: false), encoder.properties(BucketProperties()),
            encoder.preferenceList([PreferenceEntry(partition: PartitionID(1), node: "n", isPrimary: true)]),
        ]
        func coded(_ frame: RiakFrame) -> ByteBuffer {
            var bytes = ByteBuffer()
            bytes.writeInteger(frame.code)
            bytes.writeImmutableBuffer(frame.body)
            return bytes
        }
        var stream = ByteBuffer()
        for frame in requests { frame.encode(into: &stream) }
        let texts = [
            "GET /buckets/b/keys/k?r=one&vtag=x\nAccept: multipart/mixed\nIf-None-Match: \"a\", W/\"b\"\n\n",
            "PUT /types/t/buckets/b%20/keys/k+?w=2&returnbody=true\nContent-Type: text/plain; charset=utf-8\n"
                + "X-Riak-Meta-A: b\nX-Riak-Index-a_int: 1, 2\nLink: </buckets/b/keys/k>; riaktag=\"t\"\n"
                + "If-Match: *\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n\nvalue",
            "POST /riak/b\nContent-Type: a/b\nX-Riak-Vclock: AAAA\n\nvalue",
            "DELETE /buckets/b/keys/k?rw=all&timeout=10\n\n", "GET /buckets?buckets=stream\n\n",
            "PUT /buckets/b/props\n\n{\"props\":{\"n_val\":3,\"allow_mult\":true,\"r\":\"one\"}}",
        ]
        return [input(0, stream)] + requests.map { input(1, coded($0)) } + texts.map { input(2, text($0)) }
            + answers.map { input(3, coded($0)) }
    }
}
