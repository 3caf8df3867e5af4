// How copies of one object compare: what all of them come to, what each lacks of that or has alone, and why versions
// stand side by side.
//
//   whole = all copies merged, hints among them, as a read that met all of them would
//   a copy is   current      it is the whole
//               behind       others have all that it has, and more
//               concurrent   it lacks something, and has something that nobody else has
//               nothing      there is no record

import NIOCore
package import TorcModel

package struct Explanation: Sendable {
    package enum Relation: Hashable, Sendable {
        case current
        /// What it has not seen, by actor.
        case behind(lacks: [Dot])
        case concurrent(lacks: [Dot], alone: [Dot])
        /// It has seen all there is, and holds other versions: one of them was pruned, or has expired here alone.
        case differs
        case nothing
        case elsewhere
        case unknown(String)
    }

    /// One copy: a store's own, or one that it keeps for another.
    package struct Copy: Sendable {
        package let node: NodeID
        /// Nil: its own.
        package let target: NodeID?
        package let since: WallTime?
        package let object: VersionedObject?
        package let isGrave: Bool
        package let minting: LocalHeader.MintingActor?
        package fileprivate(set) var relation: Relation
    }

    package let place: KeyPlace
    package let sights: [KeySight]
    package private(set) var copies: [Copy] = []
    /// Nil: there is no copy that can be read.
    package private(set) var whole: VersionedObject?

    package init(_ place: KeyPlace, _ sights: [KeySight]) {
        self.place = place
        // Replicas first, in their order.
        self.sights = sights.sorted { Self.rank($0.node, place) < Self.rank($1.node, place) }
        for sight in self.sights {
            copies.append(Self.copy(sight, place.key))
            for hint in sight.hints.sorted(by: { $0.target < $1.target }) {
                copies.append(Self.copy(hint, at: sight.node, place.key))
            }
        }
        for object in copies.compactMap(\.object) { whole = whole?.merged(with: object) ?? object }
        for index in copies.indices where copies[index].object != nil { copies[index].relation = relation(of: index) }
    }

    private static func rank(_ node: NodeID, _ place: KeyPlace) -> (Int, NodeID) {
        ((place.replicas + place.fallbacks).firstIndex(of: node) ?? .max, node)
    }

    private static func copy(_ sight: KeySight, _ key: ObjectKey) -> Copy {
        func without(_ relation: Relation) -> Copy {
            Copy(
                node: sight.node, target: nil, since: nil, object: nil, isGrave: false, minting: nil, relation: relation
            )
        }
        switch sight.holding {
        case .nothing: return without(.nothing)
        case .elsewhere: return without(.elsewhere)
        case .unknown(let reason): return without(.unknown(reason))
        case .record(let bytes):
            do {
                let record = try Record(decoding: bytes, for: key)
                return Copy(
                    node: sight.node, target: nil, since: nil, object: try record.object(), isGrave: record.isGrave,
                    minting: record.header.minting, relation: .current)
            } catch {
                return without(.unknown("the record is damaged: \(error)"))
            }
        }
    }

    private static func copy(_ hint: KeySight.Hint, at node: NodeID, _ key: ObjectKey) -> Copy {
        do {
            let record = try Record(decoding: hint.record, for: key)
            return Copy(
                node: node, target: hint.target, since: record.hint?.since, object: try record.object(), isGrave: false,
                minting: nil, relation: .current)
        } catch {
            return Copy(
                node: node, target: hint.target, since: nil, object: nil, isGrave: false, minting: nil,
                relation: .unknown("the hint is damaged: \(error)"))
        }
    }

    private func relation(of index: Int) -> Relation {
        let own = copies[index].object!
        let whole = whole!
        if own == whole { return .current }
        let lacks = whole.clock.entries.filter { own.clock[$0.actor] < $0.counter }
        if lacks.isEmpty { return .differs }
        let alone = own.clock.entries.filter { entry in
            !copies.indices.contains { $0 != index && (copies[$0].object?.clock[entry.actor] ?? 0) >= entry.counter }
        }
        let dots = { (entries: [VersionVector.Entry]) in entries.map { Dot(actor: $0.actor, counter: $0.counter) } }
        return alone.isEmpty ? .behind(lacks: dots(lacks)) : .concurrent(lacks: dots(lacks), alone: dots(alone))
    }

    /// The stores' own copies, by replica.
    package var own: [Copy] { copies.filter { $0.target == nil } }
    package var hints: [Copy] { copies.filter { $0.target != nil } }

    /// Replicas whose own copy is the whole.
    package var currentReplicas: [NodeID] {
        own.filter { $0.relation == .current && place.replicas.contains($0.node) }.map(\.node)
    }

    /// Who holds a version.
    package func holders(of dot: Dot) -> [NodeID] {
        own.filter { $0.object?.siblings.contains { $0.dot == dot } ?? false }.map(\.node)
    }

    /// Of the replicas that say what their leaf is: whether it is the same. nil: fewer than two do.
    package var leavesAgree: Bool? {
        let leaves = sights.filter { place.replicas.contains($0.node) || place.replicas.isEmpty }.compactMap(\.leaf)
        return leaves.count < 2 ? nil : Set(leaves).count == 1
    }
}
