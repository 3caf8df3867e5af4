import ArgumentParser
import Foundation
import NIOCore
import TorcClient

/// `torc ping`: asks each node whether it answers.
struct PingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping", abstract: "Ask nodes whether they answer.",
        discussion: """
            Examples:
              torc ping
              torc ping --node 127.0.0.1:8087,127.0.0.1:8097,127.0.0.1:8107

            Asks each node by itself. Ends with status 1 when one does not answer.
            """)

    @OptionGroup var client: ClientOptions

    func run() async throws {
        var failed = false
        var rows: [[String: Any]] = []
        for node in client.node.split(separator: ",") {
            guard let address = TorcAddress(String(node)) else { throw ValidationError("'\(node)' is not host:port") }
            var configuration = TorcClient.Configuration(addresses: [address])
            configuration.requestTimeout = .milliseconds(Int64(client.timeout * 1000))
            let connection = TorcClient(configuration)
            let begun = ContinuousClock.now
            do throws(TorcError) {
                let name = try await connection.serverInfo().node
                let milliseconds = (ContinuousClock.now - begun) / .milliseconds(1)
                rows.append(["address": "\(address)", "node": name, "milliseconds": milliseconds])
                if !client.json { print("\(address)  \(name)  \(String(format: "%.1f", milliseconds)) ms") }
            } catch {
                failed = true
                rows.append(["address": "\(address)", "error": error.description])
                if !client.json { print("\(address)  \(error)") }
            }
            await connection.shutdown()
        }
        if client.json { try ObjectPrinter.print(json: ["nodes": rows]) }
        if failed { throw ExitCode.failure }
    }
}
