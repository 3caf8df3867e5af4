// This node's membership incarnation, as `meta` keeps it.
//
//   u8 format | u64be incarnation

package import NIOCore
package import TorcModel
package import TorcReplication

package enum StoredMembership {
    package static let key = "membership"
    private static let format: UInt8 = 1

    package static func encode(_ incarnation: MembershipIncarnation) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(format, incarnation.rawValue)
        return buffer
    }

    package static func decode(_ bytes: ByteBuffer) throws(MalformedBytes) -> MembershipIncarnation {
        var buffer = bytes
        guard try buffer.readFixed(UInt8.self, "stored membership") == format else {
            throw MalformedBytes(.unknownVersion, "stored membership")
        }
        let incarnation = MembershipIncarnation(rawValue: try buffer.readFixed(UInt64.self, "stored membership"))
        try buffer.requireEmpty("stored membership")
        guard incarnation <= .maximum else { throw MalformedBytes(.overLimit, "stored membership") }
        return incarnation
    }
}
