// A node's two clocks. The monotonic one may run fast or slow, and starts anew with each process; it never
// goes back. The wall clock is off, and may jump.

package import TorcModel

package struct SimulatedClock: Sendable {
    /// 2025-01-01, in microseconds.
    private static let epochMicroseconds: Int64 = 1_735_689_600_000_000

    private var started = VirtualTime.zero
    private var base: UInt64 = 0
    private let driftPerMillion: Int64
    private var skewMicroseconds: Int64
    /// The latest that the wall clock showed before it was set back.
    private var latest = WallTime(microseconds: 0)

    package init(driftPerMillion: Int64, skewMicroseconds: Int64) {
        self.driftPerMillion = driftPerMillion
        self.skewMicroseconds = skewMicroseconds
    }

    package mutating func restart(at time: VirtualTime, base: UInt64) {
        started = time
        self.base = base
    }

    package mutating func jump(microseconds: Int64, at time: VirtualTime) {
        latest = latestWall(at: time)
        skewMicroseconds += microseconds
    }

    /// The latest that the wall clock has shown.
    package func latestWall(at time: VirtualTime) -> WallTime { max(latest, now(at: time).wall) }

    package func now(at time: VirtualTime) -> Now {
        let elapsed = Int64((time - started).nanoseconds)
        let monotonic = base &+ UInt64(elapsed + elapsed / 1_000_000 * driftPerMillion)
        let wall = Self.epochMicroseconds + Int64(time.nanoseconds / 1_000) + skewMicroseconds
        return Now(
            monotonic: MonotonicTime(nanoseconds: monotonic), wall: WallTime(microseconds: UInt64(max(0, wall))))
    }

    /// When, at the latest, the monotonic clock will have reached an instant.
    package func time(of instant: MonotonicTime) -> VirtualTime {
        guard instant.nanoseconds > base else { return started }
        let elapsed = Int64(clamping: instant.nanoseconds - base)
        let real = elapsed / (1_000_000 + driftPerMillion) * 1_000_000 + 2_000_000
        return VirtualTime(nanoseconds: started.nanoseconds &+ UInt64(real))
    }
}
