import ArgumentParser
import Foundation
import NIOCore
import TorcClient

/// What every client command takes.
struct ClientOptions: ParsableArguments {
    @Option(
        name: [.customShort("n"), .long],
        help: "Nodes to ask, host:port separated by commas; the next is tried when one cannot be reached.")
    var node = "127.0.0.1:8087"
    @Option(help: "Seconds that a request may take.") var timeout = 10.0
    @Flag(help: "Print JSON, for programs.") var json = false

    /// Runs `body` with a client, and ends it.
    func withClient(_ body: (TorcClient) async throws -> Void) async throws {
        let addresses = try node.split(separator: ",").map { text in
            guard let address = TorcAddress(String(text)) else { throw ValidationError("'\(text)' is not host:port") }
            return address
        }
        guard !addresses.isEmpty else { throw ValidationError("--node names no node") }
        guard timeout > 0, timeout <= 3600 else { throw ValidationError("--timeout must be above 0, 3600 at most") }
        var configuration = TorcClient.Configuration(addresses: addresses)
        configuration.requestTimeout = .milliseconds(Int64(timeout * 1000))
        let client = TorcClient(configuration)
        do {
            try await body(client)
        } catch let error as TorcError {
            await client.shutdown()
            try fail(error)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }

    /// Says what went wrong and ends with the status of its kind.
    private func fail(_ error: TorcError) throws {
        let (kind, status): (String, Int32) =
            switch error {
            case .conditionFailed: ("conditionFailed", 3)
            case .refused: ("refused", 4)
            case .noQuorum: ("noQuorum", 5)
            case .indeterminate: ("indeterminate", 6)
            case .unreachable, .protocolViolation, .closed: ("unreachable", 7)
            }
        if json {
            try ObjectPrinter.print(json: ["error": kind, "message": error.description])
        } else {
            FileHandle.standardError.write(Data("torc: \(error)\n".utf8))
        }
        throw ExitCode(status)
    }
}

/// The object that a command is about.
struct KeyArguments: ParsableArguments {
    @Argument(help: "Bucket.") var bucket: String
    @Argument(help: "Key.") var key: String
    @Option(help: "Bucket type.") var type = ""
    @Option(name: [.customShort("c"), .long], help: "Replicas that must answer: one, quorum, all or a number.")
    var consistency: String?

    var name: TorcKey { TorcKey(bucket, key, type: type) }

    func quorum() throws -> TorcConsistency? {
        guard let consistency else { return nil }
        guard let quorum = TorcConsistency(consistency) else {
            throw ValidationError("--consistency must be one, quorum, all or a number, not '\(consistency)'")
        }
        return quorum
    }

    func context(from text: String?) throws -> TorcContext? {
        guard let text else { return nil }
        guard let bytes = Data(base64Encoded: text), !bytes.isEmpty else {
            throw ValidationError("--context takes what 'torc get' prints as context")
        }
        return TorcContext(bytes: ByteBuffer(bytes: bytes))
    }
}
