// One JSON object a line, for programs.

import Foundation

package enum JSONLine {
    private static let encoder = {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }()

    /// Writes one object; its fields are sorted by name.
    package static func print(_ value: some Encodable) throws {
        Console.print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
