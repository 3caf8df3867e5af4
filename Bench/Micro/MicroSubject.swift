// One thing that is measured alone: a call that a put or a get makes again and again, without disk, sockets or threads.

import NIOCore
import TorcModel

package struct MicroSubject: Sendable {
    /// What limits are stored under.
    package let name: String
    /// What one operation is.
    package let about: String
    /// Operations that are counted under callgrind, where one takes some fifty times as long.
    package let counted: Int
    /// Makes the inputs. What it returns does so many operations, and gives a number that depends on what each gave, so that no
    /// compiler leaves one out.
    package let prepare: @Sendable () throws -> (Int) throws -> UInt64

    package init(
        _ name: String, _ about: String, counted: Int = 200,
        prepare: @escaping @Sendable () throws -> (Int) throws -> UInt64
    ) {
        self.name = name
        self.about = about
        self.counted = counted
        self.prepare = prepare
    }

    /// The first is what times are compared with.
    package static let all: [MicroSubject] =
        [reference] + merging + records + leaves + rings + peerFrames + protocols

    /// Work that this repository's code has no part in.
    static let reference = MicroSubject("reference", "xxh3 over 1 KiB") {
        let inputs = MicroInputs()
        return { count in
            var sum: UInt64 = 0
            for index in 0..<count { sum &+= xxh3(inputs.values[index % MicroInputs.count], seed: sum) }
            return sum
        }
    }
}

/// What all subjects draw their inputs from: the same in every process.
struct MicroInputs {
    /// So many of each kind: enough that no branch is learnt by heart, few enough to stay in the cache.
    static let count = 32
    static let valueBytes = 1024
    private static let seed: UInt64 = 0x7069_6b6f

    var random = SeededGenerator(seed: Self.seed)
    let bucket = BucketID(name: ByteBuffer(string: "bench"))
    let keys: [ByteBuffer]
    let names: [ObjectKey]
    let values: [ByteBuffer]
    /// Three nodes have written the keys: so long are their vectors.
    let actors: [Actor]

    init() {
        var random = SeededGenerator(seed: Self.seed)
        let bucket = bucket
        keys = (0..<Self.count).map { ByteBuffer(string: "key\($0 * 7919)") }
        names = keys.map { ObjectKey(bucket: bucket, key: $0) }
        values = (0..<Self.count).map { _ in
            var value = ByteBuffer()
            while value.readableBytes < Self.valueBytes { value.writeInteger(random.next()) }
            return value
        }
        actors = (0..<3).map { _ in Actor(rawValue: random.next() | 1) }.sorted()
        self.random = random
    }

    func clock(_ counters: [UInt64]) -> VersionVector {
        var clock = VersionVector()
        for (actor, counter) in zip(actors, counters) { clock.insert(Dot(actor: actor, counter: counter)) }
        return clock
    }

    /// A version that one of the actors wrote.
    func version(_ actor: Int, _ counter: UInt64, value: Int) -> Sibling {
        Sibling(
            dot: Dot(actor: actors[actor], counter: counter),
            timestamp: HybridTimestamp(rawValue: 1_700_000_000_000_000 + counter), value: values[value])
    }

    /// An object that all three actors wrote, of which the last version stands.
    func object(_ index: Int, counters: [UInt64], writer: Int) -> VersionedObject {
        var object = VersionedObject(mode: .siblings)
        object.put(
            version(writer, counters[writer], value: index),
            context: clock(
                counters.enumerated().map { actor, counter in
                    actor == writer ? counter - 1 : counter
                }), mode: .siblings)
        return object
    }
}
