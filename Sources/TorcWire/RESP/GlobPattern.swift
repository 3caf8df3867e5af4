// Redis's patterns of keys: `*`, `?`, `[a-z]`, `[^a]`, and `\` before one of these.

import NIOCore

struct GlobPattern {
    private let pattern: [UInt8]

    init(_ pattern: ByteBuffer) { self.pattern = Array(pattern.readableBytesView) }

    /// Goes back to the last `*` alone, so that no pattern takes longer than its length times the key's.
    func matches(_ key: ByteBuffer) -> Bool {
        let text = Array(key.readableBytesView)
        var at = 0
        var place = 0
        var star: (at: Int, place: Int)?
        while place < text.count {
            if at < pattern.count, pattern[at] == UInt8(ascii: "*") {
                star = (at, place)
                at += 1
            } else if let next = matchesOne(text[place], at) {
                at = next
                place += 1
            } else if let last = star {
                star = (last.at, last.place + 1)
                at = last.at + 1
                place = last.place + 1
            } else {
                return false
            }
        }
        return pattern[at...].allSatisfy { $0 == UInt8(ascii: "*") }
    }

    /// Where the pattern goes on behind what matches this byte; nil: nothing does.
    private func matchesOne(_ byte: UInt8, _ at: Int) -> Int? {
        guard at < pattern.count else { return nil }
        switch pattern[at] {
        case UInt8(ascii: "?"): return at + 1
        case UInt8(ascii: "\\") where at + 1 < pattern.count: return pattern[at + 1] == byte ? at + 2 : nil
        case UInt8(ascii: "["):
            var at = at + 1
            let isNegated = at < pattern.count && pattern[at] == UInt8(ascii: "^")
            if isNegated { at += 1 }
            var isFound = false
            while at < pattern.count, pattern[at] != UInt8(ascii: "]") {
                if pattern[at] == UInt8(ascii: "\\"), at + 1 < pattern.count { at += 1 }
                if at + 2 < pattern.count, pattern[at + 1] == UInt8(ascii: "-"), pattern[at + 2] != UInt8(ascii: "]") {
                    let (low, high) = (min(pattern[at], pattern[at + 2]), max(pattern[at], pattern[at + 2]))
                    if (low...high).contains(byte) { isFound = true }
                    at += 3
                } else {
                    if pattern[at] == byte { isFound = true }
                    at += 1
                }
            }
            return isFound != isNegated ? min(at + 1, pattern.count) : nil
        case byte: return at + 1
        default: return nil
        }
    }
}
