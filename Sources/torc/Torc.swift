import ArgumentParser
import TorcLoad

/// `torc`: server, clients and tools in one binary.
@main
struct Torc: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "torc",
        abstract: "A durable, always-writable, leaderless key-value store.",
        discussion: """
            Examples:
              torc serve --config node1.yaml            start a node
              torc serve --config node1.yaml --check    show its effective configuration
              torc bench load --put                     measure a running cluster
              torc version
            """,
        subcommands: [ServeCommand.self, VersionCommand.self, BenchCommand.self])
}

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure.", subcommands: [LoadCommand.self])
}
