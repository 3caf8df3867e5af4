// How often a link is tried again, and how often it is written about.

import NIOCore

/// Waits that double from a floor to a ceiling. Half of each is chance, so that nodes which lost the same peer
/// at once do not come back at once.
enum Backoff {
    static func delay(
        failures: Int, floor: Duration, ceiling: Duration, using generator: inout some RandomNumberGenerator
    ) -> Duration {
        let longest = min(ceiling, floor * (1 << min(failures, 16)))
        return longest / 2 + longest / 2 * Double.random(in: 0...1, using: &generator)
    }
}

/// Admits one log line an interval and counts the rest.
struct LogLimiter {
    static let interval = TimeAmount.seconds(1)

    private var last: NIODeadline?
    private var suppressed = 0

    /// How many lines were held back since the last one; nil: hold this one back too.
    mutating func admit(at now: NIODeadline) -> Int? {
        if let last, now - last < Self.interval {
            suppressed += 1
            return nil
        }
        defer { suppressed = 0 }
        last = now
        return suppressed
    }
}
