import Foundation
import Testing
import TorcMicro

@Suite struct MicroTests {
    @Test func everySubjectRunsAndRepeats() throws {
        for subject in MicroSubject.all {
            let first = try subject.prepare(), second = try subject.prepare()
            let count = min(subject.counted, 40)
            #expect(try first(count) == second(count), "\(subject.name) draws from something else than its seed")
        }
        let names = Set(MicroSubject.all.map(\.name))
        #expect(names.count == MicroSubject.all.count, "two subjects of one name share a limit")
    }

    @Test func timesComeInRounds() throws {
        let subjects = MicroSubject.all.filter { $0.name.hasPrefix("merge") }
        let times = try MicroTiming.run(subjects, rounds: 2)
        #expect(Set(times.keys) == Set(subjects.map(\.name)))
        for time in times.values {
            #expect(
                time.ratios.count == 2 && time.nanoseconds.allSatisfy { $0 > 0 } && time.ratios.allSatisfy { $0 > 0 })
        }
    }

    private static let part = """
        # callgrind format
        version: 1
        part: 3
        desc: Trigger: Client Request: merge: newer
        positions: line
        events: Ir

        ob=/usr/bin/torc
        fn=merge
        0 1200
        cob=/lib/libjemalloc.so.2
        cfn=malloc
        calls=400 0
        0 9000
        cfn=swift_retain
        calls=600 0
        0 100
        fn=other
        0 10
        cfn=swift_release'2
        calls=200 0
        0 5
        cfn=mallocated
        calls=7 0
        0 5

        totals: 44000
        """

    @Test func readsWhatCallgrindWrites() throws {
        let part = try #require(CallgrindPart(Self.part))
        #expect(part.name == "merge: newer")
        #expect(part.instructions == 44000 && part.allocations == 400 && part.retains == 800)
        // What the process did after the last region is no part.
        #expect(CallgrindPart(Self.part.replacing("Client Request: merge: newer", with: "Program termination")) == nil)
        #expect(CallgrindPart("") == nil)
    }

    @Test func limitsFailAboveTheirTolerance() {
        let limits = MicroLimits(counts: ["merge": MicroCounts(instructions: 1000, allocations: 3, retains: 10)])
        func verdict(_ instructions: Double, _ allocations: Double, _ retains: Double) -> MicroLimits.Verdict {
            limits.verdict(
                on: "merge", MicroCounts(instructions: instructions, allocations: allocations, retains: retains))
        }
        #expect(verdict(1000, 3, 10) == .holds)
        #expect(verdict(1099, 3.04, 10.9) == .holds)
        #expect(verdict(1101, 3, 10) == .exceeded(["1101 instructions (1000 were recorded)"]))
        #expect(
            verdict(1000, 4, 12)
                == .exceeded(["4 allocations (3 were recorded)", "12 retains and releases (10 were recorded)"]))
        #expect(verdict(800, 3, 10) == .better)
        #expect(verdict(1000, 2, 10) == .better)
        #expect(limits.verdict(on: "new", MicroCounts(instructions: 1, allocations: 0, retains: 0)) == .unknown)
    }

    @Test func limitsAreReadAsTheyAreWritten() throws {
        let limits = MicroLimits(counts: ["leaf": MicroCounts(instructions: 12.5, allocations: 0, retains: 2)])
        let path = "/tmp/torc-micro-limits-\(UInt64.random(in: 0 ... .max)).json"
        try limits.json.write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try MicroLimits(path: path) == limits)
        #expect(throws: MicroFailure.self) { try MicroLimits(path: "/nowhere/limits.json") }
    }
}
