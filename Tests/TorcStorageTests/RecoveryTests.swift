// What stands after a process was killed, a machine lost power, or a disk lost bytes.

import CRocksDB
import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

private typealias Model = [ObjectKey: ByteBuffer]

private func size(_ path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_size) : 0
}

private func flipBit(of path: String, at offset: UInt64) {
    let file = open(path, O_RDWR)
    precondition(file >= 0)
    var byte: UInt8 = 0
    precondition(pread(file, &byte, 1, off_t(offset)) == 1)
    byte ^= 0x10
    precondition(pwrite(file, &byte, 1, off_t(offset)) == 1)
    close(file)
}

private func inspect(_ path: String) throws -> LogInspection {
    try NodeStore.inspectLog(of: path, ringSize: RingSize(partitions: 8)!)
}

/// The numbers of a folder's log files, ascending.
private func logNumbers(_ folder: String) throws -> [UInt64] {
    try FileManager.default.contentsOfDirectory(atPath: folder)
        .compactMap { $0.hasSuffix(".log") ? UInt64($0.dropLast(4)) : nil }.sorted()
}

/// A record of RocksDB's log whose batch holds nothing but a mark: all was synced. In bytes that a text may have.
private func forgedMark() -> String {
    // Its number and its count, then log data as a build wrote it that knew no tags.
    let batch =
        [UInt8](repeating: 0, count: 11) + [3, 16] + Array("TLG1".utf8) + [UInt8](repeating: 0x7f, count: 8)
        + [UInt8](repeating: 0, count: 4)
    return forgedFragment(type: 1, batch)
}

/// A fragment of RocksDB's log, with a first byte that gives it a checksum that a text may have.
private func forgedFragment(type: UInt8, _ rest: [UInt8] = [0, 0, 0, 0]) -> String {
    for first in UInt8(1)..<128 {
        let checked = [type, first] + rest
        let sum = checked.withUnsafeBytes { torc_crc32c(0, $0.baseAddress, $0.count) }
        let masked = ((sum >> 15) | (sum << 17)) &+ 0xa282_ead8
        var bytes = (0..<4).map { UInt8(truncatingIfNeeded: masked >> (8 * UInt32($0))) }
        // A recycled file's fragments have the log's number before what the length counts.
        bytes += [UInt8(checked.count - (type > 4 ? 5 : 1)), 0]
        bytes += checked
        if bytes.allSatisfy({ $0 < 0x80 }) { return String(decoding: bytes, as: UTF8.self) }
    }
    preconditionFailure("no checksum is a text")
}

/// As if the folder had been restored from a backup: its log was written by another store.
private func changeStore(of path: String) throws {
    let file = path + "/IDENTITY"
    var lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").dropLast().map(String.init)
    lines[3] = "store 63"
    let text = lines.joined(separator: "\n") + "\n"
    let sum = xxh3(ByteBuffer(string: text), seed: 0x746f_7263_2d69_6400)
    try (text + "checksum \(String(sum, radix: 16))\n").write(toFile: file, atomically: true, encoding: .utf8)
}

private func archivedLogs(_ path: String) throws -> [UInt64] { try logNumbers(path + "/db/archive") }
/// The last is the one that is written.
private func liveLogs(_ path: String) throws -> [UInt64] { try logNumbers(path + "/db") }

/// Writes until no memtable needs what is in the log now, so that all of it is archived.
private func archiveLog(of harness: Harness, _ path: String, by write: (Int) throws -> Void) throws {
    try harness.store.sync()
    let end = try liveLogs(path).last!
    for round in 0..<4_000 {
        try write(round)
        if round % 50 == 49, try liveLogs(path).first! > end { return }
    }
    Issue.record("the log is not archived")
}

/// Writes, and syncs, until the archived files up to `begun` are removed; flushes, which need not hurry, come first.
private func removeLog(
    upTo begun: UInt64, of harness: Harness, _ path: String, by write: (Int) throws -> Void
) throws {
    for round in 0..<4_000 {
        try write(round)
        if round % 20 == 19 { try harness.store.sync() }
        if round % 20 == 19, try archivedLogs(path).first! > begun { return }
    }
    Issue.record("archived logs are not removed")
}

@Suite struct RecoveryTests {
    /// Memtables so small, and so little log, that log files are archived all the time.
    private var smallMemory: StoreOptions {
        var options = StoreOptions()
        options.partitionMemtableBytes = 64 << 10
        options.logBytes = 256 << 10
        return options
    }

    /// Copies of a folder in use, as a killed process leaves it: each opens as one of the states between the
    /// last sync and the last commit, with the leaves of exactly that state, and goes on from there.
    @Test(arguments: [11, 12, 13] as [UInt64])
    func abruptEnds(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let folder = TemporaryFolder()
        var options = StoreOptions()
        options.leafStoreBytes = 40_000
        options.partitionMemtableBytes = 64 << 10
        let harness = try Harness(folder.path + "/data", laneCount: 2, options: options)
        try harness.store.beginIncarnation(Incarnation(rawValue: seed))
        var states: [Model] = [harness.model]
        var syncedState = 0
        for copy in 0..<4 {
            for _ in 0..<Int.random(in: 5...40, using: &generator) {
                for _ in 0..<Int.random(in: 1...6, using: &generator) {
                    let value = String(repeating: "v", count: Int.random(in: 0...1500, using: &generator))
                    try harness.append("k\(Int.random(in: 0..<60, using: &generator))", value)
                }
                try harness.commit()
                states.append(harness.model)
                if Int.random(in: 0..<8, using: &generator) == 0 {
                    try harness.store.sync()
                    syncedState = states.count - 1
                }
            }
            let path = folder.path + "/copy\(copy)"
            copyFolder(folder.path + "/data", to: path)
            let opened = try Harness(path, laneCount: 3)
            let contents = try opened.contents()
            // Two lanes commit one after the other: a state may stand in part, lane by lane.
            let allowed = states[syncedState...]
            for (key, value) in contents {
                #expect(allowed.contains { $0[key] == value }, "seed \(seed): \(key) is none of its values")
            }
            for key in states[syncedState].keys { #expect(contents[key] != nil, "seed \(seed): \(key) is lost") }
            #expect(opened.report.leavesRebuilt.isEmpty, "seed \(seed): \(opened.report)")
            #expect(try opened.computedLeaves() == opened.leaves, "seed \(seed)")
            opened.model = contents
            for index in 0..<20 { try opened.put("k\(index)", "after \(index)") }
            #expect(try opened.computedLeaves() == opened.leaves, "seed \(seed)")
            try opened.store.abandon()

            let again = try Harness(path, laneCount: 1)
            #expect(again.report.cut == nil && again.report.leavesRebuilt.isEmpty, "seed \(seed): \(again.report)")
            #expect(try again.contents() == opened.model, "seed \(seed)")
            #expect(try again.computedLeaves() == again.leaves, "seed \(seed)")
            try again.store.abandon()
        }
        try harness.store.abandon()
    }

    /// A folder whose log has a synced part, with its mark behind it, and an unsynced part.
    private struct Scene {
        let folder = TemporaryFolder()
        var path: String { folder.path + "/data" }
        var log = ""
        /// The log's length when the synced part was all of it.
        var syncedBytes: UInt64 = 0
        var totalBytes: UInt64 = 0
        var syncedModel: [ObjectKey: ByteBuffer] = [:]
        var model: [ObjectKey: ByteBuffer] = [:]
        /// After each batch of the unsynced part.
        var states: [[ObjectKey: ByteBuffer]] = []

        init(valueBytes: Int) throws {
            let harness = try Harness(path)
            try harness.store.beginIncarnation(Incarnation(rawValue: 5))
            let value = String(repeating: "x", count: valueBytes)
            for index in 0..<12 { try harness.put("k\(index)", "synced \(index) \(value)") }
            try harness.store.sync()
            log = try inspect(path).files.last!
            syncedBytes = size(log)
            syncedModel = harness.model
            states = [harness.model]
            for index in 6..<14 {
                try harness.put("k\(index)", "later \(index) \(value)")
                states.append(harness.model)
            }
            model = harness.model
            // Closing hands the rest to the kernel.
            try harness.store.abandon()
            totalBytes = size(log)
            precondition(totalBytes > syncedBytes)
        }

        func copy(_ name: String) -> (path: String, log: String) {
            copyFolder(path, to: folder.path + "/" + name)
            return (folder.path + "/" + name, folder.path + "/" + name + log.dropFirst(path.count))
        }
    }

    /// The log ends at any byte: nothing that is whole is given up, nothing is refused.
    @Test func tornTails() throws {
        let scene = try Scene(valueBytes: 10)
        let whole = try inspect(scene.path)
        #expect(whole.verdict == .serve)
        let copy = scene.copy("torn")
        var cutPoints: Set<UInt64> = []
        var length = scene.totalBytes
        var sound = 0
        while length > scene.syncedBytes - 200 {
            length -= 1
            precondition(truncate(copy.log, off_t(length)) == 0)
            let found = try inspect(copy.path)
            switch found.verdict {
            case .serve:
                sound += 1
                cutPoints.insert(length)
            case .cut:
                #expect(found.damage!.offset < length)
                cutPoints.insert(found.damage!.offset)
            case .refuse(let damageAt, let lastMark):
                Issue.record("a tail cut at \(length) was refused: \(damageAt), \(lastMark)")
            }
        }
        // Each batch's end was met, and a cut only ever went back to such an end.
        #expect(sound >= 8 && cutPoints.count <= sound + 1)

        for length in [scene.totalBytes - 1, scene.totalBytes - 60, scene.syncedBytes + 3, scene.syncedBytes] {
            let copy = scene.copy("torn-\(length)")
            precondition(truncate(copy.log, off_t(length)) == 0)
            let opened = try Harness(copy.path)
            #expect(opened.report.cut?.keptIn == nil)
            #expect((opened.report.cut == nil) == (length == scene.syncedBytes))
            let contents = try opened.contents()
            #expect(scene.states.contains(contents))
            #expect(try opened.computedLeaves() == opened.leaves)
            #expect(opened.report.leavesRebuilt.isEmpty)
            try opened.store.abandon()
            #expect(try inspect(copy.path).verdict == .serve)
        }
    }

    /// Bits flip in the synced part (marks behind it prove that: refused) or in the unsynced part (cut).
    @Test(arguments: [10, 9000])
    func flippedBits(valueBytes: Int) throws {
        let scene = try Scene(valueBytes: valueBytes)
        var generator = SeededGenerator(seed: 21)
        let copy = scene.copy("flipped")
        var refused = 0
        var cut = 0
        for _ in 0..<300 {
            let offset = UInt64.random(in: 0..<scene.totalBytes, using: &generator)
            flipBit(of: copy.log, at: offset)
            switch try inspect(copy.path).verdict {
            case .serve:
                Issue.record("a bit flipped at \(offset) went unnoticed")
            case .cut:
                #expect(offset >= scene.syncedBytes, "synced byte \(offset) of \(scene.syncedBytes) was cut")
                cut += 1
            case .refuse:
                #expect(offset < scene.syncedBytes, "unsynced byte \(offset) was refused")
                refused += 1
            }
            flipBit(of: copy.log, at: offset)
        }
        #expect(refused > 20 && cut > 20)

        // A refusal writes nothing, whatever it says.
        flipBit(of: copy.log, at: scene.syncedBytes / 2)
        shell("cp -r \(copy.path) \(copy.path)-before")
        do {
            _ = try Harness(copy.path)
            Issue.record("a damaged log was served")
        } catch {
            guard case .damagedLog(_, let file, _, let damageAt, let lastMark) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(file == copy.log && damageAt <= lastMark)
            #expect(error.description.contains("start with an empty one"))
        }
        #expect(shell("diff -rq -x LOCK \(copy.path) \(copy.path)-before") == 0)

        // A cut keeps what it takes away.
        let other = scene.copy("cut")
        let offset = scene.syncedBytes + (scene.totalBytes - scene.syncedBytes) / 2
        flipBit(of: other.log, at: offset)
        let opened = try Harness(other.path)
        let kept = try #require(opened.report.cut?.keptIn)
        #expect(kept.hasPrefix(other.path + "/cut-"))
        #expect(opened.report.cut!.bytes == scene.totalBytes - size(other.log.replacingLog(in: other.path)))
        #expect(scene.states.contains(try opened.contents()))
        #expect(try opened.computedLeaves() == opened.leaves)
        try opened.store.abandon()
    }

    /// Marks count without the store's tag where the log has none: an older build's, or that of the store that a
    /// backup was made of.
    @Test func marksOfAnotherStore() throws {
        let scene = try Scene(valueBytes: 10)
        let copy = scene.copy("other")
        try changeStore(of: copy.path)
        #expect(try inspect(copy.path).verdict == .serve)
        for part in 1..<10 {
            let offset = scene.totalBytes * UInt64(part) / 10
            flipBit(of: copy.log, at: offset)
            switch try inspect(copy.path).verdict {
            case .serve: Issue.record("a bit flipped at \(offset) went unnoticed")
            case .cut: #expect(offset >= scene.syncedBytes, "synced byte \(offset) of \(scene.syncedBytes) was cut")
            case .refuse: #expect(offset < scene.syncedBytes, "unsynced byte \(offset) was refused")
            }
            flipBit(of: copy.log, at: offset)
        }
    }

    /// What a client stores may look like batches whose marks say that all was synced. Where the log is torn in the
    /// middle of that, it is cut as any other: nobody was told that it is stored.
    @Test func aValueFullOfMarks() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let harness = try Harness(path)
        try harness.store.beginIncarnation(Incarnation(rawValue: 5))
        for index in 0..<12 { try harness.put("k\(index)", "synced \(index)") }
        try harness.store.sync()
        let log = try inspect(path).files.last!
        let synced = size(log)
        let model = harness.model
        try harness.put("k1", String(repeating: forgedMark(), count: 3000))
        // Closing hands the rest to the kernel.
        try harness.store.abandon()
        let total = size(log)
        #expect(total > synced + 100_000)
        #expect(try inspect(path).verdict == .serve)
        for part in (1..<20).reversed() {
            precondition(truncate(log, off_t(synced + (total - synced) * UInt64(part) / 20)) == 0)
            let found = try inspect(path)
            guard case .cut = found.verdict else {
                Issue.record("\(part): \(found.verdict)")
                return
            }
        }
        let opened = try Harness(path)
        #expect(opened.report.cut?.keptIn != nil)
        #expect(try opened.contents() == model)
        try opened.store.abandon()
    }

    /// What a client stores may look like fragments that end a log: those of a recycled file's former life, alone and
    /// behind what looks like a record. Damage before them is refused all the same, for what was synced behind them.
    @Test(arguments: [[5], [6], [8], [1, 5], [2, 4, 5], [2, 5, 4]] as [[UInt8]])
    func aValueThatEndsLogs(types: [UInt8]) throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let harness = try Harness(path)
        try harness.store.beginIncarnation(Incarnation(rawValue: 5))
        try harness.put("k0", "synced")
        try harness.store.sync()
        let log = try inspect(path).files.last!
        let synced = size(log)
        try harness.put("k1", String(repeating: types.map { forgedFragment(type: $0) }.joined(), count: 30))
        try harness.store.sync()
        let end = size(log)
        try harness.put("k2", "carries the mark of the last sync")
        try harness.store.abandon()
        #expect(try inspect(path).verdict == .serve)
        for offset in [synced, synced + 8, (synced + end) / 2] {
            flipBit(of: log, at: offset)
            if case .refuse = try inspect(path).verdict {
            } else {
                Issue.record("\(types), \(offset): \(try inspect(path).verdict)")
            }
            flipBit(of: log, at: offset)
        }
    }

    /// Several log files that recovery needs all of: one record holds the first of them while another partition
    /// fills its memtable again and again.
    private func manyLogs(_ folder: TemporaryFolder, syncLast: Bool) throws -> (path: String, harness: Harness) {
        let path = folder.path + "/data"
        var options = StoreOptions()
        options.partitionMemtableBytes = 64 << 10
        let first = try Harness(path, options: options)
        try first.put("k", "so that the archive knows where the next log begins")
        try first.store.abandon()
        let harness = try Harness(path, options: options)
        let keys = (0..<200).map { "k\($0)" }.filter { harness.partition(harness.key($0)) == PartitionID(1) }
        let pin = (0..<200).map { "k\($0)" }.first { harness.partition(harness.key($0)) == PartitionID(2) }!
        harness.model = first.model
        harness.leaves = first.leaves
        try harness.put(pin, "holds the first log file")
        let value = String(repeating: "x", count: 8000)
        for round in 0..<60 {
            try harness.put(keys[round % keys.count], "\(round) \(value)")
            if round % 4 == 0 { try harness.store.sync() }
        }
        try harness.store.sync()
        if syncLast { try harness.put(pin, "carries the mark of the last sync") }
        try harness.store.abandon()
        return (path, harness)
    }

    @Test func missingLogFiles() throws {
        let folder = TemporaryFolder()
        let (path, harness) = try manyLogs(folder, syncLast: true)
        let whole = try inspect(path)
        #expect(whole.verdict == .serve)
        #expect(whole.files.count >= 4, "\(whole.files)")
        for lost in whole.files.dropLast() {
            shell("mv \(lost) \(folder.path)/aside")
            guard case .refuse = try inspect(path).verdict else {
                Issue.record("without \(lost) the log passes")
                return
            }
            shell("mv \(folder.path)/aside \(lost)")
        }
        let opened = try Harness(path)
        #expect(try opened.contents() == harness.model)
        #expect(opened.leaves == harness.leaves)
        try opened.store.abandon()
    }

    /// Damage in an archived file loses no record: at most leaves are computed anew, and that is said.
    @Test func damagedArchive() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let harness = try Harness(path, options: smallMemory)
        let value = String(repeating: "x", count: 4000)
        for round in 0..<60 { try harness.put("k\(round % 30)", "\(round) \(value)") }
        try archiveLog(of: harness, path) { try harness.put("k\($0 % 30)", "\($0) \(value)") }
        try harness.store.sync()
        try harness.store.abandon()
        copyFolder(path, to: path + "-whole")
        let archived = path + "/db/archive"
        shell("for f in \(archived)/*.log; do printf garbage | dd of=$f bs=1 seek=300 conv=notrunc 2>/dev/null; done")
        let opened = try Harness(path)
        #expect(opened.report.cut == nil && !opened.report.leavesRebuilt.isEmpty, "\(opened.report)")
        #expect(try opened.contents() == harness.model)
        #expect(opened.leaves == harness.leaves)
        try opened.store.abandon()
        // The same, undamaged: the archive held what was needed.
        let whole = try Harness(path + "-whole")
        #expect(whole.report.leavesRebuilt.isEmpty && whole.leaves == harness.leaves, "\(whole.report)")
        try whole.store.abandon()
    }

    /// Somebody has removed the archive, to make room: leaves whose changes were in it are computed anew, also
    /// where nothing that is left in the log shows that they are old.
    @Test func lostArchive() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let first = try Harness(path, options: smallMemory)
        let value = String(repeating: "x", count: 4000)
        let quiet = (0..<200).map { "k\($0)" }.filter { first.partition(first.key($0)) == PartitionID(2) }
        let busy = (0..<200).map { "k\($0)" }.filter { first.partition(first.key($0)) == PartitionID(1) }
        for round in 0..<10 { try first.put(quiet[round], "first \(round)") }
        try first.close()
        let harness = try Harness(path, options: smallMemory)
        harness.model = first.model
        harness.leaves = first.leaves
        for round in 0..<40 { try harness.put(quiet[round % 10], "\(round) \(value)") }
        try archiveLog(of: harness, path) { try harness.put(busy[$0 % 10], "\($0) \(value)") }
        try harness.store.sync()
        try harness.store.abandon()
        copyFolder(path, to: path + "-whole")
        shell("rm \(path)/db/archive/*.log")
        let opened = try Harness(path)
        let rebuilt = opened.report.leavesRebuilt
        #expect(rebuilt[PartitionID(1)]?.contains("are not in the log") == true, "\(rebuilt)")
        #expect(rebuilt[PartitionID(2)]?.contains("goes back to") == true, "\(rebuilt)")
        #expect(opened.leaves == harness.leaves)
        try opened.store.abandon()
        let whole = try Harness(path + "-whole")
        #expect(whole.report.leavesRebuilt.isEmpty && whole.leaves == harness.leaves, "\(whole.report)")
        try whole.store.abandon()
    }

    /// The leaves of partitions that a start does not hold are kept for the one that holds them again, however
    /// much of the log was removed in between.
    @Test func partitionsThatComeBack() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let harness = try Harness(path)
        for index in 0..<80 { try harness.put("k\(index)", "v\(index)") }
        try harness.store.abandon()
        var options = smallMemory
        options.leafStoreBytes = 100_000
        let fewer = try Harness(path, partitions: [PartitionID(0), PartitionID(1)], options: options)
        #expect(fewer.report.partitionsBeyond == (2..<8).map { PartitionID($0) })
        fewer.model = harness.model
        fewer.leaves = harness.leaves
        let own = (0..<80).map { "k\($0)" }.filter { fewer.partition(fewer.key($0)).index < 2 }
        let begun = try liveLogs(path).last!
        let value = String(repeating: "x", count: 4000)
        try archiveLog(of: fewer, path) { try fewer.put(own[$0 % own.count], "\($0) \(value)") }
        try removeLog(upTo: begun, of: fewer, path) { try fewer.put(own[$0 % own.count], "\($0) \(value)") }
        try fewer.store.abandon()
        let again = try Harness(path)
        #expect(again.report.leavesRebuilt.isEmpty && again.leaves == fewer.leaves, "\(again.report)")
        try again.store.abandon()
    }

    /// Partitions that are added while the store runs are like the others: after a crash their leaves come from the
    /// log, also when most of it was removed, and also at a lane that had none.
    @Test func partitionsThatAreAdded() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        var options = smallMemory
        options.leafStoreBytes = 100_000
        let harness = try Harness(path, laneCount: 2, partitions: [PartitionID(0)], options: options)
        try harness.put((0...).lazy.map { "k\($0)" }.first { harness.partition(harness.key($0)).index == 0 }!, "v")
        let added = (0..<8).map { PartitionID($0) }
        try harness.store.addPartitions(added)
        try harness.store.addPartitions(added)
        for (index, lane) in harness.lanes.enumerated() {
            lane.add(added.filter { LaneConfiguration.lane(of: $0, laneCount: 2) == index })
        }
        #expect(harness.store.partitionsPresent == added)
        for index in 0..<80 { try harness.put("k\(index)", "v\(index)") }
        try harness.store.sync()
        let copied = folder.path + "/copy"
        copyFolder(path, to: copied)
        let crashed = try Harness(copied, laneCount: 2)
        #expect(crashed.report.leavesRebuilt.isEmpty && crashed.leaves == harness.leaves, "\(crashed.report)")
        try crashed.store.abandon()

        let begun = try liveLogs(path).last!
        let value = String(repeating: "x", count: 4000)
        try archiveLog(of: harness, path) { try harness.put("k\($0 % 80)", "\($0) \(value)") }
        try removeLog(upTo: begun, of: harness, path) { try harness.put("k\($0 % 80)", "\($0) \(value)") }
        try harness.store.abandon()
        let again = try Harness(path, laneCount: 2)
        #expect(again.report.leavesRebuilt.isEmpty && again.leaves == harness.leaves, "\(again.report)")
        #expect(try again.contents() == harness.model)
        try again.store.abandon()
    }

    /// The leaves survive many rounds of stores, rotations of the log and removals of archived files.
    @Test(arguments: [31, 32] as [UInt64]) func leavesAreNeverRebuilt(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        var model: Model = [:]
        for run in 0..<6 {
            var options = smallMemory
            options.leafStoreBytes = Int.random(in: 50_000...500_000, using: &generator)
            let harness = try Harness(path, laneCount: Int.random(in: 1...3, using: &generator), options: options)
            #expect(harness.report.leavesRebuilt.isEmpty, "seed \(seed), run \(run): \(harness.report)")
            harness.model = model
            #expect(try harness.computedLeaves() == harness.leaves, "seed \(seed), run \(run)")
            let value = String(repeating: "x", count: 3000)
            for round in 0..<Int.random(in: 20...150, using: &generator) {
                for _ in 0..<4 {
                    try harness.append("k\(Int.random(in: 0..<37, using: &generator))", "\(run) \(round) \(value)")
                }
                try harness.commit()
                if Int.random(in: 0..<10, using: &generator) == 0 { try harness.store.sync() }
            }
            model = harness.model
            if run % 3 == 1 { try harness.close() } else { try harness.store.abandon() }
        }
    }

    /// A log file goes when the leaves of every partition have been stored, or noted as good, since.
    @Test func archivedLogsAreRemoved() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        var options = smallMemory
        options.leafStoreBytes = 200_000
        let harness = try Harness(path, options: options)
        let begun = try liveLogs(path).last!
        let value = String(repeating: "x", count: 3000)
        try archiveLog(of: harness, path) { try harness.put("k\($0 % 37)", "\($0) \(value)") }
        #expect(try archivedLogs(path).first! <= begun, "nothing was synced since")
        try removeLog(upTo: begun, of: harness, path) { try harness.put("k\($0 % 37)", "\($0) \(value)") }
        try harness.store.abandon()
        let opened = try Harness(path)
        #expect(opened.report.leavesRebuilt.isEmpty && opened.leaves == harness.leaves, "\(opened.report)")
        try opened.store.abandon()
    }

    @Test func lostLeavesAreComputedAnew() throws {
        let folder = TemporaryFolder()
        var options = StoreOptions()
        options.logsLeaves = false
        let silent = try Harness(folder.path + "/data", options: options)
        for index in 0..<40 { try silent.put("k\(index)", "v\(index)") }
        try silent.store.abandon()
        let opened = try Harness(folder.path + "/data")
        #expect(opened.report.leavesRebuilt.count == 8)
        #expect(opened.leaves == silent.leaves)
        #expect(opened.report.description.contains("anew"))
        opened.model = silent.model
        for index in 0..<40 { try opened.put("k\(index)", "w\(index)") }
        try opened.store.abandon()
        let again = try Harness(folder.path + "/data")
        #expect(again.report.leavesRebuilt.isEmpty && again.leaves == opened.leaves)
        try again.store.abandon()
    }
}

extension String {
    /// The damaged file was shortened, and has moved to the archive since.
    fileprivate func replacingLog(in folder: String) -> String {
        let archived = folder + "/db/archive/" + split(separator: "/").last!
        return access(archived, F_OK) == 0 ? archived : self
    }
}

/// Leaves that are set right without a record.
@Suite struct CorrectionTests {
    /// It is there after a crash as any leaf change is, whether writes came before it, with it or after it.
    @Test(arguments: [false, true]) func aCorrectionSurvives(isClosed: Bool) throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let harness = try Harness(path)
        for place in 0..<20 { try harness.put("k\(place)", "a") }
        func correct(_ leaf: Int) {
            let change = LeafChange(
                tree: TreeID(partition: PartitionID(2), copies: 3), leaf: leaf, delta: UInt64(leaf) + 7)
            harness.leaves[0].apply(change)
            harness.lanes[0].correct(change)
        }
        correct(1)
        try harness.commit()
        try harness.append("k1", "b")
        correct(2)
        correct(2)
        try harness.commit()
        for place in 0..<20 { try harness.put("k\(place)", "c") }
        correct(3)
        try harness.commit()
        try harness.store.sync()
        if isClosed { try harness.close() } else { try harness.store.abandon() }
        let again = try Harness(path)
        #expect(again.report.leavesRebuilt.isEmpty && again.leaves == harness.leaves)
        #expect(again.leaves[0] != (try again.computedLeaves())[0])
        try again.store.abandon()
    }
}
