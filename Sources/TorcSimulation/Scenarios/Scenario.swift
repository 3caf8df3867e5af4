// A story of several nodes, as a text that a person can follow: what is done, and what is seen.
//
//   nodes 4                          what there is; the lines up to the first step
//   A put k0          -> ok by 2+0   a step, and what it must come to
//
// `Tests/Scenarios` holds them, docs/TESTING.md lists the words. `torc-simulate play FILE` shows one with its trace.

import NIOCore
import TorcModel
import TorcReplication

package struct ScenarioError: Error, Equatable, CustomStringConvertible {
    package var line: Int
    package var message: String

    package init(line: Int, message: String) {
        self.line = line
        self.message = message
    }

    package var description: String { "line \(line): \(message)" }
}

package struct Scenario: Sendable {
    package struct Step: Sendable {
        package var line: Int
        package var words: [String]
        /// What it must come to; nil: whatever.
        package var expected: String?

        package var text: String { words.joined(separator: " ") }
    }

    package private(set) var plan: SimulationPlan
    package private(set) var steps: [Step] = []

    /// Most lines of a text.
    private static let maximumLines = 1_000

    package init(parsing text: String) throws(ScenarioError) {
        plan = SimulationPlan.quiet(seed: 1)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let number = index + 1
            guard number <= Self.maximumLines else {
                throw ScenarioError(line: number, message: "the text is too long")
            }
            let said = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
            let sides = Self.sides(of: String(said))
            let words = sides.done.split(separator: " ").map(String.init)
            guard let first = words.first else { continue }
            if steps.isEmpty, try take(setting: first, Array(words.dropFirst()), line: number) { continue }
            steps.append(Step(line: number, words: words, expected: sides.seen))
        }
        plan.finish()
    }

    /// What stands before and behind "->".
    private static func sides(of line: String) -> (done: String, seen: String?) {
        let words = line.split(separator: " ")
        guard let arrow = words.firstIndex(of: "->") else { return (line, nil) }
        return (words[..<arrow].joined(separator: " "), words[(arrow + 1)...].joined(separator: " "))
    }

    private mutating func take(setting: String, _ values: [String], line: Int) throws(ScenarioError) -> Bool {
        func number(_ range: ClosedRange<Int>) throws(ScenarioError) -> Int {
            guard values.count == 1, let number = Int(values[0]), range.contains(number) else {
                throw ScenarioError(line: line, message: "\(setting) takes a number of \(range)")
            }
            return number
        }
        switch setting {
        case "seed": plan.seed = UInt64(try number(1...1_000_000))
        case "nodes": plan.nodeCount = try number(1...6)
        case "members": plan.firstMembers = try number(1...6)
        case "copies": plan.buckets[0].properties.n = UInt8(try number(1...5))
        case "hint-bytes": plan.limits.hintBytes = try number(1...1_000_000)
        case "repair": plan.limits.repair.isOn = values == ["on"]
        case "reaping": plan.limits.reaping.isOn = values == ["on"]
        default: return false
        }
        return true
    }
}

extension SimulationPlan {
    static let scenarioKeys = 8

    /// Nothing happens by itself: for stories that are told step by step.
    package static func quiet(seed: UInt64) -> SimulationPlan { SimulationPlan(quietSeed: seed) }

    private init(quietSeed: UInt64) {
        seed = quietSeed
        ringSize = RingSize(partitions: 8)!
        var properties = BucketProperties()
        properties.n = 3
        buckets = [Bucket(id: BucketID(name: ByteBuffer(string: "b")), properties: properties)]
        clientCount = 1
        timeout = .seconds(2) ... .seconds(2)
        network.delay = .constant(.microseconds(300))
        network.heldInCutPerMille = 0
        limits.repair.isOn = true
        limits.repair.interval = .milliseconds(500)
        limits.repair.operationsPerSecond = 10_000
        limits.reaping.isOn = false
        limits.reaping.judgesAge = true
        limits.reaping.maximumAge = .seconds(2)
        limits.reaping.interval = .seconds(1)
        limits.reaping.pruneEntries = 1
    }

    fileprivate mutating func finish() {
        laneCounts = [Int](repeating: 1, count: nodeCount)
        keys = (0..<Self.scenarioKeys).map { number in
            Key(
                bucket: 0, object: ObjectKey(bucket: buckets[0].id, key: ByteBuffer(string: "k\(number)")), weight: 1)
        }
    }
}
