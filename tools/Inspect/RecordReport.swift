// A record for programs: what `--json` of `get`, `scan` and others prints of one. A list has a line for each of a million
// records, so it is written at once into the line, without an object of it in between.

import Foundation
import NIOCore
import TorcConsole
package import TorcModel

/// What all lines of a list have in common.
package struct RecordReport {
    private let layout: LeafLayout
    private let names: NodeNames
    private let now: WallTime
    private let values: Bool
    private var text = JSONText()

    /// `values`: with the values; in a list they would be most of it.
    package init(layout: LeafLayout, names: NodeNames, now: WallTime, values: Bool = false) {
        self.layout = layout
        self.names = names
        self.now = now
        self.values = values
    }

    /// What a command adds to a record's line.
    package struct Waiting {
        package var leader: String?
        package var waitsFor: [String]

        package init(leader: String?, waitsFor: [String]) {
            self.leader = leader
            self.waitsFor = waitsFor
        }
    }

    /// One object on one line; its fields are sorted by name.
    package mutating func print(_ view: RecordView, waiting: Waiting? = nil) {
        text.clear()
        write(view, waiting)
        Console.print(utf8: text.bytes)
    }

    private mutating func write(_ view: RecordView, _ waiting: Waiting?) {
        let bucket = view.key.bucket
        text.beginObject()
        text.field("bucket")
        text.value(name: bucket.name)
        let minting = view.record.header.minting
        if let minting {
            text.field("incarnation")
            text.value(hexadecimal: minting.incarnation.rawValue)
        }
        if let hint = view.record.hint {
            // The node for which it is kept, and since when.
            text.field("keptFor")
            text.value(names.name(of: hint.target))
            text.field("keptSince")
            text.value(PlainText.time(hint.since))
        }
        text.field("key")
        text.value(name: view.key.key)
        if let leader = waiting?.leader {
            text.field("leader")
            text.value(leader)
        }
        text.field("leaf")
        text.value(layout.leaf(of: view.key.position))
        if let minting {
            // With which the replica mints.
            text.field("minting")
            write(minting.actor, minting.counter)
        }
        text.field("mode")
        text.value(view.object.mode.word)
        text.field("n")
        text.value(Int(view.record.header.copies))
        text.field("partition")
        text.value(layout.ringSize.partition(of: view.key.position).index)
        text.field("position")
        text.value(hexadecimal: view.key.position.rawValue)
        text.field("state")
        text.value(view.state(at: now).rawValue)
        text.field("storedBytes")
        text.value(view.storedBytes)
        text.field("type")
        text.value(bucketType: bucket)
        text.field("vector")
        text.beginArray()
        for entry in view.object.clock.entries { write(entry.actor, entry.counter) }
        text.endArray()
        text.field("versions")
        text.beginArray()
        for sibling in view.object.siblings { write(sibling) }
        text.endArray()
        if let waiting {
            text.field("waitsFor")
            text.beginArray()
            for reason in waiting.waitsFor { text.value(reason) }
            text.endArray()
        }
        text.endObject()
    }

    /// An actor, what was seen of it, and the node whose tag it bears, where the folder knows one.
    private mutating func write(_ actor: Actor, _ counter: UInt64) {
        text.beginObject()
        text.field("actor")
        text.value(hexadecimal: actor.rawValue)
        text.field("counter")
        text.value(counter)
        writeNode(of: actor)
        text.endObject()
    }

    private mutating func writeNode(of actor: Actor) {
        guard let node = names.node(of: actor) else { return }
        text.field("node")
        text.value(names.name(of: node))
    }

    private mutating func write(_ sibling: Sibling) {
        let metadata = try? ContentMetadata(decoding: sibling.metadata)
        text.beginObject()
        text.field("actor")
        text.value(hexadecimal: sibling.dot.actor.rawValue)
        text.field("bytes")
        text.value(sibling.value.readableBytes)
        if let type = metadata?.contentType, type.readableBytes > 0 {
            text.field("contentType")
            text.value(String(buffer: type))
        }
        text.field("counter")
        text.value(sibling.dot.counter)
        if let expiry = sibling.expiry {
            text.field("expires")
            text.value(PlainText.time(expiry))
        }
        // A delete of an `lww` bucket.
        text.field("isDeleted")
        text.value(sibling.isTombstone)
        text.field("isExpired")
        text.value(sibling.hasExpired(at: now))
        if let entries = metadata?.userMetadata, !entries.isEmpty { write(entries) }
        writeNode(of: sibling.dot.actor)
        // Microseconds since 1970.
        text.field("stamp")
        text.value(sibling.timestamp.rawValue)
        if values, !sibling.isTombstone { write(value: sibling.value) }
        if let id = sibling.writeID {
            text.field("writeID")
            text.value(hexadecimal(id.high) + hexadecimal(id.low))
        }
        text.field("written")
        text.value(PlainText.time(sibling.timestamp))
        text.endObject()
    }

    private mutating func write(_ entries: [ContentMetadata.Pair]) {
        let named = Dictionary(entries.map { (PlainText.name($0.name), PlainText.name($0.value)) }) { $1 }
        text.field("metadata")
        text.beginObject()
        for (name, value) in named.sorted(by: { $0.key < $1.key }) {
            text.field(named: name)
            text.value(value)
        }
        text.endObject()
    }

    /// Under another name where it is no text.
    private mutating func write(value: ByteBuffer) {
        if let string = String(validating: value.readableBytesView, as: UTF8.self) {
            text.field("value")
            text.value(string)
        } else {
            text.field("valueBase64")
            text.value(Data(value.readableBytesView).base64EncodedString())
        }
    }
}

extension ConflictMode {
    /// As its description is, without what that takes to find it.
    var word: String {
        switch self {
        case .siblings: "siblings"
        case .lww: "lww"
        }
    }
}

extension JSONText {
    /// As `PlainText.name` has it.
    mutating func value(name: ByteBuffer) {
        let isPlain = name.withUnsafeReadableBytes { bytes in
            guard PlainText.isPlainASCII(bytes) else { return false }
            value(utf8: bytes)
            return true
        }
        if !isPlain { value(PlainText.name(name)) }
    }

    mutating func value(bucketType bucket: BucketID) {
        if bucket.type.readableBytes == 0 { value("default") } else { value(name: bucket.type) }
    }

    mutating func value(hexadecimal number: UInt64) {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { digits in
            for place in 0..<16 {
                let digit = UInt8(truncatingIfNeeded: number >> UInt64(60 - 4 * place)) & 15
                digits[place] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit
            }
            value(utf8: UnsafeRawBufferPointer(digits))
        }
    }
}
