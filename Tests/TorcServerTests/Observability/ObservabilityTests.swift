import Foundation
import Logging
import Synchronization
import Testing
import TorcModel
import TorcServer

@Suite struct LatencyHistogramTests {
    /// Seeded: a percentile is never below the exact one, and above it by a sixteenth at most.
    @Test(arguments: [1, 2, 3] as [UInt64]) func percentilesAreExactToASixteenth(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var histogram = LatencyHistogram()
        var values: [UInt64] = []
        for _ in 0..<5_000 {
            let value = UInt64.random(in: 0...(1 << UInt64.random(in: 0...30, using: &generator)), using: &generator)
            histogram.record(microseconds: value)
            values.append(value)
        }
        values.sort()
        #expect(histogram.count == 5_000)
        #expect(histogram.maximumMicroseconds == values.last)
        #expect(histogram.totalMicroseconds == values.reduce(0, +))
        for fraction in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = values[max(0, Int((5_000 * fraction).rounded(.up)) - 1)]
            let found = histogram.percentile(fraction)
            #expect(
                found >= exact && found <= exact + exact / 16 + 1, "seed \(seed), \(fraction): \(found) for \(exact)")
        }
    }

    @Test func twoAreOne() {
        var left = LatencyHistogram()
        var right = LatencyHistogram()
        for value in 1...100 { left.record(microseconds: UInt64(value)) }
        for value in 901...1_000 { right.record(microseconds: UInt64(value)) }
        left.add(right)
        #expect(left.count == 200)
        #expect(left.percentile(0.5) >= 100 && left.percentile(0.5) < 110)
        #expect(left.percentile(1) == 1_000)
        #expect(LatencyHistogram().percentile(0.5) == 0)
    }

    /// Longer than the last bucket is counted there.
    @Test func nothingIsTooLong() {
        var histogram = LatencyHistogram()
        histogram.record(microseconds: .max)
        #expect(histogram.percentile(0.5) > 3_600_000_000)
    }
}

@Suite struct LineLogHandlerTests {
    private func lines(_ form: LineLogHandler.Form, _ body: (Logger) -> Void) -> [String] {
        let written = Mutex<[String]>([])
        let logger = Logger(label: "test") { _ in
            LineLogHandler(level: .info, form: form) { line in written.withLock { $0.append(line) } }
        }
        body(logger)
        return written.withLock { $0 }
    }

    @Test func aLineForPeople() throws {
        let found = lines(.text) { logger in
            logger.debug("not shown")
            logger.warning("something", metadata: ["b": "two words", "a": "1", "c": "new\nline"])
        }
        #expect(found.count == 1)
        let line = try #require(found.first)
        #expect(
            line.wholeMatch(
                of: /WARNING  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z something a=1 b="two words" c="new\\nline"\n/)
                != nil)
    }

    @Test func anObjectForPrograms() throws {
        let found = lines(.json) { $0.error("say \"hi\"", metadata: ["key": "\u{1}\\"]) }
        let line = try #require(found.first)
        let object = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
        #expect(object["level"] == "error")
        #expect(object["event"] == "say \"hi\"")
        #expect(object["key"] == "\u{1}\\")
    }
}
