import ArgumentParser

/// `torc cluster`: what concerns all nodes together.
struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Look at the cluster and look after it.",
        subcommands: [
            StatusCommand.self, RepairCommand.self, TokenCommand.self, JoinCommand.self, LeaveCommand.self,
            RemoveCommand.self, ReplaceCommand.self, PlanCommand.self, CommitCommand.self, AbortCommand.self,
            TransfersCommand.self, ForceCommand.self, TombstonesCommand.self, HotKeysCommand.self,
        ])
}
