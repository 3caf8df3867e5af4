// The checker of answers from memory is shown its promise broken, and beside it kept.

import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcSimulation

@Suite struct CacheCheckerTests {
    private let place = CacheChecker.Place(process: 1, key: 0)

    private func at(_ milliseconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: milliseconds * 1_000_000) }

    private func object(_ counter: UInt64, expiry: WallTime? = nil) -> ClientObject {
        let dot = Dot(actor: Actor(rawValue: 1), counter: counter)
        var object = VersionedObject(mode: .siblings)
        object.put(
            Sibling(dot: dot, timestamp: .zero, expiry: expiry, value: ByteBuffer(string: "v")),
            context: VersionVector(), mode: .siblings)
        return ClientObject(object, at: WallTime(microseconds: 1_000), headOnly: false)
    }

    @Test func itRepeatsWhatReplicasAnsweredInTime() {
        var checker = CacheChecker()
        checker.read(object(1), at: place, now: at(10), milliseconds: 20)
        #expect(checker.check(object(1), at: place, now: at(30), milliseconds: 20) == nil)
        #expect(checker.check(object(1), at: place, now: at(31), milliseconds: 20)?.promise == .staleCache)
        #expect(checker.check(object(2), at: place, now: at(30), milliseconds: 20)?.promise == .staleCache)
        let elsewhere = CacheChecker.Place(process: 2, key: 0)
        #expect(checker.check(object(1), at: elsewhere, now: at(30), milliseconds: 20)?.promise == .staleCache)
        // Replicas may have answered two things.
        checker.read(object(2), at: place, now: at(29), milliseconds: 20)
        #expect(checker.check(object(1), at: place, now: at(30), milliseconds: 20) == nil)
        checker.read(object(2), at: place, now: at(31), milliseconds: 20)
        #expect(checker.check(object(1), at: place, now: at(30), milliseconds: 20)?.promise == .staleCache, "forgotten")
    }

    @Test func notWhatWasReadBeforeAWrite() {
        var checker = CacheChecker()
        checker.read(object(1), at: place, now: at(10), milliseconds: 20)
        checker.wrote(at: place)
        #expect(checker.check(object(1), at: place, now: at(11), milliseconds: 20)?.promise == .staleCache)
        checker.read(object(1), at: place, now: at(12), milliseconds: 20)
        #expect(checker.check(object(1), at: place, now: at(13), milliseconds: 20) == nil)
    }

    @Test func whatHasExpiredMayBeMissing() {
        var checker = CacheChecker()
        let passing = object(1, expiry: WallTime(microseconds: 2_000))
        checker.read(passing, at: place, now: at(10), milliseconds: 20)
        var later = passing
        later.siblings = []
        #expect(checker.check(later, at: place, now: at(11), milliseconds: 20) == nil)
    }
}
