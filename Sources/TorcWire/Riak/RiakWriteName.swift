// A client's name for one write over its retries, as Riak's clients can say it: over HTTP a header, over protocol buffers a pair
// of the user's metadata under the same name. Unlike a lifetime it is never shown: a client that reads, changes and writes
// back what it was shown would give its next write the name of the last, and that write would be taken for a retry.

import NIOCore
package import TorcModel
import TorcReplication

package enum RiakWriteName {
    /// As the header. Compared without regard to case.
    package static let name = "X-Torc-Write-Id"
    private static let digits = 32

    package static func text(_ id: WriteID) -> String { hexadecimal(id.high) + hexadecimal(id.low) }

    /// Nil unless it is 32 hexadecimal digits.
    package static func id(_ text: String) -> WriteID? {
        guard text.utf8.count == digits, text.utf8.allSatisfy({ isDigit($0) }) else { return nil }
        let middle = text.utf8.index(text.startIndex, offsetBy: digits / 2)
        guard let high = UInt64(text[..<middle], radix: 16), let low = UInt64(text[middle...], radix: 16) else {
            return nil
        }
        return WriteID(high: high, low: low)
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }

    static func checked(_ text: String) throws(RiakRequestError) -> WriteID {
        guard let id = id(text) else { throw RiakRequestError("\(name) must be \(digits) hexadecimal digits") }
        return id
    }

    /// Takes the pair out of a put's metadata.
    static func take(from metadata: inout ContentMetadata) throws(RiakRequestError) -> WriteID? {
        guard let place = metadata.userMetadata.firstIndex(where: isName) else { return nil }
        let text = String(buffer: metadata.userMetadata[place].value)
        metadata.userMetadata.removeAll(where: isName)
        return try checked(text)
    }

    package static func put(_ id: WriteID, into metadata: inout ContentMetadata) {
        metadata.userMetadata.append(
            ContentMetadata.Pair(name: ByteBuffer(string: name), value: ByteBuffer(string: text(id))))
    }

    private static func isName(_ pair: ContentMetadata.Pair) -> Bool {
        pair.name.readableBytes == name.utf8.count && String(buffer: pair.name).lowercased() == name.lowercased()
    }
}
