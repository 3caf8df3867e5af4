// Claim, judged by what a plan must be and not by how it is made: quotas, distances and moves are counted anew
// from the owners alone.

import Foundation
import Testing
import TorcModel

@Suite struct ClaimTests {
    /// Every cluster size up to 64 for these; larger rings, for a sample of sizes unless TORC_SWEEP is set.
    static let fullySwept = [8, 16, 32, 64, 128, 256]
    static let sampled = [512, 1_024, 4_096, 16_384]
    static let sampledMembers = [1, 2, 3, 4, 5, 7, 16, 33, 64]
    static let sweepsAll = ProcessInfo.processInfo.environment["TORC_SWEEP"] != nil

    static var cases: [(size: RingSize, members: Int)] {
        (fullySwept + sampled).flatMap { partitions in
            (1...64).filter { members in
                members <= partitions
                    && (sweepsAll || fullySwept.contains(partitions) || sampledMembers.contains(members))
            }.map { (RingSize(partitions: partitions)!, $0) }
        }
    }

    static func members(_ numbers: some Sequence<Int>) -> [ClaimMember] {
        numbers.map { ClaimMember(node: NodeID(rawValue: UInt64($0) &* 0x9e37_79b9_7f4a_7c15)) }
    }

    static func counts(_ owners: [NodeID]) -> [NodeID: Int] {
        owners.reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }

    /// Partitions whose owner comes again within the next `target - 1`.
    static func repeats(_ owners: [NodeID], target: Int = 3) -> Int {
        owners.indices.filter { index in
            (1..<target).contains { owners[(index + $0) % owners.count] == owners[index] }
        }.count
    }

    @Test func aNewRingIsBalancedAndKeepsOwnersApart() throws {
        for (size, count) in Self.cases {
            let plan = try ClaimPlan(size: size, members: Self.members(1...count))
            let counts = Self.counts(plan.owners)
            let subject: Comment = "Q \(size.partitions), \(count) members"
            #expect(counts.count == count, subject)
            #expect(counts.values.max()! - counts.values.min()! <= 1, subject)
            #expect(plan.moves.isEmpty, subject)
            #expect(plan.repeatedNodes.count == Self.repeats(plan.owners, target: min(3, count)), subject)
            // With three members the owners would need a period of three, which no power of two has.
            if count > 3 { #expect(plan.repeatedNodes.isEmpty, subject) }
            if count == 3 { #expect(plan.repeatedNodes.count <= 2, subject) }
        }
    }

    @Test func everyPreferenceListNamesDistinctNodes() throws {
        for (size, count) in Self.cases where size.partitions <= 1_024 || Self.sweepsAll {
            let ring = try Ring.declared(members: Self.members(1...count), size: size)
            for partition in 0..<size.partitions {
                let list = ring.preferenceList(of: PartitionID(partition), count: 3)
                #expect(list.count == min(3, count) && Set(list).count == list.count)
                #expect(list.first == ring.owners[partition])
            }
        }
    }

    @Test func addingANodeMovesItsShareAndOnlyToIt() throws {
        for (size, count) in Self.cases where count < min(64, size.partitions) {
            let ring = try Ring.declared(members: Self.members(1...count), size: size)
            let members = Self.members(1...count + 1)
            let plan = try ClaimPlan(changing: ring, members: members)
            let added = members.last!.node
            let subject: Comment = "Q \(size.partitions), \(count) members and one more"
            #expect(Self.counts(plan.owners).values.max()! - Self.counts(plan.owners).values.min()! <= 1, subject)
            let toNew = plan.moves.filter { $0.target == added }.count
            let share = size.partitions / (count + 1)
            #expect(toNew == share || (toNew == share + 1 && size.partitions % (count + 1) != 0), subject)
            if count >= 3 { #expect(plan.repeatedNodes.isEmpty, subject) }
            // From three to four the one flaw of a ring of three must go, too: at most two more moves (2 was
            // measured for Q = 32, 0 for all others).
            #expect(plan.moves.count - toNew <= (count == 3 ? 2 : 0), subject)
            #expect(Self.movesAgree(plan, with: ring), subject)
        }
    }

    @Test func removingANodeMovesWhatItOwned() throws {
        for (size, count) in Self.cases where count > 1 && (count > 5 || size.partitions <= 1_024) {
            let members = Self.members(1...count)
            let ring = try Ring.declared(members: members, size: size)
            let gone = members[count / 2].node
            let plan = try ClaimPlan(changing: ring, members: members.filter { $0.node != gone })
            let subject: Comment = "Q \(size.partitions), \(count) members less one"
            let owned = ring.owners.filter { $0 == gone }.count
            let beyond = plan.moves.count - owned
            #expect(plan.moves.filter { $0.source == gone }.count == owned, subject)
            #expect(plan.owners.allSatisfy { $0 != gone }, subject)
            #expect(Self.counts(plan.owners).values.max()! - Self.counts(plan.owners).values.min()! <= 1, subject)
            if count > 4 { #expect(plan.repeatedNodes.isEmpty, subject) }
            // Four nodes that must keep three neighbours apart have two choices a place, and a freed one often
            // none: up to an eighth of the ring moves besides. With more nodes a handful, with many none.
            let bound = count == 5 ? max(3, size.partitions / 8) : count <= 10 ? 3 : 2
            #expect(beyond <= (count <= 4 ? 0 : bound), "\(subject): \(beyond) beyond \(owned)")
            #expect(Self.movesAgree(plan, with: ring), subject)
        }
    }

    static func movesAgree(_ plan: ClaimPlan, with ring: Ring) -> Bool {
        var owners = ring.owners
        for move in plan.moves {
            guard owners[move.partition.index] == move.source, move.source != move.target else { return false }
            owners[move.partition.index] = move.target
        }
        return owners == plan.owners
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func aLongHistoryOfJoinsAndLeavesStaysBalancedAndApart(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let size = RingSize(partitions: 8 << Int.random(in: 0...5, using: &generator))!
        var present = Array(1...4)
        var next = 5
        var ring = try Ring.declared(members: Self.members(present), size: size)
        for step in 0..<30 {
            if present.count == 2 || (present.count < min(size.partitions, 24) && generator.next() % 5 < 3) {
                present.append(next)
                next += 1
            } else {
                present.remove(at: Int.random(in: present.indices, using: &generator))
            }
            let plan = try ClaimPlan(changing: ring, members: Self.members(present.shuffled(using: &generator)))
            let counts = Self.counts(plan.owners)
            let subject: Comment = "seed \(seed), step \(step), Q \(size.partitions), \(present.count) members"
            #expect(counts.count == present.count, subject)
            #expect(counts.values.max()! - counts.values.min()! <= 1, subject)
            if present.count > 3 { #expect(Self.repeats(plan.owners) == 0, subject) }
            ring = Ring(epoch: ring.epoch + 1, size: size, owners: plan.owners)
        }
    }

    @Test func theOrderOfTheMembersDoesNotMatter() throws {
        var generator = SeededGenerator(seed: 3)
        let members = (1...9).map {
            ClaimMember(node: NodeID(rawValue: UInt64($0) << 40), weight: 1 + $0 % 3, zone: "zone \($0 % 4)")
        }
        let first = try Ring.declared(members: members)
        let smaller = try ClaimPlan(changing: first, members: Array(members.dropLast()))
        for _ in 0..<10 {
            #expect(try Ring.declared(members: members.shuffled(using: &generator)) == first)
            let again = try ClaimPlan(changing: first, members: members.dropLast().shuffled(using: &generator))
            #expect(again == smaller)
        }
        #expect(try ClaimPlan(changing: first, members: members).moves.isEmpty)
    }

    /// Written down once: a ring that another build computes differently would lose its data.
    @Test func theFirstRingNeverChanges() throws {
        let members = (1...5).map { ClaimMember(node: NodeID(rawValue: UInt64($0))) }
        let ring = try Ring.declared(members: members, size: RingSize(partitions: 16)!)
        #expect(ring.owners.map(\.rawValue) == [2, 3, 5, 1, 4, 3, 1, 4, 5, 2, 1, 3, 2, 1, 4, 5])
        #expect(ring.epoch == 1 && ring.members == members.map(\.node))
    }

    @Test func weightsGiveShares() throws {
        let size = RingSize(partitions: 256)!
        let members = [1, 1, 2, 4, 4, 4].enumerated().map {
            ClaimMember(node: NodeID(rawValue: UInt64($0 + 1)), weight: $1)
        }
        let plan = try ClaimPlan(size: size, members: members)
        let counts = Self.counts(plan.owners)
        for member in members {
            let share = Double(256 * member.weight) / 16
            #expect(abs(Double(counts[member.node]!) - share) < 1, "weight \(member.weight)")
        }
        #expect(plan.repeatedNodes.isEmpty)
        // However small its weight, a member owns something.
        let lopsided = [1_000, 1_000, 1_000, 1, 1].enumerated().map {
            ClaimMember(node: NodeID(rawValue: UInt64($0 + 1)), weight: $1)
        }
        #expect(Self.counts(try ClaimPlan(size: .standard, members: lopsided).owners).count == 5)
    }

    @Test func neighboursAreInDistinctZones() throws {
        for (zones, perZone) in [(3, 2), (3, 5), (4, 3), (5, 4), (2, 4)] {
            let members = (0..<zones * perZone).map {
                ClaimMember(node: NodeID(rawValue: UInt64($0) &* 0x9e37_79b9_7f4a_7c15), zone: "rack \($0 % zones)")
            }
            let plan = try ClaimPlan(size: RingSize(partitions: 256)!, members: members)
            let zone = Dictionary(uniqueKeysWithValues: members.map { ($0.node, $0.zone!) })
            let distance = min(3, zones)
            let shared = plan.owners.indices.filter { index in
                (1..<distance).contains { zone[plan.owners[(index + $0) % 256]] == zone[plan.owners[index]] }
            }
            #expect(plan.repeatedZones.map(\.index) == shared)
            #expect(plan.repeatedNodes.isEmpty)
            // Three zones cannot take turns in a number of partitions that three does not divide.
            #expect(shared.count <= (zones == 3 ? 2 : 0), "\(zones) zones of \(perZone)")
        }
    }

    @Test func impossibleMembersAreRefused() {
        let size = RingSize(partitions: 8)!
        let one = ClaimMember(node: NodeID(rawValue: 1))
        #expect(throws: ClaimRefusal.noMembers) { try ClaimPlan(size: size, members: []) }
        #expect(throws: ClaimRefusal.repeatedMember(one.node)) { try ClaimPlan(size: size, members: [one, one]) }
        #expect(throws: ClaimRefusal.moreMembersThanPartitions(members: 9, partitions: 8)) {
            try ClaimPlan(size: size, members: Self.members(1...9))
        }
        for weight in [0, -1, ClaimPlan.maximumWeight + 1] {
            #expect(throws: ClaimRefusal.weightOutOfRange(one.node, weight: weight)) {
                try ClaimPlan(size: size, members: [ClaimMember(node: one.node, weight: weight)])
            }
        }
    }

    @Test func aThousandNodesArePlannedQuickly() throws {
        let size = RingSize(partitions: RingSize.maximum)!
        let members = (1...1_000).map {
            ClaimMember(node: NodeID(rawValue: UInt64($0) &* 0x9e37_79b9_7f4a_7c15), zone: "zone \($0 % 5)")
        }
        let clock = ContinuousClock()
        var plan: ClaimPlan?
        let took = try clock.measure { plan = try ClaimPlan(size: size, members: members) }
        #expect(plan!.repeatedNodes.isEmpty && plan!.repeatedZones.isEmpty)
        // 35 ms in release; the bound is for a debug build on a busy machine.
        #expect(took < .seconds(30))
    }
}
