// Names that Riak's clients see and that Torc makes: a version's tag, the tag of several versions together,
// and a key for an object that was stored without one. All are base62 text, as Riak's are.

import NIOCore
package import TorcModel

package enum VersionTag {
    /// Names one version for ever: two versions never share a dot.
    package static func tag(of dot: Dot) -> String { Base62.text(dot.actor.rawValue, dot.counter) }

    /// Names several versions together, in the order of their dots. The context would not do: it may lose entries while nothing
    /// is written.
    package static func tag(of dots: [Dot]) -> String {
        var bytes = ByteBuffer()
        for dot in dots { bytes.writeMultipleIntegers(dot.actor.rawValue, dot.counter) }
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
    /// Ten digits fit into 64 bits: dividing 128 bits twice, and not 22 times, is what makes this quick.
    private static let chunkDigits = 10
    private static let chunk: UInt64 = 839_299_365_868_340_224

    /// Always 22 characters.
    package static func text(_ high: UInt64, _ low: UInt64) -> String {
        let (upper, last) = divideByChunk(high, low)
        let (first, middle) = divideByChunk(upper.high, upper.low)
        return String(unsafeUninitializedCapacity: length) { text in
            write(first.low, to: text, 0..<length - 2 * chunkDigits)
            write(middle, to: text, length - 2 * chunkDigits..<length - chunkDigits)
            write(last, to: text, length - chunkDigits..<length)
            return length
        }
    }

    private static func divideByChunk(
        _ high: UInt64, _ low: UInt64
    ) -> (quotient: (high: UInt64, low: UInt64), remainder: UInt64) {
        let upper = high.quotientAndRemainder(dividingBy: chunk)
        let lower = chunk.dividingFullWidth((upper.remainder, low))
        return ((upper.quotient, lower.quotient), lower.remainder)
    }

    private static func write(_ number: UInt64, to text: UnsafeMutableBufferPointer<UInt8>, _ places: Range<Int>) {
        var rest = number
        for index in places.reversed() {
            text[index] = digits[Int(rest % 62)]
            rest /= 62
        }
    }
}
