import Testing
import TestSupport
import TorcModel
import TorcReplication

@Suite struct RingAgreementTests {
    private func node(_ number: UInt64) -> NodeID { NodeID(rawValue: number) }

    @Test func aCommitEndsAndEverybodyHoldsTheRing() {
        var cluster = RingDialogue(members: 3, others: 1)
        cluster.order(.stage(RingDialogue.joiner(4)))
        cluster.commit()
        cluster.deliver()
        #expect((1...4).map { cluster.epoch($0) } == [2, 2, 2, 2])
        #expect(cluster.answers.last == .committed(cluster.machines[1]!.state.version))
        #expect(cluster.machines.values.allSatisfy { $0.state == cluster.machines[1]!.state && $0.isIdle })
        #expect(cluster.machines[1]!.record.staged.isEmpty)
    }

    @Test func aloneItIsItsOwnMajority() {
        var cluster = RingDialogue(members: 1, others: 1)
        cluster.order(.stage(RingDialogue.joiner(2)))
        cluster.commit()
        cluster.deliver()
        #expect(cluster.epoch(1) == 2)
        #expect(cluster.epoch(2) == 2)
    }

    /// A crash in between leaves what was staged before, or all of what was asked for.
    @Test func aJoinBecomesAReplacementInOneStep() {
        var cluster = RingDialogue(members: 3, others: 1)
        let fourth = ClusterMember(claim: ClaimMember(node: node(4)))
        let replacement = StagedChange.replace(node(2), by: fourth)
        cluster.order(.stage(RingDialogue.joiner(4)))
        cluster.order(.stage(.leave(node(3))))
        let before: [StagedChange] = [RingDialogue.joiner(4), .leave(node(3))]
        cluster.order(.stage(.replace(node(9), by: fourth)))
        #expect(cluster.answers.last == .refused(.staging(.notMember(node(9)))))
        #expect(cluster.disks[1]!.staged == before)

        cluster.storesAtOnce = false
        cluster.order(.stage(replacement))
        #expect(cluster.stores[1]!.count == 1)
        #expect(cluster.disks[1]!.staged == before)
        cluster.finishStores(at: 1)
        #expect(cluster.answers.last == .staged([.leave(node(3)), replacement]))
        cluster.start(1)
        #expect(cluster.machines[1]!.record.staged == [.leave(node(3)), replacement])
    }

    @Test func whatIsShownIsWhatIsCommitted() {
        var cluster = RingDialogue(members: 3, others: 2)
        cluster.order(.stage(RingDialogue.joiner(4)))
        cluster.order(.plan)
        guard case .plan(let plan) = cluster.answers.last else {
            Issue.record("no plan")
            return
        }
        cluster.order(.stage(RingDialogue.joiner(5)))
        let deadline = cluster.now.advanced(by: .seconds(5))
        cluster.order(.commit(plan: plan.next.version.fingerprint, deadline: deadline))
        guard case .refused(.planChanged) = cluster.answers.last else {
            Issue.record("\(cluster.answers)")
            return
        }
        cluster.order(.abort)
        #expect(cluster.answers.last == .staged([]))
        cluster.commit()
        #expect(cluster.answers.last == .refused(.staging(.nothingStaged)))
    }

    @Test func aPromiseIsToldWhenItIsOnDisk() {
        var cluster = RingDialogue(members: 3)
        cluster.storesAtOnce = false
        cluster.order(.stage(.leave(node(3))))
        #expect(cluster.answers.isEmpty, "nor is what is staged")
        cluster.finishStores(at: 1)
        cluster.commit()
        #expect(cluster.messages.isEmpty, "nobody hears of a ballot that could be used again")
        cluster.finishStores(at: 1)
        #expect(cluster.messages.map(\.to) == [2, 3])
        cluster.messages.removeAll { $0.to == 3 }
        cluster.deliver()
        #expect(cluster.messages.isEmpty)
        #expect(cluster.stores[2]?.last?.record.vote.promised == RingBallot(round: 1, node: node(1)))
        cluster.finishStores(at: 2)
        #expect(cluster.messages.map(\.to) == [1])
    }

    /// A ring of a thousand members is as large as a file: who lacks one asks a few for it, not everybody.
    @Test func fewAreToldAndFewAreAsked() {
        var cluster = RingDialogue(members: 12, others: 1)
        cluster.order(.stage(RingDialogue.joiner(13)))
        cluster.commit()
        cluster.deliver { _, to, _ in to != 12 }
        #expect(cluster.epoch(1) == 2 && cluster.epoch(12) == 1)

        cluster.messages = []
        for peer in 1...11 as ClosedRange<UInt64> { cluster.handle(.peerUp(node(peer)), at: 12) }
        #expect(cluster.messages.map(\.to) == Array(1...8))
        cluster.messages = []
        for peer in 1...11 as ClosedRange<UInt64> { cluster.handle(.peerUp(node(12)), at: peer) }
        cluster.deliver { _, to, message in
            if to == 12 { true } else if case .version = message.body { false } else { true }
        }
        #expect(cluster.epoch(12) == 1, "it asked three, and they did not hear it")
        cluster.pass(.seconds(3), at: 12)
        cluster.deliver()
        #expect(cluster.epoch(12) == 2)
    }

    @Test func anAcceptedRingOutlivesItsProposer() {
        var cluster = RingDialogue(members: 3)
        cluster.order(.stage(.leave(node(3))))
        cluster.commit()
        // Node 2 accepts, and node 1 dies before it hears of it.
        cluster.deliver { _, _, message in
            if case .accepted = message.body { false } else { true }
        }
        #expect(cluster.machines[2]!.record.vote.accepted != nil)
        cluster.machines[1] = nil
        cluster.pass(.seconds(7), at: 2)
        cluster.deliver()
        #expect(cluster.epoch(2) == 2)
        #expect(cluster.epoch(3) == 2)
        #expect(cluster.machines[2]!.state.ring.members == [1, 2].map(node))
        // Node 1 comes back, and hears of it.
        cluster.start(1)
        cluster.handle(.peerUp(node(2)), at: 1)
        cluster.deliver()
        #expect(cluster.machines[1]!.state == cluster.machines[2]!.state)
    }

    @Test func aProposerTakesUpWhatAMajorityMayHaveAccepted() {
        var cluster = RingDialogue(members: 3)
        cluster.order(.stage(.leave(node(3))), at: 1)
        cluster.order(.stage(.leave(node(2))), at: 3)
        cluster.commit(at: 1)
        cluster.deliver { _, to, message in
            if case .accepted = message.body { return false }
            return to != 3
        }
        // Node 1's ring is accepted by nodes 1 and 2. Node 3 does not know.
        cluster.commit(at: 3)
        cluster.deliver { from, to, _ in from != 1 && to != 1 }
        cluster.pass(.seconds(3), at: 3)
        cluster.deliver { from, to, _ in from != 1 && to != 1 }
        #expect(cluster.machines[3]!.state.ring.members == [1, 2].map(node))
        #expect(cluster.answers.last == .lost(to: cluster.machines[3]!.state.version))
        #expect(cluster.machines[3]!.record.staged == [.leave(node(2))], "it can be planned again")
        cluster.messages.removeAll()
        cluster.handle(.peerUp(node(3)), at: 1)
        cluster.deliver()
        #expect(cluster.answers.last == .committed(cluster.machines[3]!.state.version))
    }

    @Test func withoutAMajorityNothingIsCommittedAndTheOperatorIsTold() {
        var cluster = RingDialogue(members: 3)
        cluster.order(.stage(.leave(node(3))))
        cluster.commit(seconds: 5)
        cluster.deliver { _, _, _ in false }
        cluster.pass(.seconds(5), at: 1)
        #expect(cluster.answers.last == .unreachable(reached: 1, needed: 2))
        #expect(cluster.epoch(1) == 1)
        cluster.commit(seconds: 5)
        cluster.deliver { _, _, message in
            if case .accept = message.body { false } else { true }
        }
        cluster.pass(.seconds(5), at: 1)
        #expect(cluster.answers.last == .indeterminate(reached: 1, needed: 2))
    }

    @Test func aMemberThatWasAwayLearnsTheNewestRingAtOnce() {
        var cluster = RingDialogue(members: 4)
        cluster.order(.stage(.remove(node(1))), at: 3)
        cluster.commit(at: 3)
        cluster.deliver { _, to, _ in to != 4 }
        // Some of what node 1 had goes to it.
        cluster.arrive(except: 1, 4)
        #expect(cluster.phase(3) == .copying)
        #expect(cluster.epoch(4) == 1)
        cluster.handle(.peerUp(node(3)), at: 4)
        cluster.deliver()
        #expect(cluster.machines[4]!.state == cluster.machines[3]!.state)
        cluster.arrive(except: 1)
        #expect(cluster.phase(4) == nil)
        // A vote on a ring that is no longer its own is no vote.
        cluster.order(.stage(.leave(node(4))), at: 3)
        cluster.commit(at: 3)
        cluster.deliver()
        #expect(cluster.epoch(4) == cluster.epoch(3))
        cluster.order(.stage(.leave(node(3))), at: 4)
        #expect(cluster.answers.last == .refused(.notMember))
    }

    @Test func aRingOfAnotherDescentIsNotTaken() throws {
        var cluster = RingDialogue(members: 3)
        var stranger = RingDialogue(members: 4)
        for _ in 0..<2 {
            stranger.order(.stage(.leave(node(stranger.machines[1]!.state.ring.members.last!.rawValue))))
            stranger.commit()
            stranger.deliver()
            stranger.arrive()
        }
        let other = stranger.machines[1]!.state
        cluster.handle(
            .message(from: node(9), RingMessage(version: other.version, body: .decided(other))), at: 1)
        #expect(cluster.observations == [.strayed(node(9), other.version)])
        #expect(cluster.epoch(1) == 1)
        let fork = try RingPlan(changes: [.leave(node(4))], of: stranger.first).next
        cluster.order(.stage(.leave(node(3))))
        cluster.commit()
        cluster.deliver()
        cluster.handle(.message(from: node(9), RingMessage(version: fork.version, body: .version)), at: 1)
        #expect(cluster.observations.last == .forked(node(9), fork.version))
    }

    /// The rehearsal of the way out: three of five are gone for good.
    @Test func aForcedGenerationOutranksAndFences() {
        var cluster = RingDialogue(members: 5)
        // Behind the cut the others went on.
        cluster.order(.stage(.leave(node(2))), at: 3)
        cluster.commit(at: 3)
        cluster.deliver { from, to, _ in from > 2 && to > 2 }
        #expect(cluster.epoch(4) == 2)
        cluster.order(.force(without: [node(3), node(4)]))
        #expect(cluster.answers.last == .refused(.majorityLives(living: 3, needed: 3)))
        cluster.order(.force(without: [node(3), node(4), node(5)]))
        cluster.deliver { from, to, _ in from <= 2 && to <= 2 }
        #expect(cluster.machines[2]!.state.ring.members == [1, 2].map(node))
        #expect(cluster.machines[2]!.state.generation == RingGeneration(number: 1, forcedBy: node(1)))
        // One of those that were gone is back: it is told, and has no say any more.
        cluster.handle(.peerUp(node(1)), at: 4)
        cluster.deliver()
        #expect(cluster.machines[4]!.state == cluster.machines[1]!.state)
        #expect(cluster.observations.last == .fenced)
        cluster.order(.stage(.leave(node(1))), at: 4)
        #expect(cluster.answers.last == .refused(.notMember))
        cluster.arrive(except: 3, 4, 5)
        cluster.order(.stage(RingDialogue.joiner(4)))
        #expect(cluster.answers.last == .refused(.staging(.fenced(node(4)))))
    }

    /// Chaos found it: who had joined, left, was killed and started again waited for a join that had long been
    /// committed, and whoever waited for it to have left waited for ever.
    @Test func aRestartForgetsNotThatTheNodeHasLeft() {
        var cluster = RingDialogue(members: 3, others: 2)
        cluster.order(.stage(RingDialogue.joiner(4)))
        cluster.commit()
        cluster.arrive()
        #expect(cluster.disks[4]!.hasLeft == false)
        cluster.order(.stage(.leave(node(4))))
        cluster.commit()
        cluster.deliver()
        #expect(cluster.disks[4]!.state.hasParticipant(node(4)), "it hands over")
        #expect(cluster.disks[4]!.hasLeft == false)
        cluster.arrive()
        #expect(cluster.disks[4]!.hasLeft)
        #expect((1...3).allSatisfy { !cluster.disks[$0]!.hasLeft })
        #expect(cluster.disks[5]!.hasLeft == false, "it waits for its join")

        cluster.start(4)
        cluster.order(.stage(RingDialogue.joiner(5)))
        cluster.commit()
        cluster.arrive()
        #expect(cluster.disks[4]!.hasLeft, "later rings do not change that")
        cluster.order(.stage(RingDialogue.joiner(4)))
        cluster.commit()
        cluster.deliver()
        #expect(cluster.disks[4]!.state.contains(node(4)) && !cluster.disks[4]!.hasLeft)
    }

    @Test func aRestartForgetsNoVote() {
        var cluster = RingDialogue(members: 3)
        cluster.order(.stage(.leave(node(3))))
        cluster.commit()
        cluster.deliver { _, _, message in
            if case .accepted = message.body { false } else { true }
        }
        let before = cluster.machines[2]!.record
        cluster.start(2)
        #expect(cluster.machines[2]!.record == before)
        let low = RingMessage(version: cluster.first.version, body: .prepare(RingBallot(round: 0, node: node(3))))
        cluster.handle(.message(from: node(3), low), at: 2)
        #expect(
            cluster.messages.last?.message.body
                == .refused(RingBallot(round: 0, node: node(3)), promised: RingBallot(round: 1, node: node(1))))
    }

    /// Every order of messages, losses and restarts that some seeds draw: one ring an epoch.
    @Test(arguments: UInt64(0)..<60) func neverTwoRingsOfOneEpoch(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var cluster = RingDialogue(members: UInt64.random(in: 2...5, using: &random))
        let count = UInt64(cluster.machines.count)
        cluster.storesAtOnce = false
        var rings: [UInt64: ClusterFingerprint] = [:]
        for _ in 0..<600 {
            let node = UInt64.random(in: 1...count, using: &random)
            switch Int.random(in: 0..<20, using: &random) {
            case 0:
                let state = cluster.machines[node]!.state
                let other = NodeID(rawValue: UInt64.random(in: 1...count, using: &random))
                cluster.order(
                    .stage(
                        state.contains(other)
                            ? .leave(other) : .join(ClusterMember(claim: ClaimMember(node: other)))), at: node)
            case 1: cluster.commit(at: node, seconds: 3)
            case 9: cluster.arrived(at: node)
            case 2: cluster.pass(.milliseconds(200), at: node)
            case 3 where random.chance(3): cluster.start(node)
            case 4..<9: cluster.finishStores(at: node)
            default:
                guard !cluster.messages.isEmpty else { continue }
                let place = Int.random(in: 0..<cluster.messages.count, using: &random)
                let (from, to, message) = cluster.messages[place]
                if !random.chance(20) { cluster.messages.remove(at: place) }
                if !random.chance(10) { cluster.handle(.message(from: NodeID(rawValue: from), message), at: to) }
            }
            for machine in cluster.disks.values {
                let version = machine.state.version
                let known = rings.updateValue(version.fingerprint, forKey: version.epoch)
                #expect(known == nil || known == version.fingerprint, "seed \(seed): two rings of \(version)")
            }
        }
        // With everything delivered and time passing all come to hold one.
        cluster.storesAtOnce = true
        for node in 1...count { cluster.finishStores(at: node) }
        for _ in 0..<60 {
            cluster.deliver()
            for node in 1...count { cluster.handle(.peerUp(NodeID(rawValue: node % count + 1)), at: node) }
            cluster.deliver()
            for node in 1...count { cluster.pass(.milliseconds(500), at: node) }
        }
        cluster.deliver()
        let states = Set(cluster.machines.values.map(\.state.version))
        #expect(states.count == 1, "seed \(seed)")
        let areIdle = cluster.machines.values.allSatisfy(\.isIdle)
        #expect(areIdle, "seed \(seed)")
    }
}
