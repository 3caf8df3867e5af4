// The bytes of what nodes say to one another.
//
//   message = u8 kind | fields in declaration order
//
// A message delimits itself, so a frame holds any number of them, one after another. Integers that are small
// most of the time are varints, ids are fixed; optional fields are announced by a bit of a flag byte. Every
// value has exactly one encoding and the decoder refuses all others: what decodes encodes to the same bytes.
//
// Encoding appends to one buffer, bodies included; decoding copies nothing: keys and bodies are slices of the
// buffer that was read. It is total: hostile bytes are `MalformedBytes`, never a trap, and nothing is
// allocated that is not in proportion to the bytes that are there.

package import NIOCore
package import TorcModel
package import TorcReplication

/// Encodes and decodes `PeerMessage`.
package enum PeerMessageCodec {
    /// The version of these encodings that a link speaks; the handshake finds the highest that both sides know.
    package static let supportedVersions: ClosedRange<UInt8> = 2...2

    /// Items of one page of a listing; a page with more is refused as hostile.
    package static let maximumPageItems = 1 << 16
    /// A storage key: position, type, bucket and key with their lengths.
    static let maximumStorageKeyBytes = 8 + 2 * (ObjectKey.maximumBucketBytes + 3) + ObjectKey.maximumKeyBytes

    enum Kind: UInt8 {
        case write = 1
        case wrote = 2
        case read = 3
        case readResult = 4
        case forward = 5
        case forwarded = 6
        case page = 7
        case pageResult = 8
        case properties = 9
        case propertiesStored = 10
        case propertiesDigest = 11
        case membership = 12
        case compare = 13
        case compared = 14
        case hinted = 15
        case hintResult = 16
        case ring = 17
        case askToken = 18
        case token = 19
        case reap = 20
        case reaped = 21
    }

    package static func encode(_ message: PeerMessage, into buffer: inout ByteBuffer) {
        switch message {
        case .write(let write): encode(write, into: &buffer)
        case .wrote(let operation, let outcome):
            writeHead(.wrote, operation, into: &buffer)
            encode(outcome, into: &buffer)
        case .read(let read, let remaining): encode(read, remaining, into: &buffer)
        case .readResult(let operation, let outcome):
            writeHead(.readResult, operation, into: &buffer)
            encode(outcome, into: &buffer)
        case .forward(let forward):
            writeHead(.forward, forward.operation, into: &buffer)
            buffer.writeInteger(forward.incarnation.rawValue)
            encode(forward.request, into: &buffer)
            forward.properties.encode(into: &buffer)
            buffer.writeDuration(forward.remaining)
        case .forwarded(let operation, let answer):
            writeHead(.forwarded, operation, into: &buffer)
            encode(answer, into: &buffer)
        case .page(let page):
            writeHead(.page, page.operation, into: &buffer)
            encode(page, into: &buffer)
        case .pageResult(let operation, let outcome):
            writeHead(.pageResult, operation, into: &buffer)
            encode(outcome, into: &buffer)
        case .properties(let operation, let entries):
            writeHead(.properties, operation, into: &buffer)
            PropertiesCoding.encode(entries, into: &buffer)
        case .propertiesStored(let operation):
            writeHead(.propertiesStored, operation, into: &buffer)
        case .propertiesDigest(let hash):
            buffer.writeMultipleIntegers(Kind.propertiesDigest.rawValue, hash.rawValue)
        case .membership(let message): encode(message, into: &buffer)
        case .compare(let question):
            writeHead(.compare, question.operation, into: &buffer)
            encode(question, into: &buffer)
        case .compared(let operation, let answer):
            writeHead(.compared, operation, into: &buffer)
            encode(answer, into: &buffer)
        case .hinted(let operation, let target, let outcome):
            writeHead(.hinted, operation, into: &buffer)
            buffer.writeInteger(target.rawValue)
            encode(outcome, into: &buffer)
        case .hintResult(let operation, let target, let outcome):
            writeHead(.hintResult, operation, into: &buffer)
            buffer.writeInteger(target.rawValue)
            encode(outcome, into: &buffer)
        case .ring(let message): encode(message, into: &buffer)
        case .askToken(let operation): writeHead(.askToken, operation, into: &buffer)
        case .token(let operation, let token):
            writeHead(.token, operation, into: &buffer)
            encode(token, into: &buffer)
        case .reap(let question):
            writeHead(.reap, question.operation, into: &buffer)
            encode(question, into: &buffer)
        case .reaped(let operation, let answer):
            writeHead(.reaped, operation, into: &buffer)
            encode(answer, into: &buffer)
        }
    }

    /// Decodes the message at the reader index and moves past it.
    package static func decode(from buffer: inout ByteBuffer) throws(MalformedBytes) -> PeerMessage {
        guard let kind = Kind(rawValue: try buffer.readFixed(UInt8.self, "peer message")) else {
            throw MalformedBytes(.notCanonical, "peer message kind")
        }
        let number = try buffer.readFixed(UInt64.self, "peer message")
        let operation = OperationID(rawValue: number)
        switch kind {
        case .write: return .write(try decodeWrite(operation, from: &buffer))
        case .wrote: return .wrote(operation, try decodeWriteOutcome(from: &buffer))
        case .read:
            let read = try decodeRead(operation, from: &buffer)
            return .read(read, remaining: try buffer.readDuration("read"))
        case .readResult: return .readResult(operation, try decodeReadOutcome(from: &buffer))
        case .forward:
            return .forward(
                ForwardedWrite(
                    operation: operation,
                    incarnation: Incarnation(rawValue: try buffer.readFixed(UInt64.self, "forward")),
                    request: try decodeRequest(from: &buffer),
                    properties: try BucketProperties(decoding: &buffer), remaining: try buffer.readDuration("forward")))
        case .forwarded: return .forwarded(operation, try decodeWriteAnswer(from: &buffer))
        case .page: return .page(try decodePageRequest(operation, from: &buffer))
        case .pageResult: return .pageResult(operation, try decodePageOutcome(from: &buffer))
        case .properties: return .properties(operation, try PropertiesCoding.decode(from: &buffer))
        case .propertiesStored: return .propertiesStored(operation)
        case .propertiesDigest: return .propertiesDigest(ContentHash(rawValue: number))
        case .membership: return .membership(try decodeMembership(number, from: &buffer))
        case .compare: return .compare(try decodeTreeQuestion(operation, from: &buffer))
        case .compared: return .compared(operation, try decodeTreeAnswer(from: &buffer))
        case .hinted:
            let target = NodeID(rawValue: try buffer.readFixed(UInt64.self, "hinted"))
            return .hinted(operation, target: target, try decodeWriteOutcome(from: &buffer))
        case .hintResult:
            let target = NodeID(rawValue: try buffer.readFixed(UInt64.self, "hint result"))
            return .hintResult(operation, target: target, try decodeReadOutcome(from: &buffer))
        case .ring: return .ring(try decodeRing(number, from: &buffer))
        case .askToken: return .askToken(operation)
        case .token: return .token(operation, try decodeToken(from: &buffer))
        case .reap: return .reap(try decodeReapQuestion(operation, from: &buffer))
        case .reaped: return .reaped(operation, try decodeReapAnswer(from: &buffer))
        }
    }

    /// An upper bound of a message's encoded length, close for the long ones: what decides whether it is bulk.
    package static func sizeBound(of message: PeerMessage) -> Int {
        switch message {
        case .write(let write): fixedBytes + write.key.storageKey.readableBytes + write.body.readableBytes
        case .read(let read, _): fixedBytes + read.key.storageKey.readableBytes
        case .readResult(_, .object(let body)), .hintResult(_, _, .object(let body)): fixedBytes + body.readableBytes
        case .forward(let forward): fixedBytes + sizeBound(of: forward.request)
        case .forwarded(_, .ok(_, .some(let object))):
            object.siblings.reduce(fixedBytes + sizeBound(of: object.context.clock)) {
                $0 + $1.metadata.readableBytes + $1.value.readableBytes + 80
            }
        case .page(let page): fixedBytes + sizeBound(of: page.subject) + (page.after?.readableBytes ?? 0)
        case .pageResult(_, .page(let items, let resume)):
            items.reduce(fixedBytes + (resume?.readableBytes ?? 0)) { $0 + $1.readableBytes + 10 }
        case .compare(let question): fixedBytes + sizeBound(of: question)
        case .compared(_, let answer): fixedBytes + sizeBound(of: answer)
        case .properties(_, let entries): entries.reduce(fixedBytes) { $0 + sizeBound(of: $1.scope) + 64 }
        case .membership(let message): message.sizeBound
        case .ring(let message): message.sizeBound
        case .reap(let question): fixedBytes + sizeBound(of: question)
        case .reaped(_, .keys(let answers)): fixedBytes + answers.count
        case .reaped(_, .minting(let answers)): fixedBytes + 9 * answers.count
        case .wrote, .readResult, .forwarded, .pageResult, .propertiesStored, .propertiesDigest, .hinted, .hintResult,
            .askToken, .token, .reaped:
            fixedBytes
        }
    }

    /// More than all fields of any message take whose length is not counted one by one.
    private static let fixedBytes = 256

    private static func sizeBound(of request: ClientRequest) -> Int {
        let key = request.key.storageKey.readableBytes
        switch request {
        case .get(let get): return key + sizeBound(of: get.unlessClock)
        case .put(let put):
            var clock = sizeBound(of: put.context?.clock)
            if case .ifNotModified(let other) = put.condition { clock += sizeBound(of: other) }
            return key + clock + put.metadata.readableBytes + put.value.readableBytes
        case .delete(let delete): return key + sizeBound(of: delete.context?.clock)
        }
    }

    private static func sizeBound(of clock: VersionVector?) -> Int { (clock?.entries.count ?? 0) * 18 }

    private static func sizeBound(of subject: PageRequest.Subject) -> Int {
        switch subject {
        case .keys(let bucket): bucket.type.readableBytes + bucket.name.readableBytes
        case .buckets(let type): type.readableBytes
        }
    }

    private static func sizeBound(of scope: PropertiesScope) -> Int {
        switch scope {
        case .type(let type): type.readableBytes
        case .bucket(let bucket): bucket.type.readableBytes + bucket.name.readableBytes
        }
    }

    private static func writeHead(_ kind: Kind, _ operation: OperationID, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(kind.rawValue, operation.rawValue)
    }
}

// MARK: Replica operations

extension PeerMessageCodec {
    private static func encode(_ write: ReplicaWrite, into buffer: inout ByteBuffer) {
        // One growth, whatever follows: head, lengths, dot.
        buffer.reserveCapacity(
            minimumWritableBytes: 64 + write.key.storageKey.readableBytes + write.body.readableBytes)
        buffer.writeMultipleIntegers(
            Kind.write.rawValue, write.operation.rawValue, write.copies,
            (write.dot == nil ? 0 : WriteFlag.dot) | (write.hint == nil ? 0 : WriteFlag.hint)
                | (write.token == nil ? 0 : WriteFlag.token))
        if let dot = write.dot { encode(dot, into: &buffer) }
        if let hint = write.hint { buffer.writeInteger(hint.rawValue) }
        if let token = write.token { encode(token, into: &buffer) }
        buffer.writeVarint(write.epoch)
        buffer.writeLengthPrefixed(write.key.storageKey)
        buffer.writeLengthPrefixed(write.body)
    }

    private static func decodeWrite(
        _ operation: OperationID, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> ReplicaWrite {
        let copies = try buffer.readFixed(UInt8.self, "write")
        let flags = try buffer.readFixed(UInt8.self, "write")
        guard flags & ~WriteFlag.all == 0 else { throw MalformedBytes(.notCanonical, "write") }
        let dot = flags & WriteFlag.dot != 0 ? try decodeDot(from: &buffer) : nil
        let hint = flags & WriteFlag.hint != 0 ? NodeID(rawValue: try buffer.readFixed(UInt64.self, "write")) : nil
        let token = flags & WriteFlag.token != 0 ? try decodeToken(from: &buffer) : nil
        let epoch = try buffer.readVarint("write")
        return ReplicaWrite(
            operation: operation, key: try decodeKey(from: &buffer), copies: copies, epoch: epoch,
            body: try buffer.readLengthPrefixed("write"), dot: dot, hint: hint, token: token)
    }

    private enum WriteFlag {
        static let dot: UInt8 = 1
        static let hint: UInt8 = 2
        static let token: UInt8 = 4
        static let all: UInt8 = 7
    }

    /// Beside what is wanted, in the same byte.
    private static let hintReadFlag: UInt8 = 4
    private static let epochReadFlag: UInt8 = 8

    private static func encode(_ outcome: WriteOutcome, into buffer: inout ByteBuffer) {
        switch outcome {
        case .stored: buffer.writeInteger(UInt8(0))
        case .superseded(let stamp): buffer.writeMultipleIntegers(UInt8(1), stamp.rawValue)
        case .failed(let failure): buffer.writeMultipleIntegers(UInt8(2), failure.rawValue)
        }
    }

    private static func decodeWriteOutcome(from buffer: inout ByteBuffer) throws(MalformedBytes) -> WriteOutcome {
        switch try buffer.readFixed(UInt8.self, "write outcome") {
        case 0: return .stored
        case 1: return .superseded(by: HybridTimestamp(rawValue: try buffer.readFixed(UInt64.self, "write outcome")))
        case 2: return .failed(try decodeFailure(from: &buffer))
        default: throw MalformedBytes(.notCanonical, "write outcome")
        }
    }

    private static func encode(_ read: ReplicaRead, _ remaining: Duration, into buffer: inout ByteBuffer) {
        buffer.reserveCapacity(minimumWritableBytes: 40 + read.key.storageKey.readableBytes)
        let want: UInt8 =
            switch read.want {
            case .full: 0
            case .unless: 1
            case .hash: 2
            }
        buffer.writeMultipleIntegers(
            Kind.read.rawValue, read.operation.rawValue, read.copies,
            want | (read.hint == nil ? 0 : hintReadFlag) | (read.epoch == 0 ? 0 : epochReadFlag))
        if read.epoch > 0 { buffer.writeInteger(read.epoch) }
        if let hint = read.hint { buffer.writeInteger(hint.rawValue) }
        if case .unless(let hash) = read.want { buffer.writeInteger(hash.rawValue) }
        buffer.writeLengthPrefixed(read.key.storageKey)
        buffer.writeDuration(remaining)
    }

    private static func decodeRead(
        _ operation: OperationID, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> ReplicaRead {
        let copies = try buffer.readFixed(UInt8.self, "read")
        let flags = try buffer.readFixed(UInt8.self, "read")
        let epoch = flags & epochReadFlag != 0 ? try buffer.readFixed(UInt64.self, "read") : 0
        // Written in one way only.
        guard epoch > 0 || flags & epochReadFlag == 0 else { throw MalformedBytes(.notCanonical, "read") }
        let hint = flags & hintReadFlag != 0 ? NodeID(rawValue: try buffer.readFixed(UInt64.self, "read")) : nil
        let want: ReplicaRead.Want
        switch flags & ~(hintReadFlag | epochReadFlag) {
        case 0: want = .full
        case 1: want = .unless(ContentHash(rawValue: try buffer.readFixed(UInt64.self, "read")))
        case 2: want = .hash
        default: throw MalformedBytes(.notCanonical, "read")
        }
        return ReplicaRead(
            operation: operation, key: try decodeKey(from: &buffer), copies: copies, want: want, hint: hint,
            epoch: epoch)
    }

    private static func encode(_ outcome: ReadOutcome, into buffer: inout ByteBuffer) {
        switch outcome {
        case .absent: buffer.writeInteger(UInt8(0))
        case .hash(let hash): buffer.writeMultipleIntegers(UInt8(1), hash.rawValue)
        case .object(let body):
            buffer.writeInteger(UInt8(2))
            buffer.writeLengthPrefixed(body)
        case .failed(let failure): buffer.writeMultipleIntegers(UInt8(3), failure.rawValue)
        }
    }

    private static func decodeReadOutcome(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ReadOutcome {
        switch try buffer.readFixed(UInt8.self, "read outcome") {
        case 0: return .absent
        case 1: return .hash(ContentHash(rawValue: try buffer.readFixed(UInt64.self, "read outcome")))
        case 2: return .object(try buffer.readLengthPrefixed("read outcome"))
        case 3: return .failed(try decodeFailure(from: &buffer))
        default: throw MalformedBytes(.notCanonical, "read outcome")
        }
    }

    private static func decodeFailure(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ReplicaFailure {
        guard let failure = ReplicaFailure(rawValue: try buffer.readFixed(UInt8.self, "failure")) else {
            throw MalformedBytes(.notCanonical, "failure")
        }
        return failure
    }

    static func encode(_ dot: Dot, into buffer: inout ByteBuffer) {
        buffer.writeInteger(dot.actor.rawValue)
        buffer.writeVarint(dot.counter)
    }

    static func decodeDot(from buffer: inout ByteBuffer) throws(MalformedBytes) -> Dot {
        let actor = Actor(rawValue: try buffer.readFixed(UInt64.self, "dot"))
        let counter = try buffer.readVarint("dot")
        // Counters start at 1.
        guard counter > 0 else { throw MalformedBytes(.notCanonical, "dot") }
        return Dot(actor: actor, counter: counter)
    }

    /// The key comes whole, its ring position included, so that it serves as storage key without a copy.
    static func decodeKey(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ObjectKey {
        try ObjectKey(storageKey: try buffer.readLengthPrefixed(limit: maximumStorageKeyBytes, "object key"))
    }
}

// MARK: Listing

extension PeerMessageCodec {
    private static func encode(_ page: PageRequest, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(page.partition.rawValue, page.copies)
        switch page.subject {
        case .keys(let bucket):
            buffer.writeInteger(UInt8(0))
            encode(bucket, into: &buffer)
        case .buckets(let type):
            buffer.writeInteger(UInt8(1))
            buffer.writeLengthPrefixed(type)
        }
        encode(page.after, into: &buffer)
    }

    private static func decodePageRequest(
        _ operation: OperationID, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> PageRequest {
        let partition = PartitionID(rawValue: try buffer.readFixed(UInt16.self, "page"))
        let copies = try buffer.readFixed(UInt8.self, "page")
        let subject: PageRequest.Subject
        switch try buffer.readFixed(UInt8.self, "page") {
        case 0: subject = .keys(try decodeBucket(from: &buffer))
        case 1: subject = .buckets(type: try buffer.readLengthPrefixed(limit: ObjectKey.maximumBucketBytes, "page"))
        default: throw MalformedBytes(.notCanonical, "page")
        }
        return PageRequest(
            operation: operation, partition: partition, copies: copies, subject: subject,
            after: try decodeCursor(from: &buffer))
    }

    private static func encode(_ outcome: PageOutcome, into buffer: inout ByteBuffer) {
        switch outcome {
        case .page(let items, let resume):
            precondition(items.count <= maximumPageItems, "a page of \(items.count) items")
            buffer.writeInteger(UInt8(0))
            buffer.writeVarint(UInt64(items.count))
            for item in items { buffer.writeLengthPrefixed(item) }
            encode(resume, into: &buffer)
        case .failed(let failure): buffer.writeMultipleIntegers(UInt8(1), failure.rawValue)
        }
    }

    private static func decodePageOutcome(from buffer: inout ByteBuffer) throws(MalformedBytes) -> PageOutcome {
        switch try buffer.readFixed(UInt8.self, "page outcome") {
        case 0:
            let count = try buffer.readCount(limit: maximumPageItems, "page outcome")
            var items: [ByteBuffer] = []
            for _ in 0..<count {
                items.append(try buffer.readLengthPrefixed(limit: ObjectKey.maximumKeyBytes, "page outcome"))
            }
            return .page(items: items, resume: try decodeCursor(from: &buffer))
        case 1: return .failed(try decodeFailure(from: &buffer))
        default: throw MalformedBytes(.notCanonical, "page outcome")
        }
    }

    static func encode(_ cursor: ByteBuffer?, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(cursor == nil ? 0 : 1))
        if let cursor { buffer.writeLengthPrefixed(cursor) }
    }

    static func decodeCursor(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ByteBuffer? {
        guard try buffer.readFlag("cursor") else { return nil }
        return try buffer.readLengthPrefixed(limit: maximumStorageKeyBytes, "cursor")
    }

    static func encode(_ bucket: BucketID, into buffer: inout ByteBuffer) {
        buffer.writeLengthPrefixed(bucket.type)
        buffer.writeLengthPrefixed(bucket.name)
    }

    static func decodeBucket(from buffer: inout ByteBuffer) throws(MalformedBytes) -> BucketID {
        let type = try buffer.readLengthPrefixed(limit: ObjectKey.maximumBucketBytes, "bucket")
        let name = try buffer.readLengthPrefixed(limit: ObjectKey.maximumBucketBytes, "bucket")
        // The default type is written as an empty one.
        guard type != BucketID.defaultTypeName else { throw MalformedBytes(.notCanonical, "bucket") }
        return BucketID(type: type, name: name)
    }
}

// MARK: Pieces

extension ByteBuffer {
    /// One byte, 0 or 1.
    mutating func readFlag(_ subject: StaticString) throws(MalformedBytes) -> Bool {
        switch try readFixed(UInt8.self, subject) {
        case 0: return false
        case 1: return true
        default: throw MalformedBytes(.notCanonical, subject)
        }
    }

    /// Whole nanoseconds; what is negative is written as zero, what is past 292 years as 292 years.
    mutating func writeDuration(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carried) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        writeVarint(seconds < 0 || attoseconds < 0 ? 0 : overflow || carried ? UInt64(Int64.max) : UInt64(sum))
    }

    mutating func readDuration(_ subject: StaticString) throws(MalformedBytes) -> Duration {
        let nanoseconds = try readVarint(subject)
        guard let value = Int64(exactly: nanoseconds) else { throw MalformedBytes(.overLimit, subject) }
        return .nanoseconds(value)
    }

    /// A count of something, never negative.
    mutating func writeNatural(_ value: Int) {
        precondition(value >= 0, "a count of \(value)")
        writeVarint(UInt64(value))
    }

    mutating func readNatural(_ subject: StaticString) throws(MalformedBytes) -> Int {
        guard let value = Int(exactly: try readVarint(subject)) else { throw MalformedBytes(.overLimit, subject) }
        return value
    }
}
