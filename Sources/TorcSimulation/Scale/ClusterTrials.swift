// The news whose way through the cluster is measured. One trial:
//
//   a node dies ─► meanwhile a bucket's properties change, and a new member joins ─► the first one returns, and
//   learns of both ─► another node gets a new build
//
// Of a return only the returning node is told by its links, so the others know it by what nodes tell one
// another. A new member's links come up one after the other within two periods, as if it dialled them when it
// was told that it is one.

import TorcModel
import TorcReplication

extension ClusterScale {
    private static let pause: UInt64 = 20
    private static let dialPeriods: UInt64 = 2
    private static let returnPeriods: UInt64 = 5
    /// A node may miss two rounds of digests.
    private static let missedPeriods: UInt64 = 60
    private static let operatorTime = Span.seconds(60)

    mutating func trial(_ number: UInt16) -> ClusterScaleReport.Trial {
        let victim = random.below(nodes.count)
        let name = nodes[victim].id
        nodes[victim].isUp = false
        let death = spread([
            News(nodes: all(besides: victim)) { $0.control.membership.member(name)!.state != .alive },
            News(nodes: all(besides: victim)) { $0.control.membership.member(name)!.state == .dead },
        ])
        let (property, propertyAnswered) = change(Self.scope("changed-\(number)"), besides: victim)
        wait(periods: Self.pause)
        let (ring, ringAnswered, joined) = join(besides: victim)
        wait(periods: Self.pause)

        let received = nodes[victim].receivedBytes
        let left = nodes[victim].control
        nodes[victim].control = control(
            name, stored: nodes[victim].incarnation, patch: number, left.table, left.agreement.record)
        nodes[victim].propertyLearnedAt = nil
        nodes[victim].ringLearnedAt = nil
        let back = now
        start(victim)
        let returned = spread(to: all(besides: victim)) { $0.control.membership.member(name)!.state == .alive }
        wait(periods: Self.returnPeriods)
        let bytes = nodes[victim].receivedBytes - received
        if nodes[victim].propertyLearnedAt == nil || nodes[victim].ringLearnedAt == nil {
            wait(periods: Self.missedPeriods)
        }
        let missedProperty = nodes[victim].propertyLearnedAt.map { periods(from: back, to: $0) }
        let missedRing = nodes[victim].ringLearnedAt.map { periods(from: back, to: $0) }
        wait(periods: Self.pause)

        let build = newBuild(100 + number)
        wait(periods: Self.pause)
        return ClusterScaleReport.Trial(
            suspected: death[0], dead: death[1], returned: returned, joined: joined, ring: ring,
            ringAnswered: ringAnswered, build: build, property: property, propertyAnswered: propertyAnswered,
            missedProperty: missedProperty, missedRing: missedRing, bytesToReturning: bytes)
    }

    private mutating func other(than place: Int) -> Int {
        let drawn = random.below(nodes.count - 1)
        return drawn >= place ? drawn + 1 : drawn
    }

    private func deadline(after time: Span) -> MonotonicTime {
        MonotonicTime(nanoseconds: (now + Self.firstInstant + time).nanoseconds)
    }

    private mutating func change(
        _ scope: PropertiesScope, besides victim: Int
    ) -> (ClusterScaleReport.Spread, answered: Double?) {
        let setter = other(than: victim)
        var wanted = PropertiesChange()
        wanted.r = .one
        let began = now
        nodes[setter].propertyAnsweredAt = nil
        handle(
            .setProperties(
                RequestID(rawValue: 1), scope, wanted, holdsData: false, deadline: deadline(after: Self.operatorTime)),
            at: setter)
        let known = spread(to: all(besides: victim)) { $0.control.table.versioned(scope) != nil }
        return (known, nodes[setter].propertyAnsweredAt.map { periods(from: began, to: $0) })
    }

    /// An operator stages and commits it at some node. The new one starts when the ring is installed anywhere.
    private mutating func join(
        besides victim: Int
    ) -> (ring: ClusterScaleReport.Spread, answered: Double?, joined: ClusterScaleReport.Spread) {
        let id = freshID()
        let node = other(than: victim)
        let epoch = nodes[node].control.agreement.state.ring.epoch + 1
        let began = now
        nodes[node].ringAnsweredAt = nil
        handle(.ring(RequestID(rawValue: 2), .stage(.join(ClusterMember(claim: ClaimMember(node: id))))), at: node)
        handle(
            .ring(RequestID(rawValue: 3), .commit(plan: nil, deadline: deadline(after: Self.operatorTime))), at: node)
        while nodes[node].ringLearnedAt.map({ $0 < began }) ?? true, periods(from: began, to: now) < 100 {
            advance(to: now + .milliseconds(1))
        }

        let place = nodes.count
        let record = RingRecord(state: nodes[node].control.agreement.state)
        add(Node(id: id, control: control(id, stored: .unheard, patch: 0, nodes[node].control.table, record)))
        let dialled = Span.zero...(plan.period * Self.dialPeriods)
        for other in 0..<place { link(place, other, at: now + random.span(dialled)) }
        handle(.tick, at: place)

        let spreads = spread(
            [
                News(nodes: all(besides: victim)) { $0.control.agreement.state.ring.epoch >= epoch },
                News(nodes: all(besides: victim, place)) { node in
                    guard let member = node.control.membership.member(id) else { return false }
                    return member.incarnation > .unheard && member.state == .alive
                },
            ], since: began)
        // Nothing is to be moved: the next order finds the ring at rest.
        while nodes[node].control.agreement.state.transition != nil, periods(from: began, to: now) < 100 {
            advance(to: now + .milliseconds(10))
        }
        return (spreads[0], nodes[node].ringAnsweredAt.map { periods(from: began, to: $0) }, spreads[1])
    }

    private mutating func newBuild(_ patch: UInt16) -> ClusterScaleReport.Spread {
        let changed = random.below(nodes.count)
        let name = nodes[changed].id
        handle(.facts(Self.facts(patch)), at: changed)
        return spread(to: all(besides: changed)) { $0.control.membership.member(name)!.facts?.build.patch == patch }
    }
}
