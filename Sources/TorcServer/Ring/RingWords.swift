// Rings in words: what an operator's order came to, and what to do next.

import TorcModel
import TorcReplication

struct RingWords: Sendable {
    let directory: ClusterDirectory

    func name(_ node: NodeID) -> String { directory.name(of: node) }

    func change(_ change: StagedChange) -> String {
        func joiner(_ member: ClusterMember) -> String {
            let contact = NodeContact(contact: member.contact)
            let zone = member.claim.zone.map { ", zone \($0)" } ?? ""
            return
                "\(contact?.name ?? "\(member.node)") at \(contact.map { "\($0.address)" } ?? "its declared address")"
                + ", weight \(member.claim.weight)\(zone)"
        }
        return switch change {
        case .join(let member): "join \(joiner(member))"
        case .leave(let node): "leave \(name(node))"
        case .remove(let node): "remove \(name(node))"
        case .replace(let node, let member): "replace \(name(node)) by \(joiner(member))"
        }
    }

    func commit(_ answer: RingAnswer) -> CommitReport {
        switch answer {
        case .committed(let version):
            CommitReport(
                outcome: "committed",
                text: "committed as \(version). Copies move now: watch them with `torc cluster transfers --wait`")
        case .lost(let version):
            CommitReport(
                outcome: "lost",
                text: """
                    not committed: another change was agreed on first, \(version). What was staged here still is, as \
                    far as it makes sense: look at it with `torc cluster plan`, and commit again
                    """)
        case .indeterminate(let reached, let needed):
            CommitReport(
                outcome: "indeterminate",
                text: """
                    not known: \(reached) of the \(needed) members that are needed answered in time, and the change \
                    may still come. Do not commit another one: bring the missing members back, and look at \
                    `torc cluster status` until its epoch shows what became of it
                    """)
        case .unreachable(let reached, let needed):
            CommitReport(
                outcome: "unreachable",
                text: """
                    not committed: \(reached) of the \(needed) members that are needed answered in time. What was \
                    staged still is. Bring members back and commit again; if they are gone for good, see \
                    `torc cluster force-generation --help`
                    """)
        case .refused(let refusal): CommitReport(outcome: "refused", text: self.refusal(refusal))
        // These answer other orders.
        case .staged, .plan: CommitReport(outcome: "refused", text: "the answer to another order")
        }
    }

    func refusal(_ refusal: RingRefusal) -> String {
        switch refusal {
        case .staging(let refusal): staging(refusal)
        case .busy: "a commit is under way at this node, or it stops: wait for its answer"
        case .planChanged(let fingerprint):
            "the plan is another one now, \(fingerprint): look at it with `torc cluster plan`, and commit that one"
        case .notMember: "this node is no member and has no say: ask another one"
        case .majorityLives(let living, let needed):
            """
            \(living) members are not said to be gone, and \(needed) are enough to agree (this node must be one of \
            them): remove the others with `torc cluster remove` and `torc cluster commit`
            """
        }
    }

    func staging(_ refusal: StagingRefusal) -> String {
        switch refusal {
        case .alreadyMember(let node): "\(name(node)) is a member already"
        case .notMember(let node): "\(name(node)) is no member"
        case .fenced(let node):
            "\(name(node)) was removed: it comes back with a new token and an empty data folder, or not at all"
        case .alreadyStaged(let node):
            "a change of \(name(node)) is staged already; `torc cluster abort` forgets what is staged"
        case .outOfBounds(let node): "the name, zone or weight of \(name(node)) is out of bounds"
        case .tooManyStaged(let limit): "\(limit) changes are staged already, the most that go together"
        case .tooManyFenced(let limit): "\(limit) nodes were removed already, the most that are remembered"
        case .nothingStaged: "nothing is staged"
        case .moving:
            "copies move: wait for the end of `torc cluster transfers --wait`; only `remove` is possible meanwhile"
        case .claim(.noMembers): "no member would be left"
        case .claim(.repeatedMember(let node)): "\(name(node)) would be a member twice"
        case .claim(.weightOutOfRange(let node, let weight)): "\(name(node)) cannot have the weight \(weight)"
        case .claim(.moreMembersThanPartitions(let members, let partitions)):
            "\(members) members cannot share \(partitions) partitions"
        }
    }
}
