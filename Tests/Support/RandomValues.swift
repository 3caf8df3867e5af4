// Values at random, for property tests: valid, and leaning to the edges (empty, one, the largest).

package import NIOCore
package import TorcModel
package import TorcReplication

extension SeededGenerator {
    package mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &self) == 0 }

    package mutating func pick<T>(_ values: [T]) -> T { values.randomElement(using: &self)! }

    package mutating func maybe<T>(_ make: (inout SeededGenerator) -> T) -> T? { chance(2) ? nil : make(&self) }

    /// Small most of the time, now and then at the very end of the range.
    package mutating func number() -> UInt64 {
        switch Int.random(in: 0..<8, using: &self) {
        case 0: 0
        case 1: .max
        case 2: next()
        default: next() >> UInt64.random(in: 40...63, using: &self)
        }
    }

    package mutating func natural() -> Int { Int(number() >> 1) }

    package mutating func bytes(_ lengths: ClosedRange<Int> = 0...24) -> ByteBuffer {
        let length = chance(4) ? lengths.lowerBound : Int.random(in: lengths, using: &self)
        return ByteBuffer(bytes: (0..<length).map { _ in UInt8.random(in: 0...255, using: &self) })
    }

    package mutating func objectKey(_ lengths: ClosedRange<Int> = 1...24) -> ObjectKey {
        ObjectKey(bucket: bucket(), key: bytes(lengths))
    }

    package mutating func bucket() -> BucketID { BucketID(type: bytes(0...8), name: bytes(1...8)) }

    package mutating func dot() -> Dot {
        Dot(actor: Actor(rawValue: number()), counter: max(1, number()))
    }

    package mutating func versionVector() -> VersionVector {
        VersionVector((0..<Int.random(in: 0...4, using: &self)).map { _ in dot() })
    }

    package mutating func context() -> CausalContext {
        CausalContext(clock: versionVector(), latestTimestamp: HybridTimestamp(rawValue: number()))
    }

    package mutating func sibling(valueBytes: ClosedRange<Int> = 0...24) -> Sibling {
        Sibling(
            dot: dot(), timestamp: HybridTimestamp(rawValue: number()),
            expiry: maybe { WallTime(microseconds: $0.number()) },
            writeID: maybe { WriteID(high: $0.number(), low: $0.number()) }, isTombstone: false, metadata: metadata(),
            value: bytes(valueBytes))
    }

    package mutating func metadata() -> ByteBuffer {
        if chance(8) { return ByteBuffer() }
        var metadata = ContentMetadata()
        metadata.contentType = ByteBuffer(string: pick(["", "text/plain", "application/json"]))
        if chance(3) { metadata.userMetadata = [.init(name: bytes(1...4), value: bytes())] }
        if chance(4) { metadata.links = [.init(bucket: bytes(1...4), key: bytes(1...4), tag: bytes(0...4))] }
        if chance(4) { metadata.indexes = [.init(name: bytes(1...4), value: bytes())] }
        return metadata.encoded
    }

    /// What a few writers and mergers leave.
    package mutating func versionedObject(valueBytes: ClosedRange<Int> = 0...24) -> VersionedObject {
        var object = VersionedObject(mode: chance(4) ? .lww : .siblings)
        for _ in 0...Int.random(in: 0...3, using: &self) {
            let version = sibling(valueBytes: valueBytes)
            guard !object.clock.contains(version.dot) else { continue }
            object.put(version, context: chance(2) ? object.clock : VersionVector(), mode: object.mode)
        }
        if object.mode == .siblings, chance(5) { object.delete(context: object.clock) }
        return object
    }

    /// Any quorum that bytes can name, sensible or not.
    package mutating func quorum() -> Quorum {
        pick([.one, .quorum, .all, .count(UInt8.random(in: 0...255, using: &self))])
    }

    package mutating func quorumOptions() -> QuorumOptions {
        var options = QuorumOptions()
        options.r = maybe { $0.quorum() }
        options.w = maybe { $0.quorum() }
        options.pr = maybe { $0.quorum() }
        options.pw = maybe { $0.quorum() }
        options.dw = maybe { $0.quorum() }
        options.rw = maybe { $0.quorum() }
        options.nodeConfirms = maybe { UInt8.random(in: 0...255, using: &$0) }
        options.notFoundOK = maybe { $0.chance(2) }
        options.basicQuorum = maybe { $0.chance(2) }
        options.n = maybe { UInt8.random(in: 0...255, using: &$0) }
        options.sloppyQuorum = maybe { $0.chance(2) }
        return options
    }

    /// Properties that a bucket may have.
    package mutating func bucketProperties() -> BucketProperties {
        var properties = BucketProperties()
        properties.n = UInt8.random(in: 1...UInt8(BucketProperties.maximumCopies), using: &self)
        let n = properties.n
        func quorum(_ least: UInt8, _ generator: inout SeededGenerator) -> Quorum {
            generator.pick([.one, .quorum, .all, .count(UInt8.random(in: least...n, using: &generator))])
        }
        properties.conflictMode = pick(ConflictMode.allCases)
        properties.r = quorum(1, &self)
        properties.w = quorum(1, &self)
        properties.pr = quorum(0, &self)
        properties.pw = quorum(0, &self)
        properties.dw = quorum(0, &self)
        properties.rw = quorum(1, &self)
        properties.nodeConfirms = UInt8.random(in: 0...n, using: &self)
        properties.notFoundOK = chance(2)
        properties.basicQuorum = chance(2)
        if chance(2) {
            properties.oneCacheMilliseconds = .random(
                in: 1...UInt16(BucketProperties.maximumOneCacheMilliseconds), using: &self)
        }
        return properties
    }

    package mutating func propertiesEntry() -> PropertiesEntry {
        PropertiesEntry(
            scope: chance(2) ? .type(bytes(0...8)) : .bucket(bucket()),
            versioned: VersionedProperties(
                properties: bucketProperties(), inherits: chance(3), stamp: HybridTimestamp(rawValue: number()),
                setBy: NodeID(rawValue: number())))
    }
}
