import NIOCore
import Testing
import TorcModel
import TorcReplication

@Suite struct PropertiesTableTests {
    private func entry(
        _ scope: PropertiesScope, n: UInt8 = 3, mode: ConflictMode = .siblings, inherits: Bool = false,
        stamp: UInt64, by node: UInt64 = 1
    ) -> PropertiesEntry {
        var properties = BucketProperties()
        properties.n = n
        properties.conflictMode = mode
        return PropertiesEntry(
            scope: scope,
            versioned: VersionedProperties(
                properties: properties, inherits: inherits, stamp: HybridTimestamp(rawValue: stamp),
                setBy: NodeID(rawValue: node)))
    }

    private let bucket = BucketID(type: ByteBuffer(string: "t"), name: ByteBuffer(string: "b"))
    private let type = PropertiesScope.type(ByteBuffer(string: "t"))

    @Test func aBucketBeforeItsTypeBeforeTheBuild() {
        var table = PropertiesTable()
        #expect(table[bucket] == BucketProperties())
        table.merge(entry(type, n: 5, stamp: 1))
        #expect(table[bucket].n == 5)
        table.merge(entry(.bucket(bucket), n: 2, stamp: 1))
        #expect(table[bucket].n == 2)
        table.merge(entry(.bucket(bucket), n: 3, inherits: true, stamp: 2))
        #expect(table[bucket].n == 5, "a bucket that was reset is its type's again")
        table.merge(entry(type, n: 4, stamp: 2))
        #expect(table[bucket].n == 4)
    }

    @Test func theDefaultTypeHasOneName() {
        var table = PropertiesTable()
        table.merge(entry(.type(ByteBuffer(string: "default")), n: 2, stamp: 1))
        #expect(table[BucketID(name: ByteBuffer(string: "b"))].n == 2)
        #expect(table.type(ByteBuffer()).n == 2)
        #expect(table.count == 1)
    }

    @Test func lwwSticksWhateverIsNewer() {
        var table = PropertiesTable()
        table.merge(entry(.bucket(bucket), mode: .lww, stamp: 1))
        table.merge(entry(.bucket(bucket), n: 5, stamp: 2))
        #expect(table[bucket].conflictMode == .lww)
        #expect(table[bucket].n == 5)
        table.merge(entry(.bucket(bucket), inherits: true, stamp: 3))
        #expect(table[bucket].conflictMode == .lww)
    }

    /// Few scopes, stamps and setters, so that every kind of tie is met.
    private func random(_ generator: inout SeededGenerator) -> PropertiesEntry {
        let scopes: [PropertiesScope] = [type, .bucket(bucket), .type(ByteBuffer())]
        return entry(
            scopes.randomElement(using: &generator)!, n: .random(in: 1...3, using: &generator),
            mode: Int.random(in: 0..<4, using: &generator) == 0 ? .lww : .siblings,
            inherits: .random(using: &generator), stamp: .random(in: 1...3, using: &generator),
            by: .random(in: 1...2, using: &generator))
    }

    @Test(arguments: 1...300 as ClosedRange<UInt64>)
    func mergingIsCommutativeAssociativeAndIdempotent(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let entries = (0..<8).map { _ in random(&generator) }
        let table = PropertiesTable(entries)
        #expect(PropertiesTable(entries.shuffled(using: &generator)) == table, "seed \(seed)")
        #expect(PropertiesTable(entries + entries) == table, "seed \(seed)")
        // What was merged apart and exchanged as merged comes to the same.
        let halves = [PropertiesTable(entries[..<4]), PropertiesTable(entries[4...])]
        #expect(PropertiesTable(halves[1].sorted + halves[0].sorted) == table, "seed \(seed)")
        #expect(PropertiesTable(table.sorted) == table, "seed \(seed)")
    }

    @Test(arguments: 1...100 as ClosedRange<UInt64>)
    func bytesRoundTrip(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let entry = random(&generator)
        var bytes = ByteBuffer()
        entry.encode(into: &bytes)
        var reader = bytes
        let decoded = try PropertiesEntry(decoding: &reader)
        #expect(decoded == entry)
        #expect(reader.readableBytes == 0)
        // Every shorter piece is refused, and no single changed byte traps.
        for length in 0..<bytes.readableBytes {
            var cut = bytes.getSlice(at: 0, length: length)!
            #expect(throws: MalformedBytes.self) { try PropertiesEntry(decoding: &cut) }
            var changed = bytes
            changed.setInteger(UInt8.random(in: 0...255, using: &generator), at: length)
            _ = try? PropertiesEntry(decoding: &changed)
        }
    }

    /// Builds that do not know the last field read a bucket that does not have it.
    @Test func whatABucketDoesNotHaveTakesNoBytes() throws {
        var properties = BucketProperties()
        var bytes = ByteBuffer()
        properties.encode(into: &bytes)
        #expect(Array(bytes.readableBytesView) == [2, 3, 254, 254, 0, 0, 254, 254, 0])
        properties.oneCacheMilliseconds = 300
        bytes.clear()
        properties.encode(into: &bytes)
        #expect(Array(bytes.readableBytesView) == [18, 3, 254, 254, 0, 0, 254, 254, 0, 1, 44])
        #expect(try BucketProperties(decoding: &bytes) == properties)
        var nothing = ByteBuffer(bytes: [18, 3, 254, 254, 0, 0, 254, 254, 0, 0, 0] as [UInt8])
        #expect(throws: MalformedBytes.self) { try BucketProperties(decoding: &nothing) }
        var tooLong = ByteBuffer(bytes: [18, 3, 254, 254, 0, 0, 254, 254, 0, 39, 17] as [UInt8])
        #expect(throws: MalformedBytes.self) { try BucketProperties(decoding: &tooLong) }
    }

    @Test func whatNoBucketMayHave() {
        var properties = BucketProperties()
        #expect(properties.refusal == nil)
        properties.n = 0
        #expect(properties.refusal == .invalidCopies(asked: 0, limit: 7))
        properties.n = 8
        #expect(properties.refusal == .invalidCopies(asked: 8, limit: 7))
        properties.n = 2
        properties.pw = .count(3)
        #expect(properties.refusal == .invalidQuorum(name: "pw", asked: 3, n: 2))
    }
}
