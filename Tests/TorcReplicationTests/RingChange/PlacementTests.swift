// Where copies lie while they move, over random clusters and changes.

import Testing
import TestSupport
import TorcModel
import TorcReplication

@Suite struct PlacementTests {
    /// A state in the middle of a transition, of up to eight members.
    private func moving(_ seed: UInt64) -> ClusterState? {
        var random = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...8, using: &random)
        let members = (1...count).map { ClaimMember(node: NodeID(rawValue: UInt64($0))) }
        var state = ClusterState(declared: try! .declared(members: members, size: RingSize(partitions: 16)!))
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            if let plan = try? RingPlan(changes: [random.stagedChange(of: state.atRest)], of: state.atRest) {
                state = plan.next
            }
        }
        return state.transition == nil ? nil : state
    }

    /// What a strict write rests on: of the nodes of the former list, as many are, or are handed to, nodes of the next.
    @Test(arguments: UInt64(0)..<300) func whatTheFormerListHoldsIsOnAsManyOfTheNext(seed: UInt64) {
        guard let state = moving(seed) else { return }
        let copying = state.placement
        let settled = state.atRest.placement
        for index in 0..<16 {
            let partition = PartitionID(index)
            for copies in 1...7 {
                let next = settled.holders(of: partition, copies: copies)
                let old = readers(state, partition, copies)
                let leaving = old.filter { !next.contains($0) }
                for leaver in leaving {
                    let takers = next.filter {
                        copying.sources(for: $0, of: partition, copies: copies).contains(leaver)
                    }
                    #expect(!takers.isEmpty, "seed \(seed): nobody takes \(partition) n=\(copies) from \(leaver)")
                    if old.count == next.count { #expect(takers == next.filter { !old.contains($0) }, "seed \(seed)") }
                }
                if old.count < next.count {
                    for comer in next where !old.contains(comer) {
                        let sources = copying.sources(for: comer, of: partition, copies: copies)
                        #expect(Set(sources) == Set(old), "seed \(seed)")
                    }
                }
            }
        }
    }

    private func readers(_ state: ClusterState, _ partition: PartitionID, _ copies: Int) -> [NodeID] {
        let former = state.transition!.former.preferenceList(of: partition, count: copies)
        let living = former.filter { !state.fenced.contains($0) }
        if !living.isEmpty { return living }
        let everybody = state.transition!.former.preferenceList(of: partition, count: 16)
        return Array(everybody.filter { !state.fenced.contains($0) }.prefix(copies))
    }

    @Test func eachStepHasItsLists() throws {
        let members = (1...4).map { ClaimMember(node: NodeID(rawValue: $0)) }
        let first = ClusterState(declared: try .declared(members: members, size: RingSize(partitions: 16)!))
        let joiner = ClusterMember(claim: ClaimMember(node: NodeID(rawValue: 5)))
        let copying = try RingPlan(changes: [.join(joiner)], of: first).next
        let retiring = copying.advanced()
        let settled = retiring.advanced()
        #expect(
            [first, copying, retiring, settled].map(\.placement.phase) == [.settled, .copying, .retiring, .settled])
        #expect([first, copying, retiring, settled].map(\.placement.epoch) == [1, 2, 3, 4])
        // At rest the step before wrote to the same owners; who knows only an older ring is told.
        #expect([first, copying, retiring, settled].map(\.placement.floor) == [0, 2, 2, 3])
        #expect(Set([first, copying, retiring, settled].map(\.placement.fingerprint)).count == 4)
        var moved = 0
        for index in 0..<16 {
            let partition = PartitionID(index)
            let old = first.placement.holders(of: partition, copies: 3)
            let next = settled.placement.holders(of: partition, copies: 3)
            #expect(copying.placement.holders(of: partition, copies: 3).prefix(3) == old[...], "reads go to the former")
            #expect(retiring.placement.holders(of: partition, copies: 3).prefix(3) == next[...], "reads go to the next")
            for placement in [copying.placement, retiring.placement] {
                #expect(Set(placement.holders(of: partition, copies: 3)) == Set(old + next), "writes go to both")
            }
            if Set(old) != Set(next) { moved += 1 }
        }
        #expect(moved > 0)
        #expect(copying.placement.nodes.count == 5)
    }

    @Test func whoIsFencedIsAskedForNothing() throws {
        let members = (1...4).map { ClaimMember(node: NodeID(rawValue: $0)) }
        let first = ClusterState(declared: try .declared(members: members, size: RingSize(partitions: 16)!))
        let gone = NodeID(rawValue: 2)
        let copying = try RingPlan(changes: [.remove(gone)], of: first).next
        for state in [copying, copying.advanced(), copying.atRest] {
            #expect(!state.placement.nodes.contains(gone))
            #expect(state.placement.isFenced(gone))
            for index in 0..<16 {
                for copies in 1...7 {
                    let holders = state.placement.holders(of: PartitionID(index), copies: copies)
                    #expect(!holders.contains(gone))
                    #expect(!holders.isEmpty)
                }
            }
        }
    }

    /// A generation was forced while copies came from nodes that are gone with it.
    @Test func whereAllOfTheFormerListAreGoneTheNextIsRead() throws {
        let size = RingSize(partitions: 16)!
        let members = (1...4).map { ClaimMember(node: NodeID(rawValue: $0)) }
        let ring = try Ring.declared(members: members, size: size)
        let former = try Ring.declared(members: Array(members.prefix(2)), size: size)
        let gone = members.prefix(2).map(\.node)
        let placement = Placement(
            phase: .copying, ring: ring, former: former, fenced: gone, fingerprint: RingFingerprint(of: ring))
        for index in 0..<16 {
            for copies in 1...4 {
                let partition = PartitionID(index)
                let living = ring.preferenceList(of: partition, count: copies).filter { !gone.contains($0) }
                let holders = placement.holders(of: partition, copies: copies)
                #expect(!holders.isEmpty && Set(holders).isDisjoint(with: gone))
                #expect(living.isEmpty || holders == living)
                #expect(placement.leastCopies(of: partition, copies: copies) == holders.count)
            }
        }
    }
}
