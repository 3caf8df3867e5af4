// Bytes from a disk or a socket. Each decoder is held to three rules: it gives back what was encoded; it takes
// one spelling only, so what decodes encodes to the same bytes; and hostile bytes end in an error, not a trap.

import NIOCore
import Testing
import TorcModel

@Suite struct EncodingTests {
    static let key = ObjectKey(bucket: BucketID(name: ByteBuffer(string: "users")), key: ByteBuffer(string: "alice"))

    /// A decoder, seen as: bytes in, the bytes that the decoded value encodes to out.
    struct Codec: CustomTestStringConvertible, Sendable {
        var name: String
        var samples: @Sendable (inout SeededGenerator) -> ByteBuffer
        var recode: @Sendable (ByteBuffer) throws -> ByteBuffer

        var testDescription: String { name }
    }

    static func string(_ generator: inout SeededGenerator, atMost: Int = 12) -> ByteBuffer {
        ByteBuffer(
            bytes: (0..<Int.random(in: 0...atMost, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            })
    }

    static func history(_ generator: inout SeededGenerator) -> VersionedObject {
        var history = History(mode: generator.next() % 2 == 0 ? .siblings : .lww, replicas: 3, seed: generator.next())
        history.put(at: 0)
        history.run(steps: Int.random(in: 0...25, using: &generator))
        // Only what was written is ever encoded.
        return history.past.filter { !$0.object.clock.isEmpty }.randomElement(using: &generator)!.object
    }

    static func metadata(_ generator: inout SeededGenerator) -> ContentMetadata {
        var metadata = ContentMetadata()
        if generator.next() % 4 > 0 { metadata.contentType = string(&generator) }
        if generator.next() % 4 == 0 { metadata.charset = string(&generator) }
        if generator.next() % 4 == 0 { metadata.contentEncoding = string(&generator) }
        for _ in 0..<(generator.next() % 3) {
            metadata.links.append(
                .init(bucket: string(&generator), key: string(&generator), tag: string(&generator)))
        }
        for _ in 0..<(generator.next() % 3) {
            metadata.userMetadata.append(.init(name: string(&generator), value: string(&generator)))
        }
        for _ in 0..<(generator.next() % 3) {
            metadata.indexes.append(.init(name: string(&generator), value: string(&generator)))
        }
        return metadata
    }

    static let codecs: [Codec] = [
        Codec(name: "varint") { generator in
            var buffer = ByteBuffer()
            buffer.writeVarint(generator.next() >> (generator.next() % 64))
            return buffer
        } recode: { bytes in
            var reader = bytes
            var result = ByteBuffer()
            result.writeVarint(try reader.readVarint("varint"))
            try reader.requireEmpty("varint")
            return result
        },
        Codec(name: "version vector") { generator in
            var buffer = ByteBuffer()
            history(&generator).clock.encode(into: &buffer)
            return buffer
        } recode: { bytes in
            var reader = bytes
            var result = ByteBuffer()
            try VersionVector(decoding: &reader).encode(into: &result)
            try reader.requireEmpty("version vector")
            return result
        },
        Codec(name: "object") {
            history(&$0).encoded
        } recode: {
            try VersionedObject(decoding: $0).encoded
        },
        Codec(name: "context") { generator in
            var buffer = ByteBuffer()
            CausalContext(of: history(&generator)).encode(into: &buffer)
            return buffer
        } recode: { bytes in
            var reader = bytes
            var result = ByteBuffer()
            try CausalContext(decoding: &reader).encode(into: &result)
            try reader.requireEmpty("context")
            return result
        },
        Codec(name: "metadata") {
            metadata(&$0).encoded
        } recode: {
            try ContentMetadata(decoding: $0).encoded
        },
        Codec(name: "object key") { generator in
            var name = string(&generator, atMost: 200)
            name.writeInteger(UInt8(1))
            var key = string(&generator)
            key.writeInteger(UInt8(2))
            return ObjectKey(bucket: BucketID(type: string(&generator), name: name), key: key).storageKey
        } recode: { bytes in
            let key = try ObjectKey(storageKey: bytes)
            return ObjectKey(bucket: key.bucket, key: key.key).storageKey
        },
        Codec(name: "record") { generator in
            let minting = LocalHeader.MintingActor(
                actor: Actor(node: NodeID(rawValue: 7), using: &generator),
                incarnation: Incarnation(rawValue: generator.next()), counter: 1 + generator.next() % 1_000)
            let header = LocalHeader(
                copies: UInt8.random(in: 1...7, using: &generator), minting: generator.next() % 2 == 0 ? minting : nil)
            return Record(header: header, body: history(&generator).encoded).encoded(for: key)
        } recode: { bytes in
            let record = try Record(decoding: bytes, for: key)
            return Record(header: record.header, body: try record.object().encoded).encoded(for: key)
        },
    ]

    @Test(arguments: codecs)
    func whatWasEncodedComesBack(codec: Codec) throws {
        for seed in 1...150 as ClosedRange<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let bytes = codec.samples(&generator)
            #expect(try codec.recode(bytes) == bytes, "seed \(seed)")
            // A slice of something larger decodes alike: nothing counts from index zero.
            var larger = ByteBuffer(string: "before")
            larger.writeImmutableBuffer(bytes)
            larger.writeString("after")
            #expect(try codec.recode(larger.getSlice(at: 6, length: bytes.readableBytes)!) == bytes, "seed \(seed)")
            larger.moveReaderIndex(to: 6)
            #expect(try codec.recode(larger.readSlice(length: bytes.readableBytes)!) == bytes, "seed \(seed)")
        }
    }

    @Test(arguments: codecs)
    func everyOtherSpellingIsRefused(codec: Codec) throws {
        var decoded = 0
        for seed in 1...60 as ClosedRange<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let bytes = Array(codec.samples(&generator).readableBytesView)
            for _ in 0..<60 {
                let hostile = Self.altered(bytes, &generator)
                // An alteration may make another valid value; then these are its bytes, and no other's.
                guard let again = try? codec.recode(ByteBuffer(bytes: hostile)) else { continue }
                decoded += 1
                #expect(Array(again.readableBytesView) == hostile, "seed \(seed): \(hostile)")
            }
            for length in bytes.indices {
                guard let again = try? codec.recode(ByteBuffer(bytes: bytes.prefix(length))) else { continue }
                #expect(Array(again.readableBytesView) == Array(bytes.prefix(length)), "seed \(seed)")
            }
        }
        // Were everything refused, nothing would have been tested. What carries a hash of itself does refuse all.
        if codec.name != "record" && codec.name != "object key" { #expect(decoded > 0) }
    }

    static func altered(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
        var result = bytes
        for _ in 0...(generator.next() % 3) {
            let index = Int.random(in: 0...result.count, using: &generator)
            // Bytes that mean something to a decoder: continuation bits, limits, small counts.
            let byte = [0, 1, 2, 0x7f, 0x80, 0x81, 0xff, UInt8.random(in: 0...255, using: &generator)]
                .randomElement(using: &generator)!
            switch generator.next() % 5 {
            case 0: result.insert(byte, at: index)
            case 1 where index < result.count: result.remove(at: index)
            case 2 where index < result.count: result[index] ^= 1 << UInt8(generator.next() % 8)
            case 3 where index < result.count: result[index] = byte
            default: result.append(byte)
            }
        }
        return result
    }

    @Test(arguments: codecs)
    func randomBytesTrapNowhere(codec: Codec) {
        var generator = SeededGenerator(seed: 77)
        for _ in 0..<5_000 {
            let bytes = Self.string(&generator, atMost: 40)
            if let again = try? codec.recode(bytes) { #expect(again == bytes) }
        }
    }

    @Test func varintsHaveOneSpelling() throws {
        let spellings: [(UInt64, [UInt8])] = [
            (0, [0]), (1, [1]), (127, [0x7f]), (128, [0x80, 0x01]), (300, [0xac, 0x02]), (16_383, [0xff, 0x7f]),
            (16_384, [0x80, 0x80, 0x01]), (1 << 63, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
            (.max, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ]
        for (value, bytes) in spellings {
            var buffer = ByteBuffer()
            #expect(buffer.writeVarint(value) == bytes.count)
            #expect(Array(buffer.readableBytesView) == bytes)
            #expect(try buffer.readVarint("test") == value)
            #expect(buffer.readableBytes == 0)
        }
        func reason(_ bytes: [UInt8]) -> MalformedBytes.Reason? {
            var buffer = ByteBuffer(bytes: bytes)
            do throws(MalformedBytes) {
                _ = try buffer.readVarint("test")
                return nil
            } catch {
                // A refused integer is not consumed.
                return buffer.readableBytes == bytes.count ? error.reason : nil
            }
        }
        #expect(reason([]) == .truncated)
        #expect(reason([0x80]) == .truncated)
        #expect(reason([UInt8](repeating: 0xff, count: 9)) == .truncated)
        #expect(reason([0x80, 0x00]) == .notCanonical)
        #expect(reason([0xff, 0x80, 0x00]) == .notCanonical)
        // A 65th bit, and an eleventh byte.
        #expect(reason([UInt8](repeating: 0xff, count: 9) + [0x02]) == .notCanonical)
        #expect(reason([UInt8](repeating: 0x80, count: 10) + [0x01]) == .notCanonical)
    }

    @Test func lengthsAndCountsAreCheckedBeforeAnythingIsAllocated() {
        func reason(_ bytes: [UInt8], _ decode: (inout ByteBuffer) throws(MalformedBytes) -> Void) -> MalformedBytes
            .Reason?
        {
            var buffer = ByteBuffer(bytes: bytes)
            do throws(MalformedBytes) {
                try decode(&buffer)
                return nil
            } catch {
                return error.reason
            }
        }
        let huge: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0]
        #expect(reason(huge) { buffer throws(MalformedBytes) in _ = try buffer.readLengthPrefixed("test") } != nil)
        #expect(reason(huge) { buffer throws(MalformedBytes) in _ = try buffer.readCount("test") } != nil)
        #expect(
            reason([5, 1, 2, 3, 4]) { buffer throws(MalformedBytes) in _ = try buffer.readLengthPrefixed("test") }
                == .truncated)
        #expect(
            reason([3, 1, 2, 3]) { buffer throws(MalformedBytes) in _ = try buffer.readLengthPrefixed(limit: 2, "test")
            } == .overLimit)
        #expect(
            reason([3, 1, 2, 3]) { buffer throws(MalformedBytes) in _ = try buffer.readCount(limit: 2, "test") }
                == .overLimit)
        // A vector of more entries than any object has.
        #expect(
            reason([0x81, 0x80, 0x04] + [UInt8](repeating: 1, count: 70_000)) { buffer throws(MalformedBytes) in
                _ = try VersionVector(decoding: &buffer)
            } == .overLimit)
    }

    /// Each rule of the canonical form, broken by hand.
    @Test func objectsOutOfOrderAreRefused() throws {
        func object(mode: UInt8 = 0, clock: [(UInt64, UInt64)], siblings: [(UInt64, UInt64, UInt8)]) -> MalformedBytes
            .Reason?
        {
            var buffer = ByteBuffer()
            buffer.writeInteger(mode)
            buffer.writeVarint(UInt64(clock.count))
            for (actor, counter) in clock {
                buffer.writeInteger(actor)
                buffer.writeVarint(counter)
            }
            buffer.writeVarint(UInt64(siblings.count))
            for (actor, counter, flags) in siblings {
                buffer.writeInteger(actor)
                buffer.writeVarint(counter)
                buffer.writeVarint(3)
                buffer.writeInteger(flags)
                buffer.writeVarint(0)
                buffer.writeVarint(0)
            }
            do throws(MalformedBytes) {
                _ = try VersionedObject(decoding: buffer)
                return nil
            } catch {
                return error.reason
            }
        }
        #expect(object(clock: [(1, 2), (2, 1)], siblings: [(1, 2, 0), (2, 1, 0)]) == nil)
        #expect(object(clock: [(1, 2)], siblings: []) == nil)
        #expect(object(mode: 1, clock: [(1, 2)], siblings: [(1, 2, 1)]) == nil)
        // Unknown mode; never written; actors and dots out of order or twice; a counter of zero.
        #expect(object(mode: 2, clock: [(1, 2)], siblings: []) == .notCanonical)
        #expect(object(clock: [], siblings: []) == .notCanonical)
        #expect(object(clock: [(2, 1), (1, 2)], siblings: []) == .notCanonical)
        #expect(object(clock: [(1, 2), (1, 3)], siblings: []) == .notCanonical)
        #expect(object(clock: [(1, 0)], siblings: []) == .notCanonical)
        #expect(object(clock: [(1, 2), (2, 1)], siblings: [(2, 1, 0), (1, 2, 0)]) == .notCanonical)
        #expect(object(clock: [(1, 2)], siblings: [(1, 2, 0), (1, 2, 0)]) == .notCanonical)
        #expect(object(clock: [(1, 2)], siblings: [(1, 0, 0)]) == .notCanonical)
        // A sibling that the clock has not seen; a flag of no meaning; a stamped delete among siblings; two winners.
        #expect(object(clock: [(1, 2)], siblings: [(1, 3, 0)]) == .notCanonical)
        #expect(object(clock: [(1, 2)], siblings: [(2, 1, 0)]) == .notCanonical)
        #expect(object(clock: [(1, 2)], siblings: [(1, 2, 8)]) == .notCanonical)
        #expect(object(clock: [(1, 2)], siblings: [(1, 2, 1)]) == .notCanonical)
        #expect(object(mode: 1, clock: [(1, 2)], siblings: [(1, 1, 0), (1, 2, 0)]) == .notCanonical)
    }
}
