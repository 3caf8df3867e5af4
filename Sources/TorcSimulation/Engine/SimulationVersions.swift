// Versions of the program, mixed: in some runs nodes begin as the version before this one, which lacks its features, and
// are upgraded one by one as they are started again, some of them set back in between. And the pruning of version
// vectors, which is what the versions differ in.

import NIOCore
import TorcModel
import TorcReplication

/// How versions are mixed in a run.
package struct VersionPlan: Sendable {
    /// Nodes that begin as the older version.
    package var oldPerMille = 700
    /// Starts of an older one that upgrade it, and of a newer one that set it back.
    package var upgradePerMille = 500
    package var downgradePerMille = 0
    /// When the faults are over those that are left are upgraded, one by one.
    package var finishes = true
}

extension SimulationPlan {
    /// From generators of their own: what else a seed is stays as it was before there were versions.
    mutating func drawVersions() {
        var random = SeededGenerator(seed: seed ^ 0x5052_554e)
        limits.reaping.pruneEntries = random.pick([1, 1, 1, 2, 4])
        random = SeededGenerator(seed: seed ^ 0x5645_5253)
        // Without faults nothing is started again.
        guard !faults.weights.allSatisfy({ $0 == 0 }), random.chance(300) else { return }
        var versions = VersionPlan()
        versions.oldPerMille = random.pick([300, 700, 1_000])
        versions.upgradePerMille = random.pick([100, 500])
        versions.downgradePerMille = random.pick([0, 0, 200])
        versions.finishes = random.chance(700)
        self.versions = versions
        faults.gracefulStop = max(faults.gracefulStop, 4)
    }
}

extension Simulation {
    /// What the next process of a node has.
    func installedVersion(_ node: Int) -> PeerFeatures {
        guard let versions = plan.versions else { return nodes[node].features ?? .supported }
        let isOld: Bool =
            switch nodes[node].features {
            case nil: nodes[node].random.chance(versions.oldPerMille)
            case .some where isCalm && versions.finishes: false
            case .some(.supported): nodes[node].random.chance(versions.downgradePerMille)
            case .some: !nodes[node].random.chance(versions.upgradePerMille)
            }
        nodes[node].features = isOld ? [] : .supported
        return isOld ? [] : .supported
    }

    private func features(_ node: Int) -> PeerFeatures { nodes[node].process?.features ?? [] }

    /// As the handshake finds it.
    func agreedFeatures(_ observer: Int, _ peer: Int) -> PeerFeatures {
        let agreed = features(observer).intersection(features(peer))
        if agreed != features(observer), nodes[peer].process != nil { coverage.note(.mixedVersions) }
        return agreed
    }

    /// False: the receiver would not understand it.
    func checkVersion(_ envelope: Envelope) -> Bool {
        if features(envelope.to).isSuperset(of: envelope.message.requiredFeatures) { return true }
        report(
            Violation(
                .unknownMessage,
                "\(nodes[envelope.from].name) sends \(nodes[envelope.to].name), which is older: "
                    + describe(envelope.message)))
        return false
    }

    func finishUpgrade() {
        guard plan.versions?.finishes == true else { return }
        for node in nodes.indices where nodes[node].process != nil && features(node) != .supported {
            stopGracefully(node)
        }
    }

    func noteVersionsInUse() {
        if plan.versions != nil, nodes.indices.allSatisfy({ features($0) == .supported }) { coverage.note(.upgraded) }
    }

    // MARK: Pruning

    /// Looks at a record that is written for entries that its vector has no more, and whether anything needs them:
    /// a version of theirs that stands anywhere, or a replica that mints with their actor.
    func notePruning(_ write: RecordWrite, node: Int) {
        guard write.hint == nil, let key = keyIndex[write.key], !nodes[node].store.isDamaged(write.key),
            let before = record(nodes[node].store.intactRecord(of: write.key), write.key),
            let after = record(write.record, write.key), !after.isGrave, !before.isGrave,
            let old = try? before.object(), let new = try? after.object(),
            // A register's tombstone is a version like others, and covers what it has replaced.
            !old.isTombstone || old.mode == .lww
        else { return }
        var removed = VersionVector()
        for entry in old.clock.entries where new.clock[entry.actor] == 0 {
            removed.insert(Dot(actor: entry.actor, counter: entry.counter))
        }
        guard !removed.isEmpty else { return }
        coverage.note(.pruned)
        note(nodes[node].name, key: key, "prunes \(removed) of k\(key)")
        // By its ring they never take part again: a generation was forced without them.
        let fenced = nodes[node].process?.control.machine.agreement.state.fenced ?? []
        for replica in replicas(of: key) where !fenced.contains(nodes[replica].id) {
            guard let held = record(nodes[replica].store.intactRecord(of: write.key), write.key) else { continue }
            if let minting = held.header.minting, removed[minting.actor] > 0 {
                reportPruning(key, node, "\(nodes[replica].name) mints with \(minting.actor)")
            }
            checkPruned(removed, of: held, key, node, at: replica)
        }
        for keeper in members where !fenced.contains(nodes[keeper].id) {
            for hint in nodes[keeper].store.hints(of: write.key, durable: false) {
                if let held = record(hint, write.key) { checkPruned(removed, of: held, key, node, at: keeper) }
            }
        }
        pruned[key, default: VersionVector()].merge(removed)
    }

    private func checkPruned(_ removed: VersionVector, of held: Record, _ key: Int, _ node: Int, at place: Int) {
        guard !held.isGrave, let object = try? held.object(), object.mode == .siblings,
            let version = object.siblings.first(where: { removed.contains($0.dot) })
        else { return }
        reportPruning(key, node, "\(nodes[place].name) holds \(version.dot)")
    }

    private func reportPruning(_ key: Int, _ node: Int, _ reason: String) {
        report(
            Violation(
                .wrongPruning, key: key, "\(nodes[node].name) prunes the vector of k\(key), although \(reason)"))
    }

    private func record(_ bytes: ByteBuffer?, _ key: ObjectKey) -> Record? {
        bytes.flatMap { try? Record(decoding: $0, for: key) }
    }

    /// As if nothing had been pruned from it.
    func withPruned(_ object: VersionedObject, key: Int) -> VersionedObject {
        guard let pruned = pruned[key] else { return object }
        var seen = VersionedObject(mode: .siblings)
        seen.delete(context: pruned)
        return object.merged(with: seen)
    }

    /// No vector has entries that are of no use, as many as are pruned.
    func awaitPruning() {
        guard plan.limits.repair.isOn, plan.limits.reaping.isOn, nodes.allSatisfy({ $0.store.hintNames.isEmpty }),
            nodes.indices.allSatisfy({ features($0) == .supported })
        else { return }
        let begin = now
        while let (key, node, count) = firstUnpruned() {
            if now > begin + Self.reapTime {
                return report(
                    Violation(
                        .wrongPruning, key: key,
                        "node \(nodes[node].name) keeps \(count) entries of no use in the vector of k\(key)"))
            }
            advance(to: now + .milliseconds(500))
            guard violation == nil else { return }
        }
        note("all", "all vectors pruned after \(now - begin)")
    }

    private func firstUnpruned() -> (key: Int, node: Int, count: Int)? {
        let damaged = Set(
            plan.keys.filter { key in nodes.contains { $0.store.isDamaged(key.object) } }.map {
                plan.ringSize.partition(of: $0.object.position)
            })
        for (index, key) in plan.keys.enumerated()
        where !damaged.contains(plan.ringSize.partition(of: key.object.position)) && !mayExpireYet(index) {
            let holders = replicas(of: index)
            let records = holders.map { record(nodes[$0].store.intactRecord(of: key.object), key.object) }
            let minting = Set(records.compactMap { $0?.header.minting?.actor })
            for (node, held) in zip(holders, records) {
                guard let held, !held.isGrave, let object = try? held.object(), !object.isTombstone else { continue }
                let count = object.deadActors.count { !minting.contains($0) }
                if count >= plan.limits.reaping.pruneEntries { return (index, node, count) }
            }
        }
        return nil
    }
}
