// A record for a person.

import NIOCore
import TorcConsole
import TorcModel
import TorcStorage

enum RecordText {
    /// Everything: place, header, vector, versions with their values.
    static func full(
        _ view: RecordView, _ reader: FolderReader, _ names: NodeNames, now: WallTime, hex: Bool = false
    ) -> String {
        let object = view.object
        let position = view.key.position
        var lines: [(String, String)] = [
            ("object", PlainText.name(view.key)),
            ("state", state(view, now)),
            (
                "place",
                "partition \(reader.identity.ringSize.partition(of: position).index), leaf \(reader.layout.leaf(of: position)), "
                    + "position \(hexadecimal(position.rawValue))"
            ),
            ("record", "\(view.storedBytes) bytes, n \(view.record.header.copies), mode \(object.mode)"),
        ]
        if let hint = view.record.hint {
            lines.append(("kept for", "\(names.title(of: hint.target)), since \(PlainText.time(hint.since))"))
        }
        if let minting = view.record.header.minting {
            let known = (try? reader.incarnations()) ?? []
            let run =
                known.last == minting.incarnation
                ? "the last run"
                : known.contains(minting.incarnation)
                    ? "an earlier run" : "an unknown run"
            lines.append(
                ("mints with", "\(minting.actor), last \(minting.counter), in \(run) (\(minting.incarnation))"))
        } else {
            lines.append(("mints with", "nothing: this replica did not coordinate a write of it, or is a new one"))
        }
        var text = PlainText.fields(lines) + "\n\n"

        var vector = TextTable([.left("VECTOR: ACTOR"), .right("SEEN THROUGH"), .left("STANDS"), .left("NODE")])
        for entry in object.clock.entries {
            let standing = object.siblings.filter { $0.dot.actor == entry.actor }.map { "\($0.dot.counter)" }
            vector.add([
                "\(entry.actor)", "\(entry.counter)", standing.isEmpty ? "-" : standing.joined(separator: ","),
                names.title(of: entry.actor),
            ])
        }
        text += vector.text
        for (number, sibling) in object.siblings.enumerated() {
            text += "\n\n" + version(sibling, number: number + 1, names, now: now, hex: hex)
        }
        return text
    }

    static func state(_ view: RecordView, _ now: WallTime) -> String {
        let versions = view.object.siblings
        switch view.state(at: now) {
        case .grave: return "a grave: a tombstone that was reaped, until all replicas have reaped it"
        case .tombstone: return "deleted: a tombstone, until it is reaped"
        case .expired: return "expired: gone for readers, removed once the clocks of all replicas say so"
        case .live:
            return versions.count == 1 ? "live" : "live, \(versions.count) siblings: written concurrently, unresolved"
        }
    }

    private static func version(
        _ sibling: Sibling, number: Int, _ names: NodeNames, now: WallTime, hex: Bool
    ) -> String {
        var head =
            "[\(number)] \(sibling.dot)  by \(names.title(of: sibling.dot.actor))  \(PlainText.time(sibling.timestamp))"
        if sibling.isTombstone { return head + "  deleted" }
        head += "  \(sibling.value.readableBytes) bytes"
        var lines: [String] = []
        if let metadata = try? ContentMetadata(decoding: sibling.metadata) {
            let type = [metadata.contentType, metadata.charset, metadata.contentEncoding].filter {
                $0.readableBytes > 0
            }
            if !type.isEmpty { head += "  " + type.map { PlainText.name($0) }.joined(separator: "; ") }
            lines += metadata.userMetadata.map { "\(PlainText.name($0.name)): \(PlainText.name($0.value))" }
            lines += metadata.indexes.map { "index \(PlainText.name($0.name)): \(PlainText.name($0.value))" }
            lines += metadata.links.map {
                "link \(PlainText.name($0.tag)): \(PlainText.name($0.bucket))/\(PlainText.name($0.key))"
            }
        } else {
            lines.append("metadata that cannot be read: \(PlainText.hex(sibling.metadata, limit: 64))")
        }
        if let expiry = sibling.expiry {
            lines.append(
                sibling.hasExpired(at: now)
                    ? "expired at \(PlainText.time(expiry))"
                    : "expires at \(PlainText.time(expiry)), in \(PlainText.span(microseconds: expiry.microseconds - now.microseconds))"
            )
        }
        if let id = sibling.writeID { lines.append("write id \(hexadecimal(id.high))\(hexadecimal(id.low))") }
        lines += value(sibling.value, hex: hex)
        return ([head] + lines.map { "    " + $0 }).joined(separator: "\n")
    }

    private static func value(_ value: ByteBuffer, hex: Bool) -> [String] {
        if value.readableBytes == 0 { return ["(empty)"] }
        if !hex, let text = PlainText.text(value) {
            return text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        }
        return PlainText.hexLines(value)
    }
}
