import ArgumentParser
import Foundation
import Synchronization
import TorcInspect
import TorcLoad
import TorcMicro
import TorcModel
import TorcServer
import TorcWritePath

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
              torc put carts alice milk                 write an object
              torc get carts alice                      read it: its value, or all its siblings
              torc delete carts alice
              torc ping --node 127.0.0.1:8087,127.0.0.1:8097
              torc cluster status                       the members, as one node sees them
              torc cluster join                         how nodes are added; also leave, remove, replace
              torc cluster repair --wait                compare a node's replicas with all others' now
              torc explain carts alice --nodes …        what every node holds of an object, and why
              torc backup create --to DIR --nodes …     all nodes, while they serve; also list, verify, restore
              torc inspect info DIR                     what a data folder holds; also verify, repair, …
              torc bench load --put                     measure a running cluster
              torc bench write-path                     where a put's time goes; also compare
              torc bench overload                       ask it for four times what it can do
              torc version
            """,
        version: "torc \(BuildVersion.current)",
        subcommands: [
            ServeCommand.self, GetCommand.self, PutCommand.self, DeleteCommand.self, PingCommand.self,
            ClusterCommand.self, ExplainCommand.self, BackupCommand.self, InspectCommand.self, BenchCommand.self,
            VersionCommand.self,
        ])

    static func main() async {
        NodeSettings.reader.withLock { $0 = { path in try await NodeSettings(configuration: path) } }
        await main(nil)
    }
}

extension NodeSettings {
    /// What the offline tool needs of a node's configuration file.
    init(configuration path: String) async throws {
        let values = try await ConfigurationSource.load(
            file: path, environment: ProcessInfo.processInfo.environment, flags: [])
        let configuration = try ServerConfiguration(values)
        self.init(hashSeed: configuration.clusterKey.hashSeed, members: configuration.members.map(\.node))
    }
}

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure.",
        discussion: """
            Examples:
              torc bench load --preload --put           a running cluster, under puts
              torc bench overload                       four times what it can do, and how it takes that
              torc bench write-path --out before        where a put's time goes, stage by stage
              torc bench compare before.json after.json
              torc bench micro                          what merge, encode, lookup, parsers … cost, in instructions
            """,
        subcommands: [
            LoadCommand.self, OverloadCommand.self, WritePathCommand.self, CompareCommand.self, MicroCommand.self,
        ])
}
