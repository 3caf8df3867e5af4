// What a run asks of the cluster. Everything that changes a figure is here, and in the report.

import Foundation

private func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

/// How keys are drawn from 0..<keyCount.
package enum KeyDistribution: Sendable, Equatable, CustomStringConvertible {
    case uniform
    /// Few keys take most requests; YCSB's constant is 0.99. Ranks are scattered over the key space.
    case zipfian(theta: Double)

    package var description: String {
        switch self {
        case .uniform: "uniform"
        case .zipfian(let theta): "zipfian(\(theta))"
        }
    }
}

/// What a put knows of the version that it replaces.
package enum PutContext: String, Sendable, CaseIterable {
    /// The context that this run last saw for the key, as a client that reads before it writes has it.
    case last
    /// None: in a bucket that keeps siblings every put of a key adds one.
    case none
}

/// One run of the load generator.
package struct LoadPlan: Sendable {
    /// Where to connect, in turn.
    package var targets: [(host: String, port: Int)]
    package var connections = 64
    /// Requests that a connection has under way at once.
    package var pipeline = 1
    /// Event loops of the generator.
    package var threads = 1
    /// The share of gets, 0…1; the rest are puts.
    package var readShare = 0.0
    package var keyCount: UInt64 = 100_000
    package var distribution = KeyDistribution.uniform
    package var valueBytes = 1024
    package var bucket = "bench"
    package var context = PutContext.last
    /// Requests a second over all connections; nil: closed loop, the next request follows the last answer.
    package var rate: Double?
    package var duration = Duration.seconds(10)
    /// Left out of the figures.
    package var warmup = Duration.seconds(2)
    /// Ends a run early; nil: time alone does.
    package var operationLimit: UInt64?
    /// A request that takes longer counts as an error, and its connection is replaced.
    package var timeout = Duration.seconds(10)
    package var r: UInt32?
    package var w: UInt32?
    package var seed: UInt64 = 1
    /// Processes of this machine whose processor time is reported an operation.
    package var processes: [Int] = []

    package init(targets: [(host: String, port: Int)]) { self.targets = targets }
}

/// Draws key numbers.
struct KeyGenerator: Sendable {
    private let keyCount: UInt64
    private let zipf: Zipf?

    init(_ distribution: KeyDistribution, keyCount: UInt64) {
        self.keyCount = keyCount
        switch distribution {
        case .uniform: zipf = nil
        case .zipfian(let theta): zipf = Zipf(count: keyCount, theta: theta)
        }
    }

    func next(using generator: inout some RandomNumberGenerator) -> UInt64 {
        guard let zipf else { return .random(in: 0..<keyCount, using: &generator) }
        // FNV-1a of the rank, as YCSB scrambles it, so that the hot keys are not neighbours.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var rank = zipf.rank(at: .random(in: 0..<1, using: &generator))
        for _ in 0..<8 {
            hash = (hash ^ (rank & 0xff)) &* 0x100_0000_01b3
            rank >>= 8
        }
        return hash % keyCount
    }
}

/// Gray et al., "Quickly generating billion-record synthetic databases" (1994), as in YCSB.
struct Zipf: Sendable {
    private let count: Double
    private let theta: Double
    private let zeta: Double
    private let alpha: Double
    private let eta: Double

    init(count: UInt64, theta: Double) {
        precondition(theta > 0 && theta < 1, "theta \(theta) is not between 0 and 1")
        self.count = Double(count)
        self.theta = theta
        zeta = Self.zeta(count, theta)
        alpha = 1 / (1 - theta)
        eta = (1 - power(2 / Double(count), 1 - theta)) / (1 - Self.zeta(2, theta) / zeta)
    }

    /// The rank, 0 the most frequent, at a uniform draw from 0..<1.
    func rank(at draw: Double) -> UInt64 {
        let scaled = draw * zeta
        if scaled < 1 { return 0 }
        if scaled < 1 + power(0.5, theta) { return 1 }
        return min(UInt64(count * power(eta * draw - eta + 1, alpha)), UInt64(count) - 1)
    }

    private static func zeta(_ count: UInt64, _ theta: Double) -> Double {
        var sum = 0.0
        for rank in 1...max(count, 1) { sum += 1 / power(Double(rank), theta) }
        return sum
    }
}
