// How far a long work is, on one line of a terminal's standard error: nothing in the first second, and nothing where standard
// error is a file.

import Foundation
import Synchronization

package final class ProgressBar: Sendable {
    private struct State {
        var done: UInt64 = 0
        var shown: ContinuousClock.Instant
        var isShown = false
    }

    private let title: String
    private let total: UInt64
    private let unit: @Sendable (UInt64) -> String
    private let begun = ContinuousClock.now
    private let state: Mutex<State>
    private let isTerminal = isatty(STDERR_FILENO) == 1

    private static let interval = Duration.milliseconds(200)
    private static let silence = Duration.seconds(1)
    private static let width = 24

    /// `total`: 0 when nobody knows; `unit`: how an amount is shown.
    package init(_ title: String, total: UInt64, unit: @escaping @Sendable (UInt64) -> String = { "\($0)" }) {
        self.title = title
        self.total = total
        self.unit = unit
        state = Mutex(State(shown: begun))
    }

    /// Takes part from any thread.
    package func advance(by amount: UInt64) {
        guard isTerminal else { return }
        state.withLock { state in
            state.done += amount
            let now = ContinuousClock.now
            guard now - begun > Self.silence, now - state.shown > Self.interval else { return }
            state.shown = now
            state.isShown = true
            write("\r" + line(state.done, after: now - begun) + "\u{1b}[K")
        }
    }

    /// Takes the line away.
    package func finish() {
        state.withLock { state in
            if state.isShown { write("\r\u{1b}[K") }
            state.isShown = false
        }
    }

    private func line(_ done: UInt64, after elapsed: Duration) -> String {
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        let rate = Double(done) / max(seconds, 0.001)
        guard total > 0 else { return "\(title)  \(unit(done))  \(unit(UInt64(rate)))/s" }
        let part = min(Double(done) / Double(total), 1)
        let full = Int(part * Double(Self.width))
        let bar = String(repeating: "#", count: full) + String(repeating: "-", count: Self.width - full)
        let left = rate > 0 ? Int(Double(total - min(done, total)) / rate) : 0
        return
            "\(title)  [\(bar)] \(Int(part * 100)) %  \(unit(UInt64(rate)))/s  \(left / 60):\(left % 60 < 10 ? "0" : "")\(left % 60) left"
    }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
