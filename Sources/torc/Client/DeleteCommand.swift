import ArgumentParser
import TorcClient

/// `torc delete`: deletes what was read, or what stands.
struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete an object.",
        discussion: """
            Examples:
              torc delete carts alice
              torc delete carts alice --context "$(torc get carts alice --context)"

            Deletes the versions that the context covers; without one, those that a quorum read finds. What is
            written concurrently stands. Deleting what is not there succeeds.
            """)

    @OptionGroup var name: KeyArguments
    @OptionGroup var client: ClientOptions
    @Option(help: "What 'torc get --context' printed: the versions to delete.") var context: String?

    func run() async throws {
        let quorum = try name.quorum()
        let context = try name.context(from: context)
        try await client.withClient { client in
            try await client.delete(name.name, context: context, consistency: quorum)
            if self.client.json { try ObjectPrinter.print(json: ["ok": true]) } else { print("ok") }
        }
    }
}
