// Every dot that was ever seen in a record or on the wire, and the version that it names. One dot must never
// name two: whoever has seen the first would take the second for something that it knows, and drop it.

package import NIOCore
package import TorcModel

package struct DotRegistry {
    private struct Version {
        var key: Int
        var fingerprint: UInt64
        var timestamp: HybridTimestamp
        var expiry: WallTime?
        var value: Int?
    }

    private var versions: [Dot: Version] = [:]
    private var dotsByWrite: [Int: [Dot]] = [:]
    private var sent: Set<Dot> = []
    /// Of each key, what was in records that nodes have removed from their logs (handed over, delivered, reaped), and when the
    /// last was.
    private var removals: [Int: (clock: VersionVector, at: VirtualTime)] = [:]

    package init() {}

    /// The dots under which a write was stamped.
    package func dots(of write: Int) -> [Dot] { dotsByWrite[write] ?? [] }

    /// The write that a dot stands for.
    package func value(of dot: Dot) -> Int? { versions[dot]?.value }

    /// The key of an object that has a version of this dot.
    package func key(of dot: Dot) -> Int? { versions[dot]?.key }

    /// Looks at an object that leaves a node for the others: what that node itself has just stamped must be in
    /// its log, or a crash makes it forget a dot that others know. `held`: what its log says of the key.
    package mutating func noteSent(
        _ object: VersionedObject, by node: NodeID, key: Int, held: @autoclosure () -> VersionVector
    ) -> Violation? {
        for sibling in object.siblings where sent.insert(sibling.dot).inserted {
            let isOwn = UInt16(truncatingIfNeeded: sibling.dot.actor.rawValue >> 48) == node.tag
            if isOwn, !held().contains(sibling.dot), !(removals[key]?.clock.contains(sibling.dot) ?? false) {
                return Violation(
                    .notDurable, key: key,
                    "dot \(sibling.dot) is sent before it is in the log of the node that stamped it")
            }
        }
        return nil
    }

    /// A node removes this object, which was in its log.
    package mutating func noteRemoved(_ object: VersionedObject, key: Int, at now: VirtualTime) {
        removals[key, default: (VersionVector(), now)].clock.merge(object.clock)
        removals[key]!.at = now
    }

    /// A node may have shown it, and then removed it, since.
    package func wasRemoved(_ dot: Dot, key: Int, since: VirtualTime) -> Bool {
        removals[key].map { $0.at >= since && $0.clock.contains(dot) } ?? false
    }

    /// A replica that finds a retried write in its record does not stamp it again.
    package static func checkRetries(_ object: VersionedObject, key: Int) -> Violation? {
        for (index, sibling) in object.siblings.enumerated() where sibling.writeID != nil {
            for other in object.siblings[(index + 1)...]
            where other.writeID == sibling.writeID && other.dot.actor == sibling.dot.actor {
                return Violation(
                    .duplicatedWrite, key: key, "one replica stamped one write as \(sibling.dot) and \(other.dot)")
            }
        }
        return nil
    }

    /// Looks at one version of a key.
    package mutating func note(_ sibling: Sibling, key: Int, in history: History) -> Violation? {
        let fingerprint = Self.fingerprint(sibling)
        if let known = versions[sibling.dot] {
            guard known.key != key || known.fingerprint != fingerprint else { return nil }
            if isRemoval(sibling, key: key) { return nil }
            let first = known.value.map { "v\($0)" } ?? "a tombstone"
            let second = SimulatedValue.decode(sibling.value).map { "v\($0)" } ?? "a tombstone"
            return Violation(.dotReissued, key: key, "dot \(sibling.dot) names \(first) of k\(known.key) and \(second)")
        }
        let value = sibling.isTombstone ? nil : SimulatedValue.decode(sibling.value)
        versions[sibling.dot] = Version(
            key: key, fingerprint: fingerprint, timestamp: sibling.timestamp, expiry: sibling.expiry, value: value)
        guard let value else { return nil }
        guard history.writes.indices.contains(value) else {
            return Violation(.inventedValue, key: key, "a record holds v\(value), which nobody wrote")
        }
        let write = history.writes[value]
        dotsByWrite[value, default: []].append(sibling.dot)
        // An `lww` write that lost is stamped again; a retry may be stamped by a replica that never saw the first.
        if dotsByWrite[value]!.count > 1, !write.isRepeated, history.promises[key].mode == .siblings {
            let dots = dotsByWrite[value]!.map(\.description).joined(separator: ", ")
            return Violation(.duplicatedWrite, key: key, "v\(value) was sent once and stamped as \(dots)")
        }
        return nil
    }

    /// What is left of an `lww` version that expired and was removed: when it expired. Nil: it is something else.
    package func removedExpiry(_ sibling: Sibling, key: Int) -> WallTime? {
        guard sibling.isTombstone, let known = versions[sibling.dot], known.key == key, known.value != nil,
            known.timestamp == sibling.timestamp
        else { return nil }
        return known.expiry
    }

    private func isRemoval(_ sibling: Sibling, key: Int) -> Bool { removedExpiry(sibling, key: key) != nil }

    private static func fingerprint(_ sibling: Sibling) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ word: UInt64) { hash = (hash ^ word) &* 0x100_0000_01b3 }
        add(sibling.timestamp.rawValue)
        add(sibling.isTombstone ? 1 : 0)
        add(sibling.expiry?.microseconds ?? 0)
        add(sibling.writeID?.high ?? 0)
        add(sibling.writeID?.low ?? 0)
        add(UInt64(truncatingIfNeeded: SimulatedValue.decode(sibling.value) ?? -1))
        return hash
    }
}

/// A client's value: the number of its write, then padding.
package enum SimulatedValue {
    package static func encode(_ write: Int, bytes: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(max(4, bytes))
        buffer.writeInteger(UInt32(write))
        if bytes > 4 { buffer.writeRepeatingByte(0x2e, count: bytes - 4) }
        return buffer
    }

    package static func decode(_ value: ByteBuffer) -> Int? {
        value.getInteger(at: value.readerIndex, as: UInt32.self).map(Int.init)
    }
}
