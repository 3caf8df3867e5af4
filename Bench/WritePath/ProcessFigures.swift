// What Linux says of a process: processor time by thread, system calls that read and write, bytes to the disk, waits.

import Foundation
import Glibc

/// The parts of a node that have threads of their own.
package enum ThreadKind: String, CaseIterable {
    case loops
    case sync
    case store
    case others

    /// By the thread's name, as far as the kernel keeps it.
    package init(threadNamed name: String) {
        if name.hasPrefix("NIO-ELT") {
            self = .loops
        } else if name.hasPrefix("torc-sync") {
            self = .sync
        } else if name.hasPrefix("rocksdb") {
            self = .store
        } else {
            self = .others
        }
    }
}

/// Of one process, or of several together; since they began.
package struct ProcessFigures {
    /// Seconds, user and system.
    var cpu: [ThreadKind: Double] = [:]
    /// System calls that read or write; nil where the kernel does not tell.
    var calls: UInt64? = 0
    /// Bytes that were sent to the disk.
    var diskBytes: UInt64? = 0
    /// How often a thread gave up its core because it had to wait: every one is a wake-up later.
    var waits: UInt64 = 0

    var allCPU: Double { cpu.values.reduce(0, +) }

    init(of processes: [Int32]) throws {
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        for process in processes {
            let folder = "/proc/\(process)/task"
            guard let threads = try? FileManager.default.contentsOfDirectory(atPath: folder), !threads.isEmpty else {
                throw BenchFailure("process \(process) of a node is gone: its log says why")
            }
            // A thread that ends meanwhile is not counted any more.
            for thread in threads {
                guard let stat = Self.text("\(folder)/\(thread)/stat"), let parsed = Self.thread(stat) else { continue }
                cpu[ThreadKind(threadNamed: parsed.name), default: 0] += parsed.ticks / ticks
                if let status = Self.text("\(folder)/\(thread)/status") {
                    waits += Self.field("voluntary_ctxt_switches", in: status) ?? 0
                }
            }
            let io = Self.text("/proc/\(process)/io")
            Self.add(io, ["syscr", "syscw"], to: &calls)
            Self.add(io, ["write_bytes"], to: &diskBytes)
        }
    }

    /// What one process does not tell, all together do not.
    private static func add(_ io: String?, _ names: [String], to total: inout UInt64?) {
        for name in names {
            guard let known = total, let value = io.flatMap({ field(name, in: $0) }) else { return total = nil }
            total = known + value
        }
    }

    private static func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    /// Of a line of `stat`: the name stands in parentheses and may hold anything.
    package static func thread(_ stat: String) -> (name: String, ticks: Double)? {
        guard let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")"), open < close else { return nil }
        let fields = stat[stat.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        return (String(stat[stat.index(after: open)..<close]), user + system)
    }

    /// Of lines `name: value`.
    package static func field(_ name: String, in text: String) -> UInt64? {
        for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
            return UInt64(line.dropFirst(name.count + 1).split(whereSeparator: \.isWhitespace).first ?? "")
        }
        return nil
    }
}

package enum SystemCalls {
    /// Calls that read or write, of this process since it began; nil where the kernel does not tell.
    static var ofThisProcess: UInt64? {
        guard let io = try? String(contentsOfFile: "/proc/self/io", encoding: .utf8),
            let reads = ProcessFigures.field("syscr", in: io), let writes = ProcessFigures.field("syscw", in: io)
        else { return nil }
        return reads + writes
    }

    /// What `strace -c` wrote: calls by name, the most frequent first.
    package static func summary(_ text: String) -> [(name: String, calls: UInt64)] {
        var counted: [String: UInt64] = [:]
        for line in text.split(separator: "\n") {
            // % time, seconds, usecs/call, calls, [errors,] name
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count == 5 || fields.count == 6, Double(fields[0]) != nil, let calls = UInt64(fields[3]),
                let name = fields.last, name != "total"
            else { continue }
            counted[String(name), default: 0] += calls
        }
        return counted.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
    }
}

/// A program that this one starts, and waits for.
package struct Tool {
    let path: String

    /// Nil when it is not installed.
    init?(_ name: String) {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
        guard
            let found = folders.map({ "\($0)/\(name)" }).first(where: FileManager.default.isExecutableFile(atPath:))
        else { return nil }
        path = found
    }

    init(path: String) { self.path = path }

    /// Standard output and error together, and how it ended. It is ended when it takes longer than `limit`.
    func run(_ arguments: [String], output: String, limit: Duration) throws -> (text: String, status: Int32) {
        let process = try start(arguments, output: output)
        let end = ContinuousClock.now + limit
        while process.isRunning, ContinuousClock.now < end { usleep(5_000) }
        if process.isRunning {
            process.terminate()
            throw BenchFailure("\(path) took longer than \(limit) and was ended; its output is in \(output)")
        }
        return ((try? String(contentsOfFile: output, encoding: .utf8)) ?? "", process.terminationStatus)
    }

    func start(_ arguments: [String], output: String) throws -> Process {
        guard FileManager.default.createFile(atPath: output, contents: nil),
            let file = FileHandle(forWritingAtPath: output)
        else {
            throw BenchFailure("\(output) cannot be written: give another --folder")
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardOutput = file
        process.standardError = file
        process.standardInput = FileHandle.nullDevice
        // A child inherits which signals its parent's thread blocks, and threads of the concurrency runtime block those that
        // would end it.
        var none = sigset_t(), before = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        do {
            try process.run()
        } catch {
            throw BenchFailure("\(path) cannot be started: \(error)")
        }
        return process
    }
}
