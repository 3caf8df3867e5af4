// The worked example of docs/STORAGE.md, made by the code that the page describes and compared with the page.

import Foundation
import NIOCore
import Testing
import TorcModel

@Suite struct DocumentedBytesTests {
    static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("docs/STORAGE.md")

    static let key = ObjectKey(
        bucket: BucketID(name: ByteBuffer(string: "carts")), key: ByteBuffer(string: "alice"))
    static let first = Actor(rawValue: 0xa1a1_0000_0000_0007)
    static let second = Actor(rawValue: 0xb2b2_0000_0000_0009)

    /// Two clients wrote from one context: the second write of one actor and the first of another stand.
    static var record: Record {
        var metadata = ContentMetadata()
        metadata.contentType = ByteBuffer(string: "text/plain")
        func version(_ actor: Actor, _ counter: UInt64, _ value: String) -> Sibling {
            Sibling(
                dot: Dot(actor: actor, counter: counter),
                timestamp: HybridTimestamp(rawValue: 1_767_225_600_000_000 + counter), metadata: metadata.encoded,
                value: ByteBuffer(string: value))
        }
        var object = VersionedObject(mode: .siblings)
        object.put(version(first, 1, "milk"), context: VersionVector(), mode: .siblings)
        let read = object.clock
        object.put(version(second, 1, "milk, bread"), context: read, mode: .siblings)
        object.put(version(first, 2, "milk, eggs"), context: read, mode: .siblings)
        let minting = LocalHeader.MintingActor(
            actor: first, incarnation: Incarnation(rawValue: 0x1c1c_2d2d_3e3e_4f4f), counter: 2)
        return Record(header: LocalHeader(copies: 3, minting: minting), body: object.encoded)
    }

    /// Lengths and meanings, to the last byte.
    static func annotated(_ bytes: ByteBuffer, _ parts: [(length: Int, meaning: String)]) -> String {
        var reader = bytes
        var lines: [String] = []
        for (length, meaning) in parts {
            let piece = reader.readBytes(length: length)!
            for start in stride(from: 0, to: length, by: 8) {
                let hex = piece[start..<min(start + 8, length)].map { byte in
                    let digits = String(byte, radix: 16)
                    return digits.count == 1 ? "0" + digits : digits
                }.joined(separator: " ")
                let padded = hex + String(repeating: " ", count: 26 - hex.count)
                lines.append(start == 0 ? padded + meaning : String(padded.prefix(hex.count)))
            }
        }
        #expect(reader.readableBytes == 0, "the example ends early")
        return lines.joined(separator: "\n")
    }

    static func sibling(_ value: String, _ dot: String, _ order: String) -> [(Int, String)] {
        [
            (8, "\(order): actor"), (1, "its counter: \(dot)"), (8, "stamp, microseconds since 1970, varint"),
            (1, "flags: no expiry, no write id, no lww tombstone"), (1, "metadata: 13 bytes"),
            (13, "content type, charset, content encoding; nothing else"), (1, "value: \(value.utf8.count) bytes"),
            (value.utf8.count, value),
        ]
    }

    @Test func theStorageKeyIsAsDocumented() throws {
        let example = Self.annotated(
            Self.key.storageKey,
            [(8, "ring position"), (1, "bucket type: default"), (1, "bucket: 5 bytes"), (5, "carts"), (5, "alice")])
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        let isShown = page.contains("```text\n\(example)\n```")
        #expect(isShown, "docs/STORAGE.md should show:\n\(example)")
        let size = RingSize.standard
        let leaf = LeafLayout(ringSize: size).leaf(of: Self.key.position)
        let place = "partition \(size.partition(of: Self.key.position).index), leaf \(leaf)"
        let isSaid = page.contains(place)
        #expect(isSaid, "docs/STORAGE.md should say: \(place)")
    }

    @Test func theRecordIsAsDocumented() throws {
        let record = Self.record
        let bytes = record.encoded(for: Self.key)
        let example = Self.annotated(
            bytes,
            [
                (8, "checksum of all that follows"), (1, "format"), (1, "n"), (8, "actor that this replica mints with"),
                (8, "incarnation that it was drawn in"), (1, "the counter that it minted last"),
                (1, "mode: siblings"), (1, "clock: 2 entries"), (9, "a1a1…:2"), (9, "b2b2…:1"), (1, "2 siblings"),
            ] + Self.sibling("milk, eggs", "a1a1…:2", "first sibling")
                + Self.sibling("milk, bread", "b2b2…:1", "second sibling"))
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        let isShown = page.contains("```text\n\(example)\n```")
        #expect(isShown, "docs/STORAGE.md should show:\n\(example)")
        #expect(try Record(decoding: bytes, for: Self.key) == record)
        #expect(try record.object().siblings.count == 2)
    }
}
