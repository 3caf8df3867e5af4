// One JSON object a line, for programs.

import Foundation

package enum JSONLine {
    /// Writes one object; its fields are sorted by name.
    package static func print(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        Console.print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
