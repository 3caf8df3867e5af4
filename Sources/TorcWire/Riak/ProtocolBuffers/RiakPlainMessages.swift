// The messages of which nearly all traffic consists, read and written without swift-protobuf: gets, puts and their answers.
// Through the generated types reading a put and writing its answer took an eighth of a cluster's processor time, most of it for
// messages and `Data`s that were copied at once.
//
// A message is read here only when it is plain: every field is known, has the wire type that it should have, and is there
// once. Whatever else a client may send goes to swift-protobuf, which knows what it means; so there is one meaning, and
// this is the quicker way to it. A put with links, user metadata or indexes is not plain.

import NIOCore
import TorcModel

/// What a put says, whoever read it.
struct RiakPutFields: Hashable {
    var bucket = ByteBuffer()
    var type: ByteBuffer?
    var key: ByteBuffer?
    var vclock: ByteBuffer?
    var metadata = ContentMetadata()
    var value = ByteBuffer()
    var w: UInt32?
    var dw: UInt32?
    var pw: UInt32?
    var timeout: UInt32?
    var copies: UInt32?
    var nodeConfirms: UInt32?
    var sloppyQuorum: Bool?
    var returnBody = false
    var returnHead = false
    var ifNotModified = false
    var ifNoneMatch = false
}

/// What a get says, whoever read it.
struct RiakGetFields: Hashable {
    var bucket = ByteBuffer()
    var type: ByteBuffer?
    var key = ByteBuffer()
    var r: UInt32?
    var pr: UInt32?
    var timeout: UInt32?
    var copies: UInt32?
    var nodeConfirms: UInt32?
    var basicQuorum: Bool?
    var notFoundOK: Bool?
    var sloppyQuorum: Bool?
    var ifModified: ByteBuffer?
    var head = false
    var deletedClock = false
}

/// Reads the fields of one message, in whatever order they stand.
private struct PlainReader {
    private(set) var rest: ByteBuffer
    /// Fields that were read, by number.
    private var seen: UInt32 = 0
    private(set) var field: UInt64 = 0
    private var wireType: UInt64 = 0

    init(_ message: ByteBuffer) { rest = message }

    /// Goes to the next field, and says whether there is one; nil: the message is not plain.
    mutating func next() -> Bool? {
        if rest.readableBytes == 0 { return false }
        guard let tag = varint() else { return nil }
        field = tag >> 3
        wireType = tag & 7
        guard field < 32, seen & (1 << UInt32(field)) == 0 else { return nil }
        seen |= 1 << UInt32(field)
        return true
    }

    private mutating func varint() -> UInt64? {
        let (value, length) = rest.withUnsafeReadableBytes { bytes -> (UInt64, Int) in
            var value: UInt64 = 0
            for index in 0..<min(bytes.count, 9) {
                value |= UInt64(bytes[index] & 0x7f) << UInt64(7 * index)
                if bytes[index] < 0x80 { return (value, index + 1) }
            }
            return (0, 0)
        }
        // Ten bytes, as of a negative number: not here.
        guard length > 0 else { return nil }
        rest.moveReaderIndex(forwardBy: length)
        return value
    }

    mutating func bytes() -> ByteBuffer? {
        guard wireType == 2, let length = varint(), length <= UInt64(rest.readableBytes) else { return nil }
        return rest.readSlice(length: Int(length))
    }

    mutating func number() -> UInt32? {
        guard wireType == 0, let value = varint() else { return nil }
        return UInt32(exactly: value)
    }

    mutating func flag() -> Bool? {
        guard wireType == 0, let value = varint(), value < 2 else { return nil }
        return value == 1
    }
}

extension RiakPutFields {
    /// Nil: it is not plain.
    init?(plain message: ByteBuffer) {
        var reader = PlainReader(message)
        var hasBucket = false
        var hasContent = false
        while true {
            guard let isThere = reader.next() else { return nil }
            if !isThere { break }
            switch reader.field {
            case 1:
                guard let bytes = reader.bytes() else { return nil }
                bucket = bytes
                hasBucket = true
            case 2:
                guard let bytes = reader.bytes() else { return nil }
                key = bytes
            case 3:
                guard let bytes = reader.bytes() else { return nil }
                vclock = bytes
            case 4:
                guard let bytes = reader.bytes(), readContent(bytes) else { return nil }
                hasContent = true
            case 5, 6, 8, 12, 15, 17:
                guard let number = reader.number() else { return nil }
                switch reader.field {
                case 5: w = number
                case 6: dw = number
                case 8: pw = number
                case 12: timeout = number
                case 15: copies = number
                default: nodeConfirms = number
                }
            case 7, 9, 10, 11, 14:
                guard let flag = reader.flag() else { return nil }
                switch reader.field {
                case 7: returnBody = flag
                case 9: ifNotModified = flag
                case 10: ifNoneMatch = flag
                case 11: returnHead = flag
                default: sloppyQuorum = flag
                }
            case 16:
                guard let bytes = reader.bytes() else { return nil }
                type = bytes
            default: return nil
            }
        }
        guard hasBucket, hasContent else { return nil }
    }

    /// False: it is not plain.
    private mutating func readContent(_ message: ByteBuffer) -> Bool {
        var reader = PlainReader(message)
        var hasValue = false
        while true {
            guard let isThere = reader.next() else { return false }
            if !isThere { return hasValue }
            guard let bytes = reader.bytes() else { return false }
            switch reader.field {
            case 1:
                // A copy: what the socket brought with it goes.
                value = ByteBuffer(bytes: bytes.readableBytesView)
                hasValue = true
            case 2: metadata.contentType = bytes
            case 3: metadata.charset = bytes
            case 4: metadata.contentEncoding = bytes
            default: return false
            }
        }
    }
}

extension RiakGetFields {
    /// Nil: it is not plain.
    init?(plain message: ByteBuffer) {
        var reader = PlainReader(message)
        var named = (bucket: false, key: false)
        while true {
            guard let isThere = reader.next() else { return nil }
            if !isThere { break }
            switch reader.field {
            case 1:
                guard let bytes = reader.bytes() else { return nil }
                bucket = bytes
                named.bucket = true
            case 2:
                guard let bytes = reader.bytes() else { return nil }
                key = bytes
                named.key = true
            case 3, 4, 10, 12, 14:
                guard let number = reader.number() else { return nil }
                switch reader.field {
                case 3: r = number
                case 4: pr = number
                case 10: timeout = number
                case 12: copies = number
                default: nodeConfirms = number
                }
            case 5, 6, 8, 9, 11:
                guard let flag = reader.flag() else { return nil }
                switch reader.field {
                case 5: basicQuorum = flag
                case 6: notFoundOK = flag
                case 8: head = flag
                case 9: deletedClock = flag
                default: sloppyQuorum = flag
                }
            case 7:
                guard let bytes = reader.bytes() else { return nil }
                ifModified = bytes
            case 13:
                guard let bytes = reader.bytes() else { return nil }
                type = bytes
            default: return nil
            }
        }
        guard named.bucket, named.key else { return nil }
    }
}

// MARK: Answers

/// An answer with an object: `content` once a sibling, `vclock`, and the key that the node has made.
struct RiakObjectAnswer {
    var siblings: [RiakSibling]
    var vclock: ByteBuffer
    var madeKey: ByteBuffer?

    private static let contentField: UInt8 = 1
    private static let vclockField: UInt8 = 2
    private static let keyField: UInt8 = 3

    /// Both `RpbPutResp` and, without a key, `RpbGetResp`. Nil: it is beyond what a message may be.
    var encoded: ByteBuffer? {
        let total =
            siblings.reduce(0) { $0 + PlainWriter.bytes(ofFieldOf: $1.bytes) }
            + PlainWriter.bytes(ofFieldOf: vclock.readableBytes)
            + (madeKey.map { PlainWriter.bytes(ofFieldOf: $0.readableBytes) } ?? 0)
        guard total <= PlainWriter.maximumMessageBytes else { return nil }
        var body = ByteBuffer()
        body.reserveCapacity(total)
        for sibling in siblings {
            PlainWriter.writeHead(Self.contentField, length: sibling.bytes, into: &body)
            sibling.encode(into: &body)
        }
        PlainWriter.write(Self.vclockField, vclock, into: &body)
        if let madeKey { PlainWriter.write(Self.keyField, madeKey, into: &body) }
        return body
    }
}

/// One version, as `RpbContent` has it.
struct RiakSibling {
    var value: ByteBuffer
    var metadata: ContentMetadata
    var tag: String
    var seconds: UInt32
    var microseconds: UInt32
    var isDeleted: Bool

    fileprivate var bytes: Int {
        var count = PlainWriter.bytes(ofFieldOf: value.readableBytes)
        for text in [metadata.contentType, metadata.charset, metadata.contentEncoding] where text.readableBytes > 0 {
            count += PlainWriter.bytes(ofFieldOf: text.readableBytes)
        }
        count += PlainWriter.bytes(ofFieldOf: tag.utf8.count)
        for link in metadata.links { count += PlainWriter.bytes(ofFieldOf: Self.bytes(of: link)) }
        count += 1 + PlainWriter.bytes(of: UInt64(seconds)) + 1 + PlainWriter.bytes(of: UInt64(microseconds))
        for pair in metadata.userMetadata { count += PlainWriter.bytes(ofFieldOf: Self.bytes(of: pair)) }
        for pair in metadata.indexes { count += PlainWriter.bytes(ofFieldOf: Self.bytes(of: pair)) }
        return count + (isDeleted ? 2 : 0)
    }

    private static func bytes(of link: ContentMetadata.Link) -> Int {
        PlainWriter.bytes(ofFieldOf: link.bucket.readableBytes) + PlainWriter.bytes(ofFieldOf: link.key.readableBytes)
            + PlainWriter.bytes(ofFieldOf: link.tag.readableBytes)
    }

    private static func bytes(of pair: ContentMetadata.Pair) -> Int {
        PlainWriter.bytes(ofFieldOf: pair.name.readableBytes) + PlainWriter.bytes(ofFieldOf: pair.value.readableBytes)
    }

    fileprivate func encode(into body: inout ByteBuffer) {
        PlainWriter.write(1, value, into: &body)
        if metadata.contentType.readableBytes > 0 { PlainWriter.write(2, metadata.contentType, into: &body) }
        if metadata.charset.readableBytes > 0 { PlainWriter.write(3, metadata.charset, into: &body) }
        if metadata.contentEncoding.readableBytes > 0 { PlainWriter.write(4, metadata.contentEncoding, into: &body) }
        PlainWriter.writeHead(5, length: tag.utf8.count, into: &body)
        body.writeString(tag)
        for link in metadata.links {
            PlainWriter.writeHead(6, length: Self.bytes(of: link), into: &body)
            PlainWriter.write(1, link.bucket, into: &body)
            PlainWriter.write(2, link.key, into: &body)
            PlainWriter.write(3, link.tag, into: &body)
        }
        PlainWriter.write(7, UInt64(seconds), into: &body)
        PlainWriter.write(8, UInt64(microseconds), into: &body)
        for (field, pairs) in [(UInt8(9), metadata.userMetadata), (10, metadata.indexes)] {
            for pair in pairs {
                PlainWriter.writeHead(field, length: Self.bytes(of: pair), into: &body)
                PlainWriter.write(1, pair.name, into: &body)
                PlainWriter.write(2, pair.value, into: &body)
            }
        }
        if isDeleted { PlainWriter.write(11, 1, into: &body) }
    }
}

/// Fields below 16, whose tags are one byte.
private enum PlainWriter {
    /// What protocol buffers allow.
    static let maximumMessageBytes = Int(Int32.max)

    static func bytes(of value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }
    static func bytes(ofFieldOf length: Int) -> Int { 1 + bytes(of: UInt64(length)) + length }

    static func writeHead(_ field: UInt8, length: Int, into body: inout ByteBuffer) {
        body.writeInteger(field << 3 | 2)
        body.writeVarint(UInt64(length))
    }

    static func write(_ field: UInt8, _ bytes: ByteBuffer, into body: inout ByteBuffer) {
        writeHead(field, length: bytes.readableBytes, into: &body)
        body.writeImmutableBuffer(bytes)
    }

    static func write(_ field: UInt8, _ value: UInt64, into body: inout ByteBuffer) {
        body.writeInteger(field << 3)
        body.writeVarint(value)
    }
}
