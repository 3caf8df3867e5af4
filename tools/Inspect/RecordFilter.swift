// Which records a command is about.

import ArgumentParser
import Foundation
package import NIOCore
package import TorcModel

package struct RecordFilter: Sendable {
    package var bucket: ByteBuffer?
    /// Empty: the default type.
    package var type: ByteBuffer?
    /// Of the key.
    package var prefix: ByteBuffer?
    package var partition: PartitionID?
    /// The newest version was written then or later.
    package var since: WallTime?
    /// … before then.
    package var until: WallTime?
    /// At least as many versions stand.
    package var siblings: Int?
    /// A walk ends after as many.
    package var limit: Int?

    package init() {}

    package var looksIntoRecords: Bool { since != nil || until != nil || siblings != nil }

    package func admits(_ key: ObjectKey) -> Bool {
        if bucket == nil, type == nil, prefix == nil { return true }
        let name = key.bucket
        if let bucket, name.name != bucket { return false }
        if let type, name.type != type { return false }
        if let prefix, !key.key.readableBytesView.starts(with: prefix.readableBytesView) { return false }
        return true
    }

    /// A bucket of which nothing is stored: no span of time and no number of versions holds it.
    func admits(_ name: BucketID) -> Bool {
        !looksIntoRecords && prefix == nil && partition == nil && bucket.map { $0 == name.name } ?? true
            && type.map { $0 == name.type } ?? true
    }

    /// A record without a version that stands has no time: it is in no span of time.
    package func admits(_ view: RecordView) -> Bool {
        guard looksIntoRecords else { return true }
        if let siblings, view.object.siblings.count < siblings { return false }
        guard since != nil || until != nil else { return true }
        guard let newest = view.newest?.rawValue else { return false }
        if let since, newest < since.microseconds { return false }
        if let until, newest >= until.microseconds { return false }
        return true
    }
}

struct FilterOptions: ParsableArguments {
    @Option(help: "Only this bucket.") var bucket: String?
    @Option(help: "Only this bucket type; 'default' is one.") var type: String?
    @Option(help: "Only keys that begin so.") var prefix: String?
    @Option(help: "Only this partition.") var partition: Int?
    @Option(help: "Newest version written since: 2026-11-23T14:30:00Z, 2026-11-23, or how long ago: 90s, 15m, 6h, 2d.")
    var since: String?
    @Option(help: "Newest version written before: written as --since.") var until: String?
    @Option(help: "Only records with at least so many versions.") var siblings: Int?
    @Option(help: "End after so many.") var limit: Int?

    func filter(_ ringSize: RingSize) throws -> RecordFilter {
        var filter = RecordFilter()
        filter.bucket = try bucket.map { try Self.bytes(of: $0, "--bucket") }
        filter.type = try type.map { $0 == "default" ? ByteBuffer() : try Self.bytes(of: $0, "--type") }
        filter.prefix = try prefix.map { try Self.bytes(of: $0, "--prefix") }
        filter.partition = try partition.map { try Self.partition($0, ringSize) }
        filter.since = try since.map { try Self.time($0, "--since") }
        filter.until = try until.map { try Self.time($0, "--until") }
        if let siblings, siblings < 1 { throw ValidationError("--siblings takes a number from 1") }
        if let limit, limit < 1 { throw ValidationError("--limit takes a number from 1") }
        filter.siblings = siblings
        filter.limit = limit
        return filter
    }

    static func partition(_ number: Int, _ ringSize: RingSize) throws -> PartitionID {
        guard (0..<ringSize.partitions).contains(number) else {
            throw ValidationError("--partition \(number): the ring has partitions 0…\(ringSize.partitions - 1)")
        }
        return PartitionID(number)
    }

    static func bytes(of text: String, _ subject: String) throws -> ByteBuffer {
        guard let bytes = PlainText.bytes(of: text) else {
            throw ValidationError("\(subject): write \\\\ for a backslash and \\xNN for a byte that is no text")
        }
        return bytes
    }

    private static let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]

    /// More days would not fit into microseconds.
    private static let longestAgo: UInt64 = 100_000_000

    static func time(_ text: String, _ subject: String) throws -> WallTime {
        if let last = text.last, let unit = units[last], let count = UInt64(text.dropLast()), count <= longestAgo {
            let now = WallTime.now.microseconds
            return WallTime(microseconds: now - min(now, count * unit * 1_000_000))
        }
        for style in [
            Date.ISO8601FormatStyle(includingFractionalSeconds: true), Date.ISO8601FormatStyle(),
            Date.ISO8601FormatStyle().year().month().day(),
        ] {
            guard let date = try? Date(text, strategy: style), date.timeIntervalSince1970 >= 0 else { continue }
            return WallTime(microseconds: UInt64(date.timeIntervalSince1970 * 1e6))
        }
        throw ValidationError("\(subject) '\(text)': write 2026-11-23T14:30:00Z, 2026-11-23, or 90s, 15m, 6h, 2d ago")
    }
}
