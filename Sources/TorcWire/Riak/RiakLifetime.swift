// How long a version stands, as Riak's clients can say it: Riak itself has no such thing. Over HTTP it is a header;
// over protocol buffers, whose messages have no place for it, a pair of the user's metadata under the same name,
// which a client that reads an object, changes its value and writes it back hands back with the time that is left.

import NIOCore
package import TorcModel
import TorcReplication

package enum RiakLifetime {
    /// As the header. Compared without regard to case.
    package static let name = "X-Torc-TTL"

    /// Whole seconds, at least one.
    static func seconds(_ text: String) throws(RiakRequestError) -> UInt32 {
        guard let seconds = UInt32(text), seconds > 0, seconds <= PutRequest.longestLifetimeSeconds else {
            throw RiakRequestError(
                "\(name) must be a number of seconds from 1 to \(PutRequest.longestLifetimeSeconds)")
        }
        return seconds
    }

    /// Takes the pair out of a put's metadata.
    static func take(from metadata: inout ContentMetadata) throws(RiakRequestError) -> UInt32? {
        guard let place = metadata.userMetadata.firstIndex(where: isLifetime) else { return nil }
        let text = String(buffer: metadata.userMetadata[place].value)
        metadata.userMetadata.removeAll(where: isLifetime)
        return try seconds(text)
    }

    /// Adds the pair to the metadata that a client is shown.
    package static func put(_ seconds: UInt64, into metadata: inout ContentMetadata) {
        metadata.userMetadata.append(
            ContentMetadata.Pair(name: ByteBuffer(string: name), value: ByteBuffer(string: String(seconds))))
    }

    package static func isLifetime(_ pair: ContentMetadata.Pair) -> Bool {
        pair.name.readableBytes == name.utf8.count && String(buffer: pair.name).lowercased() == name.lowercased()
    }
}
