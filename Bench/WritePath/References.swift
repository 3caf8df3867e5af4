// What the same machine does without Torc, in the same run: the disk by itself, and RocksDB under its own benchmark. They are
// the yardsticks by which two runs are compared.

import Foundation
import Glibc

enum Disk {
    /// Appends so many bytes and syncs, again and again.
    static func round(folder: String, bytes: Int, seconds: Double, into level: inout Level) throws {
        let path = "\(folder)/disk"
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw BenchFailure("\(path) cannot be written (\(String(cString: strerror(errno)))): give another --folder")
        }
        defer {
            close(file)
            unlink(path)
        }
        let block = [UInt8](repeating: 0x5a, count: bytes)
        var taken: [Double] = []
        let clock = ContinuousClock()
        let begun = clock.now
        while clock.now - begun < .seconds(seconds) {
            let start = clock.now
            guard write(file, block, bytes) == bytes, fdatasync(file) == 0 else {
                throw BenchFailure("\(path) cannot be synced (\(String(cString: strerror(errno)))): is the disk full?")
            }
            taken.append((clock.now - start) / .microseconds(1))
        }
        taken.sort()
        level.add("append and sync, median", taken[taken.count / 2], unit: "µs")
        level.add("append and sync, p99", taken[taken.count * 99 / 100], unit: "µs")
        level.add("appends and syncs", Double(taken.count) / seconds, unit: "a second", better: .more)
    }
}

/// Debian's rocksdb-tools has it.
package struct DBBench {
    private static let limit = Duration.seconds(120)
    /// Long enough to be measured, short enough for every round.
    private static let unsyncedPuts = 50_000
    private static let syncedPuts = 1_000
    private static let puttersAtOnce = 64
    private static let syncedPutsOfEach = 200

    let tool: Tool
    let folder: String

    func round(valueBytes: Int, into level: inout Level) throws {
        try run("unsynced", threads: 1, puts: Self.unsyncedPuts, isSynced: false, valueBytes, &level)
        try run("synced", threads: 1, puts: Self.syncedPuts, isSynced: true, valueBytes, &level)
        try run(
            "synced by \(Self.puttersAtOnce)", threads: Self.puttersAtOnce, puts: Self.syncedPutsOfEach, isSynced: true,
            valueBytes, &level)
    }

    private func run(
        _ name: String, threads: Int, puts: Int, isSynced: Bool, _ valueBytes: Int, _ level: inout Level
    ) throws {
        let database = "\(folder)/db_bench"
        defer { try? FileManager.default.removeItem(atPath: database) }
        let before = Self.childSeconds()
        let (text, status) = try tool.run(
            [
                "--benchmarks=fillrandom", "--sync=\(isSynced ? 1 : 0)", "--threads=\(threads)", "--num=\(puts)",
                "--value_size=\(valueBytes)", "--compression_type=none", "--db=\(database)",
            ], output: "\(folder)/db_bench.log", limit: Self.limit)
        let used = Self.childSeconds() - before
        guard status == 0, let rate = Self.rate(text) else {
            throw BenchFailure("db_bench says nothing of its rate; its output is in \(folder)/db_bench.log")
        }
        level.add(name, rate, unit: "puts a second", better: .more)
        level.add("\(name), processor time", used * 1e6 / Double(threads * puts), unit: "µs a put")
    }

    /// Of its output: `fillrandom : 12.345 micros/op 81004 ops/sec …`.
    package static func rate(_ text: String) -> Double? {
        for line in text.split(separator: "\n") where line.hasPrefix("fillrandom") {
            let words = line.split(whereSeparator: \.isWhitespace)
            if let place = words.firstIndex(of: "ops/sec"), place > 0 { return Double(words[place - 1]) }
        }
        return nil
    }

    /// Processor time of all children that have ended.
    private static func childSeconds() -> Double {
        var usage = rusage()
        getrusage(RUSAGE_CHILDREN.rawValue, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}
