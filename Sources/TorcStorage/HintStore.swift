// What is kept for other nodes, on disk. The family `hints` holds under
//
//   u64be target | storage key of the object
//
// a record that names the target and the time of the first write that it holds (`Record.hintFormat`). One
// node's hints lie side by side, whatever their partition and lane, so that delivery is one walk. They are put
// and deleted in the batches of their lanes, beside the records, and count in no Merkle leaf.

import CRocksDB
import Logging
import NIOCore
import TorcModel
import TorcReplication

enum HintKey {
    static let targetBytes = MemoryLayout<UInt64>.size

    /// The key under which a place holds a record.
    static func storageKey(of key: ObjectKey, in place: RecordPlace) -> ByteBuffer {
        place.hint.map { storageKey($0, key.storageKey) } ?? key.storageKey
    }

    static func storageKey(_ target: NodeID, _ key: ByteBuffer) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(targetBytes + key.readableBytes)
        buffer.writeInteger(target.rawValue)
        buffer.writeImmutableBuffer(key)
        return buffer
    }
}

extension NodeStore {
    /// A piece of one node's hints, ascending; `after` and the answers' keys are those of the objects.
    func scanHints(
        of target: NodeID, _ request: ScanRequest
    ) throws(StoreError) -> (entries: [ScannedEntry], finished: Bool) {
        let after = request.after.map { HintKey.storageKey(target, $0) }
        let (next, isLast) = target.rawValue.addingReportingOverflow(1)
        let iterator = try RangeIterator(
            database, hints, from: after ?? HintKey.storageKey(target, ByteBuffer()),
            before: isLast ? nil : HintKey.storageKey(NodeID(rawValue: next), ByteBuffer()), fillCache: false)
        if let after, iterator.isValid, iterator.withKey({ after.readableBytesView.elementsEqual($0) }) {
            iterator.next()
        }
        var entries: [ScannedEntry] = []
        var bytes = 0
        while iterator.isValid, entries.count < request.entryLimit, bytes < request.byteLimit || entries.isEmpty {
            var key = iterator.key
            bytes += key.readableBytes
            key.moveReaderIndex(forwardBy: min(HintKey.targetBytes, key.readableBytes))
            let entry = ScannedEntry(storageKey: key.slice(), record: iterator.value)
            bytes += entry.record.readableBytes
            entries.append(entry)
            iterator.next()
        }
        let finished = !iterator.isValid
        if finished { try iterator.check() }
        return (entries, finished)
    }

    /// What is kept for each node, by lane: one walk through all hints, whose number and bytes are bounded. One
    /// whose key cannot be read counts nowhere; one whose record cannot be read counts, because it is there.
    func countHints(laneCount: Int) throws(StoreError) -> [[NodeID: HintTotal]] {
        var totals = [[NodeID: HintTotal]](repeating: [:], count: laneCount)
        let iterator = try RangeIterator(database, hints, from: nil, fillCache: false)
        while iterator.isValid {
            var storageKey = iterator.key
            if let target = storageKey.readInteger(as: UInt64.self).map(NodeID.init(rawValue:)),
                let key = try? ObjectKey(storageKey: storageKey.slice())
            {
                let partition = layout.ringSize.partition(of: key.position)
                let lane = LaneConfiguration.lane(of: partition, laneCount: laneCount)
                totals[lane][target, default: HintTotal()].records += 1
                totals[lane][target]!.bytes += HintTotal.bytes(of: key, record: iterator.valueBytes)
            } else {
                logger.error("a hint has a key that cannot be read")
            }
            iterator.next()
        }
        try iterator.check()
        return totals
    }
}
