// Where commands print: standard output and standard error, or a test that wants to see what a person would.

import Foundation
import Synchronization

package enum Console {
    /// Takes what is printed meanwhile; nil: it goes out.
    @TaskLocal package static var capture: ConsoleCapture?

    /// A line of standard output.
    package static func print(_ line: String = "") {
        if let capture { return capture.append(Array((line + "\n").utf8), isWarning: false) }
        Swift.print(line)
    }

    /// Bytes of standard output, as they are.
    package static func write(_ bytes: [UInt8]) {
        if let capture { return capture.append(bytes, isWarning: false) }
        // What was printed before must come before.
        fflush(nil)
        FileHandle.standardOutput.write(Data(bytes))
    }

    /// A line of standard error.
    package static func warn(_ line: String) {
        let bytes = Array("torc: \(line)\n".utf8)
        if let capture { return capture.append(bytes, isWarning: true) }
        fflush(nil)
        FileHandle.standardError.write(Data(bytes))
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
