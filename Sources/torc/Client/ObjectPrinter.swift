// Shows an object as a person wants to see it: its value when there is one, its siblings side by side with what
// settles them when there are more.

import Foundation
import NIOCore
import TorcClient

enum ObjectPrinter {
    static func print(_ object: TorcObject, name: TorcKey, details: Bool) {
        // The store's order means nothing to a person.
        let versions = object.versions.sorted {
            ($0.lastModifiedMicroseconds, $0.tag) < ($1.lastModifiedMicroseconds, $1.tag)
        }
        if versions.count == 1, !details {
            write(versions[0].value)
            return
        }
        if versions.count > 1 {
            Swift.print("\(name) has \(versions.count) siblings, written concurrently:\n")
        }
        for (number, version) in versions.enumerated() {
            let time = timestamp(version.lastModifiedMicroseconds)
            var size = version.isDeleted ? "deleted" : "\(version.value.readableBytes) bytes"
            if let left = version.secondsLeft { size += ", expires in \(left) s" }
            Swift.print("[\(number + 1)] \(version.tag)  \(time)  \(size)  \(version.contentType)")
            for (name, value) in version.userMetadata { Swift.print("    \(name): \(value)") }
            if !version.isDeleted { write(version.value) }
        }
        Swift.print("\ncontext \(token(object.context))")
        if versions.count > 1 { Swift.print("a put with --context and this context settles them") }
    }

    static func json(_ object: TorcObject, name: TorcKey) -> [String: Any] {
        [
            "bucket": String(buffer: name.bucket), "key": String(buffer: name.key), "type": String(buffer: name.type),
            "found": object.isFound, "deleted": !object.isFound && object.context != nil,
            "context": token(object.context),
            "siblings": object.versions.map { version -> [String: Any] in
                var fields: [String: Any] = [
                    "tag": version.tag, "contentType": version.contentType, "deleted": version.isDeleted,
                    "lastModified": timestamp(version.lastModifiedMicroseconds),
                    "metadata": Dictionary(version.userMetadata.map { ($0.name, $0.value) }) { $1 },
                ]
                if let left = version.secondsLeft { fields["secondsLeft"] = left }
                // JSON holds text alone: other bytes are given in base64.
                if let text = String(validating: version.value.readableBytesView, as: UTF8.self) {
                    fields["value"] = text
                } else {
                    fields["valueBase64"] = Data(version.value.readableBytesView).base64EncodedString()
                }
                return fields
            },
        ]
    }

    static func print(json: [String: Any]) throws {
        let bytes = try JSONSerialization.data(withJSONObject: json, options: [.sortedKeys, .withoutEscapingSlashes])
        FileHandle.standardOutput.write(bytes + Data("\n".utf8))
    }

    static func token(_ context: TorcContext?) -> String {
        context.map { Data($0.bytes.readableBytesView).base64EncodedString() } ?? ""
    }

    /// The bytes as they are; a line's end is added where text lacks it, so that a prompt does not stick to it.
    private static func write(_ value: ByteBuffer) {
        var bytes = Data(value.readableBytesView)
        if bytes.last != UInt8(ascii: "\n") { bytes.append(UInt8(ascii: "\n")) }
        // What was printed before must come before.
        fflush(nil)
        FileHandle.standardOutput.write(bytes)
    }

    private static func timestamp(_ microseconds: UInt64) -> String {
        let date = Date(timeIntervalSince1970: Double(microseconds) / 1e6)
        return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
