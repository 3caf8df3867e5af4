// `torc inspect info`: whose data a folder holds, and how much.

import ArgumentParser
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct InfoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show whose data a folder holds, and how much.",
        discussion: """
            Examples:
              torc inspect info data/node1
              torc inspect info data/node1 --json
            """)

    @OptionGroup var folder: FolderOptions

    func run() async throws {
        let reader = try folder.open()
        let report = try FolderInfo(reader)
        if folder.json { return try JSONLine.print(report) }
        report.show()
    }
}

/// What `info` says.
struct FolderInfo: Encodable {
    struct Family: Encodable {
        var name: String
        var keys: UInt64
        var bytes: UInt64
    }

    var path: String
    var cluster: String
    var node: String
    var store: String
    var joinedAs: String?
    var ringSize: Int
    var heldBy: Int32?
    var wasClean: Bool
    var incarnations: [String]
    var epoch: String?
    var families: [Family]

    init(_ reader: FolderReader) throws {
        path = reader.path
        cluster = "\(reader.identity.cluster)"
        node = "\(reader.identity.node)"
        store = "\(reader.identity.store)"
        joinedAs = reader.identity.joinedName
        ringSize = reader.identity.ringSize.partitions
        heldBy = reader.holder
        wasClean = try reader.wasClean()
        incarnations = try reader.incarnations().map { "\($0)" }
        epoch = try reader.ring().map { "\($0.state.ring.epoch)" }
        families = reader.families.map { family in
            Family(
                name: family.name, keys: reader.property("rocksdb.estimate-num-keys", of: family),
                bytes: reader.property("rocksdb.total-sst-files-size", of: family))
        }
    }

    func show() {
        print("folder      \(path)\(heldBy.map { ", in use by process \($0)" } ?? "")")
        print("cluster     \(cluster)")
        print("node        \(node)\(joinedAs.map { ", joined as \($0)" } ?? "")")
        print("store       \(store)")
        print("ring        \(ringSize) partitions, epoch \(epoch ?? "as declared")")
        print("stopped     \(heldBy != nil ? "no, it runs" : wasClean ? "cleanly" : "without saying so")")
        print("incarnation \(incarnations.last ?? "none yet"), \(incarnations.count) known\n")
        var table = TextTable([.left("FAMILY"), .right("KEYS, ABOUT"), .right("BYTES")])
        for family in families { table.add([family.name, "\(family.keys)", TextTable.bytes(family.bytes)]) }
        print(table.text)
    }
}
