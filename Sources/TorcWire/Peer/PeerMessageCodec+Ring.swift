// Messages about rings between kind and number, as every peer message has them, and the bytes that the agreement
// itself defines. The number is the fingerprint of the ring that the sender holds.

import NIOCore
import TorcModel
import TorcReplication

extension PeerMessageCodec {
    static func encode(_ message: RingMessage, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(Kind.ring.rawValue, message.version.fingerprint.rawValue)
        message.encode(into: &buffer)
    }

    static func decodeRing(_ number: UInt64, from buffer: inout ByteBuffer) throws(MalformedBytes) -> RingMessage {
        try RingMessage(fingerprint: ClusterFingerprint(rawValue: number), decoding: &buffer)
    }
}
