import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcSimulation

@Suite struct DiskAndQueueTests {
    @Test func eventsComeByTimeThenByOrder() {
        var queue = EventQueue<String>()
        queue.schedule("c", at: VirtualTime(nanoseconds: 5))
        queue.schedule("a", at: VirtualTime(nanoseconds: 1))
        queue.schedule("d", at: VirtualTime(nanoseconds: 5))
        queue.schedule("b", at: VirtualTime(nanoseconds: 5))
        var order = ""
        while let next = queue.next() { order += next.event }
        #expect(order == "acdb")
    }

    private static let keys = (0..<8).map {
        ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k\($0)"))
    }

    private func write(_ key: Int, _ text: String) -> RecordWrite {
        RecordWrite(partition: PartitionID(0), key: Self.keys[key], record: ByteBuffer(string: text), leaves: [])
    }

    /// What was synced survives, of the rest a prefix.
    @Test func aPowerLossTakesASuffix() throws {
        for seed in UInt64(1)...200 {
            var random = SeededGenerator(seed: seed)
            var store = SimulatedStore()
            store.append(SimulatedBatch(writes: [write(0, "synced")]), lane: 0, batch: BatchNumber(rawValue: 1))
            #expect(store.synced(store.syncPoint, laneCount: 1) == [BatchNumber(rawValue: 1)])
            for key in 1..<8 {
                store.append(
                    SimulatedBatch(writes: [write(key, "later")]), lane: 0,
                    batch: BatchNumber(rawValue: UInt64(key + 1)))
            }
            let survived = try store.crash(seed % 2 == 0 ? .suffix : .blocks, random: &random)
            let held = Self.keys.indices.filter { store.read(Self.keys[$0]) != .absent }
            #expect(held == Array(0...survived), "seed \(seed)")
        }
    }

    @Test func aKilledProcessLosesNothingThatItWrote() throws {
        var random = SeededGenerator(seed: 1)
        var store = SimulatedStore()
        store.append(SimulatedBatch(writes: [write(0, "a")]), lane: 0, batch: BatchNumber(rawValue: 1))
        #expect(try store.crash(.nothing, random: &random) == 1)
        #expect(store.read(Self.keys[0]) == .found(ByteBuffer(string: "a")))
    }

    @Test func anOlderFolderComesBack() {
        var store = SimulatedStore()
        store.append(SimulatedBatch(writes: [write(0, "old")]), lane: 0, batch: BatchNumber(rawValue: 1))
        _ = store.synced(store.syncPoint, laneCount: 1)
        let image = store.image(at: .zero)
        store.append(
            SimulatedBatch(writes: [write(0, "new"), write(1, "new")]), lane: 0, batch: BatchNumber(rawValue: 2))
        _ = store.synced(store.syncPoint, laneCount: 1)
        store.rollBack(to: image)
        #expect(store.read(Self.keys[0]) == .found(ByteBuffer(string: "old")))
        #expect(store.read(Self.keys[1]) == .absent)
    }

    /// What was written over it and is lost leaves it damaged.
    @Test func damageComesBackWithWhatWasDamaged() throws {
        var outcomes: Set<Int> = []
        for seed in UInt64(1)...40 {
            var random = SeededGenerator(seed: seed)
            var store = SimulatedStore()
            store.append(SimulatedBatch(writes: [write(0, "old")]), lane: 0, batch: BatchNumber(rawValue: 1))
            _ = store.synced(store.syncPoint, laneCount: 1)
            store.damage(Self.keys[0], .block)
            store.append(SimulatedBatch(writes: [write(0, "new")]), lane: 0, batch: BatchNumber(rawValue: 2))
            #expect(store.read(Self.keys[0]) == .found(ByteBuffer(string: "new")))
            let survived = try store.crash(.suffix, random: &random)
            outcomes.insert(survived)
            #expect(store.read(Self.keys[0]) == (survived == 1 ? .found(ByteBuffer(string: "new")) : .failed))
        }
        #expect(outcomes == [0, 1])
    }

    @Test func aDamagedRecordIsNotTheRecord() {
        var store = SimulatedStore()
        store.append(SimulatedBatch(writes: [write(0, "abc")]), lane: 0, batch: BatchNumber(rawValue: 1))
        store.damage(Self.keys[0], .block)
        #expect(store.read(Self.keys[0]) == .failed)
        store.damage(Self.keys[0], .bit(9))
        guard case .found(let bytes) = store.read(Self.keys[0]) else {
            Issue.record("a flipped bit is found")
            return
        }
        #expect(bytes != ByteBuffer(string: "abc") && bytes.readableBytes == 3)
    }
}
