// `torc inspect import`: what was exported, written into a running cluster as any client would.

import ArgumentParser
import Foundation
import NIOCore
import Synchronization
import TorcClient
import TorcConsole
import TorcModel

struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Write an export into a running cluster, as new writes.",
        discussion: """
            Examples:
              torc inspect import carts.torc --node 127.0.0.1:8087
              torc inspect import all.torc --node 10.0.0.1:8087,10.0.0.2:8087 --bucket carts --dry-run

            Every version that stands is written without context: it replaces nothing, siblings come out as siblings, and what is
            there already, with the same value and metadata, is not written again. In a bucket where the last write wins, what is there
            stays, and of siblings the newest is written. Versions that have expired are left out, the others keep what is left of their time. A deleted object is
            left alone, or with --deletes deleted. Times of writing are new. Broken off, it goes on where it was.
            """)

    @Argument(help: "What `torc inspect export` wrote.") var file: String
    @Option(name: [.customShort("n"), .long], help: "Nodes to ask, host:port separated by commas.")
    var node = "127.0.0.1:8087"
    @OptionGroup var filter: FilterOptions
    @Flag(help: "Delete what was deleted where the export is from.") var deletes = false
    @Flag(help: "Say what would be written, and write nothing.") var dryRun = false
    @Flag(help: "From the beginning, even if it was broken off.") var again = false
    @Option(help: "Objects that are written at once.") var parallel = 32
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        guard (1...1024).contains(parallel) else { throw ValidationError("--parallel is from 1 to 1024") }
        let addresses = try node.split(separator: ",").map { text in
            guard let address = TorcAddress(String(text)) else { throw ValidationError("'\(text)' is not host:port") }
            return address
        }
        guard !addresses.isEmpty else { throw ValidationError("--node names no node") }
        let reader = try ExportReader(file)
        guard let size = RingSize(partitions: reader.header.ringSize) else {
            throw ValidationError("\(file) is of a ring of \(reader.header.ringSize) partitions, which is none")
        }
        let asked = try filter.filter(size)
        let client = TorcClient(TorcClient.Configuration(addresses: addresses))
        let importer = Importer(client: client, deletes: deletes, writes: !dryRun)
        do {
            try await run(reader, importer, asked, size)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }

    private func run(
        _ reader: ExportReader, _ importer: Importer, _ asked: RecordFilter, _ size: RingSize
    ) async throws {
        // Another file under the name, another filter or other nodes: what was imported before says nothing then.
        let length = (try? FileManager.default.attributesOfItem(atPath: file)[.size] as? UInt64) ?? 0
        let words = CommandLine.arguments.dropFirst().filter { $0 != "--again" }
        let progress = ImportProgress(
            file: file, target: "\(reader.checksum) \(length) \(words.joined(separator: " "))")
        var done = again || dryRun ? 0 : progress.pieces
        if done > 0 { Console.warn("it goes on after \(done) pieces; --again begins anew") }
        let bar = ProgressBar("importing", total: length, unit: TextTable.bytes)
        var (pieces, offset) = (0, reader.offset)
        var left = asked.limit ?? .max
        while left > 0, let entries = try reader.next() {
            pieces += 1
            bar.advance(by: reader.offset - offset)
            offset = reader.offset
            if pieces <= done { continue }
            var admitted: [RecordView] = []
            for entry in entries where asked.admits(entry.key) {
                guard asked.partition.map({ $0 == size.partition(of: entry.key.position) }) ?? true else { continue }
                let view = try RecordView(key: entry.key, value: entry.record)
                guard asked.admits(view), left > 0 else { continue }
                left -= 1
                admitted.append(view)
            }
            try await importer.take(admitted, parallel: parallel)
            done = pieces
            if !dryRun { progress.store(pieces) }
        }
        bar.finish()
        progress.remove()
        let counts = importer.counts
        if json { return try JSONLine.print(counts) }
        Console.print(
            "\(counts.objects) objects: \(counts.written) versions \(dryRun ? "would be written" : "written"), "
                + "\(counts.present) were there, \(counts.expired) have expired, \(counts.kept) kept as the last write wins, "
                + "\(counts.deleted) deleted, \(counts.tombstones - counts.deleted) deletes left alone")
    }
}

/// How far an import has come, beside the file.
private struct ImportProgress {
    private let path: String
    private let target: String

    init(file: String, target: String) {
        path = file + ".imported"
        self.target = target
    }

    /// Those that were imported to the same nodes.
    var pieces: Int {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return 0 }
        let parts = text.split(separator: "\n")
        return parts.count == 2 && parts[1] == target ? Int(parts[0]) ?? 0 : 0
    }

    func store(_ pieces: Int) {
        try? Data("\(pieces)\n\(target)\n".utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    }
    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// Writes records into a cluster.
final class Importer: Sendable {
    struct Counts: Encodable {
        var objects = 0
        var written = 0
        var present = 0
        var expired = 0
        /// Of buckets where the last write wins: what was there stays.
        var kept = 0
        var tombstones = 0
        var deleted = 0
    }

    private static let attempts = 6
    /// More are asked about again.
    private static let knownBuckets = 100_000
    private let client: TorcClient
    private let deletes: Bool
    private let writes: Bool
    private let state = Mutex(Counts())
    /// Buckets of the cluster of which it is known whether the last write wins.
    private let lastWins = Mutex<[BucketID: Bool]>([:])

    init(client: TorcClient, deletes: Bool, writes: Bool) {
        self.client = client
        self.deletes = deletes
        self.writes = writes
    }

    var counts: Counts { state.withLock { $0 } }

    /// All of them, or it throws.
    func take(_ views: [RecordView], parallel: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, view) in views.enumerated() {
                if number >= parallel { try await group.next() }
                group.addTask { try await self.patiently(view) }
            }
            try await group.waitForAll()
        }
    }

    /// What is there is not written twice, so that an attempt may follow one of which nobody knows what it did.
    private func patiently(_ view: RecordView) async throws {
        for attempt in 1... {
            do {
                return try await take(view)
            } catch let error as TorcError {
                guard attempt < Self.attempts else {
                    throw ExportError(
                        "\(PlainText.name(view.key)) cannot be written: \(error). Start the import again: it goes on there"
                    )
                }
                try await Task.sleep(for: .milliseconds(50 << attempt))
            }
        }
    }

    private func keepsLast(_ bucket: BucketID) async throws -> Bool {
        if let known = lastWins.withLock({ $0[bucket] }) { return known }
        let found = try await client.properties(ofBucket: bucket.name, type: bucket.type).keepsSiblings == false
        lastWins.withLock { known in
            if known.count >= Self.knownBuckets { known.removeAll() }
            known[bucket] = found
        }
        return found
    }

    private func take(_ view: RecordView) async throws {
        let name = view.key.bucket
        let key = TorcKey(type: name.type, bucket: name.name, key: view.key.key)
        let present = try await client.get(key)
        var counts = Counts(objects: 1)
        let now = WallTime.now
        if view.object.isTombstone {
            counts.tombstones = 1
            if deletes, present.isFound {
                counts.deleted = 1
                if writes { try await client.delete(key, context: present.context) }
            }
        }
        // The cluster's bucket is what counts: there a put without a context would take the place of what is there.
        let lastWriteWins =
            if view.object.mode == .lww { true } else { try await keepsLast(name) }
        let newest = view.object.liveSiblings.filter { !$0.hasExpired(at: now) }.max {
            ($0.timestamp, $0.dot) < ($1.timestamp, $1.dot)
        }
        for sibling in view.object.liveSiblings {
            let metadata = (try? ContentMetadata(decoding: sibling.metadata)) ?? ContentMetadata()
            if sibling.hasExpired(at: now) {
                counts.expired += 1
            } else if present.versions.contains(where: { $0.value == sibling.value && $0.content == metadata }) {
                counts.present += 1
            } else if lastWriteWins, present.isFound || sibling.dot != newest?.dot {
                counts.kept += 1
            } else {
                counts.written += 1
                let seconds = sibling.expiry.map { max(1, ($0.microseconds - now.microseconds + 999_999) / 1_000_000) }
                if writes {
                    try await client.put(
                        sibling.value, to: key, metadata: metadata, lifetimeSeconds: seconds.map { Int(clamping: $0) })
                }
            }
        }
        state.withLock { total in
            total.objects += counts.objects
            total.written += counts.written
            total.present += counts.present
            total.expired += counts.expired
            total.kept += counts.kept
            total.tombstones += counts.tombstones
            total.deleted += counts.deleted
        }
    }
}
