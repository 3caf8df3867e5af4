// `torc inspect`: what a data folder holds, for a person at three in the morning and for programs. It needs no server, and
// looking at a folder changes nothing in it.

package import ArgumentParser

package struct InspectCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "See and mend what is on disk.",
        discussion: """
            Examples:
              torc inspect info data/node1              whose folder it is
              torc inspect get data/node1 carts alice   what it holds of one object
              torc inspect count data/node1             its records by bucket
              torc inspect verify data/node1            read everything, and say what is wrong
              torc inspect diff data/node1 data/node2   what two replicas differ in
              torc inspect repair data/node1 --dry-run  what would be done about it
              torc inspect explain carts alice data/*   how copies of an object in several folders compare

            DIR is a node's data folder, a copy of one or a backup. What only looks works on the folder of a running node, too.
            """,
        subcommands: [
            InfoCommand.self, RingCommand.self, FamiliesCommand.self, GetCommand.self, ScanCommand.self,
            KeysCommand.self,
            BucketsCommand.self, CountCommand.self, HintsCommand.self, TombstonesCommand.self, MerkleCommand.self,
            HistogramCommand.self, LocateCommand.self, DumpCommand.self, VerifyCommand.self, DiffCommand.self,
            RepairCommand.self, PurgeHintsCommand.self, RebuildMerkleCommand.self, ReapCommand.self,
            CompactCommand.self,
            SetBucketCommand.self, ResetNodeIDCommand.self,
            ExplainFoldersCommand.self, ExportCommand.self, ImportCommand.self,
        ])

    package init() {}
}
