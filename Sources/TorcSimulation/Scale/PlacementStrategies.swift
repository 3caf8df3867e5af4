// The three ways of placing keys on nodes that section 6.2 of the Dynamo paper compares in its figure 8: how even
// the load is against how much every node must remember.
//
//   1  T random tokens a node; a range lies between two tokens.       A token and its node, S · T times.
//   2  T random tokens a node; Q equal ranges, each of which goes to the nodes whose tokens follow its end.
//                                                                     The same.
//   3  Q equal ranges, Q/S of them a node.                            A node, Q times.
//
// The third is Torc's, made by the production claim. Load is the share of requests that reach a node when each
// goes to the N = 3 nodes of its key. Keys are infinitely many and equally popular, or some hundred thousand whose
// popularity falls with their rank. (No function of libm takes part: square roots and quotients are exact.)

import TorcModel

package enum PlacementStrategy: Int, Codable, CaseIterable, Sendable {
    case randomTokens = 1
    case randomTokensEqualPartitions = 2
    case equalShares = 3
}

package struct PlacementMeasurement: Codable, Sendable {
    package var strategy: PlacementStrategy
    /// T of strategies 1 and 2, Q of 3.
    package var parameter: Int
    /// What each node must remember.
    package var stateBytes: Int
    /// Mean load over the greatest: the mean of the rings that were drawn, the worst and the best.
    package var uniform: Range
    /// With a popularity of rank^-1/2.
    package var skewed: Range
    /// … of 1/rank, where a few keys are a tenth of all requests.
    package var hot: Range

    package struct Range: Codable, Sendable {
        package var mean: Double
        package var worst: Double
        package var best: Double

        init(_ values: [Double]) {
            mean = values.reduce(0, +) / Double(values.count)
            worst = values.min()!
            best = values.max()!
        }
    }
}

package struct PlacementComparison {
    /// Of the paper.
    package static let nodes = 30
    package static let copies = 3
    /// Strategy 2 wants Q far above S · T.
    private static let partitionsOfStrategy2 = RingSize.maximum
    /// On the ring, and the node it stands for; the members' ids besides.
    private static let tokenBytes = 8 + 2
    private static let ownerBytes = 2
    private static let memberBytes = 8

    private struct Token {
        var position: UInt64
        var node: Int
    }

    private struct Loads {
        var uniform: [Double] = []
        var skewed: [Double] = []
        var hot: [Double] = []

        func measurement(_ strategy: PlacementStrategy, _ parameter: Int, bytes: Int) -> PlacementMeasurement {
            PlacementMeasurement(
                strategy: strategy, parameter: parameter, stateBytes: bytes, uniform: .init(uniform),
                skewed: .init(skewed), hot: .init(hot))
        }
    }

    private let rings: Int
    private let keys: Int
    private let seed: UInt64

    /// `rings`: drawn for each parameter. `keys`: of the skewed workloads.
    package init(rings: Int, keys: Int, seed: UInt64) {
        self.rings = rings
        self.keys = keys
        self.seed = seed
    }

    package func tokens(_ strategy: PlacementStrategy, tokens count: Int) -> PlacementMeasurement {
        var generator = SeededGenerator(seed: seed ^ UInt64(count) << 8 ^ UInt64(strategy.rawValue))
        var loads = Loads()
        for _ in 0..<rings {
            var tokens: [Token] = []
            for node in 0..<Self.nodes {
                for _ in 0..<count { tokens.append(Token(position: generator.next(), node: node)) }
            }
            tokens.sort { ($0.position, $0.node) < ($1.position, $1.node) }
            // Lists begin at tokens in strategy 1, at the ends of partitions in strategy 2.
            let starts: [Int]
            let ends: [UInt64]
            if strategy == .randomTokens {
                starts = Array(tokens.indices)
                ends = tokens.map(\.position)
            } else {
                let width = UInt64.max / UInt64(Self.partitionsOfStrategy2) + 1
                ends = (0..<Self.partitionsOfStrategy2).map { width &* UInt64($0) &+ (width - 1) }
                starts = ends.map { Self.firstIndex(tokens.count, atOrAfter: $0) { tokens[$0].position } }
            }
            let lists = starts.map { Self.list(tokens, from: $0) }
            measure(ends: ends, lists: lists, &generator, &loads)
        }
        return loads.measurement(
            strategy, count, bytes: Self.nodes * (count * Self.tokenBytes + Self.memberBytes))
    }

    /// Strategy 3, by the production claim. The ring is always the same; only keys are drawn.
    package func equalShares(partitions: Int) -> PlacementMeasurement {
        var generator = SeededGenerator(seed: seed ^ UInt64(partitions) << 8 ^ 3)
        let size = RingSize(partitions: partitions)!
        let members = (0..<Self.nodes).map { ClaimMember(node: NodeID(rawValue: UInt64($0 + 1))) }
        guard let ring = try? Ring.declared(members: members, size: size, target: Self.copies) else {
            preconditionFailure("no ring of \(partitions) partitions for \(Self.nodes) nodes")
        }
        let width = UInt64.max / UInt64(partitions) + 1
        let ends = (0..<partitions).map { width &* UInt64($0) &+ (width - 1) }
        let lists = (0..<partitions).map { partition in
            ring.preferenceList(of: PartitionID(partition), count: Self.copies).map { Int($0.rawValue) - 1 }
        }
        var loads = Loads()
        for _ in 0..<rings { measure(ends: ends, lists: lists, &generator, &loads) }
        return loads.measurement(
            .equalShares, partitions, bytes: partitions * Self.ownerBytes + Self.nodes * Self.memberBytes)
    }

    // MARK: Placing

    /// The first N distinct nodes whose tokens follow.
    private static func list(_ tokens: [Token], from start: Int) -> [Int] {
        var list: [Int] = []
        var index = start
        while list.count < copies {
            let node = tokens[index].node
            if !list.contains(node) { list.append(node) }
            index = index + 1 == tokens.count ? 0 : index + 1
        }
        return list
    }

    /// Of `count` ascending values; the first one where none follows, as on a ring.
    private static func firstIndex(
        _ count: Int, atOrAfter position: UInt64, _ value: (Int) -> UInt64
    ) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if value(middle) < position { low = middle + 1 } else { high = middle }
        }
        return low == count ? 0 : low
    }

    /// Ranges by their last positions, ascending; what follows the last one belongs to the first.
    private func measure(
        ends: [UInt64], lists: [[Int]], _ generator: inout SeededGenerator, _ loads: inout Loads
    ) {
        var uniform = [Double](repeating: 0, count: Self.nodes)
        var skewed = uniform
        var hot = uniform
        for (index, nodes) in lists.enumerated() {
            let width = ends[index] &- (index == 0 ? ends[ends.count - 1] : ends[index - 1])
            for node in nodes { uniform[node] += Double(width) }
        }
        for rank in 1...keys {
            let index = Self.firstIndex(ends.count, atOrAfter: generator.next()) { ends[$0] }
            for node in lists[index] {
                skewed[node] += 1 / Double(rank).squareRoot()
                hot[node] += 1 / Double(rank)
            }
        }
        loads.uniform.append(Self.evenness(uniform))
        loads.skewed.append(Self.evenness(skewed))
        loads.hot.append(Self.evenness(hot))
    }

    private static func evenness(_ loads: [Double]) -> Double {
        loads.reduce(0, +) / Double(loads.count) / loads.max()!
    }
}
