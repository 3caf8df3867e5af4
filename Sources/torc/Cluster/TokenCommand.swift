import ArgumentParser
import TorcServer

/// `torc cluster token`: what lets one new node in.
struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Print a token with which one new node can ask to join.",
        discussion: """
            Examples:
              torc cluster token
              torc cluster token --ttl 10m --http 127.0.0.1:8108

            A token is the id of one node, sealed under the cluster's secret: shown twice, to whichever members, it is
            the same node that asks. Once that node is a member, or was removed, the token is of no more use.
            """)

    @OptionGroup var admin: AdminOptions
    @Option(help: "How long it can be used, such as 30m, 1h or 2d; seven days at most.") var ttl = "1h"

    func run() async throws {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
        guard let unit = ttl.last.flatMap({ units[$0] }), let count = Int(ttl.dropLast()),
            (1...1_000_000).contains(count)
        else { throw ValidationError("--ttl is a number and s, m, h or d") }
        let body = try await admin.post("/admin/cluster/token?ttl=\(count * unit)")
        try admin.show(body, as: TokenReport.self) { print($0.token) }
    }
}

/// `torc cluster join`: says how.
struct JoinCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Say how a new node joins.")

    func run() {
        print(
            """
            A new node asks by itself. On a machine whose node is a member:

              torc cluster token

            On the new machine, with an empty data folder and the cluster's secret:

              torc serve --config NEW.yaml --join HOST:PORT --token TOKEN

            HOST:PORT is the HTTP address of that member. The configuration is that of any node, without
            cluster.members. Then, at the same member:

              torc cluster plan            who gives what to whom
              torc cluster commit PLAN     make it so
              torc cluster transfers --wait
            """)
    }
}
