import ArgumentParser
import Foundation
import TorcConsole

/// `torc cluster tombstones`: what is deleted and not yet reaped, as one node found it.
struct TombstonesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tombstones", abstract: "Show how many tombstones wait at a node, and for what.",
        discussion: """
            Examples:
              torc cluster tombstones
              torc cluster tombstones --http 127.0.0.1:8108 --json

            TOMBSTONES, EXPIRED and GRAVES are what the node's last walk found in its own replicas; a grave is a
            tombstone that is reaped, until all replicas have reaped it. What has expired becomes a tombstone once
            the clocks of all replicas say so. VECTORS are objects whose version vectors have grown long by entries
            that are of no use any more; they are pruned under the same proof. LEADER begins the rounds that reap: ask it what they wait for.
            """)

    @OptionGroup var admin: AdminOptions

    private struct Answer: Decodable {
        struct Totals: Decodable {
            var reaped: UInt64
            var graves_closed: UInt64
            var expired: UInt64
            var pruned: UInt64
            var rounds: UInt64
            var failed_rounds: UInt64
        }
        struct Tree: Decodable {
            var partition: Int
            var n: Int
            var tombstones: Int
            var graves: Int
            var expired: Int
            var vectors: Int
            var leader: String
            var waits_for: String?
        }
        var totals: Totals
        var trees: [Tree]
    }

    func run() async throws {
        let body = try await admin.get("/admin/tombstones")
        if admin.json { return print(String(decoding: body, as: UTF8.self), terminator: "") }
        let answer = try JSONDecoder().decode(Answer.self, from: body)
        let tombstones = answer.trees.reduce(0) { $0 + $1.tombstones }
        let expired = answer.trees.reduce(0) { $0 + $1.expired }
        let graves = answer.trees.reduce(0) { $0 + $1.graves }
        let vectors = answer.trees.reduce(0) { $0 + $1.vectors }
        print(
            "\(tombstones) tombstones, \(expired) expired, \(graves) graves and \(vectors) vectors wait; "
                + "\(answer.totals.reaped) were reaped since the start, \(answer.totals.expired) expired, "
                + "\(answer.totals.pruned) were pruned, \(answer.totals.failed_rounds) of "
                + "\(answer.totals.rounds) rounds failed")
        guard !answer.trees.isEmpty else { return }
        var table = TextTable([
            .right("PARTITION"), .right("N"), .right("TOMBSTONES"), .right("EXPIRED"), .right("GRAVES"),
            .right("VECTORS"), .left("LEADER"),
            .left("LAST ROUND WAITED FOR"),
        ])
        for tree in answer.trees {
            table.add([
                "\(tree.partition)", "\(tree.n)", "\(tree.tombstones)", "\(tree.expired)", "\(tree.graves)",
                "\(tree.vectors)", tree.leader,
                tree.waits_for ?? "-",
            ])
        }
        print(table.text)
    }
}
