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
              TORC_LOG_JSON=true torc serve --config node1.yaml --check

            Every setting may stand in the file, in the environment and among the flags; flags go before the
            environment, that before the file.

            Settings:
            \(ConfigurationHelp.settings)
            """)

    @Option(help: "A YAML or JSON file; also TORC_CONFIG.") var config: String?
    @Flag(help: "Print the effective configuration and where each value comes from, and end.") var check = false
    @Argument(parsing: .allUnrecognized, help: "Settings, as --name value.") var settings: [String] = []

    func run() async throws {
        let environment = ProcessInfo.processInfo.environment
        let file = config ?? environment["TORC_CONFIG"]
        let exit = await Server.run(file: file, environment: environment, flags: settings, checkOnly: check)
        if exit != .success { throw ExitCode(exit.rawValue) }
    }
}
