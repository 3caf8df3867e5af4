// An explanation, for people and for programs.

import NIOCore
import TorcConsole
package import TorcModel

extension Explanation {
    /// For a person.
    package func text(now: WallTime) -> String {
        var parts = [head]
        var table = TextTable([
            .left("NODE"), .left("ROLE"), .left("HOLDS"), .left("SYNCED"), .left("LEAF"), .left("VERSION"),
        ])
        for (sight, copy) in zip(sights, own) {
            table.add([
                place.name(of: copy.node), place.role(of: copy.node), holds(copy, now),
                sight.isSynced.map { $0 ? "yes" : "not yet" } ?? "-", sight.leaf.map { hexadecimal($0) } ?? "-",
                words(copy.relation),
            ])
        }
        for node in place.replicas where !sights.contains(where: { $0.node == node }) {
            table.add([place.name(of: node), place.role(of: node), "?", "-", "-", "not asked, or no answer"])
        }
        parts.append(table.text)
        if !hints.isEmpty { parts.append(hintTable(now)) }
        if let whole, !whole.siblings.isEmpty { parts.append(versions(of: whole, now)) }
        parts.append((verdict(now) + notes).joined(separator: "\n"))
        return parts.joined(separator: "\n\n")
    }

    private var head: String {
        let position = place.key.position
        let ring = place.epoch.map { "ring epoch \($0), \(place.phase ?? "settled")" } ?? "no ring is known"
        let layout = LeafLayout(ringSize: place.ringSize)
        var lines = [
            "\(PlainText.name(place.key)): position \(hexadecimal(position.rawValue)), partition "
                + "\(place.ringSize.partition(of: position).index), leaf \(layout.leaf(of: position)); "
                + "n \(place.copies), \(ring)"
        ]
        if !place.replicas.isEmpty {
            let list = place.replicas.map(place.name).joined(separator: ", ")
            let others = place.fallbacks.map(place.name).joined(separator: ", ")
            lines.append("preference list: \(list)\(others.isEmpty ? "" : "; then \(others)")")
        }
        return lines.joined(separator: "\n")
    }

    private func holds(_ copy: Copy, _ now: WallTime) -> String {
        guard let object = copy.object else {
            switch copy.relation {
            case .elsewhere: return "not its part of the ring"
            case .unknown: return "?"
            default: return "nothing"
            }
        }
        if copy.isGrave { return "a grave" }
        if object.isTombstone { return "a tombstone" }
        let live = object.liveSiblings
        let expired = live.count { $0.hasExpired(at: now) }
        let count = live.count == 1 ? "1 version" : "\(live.count) siblings"
        return expired == 0 ? count : "\(count), \(expired) expired"
    }

    private func words(_ relation: Relation) -> String {
        switch relation {
        case .current: "current"
        case .behind(let lacks): "behind: lacks \(dots(lacks))"
        case .concurrent(let lacks, let alone): "concurrent: alone has \(dots(alone)), lacks \(dots(lacks))"
        case .differs: "behind: holds versions that were deleted, or have expired"
        case .nothing: "nothing"
        case .elsewhere: "-"
        case .unknown(let reason): reason
        }
    }

    private func dots(_ dots: [Dot]) -> String {
        dots.map { dot in place.name(of: dot.actor).map { "\(dot) (\($0))" } ?? "\(dot)" }.joined(separator: ", ")
    }

    private func hintTable(_ now: WallTime) -> String {
        var table = TextTable([.left("HINT AT"), .left("FOR"), .left("SINCE"), .left("HOLDS"), .left("VERSION")])
        for hint in hints {
            table.add([
                place.name(of: hint.node), place.name(of: hint.target!), hint.since.map { PlainText.time($0) } ?? "?",
                holds(hint, now), words(hint.relation),
            ])
        }
        return table.text
    }

    private func versions(of whole: VersionedObject, _ now: WallTime) -> String {
        whole.siblings.enumerated().map { number, sibling in
            let node = place.name(of: sibling.dot.actor) ?? "a node that is not known"
            let holders = holders(of: sibling.dot).map(place.name)
            let size = sibling.isTombstone ? "deleted" : "\(sibling.value.readableBytes) bytes"
            var lines = [
                "[\(number + 1)] \(sibling.dot)  through \(node), \(PlainText.time(sibling.timestamp))  \(size)"
            ]
            if !sibling.isTombstone { lines.append("    \(PlainText.preview(sibling.value))") }
            if let expiry = sibling.expiry {
                lines.append("    \(sibling.hasExpired(at: now) ? "expired" : "expires") at \(PlainText.time(expiry))")
            }
            let before = sibling.dot.counter - 1
            if before > 0 {
                let writes =
                    before == 1
                    ? "write before it by the same actor stands" : "\(before) writes before it by the same actor stand"
                lines.append("    the \(writes) no more")
            }
            lines.append("    on " + (holders.isEmpty ? "no replica: only in hints" : holders.joined(separator: ", ")))
            return lines.joined(separator: "\n")
        }.joined(separator: "\n")
    }

    /// What it comes to, and what happens next.
    private func verdict(_ now: WallTime) -> [String] {
        guard let whole else {
            return [
                own.contains { if case .unknown = $0.relation { true } else { false } }
                    ? "what there is cannot be read" : "nobody holds anything of it"
            ]
        }
        var lines: [String] = []
        if whole.liveSiblings.count > 1, whole.mode == .siblings {
            lines.append(
                "\(whole.liveSiblings.count) siblings: none of their writers had read any of the others, so none replaces "
                    + "another. A put with the context of a read that shows all of them settles them")
        }
        if whole.isTombstone {
            lines.append(
                own.contains(where: \.isGrave)
                    ? "deleted and reaped: the graves go by themselves"
                    : "deleted: the tombstone is reaped once all replicas hold it and no node keeps a hint")
        }
        let replicas = place.replicas.isEmpty ? own.map(\.node) : place.replicas
        let current = own.filter { $0.relation == .current && replicas.contains($0.node) }.count
        if current == replicas.count {
            lines.append("all \(current) replicas hold the same")
        } else {
            lines.append(
                "\(current) of \(replicas.count) replicas hold all of it; a read, a hint's delivery or repair brings the others up"
            )
        }
        switch leavesAgree {
        case true?: lines.append("their Merkle leaves are equal")
        case false? where current == replicas.count:
            lines.append("their Merkle leaves differ, in another object than this or because this is being written")
        case false?: lines.append("their Merkle leaves differ, so repair finds it")
        case nil: break
        }
        return lines
    }

    private var notes: [String] {
        sights.flatMap { sight in sight.notes.map { "\(place.name(of: sight.node)): \($0)" } }
    }
}

/// The same for programs.
package struct ExplanationReport: Encodable {
    package struct Version: Encodable {
        var dot: String
        var node: String?
        var written: String
        var bytes: Int
        var isDeleted: Bool
        var holders: [String]
    }

    package struct Copy: Encodable {
        var node: String
        var id: String
        var role: String
        var keptFor: String?
        var keptSince: String?
        /// current, behind, concurrent, differs, nothing, elsewhere, unknown.
        var relation: String
        var lacks: [String]
        var alone: [String]
        var reason: String?
        var isGrave: Bool
        var isTombstone: Bool
        var clock: [String]
        var versions: [String]
        var isSynced: Bool?
        var leaf: String?
    }

    var type: String
    var bucket: String
    var key: String
    var position: String
    var partition: Int
    var leaf: Int
    var n: Int
    var epoch: UInt64?
    var phase: String?
    var replicas: [String]
    var fallbacks: [String]
    var copies: [Copy]
    var versions: [Version]
    var leavesAgree: Bool?
    var notes: [String]

    package init(_ explanation: Explanation) {
        let place = explanation.place
        let position = place.key.position
        type = place.key.bucket.type.readableBytes == 0 ? "default" : PlainText.name(place.key.bucket.type)
        bucket = PlainText.name(place.key.bucket.name)
        key = PlainText.name(place.key.key)
        self.position = hexadecimal(position.rawValue)
        partition = place.ringSize.partition(of: position).index
        leaf = LeafLayout(ringSize: place.ringSize).leaf(of: position)
        n = place.copies
        epoch = place.epoch
        phase = place.phase
        replicas = place.replicas.map(place.name)
        fallbacks = place.fallbacks.map(place.name)
        leavesAgree = explanation.leavesAgree
        notes = explanation.sights.flatMap { sight in sight.notes.map { "\(place.name(of: sight.node)): \($0)" } }
        versions = (explanation.whole?.siblings ?? []).map { sibling in
            Version(
                dot: "\(sibling.dot)", node: place.name(of: sibling.dot.actor),
                written: PlainText.time(sibling.timestamp),
                bytes: sibling.value.readableBytes, isDeleted: sibling.isTombstone,
                holders: explanation.holders(of: sibling.dot).map(place.name))
        }
        copies = explanation.copies.map { copy in
            let sight = copy.target == nil ? explanation.sights.first { $0.node == copy.node } : nil
            var row = Copy(
                node: place.name(of: copy.node), id: "\(copy.node)", role: place.role(of: copy.node),
                keptFor: copy.target.map(place.name), keptSince: copy.since.map { PlainText.time($0) }, relation: "",
                lacks: [], alone: [], reason: nil, isGrave: copy.isGrave,
                isTombstone: copy.object?.isTombstone ?? false,
                clock: copy.object?.clock.entries.map { "\($0.actor):\($0.counter)" } ?? [],
                versions: copy.object?.siblings.map { "\($0.dot)" } ?? [], isSynced: sight?.isSynced,
                leaf: sight?.leaf.map { hexadecimal($0) })
            switch copy.relation {
            case .current: row.relation = "current"
            case .behind(let lacks):
                row.relation = "behind"
                row.lacks = lacks.map { "\($0)" }
            case .concurrent(let lacks, let alone):
                row.relation = "concurrent"
                row.lacks = lacks.map { "\($0)" }
                row.alone = alone.map { "\($0)" }
            case .differs: row.relation = "differs"
            case .nothing: row.relation = "nothing"
            case .elsewhere: row.relation = "elsewhere"
            case .unknown(let reason):
                row.relation = "unknown"
                row.reason = reason
            }
            return row
        }
    }
}
