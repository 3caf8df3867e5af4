// Columns that stand under their heads.

/// A table for a person.
package struct TextTable {
    package enum Column {
        case left(String)
        case right(String)

        var head: String {
            switch self {
            case .left(let head), .right(let head): head
            }
        }
    }

    private let columns: [Column]
    private var rows: [[String]]

    package init(_ columns: [Column]) {
        self.columns = columns
        rows = [columns.map(\.head)]
    }

    package mutating func add(_ cells: [String]) {
        precondition(cells.count == columns.count, "\(cells.count) cells in \(columns.count) columns")
        rows.append(cells)
    }

    package var text: String {
        let widths = columns.indices.map { column in rows.map { $0[column].count }.max()! }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                switch columns[column] {
                case .left: line += cell + padding + "  "
                case .right: line += padding + cell + "  "
                }
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }

    /// Four digits at most, in the unit that this takes.
    package static func bytes(_ count: UInt64) -> String {
        var value = count
        var units = ["B", "KiB", "MiB", "GiB", "TiB"][...]
        while value >= 10_000, units.count > 1 {
            value = (value + 512) / 1_024
            units.removeFirst()
        }
        return "\(value) \(units.first!)"
    }
}
