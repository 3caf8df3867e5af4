// What Redis's clients are answered, in version 2 or 3 of their protocol.

package import NIOCore

package enum RESPValue: Sendable {
    /// `+OK`
    case simple(String)
    /// The first word, in capitals, is what programs look at: `-ERR …`.
    case error(String)
    case integer(Int)
    case bulk(ByteBuffer)
    case null
    case array([RESPValue])
    /// In version 2 an array of names and values in turn.
    case map([(RESPValue, RESPValue)])

    package static let ok = RESPValue.simple("OK")
    package static func text(_ text: String) -> RESPValue { .bulk(ByteBuffer(string: text)) }

    package func encode(into buffer: inout ByteBuffer, version: Int) {
        switch self {
        case .simple(let text): Self.line("+", text, into: &buffer)
        case .error(let text):
            // A line's end in it would be the start of another answer.
            Self.line("-", String(text.map { $0.isNewline ? " " : $0 }), into: &buffer)
        case .integer(let number): Self.line(":", String(number), into: &buffer)
        case .bulk(let bytes):
            Self.line("$", String(bytes.readableBytes), into: &buffer)
            buffer.writeImmutableBuffer(bytes)
            buffer.writeStaticString("\r\n")
        case .null: buffer.writeStaticString(version >= 3 ? "_\r\n" : "$-1\r\n")
        case .array(let values):
            Self.line("*", String(values.count), into: &buffer)
            for value in values { value.encode(into: &buffer, version: version) }
        case .map(let pairs):
            if version >= 3 {
                Self.line("%", String(pairs.count), into: &buffer)
            } else {
                Self.line("*", String(pairs.count * 2), into: &buffer)
            }
            for (name, value) in pairs {
                name.encode(into: &buffer, version: version)
                value.encode(into: &buffer, version: version)
            }
        }
    }

    private static func line(_ mark: StaticString, _ text: String, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(mark)
        buffer.writeString(text)
        buffer.writeStaticString("\r\n")
    }

    /// About as many bytes as it takes.
    var byteCount: Int {
        switch self {
        case .simple(let text), .error(let text): text.utf8.count + 3
        case .integer, .null: 8
        case .bulk(let bytes): bytes.readableBytes + 16
        case .array(let values): values.reduce(16) { $0 + $1.byteCount }
        case .map(let pairs): pairs.reduce(16) { $0 + $1.0.byteCount + $1.1.byteCount }
        }
    }
}
