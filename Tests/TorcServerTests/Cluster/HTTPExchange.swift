// One HTTP exchange over a connection of its own, byte by byte: no client library stands between the test
// and the server.

import Foundation
import NIOCore
import NIOPosix

struct HTTPExchange {
    var status: Int
    /// Names in lower case.
    var headers: [String: String]
    var body: String

    static func send(
        _ method: String, _ path: String, headers: [String: String] = [:], body: String? = nil, port: Int
    ) async throws -> HTTPExchange {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        for (name, value) in headers.sorted(by: { $0.key < $1.key }) { text += "\(name): \(value)\r\n" }
        if let body { text += "Content-Length: \(body.utf8.count)\r\n" }
        text += "\r\n\(body ?? "")"
        return try parse(try await raw(text, port: port))
    }

    /// Sends bytes and collects what comes until the server closes.
    static func raw(_ text: String, port: Int) async throws -> String {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: text))
            var answer = ByteBuffer()
            for try await part in inbound { answer.writeImmutableBuffer(part) }
            return String(buffer: answer)
        }
    }

    private struct Malformed: Error { var text: String }

    private static func parse(_ text: String) throws -> HTTPExchange {
        guard let end = text.range(of: "\r\n\r\n") else { throw Malformed(text: text) }
        let lines = text[..<end.lowerBound].split(separator: "\r\n")
        guard let status = lines.first.flatMap({ Int($0.split(separator: " ")[1]) }) else {
            throw Malformed(text: text)
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let pair = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            headers[pair[0].lowercased()] = pair[1].trimmingPrefix(" ").description
        }
        var body = String(text[end.upperBound...])
        if headers["transfer-encoding"] == "chunked" { body = dechunked(body) }
        return HTTPExchange(status: status, headers: headers, body: body)
    }

    private static func dechunked(_ text: String) -> String {
        var rest = Substring(text)
        var body = ""
        while let end = rest.range(of: "\r\n"), let length = Int(rest[..<end.lowerBound], radix: 16), length > 0 {
            let start = end.upperBound
            let stop = rest.utf8.index(start, offsetBy: length)
            body += rest[start..<stop]
            rest = rest[stop...].dropFirst(1)
        }
        return body
    }
}
