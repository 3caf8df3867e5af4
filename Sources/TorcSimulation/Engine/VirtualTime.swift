// Time in a simulation: nanoseconds since its first event. It passes only when an event is taken from the queue.

/// An instant of virtual time.
package struct VirtualTime: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = VirtualTime(nanoseconds: 0)
    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.nanoseconds < rhs.nanoseconds }
    package static func + (lhs: Self, rhs: Span) -> Self {
        VirtualTime(nanoseconds: lhs.nanoseconds &+ rhs.nanoseconds)
    }
    package static func - (lhs: Self, rhs: Self) -> Span {
        Span(nanoseconds: lhs.nanoseconds > rhs.nanoseconds ? lhs.nanoseconds - rhs.nanoseconds : 0)
    }

    /// Milliseconds with three decimals.
    package var description: String {
        let micros = nanoseconds / 1_000
        let fraction = String(micros % 1_000)
        return "\(micros / 1_000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
    }
}

/// A length of virtual time, never negative. `Duration` has 128 bits, which the inner loop would pay for.
package struct Span: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = Span(nanoseconds: 0)
    package static func microseconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000) }
    package static func milliseconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000_000) }
    package static func seconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000_000_000) }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.nanoseconds < rhs.nanoseconds }
    package static func + (lhs: Self, rhs: Self) -> Self { Span(nanoseconds: lhs.nanoseconds &+ rhs.nanoseconds) }
    package static func * (lhs: Self, rhs: UInt64) -> Self { Span(nanoseconds: lhs.nanoseconds &* rhs) }

    package var duration: Duration { .nanoseconds(Int64(clamping: nanoseconds)) }
}
