import ArgumentParser
import Foundation
import FoundationNetworking

/// `torc cluster repair`: compares a node's replicas with all co-owners' now.
struct RepairCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair", abstract: "Compare a node's replicas with all co-owners' now, and merge what differs.",
        discussion: """
            Examples:
              torc cluster repair                         begin, and do not wait
              torc cluster repair --wait                  answer when everything was compared
              torc cluster repair --partition 7 --wait

            Repair goes on by itself all the time; this only puts it first. Ends with status 1 when, after --wait,
            a co-owner could not be compared.
            """)

    @Option(name: [.customShort("n"), .long], help: "The node's HTTP address, host:port.")
    var http = "127.0.0.1:8098"
    @Option(help: "One partition; all that the node holds without it.") var partition: Int?
    @Flag(help: "Wait until it is done.") var wait = false
    @Option(help: "Seconds to wait at most.") var timeout = 3600.0

    private struct Report: Decodable {
        var pairs: Int?
        var compared: Int?
        var differing_keys: Int?
        var error: String?
    }

    func run() async throws {
        var path = "http://\(http)/admin/repair?wait=\(wait)"
        if let partition { path += "&partition=\(partition)" }
        guard let url = URL(string: path) else { throw ValidationError("'\(http)' is not host:port") }
        var request = URLRequest(url: url, timeoutInterval: timeout)
        request.httpMethod = "POST"
        let (data, _) = try await URLSession.shared.data(for: request)
        let report = try JSONDecoder().decode(Report.self, from: data)
        if let error = report.error { throw ValidationError(error) }
        guard let pairs = report.pairs, let compared = report.compared, let differing = report.differing_keys else {
            return print("begun")
        }
        print("\(compared) of \(pairs) pairs of replicas compared, \(differing) keys differed")
        if compared < pairs { throw ExitCode.failure }
    }
}
