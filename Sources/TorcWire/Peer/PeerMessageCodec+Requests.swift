// The parts of `PeerMessageCodec` that carry a client's request to the node that coordinates it, and the
// answer back.

import NIOCore
import TorcModel
import TorcReplication

extension PeerMessageCodec {
    /// Of the text in a refusal: the name of a quorum.
    private static let maximumNameBytes = 64

    static func encode(_ request: ClientRequest, into buffer: inout ByteBuffer) {
        switch request {
        case .get(let get): encode(get, into: &buffer)
        case .put(let put): encode(put, into: &buffer)
        case .delete(let delete):
            buffer.writeMultipleIntegers(UInt8(2), UInt8(delete.context == nil ? 0 : 1))
            buffer.writeLengthPrefixed(delete.key.storageKey)
            delete.context?.encode(into: &buffer)
            encode(delete.options, into: &buffer)
        }
    }

    static func decodeRequest(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ClientRequest {
        switch try buffer.readFixed(UInt8.self, "request") {
        case 0: return .get(try decodeGet(from: &buffer))
        case 1: return .put(try decodePut(from: &buffer))
        case 2:
            let hasContext = try buffer.readFlag("delete")
            var delete = DeleteRequest(key: try decodeKey(from: &buffer))
            if hasContext { delete.context = try CausalContext(decoding: &buffer) }
            delete.options = try decodeOptions(from: &buffer)
            return .delete(delete)
        default: throw MalformedBytes(.notCanonical, "request")
        }
    }

    private enum GetFlag {
        static let headOnly: UInt8 = 1
        static let unlessClock: UInt8 = 2
        static let all: UInt8 = 3
    }

    private static func encode(_ get: GetRequest, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt8(0),
            (get.headOnly ? GetFlag.headOnly : 0) | (get.unlessClock != nil ? GetFlag.unlessClock : 0))
        buffer.writeLengthPrefixed(get.key.storageKey)
        get.unlessClock?.encode(into: &buffer)
        encode(get.options, into: &buffer)
    }

    private static func decodeGet(from buffer: inout ByteBuffer) throws(MalformedBytes) -> GetRequest {
        let flags = try buffer.readFixed(UInt8.self, "get")
        guard flags & ~GetFlag.all == 0 else { throw MalformedBytes(.notCanonical, "get") }
        var get = GetRequest(key: try decodeKey(from: &buffer))
        get.headOnly = flags & GetFlag.headOnly != 0
        if flags & GetFlag.unlessClock != 0 { get.unlessClock = try VersionVector(decoding: &buffer) }
        get.options = try decodeOptions(from: &buffer)
        return get
    }

    private enum PutFlag {
        static let context: UInt8 = 1
        static let expiry: UInt8 = 2
        static let writeID: UInt8 = 4
        static let ifNoneMatch: UInt8 = 8
        static let ifNotModified: UInt8 = 16
        static let all: UInt8 = 31
    }

    private static func encode(_ put: PutRequest, into buffer: inout ByteBuffer) {
        buffer.reserveCapacity(
            minimumWritableBytes: 64 + put.key.storageKey.readableBytes + put.metadata.readableBytes
                + put.value.readableBytes)
        let condition: UInt8 =
            switch put.condition {
            case nil: 0
            case .ifNoneMatch: PutFlag.ifNoneMatch
            case .ifNotModified: PutFlag.ifNotModified
            }
        buffer.writeMultipleIntegers(
            UInt8(1),
            (put.context != nil ? PutFlag.context : 0) | (put.expiry != nil ? PutFlag.expiry : 0)
                | (put.writeID != nil ? PutFlag.writeID : 0) | condition,
            put.returnedBody.rawValue)
        buffer.writeLengthPrefixed(put.key.storageKey)
        put.context?.encode(into: &buffer)
        if let expiry = put.expiry { buffer.writeVarint(expiry.microseconds) }
        if let writeID = put.writeID { buffer.writeMultipleIntegers(writeID.high, writeID.low) }
        if case .ifNotModified(let clock) = put.condition { clock.encode(into: &buffer) }
        encode(put.options, into: &buffer)
        buffer.writeLengthPrefixed(put.metadata)
        buffer.writeLengthPrefixed(put.value)
    }

    private static func decodePut(from buffer: inout ByteBuffer) throws(MalformedBytes) -> PutRequest {
        let flags = try buffer.readFixed(UInt8.self, "put")
        guard let returned = ReturnedBody(rawValue: try buffer.readFixed(UInt8.self, "put")),
            flags & ~PutFlag.all == 0,
            flags & (PutFlag.ifNoneMatch | PutFlag.ifNotModified) != PutFlag.ifNoneMatch | PutFlag.ifNotModified
        else { throw MalformedBytes(.notCanonical, "put") }
        var put = PutRequest(key: try decodeKey(from: &buffer), metadata: ByteBuffer(), value: ByteBuffer())
        put.returnedBody = returned
        if flags & PutFlag.context != 0 { put.context = try CausalContext(decoding: &buffer) }
        if flags & PutFlag.expiry != 0 { put.expiry = WallTime(microseconds: try buffer.readVarint("put")) }
        if flags & PutFlag.writeID != 0 {
            put.writeID = WriteID(
                high: try buffer.readFixed(UInt64.self, "put"), low: try buffer.readFixed(UInt64.self, "put"))
        }
        if flags & PutFlag.ifNoneMatch != 0 { put.condition = .ifNoneMatch }
        if flags & PutFlag.ifNotModified != 0 { put.condition = .ifNotModified(try VersionVector(decoding: &buffer)) }
        put.options = try decodeOptions(from: &buffer)
        put.metadata = try buffer.readLengthPrefixed("put")
        put.value = try buffer.readLengthPrefixed("put")
        return put
    }

    // MARK: Options

    /// One bit for each option that is given; those that are yes or no have a second bit for which.
    private enum OptionFlag {
        static let r: UInt16 = 1
        static let w: UInt16 = 1 << 1
        static let pr: UInt16 = 1 << 2
        static let pw: UInt16 = 1 << 3
        static let dw: UInt16 = 1 << 4
        static let rw: UInt16 = 1 << 5
        static let nodeConfirms: UInt16 = 1 << 6
        static let n: UInt16 = 1 << 7
        static let notFoundOK: UInt16 = 1 << 8
        static let basicQuorum: UInt16 = 1 << 10
        static let sloppyQuorum: UInt16 = 1 << 12
        static let all: UInt16 = 1 << 14 - 1
    }

    private static func encode(_ options: QuorumOptions, into buffer: inout ByteBuffer) {
        func given(_ value: Bool?, _ flag: UInt16) -> UInt16 {
            switch value {
            case nil: 0
            case false: flag
            case true: flag | flag << 1
            }
        }
        var flags: UInt16 = 0
        if options.r != nil { flags |= OptionFlag.r }
        if options.w != nil { flags |= OptionFlag.w }
        if options.pr != nil { flags |= OptionFlag.pr }
        if options.pw != nil { flags |= OptionFlag.pw }
        if options.dw != nil { flags |= OptionFlag.dw }
        if options.rw != nil { flags |= OptionFlag.rw }
        if options.nodeConfirms != nil { flags |= OptionFlag.nodeConfirms }
        if options.n != nil { flags |= OptionFlag.n }
        flags |= given(options.notFoundOK, OptionFlag.notFoundOK)
        flags |= given(options.basicQuorum, OptionFlag.basicQuorum)
        flags |= given(options.sloppyQuorum, OptionFlag.sloppyQuorum)
        buffer.writeInteger(flags)
        options.r?.encode(into: &buffer)
        options.w?.encode(into: &buffer)
        options.pr?.encode(into: &buffer)
        options.pw?.encode(into: &buffer)
        options.dw?.encode(into: &buffer)
        options.rw?.encode(into: &buffer)
        if let confirms = options.nodeConfirms { buffer.writeInteger(confirms) }
        if let n = options.n { buffer.writeInteger(n) }
    }

    private static func decodeOptions(from buffer: inout ByteBuffer) throws(MalformedBytes) -> QuorumOptions {
        let flags = try buffer.readFixed(UInt16.self, "options")
        guard flags & ~OptionFlag.all == 0 else { throw MalformedBytes(.notCanonical, "options") }
        func given(_ flag: UInt16) throws(MalformedBytes) -> Bool? {
            switch (flags & flag != 0, flags & flag << 1 != 0) {
            case (false, false): return nil
            case (true, let value): return value
            case (false, true): throw MalformedBytes(.notCanonical, "options")
            }
        }
        var options = QuorumOptions()
        if flags & OptionFlag.r != 0 { options.r = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.w != 0 { options.w = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.pr != 0 { options.pr = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.pw != 0 { options.pw = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.dw != 0 { options.dw = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.rw != 0 { options.rw = try Quorum(decoding: &buffer) }
        if flags & OptionFlag.nodeConfirms != 0 { options.nodeConfirms = try buffer.readFixed(UInt8.self, "options") }
        if flags & OptionFlag.n != 0 { options.n = try buffer.readFixed(UInt8.self, "options") }
        options.notFoundOK = try given(OptionFlag.notFoundOK)
        options.basicQuorum = try given(OptionFlag.basicQuorum)
        options.sloppyQuorum = try given(OptionFlag.sloppyQuorum)
        return options
    }

    // MARK: Answers

    static func encode(_ answer: WriteAnswer, into buffer: inout ByteBuffer) {
        switch answer {
        case .ok(let participation, let object):
            buffer.writeMultipleIntegers(UInt8(0), UInt8(object == nil ? 0 : 1))
            buffer.writeNatural(participation.primaries)
            buffer.writeNatural(participation.fallbacks)
            if let object { encode(object, into: &buffer) }
        case .refused(let refusal):
            buffer.writeInteger(UInt8(1))
            encode(refusal, into: &buffer)
        case .indeterminate(let copies, let needed):
            buffer.writeInteger(UInt8(2))
            buffer.writeNatural(copies)
            buffer.writeNatural(needed)
        }
    }

    static func decodeWriteAnswer(from buffer: inout ByteBuffer) throws(MalformedBytes) -> WriteAnswer {
        switch try buffer.readFixed(UInt8.self, "answer") {
        case 0:
            let hasObject = try buffer.readFlag("answer")
            let participation = Participation(
                primaries: try buffer.readNatural("answer"), fallbacks: try buffer.readNatural("answer"))
            return .ok(participation, hasObject ? try decodeClientObject(from: &buffer) : nil)
        case 1: return .refused(try decodeRefusal(from: &buffer))
        case 2:
            return .indeterminate(copies: try buffer.readNatural("answer"), needed: try buffer.readNatural("answer"))
        default: throw MalformedBytes(.notCanonical, "answer")
        }
    }

    private static func encode(_ object: ClientObject, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(object.headOnly ? 1 : 0))
        object.context.encode(into: &buffer)
        buffer.writeVarint(UInt64(object.siblings.count))
        for sibling in object.siblings { sibling.encode(into: &buffer) }
    }

    private static func decodeClientObject(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ClientObject {
        let headOnly = try buffer.readFlag("object")
        let context = try CausalContext(decoding: &buffer)
        let count = try buffer.readCount("object")
        var siblings: [Sibling] = []
        for _ in 0..<count { siblings.append(try Sibling(decoding: &buffer)) }
        return ClientObject(siblings: siblings, context: context, headOnly: headOnly)
    }

    private static func encode(_ refusal: Refusal, into buffer: inout ByteBuffer) {
        func write(_ code: UInt8, _ numbers: Int...) {
            buffer.writeInteger(code)
            for number in numbers { buffer.writeNatural(number) }
        }
        switch refusal {
        case .matchFound: write(0)
        case .modified: write(1)
        case .notFound: write(2)
        case .invalidQuorum(let name, let asked, let n):
            precondition(name.utf8.count <= maximumNameBytes, "a quorum named \(name)")
            write(3, asked, n)
            buffer.writeLengthPrefixed(ByteBuffer(string: name))
        case .objectTooLarge(let bytes, let limit): write(4, bytes, limit)
        case .tooManySiblings(let count, let limit): write(5, count, limit)
        case .siblingsTooLarge(let bytes, let limit): write(6, bytes, limit)
        case .clockTooFarBehind: write(7)
        case .overloaded: write(8)
        case .unreachable(let needed, let reachable): write(9, needed, reachable)
        case .unreadable: write(10)
        case .shuttingDown: write(11)
        case .diskFull: write(12)
        }
    }

    private static func decodeRefusal(from buffer: inout ByteBuffer) throws(MalformedBytes) -> Refusal {
        switch try buffer.readFixed(UInt8.self, "refusal") {
        case 0: return .matchFound
        case 1: return .modified
        case 2: return .notFound
        case 3:
            let asked = try buffer.readNatural("refusal")
            let n = try buffer.readNatural("refusal")
            let bytes = try buffer.readLengthPrefixed(limit: maximumNameBytes, "refusal")
            guard let name = String(validating: bytes.readableBytesView, as: UTF8.self) else {
                throw MalformedBytes(.notCanonical, "refusal")
            }
            return .invalidQuorum(name: name, asked: asked, n: n)
        case 4:
            return .objectTooLarge(bytes: try buffer.readNatural("refusal"), limit: try buffer.readNatural("refusal"))
        case 5:
            return .tooManySiblings(count: try buffer.readNatural("refusal"), limit: try buffer.readNatural("refusal"))
        case 6:
            return .siblingsTooLarge(bytes: try buffer.readNatural("refusal"), limit: try buffer.readNatural("refusal"))
        case 7: return .clockTooFarBehind
        case 8: return .overloaded
        case 9:
            return .unreachable(
                needed: try buffer.readNatural("refusal"), reachable: try buffer.readNatural("refusal"))
        case 10: return .unreadable
        case 11: return .shuttingDown
        case 12: return .diskFull
        default: throw MalformedBytes(.notCanonical, "refusal")
        }
    }
}

extension Quorum {
    /// A word in one byte, a number in two: what a client asks for may be any number, and is judged later.
    fileprivate func encode(into buffer: inout ByteBuffer) {
        switch self {
        case .count(let count): buffer.writeMultipleIntegers(UInt8(0), count)
        case .one: buffer.writeInteger(UInt8(1))
        case .quorum: buffer.writeInteger(UInt8(2))
        case .all: buffer.writeInteger(UInt8(3))
        }
    }

    fileprivate init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        switch try buffer.readFixed(UInt8.self, "quorum") {
        case 0: self = .count(try buffer.readFixed(UInt8.self, "quorum"))
        case 1: self = .one
        case 2: self = .quorum
        case 3: self = .all
        default: throw MalformedBytes(.notCanonical, "quorum")
        }
    }
}
