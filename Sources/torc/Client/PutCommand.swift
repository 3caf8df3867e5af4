import ArgumentParser
import Foundation
import NIOCore
import TorcClient

/// `torc put`: writes an object, replacing what a context covers.
struct PutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Write an object.",
        discussion: """
            Examples:
              torc put carts alice milk
              torc put carts alice 'milk, eggs' --context "$(torc get carts alice --context)"
              torc put photos cat --file cat.jpg --content-type image/jpeg
              torc put locks job-7 me --if-absent
              torc put sessions 4711 open --ttl 10m

            A put replaces the versions that its context covers. Without a context it replaces nothing: where
            something stands already, it becomes its sibling.
            """)

    @OptionGroup var name: KeyArguments
    @Argument(help: "The value; or give --file.") var value: String?
    @OptionGroup var client: ClientOptions
    @Option(help: "Read the value from this file; '-' is standard input.") var file: String?
    @Option(help: "The value's type.") var contentType: String?
    @Option(help: "What 'torc get --context' printed: the versions that this write replaces.") var context: String?
    @Option(help: "How long the version stands: a number with s, m, h or d.") var ttl: Lifetime?
    @Flag(help: "Refuse when the object is there already.") var ifAbsent = false
    @Flag(help: "Refuse when the object is not as it was read with --context.") var ifUnmodified = false

    func run() async throws {
        let quorum = try name.quorum()
        let context = try name.context(from: context)
        guard (value == nil) != (file == nil) else { throw ValidationError("give a value or --file, and not both") }
        guard !(ifAbsent && ifUnmodified) else { throw ValidationError("give one of --if-absent and --if-unmodified") }
        guard !ifUnmodified || context != nil else { throw ValidationError("--if-unmodified needs --context") }
        let bytes = try value.map { ByteBuffer(string: $0) } ?? ByteBuffer(bytes: read(file!))
        let type = contentType ?? (value != nil ? "text/plain" : "application/octet-stream")
        try await client.withClient { client in
            let result = try await client.put(
                bytes, to: name.name, contentType: type, context: context,
                condition: ifAbsent ? .ifAbsent : ifUnmodified ? .ifUnmodified : nil, consistency: quorum,
                lifetimeSeconds: ttl?.seconds, returning: .head)
            let count = result.object.versions.count
            if self.client.json {
                try ObjectPrinter.print(
                    json: ["ok": true, "siblings": count, "context": ObjectPrinter.token(result.object.context)])
            } else {
                print(count > 1 ? "ok, beside \(count - 1) that it does not replace: 'torc get' shows all" : "ok")
            }
        }
    }

    /// `90s`, `10m`, `12h`, `7d`; seconds without a letter.
    struct Lifetime: ExpressibleByArgument {
        var seconds: Int

        init?(argument: String) {
            let units = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
            let unit = argument.last.flatMap { units[String($0)] }
            guard let count = Int(unit == nil ? argument[...] : argument.dropLast()), count > 0 else { return nil }
            let (seconds, overflows) = count.multipliedReportingOverflow(by: unit ?? 1)
            guard !overflows else { return nil }
            self.seconds = seconds
        }
    }

    private func read(_ path: String) throws -> Data {
        if path == "-" { return try FileHandle.standardInput.readToEnd() ?? Data() }
        do { return try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw ValidationError("cannot read \(path): \(error.localizedDescription)")
        }
    }
}
