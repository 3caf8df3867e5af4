// A record for programs: what `--json` of `get`, `scan` and others prints of one.

import Foundation
import NIOCore
package import TorcModel

package struct RecordReport: Encodable {
    package struct Entry: Encodable {
        package var actor: String
        package var counter: UInt64
        /// The node whose tag the actor bears, where the folder knows one.
        package var node: String?
    }

    package struct Version: Encodable {
        package var actor: String
        package var counter: UInt64
        package var node: String?
        package var written: String
        /// Microseconds since 1970.
        package var stamp: UInt64
        package var bytes: Int
        package var contentType: String?
        package var expires: String?
        package var isExpired: Bool
        /// A delete of an `lww` bucket.
        package var isDeleted: Bool
        package var writeID: String?
        package var metadata: [String: String]?
        package var value: String?
        /// Instead of `value`, where it is no text.
        package var valueBase64: String?
    }

    package var type: String
    package var bucket: String
    package var key: String
    package var partition: Int
    package var leaf: Int
    package var position: String
    package var state: RecordView.State
    package var mode: String
    package var n: Int
    package var storedBytes: Int
    package var vector: [Entry]
    package var versions: [Version]
    /// With which the replica mints.
    package var minting: Entry?
    package var incarnation: String?
    /// The node for which it is kept, of a hint, and since when.
    package var keptFor: String?
    package var keptSince: String?

    /// `values`: with the values; in a list they would be most of it.
    package init(
        _ view: RecordView, layout: LeafLayout, names: NodeNames, now: WallTime, values: Bool = true
    ) {
        func entry(_ actor: Actor, _ counter: UInt64) -> Entry {
            Entry(actor: "\(actor)", counter: counter, node: names.node(of: actor).map(names.name))
        }
        let name = view.key.bucket
        type = name.type.readableBytes == 0 ? "default" : PlainText.name(name.type)
        bucket = PlainText.name(name.name)
        key = PlainText.name(view.key.key)
        partition = layout.ringSize.partition(of: view.key.position).index
        leaf = layout.leaf(of: view.key.position)
        position = hexadecimal(view.key.position.rawValue)
        state = view.state(at: now)
        mode = "\(view.object.mode)"
        n = Int(view.record.header.copies)
        storedBytes = view.storedBytes
        vector = view.object.clock.entries.map { entry($0.actor, $0.counter) }
        if let minting = view.record.header.minting {
            self.minting = entry(minting.actor, minting.counter)
            incarnation = "\(minting.incarnation)"
        }
        if let hint = view.record.hint {
            keptFor = names.name(of: hint.target)
            keptSince = PlainText.time(hint.since)
        }
        versions = view.object.siblings.map { sibling in
            let metadata = try? ContentMetadata(decoding: sibling.metadata)
            let value = values && !sibling.isTombstone ? sibling.value : nil
            let text = value.flatMap { String(validating: $0.readableBytesView, as: UTF8.self) }
            return Version(
                actor: "\(sibling.dot.actor)", counter: sibling.dot.counter,
                node: names.node(of: sibling.dot.actor).map(names.name), written: PlainText.time(sibling.timestamp),
                stamp: sibling.timestamp.rawValue, bytes: sibling.value.readableBytes,
                contentType: metadata.flatMap {
                    $0.contentType.readableBytes == 0 ? nil : String(buffer: $0.contentType)
                },
                expires: sibling.expiry.map { PlainText.time($0) }, isExpired: sibling.hasExpired(at: now),
                isDeleted: sibling.isTombstone,
                writeID: sibling.writeID.map { hexadecimal($0.high) + hexadecimal($0.low) },
                metadata: metadata.flatMap { metadata in
                    metadata.userMetadata.isEmpty
                        ? nil
                        : Dictionary(
                            metadata.userMetadata.map { (PlainText.name($0.name), PlainText.name($0.value)) }
                        ) { $1 }
                }, value: text,
                valueBase64: text == nil ? value.map { Data($0.readableBytesView).base64EncodedString() } : nil)
        }
    }
}
