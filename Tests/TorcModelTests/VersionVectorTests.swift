import NIOCore
import Testing
import TorcModel

@Suite struct VersionVectorTests {
    /// Against a dictionary. Few actors, so that vectors overlap; sometimes many, past where search is by halving.
    @Test func itIsAMapOfGreatestCounters() {
        for seed in 1...200 as ClosedRange<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let actors = seed % 5 == 0 ? 60 : 6
            func random() -> (VersionVector, [UInt64: UInt64]) {
                var vector = VersionVector()
                var model: [UInt64: UInt64] = [:]
                for _ in 0..<Int.random(in: 0...actors, using: &generator) {
                    let actor = UInt64.random(in: 1...UInt64(actors), using: &generator)
                    let counter = UInt64.random(in: 0...4, using: &generator)
                    vector.insert(Dot(actor: Actor(rawValue: actor), counter: counter))
                    if counter > 0 { model[actor] = max(model[actor] ?? 0, counter) }
                }
                return (vector, model)
            }
            let (left, leftModel) = random()
            let (right, rightModel) = random()
            let subject: Comment = "seed \(seed)"
            #expect(left.entries.map(\.actor.rawValue) == leftModel.keys.sorted(), subject)
            for actor in 0...UInt64(actors) + 1 {
                let name = Actor(rawValue: actor)
                #expect(left[name] == leftModel[actor] ?? 0, subject)
                for counter in 1...5 as ClosedRange<UInt64> {
                    #expect(left.contains(Dot(actor: name, counter: counter)) == (counter <= leftModel[actor] ?? 0))
                }
            }
            let joined = leftModel.merging(rightModel, uniquingKeysWith: max)
            #expect(left.merged(with: right).entries.map(\.actor.rawValue) == joined.keys.sorted(), subject)
            #expect(left.merged(with: right).entries.allSatisfy { joined[$0.actor.rawValue] == $0.counter }, subject)
            #expect(left.merged(with: right) == right.merged(with: left), subject)
            let dominates = rightModel.allSatisfy { leftModel[$0.key] ?? 0 >= $0.value }
            #expect(left.dominates(right) == dominates, subject)
            #expect(left.dominates(left) && left.merged(with: right).dominates(right), subject)
        }
    }

    @Test func aZeroCounterIsNoDot() {
        #expect(VersionVector([Dot(actor: Actor(rawValue: 1), counter: 0)]).isEmpty)
    }
}

@Suite struct TimestampTests {
    @Test func aStampIsAboveAllThatItsWriterSaw() {
        let wall = WallTime(microseconds: 1_000_000)
        #expect(HybridTimestamp.mint(wall: wall, above: .zero)?.rawValue == 1_000_000)
        #expect(HybridTimestamp.mint(wall: wall, above: HybridTimestamp(rawValue: 999_999))?.rawValue == 1_000_000)
        #expect(HybridTimestamp.mint(wall: wall, above: HybridTimestamp(rawValue: 1_000_000))?.rawValue == 1_000_001)
    }

    @Test func aStampTooFarAheadOfTheClockIsNotMinted() {
        let wall = WallTime(microseconds: 1_000_000)
        let limit = wall.microseconds + HybridTimestamp.maximumAheadMicroseconds
        #expect(HybridTimestamp.mint(wall: wall, above: HybridTimestamp(rawValue: limit - 1))?.rawValue == limit)
        #expect(HybridTimestamp.mint(wall: wall, above: HybridTimestamp(rawValue: limit)) == nil)
        #expect(HybridTimestamp.mint(wall: wall, above: HybridTimestamp(rawValue: .max)) == nil)
    }

    @Test func aClockThatReadsNonsenseTrapsNowhere() {
        let end = WallTime(microseconds: .max)
        _ = HybridTimestamp.mint(wall: end, above: .zero)
        #expect(HybridTimestamp.mint(wall: end, above: HybridTimestamp(rawValue: .max)) == nil)
        #expect(HybridTimestamp.mint(wall: WallTime(microseconds: 0), above: .zero)?.rawValue == 1)
    }

    @Test func monotonicTimeCountsNanoseconds() {
        let start = MonotonicTime(nanoseconds: 5)
        let later = start.advanced(by: .milliseconds(1_500))
        #expect(later.nanoseconds == 1_500_000_005)
        #expect(later.duration(since: start) == .milliseconds(1_500))
        #expect(start.duration(since: later) == .zero)
        #expect(MonotonicTime(nanoseconds: .max).duration(since: .zero) == .nanoseconds(Int64.max))
    }
}
