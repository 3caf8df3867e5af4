// What the subjects may cost: counts that were recorded, and how far above them a build may be.

package import Foundation

package struct MicroLimits: Codable, Equatable {
    /// Other compilers, libraries and processors count a little otherwise.
    package static let instructionTolerance = 0.10
    /// Of one allocation: those that a growing container spreads over many operations may fall before or behind the region.
    package static let callTolerance = 0.05
    /// A subject that has become so much cheaper should be recorded anew, or it may lose all of that in silence.
    package static let betterShare = 0.85
    /// A file of limits is this long at most.
    private static let maximumFileBytes = 1 << 20

    package var counts: [String: MicroCounts]

    package init(counts: [String: MicroCounts]) { self.counts = counts }

    package init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumFileBytes else {
            throw MicroFailure("\(path) cannot be read: --record writes it")
        }
        do {
            self = try JSONDecoder().decode(Self.self, from: data)
        } catch {
            throw MicroFailure("\(path) holds no limits: \(error)")
        }
    }

    package var json: Data {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            return try encoder.encode(self) + Data("\n".utf8)
        }
    }

    package enum Verdict: Equatable {
        case holds
        /// It holds, and could be lower.
        case better
        /// There is no limit for the subject.
        case unknown
        /// What is above its limit.
        case exceeded([String])
    }

    package func verdict(on name: String, _ found: MicroCounts) -> Verdict {
        guard let limit = counts[name] else { return .unknown }
        var exceeded: [String] = []
        func check(_ what: String, _ found: Double, _ recorded: Double, _ most: Double) {
            guard found > most else { return }
            exceeded.append(String(format: "%.6g %@ (%.6g were recorded)", found, what, recorded))
        }
        check(
            "instructions", found.instructions, limit.instructions,
            limit.instructions * (1 + Self.instructionTolerance))
        check("allocations", found.allocations, limit.allocations, limit.allocations + Self.callTolerance)
        check(
            "retains and releases", found.retains, limit.retains,
            max(limit.retains * (1 + Self.instructionTolerance), limit.retains + Self.callTolerance))
        if !exceeded.isEmpty { return .exceeded(exceeded) }
        let isBetter =
            found.instructions < limit.instructions * Self.betterShare
            || found.allocations < limit.allocations - Self.callTolerance
        return isBetter ? .better : .holds
    }
}
