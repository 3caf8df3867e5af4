import NIOCore
import Testing
import TorcModel

@Suite struct ExpiryTests {
    private static let one = Dot(actor: Actor(rawValue: 1), counter: 1)
    private static let two = Dot(actor: Actor(rawValue: 2), counter: 1)

    private func version(_ dot: Dot, stamp: UInt64, expiry: UInt64? = nil) -> Sibling {
        Sibling(
            dot: dot, timestamp: HybridTimestamp(rawValue: stamp), expiry: expiry.map { WallTime(microseconds: $0) },
            value: ByteBuffer(string: "\(dot)"))
    }

    private func object(_ mode: ConflictMode, _ versions: Sibling...) -> VersionedObject {
        versions.reduce(into: VersionedObject(mode: mode)) { $0.put($1, context: VersionVector(), mode: mode) }
    }

    @Test func aVersionCeasesAtItsInstant() {
        let version = version(Self.one, stamp: 1, expiry: 10)
        #expect(!version.hasExpired(at: WallTime(microseconds: 9)))
        #expect(version.hasExpired(at: WallTime(microseconds: 10)))
        #expect(!self.version(Self.one, stamp: 1).hasExpired(at: WallTime(microseconds: .max)))
    }

    @Test func whatIsRemovedHasBeenSeen() {
        let both = object(.siblings, version(Self.one, stamp: 1, expiry: 10), version(Self.two, stamp: 2, expiry: 20))
        let instant = WallTime(microseconds: 10)
        let rest = both.removingExpired(through: instant)
        #expect(rest.siblings.map(\.dot) == [Self.two])
        #expect(rest.clock == both.clock)
        // A replica that still has it does not bring it back.
        #expect(rest.merged(with: both) == rest)
        #expect(both.merged(with: rest) == rest)
        #expect(rest.removingExpired(through: WallTime(microseconds: 20)).isTombstone)
    }

    @Test func aRegisterKeepsTheStampOfWhatWasRemoved() throws {
        let expired = object(.lww, version(Self.two, stamp: 5, expiry: 10))
        let removed = expired.removingExpired(through: WallTime(microseconds: 10))
        #expect(removed.isTombstone && removed.latestTimestamp.rawValue == 5)
        #expect(try VersionedObject(decoding: removed.encoded) == removed)
        // The older write lost to it, and loses still.
        let older = object(.lww, version(Self.one, stamp: 4))
        #expect(older.merged(with: removed).isTombstone)
        // In whatever order they meet.
        let all = [expired, removed, older]
        for a in all {
            for b in all {
                #expect(a.merged(with: b) == b.merged(with: a))
                for c in all { #expect(a.merged(with: b).merged(with: c) == a.merged(with: b.merged(with: c))) }
            }
        }
        #expect(expired.merged(with: removed) == removed)
    }
}
