// How many clients' requests a lane has under way at once. A queue that may grow to thousands makes everybody wait for seconds,
// and a request that is refused waits behind those that were not; so what cannot be done soon is refused as it comes.
//
// After CoDel (Nichols and Jacobson, "Controlling queue delay", 2012): a queue that stands shows in the shortest of the
// latencies of an interval, not in the longest or the mean. A disk that is slow now and then, or a replica that does not answer,
// makes some requests slow; when the quickest of all that were answered in a tenth of a second has taken longer than the
// target, there are too many at once.
//
//   shortest latency of an interval > target    window shrinks in that proportion, by half at most
//   otherwise, and requests were refused        window grows by a quarter
//
// By Little's law a window that is so many times too large makes latency so many times too long. Only requests that came after the
// last change are judged: those before it waited in the queue that it ended.

package import TorcModel

/// The window of one lane. Time is an argument.
package struct AdmissionWindow: Sendable {
    /// It shrinks no further: a lane whose disk takes longer than the target for everything still works.
    package static let smallest = 512
    package static let interval = Duration.milliseconds(100)
    /// Who is refused is told to wait this long at least, and at most.
    package static let shortestWait = Duration.milliseconds(10)
    package static let longestWait = Duration.seconds(1)

    private let largest: Int
    /// Nil: it never shrinks.
    private let target: Duration?
    package private(set) var size: Int
    private var shortest: Duration?
    /// The shortest latency of the last interval in which anything was answered.
    private var queueing = Duration.zero
    private var hasRefused = false
    private var intervalEnds = MonotonicTime.zero
    private var changed = MonotonicTime.zero

    /// `largest`: requests. `target`: zero for none.
    package init(largest: Int, target: Duration) {
        self.largest = largest
        self.target = target > .zero ? target : nil
        size = largest
    }

    /// Whether another request is taken beside those that are under way.
    package mutating func admits(beside open: Int) -> Bool {
        if open < size { return true }
        hasRefused = true
        return false
    }

    /// A request was refused elsewhere, because `admits` had said no of late.
    package mutating func refused() { hasRefused = true }

    /// When it may be worth to ask again: those that are under way now are answered by then.
    package var wait: Duration { min(Self.longestWait, max(Self.shortestWait, queueing)) }

    /// A request was answered with what was asked for, refused or failed.
    package mutating func answered(begun: MonotonicTime, at now: MonotonicTime) {
        if begun >= changed {
            let latency = now.duration(since: begun)
            shortest = shortest.map { min($0, latency) } ?? latency
        }
        guard now >= intervalEnds else { return }
        defer {
            shortest = nil
            hasRefused = false
            intervalEnds = now.advanced(by: Self.interval)
        }
        guard let shortest else { return }
        queueing = shortest
        guard let target else { return }
        if shortest > target {
            size = max(min(Self.smallest, largest), Int(Double(size) * max(0.5, target / shortest)))
            changed = now
        } else if hasRefused {
            size = min(largest, size + size / 4 + 1)
            changed = now
        }
    }
}
