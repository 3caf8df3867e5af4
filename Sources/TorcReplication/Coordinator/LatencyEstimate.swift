// How long a replica's answer takes, at worst but for one in a hundred: the time after which a read asks one
// replica more. A streaming estimate in one number, after Ma, Muthukrishnan and Sandler, "Frugal Streaming
// for Estimating Quantiles" (2013), with steps in proportion to the estimate: a slower answer raises it by a
// 16th, a faster one lowers it by 99 times less, so it rests where one answer in a hundred is slower.

package struct LatencyEstimate: Hashable, Sendable {
    /// Below this a second question costs more than it can win.
    private static let floorNanoseconds: UInt64 = 1_000_000
    private static let ceilingNanoseconds: UInt64 = 1_000_000_000
    private static let startNanoseconds: UInt64 = 20_000_000
    private static let gain: UInt64 = 16
    private static let fasterForEachSlower: UInt64 = 99

    private var nanoseconds = startNanoseconds

    package init() {}

    /// The 99th percentile.
    package var patience: Duration { .nanoseconds(Int64(nanoseconds)) }

    package mutating func record(_ latency: Duration) {
        if latency > patience {
            nanoseconds = min(nanoseconds + nanoseconds / Self.gain, Self.ceilingNanoseconds)
        } else {
            nanoseconds = max(
                nanoseconds - nanoseconds / (Self.gain * Self.fasterForEachSlower), Self.floorNanoseconds)
        }
    }
}
