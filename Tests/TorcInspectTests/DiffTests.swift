// Two folders of one cluster are compared by their leaves, and no more is read than the records of those that differ.

import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct DiffTests {
    private typealias Found = [ObjectKey: FolderDiff.Relation]

    private func diff(_ first: String, _ second: String) throws -> (Found, FolderDiff.Counts) {
        var found: Found = [:]
        let counts = try FolderDiff.run(try FolderReader.open(first), try FolderReader.open(second)) { difference in
            found[try ObjectKey(storageKey: difference.key)] = difference.relation
        }
        return (found, counts)
    }

    /// Writes over what the harness holds of a key, having seen it.
    private func replace(_ harness: Harness, _ name: String, _ value: String) throws -> ByteBuffer {
        let key = harness.key(name)
        let former = try #require(harness.model[key])
        var object = try Record(decoding: former, for: key).object()
        object.put(
            Sibling(
                dot: Dot(actor: Actor(rawValue: 0xf00), counter: 1), timestamp: .zero, metadata: ByteBuffer(),
                value: ByteBuffer(string: value)),
            context: object.clock, mode: .siblings)
        let record = Record(header: LocalHeader(copies: 3), body: object.encoded).encoded(for: key)
        let change = LeafChange(
            tree: TreeID(partition: harness.partition(key), copies: 3),
            leaf: harness.store.layout.leaf(of: key.position),
            delta: harness.hash(of: key, record: record) &- harness.hash(of: key, record: former))
        harness.leaves[0].apply(change)
        try harness.lanes[0].append(
            RecordWrite(partition: harness.partition(key), key: key, record: record, leaves: [change]))
        try harness.commit()
        harness.model[key] = record
        return record
    }

    @Test func tenDifferences() throws {
        let folder = TemporaryFolder()
        let (first, second) = (folder.path + "/first", folder.path + "/second")
        var harness = try Harness(first)
        for number in 0..<3000 { try harness.append("key\(number)", "value \(number)") }
        try harness.commit()
        try harness.close()
        let model = harness.model
        copyFolder(first, to: second)
        let same = try diff(first, second)
        #expect(same.0.isEmpty && same.1 == .none(partitions: 8, leaves: 8 * 16_384))

        harness = try Harness(second)
        harness.model = model
        var expected: Found = [:]
        for number in 0..<4 {
            _ = try replace(harness, "key\(number * 100)", "newer")
            expected[harness.key("key\(number * 100)")] = .older
        }
        for number in 0..<3 {
            try harness.put("new\(number)", "there alone")
            expected[harness.key("new\(number)")] = .missing
            try harness.put("key\(number * 100 + 7)", "of another actor, who had seen nothing")
            expected[harness.key("key\(number * 100 + 7)")] = .concurrent
        }
        try harness.close()

        var (found, counts) = try diff(first, second)
        #expect(found == expected)
        #expect(counts.differences == ["older": 4, "missing": 3, "concurrent": 3])
        #expect(counts.leavesDiffering == 10 && counts.leavesCompared == 8 * 16_384)
        // Few leaves hold two of 3,000 records.
        #expect(counts.recordsRead >= 17 && counts.recordsRead <= 23)
        (found, counts) = try diff(second, first)
        let mirrored = expected.mapValues { relation -> FolderDiff.Relation in
            switch relation {
            case .older: .newer
            case .missing: .extra
            default: relation
            }
        }
        #expect(found == mirrored && counts.leavesDiffering == 10)
    }

    @Test func whatDoesNotGoTogetherIsRefused() throws {
        let folder = TemporaryFolder()
        try Harness(folder.path + "/first").close()
        try Harness(folder.path + "/second", ringSize: RingSize(partitions: 16)!).close()
        #expect(throws: FolderDiffError.self) { try diff(folder.path + "/first", folder.path + "/second") }
    }
}

extension FolderDiff.Counts {
    fileprivate static func none(partitions: Int, leaves: Int) -> Self {
        var counts = FolderDiff.Counts()
        counts.partitions = partitions
        counts.leavesCompared = leaves
        return counts
    }
}
