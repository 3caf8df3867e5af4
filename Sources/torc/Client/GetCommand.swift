import ArgumentParser
import Foundation
import TorcClient

/// `torc get`: shows an object, with its siblings as a person wants to see them.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Read an object.",
        discussion: """
            Examples:
              torc get carts alice                      the value, or all siblings
              torc get carts alice --details            with time, type, tag and context
              torc get carts alice --context            the context alone, for a put
              torc get carts alice --consistency all --json

            Ends with status 1 when there is no such object.
            """)

    @OptionGroup var name: KeyArguments
    @OptionGroup var client: ClientOptions
    @Flag(help: "Show time, type, tag and context of a single version, too.") var details = false
    @Flag(help: "Print the context alone.") var context = false

    func run() async throws {
        let quorum = try name.quorum()
        try await client.withClient { client in
            let object = try await client.get(name.name, consistency: quorum)
            if self.client.json {
                try ObjectPrinter.print(json: ObjectPrinter.json(object, name: name.name))
            } else if context {
                print(ObjectPrinter.token(object.context))
            } else if object.isFound {
                ObjectPrinter.print(object, name: name.name, details: details)
            } else {
                let what = object.context == nil ? "not found" : "deleted"
                FileHandle.standardError.write(Data("\(name.name): \(what)\n".utf8))
            }
            if !object.isFound, !context { throw ExitCode.failure }
        }
    }
}
