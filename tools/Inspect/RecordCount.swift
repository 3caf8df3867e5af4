// How many records there are of which kind: what `count` and `buckets` add up.

import NIOCore
package import TorcModel

package struct RecordCount: Hashable, Sendable, Encodable {
    package var records: UInt64 = 0
    /// `records` is the sum of these four.
    package var live: UInt64 = 0
    package var tombstones: UInt64 = 0
    package var expired: UInt64 = 0
    package var graves: UInt64 = 0
    /// Of those that are live: with more than one version.
    package var withSiblings: UInt64 = 0
    /// Live and with versions that have expired beside others that have not.
    package var partlyExpired: UInt64 = 0
    /// In the store, keys and records.
    package var bytes: UInt64 = 0
    package var valueBytes: UInt64 = 0
    /// Microseconds since 1970: when the newest and the oldest version that stand were written.
    package var newest: UInt64?
    package var oldest: UInt64?

    package init() {}

    package mutating func add(_ view: RecordView, now: WallTime) {
        records += 1
        bytes += UInt64(view.storedBytes)
        let siblings = view.object.siblings
        switch view.state(at: now) {
        case .grave: graves += 1
        case .tombstone: tombstones += 1
        case .expired: expired += 1
        case .live:
            live += 1
            if siblings.count > 1 {
                withSiblings += 1
                if siblings.contains(where: { $0.hasExpired(at: now) }) { partlyExpired += 1 }
            }
        }
        for sibling in siblings {
            valueBytes += UInt64(sibling.value.readableBytes)
            let stamp = sibling.timestamp.rawValue
            if stamp > newest ?? 0 { newest = stamp }
            if stamp < oldest ?? .max { oldest = stamp }
        }
    }

    package mutating func add(_ other: RecordCount) {
        records += other.records
        live += other.live
        tombstones += other.tombstones
        expired += other.expired
        graves += other.graves
        withSiblings += other.withSiblings
        partlyExpired += other.partlyExpired
        bytes += other.bytes
        valueBytes += other.valueBytes
        newest = [newest, other.newest].compactMap { $0 }.max()
        oldest = [oldest, other.oldest].compactMap { $0 }.min()
    }
}
