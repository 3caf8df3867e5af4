// What commands take that ask a node's HTTP listener.

import ArgumentParser
import Foundation
import TorcClient
import TorcServer

/// What every `torc cluster` command takes.
struct AdminOptions: ParsableArguments {
    @Option(help: "The node to ask: the address of its HTTP listener.") var http = "127.0.0.1:8098"
    @Option(help: "Seconds that the answer may take.") var timeout = 10.0
    @Flag(help: "Print JSON, for programs.") var json = false

    /// The body of a successful answer.
    func get(_ path: String) async throws -> Data { try await ask("GET", path) }
    func post(_ path: String) async throws -> Data { try await ask("POST", path) }

    /// As JSON when that was asked for, otherwise as `body` prints it.
    func show<Report: Decodable>(_ bytes: Data, as type: Report.Type, _ body: (Report) throws -> Void) throws {
        if json { return print(String(decoding: bytes, as: UTF8.self), terminator: "") }
        try body(try AdminJSON.decode(type, bytes))
    }

    /// As a value in a query.
    static func escaped(_ text: String) -> String {
        let plain = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~,")
        return text.addingPercentEncoding(withAllowedCharacters: plain) ?? ""
    }

    private func ask(_ method: String, _ path: String) async throws -> Data {
        guard TorcAddress(http) != nil else { throw ValidationError("'\(http)' is not host:port") }
        guard timeout > 0, timeout <= 3600 else { throw ValidationError("--timeout must be above 0, 3600 at most") }
        let client = AdminClient(http: http, timeout: timeout)
        do {
            return try await method == "POST" ? client.post(path) : client.get(path)
        } catch let failure as AdminFailure {
            try fail(failure.description)
        }
    }

    private func fail(_ message: String) throws -> Never {
        FileHandle.standardError.write(Data("torc: \(message)\n".utf8))
        throw ExitCode(7)
    }
}
