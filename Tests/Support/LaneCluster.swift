// A few nodes of one lane each, over stores that are dictionaries, with a network that is a queue. Every step
// is taken in one order, so a test is a story. What a disk does is told by the test: `syncs` off holds back
// every sync, a node that is down neither hears nor speaks.

package import NIOCore
package import TorcModel
package import TorcReplication

package struct LaneCluster {
    package struct Node {
        package var lane: Lane
        package var store: [ObjectKey: ByteBuffer] = [:]
        /// What is kept for other nodes.
        package var hints: [NodeID: [ObjectKey: ByteBuffer]] = [:]
        /// Records whose blocks cannot be read.
        fileprivate var lostBlocks: Set<ObjectKey> = []
        fileprivate var batch: [RecordWrite] = []
        fileprivate var committed = BatchNumber(rawValue: 0)
    }

    private struct Delivery {
        var from: NodeID
        var to: NodeID
        var message: PeerMessage
    }

    package private(set) var nodes: [Node]
    package var syncs = true
    package private(set) var now = Now(
        monotonic: MonotonicTime(nanoseconds: 1_000_000_000), wall: WallTime(microseconds: 1_000))
    package private(set) var answers: [ClientAnswer] = []
    package private(set) var pieces: [ListPiece] = []
    package private(set) var observations: [LaneObservation] = []
    /// Leaves that were set right.
    package private(set) var corrections = 0
    package private(set) var reports: [RepairReport] = []
    /// By node, how far it said last that it is with what moves to it.
    package private(set) var progress: [Int: LaneProgress] = [:]
    /// Damaged partitions whose copy waits for `salvage`; nil: copies are made at once.
    package var waitingSalvages: [(number: Int, partition: PartitionID)]?
    /// Partitions that are whole again.
    package private(set) var restored: [PartitionID] = []
    /// Every message that was sent.
    package private(set) var told: [PeerMessage] = []
    /// Messages that crossed the network, by kind.
    package private(set) var sent: [String: Int] = [:]
    /// What a node's wall clock shows, where it is not what the others' do.
    package var walls: [Int: WallTime] = [:]
    /// What a node's version has, where it is an older one. A change is heard of when its links come up.
    package var features: [Int: PeerFeatures] = [:]
    /// Nodes to which copies of writes are on their way until the test takes them out again.
    package var late: Set<Int> = [] {
        didSet {
            queue += delayed
            delayed = []
            settle()
        }
    }
    private var delayed: [Delivery] = []
    private var downNodes: Set<Int> = []
    private var queue: [Delivery] = []
    /// Whose scrub of a partition is not answered yet, and what it asks for.
    private var heldScrub: (number: Int, partition: PartitionID)?
    private var heldScan: ScanRequest?
    private var requests: UInt64 = 0

    /// `repair` nil: off. `others`: nodes that own nothing.
    package init(
        members: Int = 3, others: Int = 0, partitions: Int = 8, properties: PropertiesTable = PropertiesTable(),
        limits: LaneLimits = LaneLimits(), repair: RepairLimits? = nil, features: [Int: PeerFeatures] = [:]
    ) {
        self.features = features
        var limits = limits
        limits.repair.isOn = false
        if let repair { limits.repair = repair }
        let size = RingSize(partitions: partitions)!
        let ring = Ring(
            epoch: 1, size: size, owners: (0..<partitions).map { NodeID(rawValue: UInt64($0 % members + 1)) })
        placement = Placement(ring)
        nodes = (1...members + others).map { number in
            let configuration = LaneConfiguration(
                node: NodeID(rawValue: UInt64(number)), lane: 0, laneCount: 1,
                incarnation: Incarnation(rawValue: UInt64(number)), hashSeed: HashSeed(rawValue: 42),
                limits: limits, features: features[number] ?? .supported)
            return Node(
                lane: Lane(
                    configuration: configuration, placement: Placement(ring), properties: properties,
                    leaves: LeafTable(layout: LeafLayout(ringSize: size)),
                    generator: SeededGenerator(seed: UInt64(number))))
        }
        for number in 1...members + others {
            for peer in 1...members + others where peer != number {
                handle(.peerUp(NodeID(rawValue: UInt64(peer)), agreed(peer, number)), at: number)
            }
        }
        settle()
    }

    // MARK: Rings

    /// The placement that the nodes hold, those aside that were left out of a change.
    package private(set) var placement: Placement

    package mutating func follow(_ next: Placement, except absent: Int...) {
        placement = next
        for number in nodes.indices.map({ $0 + 1 }) where !absent.contains(number) {
            handle(.ringChanged(next), at: number)
        }
        settle()
    }

    package mutating func follow(_ number: Int) {
        handle(.ringChanged(placement), at: number)
        settle()
    }

    // MARK: Clients

    package mutating func ask(_ number: Int, _ request: ClientRequest) {
        requests += 1
        let deadline = now.monotonic.advanced(by: .seconds(10))
        handle(.client(RequestID(rawValue: requests), request, deadline: deadline), at: number)
        settle()
    }

    /// Requests that one turn brings, each with the time that its client gives it.
    @discardableResult package mutating func askTogether(
        _ number: Int, _ together: [ClientRequest], patience: [Duration] = []
    ) -> [RequestID] {
        let ids = together.indices.map { RequestID(rawValue: requests + UInt64($0) + 1) }
        requests += UInt64(together.count)
        for (index, request) in together.enumerated() {
            let deadline = now.monotonic.advanced(by: index < patience.count ? patience[index] : .seconds(10))
            handle(.client(ids[index], request, deadline: deadline), at: number)
        }
        settle()
        return ids
    }

    package mutating func cancel(_ number: Int, _ request: RequestID) {
        handle(.cancel(request), at: number)
        settle()
    }

    package mutating func drain(_ number: Int) {
        handle(.drain, at: number)
        settle()
    }

    package mutating func list(_ number: Int, _ subject: PageRequest.Subject) {
        requests += 1
        let deadline = now.monotonic.advanced(by: .seconds(60))
        handle(.list(RequestID(rawValue: requests), ListRequest(subject: subject), deadline: deadline), at: number)
        settle()
        while case .items? = pieces.last {
            handle(.listContinue(RequestID(rawValue: requests)), at: number)
            settle()
        }
    }

    /// A message of another node.
    package mutating func tell(_ number: Int, _ message: PeerMessage, from other: Int) {
        handle(.peer(from: NodeID(rawValue: UInt64(other)), message), at: number)
        settle()
    }

    package mutating func repair(_ number: Int, _ partition: PartitionID? = nil) {
        requests += 1
        handle(.repair(RequestID(rawValue: requests), partition), at: number)
        settle()
    }

    // MARK: Faults and time

    package mutating func space(_ space: DiskSpace, at number: Int) {
        handle(.diskSpace(space), at: number)
        settle()
    }

    /// A backup begins at one node, or at every one; with a time that has passed it ends.
    package mutating func holdRemovals(until time: MonotonicTime, at number: Int? = nil) {
        for each in number.map({ [$0] }) ?? nodes.indices.map({ $0 + 1 }) {
            handle(.holdRemovals(until: time), at: each)
        }
        settle()
    }

    package mutating func down(_ number: Int) {
        downNodes.insert(number)
        for peer in nodes.indices.map({ $0 + 1 }) where peer != number && !downNodes.contains(peer) {
            handle(.peerDown(NodeID(rawValue: UInt64(number))), at: peer)
            handle(.peerDown(NodeID(rawValue: UInt64(peer))), at: number)
        }
        settle()
    }

    package mutating func up(_ number: Int) {
        downNodes.remove(number)
        for peer in nodes.indices.map({ $0 + 1 }) where peer != number && !downNodes.contains(peer) {
            handle(.peerUp(NodeID(rawValue: UInt64(number)), agreed(peer, number)), at: peer)
            handle(.peerUp(NodeID(rawValue: UInt64(peer)), agreed(peer, number)), at: number)
        }
        settle()
    }

    private func agreed(_ one: Int, _ other: Int) -> PeerFeatures {
        (features[one] ?? .supported).intersection(features[other] ?? .supported)
    }

    package mutating func passes(_ duration: Duration) {
        now.monotonic = now.monotonic.advanced(by: duration)
        for number in nodes.indices.map({ $0 + 1 }) where !downNodes.contains(number) { handle(.tick, at: number) }
        settle()
    }

    /// Sets all wall clocks that are not set apart.
    package mutating func wall(_ wall: WallTime) { now.wall = wall }

    /// Everything that is written goes to the disks.
    package mutating func sync() {
        for index in nodes.indices { handle(.synced(through: nodes[index].committed), at: index + 1) }
        settle()
    }

    // MARK: Running

    private mutating func settle() {
        while true {
            for index in nodes.indices { endTurn(index + 1) }
            guard !queue.isEmpty else { break }
            let delivery = queue.removeFirst()
            let target = Int(delivery.to.rawValue)
            guard !downNodes.contains(target), !downNodes.contains(Int(delivery.from.rawValue)) else { continue }
            if late.contains(target), case .write = delivery.message {
                delayed.append(delivery)
                continue
            }
            handle(.peer(from: delivery.from, delivery.message), at: target)
        }
    }

    private mutating func endTurn(_ number: Int) {
        handle(.turnEnded, at: number)
    }

    private mutating func handle(_ event: LaneEvent, at number: Int) {
        var effects: [LaneEffect] = []
        var now = now
        if let wall = walls[number] { now.wall = wall }
        nodes[number - 1].lane.handle(event, now: now, effects: &effects)
        for effect in effects { carryOut(effect, at: number) }
    }

    private mutating func carryOut(_ effect: LaneEffect, at number: Int) {
        let node = NodeID(rawValue: UInt64(number))
        switch effect {
        case .read(let token, let place, let key):
            let node = nodes[number - 1]
            let found = place.hint.map { node.hints[$0]?[key] } ?? node.store[key]
            let isLost = place.hint == nil && node.lostBlocks.contains(key)
            handle(.recordRead(token, isLost ? .failed : found.map { .found($0) } ?? .absent), at: number)
        case .scan(let scan)
        where heldScrub.map { $0 == (number, scan.partition) } ?? false && !scan.fillsCache:
            heldScan = scan
        case .scan(let scan): handle(scanned(scan, nodes[number - 1]), at: number)
        case .write(let write): nodes[number - 1].batch.append(write)
        // The leaves are the lane's.
        case .correct: corrections += 1
        case .commit(let batch):
            for write in nodes[number - 1].batch {
                if let hint = write.hint {
                    nodes[number - 1].hints[hint, default: [:]][write.key] = write.record
                } else {
                    nodes[number - 1].store[write.key] = write.record
                }
            }
            nodes[number - 1].batch = []
            nodes[number - 1].committed = batch
            handle(.committed(batch), at: number)
            if syncs { handle(.synced(through: batch), at: number) }
        case .send(let message, let target):
            let kind = String("\(message)".prefix { $0 != "(" })
            if target != node { sent[kind, default: 0] += 1 }
            told.append(message)
            queue.append(Delivery(from: node, to: target, message: message))
        case .answer(_, let answer): answers.append(answer)
        case .listed(_, let piece): pieces.append(piece)
        case .repaired(_, let report): reports.append(report)
        case .progress(let told): progress[number] = told
        case .salvage(let partition):
            if waitingSalvages == nil {
                salvage(partition, at: number)
            } else {
                waitingSalvages!.append((number, partition))
            }
        case .restored(let partition): restored.append(partition)
        case .observed(let observation): observations.append(observation)
        }
    }

    private func scanned(_ scan: ScanRequest, _ node: Node) -> LaneEvent {
        let size = node.lane.leaves.layout.ringSize
        let records = scan.hints.map { node.hints[$0] ?? [:] } ?? node.store
        let keys = records.keys
            .filter { scan.hints != nil || size.partition(of: $0.position) == scan.partition }
            .filter { key in scan.after.map { $0.lexicographicallyPrecedes(key.storageKey) } ?? true }
            .filter { key in scan.before.map { key.storageKey.lexicographicallyPrecedes($0) } ?? true }
            .sorted()
        let entries = keys.prefix(scan.entryLimit).map {
            ScannedEntry(storageKey: $0.storageKey, record: records[$0]!)
        }
        if keys.prefix(scan.entryLimit).contains(where: node.lostBlocks.contains) {
            return .scanned(scan.token, entries: nil, finished: false)
        }
        return .scanned(scan.token, entries: entries, finished: entries.count == keys.count)
    }

    // MARK: What stands

    /// A bit of the node's record flips; it cannot be decoded from now on.
    package mutating func damage(_ key: ObjectKey, at number: Int) {
        var record = nodes[number - 1].store[key]!
        let last = record.writerIndex - 1
        record.setInteger(record.getInteger(at: last, as: UInt8.self)! ^ 1, at: last)
        nodes[number - 1].store[key] = record
    }

    /// The node's record is gone from its disk, and nothing says so.
    package mutating func lose(_ key: ObjectKey, at number: Int) { nodes[number - 1].store[key] = nil }

    /// The block in which the node's record lies cannot be read from now on.
    package mutating func loseBlock(of key: ObjectKey, at number: Int) { nodes[number - 1].lostBlocks.insert(key) }

    /// The node's store has met a block that it cannot read.
    package mutating func reportDamage(of key: ObjectKey, at number: Int) {
        let size = placement.ring.size
        handle(.damaged(size.partition(of: key.position)), at: number)
        settle()
    }

    /// The copies that wait are made.
    package mutating func salvage() {
        for waiting in waitingSalvages ?? [] { salvage(waiting.partition, at: waiting.number) }
        waitingSalvages = nil
        settle()
    }

    /// The one copy that waits is made while the node's scrub is about to read the partition: it reads the copy, and is
    /// answered in the same turn in which the lane hears of that.
    package mutating func salvageWhileScrubbed(at number: Int) {
        let partition = waitingSalvages![0].partition
        heldScrub = (number, partition)
        for _ in 0..<1_000 where heldScan == nil { passes(.seconds(1)) }
        salvage(partition, at: number)
        handle(scanned(heldScan!, nodes[number - 1]), at: number)
        (heldScrub, heldScan, waitingSalvages) = (nil, nil, nil)
        settle()
    }

    /// What cannot be read is gone, and its leaf is lost.
    private mutating func salvage(_ partition: PartitionID, at number: Int) {
        let layout = LeafLayout(ringSize: placement.ring.size)
        precondition(nodes[number - 1].batch.isEmpty, "a partition is copied that is being written to")
        let gone = nodes[number - 1].lostBlocks.filter { layout.ringSize.partition(of: $0.position) == partition }
        var lost: Set<Int> = []
        for key in gone {
            nodes[number - 1].lostBlocks.remove(key)
            nodes[number - 1].store[key] = nil
            lost.insert(layout.leaf(of: key.position))
        }
        var salvaged = SalvagedPartition(partition: partition, lost: lost.sorted(), leaves: [:])
        for (key, bytes) in nodes[number - 1].store where layout.ringSize.partition(of: key.position) == partition {
            guard let record = try? Record(decoding: bytes, for: key), !record.isGrave else { continue }
            let empty = [UInt64](repeating: 0, count: layout.leavesPerPartition)
            salvaged.leaves[record.header.copies, default: empty][layout.leaf(of: key.position)] &+=
                HashSeed(rawValue: 42).contentHash(key: key, body: record.body).rawValue
        }
        handle(.salvaged(salvaged), at: number)
    }

    package func object(_ key: ObjectKey, at number: Int) -> VersionedObject? {
        nodes[number - 1].store[key].map { try! Record(decoding: $0, for: key).object() }
    }
}
