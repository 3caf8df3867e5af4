// `torc inspect histogram`: how records are spread by size, versions and length of their vectors.

import ArgumentParser
import TorcConsole
package import TorcModel
import TorcStorage

struct HistogramCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "histogram", abstract: "Show how records are spread by size, siblings and length of vectors.",
        discussion: """
            Examples:
              torc inspect histogram data/node1
              torc inspect histogram data/node1 --bucket carts --json

            Sizes are those of keys and records together; each row ends below the next power of two. Graves are left out.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions

    private struct Line: Encodable {
        struct Row: Encodable {
            var from: UInt64
            var through: UInt64
            var records: UInt64
        }
        var of: String
        var records: UInt64
        var mean: Double
        var median: UInt64
        var p99: UInt64
        var largest: UInt64
        var largestKey: String?
        var rows: [Row]
    }

    func run() async throws {
        let reader = try folder.open()
        var sizes = Histogram("record bytes")
        var siblings = Histogram("versions")
        var vectors = Histogram("vector entries")
        let asked = try filter.filter(reader.identity.ringSize)
        let summary = try reader.walkRecords(asked, progress: reader.progress("histogram")) { _, view in
            if view.record.isGrave { return true }
            sizes.add(UInt64(view.storedBytes), of: view.key)
            siblings.add(UInt64(view.object.siblings.count), of: view.key)
            vectors.add(UInt64(view.object.clock.entries.count), of: view.key)
            return true
        }
        let all = [sizes, siblings, vectors]
        if folder.json {
            for one in all {
                try JSONLine.print(
                    Line(
                        of: one.subject, records: one.count, mean: one.mean, median: one.quantile(0.5),
                        p99: one.quantile(0.99), largest: one.largest,
                        largestKey: one.largestKey.map { PlainText.name($0) },
                        rows: one.rows.map { Line.Row(from: $0.from, through: $0.through, records: $0.count) }))
            }
        } else {
            Console.print(all.map(\.text).joined(separator: "\n\n"))
        }
        try summary.report(folder: reader.path)
    }
}

/// Amounts by powers of two; below 16 each has a row of its own, as numbers of versions and actors are small.
package struct Histogram {
    package let subject: String
    package private(set) var count: UInt64 = 0
    package private(set) var largest: UInt64 = 0
    package private(set) var largestKey: ObjectKey?
    private var sum: UInt64 = 0
    private var counts: [UInt64] = []

    private static let single = 16
    private static let barWidth = 40

    package init(_ subject: String) { self.subject = subject }

    package mutating func add(_ amount: UInt64, of key: ObjectKey? = nil) {
        let row = Self.row(of: amount)
        if row >= counts.count { counts += [UInt64](repeating: 0, count: row + 1 - counts.count) }
        counts[row] += 1
        count += 1
        sum &+= amount
        if amount > largest || count == 1 {
            largest = amount
            // The walk uses the key's bytes again.
            largestKey = key.map { ObjectKey(bucket: $0.bucket, key: $0.key) }
        }
    }

    private static func row(of amount: UInt64) -> Int {
        if amount < single { return Int(amount) }
        return single + (63 - amount.leadingZeroBitCount) - 4
    }

    private static func bounds(of row: Int) -> (from: UInt64, through: UInt64) {
        if row < single { return (UInt64(row), UInt64(row)) }
        let power = UInt64(row - single + 4)
        return (1 << power, power == 63 ? .max : (1 << (power + 1)) - 1)
    }

    /// Those in which something is.
    package var rows: [(from: UInt64, through: UInt64, count: UInt64)] {
        counts.indices.filter { counts[$0] > 0 }.map {
            let bounds = Self.bounds(of: $0)
            return (bounds.from, bounds.through, counts[$0])
        }
    }

    package var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    /// No more than this for that part of all: the upper bound of a row, the largest amount at most.
    package func quantile(_ part: Double) -> UInt64 {
        let wanted = UInt64((Double(count) * part).rounded(.up))
        var seen: UInt64 = 0
        for row in rows {
            seen += row.count
            if seen >= wanted { return min(row.through, largest) }
        }
        return largest
    }

    package var text: String {
        guard count > 0 else { return "\(subject): none" }
        let tenths = Int((mean * 10).rounded())
        var table = TextTable([.right(subject.uppercased()), .right("RECORDS"), .right("%"), .left("")])
        let most = rows.map(\.count).max()!
        for row in rows {
            let width = Int((Double(row.count) / Double(most) * Double(Self.barWidth)).rounded(.up))
            let permille = Int((Double(row.count) / Double(count) * 1_000).rounded())
            table.add([
                row.from == row.through ? "\(row.from)" : "\(row.from)…\(row.through)", "\(row.count)",
                "\(permille / 10).\(permille % 10)", String(repeating: "#", count: width),
            ])
        }
        return table.text + "\n"
            + "mean \(tenths / 10).\(tenths % 10), half up to \(quantile(0.5)), 99 % up to \(quantile(0.99)), "
            + "largest \(largest)" + (largestKey.map { " (\(PlainText.name($0)))" } ?? "")
    }
}
