// How a run went over time: for each interval how many operations ended in it, how long they took, and how many failed. A
// mean over a whole run hides a stall of a second; this shows it.

package import NIOCore

/// Counts by interval; at most `largestCount` intervals, however long the run is: where nobody knows how long it will be, intervals
/// grow.
package struct LoadTimeline: Sendable {
    package static let largestCount = 300
    private static let shortest = TimeAmount.milliseconds(100)
    /// Steps in a doubling: a percentile is told to within 5 %.
    private static let subdivisions = 16
    /// Up to two minutes.
    private static let bucketCount = 37 * subdivisions

    package struct Interval: Sendable {
        package var operations: UInt64 = 0
        package var errors: UInt64 = 0
        /// Of them, those that were refused because there was too much to do.
        package var refusals: UInt64 = 0
        package var longestNanoseconds: UInt64 = 0
        fileprivate var buckets = [UInt32](repeating: 0, count: LoadTimeline.bucketCount)

        fileprivate mutating func add(_ other: Interval) {
            operations += other.operations
            errors += other.errors
            refusals += other.refusals
            longestNanoseconds = max(longestNanoseconds, other.longestNanoseconds)
            for bucket in other.buckets.indices { buckets[bucket] += other.buckets[bucket] }
        }

        /// Upper end of the bucket in which the percentile lies; nil when nothing ended.
        package func nanoseconds(percentile: Double) -> UInt64? {
            guard operations > 0 else { return nil }
            let rank = max(1, UInt64((Double(operations) * percentile / 100).rounded(.up)))
            var passed: UInt64 = 0
            for (index, count) in buckets.enumerated() {
                passed += UInt64(count)
                if passed >= rank { return min(LoadTimeline.upperEnd(of: index), longestNanoseconds) }
            }
            return longestNanoseconds
        }
    }

    package private(set) var interval: TimeAmount
    package private(set) var intervals: [Interval] = []
    private let grows: Bool

    package init(duration: Duration) {
        let even = TimeAmount(duration).nanoseconds / Int64(Self.largestCount) + 1
        interval = max(Self.shortest, .nanoseconds(even))
        grows = false
    }

    /// Of a run that ends when its work is done.
    package init() {
        interval = Self.shortest
        grows = true
    }

    package mutating func note(_ nanoseconds: UInt64, at time: TimeAmount) {
        with(time) { interval in
            interval.operations += 1
            interval.longestNanoseconds = max(interval.longestNanoseconds, nanoseconds)
            interval.buckets[Self.bucket(of: nanoseconds)] += 1
        }
    }

    package mutating func noteError(at time: TimeAmount, isRefusal: Bool) {
        with(time) { interval in
            interval.errors += 1
            if isRefusal { interval.refusals += 1 }
        }
    }

    package mutating func add(_ other: LoadTimeline) {
        var other = other
        while grows, interval < other.interval { double() }
        while other.grows, other.interval < interval { other.double() }
        precondition(interval == other.interval, "timelines of \(interval) and \(other.interval)")
        while intervals.count < other.intervals.count { intervals.append(Interval()) }
        for (index, added) in other.intervals.enumerated() {
            intervals[index].add(added)
        }
    }

    /// Two intervals become one.
    private mutating func double() {
        for index in stride(from: 0, to: intervals.count, by: 2) {
            var both = intervals[index]
            if index + 1 < intervals.count { both.add(intervals[index + 1]) }
            intervals[index / 2] = both
        }
        intervals.removeLast(intervals.count / 2)
        interval = interval + interval
    }

    private mutating func with(_ time: TimeAmount, _ body: (inout Interval) -> Void) {
        var index = Int(max(0, time.nanoseconds) / interval.nanoseconds)
        while grows, index >= Self.largestCount {
            double()
            index /= 2
        }
        guard index < Self.largestCount else { return }
        while intervals.count <= index { intervals.append(Interval()) }
        body(&intervals[index])
    }

    /// Buckets are even within each doubling.
    private static func bucket(of nanoseconds: UInt64) -> Int {
        guard nanoseconds >= UInt64(subdivisions) else { return Int(nanoseconds) }
        let exponent = 63 - nanoseconds.leadingZeroBitCount
        let part = Int(nanoseconds >> UInt64(exponent - 4)) - subdivisions
        return min((exponent - 3) * subdivisions + part, bucketCount - 1)
    }

    fileprivate static func upperEnd(of bucket: Int) -> UInt64 {
        guard bucket >= subdivisions else { return UInt64(bucket) }
        let exponent = bucket / subdivisions + 3
        return UInt64(subdivisions + bucket % subdivisions + 1) << UInt64(exponent - 4)
    }
}
