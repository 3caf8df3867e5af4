// Where a put's time goes, as a picture: one stacked bar a level, in SVG, without anything else that would have to be
// installed. Each bar has a scale of its own, because a level's whole says more beside its parts than beside the others.

import Foundation

package enum StagePlot {
    private static let width = 920.0
    private static let margin = 24.0
    private static let barHeight = 34.0
    private static let lineHeight = 18.0
    private static let legendColumns = 3
    /// Twenty that can be told apart, light enough for black text.
    private static let colours = [
        "#8dd3c7", "#ffed6f", "#bebada", "#fb8072", "#80b1d3", "#fdb462", "#b3de69", "#fccde5", "#d9d9d9", "#bc80bd",
        "#ccebc5", "#ffffb3", "#a6cee3", "#b2df8a", "#fb9a99", "#fdbf6f", "#cab2d6", "#e5c494", "#b3b3b3", "#66c2a5",
    ]

    package static func svg(_ report: WritePathReport) -> String {
        var names: [String] = []
        let levels = report.levels.filter { $0.stages.count > 1 }
        for level in levels {
            for stage in level.stages where !names.contains(stage.name) { names.append(stage.name) }
        }
        func colour(_ name: String) -> String { colours[names.firstIndex(of: name)! % colours.count] }

        var body = ""
        var y = margin
        text(margin, y + 14, "Where a put's time goes", size: 18, into: &body)
        y += 26
        text(
            margin, y + 12,
            "\(report.settings.valueBytes)-byte values, \(report.settings.keys) keys, \(report.settings.connections) "
                + "connections; \(report.machine.cores) cores; torc \(report.version), \(report.date)",
            size: 12, into: &body)
        y += 30
        for level in levels {
            let whole = level.stages.reduce(0) { $0 + max(0, $1.median) }
            guard whole > 0 else { continue }
            let unit = level.stages[0].unit
            text(margin, y + 12, "\(level.title): \(WritePathReport.number(whole)) \(unit)", size: 13, into: &body)
            y += lineHeight
            var x = margin
            for stage in level.stages {
                let part = max(0, stage.median) / whole * (width - 2 * margin)
                guard part > 0 else { continue }
                body +=
                    "<rect x=\"\(point(x))\" y=\"\(point(y))\" width=\"\(point(part))\" height=\"\(point(barHeight))\" "
                    + "fill=\"\(colour(stage.name))\" stroke=\"#ffffff\"><title>\(escaped(stage.name)): "
                    + "\(WritePathReport.number(stage.median)) \(escaped(unit))</title></rect>\n"
                // A label where there is room for a number.
                if part > 34 {
                    text(x + 4, y + barHeight / 2 + 4, WritePathReport.number(stage.median), size: 11, into: &body)
                }
                x += part
            }
            y += barHeight + lineHeight
        }
        let column = (width - 2 * margin) / Double(legendColumns)
        for (index, name) in names.enumerated() {
            let x = margin + Double(index % legendColumns) * column
            let top = y + Double(index / legendColumns) * lineHeight
            body +=
                "<rect x=\"\(point(x))\" y=\"\(point(top))\" width=\"12\" height=\"12\" fill=\"\(colour(name))\"/>\n"
            text(x + 18, top + 11, name, size: 12, into: &body)
        }
        y += Double((names.count + legendColumns - 1) / legendColumns) * lineHeight + margin
        return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(point(width))\" height=\"\(point(y))\" "
            + "viewBox=\"0 0 \(point(width)) \(point(y))\" font-family=\"sans-serif\">\n"
            + "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\(body)</svg>\n"
    }

    private static func text(_ x: Double, _ y: Double, _ words: String, size: Int, into body: inout String) {
        body += "<text x=\"\(point(x))\" y=\"\(point(y))\" font-size=\"\(size)\">\(escaped(words))</text>\n"
    }

    private static func point(_ value: Double) -> String { String(format: "%.1f", value) }

    private static func escaped(_ words: String) -> String {
        words.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}
