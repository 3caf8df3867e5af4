// How much room the disk under a node's records has left. A log that cannot be written ends the process, and a disk
// that is full to the last byte cannot be compacted: so a node stops taking more before that, and says so.
//
// Below the reserve clients' writes are refused, and hints of them; reads, deletes and repair go on, because they free
// space or are owed. Below a quarter of it nothing is written for anybody.

package enum DiskSpace: UInt8, Hashable, Sendable, CaseIterable, Comparable {
    case ample = 0
    /// Refused: what clients add.
    case low = 1
    /// Refused: everything that writes a record.
    case exhausted = 2

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }

    /// Where the second mark lies.
    private static let exhaustedDivisor: UInt64 = 4
    /// A mark that was crossed is taken back only this much above it, as a part of it: no flapping.
    private static let slackDivisor: UInt64 = 10

    /// - Parameters:
    ///   - free: Bytes that this process may still write.
    ///   - reserve: Bytes below which clients' writes are refused; 0: never.
    /// - Returns: The state after `self`.
    package func next(free: UInt64, reserve: UInt64) -> DiskSpace {
        let last = reserve / Self.exhaustedDivisor
        let plain = Self.judge(free, reserve, last)
        if plain >= self { return plain }
        return min(self, Self.judge(free, reserve + reserve / Self.slackDivisor, last + last / Self.slackDivisor))
    }

    private static func judge(_ free: UInt64, _ reserve: UInt64, _ last: UInt64) -> DiskSpace {
        free < last ? .exhausted : free < reserve ? .low : .ample
    }
}
