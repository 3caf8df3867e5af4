// `torc-simulate scale strategies`: figure 8 of the Dynamo paper.

import ArgumentParser
import Foundation
import TorcModel
import TorcSimulation

struct ScaleStrategies: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "strategies",
        abstract: "Compares the three strategies of placing keys in the Dynamo paper, as its figure 8 does.",
        discussion: "30 nodes, N = 3. Load balance is mean load over the greatest.")

    @Option(help: "Rings that are drawn for each point.") var rings = 20
    @Option(help: "Keys of the skewed workloads.") var keys = 100_000
    @Option(help: "Of everything that is drawn.") var seed: UInt64 = 1
    @Flag(help: "Print all that was measured, as JSON.") var json = false

    struct Output: Encodable {
        var seed: UInt64
        var rings: Int
        var keys: Int
        var points: [PlacementMeasurement] = []
        var seconds = 0.0
    }

    func validate() throws {
        guard rings > 0, keys > 0 else { throw ValidationError("--rings and --keys must be positive") }
    }

    func run() throws {
        let began = Date()
        let comparison = PlacementComparison(rings: rings, keys: keys, seed: seed)
        var output = Output(seed: seed, rings: rings, keys: keys)
        for strategy in [PlacementStrategy.randomTokens, .randomTokensEqualPartitions] {
            for exponent in 0...9 { output.points.append(comparison.tokens(strategy, tokens: 1 << exponent)) }
        }
        for exponent in 6...14 { output.points.append(comparison.equalShares(partitions: 1 << exponent)) }
        output.seconds = Date().timeIntervalSince(began)
        if json { return try SimulateScale.json(output) }
        print("strategy  T or Q   bytes  uniform (worst…best)   skewed  hot keys")
        for point in output.points {
            print(
                String(
                    format: "%8d %7d %7d    %.3f (%.3f…%.3f)   %.3f    %.3f", point.strategy.rawValue,
                    point.parameter, point.stateBytes, point.uniform.mean, point.uniform.worst, point.uniform.best,
                    point.skewed.mean, point.hot.mean))
        }
        print(String(format: "(%.1f s)", output.seconds))
    }
}
