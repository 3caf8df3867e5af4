// The keys of some leaves of a tree: a stretch of the partition's range, scanned and listed with their hashes.

import NIOCore
import TorcModel

enum TreeRange {
    /// The scan of a run of leaves, after a storage key and through another; nil: the run's ends.
    static func scan(
        _ token: StoreToken, _ tree: TreeID, _ leaves: [UInt16], _ after: ByteBuffer?, through: ByteBuffer?,
        _ layout: LeafLayout, _ limits: RepairLimits
    ) -> ScanRequest {
        // No storage key is so short: all of the first leaf's come after it.
        let first = after ?? bytes(of: layout.start(of: Int(leaves.first!), in: tree.partition))
        var before: ByteBuffer?
        if var through {
            // The next larger key that there can be.
            through.writeInteger(UInt8(0))
            before = through
        } else if Int(leaves.last!) + 1 < layout.leavesPerPartition {
            before = bytes(of: layout.start(of: Int(leaves.last!) + 1, in: tree.partition))
        }
        return ScanRequest(
            token: token, partition: tree.partition, after: first, before: before, entryLimit: limits.pageEntries,
            byteLimit: limits.pageBytes)
    }

    static func bytes(of position: RingPosition) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeInteger(position.rawValue)
        return bytes
    }

    /// Those of the scan's records that count in the leaves. `leaves` ascending.
    static func keys(
        of entries: [ScannedEntry], in tree: TreeID, _ leaves: [UInt16], _ layout: LeafLayout, _ seed: HashSeed,
        _ effects: inout [RepairEffect]
    ) -> [ListedKey] {
        var keys: [ListedKey] = []
        var next = leaves[...]
        for entry in entries {
            guard let key = try? ObjectKey(storageKey: entry.storageKey) else { continue }
            let leaf = layout.leaf(of: key.position)
            while let first = next.first, Int(first) < leaf { next.removeFirst() }
            guard let first = next.first, Int(first) == leaf else { continue }
            guard let record = try? Record(decoding: entry.record, for: key) else {
                effects.append(.observed(.unreadableRecord(key)))
                keys.append(ListedKey(key: key, hash: .absent))
                continue
            }
            guard record.header.copies == tree.copies, !record.isGrave else { continue }
            keys.append(ListedKey(key: key, hash: seed.contentHash(key: key, body: record.body)))
        }
        return keys
    }

    static func bytes(of entries: [ScannedEntry]) -> Int {
        entries.reduce(0) { $0 + $1.storageKey.readableBytes + $1.record.readableBytes }
    }

    /// What a peer may ask of a tree: leaves and branches that there are, ascending.
    static func isValid(_ numbers: [UInt16], below limit: Int) -> Bool {
        guard let last = numbers.last, Int(last) < limit else { return false }
        return zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }
    }
}
