import ArgumentParser
import Foundation
import TorcServer

/// `torc serve`: runs a node until it is told to stop.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run a node until it is told to stop.",
        discussion: """
            Examples:
              torc serve --config node1.yaml
              torc serve --config node1.yaml --log-level debug
              torc serve --config node4.yaml --join 127.0.0.1:8098 --token torc1-…
              TORC_LOG_JSON=true torc serve --config node1.yaml --check

            Every setting may stand in the file, in the environment and among the flags; flags go before the
            environment, that before the file.

            Settings:
            \(ConfigurationHelp.settings)
            """)

    @Option(help: "A YAML or JSON file; also TORC_CONFIG.") var config: String?
    @Flag(help: "Print the effective configuration and where each value comes from, and end.") var check = false
    @Option(help: "With an empty data folder: the HTTP address of a member to ask to be let in; cluster.join.")
    var join: String?
    @Option(help: "What `torc cluster token` printed; cluster.join-token.") var token: String?
    @Argument(parsing: .allUnrecognized, help: "Settings, as --name value.") var settings: [String] = []

    func run() async throws {
        let environment = ProcessInfo.processInfo.environment
        let file = config ?? environment["TORC_CONFIG"]
        let joining = (join.map { ["--cluster-join", $0] } ?? []) + (token.map { ["--cluster-join-token", $0] } ?? [])
        let exit = await Server.run(file: file, environment: environment, flags: settings + joining, checkOnly: check)
        if exit != .success { throw ExitCode(exit.rawValue) }
    }
}
