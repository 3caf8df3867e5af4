// `torc inspect count` and `buckets`: how many records of which kind a folder holds.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct CountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "count",
        abstract: "Count records: live, deleted, with siblings, expired; by bucket or by partition.",
        discussion: """
            Examples:
              torc inspect count data/node1
              torc inspect count data/node1 --by partition
              torc inspect count data/node1 --bucket carts --siblings 2

            LIVE + DELETED + EXPIRED + GRAVES is all that there is; SIBLINGS are those of LIVE with more than one version. A grave is a
            tombstone that was reaped, until all replicas have reaped it. BYTES are keys and records before compression.
            """)

    enum Grouping: String, ExpressibleByArgument, CaseIterable {
        case bucket
        case partition
    }

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions
    @Option(help: "bucket or partition.") var by = Grouping.bucket

    /// A line for programs; of the total neither bucket nor partition is set.
    private struct Line: Encodable {
        var type: String?
        var bucket: String?
        var partition: Int?
        var isTotal: Bool
        var count: RecordCount
    }

    func run() async throws {
        let reader = try folder.open()
        let now = WallTime.now
        let tally = try Tally(reader, filter.filter(reader.identity.ringSize), now: now)
        if folder.json {
            switch by {
            case .bucket:
                for (bucket, count) in tally.byBucket {
                    try JSONLine.print(
                        Line(
                            type: bucket.type.readableBytes == 0 ? "default" : PlainText.name(bucket.type),
                            bucket: PlainText.name(bucket.name), isTotal: false, count: count))
                }
            case .partition:
                for (partition, count) in tally.byPartition {
                    try JSONLine.print(Line(partition: partition.index, isTotal: false, count: count))
                }
            }
            try JSONLine.print(Line(isTotal: true, count: tally.total))
        } else {
            var table = TextTable([
                by == .bucket ? .left("BUCKET") : .right("PARTITION"), .right("RECORDS"), .right("LIVE"),
                .right("SIBLINGS"),
                .right("DELETED"), .right("EXPIRED"), .right("GRAVES"), .right("BYTES"),
            ])
            switch by {
            case .bucket: for (bucket, count) in tally.byBucket { table.add(Self.cells(PlainText.name(bucket), count)) }
            case .partition:
                for (partition, count) in tally.byPartition { table.add(Self.cells("\(partition.index)", count)) }
            }
            table.add(Self.cells("all", tally.total))
            Console.print(table.text)
        }
        try tally.summary.report(folder: reader.path)
    }

    private static func cells(_ name: String, _ count: RecordCount) -> [String] {
        [
            name, "\(count.records)", "\(count.live)", "\(count.withSiblings)", "\(count.tombstones)",
            "\(count.expired)",
            "\(count.graves)", TextTable.bytes(count.bytes),
        ]
    }
}

/// All records of a folder that a filter admits, counted.
private struct Tally {
    private(set) var byBucket: [(BucketID, RecordCount)]
    private(set) var byPartition: [(PartitionID, RecordCount)]
    private(set) var total = RecordCount()
    private(set) var summary: WalkSummary

    init(_ reader: FolderReader, _ filter: RecordFilter, now: WallTime) throws {
        var buckets: [BucketID: RecordCount] = [:]
        var partitions: [PartitionID: RecordCount] = [:]
        summary = try reader.walkRecords(filter, progress: reader.progress("count")) { family, view in
            // Its buffers are parts of the key's, which is used again.
            let bucket = view.key.bucket
            if buckets[bucket]?.add(view, now: now) == nil {
                var count = RecordCount()
                count.add(view, now: now)
                buckets[
                    BucketID(
                        type: ByteBuffer(bytes: bucket.type.readableBytesView),
                        name: ByteBuffer(bytes: bucket.name.readableBytesView))] = count
            }
            partitions[family.partition!, default: RecordCount()].add(view, now: now)
            return true
        }
        byBucket = buckets.sorted { $0.key < $1.key }
        byPartition = partitions.sorted { $0.key < $1.key }
        for (_, count) in byBucket { total.add(count) }
    }
}

struct BucketsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "buckets", abstract: "List the buckets with their sizes, times and properties.",
        discussion: """
            Examples:
              torc inspect buckets data/node1
              torc inspect buckets data/node1 --type sets --json

            Of each bucket of which there is a record, and of each on which properties were set. N and MODE are those that the folder's
            node knows; 'default' beside them: nothing was set on the bucket or its type.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions

    private struct Line: Encodable {
        var type: String
        var bucket: String
        var n: Int
        var mode: String
        var isSet: Bool
        var count: RecordCount
        var oldest: String?
        var newest: String?
    }

    func run() async throws {
        let reader = try folder.open()
        let tally = try Tally(reader, filter.filter(reader.identity.ringSize), now: .now)
        let properties = try reader.properties()
        var counts = Dictionary(uniqueKeysWithValues: tally.byBucket)
        let asked = try filter.filter(reader.identity.ringSize)
        for entry in properties.sorted {
            guard case .bucket(let bucket) = entry.scope, counts[bucket] == nil,
                asked.admits(bucket)
            else { continue }
            counts[bucket] = RecordCount()
        }
        let lines = counts.sorted { $0.key < $1.key }.map { bucket, count in
            let effective = properties[bucket]
            return Line(
                type: bucket.type.readableBytes == 0 ? "default" : PlainText.name(bucket.type),
                bucket: PlainText.name(bucket.name), n: Int(effective.n), mode: "\(effective.conflictMode)",
                isSet: properties.versioned(.bucket(bucket)) != nil || properties.versioned(.type(bucket.type)) != nil,
                count: count, oldest: count.oldest.map { PlainText.time(HybridTimestamp(rawValue: $0)) },
                newest: count.newest.map { PlainText.time(HybridTimestamp(rawValue: $0)) })
        }
        if folder.json {
            for line in lines { try JSONLine.print(line) }
        } else {
            var table = TextTable([
                .left("TYPE"), .left("BUCKET"), .right("RECORDS"), .right("LIVE"), .right("BYTES"), .right("N"),
                .left("MODE"),
                .left("OLDEST VERSION"), .left("NEWEST VERSION"),
            ])
            for line in lines {
                table.add([
                    line.type, line.bucket, "\(line.count.records)", "\(line.count.live)",
                    TextTable.bytes(line.count.bytes), "\(line.n)", line.mode + (line.isSet ? "" : ", default"),
                    line.oldest ?? "-", line.newest ?? "-",
                ])
            }
            Console.print(table.text)
        }
        try tally.summary.report(folder: reader.path)
    }
}
