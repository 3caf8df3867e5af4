// The membership in a simulated cluster: what every turn is checked for, and what is tried at the end.
//
// While faults strike, anybody may rightly suspect anybody. When they are over all nodes must come to see each
// other alive. Then the network is known, so that an accusation can be judged: nobody may be accused but who
// really did not run.

import TorcModel
import TorcReplication

/// What is tried of the membership after everything else.
package enum MembershipEpilogue: CaseIterable, Sendable {
    /// A node hangs for many periods, just after it has pinged others.
    case hangs
    /// A node dies and stays dead until all others know.
    case dies
    /// A node dies; another hangs as soon as it suspects the first, which meanwhile comes back.
    case diesUnseen
}

extension SimulationPlan {
    mutating func drawMembership(_ random: inout SeededGenerator) {
        membershipPeriod = random.pick([.milliseconds(100), .milliseconds(250), .milliseconds(500)])
        if random.chance(400) { epilogue = random.pick(MembershipEpilogue.allCases) }
        // A slow network needs a patient detector, as in production.
        switch network.delay {
        case .constant(let mean), .exponential(let mean):
            if mean > .milliseconds(1) { membershipPeriod = .milliseconds(500) }
        case .uniform(let range):
            if range.upperBound > .milliseconds(1) { membershipPeriod = .milliseconds(500) }
        case .heavyTail: membershipPeriod = .milliseconds(500)
        }
    }

    /// No answer takes longer than a probe waits for it.
    var isNetworkSwift: Bool { (network.delay.longest + turnDelay + turnDelay) * 3 < membershipPeriod }
}

extension Simulation {
    /// Periods until all see all alive, at most, when nothing is in the way; and until all know of a death.
    private static let periodsToAgree: UInt64 = 400
    /// Longer than any suspicion in a cluster of simulated size, for a node that doubts itself the most.
    private static let periodsOfPause: UInt64 = 60

    func membershipStart(_ node: Int) -> MembershipStart {
        let facts = MemberFacts(build: BuildNumber(major: 0, minor: 1, patch: 0), peerProtocol: 1)
        return MembershipStart(
            timing: MembershipTiming(period: plan.membershipPeriod.duration),
            stored: nodes[node].store.membershipIncarnation, facts: facts, seed: nodes[node].random.next())
    }

    // MARK: Every turn

    func checkTold(_ message: MembershipMessage, by node: Int) {
        guard var found = MembershipChecker().check(message, durable: nodes[node].store.membershipIncarnation)
        else { return }
        found.message = "node \(nodes[node].name): " + found.message
        report(found)
    }

    func checkViews(_ before: [Member], _ id: ProcessID) {
        guard let after = nodes[id.node].process?.control.machine.membership.members,
            var found = MembershipChecker().check(before, after)
        else { return }
        found.message = "node \(nodes[id.node].name): " + found.message
        report(found)
    }

    func checkAccusation(_ observation: MembershipObservation, by node: Int) {
        guard let excused else { return }
        switch observation {
        case .suspected(let accused, let accuser), .died(let accused, let accuser):
            // Nobody answers who is no member any more.
            guard members.contains(node) else { return }
            guard accuser == nodes[node].id, let place = nodes.firstIndex(where: { $0.id == accused }) else { return }
            if let until = excused[place], now <= until { return }
            report(
                Violation(
                    .wrongMembership,
                    "\(nodes[node].name): \(describe(observation)), and nothing is wrong with \(nodes[place].name)"))
        case .returned, .refuted, .paused: break
        }
    }

    // MARK: At the end

    private func others(than node: Int) -> [Int] { members.filter { $0 != node } }

    private func view(of node: Int, at observer: Int) -> MemberState? {
        nodes[observer].process?.control.machine.membership.member(nodes[node].id)?.state
    }

    private var allSeeAllAlive: Bool {
        members.allSatisfy { node in
            nodes[node].process != nil && others(than: node).allSatisfy { view(of: node, at: $0) == .alive }
        }
    }

    private func awaitAgreement(_ occasion: String) {
        guard violation == nil else { return }
        advance(to: now + plan.membershipPeriod * Self.periodsToAgree) { self.allSeeAllAlive }
        guard violation == nil, !allSeeAllAlive else { return }
        let views = members.flatMap { node in
            others(than: node).compactMap { other in
                view(of: node, at: other) == .alive ? nil : "\(nodes[node].name) at \(nodes[other].name)"
            }
        }
        report(Violation(.wrongMembership, "\(occasion), not seen alive: \(views.joined(separator: ", "))"))
    }

    func checkMembership() {
        awaitAgreement("after the faults")
        let members = members
        guard violation == nil, members.count > 1, let epilogue = plan.epilogue else { return }
        // What was on its way is over.
        advance(to: now + plan.membershipPeriod * 20)
        awaitAgreement("after a while")
        if plan.isNetworkSwift { excused = [:] }
        let place = random.below(members.count)
        let node = members[place]
        let other = members[(place + 1 + random.below(members.count - 1)) % members.count]
        switch epilogue {
        case .hangs: tryPause(of: node)
        case .dies: tryDeath(of: node)
        case .diesUnseen: tryUnseenDeath(of: node, hanging: other)
        }
        awaitAgreement("after the last fault")
        excused = nil
    }

    /// Accusations of a node are right, until it has run again for so long that news of it has got around.
    private func excuse(_ node: Int, for pause: Span) {
        if excused != nil { excused![node] = now + pause + plan.membershipPeriod * 4 }
    }

    private func hang(_ node: Int, for pause: Span) {
        note(nodes[node].name, "hangs until \(now + pause)")
        nodes[node].process?.pausedUntil = now + pause
        excuse(node, for: pause)
    }

    private func tryPause(of node: Int) {
        advance(to: now + plan.membershipPeriod * 20) {
            self.nodes[node].process?.control.machine.membership.hasOpenProbes == true
        }
        let pause = plan.membershipPeriod * UInt64(random.within(2...Int(Self.periodsOfPause)))
        hang(node, for: pause)
        advance(to: now + pause + plan.membershipPeriod * 10)
    }

    func takeDown(_ node: Int) {
        nodes[node].staysDown = true
        crash(node, .nothing)
        excuse(node, for: plan.membershipPeriod * Self.periodsToAgree)
    }

    func bringBack(_ node: Int) {
        nodes[node].staysDown = false
        scheduleStart(node, after: .zero)
        excuse(node, for: .zero)
    }

    private func tryDeath(of node: Int) {
        takeDown(node)
        let isKnown = { self.others(than: node).allSatisfy { self.view(of: node, at: $0) == .dead } }
        advance(to: now + plan.membershipPeriod * Self.periodsToAgree, until: isKnown)
        if violation == nil, !isKnown() {
            report(Violation(.wrongMembership, "\(nodes[node].name) is dead, and not everybody knows"))
        }
        bringBack(node)
    }

    private func tryUnseenDeath(of node: Int, hanging other: Int) {
        takeDown(node)
        advance(to: now + plan.membershipPeriod * Self.periodsToAgree) { self.view(of: node, at: other) != .alive }
        let pause = plan.membershipPeriod * Self.periodsOfPause
        hang(other, for: pause)
        advance(to: now + plan.membershipPeriod * 3)
        bringBack(node)
        advance(to: now + pause + plan.membershipPeriod * 10)
    }
}
