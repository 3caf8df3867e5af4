// One line an event, on the standard error: for people `INFO  2026-01-31T12:00:00.123Z stored key=value`, for
// programs one JSON object. The whole line goes out in one write, so lines of several threads do not mix.

import Foundation
package import Logging

package struct LineLogHandler: LogHandler {
    package enum Form: Sendable {
        case text
        case json
    }

    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let form: Form
    private let write: @Sendable (String) -> Void

    package init(level: Logger.Level, form: Form, write: @escaping @Sendable (String) -> Void = Self.toStandardError) {
        logLevel = level
        self.form = form
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package static func toStandardError(_ line: String) {
        var line = line
        line.withUTF8 { bytes in
            // A log that nobody takes is no reason to stop.
            _ = Glibc.write(2, bytes.baseAddress, bytes.count)
        }
    }

    package func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let own = event.metadata { all.merge(own) { $1 } }
        if let error = event.error { all["error"] = "\(error)" }
        let time = Self.timestamp()
        let fields = all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        switch form {
        case .text:
            let level = event.level.rawValue.uppercased()
            var line = level + String(repeating: " ", count: max(1, 9 - level.count)) + time + " \(event.message)"
            for (name, value) in fields { line += " \(name)=\(Self.quotedIfNeeded(value))" }
            write(line + "\n")
        case .json:
            var line = "{\"level\":\"\(event.level.rawValue)\",\"time\":\"\(time)\",\"event\":"
            line += Self.jsonString("\(event.message)")
            for (name, value) in fields { line += ",\(Self.jsonString(name)):\(Self.jsonString(value))" }
            write(line + "}\n")
        }
    }

    private static func timestamp() -> String {
        let now = Date().timeIntervalSince1970
        var seconds = time_t(now.rounded(.down))
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func padded(_ number: Int, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(Int(parts.tm_year) + 1900, 4))-\(padded(Int(parts.tm_mon) + 1, 2))-"
            + "\(padded(Int(parts.tm_mday), 2))T\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):"
            + "\(padded(Int(parts.tm_sec), 2)).\(padded(Int((now - Double(seconds)) * 1000), 3))Z"
    }

    private static func quotedIfNeeded(_ value: String) -> String {
        let plain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3d && $0 != 0x7f }
        return plain ? value : jsonString(value)
    }

    package static func jsonString(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
