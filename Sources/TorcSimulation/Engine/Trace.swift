// What happened, for a person: one line an event, with the time, the place and the key. A run without trace
// costs nothing for it; a violation is found first and the seed run again with the trace on, which is what
// determinism buys.

/// Lines of a run.
package struct Trace {
    package enum Mode: Sendable {
        case off
        /// Only the hash over all lines.
        case hash
        /// Every line, kept.
        case lines
    }

    package struct Line: Sendable {
        package var text: String
        /// The key that the line is about; nil: it concerns all.
        package var key: Int?
    }

    package let mode: Mode
    package private(set) var lines: [Line] = []
    private var digest: UInt64 = 0xcbf2_9ce4_8422_2325

    package init(mode: Mode) { self.mode = mode }

    /// FNV-1a over every line so far.
    package var hash: UInt64 { digest }

    package mutating func note(_ time: VirtualTime, _ place: String, key: Int? = nil, _ text: @autoclosure () -> String)
    {
        if mode == .off { return }
        let stamp = time.description
        let line =
            String(repeating: " ", count: max(0, 10 - stamp.utf8.count)) + stamp + "  " + place
            + String(repeating: " ", count: max(1, 5 - place.utf8.count)) + text()
        for byte in line.utf8 { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
        digest = (digest ^ 10) &* 0x100_0000_01b3
        if mode == .lines { lines.append(Line(text: line, key: key)) }
    }

    /// The last lines that concern a key, or all keys.
    package func tail(key: Int?, count: Int) -> [String] {
        guard let key else { return lines.suffix(count).map(\.text) }
        return lines.filter { $0.key == key || $0.key == nil }.suffix(count).map(\.text)
    }
}
