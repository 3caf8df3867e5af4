// The end of a run: the faults stop, everything heals, and what must stand then is looked at.

import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    /// Reads of all replicas of every key that repair may take until nothing changes.
    private static let repairRounds = 4
    private static let settleTime = Span.seconds(3)
    /// Many rounds of every pair of replicas.
    private static let repairTime = Span.seconds(60)

    func runVerdict() {
        calm()
        calmWall = nodes.map { $0.clock.now(at: now).wall }.min()!
        let last = clients.open.values.map(\.due).max() ?? now
        advance(to: max(last, now) + .seconds(2)) { self.clients.open.isEmpty && self.isWhole }
        if let stuck = clients.open.keys.min(), violation == nil {
            report(Violation(.unanswered, key: clients.open[stuck]!.key, "a request of c\(stuck.client) is still open"))
        }
        advance(to: now + Self.settleTime)
        guard violation == nil else { return }
        guard isWhole else { return report(Violation(.restless, "nodes do not find together again")) }
        awaitOneRing()
        checkRings()
        guard violation == nil else { return }
        awaitSalvage()
        guard violation == nil else { return }
        awaitMending()
        guard violation == nil else { return }
        awaitSalvage()
        guard violation == nil else { return }
        checkHints()
        guard violation == nil else { return }
        awaitScrub()
        guard violation == nil else { return }
        awaitRepair()
        guard violation == nil else { return }
        readRepair()
        guard violation == nil else { return }
        awaitReaping()
        guard violation == nil else { return }
        noteVersionsInUse()
        awaitPruning()
        guard violation == nil else { return }
        checkListings()
        checkProperties()
        checkMachines()
        checkMembership()
    }

    /// Every node runs and has a link to every other.
    private var isWhole: Bool {
        nodes.allSatisfy { node in
            node.process != nil && !node.process!.isDraining
                && nodes.allSatisfy { $0.index == node.index || network.stands(node.index, $0.index) }
        }
    }

    // MARK: Hints

    /// How long hints may take to come home once nothing is in their way; a pause between two attempts is the
    /// longest part of it.
    private static let deliveryTime = Span.seconds(60)

    private func checkHints() {
        let end = now + Self.deliveryTime
        while now < end, !listened.allSatisfy({ hintsLeft(at: $0).isEmpty }), violation == nil {
            advance(to: now + .milliseconds(100))
        }
        guard violation == nil else { return }
        for node in listened {
            guard let left = hintsLeft(at: node).first else { continue }
            return report(
                Violation(
                    .leftover, key: keyIndex[left.key],
                    "node \(nodes[node].name) keeps \(name(left.key)) for \(name(left.hint!))"))
        }
        advance(to: now + Self.settleTime)
        if plan.forgets || plan.mayFence { return }
        for write in history.writes where !damagedKeys.contains(write.key) {
            report(
                HintChecker().check(
                    write, dots: dots.dots(of: write.id), copies: durableCopies(of: write.key),
                    least: leastCopies[write.key], in: history))
        }
    }

    /// What cannot be delivered is kept: a record that cannot be read is not written over.
    private func hintsLeft(at node: Int) -> [RecordName] {
        nodes[node].store.hintNames.filter { hint in
            !nodes.contains { $0.id == hint.hint && $0.store.isDamaged(hint.key) }
        }
    }

    // MARK: Mending

    /// Damaged records are written anew, where another replica holds something.
    private func awaitMending() {
        guard plan.limits.scrub.isOn else { return }
        let begin = now
        while let (node, key) = firstToMend() {
            if now > begin + Self.scrubTime {
                return report(
                    Violation(
                        .leftover, key: key,
                        "node \(nodes[node].name) keeps a damaged record of k\(key), which others hold"))
            }
            // A scrub finds a block that cannot be read, and not which records are in it: that takes a read.
            readEverything(key, at: node)
            advance(to: now + .milliseconds(500))
            guard violation == nil else { return }
        }
        note("all", "all damaged records mended after \(now - begin)")
        advance(to: now + Self.calmTimeout) { self.clients.open.isEmpty }
    }

    /// Partitions with a block that cannot be read are made anew, and have been compared with all co-owners. A single record that
    /// cannot be read, here or there, holds that up until it is mended; `awaitMending` asks for that where records are mended.
    private func awaitSalvage() {
        guard plan.salvages else { return }
        let begin = now
        while let node = nodes.indices.first(where: { firstUnreadable($0) != nil || waitsForPeersAlone($0) }) {
            if now > begin + Self.scrubTime {
                return report(
                    Violation(
                        .leftover, "node \(nodes[node].name) keeps a damaged partition, or one that lost something"))
            }
            // Nobody may have met the block yet.
            if let key = firstUnreadable(node) { readEverything(key, at: node) }
            advance(to: now + .milliseconds(500))
            guard violation == nil else { return }
        }
        note("all", "all damaged partitions restored after \(now - begin)")
        advance(to: now + Self.calmTimeout) { self.clients.open.isEmpty }
    }

    private func waitsForPeersAlone(_ node: Int) -> Bool {
        nodes[node].store.damagedPartitions.all.contains { partition in
            !plan.keys.contains { key in
                plan.ringSize.partition(of: key.object.position) == partition
                    && nodes.contains { $0.store.isDamaged(key.object) }
            }
        }
    }

    private func firstUnreadable(_ node: Int) -> Int? {
        plan.keys.indices.first { key in
            replicas(of: key).contains(node) && nodes[node].store.read(plan.keys[key].object) == .failed
        }
    }

    /// Its record of a key is damaged, or may have been lost with a block.
    private func lacks(_ node: Int, _ key: ObjectKey) -> Bool {
        nodes[node].store.isDamaged(key)
            || nodes[node].store.damagedPartitions.isLost(
                layout.leaf(of: key.position), of: plan.ringSize.partition(of: key.position))
    }

    private func firstToMend() -> (node: Int, key: Int)? {
        for key in plan.keys.indices {
            let object = plan.keys[key].object
            func isDamaged(_ node: Int) -> Bool { nodes[node].store.isDamaged(object) }
            let holders = replicas(of: key)
            let isHeld = holders.contains { node in
                guard !isDamaged(node), let bytes = nodes[node].store.durableRecord(of: object) else { return false }
                return (try? Record(decoding: bytes, for: object)).map { !$0.isGrave } ?? false
            }
            if isHeld, let damaged = holders.first(where: isDamaged) { return (damaged, key) }
        }
        return nil
    }

    // MARK: Scrubbing

    /// How long two walks of every lane may take.
    private static let scrubTime = Span.seconds(200)

    /// What went wrong on disks in silence has been found: a walk that began after everything was whole has ended.
    private func awaitScrub() {
        guard plan.limits.scrub.isOn, nodes.contains(where: { !$0.flaws.isEmpty }) else { return }
        func walks() -> [UInt64] {
            listened.flatMap { nodes[$0].process!.lanes.map(\.machine.scrubStatistics.walks) }
        }
        let first = walks()
        func isDone() -> Bool { zip(first, walks()).allSatisfy { $1 >= $0 + 2 } }
        advance(to: now + Self.scrubTime, until: isDone)
        if violation == nil, !isDone() {
            report(Violation(.restless, "scrubbing does not come to the end of its walks"))
        }
    }

    /// Leaves that are not judged: something in them cannot be read, or so much before them that a walk goes no further.
    private func unjudged(_ node: Int) -> Set<LeafAddress> {
        let damaged = plan.keys.filter { nodes[node].store.isDamaged($0.object) }.map(\.object.position)
        let isOneTooMany = plan.limits.scrub.unreadableLeaves == 1
        return nodes[node].flaws.filter { flaw in
            damaged.contains {
                let leaf = layout.leaf(of: $0)
                return plan.ringSize.partition(of: $0) == flaw.tree.partition
                    && (leaf == flaw.leaf || isOneTooMany && leaf < flaw.leaf)
            }
        }
    }

    // MARK: Repair

    /// Anti-entropy alone, without a read, makes all replicas alike.
    private func awaitRepair() {
        guard plan.limits.repair.isOn else { return }
        let begin = now
        while let key = plan.keys.indices.first(where: { !isConverged($0) && canBeCompared($0) }) {
            if now > begin + Self.repairTime {
                return report(
                    Violation(.notConverged, key: key, "the replicas of k\(key) differ, and repair does not find it"))
            }
            advance(to: now + .milliseconds(500))
            guard violation == nil else { return }
        }
        note("all", "alike after \(now - begin) of repair")
    }

    /// A block that cannot be read keeps all keys of its leaf out of the comparison.
    private func canBeCompared(_ key: Int) -> Bool {
        func leaf(_ key: Int) -> UInt64 {
            let position = plan.keys[key].object.position
            let partition = plan.ringSize.partition(of: position)
            return UInt64(partition.rawValue) << 32 | UInt64(layout.leaf(of: position))
        }
        return !plan.keys.indices.contains { other in
            other != key && leaf(other) == leaf(key)
                && replicas(of: key).contains { lacks($0, plan.keys[other].object) }
        }
    }

    /// Of one key, in a round.
    private static let readAttempts = 4

    private func readRepair() {
        for round in 1...Self.repairRounds {
            finalValues = [:]
            for key in plan.keys.indices {
                // A lane may be made for one operation at a time, and refuse while it is asked what a vector is pruned by.
                for _ in 1...Self.readAttempts where finalValues[key] == nil && violation == nil {
                    readEverything(key)
                    advance(to: now + Self.calmTimeout) { self.clients.open.isEmpty }
                    // Late answers count until they are done.
                    advance(to: now + .milliseconds(100))
                    if !isReadable(key) { break }
                }
            }
            advance(to: now + Self.settleTime)
            guard violation == nil else { return }
            let unread = plan.keys.indices.filter { finalValues[$0] == nil && isReadable($0) }
            let different = plan.keys.indices.filter { !isConverged($0) }
            note("all", "read \(round): \(plan.keys.count - different.count) of \(plan.keys.count) keys are alike")
            if different.isEmpty, unread.isEmpty { break }
            if round == Self.repairRounds {
                if let key = different.first {
                    report(
                        Violation(.notConverged, key: key, "the replicas of k\(key) differ after \(round) reads of all")
                    )
                } else if let key = unread.first {
                    report(Violation(.lostWrite, key: key, "k\(key) cannot be read from all replicas"))
                }
                return
            }
        }
        for key in finalValues.keys.sorted() {
            // Where one is damaged the quorums need not meet; what is held elsewhere must stand all the same.
            let readable = readableReplicas(key)
            let quorum = readable == replicas(of: key).count ? readable : 0
            report(
                FinalChecker().check(
                    key: key, values: finalValues[key]!, replicas: quorum, expired: finalExpired[key] ?? [], at: now,
                    in: history))
        }
    }

    /// Enough replicas can read their record for what is read to be written back.
    private func isReadable(_ key: Int) -> Bool {
        let bucket = plan.buckets[plan.keys[key].bucket]
        let readable = readableReplicas(key)
        return readable == replicas(of: key).count
            || !bucket.changesQuorums && QuorumNumbers(bucket: bucket, options: QuorumOptions()).write <= readable
    }

    private func readableReplicas(_ key: Int) -> Int {
        replicas(of: key).filter { !lacks($0, plan.keys[key].object) }.count
    }

    /// Reads every replica that can read its record.
    private func readEverything(_ key: Int, at node: Int? = nil) {
        let object = plan.keys[key].object
        var request = GetRequest(key: object)
        request.options.r = .count(UInt8(readableReplicas(key)))
        request.options.pr = .count(0)
        request.options.notFoundOK = true
        request.options.basicQuorum = false
        let node = node ?? clients.random.pick(listened)
        submit(
            .get(request), .read(options: request.options, head: false, isFinal: true), client: Workload.finalReader,
            key: key, node: node)
    }

    private func isConverged(_ key: Int) -> Bool {
        let object = plan.keys[key].object
        var bodies: [ByteBuffer?] = []
        for node in replicas(of: key) where !lacks(node, object) {
            bodies.append(
                nodes[node].store.durableRecord(of: object).flatMap { bytes in
                    (try? Record(decoding: bytes, for: object)).flatMap { $0.isGrave ? nil : $0.body }
                })
        }
        return bodies.allSatisfy { $0 == bodies[0] }
    }

    // MARK: Reaping

    /// Many walks and rounds of every lane.
    static let reapTime = Span.seconds(200)

    /// No tombstone, and no grave of one, is left once everything can be asked.
    private func awaitReaping() {
        guard plan.limits.repair.isOn, plan.limits.reaping.isOn else { return }
        // A hint that cannot be delivered holds up the tombstones of its lane, at every node.
        guard nodes.allSatisfy({ $0.store.hintNames.isEmpty }) else { return }
        let begin = now
        while let (key, node, what) = firstUnreaped() {
            if now > begin + Self.reapTime {
                return report(Violation(.leftover, key: key, "node \(nodes[node].name) keeps \(what) of k\(key)"))
            }
            advance(to: now + .milliseconds(500))
            guard violation == nil else { return }
        }
        note("all", "all tombstones reaped after \(now - begin)")
    }

    /// A key of which something had not expired when the faults stopped may do so at any time from then on.
    func mayExpireYet(_ key: Int) -> Bool {
        history.writesByKey[key].contains { history.writes[$0].expiry.map { $0 > calmWall } ?? false }
    }

    private func firstUnreaped() -> (key: Int, node: Int, what: String)? {
        let damaged = Set(
            plan.keys.filter { key in nodes.indices.contains { lacks($0, key.object) } }.map {
                plan.ringSize.partition(of: $0.object.position)
            })
        for (index, key) in plan.keys.enumerated()
        where !damaged.contains(plan.ringSize.partition(of: key.object.position)) && !mayExpireYet(index) {
            for node in replicas(of: index) {
                guard let bytes = nodes[node].store.intactRecord(of: key.object),
                    let record = try? Record(decoding: bytes, for: key.object)
                else { continue }
                if record.isGrave { return (index, node, "a grave") }
                guard let object = try? record.object() else { continue }
                if object.isTombstone { return (index, node, "a tombstone") }
                if object.siblings.contains(where: { $0.hasExpired(at: calmWall) }) {
                    return (index, node, "an expired version")
                }
            }
        }
        return nil
    }

    // MARK: The rest

    private func checkListings() {
        guard violation == nil else { return }
        let isIntact = plan.keys.allSatisfy { key in nodes.indices.allSatisfy { !lacks($0, key.object) } }
        guard isIntact else { return }
        for bucket in plan.buckets.indices {
            list(Workload.finalReader, bucket: bucket, clients.random.pick(listened), isFinal: true)
        }
        advance(to: now + Self.calmTimeout) { self.clients.open.isEmpty }
        for bucket in plan.buckets.indices {
            // It was refused for the others' sake: alone it must not be.
            if finalListings[bucket] == nil, violation == nil {
                list(Workload.finalReader, bucket: bucket, clients.random.pick(listened), isFinal: true)
                advance(to: now + Self.calmTimeout) { self.clients.open.isEmpty }
            }
            guard violation == nil else { return }
            guard let listed = finalListings[bucket] else {
                return report(Violation(.wrongListing, "the listing of \(plan.buckets[bucket].id) does not end"))
            }
            let judged = plan.keys.indices.filter { plan.keys[$0].bucket == bucket && !mayExpireYet($0) }
            let live = judged.filter { !(finalValues[$0] ?? []).isEmpty }
            report(ListingChecker().checkFinal(listed.filter { !mayExpireYet($0) }, live: live))
        }
    }

    /// Digests are told every ten seconds.
    private func awaitProperties() {
        let scopes = plan.buckets.map { PropertiesScope.bucket($0.id) }
        let end = now + .seconds(30)
        while violation == nil, now < end {
            let entries = listened.map { node in scopes.map { nodes[node].store.properties.versioned($0) } }
            if entries.allSatisfy({ $0 == entries[0] }) { return }
            advance(to: now + .seconds(1))
        }
    }

    private func checkProperties() {
        if plan.propertyChangePerMille > 0 { awaitProperties() }
        guard violation == nil else { return }
        for bucket in plan.buckets.indices {
            let scope = PropertiesScope.bucket(plan.buckets[bucket].id)
            let entries = listened.map { nodes[$0].store.properties.versioned(scope) }
            if !plan.forgets, entries.contains(where: { $0 != entries[0] }) {
                report(Violation(.lostProperties, "nodes hold different properties of \(plan.buckets[bucket].id)"))
            }
            // Of one that a forced generation has fenced nobody hears any more.
            if let tellers = bucketsTurned[bucket], !tellers.isDisjoint(with: listened), !plan.forgets,
                entries.contains(where: { $0?.properties.conflictMode != .lww })
            {
                report(Violation(.lostProperties, "\(plan.buckets[bucket].id) was turned to lww and is not"))
            }
        }
    }

    /// Nothing lies where the ring does not want it.
    private func checkClearance() {
        func strays() -> [(node: Int, key: Int)] {
            listened.flatMap { node in
                nodes[node].store.records.compactMap { record in
                    let key = keyIndex[record.key]!
                    // A grave is closed where it is.
                    if let decoded = try? Record(decoding: record.record, for: record.key), decoded.isGrave {
                        return nil
                    }
                    return replicas(of: key).contains(node) ? nil : (node, key)
                }
            }
        }
        advance(to: now + Self.deliveryTime) { strays().isEmpty }
        guard violation == nil, let (node, key) = strays().first else { return }
        report(Violation(.leftover, key: key, "node \(nodes[node].name) holds k\(key), which is not its own any more"))
    }

    private func checkMachines() {
        checkClearance()
        guard violation == nil else { return }
        advance(to: now + Self.settleTime)
        awaitScrub()
        // Repair never rests: it may be reading a record at this very moment.
        advance(to: now + Self.settleTime) {
            self.nodes.allSatisfy { $0.process!.lanes.allSatisfy(\.isIdle) }
        }
        for node in listened {
            if !nodes[node].process!.control.machine.isIdle {
                report(Violation(.leftover, "node \(nodes[node].name), its control loop is not idle at rest"))
            }
            for lane in 0..<nodes[node].laneCount {
                let machine = nodes[node].process!.lanes[lane].machine
                checkLeaves(machine.leaves, node: node, lane: lane, except: unjudged(node))
                let hints = nodes[node].store.hintTotals(
                    ringSize: plan.ringSize, lane: lane, laneCount: nodes[node].laneCount)
                if machine.hints != hints {
                    report(Violation(.leftover, "node \(nodes[node].name), lane \(lane) miscounts its hints"))
                }
                // A hint that cannot be delivered is sent again and again.
                if !machine.isIdle, hints.isEmpty {
                    report(Violation(.leftover, "node \(nodes[node].name), lane \(lane) is not idle at rest"))
                }
            }
        }
    }
}
