// Commands out of a stream of bytes, as Redis's clients send them: an array of bulk strings, or a line of words that a
// person types.
//
//   *3\r\n $3\r\nSET\r\n $5\r\nalice\r\n $4\r\nmilk\r\n        or        SET alice milk\r\n

package import NIOCore

/// What came is no command: nothing after it can be trusted, and the connection ends once the client was told.
package struct RESPProtocolError: Error, Hashable, Sendable {
    package var message: String
}

package struct RESPReader: Sendable {
    /// Words of one command; more is an error.
    package static let maximumWords = 1 << 20
    /// A line, of a length or of a command that is typed.
    package static let maximumLineBytes = 64 << 10

    private let maximumWordBytes: Int
    private let maximumCommandBytes: Int
    private var buffer = ByteBuffer()

    // Of the command that is being read.
    private var words: [ByteBuffer] = []
    private var missing = 0
    private var commandBytes = 0

    /// `wordBytes`: of one bulk string; `commandBytes`: of all those of one command. Both are what the reader keeps at most.
    package init(wordBytes: Int, commandBytes: Int) {
        maximumWordBytes = wordBytes
        maximumCommandBytes = commandBytes
    }

    package mutating func append(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.discardReadBytes()
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole command; nil: more bytes are needed. An empty line is no command.
    package mutating func next() throws(RESPProtocolError) -> [ByteBuffer]? {
        while true {
            if missing > 0 {
                guard try readWord() else { return nil }
                if missing > 0 { continue }
                return take()
            }
            guard let first = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self) else { return nil }
            guard let line = try readLine() else { return nil }
            guard first == UInt8(ascii: "*") else {
                let typed = try Self.split(line)
                if typed.isEmpty { continue }
                return typed
            }
            guard let count = Self.number(line.getSlice(at: line.readerIndex + 1, length: line.readableBytes - 1)!),
                count <= Self.maximumWords
            else { throw RESPProtocolError(message: "Protocol error: invalid multibulk length") }
            if count <= 0 { continue }
            missing = count
            words.reserveCapacity(min(count, 1024))
        }
    }

    private mutating func take() -> [ByteBuffer] {
        defer {
            words = []
            commandBytes = 0
        }
        return words
    }

    /// False: not all of it is here.
    private mutating func readWord() throws(RESPProtocolError) -> Bool {
        let start = buffer.readerIndex
        guard let line = try readLine() else { return false }
        guard line.getInteger(at: line.readerIndex, as: UInt8.self) == UInt8(ascii: "$") else {
            throw RESPProtocolError(message: "Protocol error: expected '$'")
        }
        guard let length = Self.number(line.getSlice(at: line.readerIndex + 1, length: line.readableBytes - 1)!),
            length >= 0, length <= maximumWordBytes
        else { throw RESPProtocolError(message: "Protocol error: invalid bulk length") }
        guard commandBytes + length <= maximumCommandBytes else {
            throw RESPProtocolError(message: "Protocol error: a command may have \(maximumCommandBytes) bytes")
        }
        guard buffer.readableBytes >= length + 2 else {
            buffer.moveReaderIndex(to: start)
            return false
        }
        let word = buffer.readSlice(length: length)!
        guard buffer.readInteger(as: UInt16.self) == 0x0d0a else {
            throw RESPProtocolError(message: "Protocol error: a bulk string without its end")
        }
        words.append(word)
        commandBytes += length
        missing -= 1
        return true
    }

    /// Without its end; nil: its end is not here.
    private mutating func readLine() throws(RESPProtocolError) -> ByteBuffer? {
        let view = buffer.readableBytesView
        let searched = view.prefix(Self.maximumLineBytes)
        guard let end = searched.firstIndex(of: UInt8(ascii: "\n")) else {
            if view.count >= Self.maximumLineBytes {
                throw RESPProtocolError(message: "Protocol error: too big inline request")
            }
            return nil
        }
        var line = buffer.readSlice(length: end - view.startIndex + 1)!
        line.moveWriterIndex(to: line.writerIndex - 1)
        if line.readableBytesView.last == UInt8(ascii: "\r") { line.moveWriterIndex(to: line.writerIndex - 1) }
        return line
    }

    /// Decimal, with a sign at most.
    static func number(_ bytes: ByteBuffer) -> Int? {
        let view = bytes.readableBytesView
        guard view.count > 0, view.count <= 20 else { return nil }
        return Int(String(decoding: view, as: UTF8.self))
    }

    /// Words of a typed line, quoted as in a shell where they hold spaces.
    private static func split(_ line: ByteBuffer) throws(RESPProtocolError) -> [ByteBuffer] {
        var words: [ByteBuffer] = []
        var word: ByteBuffer?
        var quote: UInt8?
        var isEscaped = false
        for byte in line.readableBytesView {
            if isEscaped {
                isEscaped = false
                word!.writeInteger(byte == UInt8(ascii: "n") ? 10 : byte)
            } else if let open = quote {
                if byte == UInt8(ascii: "\\"), open == UInt8(ascii: "\"") {
                    isEscaped = true
                } else if byte == open {
                    quote = nil
                } else {
                    word!.writeInteger(byte)
                }
            } else if byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
                if let done = word { words.append(done) }
                word = nil
            } else {
                if word == nil { word = ByteBuffer() }
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                    quote = byte
                } else {
                    word!.writeInteger(byte)
                }
            }
        }
        if quote != nil { throw RESPProtocolError(message: "Protocol error: unbalanced quotes in request") }
        if let done = word { words.append(done) }
        return words
    }
}
