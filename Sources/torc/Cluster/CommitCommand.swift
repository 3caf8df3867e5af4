import ArgumentParser
import TorcServer

/// `torc cluster commit`: makes a plan the ring.
struct CommitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Have the members agree on a plan that `torc cluster plan` showed.",
        discussion: """
            Example:
              torc cluster commit 4b1d0c7f0e1a2b3c

            A majority of the members must answer. Ends with status 1 unless the plan is committed.
            """)

    @OptionGroup var admin: AdminOptions
    @Argument(help: "What plan printed; another plan is refused.") var plan: String

    func run() async throws {
        let seconds = max(1, Int(admin.timeout) - 1)
        try await admin.commit("commit?plan=\(AdminOptions.escaped(plan))&timeout=\(seconds)")
    }
}

/// `torc cluster force-generation`: the way out when a majority is gone.
struct ForceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "force-generation",
        abstract: "Go on without members that are gone for good and a majority, by the word of this node alone.",
        discussion: """
            Example:
              torc cluster force-generation --without node2,node3 --yes

            Be sure that they never run again as what they were: nobody can ask them, so writes that they took and the
            others did not see are lost. They are fenced: nobody listens to them any more. Run it at one node, once.
            """)

    @OptionGroup var admin: AdminOptions
    @Option(help: "The members that are gone, with commas between them.") var without: String
    @Flag(help: "Do it.") var yes = false

    func run() async throws {
        guard yes else {
            print("This would make the cluster go on without \(without), for ever. Say --yes to do it.")
            throw ExitCode.failure
        }
        try await admin.commit("force?without=\(AdminOptions.escaped(without))")
    }
}

extension AdminOptions {
    fileprivate func commit(_ order: String) async throws {
        let body = try await post("/admin/cluster/\(order)")
        let report = try AdminJSON.decode(CommitReport.self, body)
        try show(body, as: CommitReport.self) { print($0.text) }
        if report.outcome != "committed" { throw ExitCode.failure }
    }
}
