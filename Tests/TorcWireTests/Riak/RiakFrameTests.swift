import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

func bytes(_ hex: String) -> ByteBuffer {
    var buffer = ByteBuffer()
    var digits = hex.filter { !$0.isWhitespace }[...]
    while let high = digits.popFirst(), let low = digits.popFirst() {
        buffer.writeInteger(UInt8(String([high, low]), radix: 16)!)
    }
    return buffer
}

func text(_ string: String) -> ByteBuffer { ByteBuffer(string: string) }

let testKey = ClusterKey(secret: Array("a cluster key for tests".utf8))!
let foreignKey = ClusterKey(secret: Array("another cluster's key".utf8))!
func testEntropy() -> (UInt64, UInt64) { (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210) }

func objectKey(_ bucket: String, _ key: String, type: String = "") -> ObjectKey {
    ObjectKey(bucket: BucketID(type: text(type), name: text(bucket)), key: text(key))
}

@Suite struct RiakFrameTests {
    @Test func cutsTheStreamWhereverItIsSplit() throws {
        let stream = bytes("00000007 09 0A0162 12016B  00000001 01  00000007 09 0A0162 12016C")
        for split in 0...stream.readableBytes {
            var decoder = RiakFrameDecoder(maximumFrameBytes: 100)
            var frames: [RiakFrame] = []
            for part in [
                stream.getSlice(at: 0, length: split)!,
                stream.getSlice(at: split, length: stream.readableBytes - split)!,
            ] {
                decoder.append(part)
                while let frame = try decoder.next() { frames.append(frame) }
            }
            #expect(
                frames == [
                    RiakFrame(.getRequest, body: bytes("0A0162 12016B")), RiakFrame(.pingRequest),
                    RiakFrame(.getRequest, body: bytes("0A0162 12016C")),
                ], "split at \(split)")
            #expect(decoder.pendingBytes == 0)
        }
    }

    @Test func refusesWhatIsNoFrame() throws {
        var empty = RiakFrameDecoder(maximumFrameBytes: 100)
        empty.append(bytes("00000000"))
        #expect(throws: RiakFrameError.empty) { try empty.next() }
        var long = RiakFrameDecoder(maximumFrameBytes: 100)
        long.append(bytes("00000065"))
        #expect(throws: RiakFrameError.tooLong(bytes: 101, limit: 100)) { try long.next() }
        var huge = RiakFrameDecoder(maximumFrameBytes: 100)
        huge.append(bytes("FFFFFFFF"))
        #expect(throws: RiakFrameError.tooLong(bytes: 0xffff_ffff, limit: 100)) { try huge.next() }
        var exact = RiakFrameDecoder(maximumFrameBytes: 1)
        exact.append(bytes("00000001 01"))
        #expect(try exact.next() == RiakFrame(.pingRequest))
    }
}

@Suite struct VersionTagTests {
    @Test func base62IsTheNumberInBase62() {
        #expect(Base62.text(0, 0) == String(repeating: "0", count: 22))
        #expect(Base62.text(0, 61) == String(repeating: "0", count: 21) + "z")
        #expect(Base62.text(0, 62) == String(repeating: "0", count: 20) + "10")
        // 2^64 = 62 * 297528130221121800 + 16, and so on, by another road: Python.
        #expect(Base62.text(1, 0) == "00000000000LygHa16AHYG")
        #expect(Base62.text(.max, .max) == "7n42DGM5Tflk9n8mt7Fhc7")
    }
}
