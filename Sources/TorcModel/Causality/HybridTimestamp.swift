// Hybrid logical time (Kulkarni et al., 2014), in one number: microseconds of the wall clock, pushed forward
// by one past every stamp that the writer has seen. Within the reach of causality stamps are ordered as the
// writes are; beyond it they are as good as the clocks.

/// When a version was written: microseconds since 1970, never behind a stamp that its writer saw.
package struct HybridTimestamp: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let zero = HybridTimestamp(rawValue: 0)

    /// A stamp may be minted this far ahead of the wall clock at most; a `lww` write that would need more is
    /// refused, because its stamp would beat every honest write until then. Replicated records are never judged.
    package static let maximumAheadMicroseconds: UInt64 = 3_600_000_000

    /// The next stamp above `floor`, or nil when that would be too far ahead of the wall clock.
    package static func mint(wall: WallTime, above floor: HybridTimestamp) -> HybridTimestamp? {
        let (next, overflow) = floor.rawValue.addingReportingOverflow(1)
        if overflow { return nil }
        let stamp = max(wall.microseconds, next)
        return stamp <= wall.microseconds.addingReportingOverflow(maximumAheadMicroseconds).partialValue
            ? HybridTimestamp(rawValue: stamp) : nil
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// A reading of the wall clock: microseconds since 1970. It may jump; only stamps and expiry look at it.
package struct WallTime: Hashable, Comparable, Sendable {
    package var microseconds: UInt64
    package init(microseconds: UInt64) { self.microseconds = microseconds }
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.microseconds < rhs.microseconds }
}

/// A reading of a monotonic clock: nanoseconds since some start. All timeouts are measured by it.
package struct MonotonicTime: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = MonotonicTime(nanoseconds: 0)
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.nanoseconds < rhs.nanoseconds }

    package func advanced(by duration: Duration) -> MonotonicTime {
        let (seconds, attoseconds) = duration.components
        return MonotonicTime(
            nanoseconds: nanoseconds &+ UInt64(bitPattern: seconds) &* 1_000_000_000
                &+ UInt64(bitPattern: attoseconds / 1_000_000_000))
    }

    /// The time from `earlier` to here; zero when that is later.
    package func duration(since earlier: MonotonicTime) -> Duration {
        self <= earlier ? .zero : .nanoseconds(Int64(clamping: nanoseconds - earlier.nanoseconds))
    }
}

/// What the core is told of time with every event.
package struct Now: Hashable, Sendable {
    package var monotonic: MonotonicTime
    package var wall: WallTime

    package init(monotonic: MonotonicTime, wall: WallTime) {
        self.monotonic = monotonic
        self.wall = wall
    }
}
