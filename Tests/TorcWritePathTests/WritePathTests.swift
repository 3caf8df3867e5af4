// What other programs print is read; a small run in process ends with sound figures; the picture is well-formed.

import ArgumentParser
import Foundation
import FoundationXML
import Testing
import TorcConsole
import TorcWire
import TorcWritePath

@Suite struct ToolOutputTests {
    @Test func straceIsRead() {
        let text = """
            % time     seconds  usecs/call     calls    errors syscall
            ------ ----------- ----------- --------- --------- ----------------
             71.20    0.912345          12     76028        17 futex
             20.01    0.256400           4     64100           write
              0.10    0.000010          10         1         1 openat
            ------ ----------- ----------- --------- --------- ----------------
            100.00    1.281290           9    140129        18 total
            """
        let calls = SystemCalls.summary(text)
        #expect(calls.map(\.name) == ["futex", "write", "openat"])
        #expect(calls.map(\.calls) == [76028, 64100, 1])
        #expect(SystemCalls.summary("strace: attach: ptrace(PTRACE_SEIZE, 17): Operation not permitted").isEmpty)
    }

    @Test func dbBenchIsRead() {
        let text = """
            Keys:       16 bytes each (+ 0 bytes user-defined timestamp)
            DB path: [/tmp/x]
            fillrandom   :      12.345 micros/op 81004 ops/sec 0.617 seconds 50000 operations;   80.3 MB/s
            """
        #expect(DBBench.rate(text) == 81004)
        #expect(DBBench.rate("open error: IO error: while open a file") == nil)
        #expect(DBBench.rate("fillrandom : ops/sec") == nil)
    }

    @Test func linuxIsRead() {
        let stat = "4711 (a name) with (x) S 1 4711 4711 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1"
        let thread = ProcessFigures.thread(stat)
        #expect(thread?.name == "a name) with (x")
        #expect(thread?.ticks == 200)
        #expect(ProcessFigures.thread("4711 (short) S 1") == nil)
        #expect(ProcessFigures.field("syscw", in: "rchar: 1\nsyscr: 2\nsyscw: 3\n") == 3)
        #expect(ProcessFigures.field("absent", in: "rchar: 1") == nil)
        #expect(ThreadKind(threadNamed: "NIO-ELT-0-#1") == .loops)
        #expect(ThreadKind(threadNamed: "torc-sync") == .sync)
        #expect(ThreadKind(threadNamed: "rocksdb:low0") == .store)
        #expect(ThreadKind(threadNamed: "torc") == .others)
    }
}

@Suite struct StageClockTests {
    @Test func stagesExcludeOneAnother() {
        let clock = StageClock(turnsPerTiming: 1, longest: .max)
        let begun = ContinuousClock.now
        clock.turnBegins()
        let turn = clock.enter(.turn)
        usleep(1000)
        let read = clock.enter(.read)
        usleep(1500)
        clock.leave(read)
        clock.leave(turn)
        let passed = UInt64((ContinuousClock.now - begun) / .nanoseconds(1))
        let counted = clock.counted
        func time(_ stage: LoopStage) -> UInt64 { counted.nanoseconds[stage.rawValue] }
        // What reading the clock costs is taken off.
        #expect(time(.read) > 1_400_000)
        #expect(time(.turn) > 900_000)
        #expect(time(.read) + time(.turn) <= passed)
        #expect(time(.merge) == 0)
        #expect(counted.entries[LoopStage.read.rawValue] == 1)
    }

    @Test func oneTurnInSoManyIsTimed() {
        let clock = StageClock(turnsPerTiming: 4)
        var timed = 0
        for _ in 0..<12 {
            clock.turnBegins()
            let span = clock.enter(.parse)
            if clock.isTiming { timed += 1 }
            clock.leave(span)
        }
        #expect(timed == 3)
        #expect(clock.counted.turns == 12)
        #expect(clock.counted.timedTurns == 3)
        #expect(clock.counted.entries[LoopStage.parse.rawValue] == 3)
    }

    @Test func whatIsTooLongIsAnInterruption() {
        let clock = StageClock(turnsPerTiming: 1)
        clock.turnBegins()
        let span = clock.enter(.batch)
        usleep(5000)
        clock.leave(span)
        #expect(clock.counted.interruptions == 1)
        #expect(clock.counted.nanoseconds[LoopStage.batch.rawValue] == 0)
    }
}

@Suite struct WritePathRunTests {
    @Test func aSmallRunInProcessEndsWithSoundFigures() async throws {
        let folder = NSTemporaryDirectory() + "torc-write-path-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let capture = ConsoleCapture()
        try await Console.$capture.withValue(capture) {
            var command = try WritePathCommand.parse([
                "--levels", "in-process", "--rounds", "1", "--seconds", "0.1", "--keys", "100", "--no-references",
                "--folder", folder, "--out", folder + "/report",
            ])
            try await command.run()
        }
        let report = try WritePathReport.read(folder + "/report.json")
        #expect(report.levels.map(\.name) == ["in-process-1", "in-process-32"])
        for level in report.levels {
            // Every stage that a put passes through here took some time, and every put wrote more than its value once.
            for name in ["parse", "coordination", "read of the old record", "merge", "encode and leaf", "log", "reply"]
            {
                #expect((level.measure(name)?.median ?? 0) > 0, "\(level.name): \(name)")
            }
            #expect((level.measure("log written")?.median ?? 0) > 1)
            #expect((level.measure("puts")?.median ?? 0) > 1)
        }
        // One sync a turn.
        #expect(abs((report.levels[0].measure("syncs")?.median ?? 0) - 1) < 0.1)
        #expect(abs((report.levels[1].measure("syncs")?.median ?? 0) * 32 - 1) < 0.1)
        #expect(report.left.contains { $0.contains("--no-references") })
        #expect(capture.text.contains("In process, no network, one put a turn and a sync"))
        // Nothing of what it worked with is left.
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).sorted() == ["report.json", "report.svg"])
        let parser = XMLParser(data: try Data(contentsOf: URL(fileURLWithPath: folder + "/report.svg")))
        #expect(parser.parse())
    }

    @Test func thePictureShowsEveryStageOnce() {
        var level = Level(name: "l", title: "A <level> & \"more\"")
        level.add("parse", 3, unit: "µs", isStage: true)
        level.add("merge", 1, unit: "µs", isStage: true)
        level.add("puts", 5, unit: "a second", better: .more)
        let report = WritePathReport(
            date: "d", version: "v", machine: .init(cores: 2, kernel: "k"),
            settings: .init(rounds: 1, seconds: 1, keys: 1, valueBytes: 1, connections: 1), levels: [level])
        let svg = StagePlot.svg(report)
        #expect(XMLParser(data: Data(svg.utf8)).parse())
        #expect(svg.contains("A &lt;level&gt; &amp; &quot;more&quot;: 4.00 µs"))
        #expect(svg.matches(of: /<title>/).count == 2)
        #expect(svg.contains("width=\"654.0\""))
        #expect(svg.contains("width=\"218.0\""))
        #expect(report.text.contains("75 %"))
    }

    @Test func badOptionsAreRefused() {
        for arguments in [["--rounds", "0"], ["--seconds", "0"], ["--keys", "0"], ["--value-bytes", "2000000"]] {
            #expect(throws: (any Error).self, "\(arguments)") { try WritePathCommand.parse(arguments) }
        }
        #expect(throws: (any Error).self) { try WritePathCommand.parse(["--levels", "seven-nodes"]) }
    }
}
