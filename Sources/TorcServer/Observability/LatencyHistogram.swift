// Latencies of one lane, counted where they happen, on its loop: no lock and no atomic. Buckets grow with the
// value (16 to a power of two), so a percentile is exact to about 6 %. `/stats` asks each loop for its own
// and adds them up.

/// Counts durations from a microsecond to an hour.
package struct LatencyHistogram: Sendable {
    private static let stepsPerDoubling = 16
    /// 2^32 µs is more than an hour; what is longer counts as that.
    private static let bucketCount = 16 * 30

    private var counts: [UInt64]
    package private(set) var count: UInt64 = 0
    package private(set) var totalMicroseconds: UInt64 = 0
    package private(set) var maximumMicroseconds: UInt64 = 0

    package init() { counts = [UInt64](repeating: 0, count: Self.bucketCount) }

    package mutating func record(microseconds value: UInt64) {
        counts[Self.bucket(of: value)] += 1
        count += 1
        totalMicroseconds &+= value
        maximumMicroseconds = max(maximumMicroseconds, value)
    }

    package mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        totalMicroseconds &+= other.totalMicroseconds
        maximumMicroseconds = max(maximumMicroseconds, other.maximumMicroseconds)
    }

    /// The value that `fraction` of all are not above; 0 without any.
    package func percentile(_ fraction: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((Double(count) * fraction).rounded(.up)))
        var seen: UInt64 = 0
        for (index, number) in counts.enumerated() {
            seen += number
            if seen >= wanted { return min(Self.upperBound(of: index), maximumMicroseconds) }
        }
        return maximumMicroseconds
    }

    private static func bucket(of value: UInt64) -> Int {
        if value < UInt64(stepsPerDoubling) { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        let step = Int(truncatingIfNeeded: value >> UInt64(exponent - 4)) & (stepsPerDoubling - 1)
        return min((exponent - 3) * stepsPerDoubling + step, bucketCount - 1)
    }

    private static func upperBound(of bucket: Int) -> UInt64 {
        if bucket < stepsPerDoubling { return UInt64(bucket) }
        let exponent = UInt64(bucket / stepsPerDoubling + 3)
        let step = UInt64(bucket % stepsPerDoubling)
        return (UInt64(1) << exponent) + (step + 1) << (exponent - 4) - 1
    }
}
