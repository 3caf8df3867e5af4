// What a run asks of the cluster. Everything that changes a figure is here, and in the report.

import Foundation

private func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

/// How keys are drawn from 0..<keyCount.
package enum KeyDistribution: Sendable, Equatable, CustomStringConvertible {
    case uniform
    /// Few keys take most requests; YCSB's constant is 0.99. Ranks are scattered over the key space.
    case zipfian(theta: Double)
    /// The newest keys take most requests, the share of each falling with its age as in `zipfian`.
    case latest(theta: Double)
    /// A share of the keys, the first ones, takes a share of the requests; the others take the rest. Both uniformly.
    case hotspot(keys: Double, requests: Double)

    package var description: String {
        switch self {
        case .uniform: "uniform"
        case .zipfian(let theta): "zipfian(\(theta))"
        case .latest(let theta): "latest(\(theta))"
        case .hotspot(let keys, let requests): "hotspot(\(keys),\(requests))"
        }
    }
}

/// What a request of the load does.
package enum LoadKind: Int, CaseIterable, Sendable {
    case put
    case get
    /// A put of a key that was not there.
    case insert
    /// A get, then a put with the context that it brought: one operation.
    case modify

    var name: String {
        switch self {
        case .put: "put"
        case .get: "get"
        case .insert: "insert"
        case .modify: "modify"
        }
    }
}

/// Shares of the kinds; what is left are puts.
package struct LoadMix: Sendable, Equatable {
    package var get = 0.0
    package var insert = 0.0
    package var modify = 0.0

    /// The kind at a uniform draw from 0..<1.
    func kind(at draw: Double) -> LoadKind {
        if draw < get { return .get }
        if draw < get + insert { return .insert }
        return draw < get + insert + modify ? .modify : .put
    }
}

/// The core workloads of YCSB (Cooper et al., 2010). E needs scans in the order of keys, which a ring of hashes has none of.
enum YCSBWorkload: String, CaseIterable, Sendable {
    case a, b, c, d, f

    var mix: LoadMix {
        switch self {
        case .a: LoadMix(get: 0.5)
        case .b: LoadMix(get: 0.95)
        case .c: LoadMix(get: 1)
        case .d: LoadMix(get: 0.95, insert: 0.05)
        case .f: LoadMix(get: 0.5, modify: 0.5)
        }
    }

    var distribution: KeyDistribution { self == .d ? .latest(theta: 0.99) : .zipfian(theta: 0.99) }
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
    /// Each request goes to the first owner of its key, as the ring was when the run began; otherwise to any target.
    package var isRingAware = false
    /// Requests that a connection has under way at once.
    package var pipeline = 1
    /// Event loops of the generator.
    package var threads = 1
    package var mix = LoadMix()
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
    /// At a fixed rate, a connection that is refused sends nothing more before the time that it is told.
    package var waitsWhenTold = false
    package var r: UInt32?
    package var w: UInt32?
    package var seed: UInt64 = 1
    /// Processes of this machine whose processor time is reported an operation.
    package var processes: [Int] = []

    package init(targets: [(host: String, port: Int)]) { self.targets = targets }
}

/// Draws key numbers.
package struct KeyGenerator: Sendable {
    private let keyCount: UInt64
    private let distribution: KeyDistribution
    private let zipf: Zipf?

    package init(_ distribution: KeyDistribution, keyCount: UInt64) {
        self.keyCount = keyCount
        self.distribution = distribution
        switch distribution {
        case .uniform, .hotspot: zipf = nil
        case .zipfian(let theta), .latest(let theta): zipf = Zipf(count: keyCount, theta: theta)
        }
    }

    /// `newest`: the largest key that there is, where keys are inserted.
    package func next(newest: UInt64, using generator: inout some RandomNumberGenerator) -> UInt64 {
        switch distribution {
        case .uniform: return .random(in: 0..<keyCount, using: &generator)
        case .hotspot(let keys, let requests):
            let hot = min(keyCount, max(1, UInt64(Double(keyCount) * keys)))
            guard hot < keyCount, Double.random(in: 0..<1, using: &generator) >= requests else {
                return .random(in: 0..<hot, using: &generator)
            }
            return .random(in: hot..<keyCount, using: &generator)
        case .latest: return newest - min(newest, zipf!.rank(at: .random(in: 0..<1, using: &generator)))
        case .zipfian: return scattered(zipf!.rank(at: .random(in: 0..<1, using: &generator)))
        }
    }

    /// FNV-1a of the rank, as YCSB scrambles it, so that the hot keys are not neighbours.
    private func scattered(_ drawn: UInt64) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var rank = drawn
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
