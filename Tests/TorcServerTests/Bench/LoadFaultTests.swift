import Foundation
import Testing
import TorcLoad

/// What is done to nodes while a load runs.
@Suite struct LoadFaultTests {
    @Test func faultsAreReadAsTheyAreWritten() {
        #expect(LoadFault("kill:node2@5s+3s") == LoadFault(kind: .kill, node: "node2", start: 5, seconds: 3))
        #expect(
            LoadFault("pause:node10@0.5+2.25s") == LoadFault(kind: .pause, node: "node10", start: 0.5, seconds: 2.25))
        let wrong = [
            "", "kill", "kill:node2", "kill:node2@5s", "burn:node2@5s+3s", "kill:@5s+3s", "kill:../x@5s+3s",
            "kill:node2@-1s+3s",
            "kill:node2@5s+3s,", "kill:node2@5m+3m",
        ]
        for text in wrong { #expect(LoadFault(text) == nil, "\(text)") }
    }

    @Test func whatCannotBeIsRefused() throws {
        func made(_ texts: [String]) throws -> [LoadFault] {
            try LoadFaults(texts, cluster: "data/local", seconds: 10).faults
        }
        let two = try made(["pause:node3@6s+4s", "kill:node2@1s+5s"])
        #expect(two.map(\.node) == ["node2", "node3"])
        // One after the other is no overlap; two nodes at once are none.
        #expect(try made(["kill:node2@1s+2s", "kill:node2@3s+2s", "pause:node1@2s+2s"]).count == 3)
        for wrong in [["kill:node2@8s+3s"], ["kill:node2@1s+0s"], ["kill:node2@1s+3s", "pause:node2@2s+1s"], ["no"]] {
            #expect(throws: LoadFaults.Refusal.self) { try made(wrong) }
        }
        let many = (0...LoadFaults.largestCount).map { "pause:node\($0)@1s+1s" }
        #expect(throws: LoadFaults.Refusal.self) { try made(many) }
    }

    private static func state(_ process: Int32) -> String? {
        let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
        return text?.split(separator: ")").last.map { String($0.dropFirst().prefix(1)) }
    }

    /// Whether it stands still, within ten seconds.
    private static func stopped(_ process: Int32) async throws -> Bool {
        for _ in 0..<1000 {
            if state(process) == "T" { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    /// A folder as tools/up leaves it, and a process that stands for node1.
    private func withNode(_ body: (String, Process) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("faults-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let configuration = folder.appendingPathComponent("node1.yaml").path
        #expect(FileManager.default.createFile(atPath: configuration, contents: nil))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", "while :; do sleep 0.05; done", configuration]
        try process.run()
        defer {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try "\(process.processIdentifier)\n".write(
            to: folder.appendingPathComponent("node1.pid"), atomically: true, encoding: .utf8)
        try await body(folder.path, process)
    }

    @Test func aNodeStandsStillAndGoesOn() async throws {
        try await withNode { folder, process in
            let runner = FaultRunner(try LoadFaults(["pause:node1@0.2s+2s"], cluster: folder, seconds: 5))
            try runner.check()
            let run = Task { try await runner.run(from: .now) }
            #expect(try await Self.stopped(process.processIdentifier))
            let fault = try #require(try await run.value.first)
            #expect(Self.state(process.processIdentifier) != "T")
            #expect(fault.kind == "pause" && fault.node == "node1" && fault.from >= 0.2 && fault.to >= 2.2)
        }
    }

    @Test func aRunThatEndsEarlyLeavesNobodyStopped() async throws {
        try await withNode { folder, process in
            let runner = FaultRunner(try LoadFaults(["pause:node1@0s+60s"], cluster: folder, seconds: 100))
            let run = Task { try await runner.run(from: .now) }
            #expect(try await Self.stopped(process.processIdentifier))
            run.cancel()
            await #expect(throws: (any Error).self) { try await run.value }
            #expect(Self.state(process.processIdentifier) != "T")
        }
    }

    @Test func strangersAreLeftAlone() async throws {
        try await withNode { folder, process in
            // The number of a node that has ended may be another process's by now: here this one's.
            try "\(getpid())".write(toFile: "\(folder)/node1.pid", atomically: true, encoding: .utf8)
            let faults = try LoadFaults(["kill:node1@0s+1s"], cluster: folder, seconds: 5)
            #expect(throws: (any Error).self) { try FaultRunner(faults).check() }
            await #expect(throws: (any Error).self) { try await FaultRunner(faults).run(from: .now) }
            let unknown = try LoadFaults(["kill:node2@0s+1s"], cluster: folder, seconds: 5)
            #expect(throws: (any Error).self) { try FaultRunner(unknown).check() }
        }
    }
}
