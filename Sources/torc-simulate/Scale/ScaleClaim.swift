// `torc-simulate scale claim`: evenness of rings, moves against the least, time to plan.

import ArgumentParser
import Foundation
import TorcSimulation

struct ScaleClaim: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "claim",
        abstract: "How even rings are, how much a change of members moves, how long a plan takes.",
        discussion: """
            First rings of 3 to N members at several Q; then, at the greatest Q, members join one by one from 3 to N and
            leave at random one by one to 3; then some changes of many members at once, with and without zones.
            """)

    @Option(help: "N, the most members.") var members = 1_000
    @Option(help: "Q of the history.") var partitions = 16_384
    @Option(help: "Of everything that is drawn.") var seed: UInt64 = 1
    @Flag(help: "Print all that was measured, as JSON.") var json = false

    struct Output: Encodable {
        var seed: UInt64
        var first: [ClaimMeasurement] = []
        var joins: [ClaimMeasurement] = []
        var leaves: [ClaimMeasurement] = []
        var large: [Large] = []
        var seconds = 0.0
    }

    struct Large: Encodable {
        var name: String
        var measurement: ClaimMeasurement
    }

    func validate() throws {
        guard partitions.nonzeroBitCount == 1, (64...16_384).contains(partitions) else {
            throw ValidationError("--partitions must be a power of two in 64…16384")
        }
        guard (8...partitions / 2).contains(members) else {
            throw ValidationError("--members must be 8…\(partitions / 2)")
        }
    }

    func run() throws {
        let began = Date()
        var output = Output(seed: seed)
        for size in [64, 256, 1_024, 4_096, 16_384] where size <= partitions {
            for count in [3, 4, 5, 7, 10, 16, 30, 50, 100, 150, 300, 500, 1_000]
            where count <= min(members, size / 4) {
                var scale = ClaimScale(partitions: size, seed: seed)
                output.first.append(scale.first(count))
            }
        }
        var history = ClaimScale(partitions: partitions, seed: seed)
        _ = history.first(3)
        for _ in 3..<members { output.joins.append(history.join()) }
        for _ in 3..<members { output.leaves.append(history.leave()) }
        output.large = large()
        output.seconds = Date().timeIntervalSince(began)
        if json { try SimulateScale.json(output) } else { write(output) }
    }

    /// Changes that a person may ask for all the same.
    private func large() -> [Large] {
        var changes: [Large] = []
        func add(_ name: String, _ measurement: ClaimMeasurement) {
            changes.append(Large(name: name, measurement: measurement))
        }
        let half = members / 2
        var scale = ClaimScale(partitions: partitions, seed: seed)
        add("\(half) members begin", scale.first(half))
        add("as many join at once", scale.join(members - half))
        add("\(half) leave at once", scale.leave(half))
        for zones in [3, 5] {
            var zoned = ClaimScale(partitions: partitions, zones: zones, seed: seed)
            add("\(members) members in \(zones) zones begin", zoned.first(members))
            add("one more joins", zoned.join())
            add("one leaves", zoned.leave())
            add("a whole zone leaves", zoned.leaveZone(0))
        }
        var few = ClaimScale(partitions: partitions, seed: seed)
        add("7 members begin", few.first(7))
        for _ in 0..<4 {
            let measurement = few.leave()
            add("\(measurement.membersBefore) members less one", measurement)
        }
        return changes
    }

    private func write(_ output: Output) {
        print("first rings            Q  members  owned  held   repeats     ms")
        for one in output.first {
            print(
                String(
                    format: "%24d %8d  %.3f  %.3f %8d %6.0f", one.partitions, one.members, one.ownedEvenness,
                    one.heldEvenness, one.repeatedNodes, one.milliseconds))
        }
        line("joins", output.joins)
        line("leaves", output.leaves)
        for change in output.large {
            let one = change.measurement
            let name = change.name.padding(toLength: 34, withPad: " ", startingAt: 0)
            print(
                name
                    + String(
                        format: "%6d moved, least %6d; held %.3f; repeats %d nodes, %d zones; %.0f ms", one.moved,
                        one.least, one.heldEvenness, one.repeatedNodes, one.repeatedZones, one.milliseconds))
        }
        print(String(format: "(%.1f s)", output.seconds))
    }

    private func line(_ title: String, _ steps: [ClaimMeasurement]) {
        let moved = steps.reduce(0) { $0 + $1.moved }
        let least = steps.reduce(0) { $0 + $1.least }
        let exact = steps.count { $0.moved == $0.least }
        let most = steps.max { $0.moved - $0.least < $1.moved - $1.least }
        let slowest = steps.map(\.milliseconds).max() ?? 0
        print(
            "\(title): \(steps.count) changes, \(moved) moved, least \(least); \(exact) exact; "
                + "most beyond: \(most.map { "\($0.moved - $0.least) with \($0.members) members" } ?? "none"); "
                + String(format: "slowest plan %.0f ms", slowest))
    }
}
