// `torc inspect merkle`: the hash trees of partitions, from the root down to the records of a leaf.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct MerkleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merkle", abstract: "Show the Merkle trees: roots, branches, leaves, the records of a leaf.",
        discussion: """
            Examples:
              torc inspect merkle data/node1                               the root of every tree
              torc inspect merkle data/node1 --partition 42                its branches
              torc inspect merkle data/node1 --partition 42 --branch 8     the leaves of one
              torc inspect merkle data/node1 --partition 42 --leaf 550     the records that it is the sum of

            A partition has a tree for each n of its buckets' records (--copies). The leaves are those that a start would have: the
            stored ones with the log's changes on top. Two replicas that hold the same have the same root.
            """)

    @OptionGroup var folder: FolderOptions
    @Option(help: "The partition to look into.") var partition: Int?
    @Option(help: "The tree of records of so many copies.") var copies: Int?
    @Option(help: "The branch whose leaves to show.") var branch: Int?
    @Option(help: "The leaf whose records to show.") var leaf: Int?

    private struct Line: Encodable {
        var partition: Int
        var n: Int?
        var root: String?
        var branch: Int?
        var leaf: Int?
        var hash: String?
        var leavesNotEmpty: Int?
        /// The last change that is in the stored leaves.
        var storedNumber: UInt64?
        /// The leaves are not known: why a start would compute them anew.
        var problem: String?
    }

    func run() async throws {
        let reader = try folder.open()
        let layout = reader.layout
        guard let partition else {
            guard branch == nil, leaf == nil else { throw ValidationError("--branch and --leaf need --partition") }
            return try showRoots(reader)
        }
        let id = try FilterOptions.partition(partition, reader.identity.ringSize)
        if let leaf {
            guard (0..<layout.leavesPerPartition).contains(leaf) else {
                throw ValidationError("--leaf \(leaf): a partition has leaves 0…\(layout.leavesPerPartition - 1)")
            }
            return try showRecords(of: leaf, in: id, reader)
        }
        let trees: [(copies: UInt8, leaves: [UInt64])]
        switch try reader.leaves(of: id, log: reader.log()) {
        case .known(let known): trees = known.filter { copies == nil || Int($0.copies) == copies }
        case .unknown(let reason):
            Console.warn("the leaves of partition \(partition) are not known: \(reason); a start computes them anew")
            throw ExitCode.failure
        }
        if trees.isEmpty {
            Console.warn(
                "partition \(partition) has no tree\(copies.map { " of n \($0)" } ?? ""): nothing was written to it")
        }
        for (copies, leaves) in trees {
            let tree = MerkleTree(of: leaves, id, copies: copies, layout)
            if let branch {
                guard tree.branches.indices.contains(branch) else {
                    throw ValidationError("--branch \(branch): a tree has branches 0…\(tree.branches.count - 1)")
                }
                try showLeaves(of: branch, tree, id, copies, layout)
            } else {
                try showBranches(tree, id, copies, layout)
            }
        }
    }

    private func showRoots(_ reader: FolderReader) throws {
        let log = try reader.log()
        var table = TextTable([
            .right("PARTITION"), .right("N"), .left("ROOT"), .right("LEAVES NOT EMPTY"), .right("STORED UP TO"),
            .left(""),
        ])
        var empty = 0
        let progress = ProgressBar("merkle", total: UInt64(reader.partitions.count))
        defer { progress.finish() }
        for partition in reader.partitions {
            progress.advance(by: 1)
            let stored = try? reader.storedTrees(of: partition)?.number
            let storedText = stored.map { "change \($0)" } ?? "-"
            switch try reader.leaves(of: partition, log: log) {
            case .unknown(let reason):
                if folder.json {
                    try JSONLine.print(Line(partition: partition.index, storedNumber: stored, problem: reason))
                }
                table.add(["\(partition.index)", "?", "?", "?", storedText, "not known: \(reason)"])
            case .known(let trees):
                if trees.isEmpty { empty += 1 }
                for (copies, leaves) in trees {
                    let root = "\(MerkleTree(of: leaves, partition, copies: copies, reader.layout).root)"
                    let filled = leaves.count { $0 != 0 }
                    if folder.json {
                        try JSONLine.print(
                            Line(
                                partition: partition.index, n: Int(copies), root: root, leavesNotEmpty: filled,
                                storedNumber: stored))
                    }
                    table.add(["\(partition.index)", "\(copies)", root, "\(filled)", storedText, ""])
                }
            }
        }
        progress.finish()
        guard !folder.json else { return }
        Console.print(table.text)
        if empty > 0 { Console.print("\(empty) partitions have no tree: nothing was written to them") }
    }

    private func showBranches(_ tree: MerkleTree, _ partition: PartitionID, _ copies: UInt8, _ layout: LeafLayout)
        throws
    {
        var table = TextTable([.right("BRANCH"), .left("HASH"), .right("LEAVES NOT EMPTY"), .left("LEAVES")])
        for (branch, hash) in tree.branches.enumerated() {
            let range = MerkleTree.leaves(of: branch, layout)
            let filled = tree.leaves[range].count { $0 != 0 }
            guard filled > 0 else { continue }
            if folder.json {
                try JSONLine.print(
                    Line(
                        partition: partition.index, n: Int(copies), root: "\(tree.root)", branch: branch,
                        hash: hexadecimal(hash), leavesNotEmpty: filled))
            }
            table.add(["\(branch)", hexadecimal(hash), "\(filled)", "\(range.lowerBound)…\(range.upperBound - 1)"])
        }
        guard !folder.json else { return }
        Console.print(
            "partition \(partition.index), n \(copies), root \(tree.root); branches without records are left out\n")
        Console.print(table.text)
    }

    private func showLeaves(
        of branch: Int, _ tree: MerkleTree, _ partition: PartitionID, _ copies: UInt8, _ layout: LeafLayout
    ) throws {
        var table = TextTable([.right("LEAF"), .left("SUM"), .left("FROM POSITION")])
        for leaf in MerkleTree.leaves(of: branch, layout) where tree.leaves[leaf] != 0 {
            if folder.json {
                try JSONLine.print(
                    Line(
                        partition: partition.index, n: Int(copies), branch: branch, leaf: leaf,
                        hash: hexadecimal(tree.leaves[leaf])))
            }
            table.add([
                "\(leaf)", hexadecimal(tree.leaves[leaf]), hexadecimal(layout.start(of: leaf, in: partition).rawValue),
            ])
        }
        guard !folder.json else { return }
        Console.print(
            "partition \(partition.index), n \(copies), branch \(branch), hash \(hexadecimal(tree.branches[branch]))\n")
        Console.print(table.text)
    }

    private func showRecords(of leaf: Int, in partition: PartitionID, _ reader: FolderReader) throws {
        let names = NodeNames(reader)
        let now = WallTime.now
        var summary = WalkSummary()
        guard let family = try reader.family(of: partition) else {
            Console.warn("the folder has no partition \(partition.index)")
            throw ExitCode.failure
        }
        let start = ByteBuffer(integer: reader.layout.start(of: leaf, in: partition).rawValue)
        let (end, isLast) = reader.layout.end(of: leaf, in: partition)
        var report = RecordReport(layout: reader.layout, names: names, now: now)
        var table = TextTable([.left("STATE"), .right("N"), .right("VERSIONS"), .right("BYTES"), .left("KEY")])
        try reader.walk(family, from: start, before: isLast ? nil : ByteBuffer(integer: end.rawValue)) { key, value in
            do {
                let view = try RecordView(storageKey: key, value: value)
                if folder.json {
                    report.print(view)
                    return true
                }
                table.add([
                    view.state(at: now).rawValue, "\(view.record.header.copies)", "\(view.object.siblings.count)",
                    "\(view.storedBytes)", PlainText.name(view.key),
                ])
            } catch let error as MalformedBytes {
                summary.add(family, key, error)
            }
            return true
        }
        if !folder.json { Console.print(table.text) }
        try summary.report(folder: reader.path)
    }
}

extension MerkleTree {
    /// From leaves that were read from a folder.
    init(of leaves: [UInt64], _ partition: PartitionID, copies: UInt8, _ layout: LeafLayout) {
        var table = LeafTable(layout: layout)
        let id = TreeID(partition: partition, copies: copies)
        table[id] = leaves
        self.init(id, in: table)
    }
}

extension LeafLayout {
    /// Where the next leaf begins; `isLast`: it is the ring's last one, and nothing does.
    func end(of leaf: Int, in partition: PartitionID) -> (RingPosition, isLast: Bool) {
        if leaf + 1 < leavesPerPartition { return (start(of: leaf + 1, in: partition), false) }
        let isLast = partition.index + 1 == ringSize.partitions
        return (isLast ? RingPosition(rawValue: .max) : ringSize.start(of: PartitionID(partition.index + 1)), isLast)
    }
}
