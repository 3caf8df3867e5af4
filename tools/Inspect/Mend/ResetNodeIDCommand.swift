// `torc inspect reset-node-id`: what was copied with a machine is one node twice; this makes room for another one.

import ArgumentParser
import Foundation
import TorcConsole
import TorcStorage

struct ResetNodeIDCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset-node-id", abstract: "Make a clone's folder one for a new node.",
        discussion: """
            Examples:
              torc inspect reset-node-id data/node1 --dry-run
              torc inspect reset-node-id data/node1 --yes

            For a folder that was copied together with its machine, while the original lives. It is moved aside, to DIR.retired-TIME,
            and marked: no node ever serves from it again, while 'torc inspect' reads it and 'export' takes records out of it. In
            its place a new node is made by 'torc serve --join': it has an id of its own, and its copies come from the members.

            A clone's records do not come along. They may be older than a deletion of which the cluster has forgotten even
            the tombstone, and would bring back what was deleted. What the cluster really lacks is exported and imported, as new writes.
            """)

    @OptionGroup var folder: FolderOptions
    @Flag(help: "Say what would be done, and do nothing.") var dryRun = false
    @Flag(help: "Do not ask.") var yes = false

    private struct Outcome: Encodable {
        var retired: String
        var node: String
    }

    func run() async throws {
        let path = DataFolder.normalized(folder.directory)
        let retired = "\(path).retired-\(Int(Date().timeIntervalSince1970))"
        do {
            if dryRun {
                if let holder = try DataFolder.holder(of: path) {
                    throw StoreError.heldByAnotherProcess(path: path, processID: holder)
                }
                let node = try DataFolder.identity(of: path).node
                if folder.json { return try JSONLine.print(Outcome(retired: retired, node: "\(node)")) }
                return Console.print("would mark \(path), of node \(node), as retired, and move it to \(retired)")
            }
            let held = try DataFolder.hold(path)
            defer { held.release() }
            try Confirmation.ask("retire \(path), of node \(held.identity.node)", yes: yes)
            // First: when what follows is interrupted nothing serves from it, and the same command goes on.
            try held.retire()
            try held.move(to: retired)
            if folder.json { return try JSONLine.print(Outcome(retired: retired, node: "\(held.identity.node)")) }
            Console.print("retired: \(retired)")
            Console.print(
                "next: 'torc cluster token' at a member, then start the new node under a name of its own with "
                    + "'torc serve --join MEMBER --token TOKEN'")
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: path, json: folder.json)
        }
    }
}
