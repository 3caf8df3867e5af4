import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

/// Hints on disk: beside the records, one node's together, counted at a start.
@Suite struct HintStoreTests {
    private let here = NodeID(rawValue: 7)
    private let last = NodeID(rawValue: .max)

    private func hint(_ harness: Harness, _ name: String, for target: NodeID) -> RecordWrite {
        let key = harness.key(name)
        // The harness has just encoded it.
        let plain = try! Record(decoding: harness.record(key, value: name).record, for: key)
        let note = HintNote(target: target, since: WallTime(microseconds: 5))
        return RecordWrite(
            partition: harness.partition(key), hint: target, key: key,
            record: Record(header: plain.header, hint: note, body: plain.body).encoded(for: key), leaves: [])
    }

    private func scan(_ harness: Harness, for target: NodeID) throws -> [ScannedEntry] {
        var found: [ScannedEntry] = []
        while true {
            let (entries, finished) = try harness.store.scan(
                ScanRequest(
                    token: StoreToken(rawValue: 1), partition: PartitionID(0), hints: target,
                    after: found.last?.storageKey, entryLimit: 2, byteLimit: 1 << 20))
            found += entries
            if finished { return found }
        }
    }

    @Test func hintsLieBesideRecordsAndAreCountedAtAStart() throws {
        let folder = TemporaryFolder()
        let first = try Harness(folder.path)
        try first.put("a", "its own")
        var bytes: [NodeID: Int] = [:]
        for target in [here, last] {
            for name in ["a", "b", "c", "d", "e"] {
                let write = hint(first, name, for: target)
                try first.lanes[0].append(write)
                bytes[target, default: 0] += HintTotal.bytes(of: write.key, record: write.record!.readableBytes)
            }
        }
        try first.commit()
        let gone = hint(first, "c", for: here)
        bytes[here]! -= HintTotal.bytes(of: gone.key, record: gone.record!.readableBytes)
        try first.lanes[0].append(
            RecordWrite(partition: gone.partition, hint: here, key: gone.key, record: nil, leaves: []))
        try first.commit()
        let keys = ["a", "b", "d", "e"].map { first.key($0) }.sorted().map(\.storageKey)
        #expect(try scan(first, for: here).map(\.storageKey) == keys)
        #expect(try scan(first, for: last).count == 5)
        #expect(try scan(first, for: NodeID(rawValue: 8)).isEmpty)
        #expect(first.read(first.key("a")) == .found(first.model[first.key("a")]!))
        #expect(first.store.readBlocking(RecordPlace(gone.partition, hint: here), gone.key) == .absent)
        try first.store.sync()
        try first.store.abandon()

        let second = try Harness(folder.path)
        #expect(second.hints[0][here]?.records == 4)
        #expect(second.hints[0][last]?.records == 5)
        for target in [here, last] { #expect(second.hints[0][target]?.bytes == bytes[target]) }
        #expect(second.report.leavesRebuilt.isEmpty)
        try second.close()
    }
}
