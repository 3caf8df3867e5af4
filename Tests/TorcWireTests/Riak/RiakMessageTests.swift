import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

private let decoder = RiakRequestDecoder(clusterKey: testKey)
private let encoder = RiakResponseEncoder(clusterKey: testKey)

private func decode(_ code: UInt8, _ hex: String) throws -> RiakRequest {
    try decoder.decode(RiakFrame(code: code, body: bytes(hex)), keyEntropy: testEntropy)
}

private func message(of code: UInt8, _ hex: String) -> String {
    do {
        return "no error: \(try decode(code, hex))"
    } catch let error as RiakRequestError {
        return error.message + (error.closesConnection ? " (closes)" : "")
    } catch {
        return "\(error)"
    }
}

private let actor = Actor(rawValue: 0xaaaa_0000_0000_0001)
private let other = Actor(rawValue: 0xbbbb_0000_0000_0002)

private func sibling(_ value: String, _ actor: Actor = actor, _ counter: UInt64 = 1) -> Sibling {
    var metadata = ContentMetadata()
    metadata.contentType = text("text/plain")
    return Sibling(
        dot: Dot(actor: actor, counter: counter), timestamp: HybridTimestamp(rawValue: 1_600_000_000_250_000),
        metadata: metadata.encoded, value: text(value))
}

private func context(_ dots: Dot...) -> CausalContext {
    CausalContext(clock: VersionVector(dots), latestTimestamp: HybridTimestamp(rawValue: 7))
}

/// A field of a message: tag byte and length-delimited bytes.
private func field(_ tag: UInt8, _ value: ByteBuffer) -> ByteBuffer {
    var buffer = ByteBuffer(bytes: [tag])
    buffer.writeVarint(UInt64(value.readableBytes))
    buffer.writeImmutableBuffer(value)
    return buffer
}

private func + (left: ByteBuffer, right: ByteBuffer) -> ByteBuffer {
    var joined = left
    joined.writeImmutableBuffer(right)
    return joined
}

@Suite struct RiakRequestTests {
    @Test func aGetOfBAndK() throws {
        let request = try decode(9, "0A0162 12016B")
        #expect(
            request
                == .object(
                    RiakObjectRequest(
                        .get(GetRequest(key: objectKey("b", "k"))), timeout: nil, form: .get(deletedClock: false))))
    }

    @Test func aGetWithEveryOption() throws {
        // r=one pr=2 basic_quorum notfound_ok=false head deletedvclock timeout=1500 sloppy_quorum=false n_val=3
        // type="t" node_confirms=2
        let request = try decode(
            9, "0A0162 12016B 18FEFFFFFF0F 2002 2801 3000 4001 4801 50DC0B 5800 6003 6A0174 7002")
        var get = GetRequest(key: objectKey("b", "k", type: "t"))
        get.options.r = .one
        get.options.pr = .count(2)
        get.options.basicQuorum = true
        get.options.notFoundOK = false
        get.options.sloppyQuorum = false
        get.options.n = 3
        get.options.nodeConfirms = 2
        get.headOnly = true
        #expect(
            request
                == .object(
                    RiakObjectRequest(.get(get), timeout: .milliseconds(1500), form: .get(deletedClock: true))))
    }

    @Test(
        arguments: [
            ("FEFFFFFF0F", Quorum.one), ("FDFFFFFF0F", .quorum), ("FCFFFFFF0F", .all), ("FBFFFFFF0F", nil),
            ("03", .count(3)), ("00", .count(0)), ("FFFFFFFF0F", .count(255)), ("A006", .count(255)),
        ] as [(String, Quorum?)])
    func quorumsInWordsAndNumbers(hex: String, quorum: Quorum?) throws {
        guard case .object(let object) = try decode(9, "0A0162 12016B 18" + hex), case .get(let get) = object.request
        else {
            Issue.record("not a get")
            return
        }
        #expect(get.options.r == quorum)
    }

    @Test func aPutWithEveryOption() throws {
        let key = objectKey("b", "k")
        let known = context(Dot(actor: actor, counter: 3))
        let content =
            field(0x0a, text("value")) + field(0x12, text("text/plain")) + field(0x1a, text("utf-8"))
            + field(0x22, text("gzip"))
            + field(0x32, field(0x0a, text("lb")) + field(0x12, text("lk")) + field(0x1a, text("lt")))
            + field(0x4a, field(0x0a, text("mn")) + field(0x12, text("mv")))
            + field(0x52, field(0x0a, text("i_bin")) + field(0x12, text("x")))
        let body =
            bytes("0A0162 12016B") + field(0x1a, testKey.seal(known, for: key)) + field(0x22, content)
            // w=2 dw=all return_body pw=1 timeout=9 n_val=3 node_confirms=one
            + bytes("2802 30FCFFFFFF0F 3801 4001 6009 7803 8801FEFFFFFF0F")
        guard
            case .object(let object) = try decoder.decode(
                RiakFrame(.putRequest, body: body), keyEntropy: testEntropy),
            case .put(let put) = object.request
        else {
            Issue.record("not a put")
            return
        }
        #expect(put.key == key)
        #expect(put.context == known)
        #expect(put.value == text("value"))
        #expect(put.returnedBody == .full)
        #expect(put.condition == nil)
        #expect(put.options.w == .count(2))
        #expect(put.options.dw == .all)
        #expect(put.options.pw == .count(1))
        #expect(put.options.n == 3)
        #expect(put.options.nodeConfirms == 1)
        #expect(object.timeout == .milliseconds(9))
        #expect(object.form == .put(madeKey: nil))
        let metadata = try ContentMetadata(decoding: put.metadata)
        #expect(metadata.contentType == text("text/plain"))
        #expect(metadata.charset == text("utf-8"))
        #expect(metadata.contentEncoding == text("gzip"))
        #expect(metadata.links == [.init(bucket: text("lb"), key: text("lk"), tag: text("lt"))])
        #expect(metadata.userMetadata == [.init(name: text("mn"), value: text("mv"))])
        #expect(metadata.indexes == [.init(name: text("i_bin"), value: text("x"))])
    }

    /// In the user's metadata, out of which it is taken.
    @Test(
        arguments: [
            ("X-Torc-Write-Id", "00000000000000010000000000000002", true),
            ("x-torc-write-id", "00000000000000010000000000000002", true),
            ("X-Torc-Write-Id", "1", false), ("X-Torc-Write-Id", "", false),
            ("X-Torc-Write-Id", "0000000000000001000000000000000g", false),
        ])
    func nameOfAWrite(name: String, value: String, isOne: Bool) throws {
        var details = RiakPutDetails()
        details.metadata.userMetadata = [
            .init(name: text("mn"), value: text("mv")), .init(name: text(name), value: text(value)),
        ]
        let frame = RiakClientMessages.put(
            RiakName(bucket: text("b"), key: text("k")), value: text("value"), details)
        guard isOne else {
            #expect(throws: RiakRequestError("X-Torc-Write-Id must be 32 hexadecimal digits")) {
                try decoder.decode(frame, keyEntropy: testEntropy)
            }
            return
        }
        guard case .object(let object) = try decoder.decode(frame, keyEntropy: testEntropy),
            case .put(let put) = object.request
        else {
            Issue.record("not a put")
            return
        }
        #expect(put.writeID == WriteID(high: 1, low: 2))
        #expect(try ContentMetadata(decoding: put.metadata).userMetadata.map(\.name) == [text("mn")])
        // Not shown to who reads it, unlike the rest.
        var named = sibling("value")
        named.writeID = put.writeID
        named.metadata = put.metadata
        let answer = encoder.encode(
            .get(
                .found(
                    ClientObject(siblings: [named], context: context(named.dot)), Participation(primaries: 2))),
            to: object)
        let shown = try #require(try RiakClientMessages.object(answer).contents.first)
        #expect(shown.metadata.userMetadata.map(\.name) == [text("mn")])
    }

    /// In the user's metadata, in either direction; what is read can be written back as it is.
    @Test(arguments: [("X-Torc-TTL", "60", 60), ("x-torc-ttl", "1", 1), ("X-Torc-TTL", "0", nil)])
    func lifetimeOfAPut(name: String, value: String, seconds: UInt32?) throws {
        var details = RiakPutDetails()
        details.metadata.userMetadata = [
            .init(name: text("mn"), value: text("mv")), .init(name: text(name), value: text(value)),
        ]
        let frame = RiakClientMessages.put(
            RiakName(bucket: text("b"), key: text("k")), value: text("value"), details)
        guard let seconds else {
            #expect(throws: RiakRequestError.self) { try decoder.decode(frame, keyEntropy: testEntropy) }
            return
        }
        guard case .object(let object) = try decoder.decode(frame, keyEntropy: testEntropy),
            case .put(let put) = object.request
        else {
            Issue.record("not a put")
            return
        }
        #expect(put.lifetimeSeconds == seconds)
        #expect(
            try ContentMetadata(decoding: put.metadata).userMetadata == [.init(name: text("mn"), value: text("mv"))])
    }

    @Test func conditionsOfAPut() throws {
        func condition(_ hex: String, _ vclock: ByteBuffer? = nil) throws -> WriteCondition? {
            let body =
                bytes("0A0162 12016B") + (vclock.map { field(0x1a, $0) } ?? ByteBuffer()) + bytes("22020A00" + hex)
            guard
                case .object(let object) = try decoder.decode(
                    RiakFrame(.putRequest, body: body), keyEntropy: testEntropy),
                case .put(let put) = object.request
            else { throw RiakRequestError("not a put") }
            return put.condition
        }
        let known = context(Dot(actor: actor, counter: 3))
        #expect(try condition("5001") == .ifNoneMatch)
        #expect(try condition("4801", testKey.seal(known, for: objectKey("b", "k"))) == .ifNotModified(known.clock))
        #expect(try condition("4801") == .ifNotModified(VersionVector()))
        #expect(try condition("4800") == nil)
    }

    @Test func aPutWithoutAKeyGetsOne() throws {
        guard case .object(let object) = try decode(11, "0A0162 22030A0176") else {
            Issue.record("not of an object")
            return
        }
        let made = text(VersionTag.madeKey(testEntropy()))
        #expect(made.readableBytes == 22)
        #expect(object.request.key == ObjectKey(bucket: BucketID(name: text("b")), key: made))
        #expect(object.form == .put(madeKey: made))
    }

    @Test func aDelete() throws {
        let key = objectKey("b", "k")
        let known = context(Dot(actor: other, counter: 1))
        let body = bytes("0A0162 12016B 1802") + field(0x22, testKey.seal(known, for: key)) + bytes("50E807")
        var delete = DeleteRequest(key: key, context: known)
        delete.options.rw = .count(2)
        #expect(
            try decoder.decode(RiakFrame(.deleteRequest, body: body), keyEntropy: testEntropy)
                == .object(RiakObjectRequest(.delete(delete), timeout: .seconds(1), form: .delete)))
    }

    @Test func bucketsAndTheirProperties() throws {
        let bucket = BucketID(name: text("b"))
        #expect(try decode(17, "0A0162 10E807") == .listKeys(bucket, timeout: .seconds(1)))
        #expect(
            try decode(17, "0A0162 1A0164") == .listKeys(BucketID(type: text("d"), name: text("b")), timeout: nil))
        #expect(try decode(15, "") == .listBuckets(type: ByteBuffer(), isStreaming: false, timeout: nil))
        #expect(try decode(15, "1001 1A0174") == .listBuckets(type: text("t"), isStreaming: true, timeout: nil))
        #expect(try decode(19, "0A0162") == .properties(.bucket(bucket)))
        #expect(try decode(19, "0A0162 1207 64656661756C74") == .properties(.bucket(bucket)))
        #expect(try decode(29, "0A0162") == .resetProperties(.bucket(bucket)))
        #expect(try decode(31, "0A0174") == .properties(.type(text("t"))))
        var change = PropertiesChange()
        change.n = 5
        change.conflictMode = .siblings
        change.r = .all
        change.notFoundOK = false
        #expect(try decode(21, "0A0162 120D 0805 1001 78FCFFFFFF0F A80100") == .setProperties(.bucket(bucket), change))
        #expect(try decode(32, "0A0174 120D 0805 1001 78FCFFFFFF0F A80100") == .setProperties(.type(text("t")), change))
        #expect(try decode(33, "0A0162 12016B") == .preferenceList(objectKey("b", "k")))
    }

    @Test(
        arguments: [
            (nil, nil, nil), (true, nil, .siblings), (false, nil, .lww), (true, true, .lww), (nil, true, .lww),
            (true, false, .siblings), (false, false, .lww), (nil, false, nil),
        ] as [(Bool?, Bool?, ConflictMode?)])
    func riaksTwoSwitches(allowMult: Bool?, lastWriteWins: Bool?, mode: ConflictMode?) {
        #expect(ConflictMode(allowMult: allowMult, lastWriteWins: lastWriteWins) == mode)
    }

    @Test func theConnectionsOwnRequests() throws {
        #expect(try decode(1, "") == .ping)
        #expect(try decode(3, "") == .clientID)
        #expect(try decode(5, "0A020102") == .setClientID(bytes("0102")))
        #expect(try decode(7, "") == .serverInfo)
    }

    @Test func errorsInRiaksWords() {
        #expect(message(of: 99, "") == "Unknown message code: 99")
        #expect(message(of: 10, "") == "Unknown message code: 10")
        #expect(message(of: 25, "0A0162") == "Unknown message code: 25")
        #expect(message(of: 255, "") == "Security is disabled: this port speaks neither TLS nor authentication")
        #expect(message(of: 253, "0A0175 120170").hasPrefix("Security is disabled"))
        #expect(message(of: 9, "0A00 12016B") == "Bucket cannot be zero-length")
        #expect(message(of: 9, "0A0162 1200") == "Key cannot be zero-length")
        #expect(message(of: 11, "0A0162 1200 22020A00") == "Key cannot be zero-length")
        #expect(message(of: 9, "0A0162 12016B 6A00") == "Type cannot be zero-length")
        #expect(message(of: 31, "0A00") == "Type cannot be zero-length")
        #expect(message(of: 17, "0A00") == "Bucket cannot be zero-length")
        #expect(message(of: 9, "0A0162") == "Cannot decode the message of code 9 (closes)")
        #expect(message(of: 9, "0A05") == "Cannot decode the message of code 9 (closes)")
        #expect(message(of: 9, "FFFF") == "Cannot decode the message of code 9 (closes)")
        #expect(message(of: 21, "0A0162 1203 D80101") == "Bucket property consistent is not supported")
        #expect(message(of: 9, "0A0162 12016B 70FDFFFFFF0F") == "node_confirms must be a number")
    }

    @Test func namesThatAreTooLong() throws {
        let longKey = bytes("0A0162") + field(0x12, ByteBuffer(repeating: 0x61, count: ObjectKey.maximumKeyBytes + 1))
        #expect(throws: RiakRequestError(RiakText.keyTooLong)) {
            try decoder.decode(RiakFrame(.getRequest, body: longKey), keyEntropy: testEntropy)
        }
        let longBucket =
            field(0x0a, ByteBuffer(repeating: 0x61, count: ObjectKey.maximumBucketBytes + 1)) + bytes("12016B")
        #expect(throws: RiakRequestError(RiakText.bucketTooLong)) {
            try decoder.decode(RiakFrame(.getRequest, body: longBucket), keyEntropy: testEntropy)
        }
    }

    @Test func contextsOfOthersAreRefused() throws {
        let key = objectKey("b", "k")
        let known = context(Dot(actor: actor, counter: 3))
        func outcome(_ token: ByteBuffer) -> String {
            let body = bytes("0A0162 12016B") + field(0x1a, token) + bytes("22020A00")
            do {
                _ = try decoder.decode(RiakFrame(.putRequest, body: body), keyEntropy: testEntropy)
                return "taken"
            } catch {
                #expect(!error.closesConnection)
                return error.message
            }
        }
        let forged = "Invalid vclock: it was altered, or belongs to another object or cluster"
        let good = testKey.seal(known, for: key)
        #expect(outcome(good) == "taken")
        #expect(outcome(foreignKey.seal(known, for: key)) == forged)
        #expect(outcome(testKey.seal(known, for: objectKey("b", "other"))) == forged)
        #expect(outcome(text("hello")) == "Invalid vclock: not one that this cluster gives out")
        for index in good.readerIndex..<good.writerIndex {
            var altered = good
            altered.setInteger(good.getInteger(at: index, as: UInt8.self)! ^ 1, at: index)
            #expect(outcome(altered).hasPrefix("Invalid vclock"), "byte \(index)")
        }
    }
}

@Suite struct RiakResponseTests {
    private let get = RiakObjectRequest(
        .get(GetRequest(key: objectKey("b", "k"))), timeout: nil, form: .get(deletedClock: false))
    private let put = RiakObjectRequest(
        .put(PutRequest(key: objectKey("b", "k"), metadata: ByteBuffer(), value: ByteBuffer())), timeout: nil,
        form: .put(madeKey: nil))
    private let all = Participation(primaries: 2)

    private func error(_ message: String) -> RiakFrame {
        RiakFrame(.errorResponse, body: field(0x0a, text(message)) + bytes("1000"))
    }

    @Test func notFoundIsEmpty() {
        #expect(encoder.encode(.get(.absent(all)), to: get) == RiakFrame(.getResponse))
    }

    @Test func aTombstoneShowsItsClockWhenAsked() {
        let tombstone = ClientObject(siblings: [], context: context(Dot(actor: actor, counter: 2)))
        #expect(encoder.encode(.get(.found(tombstone, all)), to: get) == RiakFrame(.getResponse))
        var asking = get
        asking.form = .get(deletedClock: true)
        #expect(
            encoder.encode(.get(.found(tombstone, all)), to: asking)
                == RiakFrame(
                    .getResponse, body: field(0x12, testKey.seal(tombstone.context, for: objectKey("b", "k")))))
    }

    @Test func oneVersion() throws {
        let object = ClientObject(siblings: [sibling("v")], context: context(Dot(actor: actor, counter: 1)))
        let frame = encoder.encode(.get(.found(object, all)), to: get)
        let tag = VersionTag.tag(of: Dot(actor: actor, counter: 1))
        let content =
            field(0x0a, text("v")) + field(0x12, text("text/plain")) + field(0x2a, text(tag))
            // last_mod = 1600000000, last_mod_usecs = 250000
            + bytes("3880A0F8FA05 4090A10F")
        #expect(
            frame
                == RiakFrame(
                    .getResponse,
                    body: field(0x0a, content) + field(0x12, testKey.seal(object.context, for: objectKey("b", "k")))))
    }

    @Test func headLeavesValuesOut() throws {
        let object = ClientObject(
            siblings: [sibling("v")], context: context(Dot(actor: actor, counter: 1)), headOnly: true)
        var reader = encoder.encode(.get(.found(object, all)), to: get).body
        #expect(reader.readInteger(as: UInt8.self) == 0x0a)
        var content = try reader.readLengthPrefixed("content")
        #expect(content.readSlice(length: 2) == bytes("0A00"))
    }

    @Test func siblingsAndATombstoneAmongThem() throws {
        var deleted = sibling("", other, 1)
        deleted.isTombstone = true
        let object = ClientObject(
            siblings: [sibling("v"), deleted],
            context: context(Dot(actor: actor, counter: 1), Dot(actor: other, counter: 1)))
        var reader = encoder.encode(.get(.found(object, all)), to: get).body
        var contents: [ByteBuffer] = []
        while reader.getInteger(at: reader.readerIndex, as: UInt8.self) == 0x0a {
            reader.moveReaderIndex(forwardBy: 1)
            contents.append(try reader.readLengthPrefixed("content"))
        }
        #expect(contents.count == 2)
        #expect(contents.last?.getSlice(at: contents[1].writerIndex - 2, length: 2) == bytes("5801"))
    }

    @Test func unchanged() {
        #expect(encoder.encode(.get(.unchanged(all)), to: get) == RiakFrame(.getResponse, body: bytes("1801")))
    }

    @Test func writesAnswerNothingUnlessAsked() {
        #expect(encoder.encode(.write(.ok(all, nil)), to: put) == RiakFrame(.putResponse))
        var delete = put
        delete.form = .delete
        #expect(encoder.encode(.write(.ok(all, nil)), to: delete) == RiakFrame(.deleteResponse))
        var made = put
        made.form = .put(madeKey: text("K"))
        #expect(encoder.encode(.write(.ok(all, nil)), to: made) == RiakFrame(.putResponse, body: bytes("1A014B")))
    }

    @Test func conditionsAndRefusalsInRiaksWords() {
        func answer(_ refusal: Refusal) -> RiakFrame { encoder.encode(.write(.refused(refusal)), to: put) }
        #expect(answer(.matchFound) == error("match_found"))
        #expect(answer(.modified) == error("modified"))
        #expect(answer(.notFound) == error("notfound"))
        #expect(answer(.overloaded) == error("overload"))
        #expect(answer(.unreachable(needed: 2, reachable: 1)) == error("{insufficient_vnodes,1,need,2}"))
        #expect(
            answer(.invalidQuorum(name: "w", asked: 4, n: 3))
                == error("Specified w value of 4 is invalid for a bucket n value of 3"))
        #expect(
            encoder.encode(.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: true))), to: get)
                == error("timeout"))
        #expect(
            encoder.encode(.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: false))), to: get)
                == error("{r_val_unsatisfied,2,1}"))
        #expect(
            encoder.encode(.write(.indeterminate(copies: 1, needed: 2)), to: put)
                == error("indeterminate: 1 of 2 copies are known to stand; the write may or may not be kept"))
    }

    @Test func listsAndProperties() {
        #expect(
            encoder.keys([text("a"), text("b")], done: false)
                == RiakFrame(.listKeysResponse, body: bytes("0A0161 0A0162")))
        #expect(encoder.keys([], done: true) == RiakFrame(.listKeysResponse, body: bytes("1001")))
        #expect(encoder.buckets([text("a")], done: false) == RiakFrame(.listBucketsResponse, body: bytes("0A0161")))
        #expect(
            encoder.preferenceList([PreferenceEntry(partition: PartitionID(5), node: "n", isPrimary: true)])
                == RiakFrame(.preferenceListResponse, body: bytes("0A07 0805 12016E 1801")))
        #expect(encoder.changed(.stored, response: .setBucketResponse) == RiakFrame(.setBucketResponse))
        #expect(
            encoder.changed(.refused(.copiesFixed), response: .setBucketResponse)
                == error("n_val cannot be changed: the bucket holds data"))
    }

    /// What a bucket shows is what may be set on it again.
    @Test func propertiesThereAndBack() throws {
        var properties = BucketProperties()
        properties.n = 5
        properties.r = .count(2)
        properties.w = .all
        properties.pr = .one
        properties.notFoundOK = false
        properties.conflictMode = .lww
        let shown = encoder.properties(properties).body
        let request = try decoder.decode(
            RiakFrame(.setBucketRequest, body: bytes("0A0162") + field(0x12, try body(of: shown))),
            keyEntropy: testEntropy)
        var change = PropertiesChange()
        change.n = 5
        change.conflictMode = .lww
        change.r = .count(2)
        change.w = .all
        change.pr = .one
        change.pw = .count(0)
        change.dw = .quorum
        change.rw = .quorum
        change.basicQuorum = false
        change.notFoundOK = false
        #expect(request == .setProperties(.bucket(BucketID(name: text("b"))), change))
    }

    private func body(of response: ByteBuffer) throws -> ByteBuffer {
        var reader = response
        #expect(reader.readInteger(as: UInt8.self) == 0x0a)
        return try reader.readLengthPrefixed("properties")
    }
}

extension ByteBuffer {
    fileprivate init(repeating byte: UInt8, count: Int) {
        self.init()
        writeRepeatingByte(byte, count: count)
    }
}

/// Torc's own pair: the ring, for clients that ask a replica directly.
@Suite struct RiakRingTests {
    private static let ring = RiakRing(
        fingerprint: 0x0102_0304_0506_0708, epoch: 300, size: RingSize(partitions: 8)!, members: ["n1", "größer"],
        owners: [0, 1, 0, 1, 1, 0, 0, 1])!

    private func answer(known: UInt64?, ring: RiakRing? = Self.ring) throws -> RiakRingAnswer {
        try RiakClientMessages.ring(try #require(RiakRingAnswer.frame(node: "n1", ring: ring, known: known)))
    }

    @Test func readBack() throws {
        #expect(try answer(known: nil) == RiakRingAnswer(node: "n1", news: .ring(Self.ring)))
        #expect(try answer(known: 7) == RiakRingAnswer(node: "n1", news: .ring(Self.ring)))
        #expect(try answer(known: Self.ring.fingerprint) == RiakRingAnswer(node: "n1", news: .unchanged))
        #expect(RiakRingAnswer.frame(node: "n1", ring: nil, known: nil) == nil)
    }

    /// As PROTOCOL.md has it.
    @Test func bytesAreAsDocumented() throws {
        let frame = try #require(RiakRingAnswer.frame(node: "n1", ring: Self.ring, known: nil))
        let expected =
            "02 6e31 0102030405060708 ac02 08 02 02 6e31 08 6772c3b6c39f6572"
            + " 0000 0001 0000 0001 0001 0000 0000 0001"
        #expect(frame.code == 241 && frame.body == bytes(expected.filter { $0 != " " }))
        #expect(RiakClientMessages.ring(known: 1).body == bytes("0000000000000001"))
        #expect(RiakClientMessages.ring(known: nil) == RiakFrame(code: 240))
    }

    @Test func hostileBytesAreAnError() throws {
        let frame = try #require(RiakRingAnswer.frame(node: "n1", ring: Self.ring, known: nil))
        for length in 0..<frame.body.readableBytes {
            let cut = frame.body.getSlice(at: 0, length: length)!
            #expect(throws: MalformedBytes.self) { try RiakRingAnswer(decoding: cut) }
        }
        func damaged(_ change: (inout ByteBuffer) -> Void) -> ByteBuffer {
            var body = frame.body
            change(&body)
            return body
        }
        let bad = [
            damaged { $0.writeInteger(UInt8(0)) },  // something behind it
            damaged { $0.setInteger(UInt16(2), at: $0.writerIndex - 2) },  // an owner that is no member
            damaged { $0.setInteger(UInt8(7), at: 13) },  // a number of partitions that cannot be
            damaged { $0.setInteger(UInt8(0xff), at: 16) },  // no UTF-8
            damaged { $0.setInteger(UInt8(9), at: 14) },  // more members than partitions
        ]
        for body in bad { #expect(throws: MalformedBytes.self) { try RiakRingAnswer(decoding: body) } }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var body = frame.body
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                body.setInteger(
                    UInt8.random(in: 0...255, using: &random),
                    at: Int.random(in: 0..<body.readableBytes, using: &random))
            }
            if case .ring(let ring)? = (try? RiakRingAnswer(decoding: body))?.news {
                #expect(
                    ring.owners.allSatisfy { Int($0) < ring.members.count } && ring.owners.count == ring.size.partitions
                )
            }
        }
        #expect(
            RiakRing(fingerprint: 1, epoch: 1, size: Self.ring.size, members: ["a", "a"], owners: Self.ring.owners)
                == nil)
    }
}
