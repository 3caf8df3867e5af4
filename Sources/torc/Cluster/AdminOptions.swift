// Asking a node's HTTP listener: one small request over a connection that ends with the answer.

import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import TorcClient
import TorcServer

/// What every `torc cluster` command takes.
struct AdminOptions: ParsableArguments {
    @Option(help: "The node to ask: the address of its HTTP listener.") var http = "127.0.0.1:8098"
    @Option(help: "Seconds that the answer may take.") var timeout = 10.0
    @Flag(help: "Print JSON, for programs.") var json = false

    /// A longer answer is refused.
    private static let largestAnswerBytes = 64 << 20

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
        guard let address = TorcAddress(http) else { throw ValidationError("'\(http)' is not host:port") }
        guard timeout > 0, timeout <= 3600 else { throw ValidationError("--timeout must be above 0, 3600 at most") }
        let answer: ByteBuffer
        do {
            let length = method == "POST" ? "Content-Length: 0\r\n" : ""
            answer = try await exchange(
                "\(method) \(path) HTTP/1.1\r\nHost: \(http)\r\n\(length)Connection: close\r\n\r\n", address)
        } catch {
            try fail("\(http) does not answer: \(error)")
        }
        let bytes = Data(answer.readableBytesView)
        guard let end = bytes.range(of: Data("\r\n\r\n".utf8)) else { try fail("\(http) does not speak HTTP") }
        let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
        let body = Data(bytes[end.upperBound...])
        guard head.split(separator: " ").dropFirst().first == "200" else {
            if let refused = try? AdminJSON.decode(AdminError.self, body) { try fail("\(http): \(refused.error)") }
            try fail("\(http): \(head.prefix { $0 != "\r\n" }): \(String(decoding: body, as: UTF8.self))")
        }
        return body
    }

    private func exchange(_ request: String, _ address: TorcAddress) async throws -> ByteBuffer {
        let limit = TimeAmount.milliseconds(Int64(timeout * 1000))
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(limit)
            .connect(host: address.host, port: address.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let deadline = channel.channel.eventLoop.scheduleTask(in: limit) { channel.channel.close(promise: nil) }
        defer { deadline.cancel() }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var received = ByteBuffer()
            for try await bytes in inbound {
                received.writeImmutableBuffer(bytes)
                guard received.readableBytes <= Self.largestAnswerBytes else {
                    throw ValidationError("the answer is longer than \(Self.largestAnswerBytes) bytes")
                }
            }
            return received
        }
    }

    private func fail(_ message: String) throws -> Never {
        FileHandle.standardError.write(Data("torc: \(message)\n".utf8))
        throw ExitCode(7)
    }
}
