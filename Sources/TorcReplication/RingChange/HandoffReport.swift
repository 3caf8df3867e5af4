// How far a node is with what moves to it: what the members tell their steward.

import NIOCore
import TorcModel

package struct HandoffReport: Hashable, Sendable {
    /// Comparisons with former owners that are not completed yet, and how many there are in all.
    package var pending = 0
    package var total = 0
    /// Bit n: trees of n copies are compared.
    package var compares: UInt8 = 0
    /// Bit n: there are records of n copies.
    package var holds: UInt8 = 0
    /// It keeps hints for others.
    package var keepsHints = false

    package init() {}

    package static func bit(_ copies: Int) -> UInt8 { 1 << UInt8(copies) }

    /// Of all lanes of a node.
    package mutating func add(_ other: HandoffReport) {
        pending += other.pending
        total += other.total
        compares |= other.compares
        holds |= other.holds
        keepsHints = keepsHints || other.keepsHints
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeVarint(UInt64(pending))
        buffer.writeVarint(UInt64(total))
        buffer.writeMultipleIntegers(compares, holds, UInt8(keepsHints ? 1 : 0))
    }

    init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        let pending = try buffer.readVarint("handoff report")
        let total = try buffer.readVarint("handoff report")
        guard pending <= total, total <= UInt64(UInt32.max) else { throw MalformedBytes(.overLimit, "handoff report") }
        self.pending = Int(pending)
        self.total = Int(total)
        compares = try buffer.readFixed(UInt8.self, "handoff report")
        holds = try buffer.readFixed(UInt8.self, "handoff report")
        keepsHints = try buffer.readFlag("handoff report")
    }
}

/// One lane's part of it.
package struct LaneProgress: Hashable, Sendable {
    /// The placement that the lane follows.
    package var placement: RingFingerprint
    package var report: HandoffReport

    package init(placement: RingFingerprint, report: HandoffReport) {
        self.placement = placement
        self.report = report
    }
}
