// Claim: who shall own which partition. A pure function of the present ring and the members, so every node
// computes the same plan from the same staged change.
//
// What a plan holds to, the first rule first:
//   1. Balance: each member owns its quota, Q divided by weight, rounded down or up.
//   2. Distance: any N consecutive partitions, the wrap included, are on N distinct nodes; then the first N
//      owners are the preference list and every node's share of replicas is as even as its partitions.
//   3. Zones: any N consecutive partitions (or as many as there are zones) are in distinct zones.
//   4. Little moves: a partition stays where it is unless one of the above needs it elsewhere.
// Distance cannot always be had: with three nodes and N = 3 the owners would have to repeat with period 3, which
// divides no power of two. Where quotas rule it out, nothing is moved for its sake; the plan counts what is left.
// (With N members or fewer the preference list is everybody, whatever the order.)
//
// How: partitions of members that left are free, and the others give up what exceeds their quotas; these go to
// those below theirs, spread evenly. That moves the least. Then pairs of partitions exchange owners as long as
// that repairs more than it moves: an exchange changes no quota, and one between a partition that moves anyway
// and one of its former owner's moves nothing more. A new ring is dealt like cards and mended the same way.
// Riak's claim v3 builds many random rings and scores them; an exchange in place is deterministic and moves less.

/// A node that shall own partitions.
package struct ClaimMember: Hashable, Sendable {
    package var node: NodeID
    /// Its share, relative to the others'. Above zero.
    package var weight: Int
    /// Nodes of one zone fail together. A node without one is a zone of its own.
    package var zone: String?

    package init(node: NodeID, weight: Int = 1, zone: String? = nil) {
        self.node = node
        self.weight = weight
        self.zone = zone
    }
}

/// Why no ring can be made of these members.
package enum ClaimRefusal: Error, Hashable, Sendable {
    case noMembers
    case repeatedMember(NodeID)
    case weightOutOfRange(NodeID, weight: Int)
    /// Every member owns at least one partition.
    case moreMembersThanPartitions(members: Int, partitions: Int)
}

/// Who owns what, and what it takes to get there.
package struct ClaimPlan: Hashable, Sendable {
    /// A partition that changes hands.
    package struct Move: Hashable, Sendable {
        package var partition: PartitionID
        /// It may have left the cluster.
        package var source: NodeID
        package var target: NodeID
    }

    /// The N whose consecutive partitions are kept apart when nobody asks for another.
    package static let standardTarget = 3
    package static let maximumWeight = 1_000_000

    package let size: RingSize
    /// The N that the plan keeps apart.
    package let target: Int
    /// The owner of each partition.
    package let owners: [NodeID]
    /// Ascending by partition; empty for a new ring.
    package let moves: [Move]
    /// Partitions that share an owner with one of the N − 1 that follow. Ascending.
    package let repeatedNodes: [PartitionID]
    /// Partitions that share a zone with one of the N − 1 that follow (or as many as there are other zones). Ascending.
    package let repeatedZones: [PartitionID]

    /// The first ring of a cluster.
    package init(size: RingSize, members: [ClaimMember], target: Int = standardTarget) throws(ClaimRefusal) {
        try self.init(size: size, present: nil, members: members, target: target)
    }

    /// What becomes of a ring when these are its members.
    package init(changing ring: Ring, members: [ClaimMember], target: Int = standardTarget) throws(ClaimRefusal) {
        try self.init(size: ring.size, present: ring.owners, members: members, target: target)
    }

    private init(size: RingSize, present: [NodeID]?, members: [ClaimMember], target: Int) throws(ClaimRefusal) {
        precondition(target > 0, "a ring for \(target) copies")
        let members = members.sorted { $0.node < $1.node }
        try Self.check(members, partitions: size.partitions)
        var deal = Deal(partitions: size.partitions, members: members, present: present, target: target)
        deal.settle()
        // A tight change may wedge where every exchange repairs one pair and breaks another. Then the order of a
        // new ring is dealt, and most partitions move: distance goes before moves.
        if present != nil, deal.mustKeepApart, deal.repeats {
            var anew = Deal(partitions: size.partitions, members: members, present: nil, target: target)
            anew.settle()
            if !anew.repeats { deal = anew }
        }
        self.size = size
        self.target = target
        let owners = deal.owners.map { members[$0].node }
        self.owners = owners
        moves = (present ?? owners).indices.compactMap { index in
            guard let present, present[index] != owners[index] else { return nil }
            return Move(partition: PartitionID(index), source: present[index], target: owners[index])
        }
        repeatedNodes = deal.repeatedNodes.map { PartitionID($0) }
        repeatedZones = deal.repeatedZones.map { PartitionID($0) }
    }

    private static func check(_ members: [ClaimMember], partitions: Int) throws(ClaimRefusal) {
        guard !members.isEmpty else { throw .noMembers }
        guard members.count <= partitions else {
            throw .moreMembersThanPartitions(members: members.count, partitions: partitions)
        }
        for (index, member) in members.enumerated() {
            guard (1...maximumWeight).contains(member.weight) else {
                throw .weightOutOfRange(member.node, weight: member.weight)
            }
            if index > 0, members[index - 1].node == member.node { throw .repeatedMember(member.node) }
        }
    }
}

extension Ring {
    /// The first ring of a cluster whose members every node's configuration lists: the same members in any
    /// order give the same ring.
    package static func declared(
        members: [ClaimMember], size: RingSize = .standard, target: Int = ClaimPlan.standardTarget
    ) throws(ClaimRefusal) -> Ring {
        Ring(epoch: 1, size: size, owners: try ClaimPlan(size: size, members: members, target: target).owners)
    }
}

/// A ring in the making. Members go by their place in the sorted list.
private struct Deal {
    let members: Int
    /// Of each member.
    let zones: [Int]
    let quotas: [Int]
    /// The present owner of each partition, -1 when that is no member (any more).
    let present: [Int]
    let isNew: Bool
    /// Two partitions less than this far apart should have distinct owners.
    let nodeDistance: Int
    /// … be in distinct zones. At most `nodeDistance`.
    let zoneDistance: Int
    let target: Int
    /// Whether the quotas allow distance between nodes; and, in a new ring, between zones.
    let mustKeepApart: Bool
    let mustKeepZonesApart: Bool
    let cost: Cost
    var owners: [Int]

    /// What local search weighs against one another.
    struct Cost {
        var sameNode: Int
        var sameZone: Int
        var move: Int
    }

    init(partitions: Int, members: [ClaimMember], present ring: [NodeID]?, target: Int) {
        self.members = members.count
        zones = Self.zones(of: members)
        let places = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.node, $0) })
        present = ring.map { $0.map { places[$0] ?? -1 } } ?? [Int](repeating: -1, count: partitions)
        isNew = ring == nil
        var held = [Int](repeating: 0, count: members.count)
        for owner in present where owner >= 0 { held[owner] += 1 }
        quotas = Self.quotas(of: members, partitions: partitions, held: held)
        self.target = target
        nodeDistance = min(target, members.count)
        let zoneCount = zones.max()! + 1
        zoneDistance = min(target, zoneCount)

        var zoneQuotas = [Int](repeating: 0, count: zoneCount)
        for (member, quota) in quotas.enumerated() { zoneQuotas[zones[member]] += quota }
        // An owner of more than every N-th partition cannot keep its own apart.
        mustKeepApart = members.count > target && quotas.max()! <= partitions / target
        // All but one partition's worth: three zones and N = 3 never divide evenly, and still are worth a few moves.
        let zonesFit =
            members.count > target && zoneQuotas.max()! <= (partitions + zoneDistance - 1) / zoneDistance
        mustKeepZonesApart = isNew && zonesFit && zoneQuotas.max()! <= partitions / zoneDistance
        if isNew {
            cost = Cost(sameNode: 1_000, sameZone: 10, move: 0)
        } else {
            cost = Cost(sameNode: mustKeepApart ? 100_000 : 10, sameZone: zonesFit ? 300 : 1, move: 100)
        }
        owners = present
    }

    /// Zones numbered from 0; a member without one gets its own.
    private static func zones(of members: [ClaimMember]) -> [Int] {
        let named = Set(members.compactMap(\.zone)).sorted()
        let numbers = Dictionary(uniqueKeysWithValues: named.enumerated().map { ($1, $0) })
        var next = named.count
        return members.map { member in
            if let zone = member.zone { return numbers[zone]! }
            next += 1
            return next - 1
        }
    }

    /// Partitions by weight, rounded down; what is left goes one each to those that hold more than that now (it
    /// then need not move), then by the greater fraction that was cut off.
    private static func quotas(of members: [ClaimMember], partitions: Int, held: [Int]) -> [Int] {
        let total = members.reduce(0) { $0 + $1.weight }
        var quotas = members.map { max(1, partitions * $0.weight / total) }
        var rest = partitions - quotas.reduce(0, +)
        while rest < 0 {
            // Many small weights were rounded up to one: the largest quota gives.
            let largest = quotas.indices.max { (quotas[$0], $1) < (quotas[$1], $0) }!
            quotas[largest] -= 1
            rest += 1
        }
        let fractions = members.map { partitions * $0.weight % total }
        let claims = quotas.indices
            .filter { fractions[$0] > 0 && quotas[$0] == partitions * members[$0].weight / total }
            .sorted {
                let keeps = (held[$0] > quotas[$0], held[$1] > quotas[$1])
                if keeps.0 != keeps.1 { return keeps.0 }
                return (fractions[$1], $0) < (fractions[$0], $1)
            }
        for member in claims.prefix(rest) { quotas[member] += 1 }
        return quotas
    }

    mutating func settle() {
        if isNew {
            dealAnew()
        } else {
            var needs = quotas
            for owner in present where owner >= 0 { needs[owner] -= 1 }
            fillFree(&needs)
            takeFromTheRich(&needs)
            // So few members are all in every preference list.
            if members <= target { return }
        }
        exchange()
    }

    // MARK: First assignment

    /// A member with quota q is due once in each q-th part of the ring, at a random place in it; whoever is due
    /// first and owns none of the last N − 1 is dealt the next partition. So each member has many neighbours,
    /// among whom its load spreads when it fails and its partitions when it leaves.
    private mutating func dealAnew() {
        let count = owners.count
        var generator = SeededGenerator(seed: UInt64(count) << 32 | UInt64(members))
        var dealt = [Int](repeating: 0, count: members)
        func due(_ member: Int) -> Int {
            (dealt[member] * count + Int(generator.next() % UInt64(count))) * 64 / quotas[member]
        }
        var dues = (0..<members).map(due)
        for index in 0..<count {
            var best = -1
            var bestKey = (Int.max, Int.max)
            for member in 0..<members where dealt[member] < quotas[member] {
                // Most are due later than the best so far, and need no closer look once one is without conflict.
                if bestKey.0 == 0, dues[member] >= bestKey.1 { continue }
                let key = (conflicts(of: member, at: index), dues[member])
                if key < bestKey {
                    best = member
                    bestKey = key
                }
            }
            owners[index] = best
            dealt[best] += 1
            dues[best] = due(best)
        }
    }

    /// Gives what belongs to nobody to members below their quota, where it conflicts least.
    private mutating func fillFree(_ needs: inout [Int]) {
        for index in owners.indices where owners[index] < 0 {
            var best = -1
            var bestKey = (Int.max, Int.max)
            for member in needs.indices where needs[member] > 0 {
                let key = (conflicts(of: member, at: index), -needs[member])
                if key < bestKey {
                    best = member
                    bestKey = key
                }
            }
            precondition(best >= 0, "no member is below its quota, and partition \(index) has no owner")
            owners[index] = best
            needs[best] -= 1
        }
    }

    /// Members above their quota give to those below, who take at even intervals round the ring: near each
    /// point from the giver that has most to give. `needs` is negative for givers.
    private mutating func takeFromTheRich(_ needs: inout [Int]) {
        let count = owners.count
        for taker in needs.indices where needs[taker] > 0 {
            let wanted = needs[taker]
            let interval = max(1, count / wanted)
            for turn in 0..<wanted {
                // Takers begin at different places, or all would want the same partitions.
                let point = taker + turn * count / wanted
                let reach = max(1, interval - nodeDistance)
                var best = bestGift(to: taker, from: point, reach: reach, needs)
                if best < 0 || conflicts(of: taker, at: best) >= cost.sameNode {
                    best = bestGift(to: taker, from: point, reach: count, needs)
                }
                needs[owners[best]] += 1
                needs[taker] -= 1
                owners[best] = taker
            }
        }
    }

    private func bestGift(to taker: Int, from point: Int, reach: Int, _ needs: [Int]) -> Int {
        var best = -1
        var bestKey = (Int.max, Int.max, Int.max)
        for offset in 0..<reach {
            let index = (point + offset) % owners.count
            let giver = owners[index]
            if giver == taker || needs[giver] >= 0 { continue }
            let relief = conflicts(of: giver, at: index)
            let key = (conflicts(of: taker, at: index) - relief, needs[giver], offset)
            if key < bestKey {
                best = index
                bestKey = key
                // Nothing in this reach can be better than a partition without conflict when any giver will do.
                if reach == owners.count, key.0 <= 0 { break }
            }
        }
        return best
    }

    // MARK: Repair

    /// What it would cost, besides the move, if the member owned the partition.
    private func conflicts(of member: Int, at index: Int) -> Int {
        let count = owners.count
        let zone = zones[member]
        var sum = 0
        owners.withUnsafeBufferPointer { owners in
            zones.withUnsafeBufferPointer { zones in
                var distance = 1
                while distance < nodeDistance, 2 * distance <= count {
                    var before = index - distance
                    if before < 0 { before += count }
                    var after = index + distance
                    if after >= count { after -= count }
                    let left = owners[before]
                    let right = owners[after]
                    if left == member { sum += cost.sameNode }
                    if right == member { sum += cost.sameNode }
                    if distance < zoneDistance {
                        if left >= 0, zones[left] == zone { sum += cost.sameZone }
                        if right >= 0, zones[right] == zone { sum += cost.sameZone }
                    }
                    distance += 1
                }
            }
        }
        return sum
    }

    private func moveCost(of member: Int, at index: Int) -> Int { member == present[index] ? 0 : cost.move }

    /// Exchanges owners until no exchange that involves a conflict gains anything. Each gains at least 1 of a
    /// finite cost, so it ends. While conflicts are left that quotas do not excuse, exchanges that gain nothing
    /// are tried, to get out of a dead end; the best ring that was seen counts.
    private mutating func exchange() {
        var generator = SeededGenerator(seed: UInt64(members) << 32 | UInt64(owners.count))
        var patience = Self.comparisons
        var barred = [Int](repeating: 0, count: owners.count)
        var best = (conflicts: Int.max, owners: owners)
        var round = 0
        var zoneEscapes = 0
        while patience > 0 {
            round += 1
            var improved = false
            var wedged: [Int] = []
            for index in owners.indices where conflicts(of: owners[index], at: index) > 0 && patience > 0 {
                let (partner, gain) = bestPartner(of: index, &patience) { _ in true }
                if gain > 0 {
                    owners.swapAt(index, partner)
                    improved = true
                } else {
                    wedged.append(index)
                }
            }
            if improved { continue }
            let conflicts = owners.indices.reduce(0) { $0 + self.conflicts(of: owners[$1], at: $1) }
            if conflicts < best.conflicts { best = (conflicts, owners) }
            if conflicts == 0 { return }
            let ofNodes = wedged.filter { self.conflicts(of: owners[$0], at: $0) >= cost.sameNode }
            if mustKeepApart, !ofNodes.isEmpty {
                wedged = ofNodes
            } else {
                zoneEscapes += 1
                if !mustKeepZonesApart || zoneEscapes > Self.zoneEscapes { break }
            }
            let index = wedged[Int(generator.next() % UInt64(wedged.count))]
            let (partner, _) = bestPartner(of: index, &patience) { barred[$0] < round }
            if partner < 0 { break }
            barred[index] = round + Self.barredRounds
            barred[partner] = round + Self.barredRounds
            owners.swapAt(index, partner)
        }
        if best.conflicts < Int.max { owners = best.owners }
    }

    /// How many pairs are compared before a change is given up (a few seconds' worth; all but rings of some
    /// thousand partitions on N + 1 nodes need far fewer), how many dead ends between zones are left behind, and
    /// for how many rounds two partitions stay that were exchanged for nothing.
    private static let comparisons = 40_000_000
    private static let zoneEscapes = 100
    private static let barredRounds = 8

    /// The partition to exchange owners with, and what the ring would cost less for it.
    private mutating func bestPartner(
        of index: Int, _ patience: inout Int, where allowed: (Int) -> Bool
    ) -> (partner: Int, gain: Int) {
        let mine = owners[index]
        let conflictsHere = conflicts(of: mine, at: index)
        let moveHere = moveCost(of: mine, at: index)
        var best = -1
        var bestGain = Int.min
        var partner = index
        // From the place itself on, so that mended places do not pile up at the start of the ring.
        for offset in 1..<owners.count {
            partner = partner + 1 == owners.count ? 0 : partner + 1
            let theirs = owners[partner]
            if theirs == mine || !allowed(partner) { continue }
            patience -= 1
            let before = conflictsHere + conflicts(of: theirs, at: partner)
            // The two may be in one another's way.
            let near = min(offset, owners.count - offset) < nodeDistance
            if near { owners.swapAt(index, partner) }
            let after = conflicts(of: theirs, at: index) + conflicts(of: mine, at: partner)
            if near { owners.swapAt(index, partner) }
            let moves =
                moveHere + moveCost(of: theirs, at: partner) - moveCost(of: theirs, at: index)
                - moveCost(of: mine, at: partner)
            let gain = before - after + moves
            if gain > bestGain {
                best = partner
                bestGain = gain
                // As good as mending this place and moving nothing more: none need be better.
                if gain > 0, gain >= conflictsHere + moveHere { break }
            }
        }
        return (best, bestGain)
    }

    // MARK: Verdict

    var repeats: Bool { !repeatedNodes.isEmpty }

    var repeatedNodes: [Int] {
        owners.indices.filter { index in
            (1..<max(1, nodeDistance)).contains { owners[(index + $0) % owners.count] == owners[index] }
        }
    }

    var repeatedZones: [Int] {
        owners.indices.filter { index in
            (1..<max(1, zoneDistance)).contains {
                zones[owners[(index + $0) % owners.count]] == zones[owners[index]]
            }
        }
    }
}
