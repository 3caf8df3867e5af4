// `torc inspect locate`: where an object belongs.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct LocateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "locate", abstract: "Show where an object belongs: position, partition, leaf, preference list.",
        discussion: """
            Examples:
              torc inspect locate data/node1 carts alice
              torc inspect locate data/node1 carts alice --cluster shop --members node1,node2,node3
              torc inspect locate data/node1 carts alice --json

            The object need not exist. n is the bucket's, as the folder's node knows it.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var name: ObjectArguments
    @OptionGroup var declared: DeclaredOptions

    private struct Location: Encodable {
        var key: String
        var position: String
        var partition: Int
        var leaf: Int
        var n: Int
        var storageKey: String
        var family: String?
        var isStored: Bool
        var epoch: UInt64?
        var phase: String?
        /// In order: those that reads are asked of first. Nil: the folder knows no ring.
        var replicas: [String]?
        var former: [String]?
    }

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let key = try name.object()
        let partition = reader.identity.ringSize.partition(of: key.position)
        let n = Int(try reader.properties()[key.bucket].n)
        let placement = try declared.placement(for: reader)
        let family = try reader.family(of: partition)
        let replicas = placement?.ring.preferenceList(of: partition, count: n)
        let location = Location(
            key: PlainText.name(key), position: hexadecimal(key.position.rawValue), partition: partition.index,
            leaf: reader.layout.leaf(of: key.position), n: n, storageKey: PlainText.hex(key.storageKey),
            family: family?.name,
            isStored: try family.map { try reader.value(of: key.storageKey, in: $0) != nil } ?? false,
            epoch: placement?.epoch, phase: placement.map { "\($0.phase)" }, replicas: replicas?.map(names.name),
            former: placement?.former?.preferenceList(of: partition, count: n).map(names.name))
        if folder.json { return try JSONLine.print(location) }
        var lines: [(String, String)] = [
            ("object", location.key), ("position", location.position),
            ("partition", "\(location.partition), leaf \(location.leaf)"),
            ("stored as", location.storageKey),
            (
                "here",
                location.isStored
                    ? "yes, in family \(location.family!)"
                    : location.family.map { "no record in family \($0)" } ?? "no: the folder has no such partition"
            ),
        ]
        if let placement, let replicas {
            lines.append(("ring", "epoch \(placement.epoch), \(placement.phase)"))
            for (number, node) in replicas.enumerated() {
                lines.append(("replicas", "\(number + 1)  \(names.title(of: node))"))
            }
            for node in placement.former?.preferenceList(of: partition, count: n) ?? [] where !replicas.contains(node) {
                lines.append(("leaving", names.title(of: node)))
            }
        } else {
            lines.append(("replicas", DeclaredOptions.noRing))
        }
        Console.print(PlainText.fields(lines))
    }
}
