// A run as a picture: operations a second above, latencies below, both over the time of the run. SVG, written by hand: it
// opens in any browser and differs by a line where a figure does.

import Foundation

enum LoadPlot {
    private static let width = 960.0
    private static let left = 70.0
    private static let right = 20.0
    private static let panel = 200.0
    private static let tops = [40.0, 290.0]
    private static let height = 540.0

    private struct Curve {
        var name: String
        var colour: String
        var values: [Double?]
    }

    static func svg(_ report: LoadReport) -> String {
        let times = report.timeline.map(\.second)
        let seconds = max(report.seconds, 0.001)
        var parts = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>", text(title(report), x: left, y: 20, size: 14),
        ]
        let counts = [
            Curve(name: "operations a second", colour: "#1f6fb4", values: report.timeline.map(\.perSecond)),
            Curve(name: "errors a second", colour: "#c03030", values: report.timeline.map(\.errorsPerSecond)),
        ]
        for (index, top) in tops.enumerated() { parts += bands(report.faults, seconds, top: top, isNamed: index == 0) }
        parts += panel(counts, times, seconds, top: tops[0], isLogarithmic: false)
        let latencies = [
            Curve(name: "p50 ms", colour: "#2a9d4a", values: report.timeline.map(\.p50Milliseconds)),
            Curve(name: "p99 ms", colour: "#d98a00", values: report.timeline.map(\.p99Milliseconds)),
            Curve(name: "longest ms", colour: "#8a3fb0", values: report.timeline.map(\.maxMilliseconds)),
        ]
        parts += panel(latencies, times, seconds, top: tops[1], isLogarithmic: true)
        parts.append(text("seconds", x: width / 2, y: height - 10))
        parts.append("</svg>\n")
        return parts.joined(separator: "\n")
    }

    private static func title(_ report: LoadReport) -> String {
        let settings = report.settings
        var words = ["\(settings.keys) keys \(settings.distribution)", "\(settings.valueBytes) bytes"]
        if settings.readShare > 0 { words.append("\(Int((settings.readShare * 100).rounded())) % reads") }
        words.append(settings.ratePerSecond.map { "\(Int($0)) a second asked for" } ?? "closed loop")
        words.append("\(settings.connections) connections")
        return words.joined(separator: ", ")
    }

    private static func panel(_ curves: [Curve], _ times: [Double], _ seconds: Double, top: Double, isLogarithmic: Bool)
        -> [String]
    {
        let present = curves.flatMap(\.values).compactMap { $0 }.filter { $0 > 0 }
        let largest = present.max() ?? 1
        var lower = 0.0
        var upper = niceAbove(largest)
        if isLogarithmic {
            lower = (log10(max(present.min() ?? 0.1, 0.001))).rounded(.down)
            upper = max((log10(largest)).rounded(.up), lower + 1)
        }
        func x(_ second: Double) -> Double { left + (width - left - right) * min(second / seconds, 1) }
        func y(_ value: Double) -> Double {
            let place = isLogarithmic ? log10(max(value, 1e-6)) : value
            return top + panel * (1 - min(max((place - lower) / (upper - lower), 0), 1))
        }
        var parts: [String] = []
        let marks =
            isLogarithmic
            ? Array(stride(from: lower, through: upper, by: 1)).map { pow(10, $0) }
            : (0...4).map { upper * Double($0) / 4 }
        for mark in marks {
            parts.append(line(from: (left, y(mark)), to: (width - right, y(mark)), colour: "#dddddd"))
            parts.append(text(label(mark), x: left - 6, y: y(mark) + 4, anchor: "end"))
        }
        for step in 0...5 {
            let second = seconds * Double(step) / 5
            parts.append(text(label(second), x: x(second), y: top + panel + 16, anchor: "middle"))
        }
        var place = left
        for curve in curves {
            parts.append(text(curve.name, x: place, y: top - 6, colour: curve.colour))
            place += 9 * Double(curve.name.count) + 24
            // A gap where nothing ended: a line over it would hide a stall.
            var points: [String] = []
            for (time, value) in zip(times, curve.values) {
                guard let value else {
                    parts += polyline(points, curve.colour)
                    points = []
                    continue
                }
                points.append("\(figure(x(time))),\(figure(y(value)))")
            }
            parts += polyline(points, curve.colour)
        }
        return parts
    }

    /// Behind the curves: when a node was away.
    private static func bands(_ faults: [StruckFault], _ seconds: Double, top: Double, isNamed: Bool) -> [String] {
        faults.enumerated().flatMap { index, fault -> [String] in
            let from = left + (width - left - right) * min(fault.from / seconds, 1)
            let to = left + (width - left - right) * min(fault.to / seconds, 1)
            let colour = fault.kind == LoadFault.Kind.kill.rawValue ? "#c03030" : "#d98a00"
            var parts = [
                "<rect x=\"\(figure(from))\" y=\"\(figure(top))\" width=\"\(figure(max(to - from, 1)))\" "
                    + "height=\"\(figure(panel))\" fill=\"\(colour)\" fill-opacity=\"0.12\"/>"
            ]
            // One below the other: faults may overlap.
            if isNamed {
                let y = top + 14 + 14 * Double(index % 10)
                parts.append(text("\(fault.kind) \(fault.node)", x: from + 3, y: y, colour: colour))
            }
            return parts
        }
    }

    private static func niceAbove(_ value: Double) -> Double {
        guard value > 0 else { return 1 }
        let unit = pow(10, log10(value).rounded(.down))
        return [1, 2, 4, 5, 8, 10].map { $0 * unit }.first { $0 >= value } ?? 10 * unit
    }

    private static func polyline(_ points: [String], _ colour: String) -> [String] {
        if points.count < 2 { return points.map { point in dot(point, colour) } }
        return [
            "<polyline fill=\"none\" stroke=\"\(colour)\" stroke-width=\"1.5\" "
                + "points=\"\(points.joined(separator: " "))\"/>"
        ]
    }

    private static func dot(_ point: String, _ colour: String) -> String {
        let parts = point.split(separator: ",")
        return "<circle cx=\"\(parts[0])\" cy=\"\(parts[1])\" r=\"1.5\" fill=\"\(colour)\"/>"
    }

    private static func line(from: (Double, Double), to: (Double, Double), colour: String) -> String {
        "<line x1=\"\(figure(from.0))\" y1=\"\(figure(from.1))\" x2=\"\(figure(to.0))\" y2=\"\(figure(to.1))\" "
            + "stroke=\"\(colour)\"/>"
    }

    private static func text(
        _ text: String, x: Double, y: Double, size: Int = 12, anchor: String = "start", colour: String = "#333333"
    ) -> String {
        "<text x=\"\(figure(x))\" y=\"\(figure(y))\" font-size=\"\(size)\" text-anchor=\"\(anchor)\" "
            + "fill=\"\(colour)\">\(text)</text>"
    }

    private static func figure(_ value: Double) -> String { String(format: "%.1f", value) }

    private static func label(_ value: Double) -> String {
        if value >= 1_000_000 { return String(format: "%.3gM", value / 1_000_000) }
        if value >= 10_000 { return String(format: "%.3gk", value / 1_000) }
        return String(format: value >= 1_000 ? "%.0f" : "%.3g", value)
    }
}
