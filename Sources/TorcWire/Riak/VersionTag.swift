// Names that Riak's clients see and that Torc makes: a version's tag, the tag of several versions together,
// and a key for an object that was stored without one. All are base62 text, as Riak's are.

import NIOCore
package import TorcModel

package enum VersionTag {
    /// Names one version for ever: two versions never share a dot.
    package static func tag(of dot: Dot) -> String { Base62.text(dot.actor.rawValue, dot.counter) }

    /// Names a state of an object: changes whenever the object does.
    package static func tag(of context: CausalContext) -> String {
        var bytes = ByteBuffer()
        context.encode(into: &bytes)
        return Base62.text(xxh3(bytes, seed: 0), xxh3(bytes, seed: 1))
    }

    /// A key for an object that came without one. 128 random bits: that two agree is not worth a check.
    package static func madeKey(_ entropy: (UInt64, UInt64)) -> String { Base62.text(entropy.0, entropy.1) }
}

/// 128 bits as text of letters and digits.
package enum Base62 {
    private static let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    /// 62^22 > 2^128.
    private static let length = 22

    /// Always 22 characters.
    package static func text(_ high: UInt64, _ low: UInt64) -> String {
        var high = high
        var low = low
        return String(unsafeUninitializedCapacity: length) { text in
            for index in stride(from: length - 1, through: 0, by: -1) {
                let upper = high.quotientAndRemainder(dividingBy: 62)
                let lower = UInt64(62).dividingFullWidth((upper.remainder, low))
                high = upper.quotient
                low = lower.quotient
                text[index] = digits[Int(lower.remainder)]
            }
            return length
        }
    }
}
