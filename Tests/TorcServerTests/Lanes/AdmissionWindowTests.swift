import Testing
import TorcModel
import TorcServer

/// A server that takes one request after another, so that each waits for all before it.
@Suite struct AdmissionWindowTests {
    private struct Queue {
        var window: AdmissionWindow
        var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
        /// Requests that it answers a second.
        var rate: Double
        private var begun: [MonotonicTime] = []
        private(set) var refused = 0
        private(set) var answered = 0
        private(set) var longest = Duration.zero

        init(largest: Int, target: Duration, rate: Double) {
            window = AdmissionWindow(largest: largest, target: target)
            self.rate = rate
        }

        /// So many requests come each millisecond.
        mutating func run(_ milliseconds: Int, arrivals: Int) {
            refused = 0
            answered = 0
            longest = .zero
            var due = 0.0
            for _ in 0..<milliseconds {
                now = now.advanced(by: .milliseconds(1))
                for _ in 0..<arrivals {
                    if window.admits(beside: begun.count) { begun.append(now) } else { refused += 1 }
                }
                due += rate / 1_000
                while due >= 1, !begun.isEmpty {
                    due -= 1
                    let first = begun.removeFirst()
                    answered += 1
                    longest = max(longest, now.duration(since: first))
                    window.answered(begun: first, at: now)
                }
                if begun.isEmpty { due = min(due, 1) }
            }
        }
    }

    @Test func aQueueThatStandsIsCutToTheTarget() {
        var queue = Queue(largest: 8_192, target: .milliseconds(250), rate: 4_000)
        queue.run(8_000, arrivals: 16)
        // It has settled: what is done is all that can be done, soon; the rest is refused.
        queue.run(3_000, arrivals: 16)
        #expect(queue.answered > 11_900 && queue.refused > 35_000)
        #expect(queue.longest < .milliseconds(450), "\(queue.longest)")
        #expect(queue.window.size >= 512 && queue.window.size < 2_000, "\(queue.window.size)")
        // When it is over nobody is refused, and nobody waits.
        queue.run(1_000, arrivals: 2)
        queue.run(1_000, arrivals: 2)
        #expect(queue.refused == 0 && queue.longest < .milliseconds(5), "\(queue.longest)")
    }

    @Test func whatIsDoneInTimeIsNeverRefused() {
        var queue = Queue(largest: 8_192, target: .milliseconds(250), rate: 20_000)
        queue.run(5_000, arrivals: 19)
        #expect(queue.refused == 0 && queue.window.size == 8_192)
    }

    /// A replica that does not answer makes some requests slow: that is no queue.
    @Test func someThatAreSlowDoNotShrinkIt() {
        var window = AdmissionWindow(largest: 8_192, target: .milliseconds(250))
        var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
        for request in 0..<10_000 {
            now = now.advanced(by: .milliseconds(1))
            let latency = request % 20 == 0 ? UInt64(3_000_000) : 900_000_000
            window.answered(begun: MonotonicTime(nanoseconds: now.nanoseconds - latency), at: now)
        }
        #expect(window.size == 8_192)
    }

    @Test func aDiskThatIsAlwaysSlowLeavesTheSmallest() {
        var window = AdmissionWindow(largest: 8_192, target: .milliseconds(250))
        var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
        for _ in 0..<100_000 {
            now = now.advanced(by: .milliseconds(1))
            window.answered(begun: MonotonicTime(nanoseconds: now.nanoseconds - 900_000_000), at: now)
        }
        #expect(window.size == AdmissionWindow.smallest)
        var small = AdmissionWindow(largest: 16, target: .milliseconds(1))
        for _ in 0..<1_000 {
            now = now.advanced(by: .milliseconds(10))
            small.answered(begun: MonotonicTime(nanoseconds: now.nanoseconds - 900_000_000), at: now)
        }
        #expect(small.size == 16)
    }

    @Test func whoIsRefusedIsToldHowLongTheQueueIs() {
        var queue = Queue(largest: 8_192, target: .milliseconds(250), rate: 4_000)
        #expect(queue.window.wait == AdmissionWindow.shortestWait)
        queue.run(8_000, arrivals: 16)
        #expect(
            queue.window.wait > .milliseconds(100) && queue.window.wait < .milliseconds(450), "\(queue.window.wait)")
        queue.run(1_000, arrivals: 2)
        #expect(queue.window.wait == AdmissionWindow.shortestWait)
        // However slow a disk is.
        var window = AdmissionWindow(largest: 8, target: .zero)
        let now = MonotonicTime(nanoseconds: 100_000_000_000)
        window.answered(begun: .zero, at: now)
        #expect(window.wait == AdmissionWindow.longestWait)
    }

    /// Where another loop has refused, because the lane was full, the window grows all the same when it may.
    @Test func itGrowsWhenOthersHaveRefused() {
        for isRefused in [false, true] {
            var queue = Queue(largest: 8_192, target: .milliseconds(250), rate: 4_000)
            queue.run(8_000, arrivals: 16)
            let size = queue.window.size
            for _ in 0..<10 {
                if isRefused { queue.window.refused() }
                queue.run(150, arrivals: 1)
            }
            #expect((queue.window.size > size) == isRefused, "\(size), then \(queue.window.size)")
        }
    }

    @Test func withoutATargetTheLargestIsTheLimit() {
        var queue = Queue(largest: 1_000, target: .zero, rate: 1_000)
        queue.run(3_000, arrivals: 5)
        #expect(queue.window.size == 1_000 && queue.longest > .milliseconds(900) && queue.refused > 0)
    }
}
