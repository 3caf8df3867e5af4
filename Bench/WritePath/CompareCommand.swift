// `torc bench compare`.

package import ArgumentParser
import TorcConsole

package struct CompareCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Set two reports of 'torc bench write-path' side by side: ratios, their spread, and what is noise.",
        discussion: """
            A ratio is the second's median by the first's; from and to are the least and the most that the rounds allow.
            'noise': of all ways to deal the rounds into two groups more than one in a hundred would differ as much.
            'machine': no more than what db_bench and the disk differed by between the two runs.

            Examples:
              torc bench compare before.json after.json
              torc bench compare before.json after.json --json | jq -r 'select(.verdict == "worse") | .name'
            """)

    @Argument(help: "The report of the first run.") var first: String
    @Argument(help: "The report of the second run.") var second: String
    @Flag(help: "One JSON object a figure, for programs.") var json = false

    package init() {}

    package func run() throws {
        let comparison = Comparison(try WritePathReport.read(first), try WritePathReport.read(second))
        guard !comparison.rows.isEmpty else {
            throw BenchFailure("\(first) and \(second) have no figure in common: run both with the same --levels")
        }
        if json {
            for row in comparison.rows { try JSONLine.print(row) }
        } else {
            Console.print(comparison.text)
        }
    }
}
