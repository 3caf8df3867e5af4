// A line for an object, to write and to read tests by:
//
//   {A:2 B:1} A:2=x@5 B:1=y@3       siblings x and y, stamped 5 and 3, under their clock
//   {A:2}                           a tombstone
//   lww {A:1 B:1} B:1=y@9           an lww register
//   lww {A:1} A:1=†@9               one that was deleted
//   {A:1} A:1=x@5#7                 a version whose write was named 7
//
// One capital letter is the actor of that code point. Actors that a test did not choose are named a1, a2, …
// in the order in which they were first shown.

import NIOCore
package import TorcModel

/// Reads and writes objects in a line. Remembers the names that it gave to actors.
package struct ObjectNotation {
    private var drawn: [Actor] = []

    package init() {}

    package static func actor(_ letter: Character) -> Actor {
        Actor(rawValue: UInt64(letter.unicodeScalars.first!.value))
    }

    /// The actor of a letter, or the one that was shown under a name.
    package func actor(named name: some StringProtocol) -> Actor {
        if name.first == "a", let number = Int(name.dropFirst()) { return drawn[number - 1] }
        precondition(name.count == 1, "no actor is called \(name)")
        return Self.actor(name.first!)
    }

    package mutating func name(of actor: Actor) -> String {
        if actor.rawValue < 128 { return String(UnicodeScalar(UInt8(actor.rawValue))) }
        if !drawn.contains(actor) { drawn.append(actor) }
        return "a\(drawn.firstIndex(of: actor)! + 1)"
    }

    package func dot(_ text: some StringProtocol) -> Dot {
        let parts = text.split(separator: ":")
        return Dot(actor: actor(named: parts[0]), counter: UInt64(parts[1])!)
    }

    package func clock(_ text: some StringProtocol) -> VersionVector {
        precondition(text.first == "{" && text.last == "}", "a clock is written {A:1 B:2}, not \(text)")
        return VersionVector(text.dropFirst().dropLast().split(separator: " ").map(dot))
    }

    /// Made by decoding, so that only what a replica may hold can be written.
    package func object(_ text: String) -> VersionedObject {
        var rest = Substring(text)
        var mode = ConflictMode.siblings
        if rest.hasPrefix("lww ") {
            mode = .lww
            rest = rest.dropFirst(4)
        }
        let end = rest.firstIndex(of: "}")!
        let clock = clock(rest[...end])
        let siblings = rest[rest.index(after: end)...].split(separator: " ").map(sibling).sorted { $0.dot < $1.dot }
        var bytes = ByteBuffer()
        bytes.writeInteger(mode.rawValue)
        clock.encode(into: &bytes)
        bytes.writeVarint(UInt64(siblings.count))
        for sibling in siblings { sibling.encode(into: &bytes) }
        do { return try VersionedObject(decoding: bytes) } catch { preconditionFailure("\(text): \(error)") }
    }

    private func sibling(_ text: Substring) -> Sibling {
        let equals = text.firstIndex(of: "=")!
        let at = text.lastIndex(of: "@")!
        let value = text[text.index(after: equals)..<at]
        let stamp = text[text.index(after: at)...].split(separator: "#")
        return Sibling(
            dot: dot(text[..<equals]), timestamp: HybridTimestamp(rawValue: UInt64(stamp[0])!),
            writeID: stamp.count > 1 ? WriteID(high: 0, low: UInt64(stamp[1])!) : nil, isTombstone: value == "†",
            value: value == "†" ? ByteBuffer() : ByteBuffer(string: String(value)))
    }

    package mutating func line(_ clock: VersionVector) -> String {
        var dots: [String] = []
        for entry in clock.entries { dots.append("\(name(of: entry.actor)):\(entry.counter)") }
        return "{\(dots.joined(separator: " "))}"
    }

    package mutating func line(_ object: VersionedObject) -> String {
        var line = (object.mode == .lww ? "lww " : "") + self.line(object.clock)
        for sibling in object.siblings {
            let value = sibling.isTombstone ? "†" : String(buffer: sibling.value)
            line += " \(name(of: sibling.dot.actor)):\(sibling.dot.counter)=\(value)@\(sibling.timestamp.rawValue)"
            if let writeID = sibling.writeID { line += "#\(writeID.low)" }
        }
        return line
    }
}
