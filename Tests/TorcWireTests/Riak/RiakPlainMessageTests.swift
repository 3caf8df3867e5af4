// Gets and puts are read in two ways: by hand when they are plain, by swift-protobuf otherwise. Both must mean the same. A field
// that nobody knows, put before a message, says nothing and leaves it to swift-protobuf.

import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

private let decoder = RiakRequestDecoder(clusterKey: testKey)

/// What came out, or what the client is told.
private enum Reading: Hashable {
    case request(RiakRequest)
    case refused(RiakRequestError)

    init(_ code: RiakMessageCode, _ body: ByteBuffer) {
        do {
            self = .request(try decoder.decode(RiakFrame(code, body: body), keyEntropy: testEntropy))
        } catch {
            self = .refused(error)
        }
    }
}

/// Field 31, a number.
private let unknownField: [UInt8] = [0xf8, 0x01, 0x07]

private func slowly(_ code: RiakMessageCode, _ body: ByteBuffer) -> Reading {
    var longer = ByteBuffer(bytes: unknownField)
    longer.writeImmutableBuffer(body)
    return Reading(code, longer)
}

private struct MessageMaker {
    var generator: SeededGenerator

    mutating func chance(_ part: Int) -> Bool { Int.random(in: 0..<part, using: &generator) == 0 }

    mutating func bytes(upTo limit: Int) -> ByteBuffer {
        ByteBuffer(
            bytes: (0..<Int.random(in: 0...limit, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            })
    }

    static func write(_ field: UInt64, _ bytes: ByteBuffer, into body: inout ByteBuffer) {
        body.writeVarint(field << 3 | 2)
        body.writeVarint(UInt64(bytes.readableBytes))
        body.writeImmutableBuffer(bytes)
    }

    static func write(_ field: UInt64, _ value: UInt64, into body: inout ByteBuffer) {
        body.writeVarint(field << 3)
        body.writeVarint(value)
    }

    mutating func number() -> UInt64 {
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: .random(in: 0...5, using: &generator)
        case 1: .random(in: 4_294_967_290...4_294_967_300, using: &generator)
        case 2: .random(in: 0...1, using: &generator)
        default: .random(in: 0...(.max), using: &generator)
        }
    }

    /// Fields of a put or a get in any order; seldom one is missing, there twice, or unknown.
    mutating func message(_ strings: [UInt64], _ required: [UInt64], _ numbers: [UInt64], content: UInt64?)
        -> ByteBuffer
    {
        var fields: [ByteBuffer] = []
        func text(_ field: UInt64, _ bytes: ByteBuffer) -> ByteBuffer {
            var body = ByteBuffer()
            Self.write(field, bytes, into: &body)
            return body
        }
        for field in required where !chance(20) { fields.append(text(field, bytes(upTo: 6))) }
        for field in strings where chance(3) { fields.append(text(field, chance(2) ? ByteBuffer() : bytes(upTo: 40))) }
        for field in numbers where chance(3) {
            var body = ByteBuffer()
            Self.write(field, number(), into: &body)
            fields.append(body)
        }
        if let content, !chance(20) {
            var inner = ByteBuffer()
            for field in [1, 2, 3, 4, 5] as [UInt64] where field == 1 ? !chance(20) : chance(6) {
                Self.write(field, bytes(upTo: 30), into: &inner)
            }
            if chance(10) { Self.write(7, 5, into: &inner) }
            fields.append(text(content, inner))
            if chance(20) { fields.append(text(content, inner)) }
        }
        if chance(10), let again = fields.randomElement(using: &generator) { fields.append(again) }
        fields.shuffle(using: &generator)
        var body = ByteBuffer()
        for field in fields { body.writeImmutableBuffer(field) }
        return body
    }

    mutating func put() -> ByteBuffer {
        message([2, 3, 16], [1], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17], content: 4)
    }

    mutating func get() -> ByteBuffer { message([7, 13], [1, 2], [3, 4, 5, 6, 8, 9, 10, 11, 12, 14], content: nil) }

    /// Some bytes changed.
    mutating func damaged(_ body: ByteBuffer) -> ByteBuffer {
        var body = body
        for _ in 0..<Int.random(in: 1...3, using: &generator) where body.readableBytes > 0 {
            let index = body.readerIndex + Int.random(in: 0..<body.readableBytes, using: &generator)
            body.setInteger(UInt8.random(in: 0...255, using: &generator), at: index)
        }
        return body
    }
}

@Suite struct RiakPlainMessageTests {
    private static let rounds = 4_000

    @Test func bothReadersMeanTheSame() {
        var maker = MessageMaker(generator: SeededGenerator(seed: 20_261))
        var requests = 0
        for round in 0..<Self.rounds {
            for (code, body) in [(RiakMessageCode.putRequest, maker.put()), (.getRequest, maker.get())] {
                let reading = Reading(code, body)
                #expect(reading == slowly(code, body), "round \(round): \(code) \(Array(body.readableBytesView))")
                if case .request = reading { requests += 1 }
                let damaged = maker.damaged(body)
                #expect(
                    Reading(code, damaged) == slowly(code, damaged),
                    "round \(round): damaged \(code) \(Array(damaged.readableBytesView))")
            }
        }
        // Most were sound, or little would have been compared.
        #expect(requests > Self.rounds / 2)
    }

    @Test func aMessageThatEndsTooEarlyIsNone() {
        var maker = MessageMaker(generator: SeededGenerator(seed: 20_262))
        for _ in 0..<200 {
            let body = maker.put()
            for length in 0..<body.readableBytes {
                let part = body.getSlice(at: body.readerIndex, length: length)!
                #expect(Reading(.putRequest, part) == slowly(.putRequest, part))
            }
        }
    }

    @Test func aValueDoesNotKeepWhatCameWithIt() throws {
        var content = ByteBuffer()
        MessageMaker.write(1, ByteBuffer(string: "v"), into: &content)
        var body = ByteBuffer()
        MessageMaker.write(1, ByteBuffer(string: "b"), into: &body)
        MessageMaker.write(2, ByteBuffer(string: "k"), into: &body)
        MessageMaker.write(4, content, into: &body)
        body.reserveCapacity(1 << 20)
        guard case .request(.object(let object)) = Reading(.putRequest, body), case .put(let put) = object.request
        else {
            Issue.record("not a put")
            return
        }
        #expect(put.value == ByteBuffer(string: "v"))
        #expect(put.value.storageCapacity < 1 << 10)
        #expect(put.metadata.storageCapacity < 1 << 10)
        #expect(put.key.storageKey.storageCapacity < 1 << 10)
    }
}
