// xoshiro256**, seeded through SplitMix64 (Blackman and Vigna, https://prng.di.unimi.it).
// The core never draws from the system: production seeds one generator a lane with 256 bits of system
// entropy, a simulation seeds it from its one seed, and both then run the same code.

/// A deterministic generator; the same seed gives the same numbers on every platform.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    package init(seed: UInt64) {
        var splitMix = seed
        func next() -> UInt64 {
            splitMix &+= 0x9e37_79b9_7f4a_7c15
            var z = splitMix
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        state = (next(), next(), next(), next())
    }

    /// Four words of real entropy. At least one must not be zero.
    package init(entropy: (UInt64, UInt64, UInt64, UInt64)) {
        precondition(
            entropy.0 | entropy.1 | entropy.2 | entropy.3 != 0, "a generator cannot be seeded with zeroes alone")
        state = entropy
    }

    package mutating func next() -> UInt64 {
        let result = rotate(state.1 &* 5, by: 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotate(state.3, by: 45)
        return result
    }

    private func rotate(_ value: UInt64, by count: UInt64) -> UInt64 { (value << count) | (value >> (64 - count)) }
}
