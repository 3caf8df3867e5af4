// Nodes of this very build, as processes of their own on loopback, for as long as a run takes. Their scrub is off: its first
// walk begins at the start and would be over in the middle of a run.

import Foundation
import Glibc

final class LocalCluster {
    private static let startLimit = Duration.seconds(60)
    private static let stopLimit = Duration.seconds(20)

    private struct Member {
        var pb: Int
        var http: Int
        var peer: Int
        var process: Process?
    }

    private let folder: String
    private var members: [Member]
    let lanes: Int

    var processes: [Int32] { members.compactMap { $0.process?.processIdentifier } }
    var targets: [(host: String, port: Int)] { members.map { ("127.0.0.1", $0.pb) } }

    /// Starts them and waits until all answer. `binary`: a `torc`.
    init(nodes: Int, folder: String, binary: String) throws {
        self.folder = folder
        // As tools/up does: the nodes share the cores.
        lanes = max(1, min(4, ProcessInfo.processInfo.activeProcessorCount / nodes))
        let ports = try Self.freePorts(nodes * 3)
        members = (0..<nodes).map { Member(pb: ports[3 * $0], http: ports[3 * $0 + 1], peer: ports[3 * $0 + 2]) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let list = members.enumerated().map { "    - node\($0.offset + 1)=127.0.0.1:\($0.element.peer)\n" }.joined()
        for (index, member) in members.enumerated() {
            let name = "node\(index + 1)"
            let text = """
                node:
                  name: \(name)
                data-folder: \(folder)/\(name)
                cluster:
                  name: bench
                  key: a cluster that lives for one run
                  members:
                \(list)listen:
                  pb: 127.0.0.1:\(member.pb)
                  http: 127.0.0.1:\(member.http)
                  peer: 127.0.0.1:\(member.peer)
                threads:
                  lanes: \(lanes)
                scrub:
                  bytes-per-second: 0

                """
            let path = "\(folder)/\(name).yaml"
            // It holds a secret, if one that is worth nothing.
            guard
                FileManager.default.createFile(
                    atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
            else { throw BenchFailure("\(path) cannot be written: give another --folder") }
            members[index].process = try Tool(path: binary)
                .start(["serve", "--config", path], output: "\(folder)/\(name).log")
        }
        do {
            try waitUntilAllAnswer()
        } catch {
            stop()
            throw error
        }
    }

    private func waitUntilAllAnswer() throws {
        let end = ContinuousClock.now + Self.startLimit
        for (index, member) in members.enumerated() {
            while (try? Self.get("/ping", port: member.http)) == nil {
                let log = "\(folder)/node\(index + 1).log"
                guard member.process?.isRunning == true else {
                    throw BenchFailure("node\(index + 1) ended at its start: \(Self.lastLine(log))")
                }
                guard ContinuousClock.now < end else {
                    throw BenchFailure(
                        "node\(index + 1) did not answer within \(Self.startLimit): \(Self.lastLine(log))")
                }
                usleep(50_000)
            }
        }
    }

    private static func lastLine(_ path: String) -> String {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").last.map(String.init) ?? "\(path) says nothing"
    }

    /// `/stats` of every node.
    func statistics() throws -> [NodeFigures] {
        try members.map { try NodeFigures(try Self.get("/stats", port: $0.http)) }
    }

    /// Ends them all; what does not end is killed.
    func stop() {
        for member in members where member.process?.isRunning == true { member.process?.terminate() }
        let end = ContinuousClock.now + Self.stopLimit
        for member in members {
            guard let process = member.process else { continue }
            while process.isRunning, ContinuousClock.now < end { usleep(10_000) }
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
        }
        for index in members.indices { members[index].process = nil }
    }

    // MARK: Ports and pages

    /// Ports that nobody listens on now.
    private static func freePorts(_ count: Int) throws -> [Int] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        return try (0..<count).map { _ in
            let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard file >= 0 else { throw BenchFailure("no socket: \(String(cString: strerror(errno)))") }
            sockets.append(file)
            var address = loopback(0)
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(file, $0, length) == 0 && getsockname(file, $0, &length) == 0
                }
            }
            guard isBound else { throw BenchFailure("no free port: \(String(cString: strerror(errno)))") }
            return Int(UInt16(bigEndian: address.sin_port))
        }
    }

    private static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    private static let pageSeconds = 10
    private static let maximumPageBytes = 4 << 20

    /// The body of a page of a node's HTTP port.
    private static func get(_ path: String, port: Int) throws -> String {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { throw BenchFailure("no socket: \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var limit = timeval(tv_sec: pageSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(file, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = loopback(port)
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected else { throw BenchFailure("nobody listens on 127.0.0.1:\(port)") }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        guard send(file, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw BenchFailure("127.0.0.1:\(port) takes no request")
        }
        var answer: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while answer.count < maximumPageBytes {
            let count = recv(file, &piece, piece.count, 0)
            if count <= 0 { break }
            answer += piece.prefix(count)
        }
        let text = String(decoding: answer, as: UTF8.self)
        guard text.prefix(16).contains(" 200 "), let head = text.firstRange(of: "\r\n\r\n") else {
            throw BenchFailure("127.0.0.1:\(port)\(path) answers: \(text.prefix { $0 != "\r" && $0 != "\r\n" })")
        }
        return String(text[head.upperBound...])
    }
}

/// Of a node's `/stats`, what a bench looks at; counters since it started.
struct NodeFigures: Decodable {
    struct Store: Decodable {
        var log_bytes_written: Double
        var log_syncs: Double
        var flush_bytes: Double
        var compaction_written_bytes: Double
    }

    struct Latency: Decodable {
        var count: Double
        var total_us: Double
    }

    struct Stages: Decodable {
        var turns: Double
        var timed_turns: Double
        var interruptions: Double
        var taken: Double
        var waited_ns: Double
        /// By `LoopStage.name`.
        var ns: [String: Double]
    }

    struct Allocations: Decodable {
        var count: Double
        var bytes: Double
    }

    var store: Store
    var sync: Latency
    var stages: Stages
    /// Where the allocator counts.
    var allocations: Allocations?
    var events: Double
    var commits: Double
    var messages_sent: Double

    init(_ json: String) throws {
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(json.utf8))
        } catch {
            throw BenchFailure("a node's /stats is not what this build writes: \(error)")
        }
    }
}
