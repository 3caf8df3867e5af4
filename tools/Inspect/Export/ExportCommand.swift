// `torc inspect export`: what several folders hold, merged, in one file.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcModel
import TorcStorage

struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write records of one folder or several to a compressed file.",
        discussion: """
            Examples:
              torc inspect export --to carts.torc --bucket carts data/node1
              torc inspect export --to all.torc /backups/ID/node1 /backups/ID/node2 /backups/ID/node3

            Of several folders of one cluster each object comes once, as all of them merge: siblings, tombstones, metadata and expiry as
            they are stored. What is kept for other nodes (hints) is not in it. Broken off, it goes on where it was when it is
            started again with the same folders and filters. `torc inspect import` writes it into any cluster, as new writes.
            """)

    @Option(help: "The file to write.") var to: String
    @Argument(help: "Data folders, copies of such or parts of a backup.") var directories: [String]
    @OptionGroup var filter: FilterOptions
    @Flag(help: "Print JSON.") var json = false

    private struct Answer: Encodable {
        var file: String
        var records: UInt64
        var bytes: UInt64
        var unreadable: Int
        var resumed: Bool
    }

    func run() async throws {
        let readers = try directories.map { try FolderReader.open($0) }
        guard let first = readers.first else { throw ValidationError("name at least one folder") }
        guard
            readers.allSatisfy({
                $0.identity.cluster == first.identity.cluster && $0.identity.ringSize == first.identity.ringSize
            })
        else { throw ValidationError("the folders are of different clusters: export each by itself") }
        let asked = try filter.filter(first.identity.ringSize)
        let words = [
            filter.bucket.map { "bucket \($0)" }, filter.type.map { "type \($0)" },
            filter.prefix.map { "prefix \($0)" },
            filter.partition.map { "partition \($0)" }, filter.since.map { "since \($0)" },
            filter.until.map { "until \($0)" }, filter.siblings.map { "siblings \($0)" },
            filter.limit.map { "limit \($0)" },
        ].compactMap { $0 }
        let writer = try ExportWriter(
            to,
            header: ExportHeader(
                cluster: "\(first.identity.cluster)", ringSize: first.identity.ringSize.partitions,
                stores: readers.map { "\($0.identity.store)" }, filter: words.joined(separator: ", ")))
        let resumed = writer.resumesAfter != nil
        let bar = ProgressBar("exporting", total: readers.reduce(0) { $0 + $1.estimatedRecords })
        var walk = MergedWalk(readers, asked, after: writer.resumesAfter)
        var left = (asked.limit ?? .max) - Int(clamping: writer.records)
        while left > 0, let view = try walk.next(read: { bar.advance(by: $0) }) {
            left -= 1
            try writer.add(ExportEntry(key: view.key, record: view.record))
        }
        bar.finish()
        try writer.finish()
        var hints = 0
        for reader in readers {
            guard let family = reader.hintsKept else { continue }
            try reader.walk(family) { _, _ in
                hints += 1
                return true
            }
        }
        if hints > 0 {
            Console.warn(
                "\(hints) hints are not in it: a write that only they hold comes to its nodes when these run, and not by this file"
            )
        }
        let unreadable = walk.summary.unreadableCount + walk.summary.broken.count
        if json {
            try JSONLine.print(
                Answer(
                    file: to, records: writer.records, bytes: writer.fileBytes, unreadable: unreadable, resumed: resumed
                ))
        } else {
            Console.print(
                "\(writer.records) records in \(to), \(TextTable.bytes(writer.fileBytes))"
                    + (resumed ? "; it went on where it had been broken off" : ""))
        }
        try walk.summary.report(folder: directories.joined(separator: " "))
    }
}

/// The records of several folders in the order of the ring, each once.
struct MergedWalk {
    private final class Cursor {
        let reader: FolderReader
        let family: StoredFamily
        var page: ArraySlice<(key: ByteBuffer, value: ByteBuffer)> = []
        var after: ByteBuffer?
        var isFinished = false

        init(_ reader: FolderReader, _ family: StoredFamily, after: ByteBuffer?) {
            self.reader = reader
            self.family = family
            self.after = after
        }

        private static let pageEntries = 512
        private static let pageBytes = 4 << 20

        /// The next entry, which stays; nil: there is none.
        func head(_ summary: inout WalkSummary, read: (UInt64) -> Void) -> (key: ByteBuffer, value: ByteBuffer)? {
            if page.isEmpty, !isFinished {
                var entries: [(key: ByteBuffer, value: ByteBuffer)] = []
                var bytes = 0
                isFinished = true
                do {
                    try reader.walk(family, from: after) { key, value in
                        if key == after { return true }
                        guard entries.count < Self.pageEntries, bytes < Self.pageBytes else {
                            isFinished = false
                            return false
                        }
                        bytes += key.readableBytes + value.readableBytes
                        // The walk uses its buffers again.
                        entries.append(
                            (ByteBuffer(bytes: key.readableBytesView), ByteBuffer(bytes: value.readableBytesView)))
                        return true
                    }
                } catch {
                    summary.broken.append((family.name, "\(reader.path): \(error)"))
                }
                after = entries.last?.key ?? after
                page = entries[...]
                read(UInt64(entries.count))
            }
            return page.first
        }
    }

    private let readers: [FolderReader]
    private let filter: RecordFilter
    private var partitions: ArraySlice<PartitionID>
    private var start: ObjectKey?
    private var cursors: [Cursor] = []
    private(set) var summary = WalkSummary()

    init(_ readers: [FolderReader], _ filter: RecordFilter, after start: ObjectKey? = nil) {
        self.readers = readers
        self.filter = filter
        self.start = start
        let all = Set(readers.flatMap(\.partitions)).sorted()
        let size = readers[0].identity.ringSize
        partitions =
            all.filter { partition in
                filter.partition.map { $0 == partition } ?? true
                    && start.map { partition >= size.partition(of: $0.position) } ?? true
            }[...]
    }

    /// The next object that the filter admits, as all folders merge; nil: that was the last. `read` is told how many entries
    /// were read.
    mutating func next(read: (UInt64) -> Void) throws -> (key: ObjectKey, record: ByteBuffer)? {
        while true {
            let heads = cursors.compactMap { $0.head(&summary, read: read)?.key }
            guard let least = heads.min(by: { $0.lexicographicallyPrecedes($1) }) else {
                guard let partition = partitions.popFirst() else { return nil }
                cursors = try readers.compactMap { reader in
                    try reader.family(of: partition).map { Cursor(reader, $0, after: start?.storageKey) }
                }
                start = nil
                continue
            }
            var views: [RecordView] = []
            for cursor in cursors where cursor.page.first?.key == least {
                let (key, value) = cursor.page.popFirst()!
                do {
                    let view = try RecordView(storageKey: key, value: value)
                    if !view.record.isGrave { views.append(view) }
                } catch {
                    summary.add(cursor.family, key, error)
                }
            }
            guard let first = views.first else { continue }
            let object = views.dropFirst().reduce(first.object) { $0.merged(with: $1.object) }
            let copies = views.map(\.record.header.copies).max()!
            let record = Record(header: LocalHeader(copies: copies), body: object.encoded).encoded(for: first.key)
            guard filter.admits(first.key), filter.admits(try RecordView(key: first.key, value: record)) else {
                continue
            }
            return (first.key, record)
        }
    }
}
