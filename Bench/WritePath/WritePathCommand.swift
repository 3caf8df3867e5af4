// `torc bench write-path`: stages, counts and references of a put, in rounds that take turns, so that what the machine does
// meanwhile falls on all alike.

package import ArgumentParser
import Foundation
import TorcConsole
import TorcModel
import TorcServer
import TorcWire

package struct WritePathCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "write-path",
        abstract: "Where a put's time goes: in process, over a socket, over three nodes; beside RocksDB and the disk.",
        discussion: """
            Starts nodes of this build on loopback, in a temporary folder, and ends them. Writes NAME.json, which
            'torc bench compare' reads, and NAME.svg. db_bench is of Debian's rocksdb-tools; without it, and without
            strace, those figures are left out, and the report says so.

            Examples:
              torc bench write-path                            five rounds of everything, two to three minutes
              torc bench write-path --out before               before.json, before.svg
              torc bench write-path --levels in-process --seconds 1
              torc bench write-path --value-bytes 100 --connections 16 --no-references
              torc bench compare before.json after.json
            """)

    package enum LevelName: String, CaseIterable, ExpressibleByArgument {
        case inProcess = "in-process"
        case buffered = "in-process-buffered"
        case oneNode = "one-node"
        case threeNodes = "three-nodes"
    }

    private static let togetherInProcess = 32

    @Option(help: "Rounds of each level; five are the fewest that compare can judge.") var rounds = 5
    @Option(help: "Seconds of a round of a level.") var seconds = 2.0
    @Option(help: "Number of keys.") var keys = 20_000
    @Option(help: "Bytes of a value.") var valueBytes = 1024
    @Option(help: "Connections of the load generator.") var connections = 64
    @Option(help: "Partitions of the node in process.") var partitions = RingSize.standard.partitions
    @Option(help: "Memory of the node in process, in MiB, split as a node splits it; without it some 400.")
    var memoryMib: Int?
    @Option(
        parsing: .upToNextOption,
        help:
            "in-process, one-node, three-nodes: those that are run; in-process-buffered, without syncs, when it is named."
    )
    var levels: [LevelName] = [.inProcess, .oneNode, .threeNodes]
    @Option(
        help: "Where nodes and references keep their files, in a folder that is removed; the disk that is measured.")
    var folder = NSTemporaryDirectory()
    @Option(help: "Name of the report, without its ending; default write-path-DATE in this folder.") var out: String?
    @Flag(help: "Without db_bench and the disk.") var noReferences = false
    @Flag(help: "Without the extra run under strace.") var noStrace = false
    @Option(help: "The torc that serves; default: this one.") var torc: String?

    package init() {}

    package func validate() throws {
        guard (1...100).contains(rounds) else { throw ValidationError("--rounds must be 1 to 100") }
        guard seconds >= 0.1, seconds <= 600 else { throw ValidationError("--seconds must be 0.1 to 600") }
        guard (1...100_000_000).contains(keys) else { throw ValidationError("--keys must be 1 to 100000000") }
        guard RingSize(partitions: partitions) != nil else {
            throw ValidationError("--partitions must be a power of two from \(RingSize.minimum) to \(RingSize.maximum)")
        }
        guard (64...1 << 20).contains(memoryMib ?? 64) else {
            throw ValidationError("--memory-mib must be 64 to \(1 << 20)")
        }
        guard (0...1 << 20).contains(valueBytes) else { throw ValidationError("--value-bytes must be 0 to \(1 << 20)") }
        guard (1...1_000).contains(connections) else { throw ValidationError("--connections must be 1 to 1000") }
        guard !levels.isEmpty else { throw ValidationError("--levels needs one of in-process, one-node, three-nodes") }
    }

    package mutating func run() async throws {
        let begun = Date()
        var template = Array("\(folder)/torc-write-path-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw BenchFailure("no folder can be made in \(folder): \(String(cString: strerror(errno)))")
        }
        let scratch = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: scratch) }
        var report = WritePathReport(
            date: begun.formatted(.iso8601), version: BuildVersion.current, machine: Self.machine,
            settings: .init(
                rounds: rounds, seconds: seconds, keys: keys, valueBytes: valueBytes, connections: connections,
                partitions: partitions))
        try await measure(into: &report, scratch)
        let name = out ?? "write-path-\(Self.stamp(begun))"
        try Self.write(try report.json + "\n", to: "\(name).json")
        try Self.write(StagePlot.svg(report), to: "\(name).svg")
        Console.print(report.text)
        Console.print("\n\(name).json and \(name).svg are written; 'torc bench compare' sets two .json side by side.")
    }

    private static var machine: WritePathReport.Machine {
        var names = utsname()
        uname(&names)
        let kernel = withUnsafeBytes(of: &names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return .init(cores: ProcessInfo.processInfo.activeProcessorCount, kernel: kernel)
    }

    private static func stamp(_ date: Date) -> String {
        var seconds = time_t(date.timeIntervalSince1970)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return String(
            format: "%04d-%02d-%02d-%02d%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
            parts.tm_min)
    }

    private static func write(_ text: String, to path: String) throws {
        do {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        } catch {
            throw BenchFailure("\(path) cannot be written: \(error.localizedDescription)")
        }
    }

    // MARK: Measuring

    private func measure(into report: inout WritePathReport, _ scratch: String) async throws {
        let settings = report.settings
        let binary = try torc ?? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var alone: InProcessPath?
        var served: [(level: Int, path: ServedPath)] = []
        defer {
            for (_, path) in served { path.stop() }
            try? alone?.close()
        }
        var lone = 0, together = 0, buffered: Int?
        if levels.contains(.inProcess) || levels.contains(.buffered) {
            guard let size = RingSize(partitions: partitions) else {
                preconditionFailure("\(partitions) was validated")
            }
            alone = try InProcessPath(
                folder: "\(scratch)/alone", keys: settings.keys, valueBytes: settings.valueBytes, ringSize: size,
                memoryBytes: memoryMib.map { $0 << 20 }, seed: 1)
        }
        if levels.contains(.buffered) {
            buffered = Self.add(
                "in-process-buffered",
                "In process, no network, \(Self.togetherInProcess) puts a turn, written to the kernel and not synced",
                to: &report)
        }
        if levels.contains(.inProcess) {
            lone = Self.add("in-process-1", "In process, no network, one put a turn and a sync", to: &report)
            together = Self.add(
                "in-process-\(Self.togetherInProcess)",
                "In process, no network, \(Self.togetherInProcess) puts a turn and a sync", to: &report)
            report.levels[lone].remarks = [
                "One thread. Wall time of each stage; sync is waiting for the disk. No wait for the lane, no peers.",
                "Encode and leaf happen within one call: what each takes is measured by the same calls once more.",
            ]
            report.levels[together].remarks = report.levels[lone].remarks
        } else {
            report.left.append("one node in process: not among --levels")
        }
        for (name, count) in [(LevelName.oneNode, 1), (.threeNodes, 3)] {
            guard levels.contains(name) else {
                report.left.append("\(name.rawValue): not among --levels")
                continue
            }
            let title =
                (count == 1 ? "One node over a socket" : "Three nodes, N=3, W=2")
                + ", \(settings.connections) connections, processor time of all nodes"
            let index = Self.add(name.rawValue, title, to: &report)
            report.levels[index].remarks = [
                "Stages of the loops: of one turn in \(StageClock.turnsPerTiming), scaled to all; threads: as Linux counts them.",
                "Log and memtable are one call of RocksDB, encode and leaf one of the lane: told apart in process only.",
                "How long a put waits for its peers is not told apart: it is the latency less the two waits above it.",
            ]
            served.append(
                (
                    index,
                    try await ServedPath(
                        nodes: count, folder: "\(scratch)/\(name.rawValue)", binary: binary, settings: settings)
                ))
        }
        let disk = noReferences ? nil : Self.add("disk", "The disk: append and sync", to: &report)
        var bench: (level: Int, tool: DBBench)?
        if noReferences {
            report.left.append("db_bench and the disk: --no-references")
        } else if let tool = Tool("db_bench") {
            bench = (
                Self.add("db_bench", "RocksDB's db_bench, fillrandom", to: &report),
                DBBench(tool: tool, folder: scratch)
            )
        } else {
            report.left.append("db_bench: it is not installed (apt-get install rocksdb-tools)")
        }

        let isInProcess = levels.contains(.inProcess)
        let works =
            (isInProcess ? 2 : 0) + (buffered == nil ? 0 : 1) + served.count + (disk == nil ? 0 : 1)
            + (bench == nil ? 0 : 1)
        let progress = ProgressBar("write-path", total: UInt64(works * rounds))
        defer { progress.finish() }
        for _ in 0..<rounds {
            if let alone, let buffered {
                try alone.round(
                    puttingTogether: Self.togetherInProcess, isSynced: false, seconds: seconds,
                    into: &report.levels[buffered])
                progress.advance(by: 1)
            }
            if let alone, isInProcess {
                try alone.round(puttingTogether: 1, seconds: seconds, into: &report.levels[lone])
                progress.advance(by: 1)
                try alone.round(
                    puttingTogether: Self.togetherInProcess, seconds: seconds, into: &report.levels[together])
                progress.advance(by: 1)
            }
            for (level, path) in served {
                try await path.round(seconds: seconds, into: &report.levels[level])
                progress.advance(by: 1)
            }
            if let disk {
                try Disk.round(
                    folder: scratch, bytes: max(1, settings.valueBytes), seconds: min(seconds, 1),
                    into: &report.levels[disk])
                progress.advance(by: 1)
            }
            if let bench {
                try bench.tool.round(valueBytes: max(1, settings.valueBytes), into: &report.levels[bench.level])
                progress.advance(by: 1)
            }
        }
        try await trace(served, &report)
    }

    private func trace(_ served: [(level: Int, path: ServedPath)], _ report: inout WritePathReport) async throws {
        if served.isEmpty { return }
        guard !noStrace else {
            report.left.append("system calls by name: --no-strace; reads and writes are counted by the kernel")
            return
        }
        guard let strace = Tool("strace") else {
            report.left.append(
                "system calls by name: strace is not installed; reads and writes are counted by the kernel")
            return
        }
        for (level, path) in served {
            if let obstacle = try await path.trace(with: strace, into: &report.levels[level]) {
                report.left.append("system calls by name: \(obstacle)")
            }
        }
    }

    private static func add(_ name: String, _ title: String, to report: inout WritePathReport) -> Int {
        report.levels.append(Level(name: name, title: title))
        return report.levels.count - 1
    }
}
