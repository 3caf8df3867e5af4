// `torc inspect explain`: how copies of one object in several folders compare.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct ExplainFoldersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Compare what several folders hold of an object.",
        discussion: """
            Examples:
              torc inspect explain carts alice data/node1 data/node2 data/node3
              torc inspect explain carts alice data/node* --cluster shop --members node1,node2,node3
              torc inspect explain carts alice /backups/ID/node1 /backups/ID/node2 --json

            The same of nodes that run: torc explain. Where the ring never changed the folders do not say which nodes hold the object:
            --cluster and --members do.
            """)

    @OptionGroup var name: ObjectArguments
    @Argument(help: "Data folders of one cluster, copies of such or parts of a backup.") var directories: [String]
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let key = try name.object()
        let readers = try directories.map { try FolderReader.open($0) }
        let explanation = try FolderSights(readers, declared).explain(key)
        if json { return try JSONLine.print(ExplanationReport(explanation)) }
        Console.print(explanation.text(now: .now))
    }
}

/// What folders hold of objects.
struct FolderSights {
    private let readers: [FolderReader]
    private let names: [NodeID: String]
    private let placement: Placement?

    init(_ readers: [FolderReader], _ declared: DeclaredOptions) throws {
        guard let first = readers.first else { throw ValidationError("name at least one folder") }
        for reader in readers.dropFirst() {
            guard reader.identity.cluster == first.identity.cluster, reader.identity.ringSize == first.identity.ringSize
            else {
                throw ValidationError(
                    "\(first.path) and \(reader.path) are of different clusters: name folders of one")
            }
        }
        guard Set(readers.map(\.identity.node)).count == readers.count else {
            throw ValidationError("two of the folders are of one node: compare those with 'torc inspect diff'")
        }
        self.readers = readers
        // The newest ring that any of them knows.
        let newest = try readers.compactMap { reader in try reader.ring().map { (reader, $0.state.ring.epoch) } }
            .max { $0.1 < $1.1 }?.0
        placement = try declared.placement(for: newest ?? first)
        var names: [NodeID: String] = [:]
        for reader in readers {
            let known = try NodeNames(reader, declared: declared.names(for: reader))
            for node in (placement?.nodes ?? []) + readers.map(\.identity.node) {
                if let name = known.nameIfKnown(of: node) { names[node] = name }
            }
        }
        // A folder's own name is better than an id.
        for reader in readers where names[reader.identity.node] == nil {
            names[reader.identity.node] = reader.path.split(separator: "/").last.map(String.init)
        }
        for node in placement?.nodes ?? [] where names[node] == nil { names[node] = "\(node)" }
        self.names = names
    }

    func explain(_ key: ObjectKey) throws -> Explanation {
        let size = readers[0].identity.ringSize
        let partition = size.partition(of: key.position)
        let sights = try readers.map { try sight(of: key, partition, in: $0) }
        let stored = sights.compactMap { sight -> Int? in
            guard case .record(let bytes) = sight.holding else { return nil }
            return (try? Record(decoding: bytes, for: key)).map { Int($0.header.copies) }
        }.max()
        let copies = try stored ?? Int(readers[0].properties()[key.bucket].n)
        let replicas = placement?.holders(of: partition, copies: copies) ?? []
        let others = placement.map { $0.ring.preferenceList(of: partition, count: $0.ring.members.count) } ?? []
        return Explanation(
            KeyPlace(
                key: key, ringSize: size, copies: copies, epoch: placement?.epoch,
                phase: placement.map { "\($0.phase)" },
                replicas: replicas, fallbacks: others.filter { !replicas.contains($0) }, names: names), sights)
    }

    private func sight(of key: ObjectKey, _ partition: PartitionID, in reader: FolderReader) throws -> KeySight {
        var sight = KeySight(node: reader.identity.node, holding: .elsewhere)
        if let family = try reader.family(of: partition) {
            do {
                sight.holding = try reader.value(of: key.storageKey, in: family).map { .record($0) } ?? .nothing
            } catch {
                sight.holding = .unknown("\(error)")
            }
            if case .record(let bytes) = sight.holding, let record = try? Record(decoding: bytes, for: key),
                case .known(let trees) = try reader.leaves(of: partition, log: try reader.log())
            {
                let leaf = reader.layout.leaf(of: key.position)
                sight.leaf = trees.first { $0.copies == record.header.copies }?.leaves[leaf]
            }
        }
        guard let hints = reader.hintsKept else { return sight }
        // Those for nodes that have left are found by a walk: their ids stand nowhere.
        let targets = Set(placement?.nodes ?? []).union(readers.map(\.identity.node))
        for target in targets.sorted() {
            if let bytes = try reader.value(of: FolderReader.hintKey(target, key.storageKey), in: hints) {
                sight.hints.append(KeySight.Hint(target: target, record: bytes))
            }
        }
        return sight
    }
}
