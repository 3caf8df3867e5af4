// Where commands print: standard output and standard error, or a test that wants to see what a person would.

import Foundation
import Synchronization

package enum Console {
    /// Takes what is printed meanwhile; nil: it goes out.
    @TaskLocal package static var capture: ConsoleCapture?

    /// What a line says of what it is about, for people: a colour on a terminal, and nothing elsewhere.
    package enum Tone: String, Sendable {
        case good = "32"
        case warning = "33"
        case bad = "31"
    }

    private static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
    private static let warningsAreTerminal = isatty(STDERR_FILENO) == 1

    /// A line of standard output.
    package static func print(_ line: String = "", _ tone: Tone? = nil) {
        if let capture { return capture.append(Array((line + "\n").utf8), isWarning: false) }
        guard outputIsTerminal else { return put(line) }
        put(coloured(harmless(line), tone, environment: ProcessInfo.processInfo.environment))
    }

    /// A line of standard output in which nothing but text is.
    package static func print(utf8 line: [UInt8]) {
        if let capture { return capture.append(line + [UInt8(ascii: "\n")], isWarning: false) }
        put(String(decoding: line, as: UTF8.self))
    }

    /// Bytes of standard output, as they are.
    package static func write(_ bytes: [UInt8]) {
        if let capture { return capture.append(bytes, isWarning: false) }
        // What was printed before must come before.
        fflush(nil)
        do { try FileHandle.standardOutput.write(contentsOf: Data(bytes)) } catch { fail("\(error)") }
    }

    /// A line of standard error.
    package static func warn(_ line: String) {
        if let capture { return capture.append(Array("torc: \(line)\n".utf8), isWarning: true) }
        fflush(nil)
        let text = warningsAreTerminal ? harmless(line) : line
        FileHandle.standardError.write(Data("torc: \(text)\n".utf8))
    }

    // MARK: Standard output

    /// Of a script that asks no more than the status: an answer of which a part is missing is none.
    package static let unwrittenStatus: Int32 = 74

    private static func put(_ line: String) {
        _ = endsFlushed
        // Unlike Swift's, C's tells when it fails. Nothing that is printed holds a zero byte.
        if puts(line) < 0 { fail(String(cString: strerror(errno))) }
    }

    /// What was printed last is written when the process ends, and may fail then.
    private static let endsFlushed: Void = {
        atexit {
            if fflush(nil) != 0 { Console.fail(String(cString: strerror(errno))) }
        }
    }()

    private static func fail(_ problem: String) -> Never {
        FileHandle.standardError.write(Data("torc: standard output cannot be written: \(problem)\n".utf8))
        _exit(unwrittenStatus)
    }

    // MARK: Terminals

    /// Without what a terminal takes for a command: names, addresses and messages in a folder may be anybody's. Line ends and tabs
    /// stay.
    package static func harmless(_ line: String) -> String {
        // Nearly every line is; 0xc2 may begin one of the control characters above 0x7f.
        let isSuspect = line.utf8.contains { $0 < 0x20 && $0 != 0x0a && $0 != 0x09 || $0 == 0x7f || $0 == 0xc2 }
        guard isSuspect else { return line }
        var result = ""
        for scalar in line.unicodeScalars {
            let isControl = scalar.value < 0x20 || 0x7f...0x9f ~= scalar.value
            if isControl, scalar != "\n", scalar != "\t" {
                let digits = String(scalar.value, radix: 16)
                result += "\\x" + (digits.count == 1 ? "0" : "") + digits
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// NO_COLOR: https://no-color.org.
    package static func coloured(_ line: String, _ tone: Tone?, environment: [String: String]) -> String {
        guard let tone, environment["NO_COLOR", default: ""].isEmpty, environment["TERM"] != "dumb" else { return line }
        return "\u{1b}[\(tone.rawValue)m\(line)\u{1b}[0m"
    }
}

/// What was printed while it stood in `Console.capture`.
package final class ConsoleCapture: Sendable {
    private let taken = Mutex<(output: [UInt8], warnings: [UInt8])>(([], []))

    package init() {}

    fileprivate func append(_ bytes: [UInt8], isWarning: Bool) {
        taken.withLock { if isWarning { $0.warnings += bytes } else { $0.output += bytes } }
    }

    package var output: [UInt8] { taken.withLock { $0.output } }
    package var text: String { String(decoding: output, as: UTF8.self) }
    package var warnings: String { taken.withLock { String(decoding: $0.warnings, as: UTF8.self) } }
}
