// `torc inspect ring`: who owns what, as the folder's node knew it last.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct RingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ring",
        abstract: "Show the ring: members, partitions held, moves under way, votes, what is staged.",
        discussion: """
            Examples:
              torc inspect ring data/node1
              torc inspect ring data/node1 --partitions
              torc inspect ring data/node1 --cluster shop --members node1,node2,node3
              torc inspect ring data/node1 --json

            A folder of a cluster that runs with the members that its configuration lists, and never changed them, holds no ring: it is
            computed from their names. HOLDS counts copies for buckets of --copies copies.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "List the partitions with their replicas.") var partitions = false
    @Option(help: "Copies that the buckets have.") var copies = Int(BucketProperties().n)

    func run() async throws {
        guard (1...BucketProperties.maximumCopies).contains(copies) else {
            throw ValidationError("--copies takes 1…\(BucketProperties.maximumCopies)")
        }
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        guard let placement = try declared.placement(for: reader) else {
            let here = reader.partitions
            if folder.json {
                try JSONLine.print(NoRing(partitionsInFolder: here.map(\.index)))
            } else {
                Console.print(DeclaredOptions.noRing)
                Console.print(
                    "\n\(here.count) of \(reader.identity.ringSize.partitions) partitions are in the folder: \(Self.ranges(here))"
                )
            }
            return
        }
        let report = RingReport(placement, try reader.ring(), reader, names, copies: copies)
        if folder.json { return try JSONLine.print(report) }
        report.show(partitions: partitions)
    }

    private struct NoRing: Encodable {
        var isDeclared = true
        var partitionsInFolder: [Int]
    }

    /// `0…3, 7, 9…12`
    static func ranges(_ partitions: [PartitionID]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for index in partitions.map(\.index) {
            if let last = ranges.last, last.upperBound == index - 1 {
                ranges[ranges.count - 1] = last.lowerBound...index
            } else {
                ranges.append(index...index)
            }
        }
        return ranges.isEmpty
            ? "none"
            : ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)…\($0.upperBound)" }.joined(
                separator: ", ")
    }
}

struct RingReport: Encodable {
    struct Member: Encodable {
        var node: String
        var name: String?
        var address: String?
        var weight: Int?
        var zone: String?
        /// Partitions of which it is the first owner.
        var owns: Int
        /// Partitions of which it has a copy.
        var holds: Int
        /// What it is to the cluster, if no plain member: `leaving`, `fenced`.
        var role: String
    }

    struct Partition: Encodable {
        var partition: Int
        var replicas: [String]
        /// While copies move: who had them before.
        var former: [String]?
        var isInFolder: Bool
        var keys: UInt64
    }

    struct Move: Encodable {
        var partition: Int
        var from: [String]
        var to: [String]
    }

    var isDeclared: Bool
    var epoch: UInt64
    var generation: String
    var fingerprint: String?
    var phase: String
    var writesOfOlderEpochsRefusedBelow: UInt64
    var copies: Int
    var members: [Member]
    var partitions: [Partition]
    var moves: [Move]
    var promised: String?
    var accepted: String?
    var staged: [String]
    /// Of the folder's node: what the ring says, and what is there.
    var held: [Int]
    /// With records.
    var inFolderOnly: [Int]
    var missingInFolder: [Int]

    init(_ placement: Placement, _ record: RingRecord?, _ reader: FolderReader, _ names: NodeNames, copies: Int) {
        let ring = placement.ring
        let all = (0..<ring.size.partitions).map { PartitionID($0) }
        let state = record?.state
        self.copies = copies
        isDeclared = record == nil
        epoch = ring.epoch
        generation = state.map { "\($0.generation)" } ?? "0"
        fingerprint = state.map { "\($0.version.fingerprint)" }
        phase = "\(placement.phase)"
        writesOfOlderEpochsRefusedBelow = placement.floor

        var holds: [NodeID: Int] = [:]
        for partition in all {
            for node in placement.holders(of: partition, copies: copies) { holds[node, default: 0] += 1 }
        }
        let owns = Dictionary(ring.owners.map { ($0, 1) }, uniquingKeysWith: +)
        let fenced = Set(state?.fenced ?? [])
        let claims = Dictionary(
            (state?.participants ?? []).map { ($0.node, $0.claim) }, uniquingKeysWith: { first, _ in first })
        let leaving = Set(state?.transition?.leaving.map(\.node) ?? [])
        members = Set(placement.nodes).union(fenced).sorted().map { node in
            Member(
                node: "\(node)", name: names.nameIfKnown(of: node), address: names.address(of: node),
                weight: claims[node]?.weight, zone: claims[node]?.zone, owns: owns[node] ?? 0, holds: holds[node] ?? 0,
                role: fenced.contains(node) ? "fenced" : leaving.contains(node) ? "leaving" : "member")
        }

        let here = Set(reader.partitions)
        func list(_ partition: PartitionID, _ ring: Ring) -> [String] {
            ring.preferenceList(of: partition, count: copies).map(names.name)
        }
        partitions = all.map { partition in
            let family = try? reader.family(of: partition)
            return Partition(
                partition: partition.index, replicas: list(partition, ring),
                former: placement.former.map { list(partition, $0) }, isInFolder: here.contains(partition),
                keys: family.map { reader.estimatedKeys(of: $0) } ?? 0)
        }
        moves = partitions.compactMap { line in
            guard let former = line.former, Set(former) != Set(line.replicas) else { return nil }
            return Move(
                partition: line.partition, from: former.filter { !line.replicas.contains($0) },
                to: line.replicas.filter { !former.contains($0) })
        }
        promised = record?.vote.promised.map { "\($0)" }
        accepted = record?.vote.accepted.map { "\($0.state.version) by ballot \($0.ballot)" }
        staged = record?.staged.map { Self.words($0, names) } ?? []
        let held = all.filter { placement.holds(reader.identity.node, $0, copies: copies) }
        self.held = held.map(\.index)
        let isHeld = Set(held.map(\.index))
        inFolderOnly = partitions.compactMap { $0.keys > 0 && !isHeld.contains($0.partition) ? $0.partition : nil }
        missingInFolder = Set(held).subtracting(here).sorted().map(\.index)
    }

    static func words(_ change: StagedChange, _ names: NodeNames) -> String {
        switch change {
        case .join(let member): "\(names.name(of: member.node)) joins"
        case .leave(let node): "\(names.name(of: node)) leaves"
        case .remove(let node): "\(names.name(of: node)) is removed"
        case .replace(let node, let member): "\(names.name(of: node)) is replaced by \(names.name(of: member.node))"
        }
    }

    func show(partitions showsPartitions: Bool) {
        var lines: [(String, String)] = [
            (
                "epoch",
                "\(epoch)"
                    + (isDeclared ? ", as declared: it never changed" : ", generation \(generation), \(fingerprint!)")
            ),
            (
                "copies",
                moves.isEmpty && phase == "settled"
                    ? "where the ring says" : "\(phase): \(moves.count) partitions get other replicas"
            ),
            (
                "held",
                "\(held.count) of \(partitions.count) partitions by this node, for n \(copies): \(RingCommand.ranges(held.map { PartitionID($0) }))"
            ),
        ]
        if !inFolderOnly.isEmpty {
            lines.append(
                (
                    "beyond",
                    "records in the folder that are not this node's by the ring: \(RingCommand.ranges(inFolderOnly.map { PartitionID($0) }))"
                ))
        }
        if !missingInFolder.isEmpty {
            lines.append(
                (
                    "missing",
                    "this node's by the ring and not in the folder: \(RingCommand.ranges(missingInFolder.map { PartitionID($0) }))"
                ))
        }
        if let promised { lines.append(("promised", "ballot \(promised)")) }
        if let accepted { lines.append(("accepted", accepted)) }
        for change in staged { lines.append(("staged", change)) }
        Console.print(PlainText.fields(lines) + "\n")

        var table = TextTable([
            .left("NODE"), .left("NAME"), .left("ADDRESS"), .left("ZONE"), .right("WEIGHT"), .right("OWNS"),
            .right("HOLDS"),
            .left("ROLE"),
        ])
        for member in members {
            table.add([
                member.node, member.name ?? "?", member.address ?? "-", member.zone ?? "-",
                member.weight.map { "\($0)" } ?? "-",
                "\(member.owns)", "\(member.holds)", member.role,
            ])
        }
        Console.print(table.text)
        if !moves.isEmpty {
            var table = TextTable([.right("PARTITION"), .left("LEAVES"), .left("COMES TO")])
            for move in moves {
                table.add([
                    "\(move.partition)", move.from.isEmpty ? "-" : move.from.joined(separator: " "),
                    move.to.isEmpty ? "-" : move.to.joined(separator: " "),
                ])
            }
            Console.print("\n" + table.text)
        }
        guard showsPartitions else { return }
        var list = TextTable([.right("PARTITION"), .right("KEYS, ABOUT"), .left("HERE"), .left("REPLICAS")])
        for line in partitions {
            list.add([
                "\(line.partition)", line.isInFolder ? "\(line.keys)" : "-", line.isInFolder ? "yes" : "no",
                line.replicas.joined(separator: " ")
                    + (line.former.map { "  (before: \($0.joined(separator: " ")))" } ?? ""),
            ])
        }
        Console.print("\n" + list.text)
    }
}
