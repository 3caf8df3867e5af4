// What a node holds of the other members: one entry each, in the order of their ids, changed by claims alone.

package import TorcModel

/// A member as a node sees it.
package struct Member: Hashable, Sendable {
    package let node: NodeID
    package internal(set) var incarnation = MembershipIncarnation.unheard
    package internal(set) var state = MemberState.alive
    /// Nil: it has told nothing yet.
    package internal(set) var facts: MemberFacts?
    /// The incarnation that told the facts.
    var factsIncarnation = MembershipIncarnation.unheard
    /// Who says so, of one that is not alive.
    var accuser: NodeID?

    init(node: NodeID) { self.node = node }
}

struct MemberTable: Sendable {
    /// Ascending by id, without this node.
    private(set) var members: [Member] = []
    private var places: [NodeID: Int] = [:]

    enum Change: Hashable, Sendable {
        /// It says nothing new.
        case none
        /// Facts that are worth no word to others.
        case facts
        /// Facts that others shall hear of.
        case news
        /// Who was not alive is: it has raised its incarnation.
        case returned
        /// It was alive, and has raised its incarnation.
        case renewed
        case suspected
        case died
    }

    init(_ nodes: [NodeID], without own: NodeID) { keep(nodes, without: own) }

    var count: Int { members.count }
    func place(of node: NodeID) -> Int? { places[node] }
    subscript(node: NodeID) -> Member? { places[node].map { members[$0] } }

    /// Those that are no members any more are forgotten, new ones are as yet unheard of.
    mutating func keep(_ nodes: [NodeID], without own: NodeID) {
        var next: [Member] = []
        for node in nodes.sorted() where node != own && next.last?.node != node {
            next.append(self[node] ?? Member(node: node))
        }
        members = next
        places = Dictionary(uniqueKeysWithValues: next.enumerated().map { ($1.node, $0) })
    }

    /// Takes the claim in if it stands above what is held.
    mutating func merge(_ claim: MemberClaim) -> Change {
        guard let place = places[claim.node] else { return .none }
        let before = members[place]
        var change = Change.none
        if case .alive(let facts) = claim.content {
            let isNewer =
                (claim.incarnation, facts.sequence) > (before.factsIncarnation, before.facts?.sequence ?? 0)
            if isNewer {
                change = facts.differsForGood(from: before.facts) ? .news : .facts
                members[place].facts = facts
                members[place].factsIncarnation = claim.incarnation
            }
        }
        var stands = (claim.incarnation, claim.state) > (before.incarnation, before.state)
        if Mutation.olderAliveOverridesDead.isActive, claim.state == .alive, before.state == .dead { stands = true }
        guard stands else { return change }
        members[place].incarnation = claim.incarnation
        members[place].state = claim.state
        switch claim.content {
        case .alive:
            members[place].accuser = nil
            return before.state == .alive ? .renewed : .returned
        case .suspect(let accuser):
            members[place].accuser = accuser
            return .suspected
        case .dead(let accuser):
            members[place].accuser = accuser
            return .died
        }
    }

    /// Another one who says so.
    mutating func confirm(_ node: NodeID, by accuser: NodeID) {
        if let place = places[node] { members[place].accuser = accuser }
    }

    /// What this node says of a member; nil when it has nothing to say.
    func claim(about node: NodeID) -> MemberClaim? {
        guard let member = self[node] else { return nil }
        switch member.state {
        case .alive:
            guard let facts = member.facts, member.factsIncarnation == member.incarnation else { return nil }
            return MemberClaim(node: node, incarnation: member.incarnation, content: .alive(facts))
        case .suspect:
            return MemberClaim(
                node: node, incarnation: member.incarnation, content: .suspect(by: member.accuser ?? node))
        case .dead:
            return MemberClaim(node: node, incarnation: member.incarnation, content: .dead(by: member.accuser ?? node))
        }
    }
}
