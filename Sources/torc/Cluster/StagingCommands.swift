// The commands that stage a change of the members, or forget what is staged. Nothing happens before a commit.

import ArgumentParser

private struct Staged: Decodable {
    var staged: [String]
}

extension AdminOptions {
    fileprivate func stage(_ order: String) async throws {
        let body = try await post("/admin/cluster/\(order)")
        try show(body, as: Staged.self) { answer in
            if answer.staged.isEmpty { return print("nothing is staged") }
            print("staged at \(http):")
            for change in answer.staged { print("  \(change)") }
            print("Look at it with `torc cluster plan --http \(http)`.")
        }
    }
}

struct LeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "Stage a member's leaving: it hands over what it holds and is gone then.",
        discussion: """
            Example:
              torc cluster leave node3
              torc cluster plan
              torc cluster commit PLAN

            The node must run until `torc cluster transfers --wait` ends. For one that is dead, see remove and replace.
            """)

    @OptionGroup var admin: AdminOptions
    @Argument(help: "The member's name.") var name: String

    func run() async throws { try await admin.stage("leave?node=\(AdminOptions.escaped(name))") }
}

struct RemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Stage the removal of a member that is dead: it never comes back as what it was.",
        discussion: """
            What it held is taken from the other replicas. A write that only the removed node holds is lost. A node that
            still runs should leave instead.
            """)

    @OptionGroup var admin: AdminOptions
    @Argument(help: "The member's name.") var name: String

    func run() async throws { try await admin.stage("remove?node=\(AdminOptions.escaped(name))") }
}

struct ReplaceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replace", abstract: "Stage that a new node takes over all that a dead one owned.",
        discussion: """
            The new node has asked the same member to join (`torc serve --join`); that is staged as the replacement.
            """)

    @OptionGroup var admin: AdminOptions
    @Argument(help: "The dead member's name.") var old: String
    @Argument(help: "The new node's name.") var new: String

    func run() async throws {
        try await admin.stage("replace?old=\(AdminOptions.escaped(old))&new=\(AdminOptions.escaped(new))")
    }
}

struct AbortCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort", abstract: "Forget what is staged at a node.",
        discussion: "What was committed is not touched. A node that asked to join asks again when it is started anew.")

    @OptionGroup var admin: AdminOptions

    func run() async throws { try await admin.stage("abort") }
}
