// Where in a configuration file each key stands. The providers of swift-configuration know values, not
// lines, and cannot list their keys; this scan knows keys and lines and nothing of values. It takes JSON, and
// of YAML what a configuration needs: nested `key: value`, and lists. What it does not understand it refuses,
// so that no key escapes the check.

/// A key of a configuration file and the line that it stands on.
struct ScannedKey: Hashable, Sendable {
    var path: String
    var line: Int
}

struct ConfigurationScanError: Error, Hashable, Sendable {
    var line: Int
    var message: String
}

enum ConfigurationScan {
    /// Keys that hold a value or a list, in the order of the file.
    static func yaml(_ text: String) throws(ConfigurationScanError) -> [ScannedKey] {
        var sections: [(indent: Int, path: String)] = []
        var keys: [ScannedKey] = []
        /// The last key without a value of its own: a section, if something deeper follows that is not a list.
        var open: Int?
        var insideFlowList = false
        for (index, rawLine) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let number = index + 1
            let line = withoutComment(rawLine)
            let content = line.drop { $0 == " " }
            if content.isEmpty || content == "---" { continue }
            if insideFlowList {
                insideFlowList = !content.contains("]")
                continue
            }
            if content.first == "\t" {
                throw ConfigurationScanError(line: number, message: "a tab; indent with spaces")
            }
            let indent = line.count - content.count
            if content == "-" || content.hasPrefix("- ") {
                guard open != nil else {
                    throw ConfigurationScanError(line: number, message: "a list item without a key")
                }
                continue
            }
            guard let (key, value) = pair(content) else {
                throw ConfigurationScanError(line: number, message: "expected `key: value`")
            }
            while let last = sections.last, last.indent >= indent { sections.removeLast() }
            if let parent = sections.last, let candidate = open, keys[candidate].path == parent.path {
                // What looked like a key without a value is a section.
                keys.remove(at: candidate)
            } else if indent > 0, sections.isEmpty {
                throw ConfigurationScanError(line: number, message: "indented without a section above it")
            }
            open = nil
            let path = sections.last.map { "\($0.path).\(key)" } ?? key
            guard !keys.contains(where: { $0.path == path }) else {
                throw ConfigurationScanError(line: number, message: "\(path) is given twice")
            }
            keys.append(ScannedKey(path: path, line: number))
            switch value.first {
            case nil:
                open = keys.count - 1
                sections.append((indent, path))
            case "{", "|", ">", "&", "*", "!":
                throw ConfigurationScanError(line: number, message: "write one `key: value` a line")
            case "[":
                insideFlowList = !value.contains("]")
            default: break
            }
        }
        return keys
    }

    private static func withoutComment(_ line: Substring) -> Substring {
        var quote: Character?
        var previous: Character = " "
        for index in line.indices {
            let character = line[index]
            if let open = quote {
                if character == open { quote = nil }
            } else if character == "\"" || character == "'" {
                quote = character
            } else if character == "#", previous == " " {
                return trimmedEnd(line[..<index])
            }
            previous = character
        }
        return trimmedEnd(line)
    }

    private static func trimmedEnd(_ line: Substring) -> Substring {
        var rest = line
        while let last = rest.last, last.isWhitespace { rest.removeLast() }
        return rest
    }

    private static func pair(_ content: Substring) -> (key: String, value: Substring)? {
        var index = content.startIndex
        while index < content.endIndex {
            let next = content.index(after: index)
            if content[index] == ":", next == content.endIndex || content[next] == " " {
                let key = content[..<index].filter { $0 != "\"" && $0 != "'" }
                return key.isEmpty ? nil : (String(key), content[next...].drop { $0 == " " })
            }
            index = next
        }
        return nil
    }

    /// Keys of a JSON object that hold a value or an array, in the order of the file.
    static func json(_ text: String) throws(ConfigurationScanError) -> [ScannedKey] {
        var scanner = JSONScanner(bytes: Array(text.utf8))
        try scanner.object(path: "", depth: 0)
        scanner.skipSpace()
        guard scanner.atEnd else { throw scanner.error("something after the end of the object") }
        return scanner.keys
    }
}

/// Walks JSON and notes keys with their lines.
private struct JSONScanner {
    static let maximumDepth = 8

    let bytes: [UInt8]
    var position = 0
    var line = 1
    var keys: [ScannedKey] = []

    init(bytes: [UInt8]) { self.bytes = bytes }

    var atEnd: Bool { position == bytes.count }

    func error(_ message: String) -> ConfigurationScanError { ConfigurationScanError(line: line, message: message) }

    mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[position]) {
            if bytes[position] == 0x0a { line += 1 }
            position += 1
        }
    }

    mutating func next() throws(ConfigurationScanError) -> UInt8 {
        skipSpace()
        guard position < bytes.count else { throw error("the file ends in the middle") }
        return bytes[position]
    }

    mutating func take(_ expected: Character) throws(ConfigurationScanError) {
        guard try next() == expected.asciiValue else { throw error("expected \(expected)") }
        position += 1
    }

    mutating func object(path: String, depth: Int) throws(ConfigurationScanError) {
        guard depth < Self.maximumDepth else { throw error("nested too deep") }
        try take("{")
        if try next() == UInt8(ascii: "}") {
            position += 1
            return
        }
        while true {
            _ = try next()
            let keyLine = line
            let key = try string()
            try take(":")
            let full = path.isEmpty ? key : "\(path).\(key)"
            if try next() == UInt8(ascii: "{") {
                try object(path: full, depth: depth + 1)
            } else {
                guard !keys.contains(where: { $0.path == full }) else { throw error("\(full) is given twice") }
                keys.append(ScannedKey(path: full, line: keyLine))
                try value()
            }
            if try next() == UInt8(ascii: ",") {
                position += 1
            } else {
                return try take("}")
            }
        }
    }

    mutating func string() throws(ConfigurationScanError) -> String {
        try take("\"")
        let start = position
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            if bytes[position] == UInt8(ascii: "\n") { throw error("a string that does not end") }
            position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard position < bytes.count else { throw error("a string that does not end") }
        defer { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    mutating func value() throws(ConfigurationScanError) {
        switch try next() {
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "["):
            position += 1
            if try next() == UInt8(ascii: "]") {
                position += 1
                return
            }
            while true {
                guard try next() != UInt8(ascii: "{") else { throw error("a list holds plain values") }
                try value()
                if try next() == UInt8(ascii: ",") {
                    position += 1
                } else {
                    return try take("]")
                }
            }
        default:
            let start = position
            while position < bytes.count, ![0x20, 0x09, 0x0a, 0x0d, 0x2c, 0x5d, 0x7d].contains(bytes[position]) {
                position += 1
            }
            guard position > start else { throw error("expected a value") }
        }
    }
}
