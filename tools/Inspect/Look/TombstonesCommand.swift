// `torc inspect tombstones`: what is deleted or expired and not yet reaped, and what it waits for as far as one folder can tell.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct TombstonesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tombstones",
        abstract: "Show what is deleted or expired and not yet reaped, and what it waits for.",
        discussion: """
            Examples:
              torc inspect tombstones data/node1
              torc inspect tombstones data/node1 --list --bucket carts
              torc inspect tombstones data/node1 --json

            BEGUN BY names the node that begins the rounds for a partition. A round needs every member's word: what another node keeps, or
            whether it is up, no folder can tell. 'torc cluster tombstones' asks the running node.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var filter: FilterOptions
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "List the records.") var list = false

    private struct Line: Encodable {
        var partition: Int
        var n: Int
        var tombstones = 0
        var expired = 0
        var graves = 0
        var bytes: UInt64 = 0
        var leader: String?
        var waitsFor: [String] = []
    }

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let reasons = try ReapingReasons(reader, declared.placement(for: reader), names)
        let now = WallTime.now
        let asked = try filter.filter(reader.identity.ringSize)
        var report = RecordReport(layout: reader.layout, names: names, now: now)
        var lines: [TreeID: Line] = [:]
        let summary = try reader.walkRecords(asked, progress: reader.progress("tombstones", isListing: list)) {
            family, view in
            let state = view.state(at: now)
            // A live object with an expired version waits for the same round.
            let hasExpired = state == .live && view.object.siblings.contains { $0.hasExpired(at: now) }
            guard state != .live || hasExpired else { return true }
            let tree = TreeID(partition: family.partition!, copies: view.record.header.copies)
            var line = lines[tree] ?? Line(partition: tree.partition.index, n: Int(tree.copies))
            switch state {
            case .tombstone: line.tombstones += 1
            case .grave: line.graves += 1
            case .expired, .live: line.expired += 1
            }
            line.bytes += UInt64(view.storedBytes)
            lines[tree] = line
            guard list else { return true }
            let waits = reasons.list(
                of: tree, expired: state == .expired || hasExpired ? 1 : 0, graves: state == .grave ? 1 : 0)
            if folder.json {
                report.print(view, waiting: .init(leader: reasons.leader(of: tree).map(names.title), waitsFor: waits))
            } else {
                Console.print(
                    (hasExpired ? "partly" : state.rawValue).padded(to: 9) + "  " + PlainText.name(view.key) + "  "
                        + "\(view.object.clock)  waits for: " + waits.joined(separator: "; "))
            }
            return true
        }
        if !list {
            try show(
                lines.sorted { $0.key < $1.key }.map { tree, line in
                    var line = line
                    line.leader = reasons.leader(of: tree).map(names.title)
                    line.waitsFor = reasons.list(of: tree, expired: line.expired, graves: line.graves)
                    return line
                })
        }
        try summary.report(folder: reader.path)
    }

    private func show(_ lines: [Line]) throws {
        if folder.json {
            for line in lines { try JSONLine.print(line) }
            return
        }
        func sum(_ path: KeyPath<Line, Int>) -> Int { lines.reduce(0) { $0 + $1[keyPath: path] } }
        Console.print("\(sum(\.tombstones)) tombstones, \(sum(\.expired)) expired, \(sum(\.graves)) graves")
        guard !lines.isEmpty else { return }
        var table = TextTable([
            .right("PARTITION"), .right("N"), .right("TOMBSTONES"), .right("EXPIRED"), .right("GRAVES"),
            .right("BYTES"),
            .left("BEGUN BY"), .left("WAITS FOR"),
        ])
        for line in lines {
            for (index, reason) in line.waitsFor.enumerated() {
                guard index == 0 else {
                    table.add(["", "", "", "", "", "", "", reason])
                    continue
                }
                table.add([
                    "\(line.partition)", "\(line.n)", "\(line.tombstones)", "\(line.expired)", "\(line.graves)",
                    TextTable.bytes(line.bytes), line.leader ?? "?", reason,
                ])
            }
        }
        Console.print(table.text)
    }
}

/// What holds reaping up, as far as the folder of one node shows it.
struct ReapingReasons {
    private let placement: Placement?
    private let names: NodeNames
    private let own: NodeID
    /// Kept here for others: by partition of the object, and in all.
    private var hints: [PartitionID: Int] = [:]
    private var hintTotal = 0
    private var damaged: [PartitionID: Int] = [:]

    init(_ reader: FolderReader, _ placement: Placement?, _ names: NodeNames) throws {
        self.placement = placement
        self.names = names
        own = reader.identity.node
        var hints: [PartitionID: Int] = [:]
        _ = try reader.walkHints { hint in
            hints[reader.identity.ringSize.partition(of: hint.view.key.position), default: 0] += 1
            return true
        }
        self.hints = hints
        hintTotal = hints.values.reduce(0, +)
        for entry in try reader.damagedFamilies() {
            guard let partition = StoredFamily(name: entry.name).partition else { continue }
            damaged[partition] = entry.lostLeaves.count
        }
    }

    /// The first replica; nil: the folder knows no ring.
    func leader(of tree: TreeID) -> NodeID? {
        placement?.holders(of: tree.partition, copies: Int(tree.copies)).first
    }

    /// At least one.
    func list(of tree: TreeID, expired: Int, graves: Int) -> [String] {
        var reasons: [String] = []
        if let placement {
            if placement.phase != .settled {
                reasons.append("copies move (\(placement.phase)): no round is begun meanwhile")
            }
            if !placement.holds(own, tree.partition, copies: Int(tree.copies)) {
                reasons.append("this node is no replica any more: it removes its records once the others have them")
            }
            let gone = placement.ring.preferenceList(of: tree.partition, count: Int(tree.copies)).filter(
                placement.isFenced)
            for node in gone {
                reasons.append("\(names.title(of: node)) is fenced: its partitions have yet to be given to others")
            }
        }
        if let lost = damaged[tree.partition] {
            reasons.append("the partition was damaged: \(lost) leaves are still to be compared")
        }
        if let here = hints[tree.partition] {
            reasons.append("\(here) hints of this partition, kept here for other nodes")
        } else if hintTotal > 0 {
            reasons.append("\(hintTotal) hints kept here, if a lane of theirs is this partition's")
        }
        if expired > 0 { reasons.append("the clocks of all replicas, for what has expired") }
        if graves > 0 { reasons.append("the graves of all other replicas, then the age of messages") }
        if reasons.isEmpty { reasons.append("nothing that this folder shows: the word of every member") }
        return reasons
    }
}
