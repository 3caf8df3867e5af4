import NIOCore
import Testing
import TestSupport
import TorcModel
import TorcReplication

@Suite struct RingPlanTests {
    private func node(_ number: UInt64) -> NodeID { NodeID(rawValue: number) }

    private func state(members: UInt64) -> ClusterState { RingDialogue(members: members).first }

    private func member(_ number: UInt64) -> ClusterMember {
        ClusterMember(claim: ClaimMember(node: node(number)), contact: ByteBuffer(string: "host\(number):1"))
    }

    @Test func aJoinMovesTheNewMembersShareAlone() throws {
        let state = state(members: 3)
        let plan = try RingPlan(changes: [.join(member(4))], of: state)
        #expect(plan.next.ring.members == [1, 2, 3, 4].map(node))
        #expect(plan.moves.count == 4)
        #expect(plan.moves.allSatisfy { $0.target == node(4) })
        #expect(plan.next.ring.epoch == 2)
        #expect(plan.next.descends(from: state.version))
        #expect(plan.next.members.last?.contact == ByteBuffer(string: "host4:1"))
    }

    @Test func aReplacementTakesExactlyWhatTheOtherHad() throws {
        let state = state(members: 4)
        let plan = try RingPlan(changes: [.replace(node(2), by: member(9))], of: state)
        let taken = state.ring.owners.indices.filter { state.ring.owners[$0] == node(2) }
        #expect(plan.moves.map(\.partition.index) == taken)
        #expect(plan.moves.allSatisfy { $0.source == node(2) && $0.target == node(9) })
        #expect(plan.next.fenced == [node(2)])
    }

    @Test func whoLeavesMayComeBackAndWhoIsRemovedMayNot() throws {
        let left = try RingPlan(changes: [.leave(node(2))], of: state(members: 4)).next.atRest
        #expect(left.fenced.isEmpty)
        #expect(try RingPlan(changes: [.join(member(2))], of: left).next.members.count == 4)
        let removed = try RingPlan(changes: [.remove(node(2))], of: state(members: 4)).next.atRest
        #expect(throws: StagingRefusal.fenced(node(2))) {
            try RingPlan(changes: [.join(member(2))], of: removed)
        }
    }

    @Test func whileCopiesMoveMembersCanOnlyBeRemoved() throws {
        let moving = try RingPlan(changes: [.join(member(5))], of: state(members: 4)).next
        #expect(throws: StagingRefusal.moving) { try RingPlan(changes: [.join(member(6))], of: moving) }
        #expect(throws: StagingRefusal.moving) { try RingPlan(changes: [.leave(node(1))], of: moving) }
        let plan = try RingPlan(changes: [.remove(node(2))], of: moving)
        #expect(plan.moves.isEmpty, "what it owned moves later")
        #expect(plan.next.ring.owners == moving.ring.owners)
        #expect(plan.next.transition?.phase == .copying)
        #expect(plan.next.transition?.since == moving.ring.epoch)
        #expect(plan.next.fencedOwners == [node(2)])
        #expect(!plan.next.contains(node(2)))
        let rest = plan.next.atRest
        let last = try RingPlan(changes: [], of: rest).next
        #expect(last.fencedOwners.isEmpty)
        #expect(last.ring.members == [1, 3, 4, 5].map(node))
    }

    @Test func changesThatContradictEachOtherAreRefused() {
        let state = state(members: 3)
        func refusal(_ changes: StagedChange...) -> StagingRefusal? {
            do throws(StagingRefusal) {
                _ = try RingPlan(changes: changes, of: state)
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal() == .nothingStaged)
        #expect(refusal(.join(member(1))) == .alreadyMember(node(1)))
        #expect(refusal(.leave(node(8))) == .notMember(node(8)))
        #expect(refusal(.leave(node(2)), .remove(node(2))) == .alreadyStaged(node(2)))
        #expect(refusal(.join(member(8)), .replace(node(2), by: member(8))) == .alreadyStaged(node(8)))
        #expect(refusal(.leave(node(1)), .leave(node(2)), .leave(node(3))) == .claim(.noMembers))
        var far = member(9)
        far.contact = ByteBuffer(repeating: 1, count: ClusterMember.maximumContactBytes + 1)
        #expect(refusal(.join(far)) == .outOfBounds(node(9)))
        #expect(refusal(.join(member(9)), .leave(node(2))) == nil)
    }

    @Test func replicasThatChangeHandsAreThoseOfTheTwoPreferenceLists() throws {
        let state = state(members: 4)
        let plan = try RingPlan(changes: [.join(member(5))], of: state)
        for copies in 1...5 {
            let handovers = plan.handovers(copies: copies)
            for partition in 0..<16 {
                let partition = PartitionID(partition)
                var list = Set(state.ring.preferenceList(of: partition, count: copies))
                for handover in handovers where handover.partition == partition {
                    if let source = handover.source { #expect(list.remove(source) != nil) }
                    if let target = handover.target { #expect(list.insert(target).inserted) }
                }
                #expect(list == Set(plan.next.ring.preferenceList(of: partition, count: copies)))
            }
        }
    }

    @Test func recordsOfRingsReadBackAndRefuseOtherBytes() throws {
        for seed in UInt64(0)..<200 {
            var generator = SeededGenerator(seed: seed)
            let state = generator.clusterState()
            let members = state.members.map(\.node)
            var record = RingRecord(state: state, staged: [generator.stagedChange(of: state)], hasLeft: seed % 7 == 0)
            if members.count > 1, let plan = try? RingPlan(changes: record.staged, of: state) {
                // A vote that a machine has cast.
                var machine = RingAgreement(
                    node: members[0], start: RingStart(record: record, seed: seed))
                var effects: [RingEffect] = []
                let message = RingMessage(
                    version: state.version, body: .accept(generator.ringBallot(), plan.next))
                machine.handle(
                    .message(from: members[1], message), now: MonotonicTime(nanoseconds: 1),
                    effects: &effects)
                record = machine.record
                #expect(record.vote.accepted?.state == plan.next, "seed \(seed)")
            }
            let bytes = record.encoded
            #expect(try RingRecord(decoding: bytes) == record, "seed \(seed)")
            let cut = Int.random(in: 0..<bytes.readableBytes, using: &generator)
            #expect(throws: MalformedBytes.self, "seed \(seed)") {
                try RingRecord(decoding: bytes.getSlice(at: bytes.readerIndex, length: cut)!)
            }
            var damaged = bytes
            let place = Int.random(in: 0..<bytes.readableBytes, using: &generator)
            damaged.setInteger(
                damaged.getInteger(at: place, as: UInt8.self)! ^ (1 << UInt8.random(in: 0..<8, using: &generator)),
                at: place)
            // It may read as another one; it never traps.
            _ = try? RingRecord(decoding: damaged)
        }
    }

    @Test func ancestryIsBoundedAndKnowsRelations() throws {
        var state = state(members: 3)
        let first = state
        var states = [state]
        for number in UInt64(0)..<400 {
            let change: StagedChange = number % 2 == 0 ? .join(member(4)) : .leave(node(4))
            state = try RingPlan(changes: [change], of: state).next
            states.append(state)
            while state.transition != nil {
                state = state.advanced()
                states.append(state)
            }
        }
        #expect(state.ancestry.count == ClusterState.maximumAncestry)
        #expect(!state.descends(from: first.version))
        #expect(state.descends(from: states[states.count - 1 - ClusterState.maximumAncestry].version))
        #expect(!state.descends(from: states[states.count - 2 - ClusterState.maximumAncestry].version))
        #expect(state.descends(from: states[1_000].version))
        #expect(!states[1_000].descends(from: state.version))
    }
}
