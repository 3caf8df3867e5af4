// How long the subjects take, by the processor time of one thread: in turn with the reference, so that what the machine does
// meanwhile falls on both.

import Glibc

/// Of one subject, the rounds in order.
package struct MicroTimes: Codable, Sendable {
    /// Of one operation.
    package var nanoseconds: [Double] = []
    /// By the time of the reference in the same round.
    package var ratios: [Double] = []

    package init() {}
}

package enum MicroTiming {
    /// Long enough for the clock, short enough to stay on the core.
    private static let batchNanoseconds: UInt64 = 10_000_000
    private static let mostOperations = 1 << 24

    /// By the subject's name.
    package static func run(_ subjects: [MicroSubject], rounds: Int) throws -> [String: MicroTimes] {
        let reference = try Batch(.reference)
        let batches = try subjects.map { ($0.name, try Batch($0)) }
        var times: [String: MicroTimes] = [:]
        for _ in 0..<rounds {
            for (name, batch) in batches {
                let before = try reference.nanoseconds(), own = try batch.nanoseconds()
                let beside = (before + (try reference.nanoseconds())) / 2
                times[name, default: MicroTimes()].nanoseconds.append(own)
                times[name, default: MicroTimes()].ratios.append(own / beside)
            }
        }
        return times
    }

    /// So many operations of a subject as fill the time.
    private struct Batch {
        private let run: (Int) throws -> UInt64
        private var count = 1

        init(_ subject: MicroSubject) throws {
            run = try subject.prepare()
            while count < mostOperations {
                let begun = MicroTiming.now()
                MicroTiming.keep(try run(count))
                if MicroTiming.now() - begun >= batchNanoseconds { break }
                count *= 2
            }
        }

        /// Of one operation.
        func nanoseconds() throws -> Double {
            let begun = MicroTiming.now()
            MicroTiming.keep(try run(count))
            return Double(MicroTiming.now() - begun) / Double(count)
        }
    }

    @inline(never)
    private static func keep(_ value: UInt64) {}

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
