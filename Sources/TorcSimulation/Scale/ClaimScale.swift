// How the claim behaves from three nodes to a thousand: how even its rings are, how much a change of members
// moves against the least that balance allows, and how long a plan takes to make.
//
// Judged from the owners alone: the least is counted here, not taken from the claim.

import TorcModel

/// One ring, or one change of its members.
package struct ClaimMeasurement: Codable, Sendable {
    package var partitions: Int
    /// Before and after; the same for a first ring.
    package var membersBefore: Int
    package var members: Int
    /// Mean load over the greatest: partitions owned, and with N = 3 also those held as a replica.
    package var ownedEvenness = 0.0
    package var heldEvenness = 0.0
    /// Partitions that share an owner with one of the two that follow; a zone, if there are any.
    package var repeatedNodes = 0
    package var repeatedZones = 0
    package var moved = 0
    package var least = 0
    package var milliseconds = 0.0
}

/// A cluster whose members change, ring after ring.
package struct ClaimScale {
    package static let copies = 3
    private let size: RingSize
    private let zones: Int?
    private var generator: SeededGenerator
    private var nextMember = 0
    private var members: [ClaimMember] = []
    private var ring: Ring?

    package init(partitions: Int, zones: Int? = nil, seed: UInt64) {
        size = RingSize(partitions: partitions)!
        self.zones = zones
        generator = SeededGenerator(seed: seed)
    }

    /// The first ring of so many members.
    package mutating func first(_ count: Int) -> ClaimMeasurement {
        members = (0..<count).map { _ in newMember() }
        ring = nil
        return measure(before: count)
    }

    package mutating func join(_ count: Int = 1) -> ClaimMeasurement {
        let before = members.count
        for _ in 0..<count { members.append(newMember()) }
        return measure(before: before)
    }

    /// Random ones leave.
    package mutating func leave(_ count: Int = 1) -> ClaimMeasurement {
        let before = members.count
        for _ in 0..<count { members.remove(at: generator.below(members.count)) }
        return measure(before: before)
    }

    /// All of a zone leave.
    package mutating func leaveZone(_ zone: Int) -> ClaimMeasurement {
        let before = members.count
        members.removeAll { $0.zone == Self.name(of: zone) }
        return measure(before: before)
    }

    private static func name(of zone: Int) -> String { "zone \(zone)" }

    private mutating func newMember() -> ClaimMember {
        let zone = zones.map { Self.name(of: nextMember % $0) }
        nextMember += 1
        return ClaimMember(node: NodeID(rawValue: generator.next()), zone: zone)
    }

    // MARK: Judging

    private mutating func measure(before: Int) -> ClaimMeasurement {
        let clock = ContinuousClock()
        let began = clock.now
        let plan: ClaimPlan
        do throws(ClaimRefusal) {
            plan =
                if let ring { try ClaimPlan(changing: ring, members: members) } else {
                    try ClaimPlan(size: size, members: members)
                }
        } catch {
            preconditionFailure("\(members.count) members of \(size.partitions) partitions: \(error)")
        }
        let took = clock.now - began
        let next = Ring(epoch: (ring?.epoch ?? 0) + 1, size: size, owners: plan.owners)
        var measurement = ClaimMeasurement(
            partitions: size.partitions, membersBefore: before, members: members.count)
        measurement.ownedEvenness = Self.evenness(Self.owned(next, by: members))
        measurement.heldEvenness = Self.evenness(Self.held(next, by: members))
        measurement.repeatedNodes = plan.repeatedNodes.count
        measurement.repeatedZones = zones == nil ? 0 : plan.repeatedZones.count
        if let ring {
            measurement.moved = zip(ring.owners, next.owners).count { $0 != $1 }
            measurement.least = Self.leastMoves(Self.owned(ring, by: members), partitions: size.partitions)
        }
        measurement.milliseconds = took / .milliseconds(1)
        ring = next
        return measurement
    }

    /// The fewest partitions that must get another owner so that each member owns its share, rounded up or down.
    package static func leastMoves(_ owned: [Int], partitions: Int) -> Int {
        let share = partitions / owned.count
        var roundedUp = partitions % owned.count
        var received = 0
        // Who owns more than its share keeps one more, as long as there are such places.
        for count in owned.sorted(by: >) {
            let keeps = roundedUp > 0 ? share + 1 : share
            if roundedUp > 0 { roundedUp -= 1 }
            received += max(0, keeps - count)
        }
        return received
    }

    /// In the order of the members; what others own does not count.
    private static func owned(_ ring: Ring, by members: [ClaimMember]) -> [Int] {
        let places = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.node, $0) })
        var counts = [Int](repeating: 0, count: members.count)
        for owner in ring.owners {
            if let place = places[owner] { counts[place] += 1 }
        }
        return counts
    }

    private static func held(_ ring: Ring, by members: [ClaimMember]) -> [Int] {
        let places = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.node, $0) })
        var counts = [Int](repeating: 0, count: members.count)
        for partition in 0..<ring.size.partitions {
            for node in ring.preferenceList(of: PartitionID(partition), count: copies) { counts[places[node]!] += 1 }
        }
        return counts
    }

    package static func evenness(_ loads: [Int]) -> Double {
        Double(loads.reduce(0, +)) / Double(loads.count) / Double(max(1, loads.max() ?? 0))
    }
}
