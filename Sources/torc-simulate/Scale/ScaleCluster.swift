// `torc-simulate scale cluster`: membership and bucket properties of many nodes.

import ArgumentParser
import Foundation
import NIOCore
import TorcReplication
import TorcSimulation
import TorcWire

struct ScaleCluster: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract:
            "Membership, rings, properties: how long news takes to reach everybody, what it costs, who is accused wrongly.",
        discussion: """
            Examples:
              torc-simulate scale cluster --nodes 150 --loss 1
              torc-simulate scale cluster --nodes 1000 --loss 5 --json

            Times are in protocol periods. Exits with 1 when somebody who was well was declared dead, or news did not
            reach everybody.
            """)

    @Option(help: "Members.") var nodes = 150
    @Option(help: "Messages that are lost, in percent.") var loss = 1.0
    @Option(help: "Deaths, returns, joins and changes that are timed.") var trials = 5
    @Option(help: "Periods of rest before them.") var rest: UInt64 = 120
    @Option(help: "Buckets with properties of their own.") var scopes = 200
    @Option(help: "Q.") var partitions = 16_384
    @Option(help: "Protocol period, in milliseconds.") var period: UInt64 = 500
    @Option(help: "Of everything that is drawn.") var seed: UInt64 = 1
    @Flag(help: "Print all that was measured, as JSON.") var json = false

    struct Output: Encodable {
        var nodes: Int
        var lossPercent: Double
        var periodMilliseconds: UInt64
        var scopes: Int
        var partitions: Int
        var seed: UInt64
        var restPeriods: UInt64
        var linksOfANode: Int
        var heartbeats: ClusterScaleReport.Traffic
        var report: ClusterScaleReport
        var seconds: Double
    }

    func validate() throws {
        guard (3...10_000).contains(nodes) else { throw ValidationError("--nodes must be 3…10000") }
        guard (0...90).contains(loss) else { throw ValidationError("--loss must be 0…90") }
        guard (0...Control.maximumScopes - trials).contains(scopes) else {
            throw ValidationError("--scopes must be 0…\(Control.maximumScopes - trials)")
        }
        guard partitions.nonzeroBitCount == 1, (8...16_384).contains(partitions), partitions > nodes + trials else {
            throw ValidationError("--partitions must be a power of two up to 16384, more than members")
        }
        guard period > 0, rest > 0, (0...1_000).contains(trials) else {
            throw ValidationError("--period and --rest must be positive, --trials 0…1000")
        }
    }

    func run() throws {
        var plan = ClusterScalePlan(nodes: nodes, lossPerMille: Int(loss * 10))
        plan.period = .milliseconds(period)
        plan.restPeriods = rest
        plan.trials = trials
        plan.scopes = scopes
        plan.partitions = partitions
        plan.seed = seed
        let began = Date()
        var buffer = ByteBuffer()
        var scale = ClusterScale(plan) { message in
            buffer.clear()
            PeerMessageCodec.encode(message, into: &buffer)
            return buffer.readableBytes + PeerFrame.headBytes
        }
        let report = scale.run()
        let seconds = Date().timeIntervalSince(began)
        if json {
            try SimulateScale.json(
                Output(
                    nodes: nodes, lossPercent: loss, periodMilliseconds: period, scopes: scopes,
                    partitions: partitions, seed: seed, restPeriods: rest, linksOfANode: links, heartbeats: heartbeats,
                    report: report, seconds: seconds))
        } else {
            write(report)
            print(String(format: "(%.1f s)", seconds))
        }
        if !report.isComplete || report.falseDeaths > 0 { throw ExitCode(1) }
    }

    // MARK: Links, of which the machines know nothing

    /// Of a node with one loop: one that it dials and one that it accepts for each other node.
    private var links: Int { 2 * (nodes - 1) }

    /// Both sides of a link ping, and answer.
    private var heartbeats: ClusterScaleReport.Traffic {
        let interval = PeerLimits().pingInterval(peers: nodes - 1) / .seconds(1)
        let messages = Double(2 * links) / interval
        return ClusterScaleReport.Traffic(messages: messages, bytes: messages * Double(PeerFrame.headBytes + 8))
    }

    // MARK: For people

    private func write(_ report: ClusterScaleReport) {
        print("\(nodes) nodes, \(loss) % of messages lost, period \(period) ms, seed \(seed)")
        print("start          all know all after \(text(report.start.all)) periods")
        line("suspected      by all", report.trials.map(\.suspected.all))
        line("dead           for all", report.trials.map(\.dead.all))
        line("back           for all", report.trials.map(\.returned.all))
        line("new ring       answered", report.trials.map(\.ringAnswered))
        line("new ring       known to all", report.trials.map(\.ring.all))
        line("its member     alive for all", report.trials.map(\.joined.all))
        line("new build      known to all", report.trials.map(\.build.all))
        line("property       known to all", report.trials.map(\.property.all))
        line("property       answered", report.trials.map(\.propertyAnswered))
        line("back           knows a property that it missed", report.trials.map(\.missedProperty))
        line("back           knows a ring that it missed", report.trials.map(\.missedRing))
        let returning = report.trials.map(\.bytesToReturning).sorted()
        if let most = returning.last { print("back           \(most) bytes at most to the one that returned") }
        print("mistakes       \(report.falseSuspicions) false suspicions, \(report.falseDeaths) false deaths")
        line("probes", report.probes)
        line("exchanges", report.exchanges)
        line("properties", report.properties)
        line("rings", report.rings)
        line("heartbeats", heartbeats)
        print("largest        \(report.largestMessageBytes) bytes")
    }

    private func text(_ value: Double?) -> String { value.map { String(format: "%.1f", $0) } ?? "never" }

    private func line(_ title: String, _ values: [Double?]) {
        guard !values.isEmpty else { return }
        let known = values.compactMap { $0 }.sorted()
        guard known.count == values.count else {
            return print("\(title) never, in \(values.count - known.count) trials")
        }
        print("\(title) after \(text(known[known.count / 2])) periods (median), \(text(known.last)) (most)")
    }

    private func line(_ title: String, _ traffic: ClusterScaleReport.Traffic) {
        let name = title.padding(toLength: 14, withPad: " ", startingAt: 0)
        print(
            "\(name) \(text(traffic.messages)) messages, \(Int(traffic.bytes.rounded())) bytes a node and second, at rest"
        )
    }
}
