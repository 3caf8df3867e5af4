// What a simulation draws from its seed. No function of libm takes part, so the numbers are the same everywhere.

package import TorcModel

extension SeededGenerator {
    /// True this often in a thousand.
    package mutating func chance(_ perMille: Int) -> Bool {
        perMille > 0 && Int(truncatingIfNeeded: next() % 1_000) < perMille
    }

    package mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    /// 0..<bound. The bias of the remainder does not matter here.
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "a draw below \(bound)")
        return Int(truncatingIfNeeded: next() % UInt64(bound))
    }

    package mutating func within(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }

    package mutating func span(_ range: ClosedRange<Span>) -> Span {
        let width = range.upperBound.nanoseconds - range.lowerBound.nanoseconds + 1
        return Span(nanoseconds: range.lowerBound.nanoseconds + next() % width)
    }

    /// Exponential in its octaves, uniform within one: near enough to a Poisson process.
    package mutating func exponential(mean: Span) -> Span {
        let bits = next()
        let octave = UInt64(min(bits.leadingZeroBitCount, 12))
        let unit = (octave << 16) + (bits & 0xffff)
        // ln 2 = 45426 / 65536
        return Span(nanoseconds: (((mean.nanoseconds &* unit) >> 16) &* 45_426) >> 16)
    }

    /// An index, drawn by weight; at least one weight is above zero.
    package mutating func weighted(_ weights: [Int]) -> Int {
        var rest = below(weights.reduce(0, +))
        for (index, weight) in weights.enumerated() {
            if rest < weight { return index }
            rest -= weight
        }
        preconditionFailure("weights changed while they were drawn from")
    }

    /// A generator of its own, so that what one part draws does not move the others.
    package mutating func split() -> SeededGenerator { SeededGenerator(seed: next()) }
}
