// Membership messages between kind and sequence, as every peer message has them, and the bytes that the
// membership itself defines.

import NIOCore
import TorcModel
import TorcReplication

extension PeerMessageCodec {
    static func encode(_ message: MembershipMessage, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(Kind.membership.rawValue, message.sequence)
        message.encode(into: &buffer)
    }

    static func decodeMembership(
        _ sequence: UInt64, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> MembershipMessage {
        try MembershipMessage(sequence: sequence, decoding: &buffer)
    }
}
