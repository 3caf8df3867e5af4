// Strikes nodes that tools/up started on this machine, and undoes it: a node is never left stopped by a run that ends early.

import Dispatch
import Foundation
import Glibc
import Synchronization

/// Nodes of one data folder.
package final class FaultRunner: Sendable {
    /// A process that was killed is gone within this, or something is wrong with the machine.
    private static let endLimit = Duration.seconds(10)
    /// Linux's POSIX_SPAWN_SETSID, which Glibc's module leaves out.
    private static let spawnSetsid: Int32 = 0x80

    private let faults: LoadFaults
    /// What has not been undone: by node, the process that stands still or the binary that must be started.
    private let open = Mutex<[String: Undoing]>([:])

    private enum Undoing: Sendable {
        case proceed(pid_t)
        case start(binary: String)
    }

    package init(_ faults: LoadFaults) { self.faults = faults }

    /// Whether all nodes that shall be struck run here.
    package func check() throws {
        for node in Set(faults.faults.map(\.node)).sorted() { _ = try process(of: node) }
    }

    /// Strikes by the clock. `measured`: the instant that faults count from.
    package func run(from measured: ContinuousClock.Instant) async throws -> [StruckFault] {
        // Ctrl-C in the middle of a pause must not leave a node that never answers again.
        let sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                self.undoAll()
                exit(128 + number)
            }
            source.resume()
            return source
        }
        defer {
            for source in sources { source.cancel() }
            for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) }
            undoAll()
        }
        return try await withThrowingTaskGroup(of: StruckFault.self) { tasks in
            for fault in faults.faults {
                tasks.addTask { try await self.strike(fault, measured) }
            }
            var struck: [StruckFault] = []
            for try await fault in tasks { struck.append(fault) }
            return struck.sorted { ($0.from, $0.node) < ($1.from, $1.node) }
        }
    }

    private func strike(_ fault: LoadFault, _ measured: ContinuousClock.Instant) async throws -> StruckFault {
        func second() -> Double { (ContinuousClock.now - measured) / .seconds(1) }
        try await Task.sleep(until: measured + .seconds(fault.start), clock: .continuous)
        let process = try process(of: fault.node)
        switch fault.kind {
        case .pause: try begin(fault.node, .proceed(process.id), SIGSTOP, process.id)
        case .kill: try begin(fault.node, .start(binary: process.binary), SIGKILL, process.id)
        }
        let from = second()
        try await Task.sleep(until: measured + .seconds(fault.end), clock: .continuous)
        if fault.kind == .kill { try await waitForEnd(of: process.id, fault.node) }
        try undo(fault.node)
        return StruckFault(kind: fault.kind.rawValue, node: fault.node, from: from, to: second())
    }

    private func begin(_ node: String, _ undoing: Undoing, _ number: Int32, _ process: pid_t) throws {
        try open.withLock { open in
            guard kill(process, number) == 0 else {
                throw LoadFailure(description: "\(node), process \(process), cannot be signalled: \(Self.lastError)")
            }
            open[node] = undoing
        }
    }

    private func waitForEnd(of process: pid_t, _ node: String) async throws {
        let end = ContinuousClock.now + Self.endLimit
        while ContinuousClock.now < end {
            // Of one that this run started nobody else takes note.
            waitpid(process, nil, WNOHANG)
            if kill(process, 0) != 0 || Self.isDead(process) { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw LoadFailure(description: "\(node), process \(process), was killed and does not end")
    }

    /// It has ended, and whoever started it has not asked how.
    private static func isDead(_ process: pid_t) -> Bool {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return true }
        return text.split(separator: ")").last?.hasPrefix(" Z") ?? true
    }

    private func undo(_ node: String) throws {
        try open.withLock { open in
            switch open.removeValue(forKey: node) {
            case .proceed(let process): kill(process, SIGCONT)
            case .start(let binary): try start(node, binary)
            case nil: break
            }
        }
    }

    private func undoAll() {
        for node in open.withLock({ $0.keys.sorted() }) { try? undo(node) }
    }

    // MARK: Processes

    private func path(_ node: String, _ ending: String) -> String { "\(faults.cluster)/\(node).\(ending)" }

    /// The process that tools/up has noted, if it still is that node's.
    private func process(of node: String) throws -> (id: pid_t, binary: String) {
        let text = try? String(contentsOfFile: path(node, "pid"), encoding: .utf8)
        guard let id = text.flatMap({ pid_t($0.trimmingCharacters(in: .whitespacesAndNewlines)) }), id > 1,
            let command = try? String(contentsOfFile: "/proc/\(id)/cmdline", encoding: .utf8),
            let configuration = try? Self.absolute(path(node, "yaml")), command.contains(configuration),
            let binary = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(id)/exe")
        else {
            throw LoadFailure(
                description: "\(node) does not run in \(faults.cluster): --cluster names the data folder of tools/up")
        }
        return (id, binary)
    }

    private static func absolute(_ path: String) throws -> String {
        guard let resolved = realpath(path, nil) else { throw LoadFailure(description: "there is no \(path)") }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// As tools/up does it: a session of its own, its output behind that of before, its number in the file that tools/down reads.
    private func start(_ node: String, _ binary: String) throws {
        let arguments = [binary, "serve", "--config", try Self.absolute(path(node, "yaml"))]
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(
            &attributes, Int16(Self.spawnSetsid | Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)))
        // A child inherits which signals its parent ignores, and which the calling thread blocks.
        var none = sigset_t(), all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var files = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&files)
        defer { posix_spawn_file_actions_destroy(&files) }
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&files, 1, path(node, "log"), O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&files, 1, 2)
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var id: pid_t = 0
        var environment: [UnsafeMutablePointer<CChar>?] =
            ProcessInfo.processInfo.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for variable in environment { free(variable) } }
        let code = posix_spawn(&id, binary, &files, &attributes, &words, &environment)
        guard code == 0 else {
            throw LoadFailure(description: "\(node) cannot be started again: \(String(cString: strerror(code)))")
        }
        try "\(id)\n".write(toFile: path(node, "pid"), atomically: true, encoding: .utf8)
    }

    private static var lastError: String { String(cString: strerror(errno)) }
}
