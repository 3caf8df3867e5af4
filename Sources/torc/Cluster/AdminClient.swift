// One request to a node's HTTP listener, over a connection that ends with the answer.

import Foundation
import NIOCore
import NIOPosix
import TorcClient
import TorcServer

/// What a node did not answer, or did not answer with success.
struct AdminFailure: Error, CustomStringConvertible {
    var description: String
}

struct AdminClient: Sendable {
    /// host:port
    var http: String
    /// Seconds that an answer may take.
    var timeout: Double

    /// A longer answer is refused.
    private static let largestAnswerBytes = 64 << 20

    func get(_ path: String) async throws -> Data { try await ask("GET", path) }
    func post(_ path: String) async throws -> Data { try await ask("POST", path) }

    /// The body of a successful answer.
    private func ask(_ method: String, _ path: String) async throws -> Data {
        guard let address = TorcAddress(http) else { throw AdminFailure(description: "'\(http)' is not host:port") }
        let answer: ByteBuffer
        do {
            let length = method == "POST" ? "Content-Length: 0\r\n" : ""
            answer = try await exchange(
                "\(method) \(path) HTTP/1.1\r\nHost: \(http)\r\n\(length)Connection: close\r\n\r\n", address)
        } catch let error as AdminFailure {
            throw error
        } catch {
            throw AdminFailure(description: "\(http) does not answer: \(error)")
        }
        let bytes = Data(answer.readableBytesView)
        guard let end = bytes.range(of: Data("\r\n\r\n".utf8)) else {
            throw AdminFailure(description: "\(http) does not speak HTTP, or does not answer in time")
        }
        let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
        let body = Data(bytes[end.upperBound...])
        guard head.split(separator: " ").dropFirst().first == "200" else {
            if let refused = try? AdminJSON.decode(AdminError.self, body) {
                throw AdminFailure(description: "\(http): \(refused.error)")
            }
            throw AdminFailure(
                description: "\(http): \(head.prefix { $0 != "\r\n" }): \(String(decoding: body, as: UTF8.self))")
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
                    throw AdminFailure(
                        description: "\(http): the answer is longer than \(Self.largestAnswerBytes) bytes")
                }
            }
            return received
        }
    }
}
