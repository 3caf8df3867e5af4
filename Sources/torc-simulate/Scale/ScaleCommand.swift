// `torc-simulate scale`: what no machine here can run, by the production machines in virtual time.

import ArgumentParser
import Foundation

struct SimulateScale: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Measures how clusters of up to a thousand nodes and more behave. tools/scale runs all of it.",
        subcommands: [ScaleCluster.self, ScaleClaim.self, ScaleStrategies.self])

    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
