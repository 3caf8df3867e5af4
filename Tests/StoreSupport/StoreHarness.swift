// A store in a folder of its own, with a lane's part played by hand: records are encoded and leaves kept as
// the vnode does it.

import Glibc
package import Logging
package import NIOCore
package import TorcModel
package import TorcReplication
package import TorcStorage

package let testSeed = HashSeed(rawValue: 0x5eed)
package let testCluster = ClusterID(rawValue: 0xc1)
package let testNode = NodeID(rawValue: 0xa1)

/// A folder that is removed when the test is done.
package final class TemporaryFolder {
    package let path: String

    package init() {
        var template = Array("/tmp/torc-store-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit { shell("rm -rf \(path)") }
}

@discardableResult package func shell(_ command: String) -> Int32 { system(command) }

/// Copies a folder as it is: what a killed process leaves.
package func copyFolder(_ path: String, to target: String) {
    precondition(shell("rm -rf \(target) && cp -r \(path) \(target)") == 0)
}

package func quietLogger() -> Logger {
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .critical
    return logger
}

/// A node's store and its lanes, as a shell would hold them.
package final class Harness {
    package let store: NodeStore
    package let report: RecoveryReport
    package let lanes: [LaneStore]
    package var leaves: [LeafTable]
    /// As the start counted them.
    package let hints: [[NodeID: HintTotal]]
    package let ringSize: RingSize
    /// What every key holds, by the writes that were committed here.
    package var model: [ObjectKey: ByteBuffer] = [:]
    private var generator = SeededGenerator(seed: 7)

    package init(
        _ path: String, ringSize: RingSize = RingSize(partitions: 8)!, laneCount: Int = 1,
        partitions: [PartitionID]? = nil, node: NodeID = testNode, options: StoreOptions = StoreOptions()
    ) throws(StoreError) {
        self.ringSize = ringSize
        let folder = try DataFolder.open(
            path, cluster: testCluster, node: node, ringSize: ringSize, create: true)
        let opened = try NodeStore.open(
            folder, partitions: partitions ?? (0..<ringSize.partitions).map { PartitionID($0) }, laneCount: laneCount,
            hashSeed: testSeed, options: options, logger: quietLogger())
        store = opened.store
        report = opened.report
        lanes = opened.lanes
        leaves = opened.leaves
        hints = opened.hints
    }

    package func key(_ name: String) -> ObjectKey {
        ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: name))
    }

    package func partition(_ key: ObjectKey) -> PartitionID { ringSize.partition(of: key.position) }
    package func lane(_ key: ObjectKey) -> Int { LaneConfiguration.lane(of: partition(key), laneCount: lanes.count) }

    /// A record whose body is an object with one version that holds `value`.
    package func record(_ key: ObjectKey, value: String) -> (record: ByteBuffer, hash: UInt64) {
        var object = VersionedObject(mode: .siblings)
        let dot = Dot(actor: Actor(node: testNode, using: &generator), counter: 1)
        object.put(
            Sibling(
                dot: dot, timestamp: .zero, metadata: ByteBuffer(), value: ByteBuffer(string: value)),
            context: VersionVector(), mode: .siblings)
        let body = object.encoded
        return (
            Record(header: LocalHeader(copies: 3), body: body).encoded(for: key),
            testSeed.contentHash(key: key, body: body).rawValue
        )
    }

    package func hash(of key: ObjectKey, record: ByteBuffer?) -> UInt64 {
        guard let record else { return 0 }
        return testSeed.contentHash(key: key, body: try! Record(decoding: record, for: key).body).rawValue
    }

    /// Appends a write; the model has it at once.
    package func append(_ name: String, _ value: String) throws(StoreError) {
        let key = key(name)
        let (record, hash) = record(key, value: value)
        let partition = partition(key)
        let change = LeafChange(
            tree: TreeID(partition: partition, copies: 3), leaf: store.layout.leaf(of: key.position),
            delta: hash &- self.hash(of: key, record: model[key]))
        leaves[lane(key)].apply(change)
        try lanes[lane(key)].append(RecordWrite(partition: partition, key: key, record: record, leaves: [change]))
        model[key] = record
    }

    package func commit() throws(StoreError) {
        for (lane, table) in zip(lanes, leaves) {
            while try lane.commit(leaves: table) == .stalled { usleep(1000) }
        }
    }

    package func put(_ name: String, _ value: String) throws(StoreError) {
        try append(name, value)
        try commit()
    }

    package func read(_ key: ObjectKey) -> StoreRead { store.readBlocking(RecordPlace(partition(key)), key) }

    /// Everything in the store, by scanning.
    package func contents() throws(StoreError) -> [ObjectKey: ByteBuffer] {
        var result: [ObjectKey: ByteBuffer] = [:]
        for partition in store.partitionsPresent {
            var after: ByteBuffer?
            while true {
                let (entries, finished) = try store.scan(
                    ScanRequest(
                        token: StoreToken(rawValue: 1), partition: partition, after: after, entryLimit: 50,
                        byteLimit: 1 << 20))
                for entry in entries { result[try! ObjectKey(storageKey: entry.storageKey)] = entry.record }
                if finished { break }
                after = entries.last!.storageKey
            }
        }
        return result
    }

    /// The leaves that the records give.
    package func computedLeaves() throws(StoreError) -> [LeafTable] {
        var tables = [LeafTable](repeating: LeafTable(layout: store.layout), count: lanes.count)
        for partition in store.partitionsPresent {
            let table = try store.leaves(of: partition, hashSeed: testSeed)
            let lane = LaneConfiguration.lane(of: partition, laneCount: lanes.count)
            for tree in table.trees { tables[lane][tree] = table[tree] }
        }
        return tables
    }

    package func close() throws(StoreError) { try store.close(lanes: lanes, leaves: leaves) }
}
