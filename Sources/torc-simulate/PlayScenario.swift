// torc-simulate play: a story of several nodes, step by step.

import ArgumentParser
import Foundation
import TorcSimulation

struct PlayScenario: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "play",
        abstract: "Tells a scenario and compares each step with what it must come to.",
        discussion: """
            EXAMPLES
              torc-simulate play Tests/Scenarios/hinted-write.txt
              torc-simulate play --everything Tests/Scenarios/reaping.txt    each message of it
            """)

    @Argument(help: "The scenario.") var file: String
    @Flag(help: "Print all that happens, too.") var everything = false
    @Option(help: "A deliberate fault to switch on; the build must have them.") var fault: String?

    func run() throws {
        _ = try switchOn(fault)
        let text = try String(contentsOf: URL(filePath: file), encoding: .utf8)
        var run = ScenarioRun(try Scenario(parsing: text))
        let failure: ScenarioError?
        do {
            try run.run()
            failure = nil
        } catch {
            failure = error
        }
        if everything { for line in run.trace { print(line) } }
        let width = run.outcomes.map(\.step.text.count).max() ?? 0
        for outcome in run.outcomes {
            let padding = String(repeating: " ", count: width - outcome.step.text.count)
            print("\(outcome.step.text)\(padding) -> \(outcome.seen)\(outcome.isAsTold ? "" : "   NOT AS TOLD")")
        }
        guard let failure else { return }
        print("\(file), \(failure)")
        throw ExitCode(1)
    }
}
