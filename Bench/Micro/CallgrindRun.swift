// Counts by callgrind: torc-micro, which stands beside torc, runs under valgrind, and there each subject asks for its part to be counted
// and written to a file. A count depends neither on the machine's speed nor on what else runs there, and repeats almost to the instruction.

import CCallgrind
import Foundation
import Glibc

/// Of one operation.
package struct MicroCounts: Codable, Equatable, Sendable {
    package var instructions: Double
    /// Calls of `malloc` and its like.
    package var allocations: Double
    /// Of references: calls of `swift_retain` and `swift_release`.
    package var retains: Double

    package init(instructions: Double, allocations: Double, retains: Double) {
        self.instructions = instructions
        self.allocations = allocations
        self.retains = retains
    }
}

/// What callgrind wrote of one part of a run.
package struct CallgrindPart: Equatable {
    private static let triggerLine = "desc: Trigger: Client Request: "
    private static let allocating: Set<String> = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"]
    private static let counting: Set<String> = [
        "swift_retain", "swift_retain_n", "swift_release", "swift_release_n", "swift_bridgeObjectRetain",
        "swift_bridgeObjectRelease",
    ]

    /// The name that the request gave.
    package var name: String
    package var instructions = 0
    package var allocations = 0
    package var retains = 0

    /// Nil: it is no part that a request ended. Names must not be compressed.
    package init?(_ text: String) {
        var name: String?
        var called = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("cfn=") {
                // A function within itself is told apart by a number: name'2.
                called = String(line.dropFirst(4).prefix { $0 != "'" })
            } else if line.hasPrefix("calls=") {
                guard let count = Int(line.dropFirst(6).prefix { $0 != " " }) else { return nil }
                if Self.allocating.contains(called) { allocations += count }
                if Self.counting.contains(called) { retains += count }
            } else if line.hasPrefix("totals: ") {
                guard let total = Int(line.dropFirst(8).prefix { $0 != " " }) else { return nil }
                instructions = total
            } else if line.hasPrefix(Self.triggerLine) {
                name = String(line.dropFirst(Self.triggerLine.count))
            }
        }
        guard let name, instructions > 0 else { return nil }
        self.name = name
    }
}

package enum CallgrindRun {
    /// All subjects take a few seconds.
    private static let limit = Duration.seconds(120)
    private static let program = "torc-micro"
    private static let operationsBefore = 2 * MicroInputs.count

    /// Within the process that callgrind watches.
    package static func count(only: String?) throws {
        for subject in MicroSubject.all where only.map({ subject.name.contains($0) }) ?? true {
            let run = try subject.prepare()
            // What is made at the first use is no part of an operation.
            var sum = try run(min(operationsBefore, subject.counted))
            torc_callgrind_begin()
            let result = Result { try run(subject.counted) }
            torc_callgrind_end(subject.name)
            sum &+= try result.get()
            print("\(subject.name)\t\(sum)")
        }
    }

    /// By the subject's name; `only`: part of it.
    static func counts(of subjects: [MicroSubject], only: String?) throws -> [String: MicroCounts] {
        guard torc_callgrind_is_known() else {
            throw MicroFailure(
                "built without valgrind's headers: install valgrind, touch Sources/CCallgrind, build again")
        }
        guard let valgrind = path(of: "valgrind"), let objcopy = path(of: "objcopy") else {
            throw MicroFailure("there is no valgrind, or no objcopy: tools/setup installs them")
        }
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let binary = URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(program).path
        guard FileManager.default.isExecutableFile(atPath: binary) else {
            throw MicroFailure("there is no \(binary): swift build -c release --product \(program)")
        }
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("torc-micro-\(getpid())", isDirectory: true)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let log = folder.appendingPathComponent("log")
        // Valgrind gives up at debugging information that it cannot read, and needs none.
        _ = try run(objcopy, ["--strip-debug", binary, "\(folder.path)/program"], log: log)
        let text = try run(
            valgrind,
            [
                "--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no",
                "--callgrind-out-file=\(folder.path)/part", "\(folder.path)/program",
            ] + (only.map { [$0] } ?? []), log: log)
        var counts: [String: MicroCounts] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) where name.hasPrefix("part") {
            guard
                let part = (try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8))
                    .flatMap(CallgrindPart.init),
                let subject = subjects.first(where: { $0.name == part.name })
            else { continue }
            let operations = Double(subject.counted)
            counts[subject.name] = MicroCounts(
                instructions: Double(part.instructions) / operations,
                allocations: Double(part.allocations) / operations, retains: Double(part.retains) / operations)
        }
        if let missing = subjects.first(where: { counts[$0.name] == nil }) {
            throw MicroFailure("callgrind counted nothing of '\(missing.name)': \(text.suffix(500))")
        }
        return counts
    }

    private static func path(of program: String) -> String? {
        (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
            .map { "\($0)/\(program)" }.first(where: FileManager.default.isExecutableFile(atPath:))
    }

    /// What it said.
    private static func run(_ program: String, _ arguments: [String], log: URL) throws -> String {
        guard FileManager.default.createFile(atPath: log.path, contents: nil),
            let file = FileHandle(forWritingAtPath: log.path)
        else { throw MicroFailure("\(log.path) cannot be written") }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        // Else dictionaries differ from run to run, and with them the counts.
        process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_DETERMINISTIC_HASHING": "1"]) { $1 }
        process.standardOutput = file
        process.standardError = file
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let end = ContinuousClock.now + limit
        while process.isRunning, ContinuousClock.now < end { usleep(10_000) }
        if process.isRunning {
            process.terminate()
            throw MicroFailure("\(program) took longer than \(limit)")
        }
        let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        guard process.terminationStatus == 0 else { throw MicroFailure("\(program) failed: \(text.suffix(500))") }
        return text
    }
}

/// Why nothing could be measured.
package struct MicroFailure: Error, Hashable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
