// A disk that reports blocks which it cannot read: the partition is noted, made anew from the rest of it, and compared with its
// co-owners, as `TorcServer`'s watch over damage and `TorcStorage`'s copies do it. Runs whose plan does not salvage leave
// such records to be mended one by one.

import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    /// Between two looks for damage.
    static let damageInterval = Span.zero...Span.milliseconds(250)
    /// How long a copy takes.
    static let salvageTime = Span.milliseconds(1)...Span.milliseconds(500)
    /// After a copy that failed.
    private static let salvagePause = Span.seconds(1)
    private static let failedSalvagePerMille = 200

    private func lane(of partition: PartitionID, _ node: Int) -> Int {
        LaneConfiguration.lane(of: partition, laneCount: nodes[node].laneCount)
    }

    /// A read or a scan has met a block that cannot be read.
    func foundDamage(of partition: PartitionID, _ id: ProcessID) {
        guard plan.salvages, !nodes[id.node].store.damagedPartitions.isWaiting(partition),
            nodes[id.node].process!.damageFound.insert(partition).inserted
        else { return }
        schedule(.damageNoted(id, partition), after: nodes[id.node].random.span(Self.damageInterval))
    }

    func noteDamage(_ id: ProcessID, _ partition: PartitionID) {
        // What was copied meanwhile says nothing new.
        guard isRunning(id), nodes[id.node].process!.damageFound.remove(partition) != nil,
            nodes[id.node].store.damagedPartitions.note(partition)
        else { return }
        note(nodes[id.node].name, "notes that \(partition) is damaged")
        tellDamage(id, partition)
    }

    func tellDamage(_ id: ProcessID, _ partition: PartitionID) {
        guard isRunning(id) else { return }
        enqueue(.damaged(partition), node: id.node, lane: lane(of: partition, id.node))
    }

    /// The copy of what can be read stands for the partition from here on, durably.
    func salvage(_ id: ProcessID, _ partition: PartitionID) {
        guard isRunning(id) else { return }
        let node = id.node
        if !isCalm, nodes[node].random.chance(Self.failedSalvagePerMille) {
            note(nodes[node].name, "\(partition) cannot be made anew")
            enqueue(.salvageFailed(partition), node: node, lane: lane(of: partition, node))
            return schedule(.damageTold(id, partition), after: Self.salvagePause)
        }
        syncAll(id)
        let former = sums(of: partition, node)
        let lost = nodes[node].store.salvage(partition, layout: layout)
        if let leaf = lost.min(), nodes[node].random.chance(300) {
            nodes[node].store.damagedPartitions.lose((leaf + 1) % layout.leavesPerPartition, of: partition)
        }
        nodes[node].process!.damageFound.remove(partition)
        let present = sums(of: partition, node)
        for (address, sum) in former where present[address] != sum { nodes[node].uncounted.insert(address) }
        var leaves: [UInt8: [UInt64]] = [:]
        for (address, sum) in present {
            let empty = [UInt64](repeating: 0, count: layout.leavesPerPartition)
            leaves[address.tree.copies, default: empty][address.leaf] = sum
        }
        let all = nodes[node].store.damagedPartitions.lost[partition] ?? []
        note(nodes[node].name, "\(partition) is made anew, leaves \(all) are lost")
        enqueue(
            .salvaged(SalvagedPartition(partition: partition, lost: all, leaves: leaves)), node: node,
            lane: lane(of: partition, node))
    }

    func noteRestored(_ id: ProcessID, _ partition: PartitionID) {
        guard isRunning(id) else { return }
        syncAll(id)
        nodes[id.node].store.damagedPartitions.restored(partition)
    }

    /// What notes anything durably syncs the log.
    private func syncAll(_ id: ProcessID) {
        let node = id.node
        let covered = nodes[node].store.synced(nodes[node].store.syncPoint, laneCount: nodes[node].laneCount)
        for (lane, batch) in covered.enumerated() {
            if let batch { enqueue(.synced(through: batch), node: node, lane: lane) }
        }
    }

    /// Of what can be decoded. What cannot be goes on being counted as if it could by those who judge, and so is a flaw.
    private func sums(of partition: PartitionID, _ node: Int) -> [LeafAddress: UInt64] {
        var sums: [LeafAddress: UInt64] = [:]
        for (key, _) in nodes[node].store.records where plan.ringSize.partition(of: key.position) == partition {
            guard let index = keyIndex[key], case .found(let bytes) = nodes[node].store.read(key),
                let record = try? Record(decoding: bytes, for: key)
            else {
                if let index = keyIndex[key], let intact = nodes[node].store.intactRecord(of: key),
                    let record = try? Record(decoding: intact, for: key)
                {
                    nodes[node].flaws.insert(address(of: index, copies: record.header.copies))
                }
                continue
            }
            if record.isGrave { continue }
            let hash = hashSeed.contentHash(key: key, body: record.body).rawValue
            sums[address(of: index, copies: record.header.copies), default: 0] &+= hash
        }
        return sums
    }

    /// A start counts the leaves of what was made anew: those that were stored are of what stood there before.
    func countAnew(_ node: Int) {
        nodes[node].uncounted = []
        for partition in nodes[node].store.damagedPartitions.anew {
            nodes[node].store.setLeaves(of: partition, to: sums(of: partition, node))
        }
        nodes[node].store.damagedPartitions.started()
    }
}
