// Names, values and times as a person reads them, and as they can be typed again.

import Foundation
package import NIOCore
package import TorcModel

package enum PlainText {
    /// Bytes of a name as one word: text as it is, everything else as `\xNN`, a backslash as `\\`. `bytes(of:)` takes it back.
    package static func name(_ bytes: ByteBuffer) -> String {
        if bytes.withUnsafeReadableBytes(isPlainASCII) { return String(buffer: bytes) }
        if let text = String(validating: bytes.readableBytesView, as: UTF8.self), text.allSatisfy(isPlain) {
            return text
        }
        var result = ""
        for byte in bytes.readableBytesView {
            switch byte {
            case UInt8(ascii: "\\"): result += "\\\\"
            case 0x20...0x7e: result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "\\x" + twoDigits(byte)
            }
        }
        return result
    }

    /// Printable, each a byte: most names and values are, and nothing has to be asked of their characters.
    private static func isASCII(_ bytes: ByteBuffer) -> Bool {
        bytes.withUnsafeReadableBytes(isASCII)
    }

    private static func isASCII(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.allSatisfy { 0x20...0x7e ~= $0 } }

    /// Bytes that `name` leaves as they are.
    static func isPlainASCII(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.allSatisfy { 0x20...0x7e ~= $0 && $0 != UInt8(ascii: "\\") }
    }

    private static func isPlain(_ character: Character) -> Bool {
        character != "\\"
            && character.unicodeScalars.allSatisfy {
                $0.properties.generalCategory != .control && $0.properties.generalCategory != .format
            }
    }

    /// What `name` wrote; nil: a backslash stands before something else.
    package static func bytes(of name: String) -> ByteBuffer? {
        var result = ByteBuffer()
        var rest = Substring(name)
        while let character = rest.popFirst() {
            guard character == "\\" else {
                result.writeString(String(character))
                continue
            }
            switch rest.popFirst() {
            case "\\": result.writeInteger(UInt8(ascii: "\\"))
            case "x":
                let digits = rest.prefix(2)
                guard digits.count == 2, digits.allSatisfy(\.isHexDigit), let byte = UInt8(digits, radix: 16) else {
                    return nil
                }
                result.writeInteger(byte)
                rest = rest.dropFirst(2)
            default: return nil
            }
        }
        return result
    }

    /// `carts/alice`, with the type in front unless it is the default.
    package static func name(_ key: ObjectKey) -> String { "\(name(key.bucket))/\(name(key.key))" }

    package static func name(_ bucket: BucketID) -> String {
        bucket.type.readableBytes == 0 ? name(bucket.name) : "\(name(bucket.type))/\(name(bucket.name))"
    }

    /// The bytes as text where they are some: line ends and tabs are text, other control characters are not.
    package static func text(_ bytes: ByteBuffer) -> String? {
        if isASCII(bytes) { return String(buffer: bytes) }
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self),
            text.unicodeScalars.allSatisfy({
                $0.properties.generalCategory != .control || "\n\r\t".unicodeScalars.contains($0)
            })
        else { return nil }
        return text
    }

    /// The beginning of a value on one line.
    package static func preview(_ value: ByteBuffer, width: Int = 48) -> String {
        let head = value.getSlice(at: value.readerIndex, length: min(value.readableBytes, width * 4))!
        let isWhole = head.readableBytes == value.readableBytes
        if isASCII(head) {
            if head.readableBytes <= width { return String(buffer: head) }
            return String(buffer: head.getSlice(at: head.readerIndex, length: width)!) + "…"
        }
        // A character may be cut in two at the end.
        for cut in 0...(isWhole ? 0 : 3) {
            let part = head.getSlice(at: head.readerIndex, length: head.readableBytes - cut)!
            guard let text = text(part) else { continue }
            let line = String(text.prefix(width + 1).map { $0.isNewline || $0 == "\t" ? " " : $0 })
            return isWhole && line.count <= width ? line : String(line.prefix(width)) + "…"
        }
        return hex(value, limit: width / 3)
    }

    /// `a8 22 6d …`; past `limit` bytes it is cut.
    package static func hex(_ bytes: ByteBuffer, limit: Int = .max) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var result: [UInt8] = []
        result.reserveCapacity(3 * min(bytes.readableBytes, limit))
        for byte in bytes.readableBytesView.prefix(limit) {
            if !result.isEmpty { result.append(UInt8(ascii: " ")) }
            result.append(digits[Int(byte >> 4)])
            result.append(digits[Int(byte & 15)])
        }
        return String(decoding: result, as: UTF8.self) + (bytes.readableBytes > limit ? " …" : "")
    }

    /// `0000  6d 69 6c 6b …  milk`, sixteen bytes a line.
    package static func hexLines(_ bytes: ByteBuffer, limit: Int = .max) -> [String] {
        var reader = bytes
        var lines: [String] = []
        var offset = 0
        while reader.readableBytes > 0, offset < limit {
            let line = reader.readSlice(length: min(16, reader.readableBytes, limit - offset))!
            let characters = line.readableBytesView.map { 0x20...0x7e ~= $0 ? Character(Unicode.Scalar($0)) : "." }
            let address = String(offset, radix: 16)
            lines.append(
                String(repeating: "0", count: max(0, 6 - address.count)) + address + "  "
                    + hex(line).padded(to: 16 * 3 - 1) + "  " + String(characters))
            offset += line.readableBytes
        }
        if reader.readableBytes > 0 { lines.append("…       \(reader.readableBytes) bytes more") }
        return lines
    }

    private static func twoDigits(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }

    /// What things are in one column, each with its name in front of it. A name that stands above itself is not said again.
    package static func fields(_ lines: [(name: String, value: String)]) -> String {
        let width = lines.map(\.name.count).max() ?? 0
        return lines.enumerated().map { index, line in
            let isRepeated = index > 0 && lines[index - 1].name == line.name
            return (isRepeated ? "" : line.name).padded(to: width + 2) + line.value
        }.joined(separator: "\n")
    }

    // MARK: Times

    /// `2026-11-23T14:30:03.021Z`. Computed here: Foundation takes ten times as long, and lists have a million of them.
    package static func time(_ time: WallTime) -> String {
        let seconds = time.microseconds / 1_000_000
        let (year, month, day) = date(ofDay: seconds / 86_400)
        let ofDay = seconds % 86_400
        // What is behind a number ends its field; a year may have more digits.
        return String(unsafeUninitializedCapacity: 32) { text in
            var end = 0
            func put(_ number: UInt64, _ width: Int, _ mark: Unicode.Scalar) {
                var width = width
                var bound = UInt64(1)
                for _ in 0..<width { bound *= 10 }
                while number >= bound {
                    width += 1
                    bound *= 10
                }
                var rest = number
                for place in (end..<end + width).reversed() {
                    text[place] = UInt8(ascii: "0") + UInt8(rest % 10)
                    rest /= 10
                }
                text[end + width] = UInt8(ascii: mark)
                end += width + 1
            }
            put(year, 4, "-")
            put(month, 2, "-")
            put(day, 2, "T")
            put(ofDay / 3_600, 2, ":")
            put(ofDay / 60 % 60, 2, ":")
            put(ofDay % 60, 2, ".")
            put(time.microseconds / 1_000 % 1_000, 3, "Z")
            return end
        }
    }

    /// Of days since 1970. Years begin in March here, so that the leap day ends one: 400 years are 146,097 days.
    private static func date(ofDay day: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
        // From the first of March of the year 0.
        let days = day + 719_468
        let era = days / 146_097
        let ofEra = days % 146_097
        let yearOfEra = (ofEra - ofEra / 1_460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * ofYear + 2) / 153
        let isNextYear = month >= 10
        return (
            era * 400 + yearOfEra + (isNextYear ? 1 : 0), isNextYear ? month - 9 : month + 3,
            ofYear - (153 * month + 2) / 5 + 1
        )
    }

    package static func time(_ stamp: HybridTimestamp) -> String { time(WallTime(microseconds: stamp.rawValue)) }

    /// `5 s`, `3 min`, `7 h`, `12 d`: rounded down to the largest unit of which there are two.
    package static func span(microseconds: UInt64) -> String {
        let seconds = microseconds / 1_000_000
        switch seconds {
        case ..<120: return "\(seconds) s"
        case ..<7_200: return "\(seconds / 60) min"
        case ..<172_800: return "\(seconds / 3_600) h"
        default: return "\(seconds / 86_400) d"
        }
    }
}

extension String {
    /// With blanks behind it.
    package func padded(to width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }

    /// With blanks in front of it.
    package func aligned(to width: Int) -> String { String(repeating: " ", count: Swift.max(0, width - count)) + self }
}
