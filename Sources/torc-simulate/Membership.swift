// `torc-simulate membership`: the membership alone, at sizes up to a thousand nodes.

import ArgumentParser
import Foundation
import TorcSimulation

struct SimulateMembership: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "membership",
        abstract: "Measures the membership at scale: how long news takes, what it costs, who is accused wrongly.",
        discussion: """
            Examples:
              torc-simulate membership --nodes 150 --loss 1
              torc-simulate membership --nodes 1000 --loss 5

            Times are in protocol periods. Exits with 1 when somebody who was well was declared dead, or news did not
            reach everybody.
            """)

    @Option(help: "Members.") var nodes = 150
    @Option(help: "Messages that are lost, in percent.") var loss = 1.0
    @Option(help: "Deaths, returns and changes that are timed.") var trials = 5
    @Option(help: "Protocol period, in milliseconds.") var period: UInt64 = 500
    @Option(help: "Of everything that is drawn.") var seed: UInt64 = 1

    func validate() throws {
        guard (2...10_000).contains(nodes) else { throw ValidationError("--nodes must be 2…10000") }
        guard (0...90).contains(loss) else { throw ValidationError("--loss must be 0…90") }
        guard period > 0, trials >= 0 else { throw ValidationError("--period and --trials must not be negative") }
    }

    func run() throws {
        var plan = MembershipScalePlan(nodes: nodes, lossPerMille: Int(loss * 10))
        plan.period = .milliseconds(period)
        plan.trials = trials
        plan.seed = seed
        let began = Date()
        var scale = MembershipScale(plan)
        let report = scale.run()
        print("\(nodes) nodes, \(loss) % of messages lost, period \(period) ms, seed \(seed)")
        print("start          all know all after \(text(report.allKnowAll)) periods")
        print(
            "at rest        \(text(report.messagesPerNodeAndSecond)) messages, "
                + "\(Int(report.bytesPerNodeAndSecond)) bytes a node and second; largest \(report.largestMessageBytes) bytes"
        )
        line("suspected      first", report.trials.map(\.suspectedByOne))
        line("routed around  by all", report.trials.map(\.suspectedByAll))
        line("dead           for all", report.trials.map(\.deadForAll))
        line("back           for all", report.trials.map(\.returnedForAll))
        line("new build      known to all", report.trials.map(\.buildKnownToAll))
        print("mistakes       \(report.falseSuspicions) false suspicions, \(report.falseDeaths) false deaths")
        print(String(format: "(%.1f s)", Date().timeIntervalSince(began)))
        let isComplete =
            report.allKnowAll != nil
            && report.trials.allSatisfy {
                $0.suspectedByOne != nil && $0.suspectedByAll != nil && $0.deadForAll != nil && $0.returnedForAll != nil
                    && $0.buildKnownToAll != nil
            }
        if !isComplete || report.falseDeaths > 0 { throw ExitCode(1) }
    }

    private func text(_ value: Double?) -> String { value.map { String(format: "%.1f", $0) } ?? "never" }

    private func line(_ title: String, _ values: [Double?]) {
        guard !values.isEmpty else { return }
        let known = values.compactMap { $0 }.sorted()
        guard known.count == values.count else {
            return print("\(title) never, in \(values.count - known.count) trials")
        }
        print("\(title) after \(text(known[known.count / 2])) periods (median), \(text(known.last)) (most)")
    }
}
