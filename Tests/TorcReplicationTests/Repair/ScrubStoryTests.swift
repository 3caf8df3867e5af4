import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Disks that lose something in silence, over the lanes of three nodes.
@Suite struct ScrubStoryTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private static func cluster(pageEntries: Int = 512) -> LaneCluster {
        var limits = LaneLimits()
        limits.scrub.isOn = true
        limits.scrub.interval = .seconds(100)
        limits.scrub.pageEntries = pageEntries
        var repair = RepairLimits()
        repair.interval = .seconds(5)
        return LaneCluster(limits: limits, repair: repair)
    }

    private func key(_ place: Int) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: "k\(place)")) }

    private func write(_ count: Int, to cluster: inout LaneCluster) {
        for place in 0..<count {
            cluster.ask(1, .put(PutRequest(key: key(place), metadata: ByteBuffer(), value: ByteBuffer(string: "x"))))
        }
    }

    private func passes(_ cluster: inout LaneCluster, seconds: Int) {
        for _ in 0..<seconds { cluster.passes(.seconds(1)) }
    }

    private func findings(_ cluster: LaneCluster) -> [ScrubFinding] {
        cluster.observations.compactMap {
            if case .scrubbed(let finding) = $0 {
                if case .walkEnded = finding { return nil }
                return finding
            }
            return nil
        }
    }

    @Test(arguments: [1, 3, 512]) func whatIsWholeIsLeftAlone(pageEntries: Int) {
        var cluster = Self.cluster(pageEntries: pageEntries)
        write(40, to: &cluster)
        passes(&cluster, seconds: 80)
        #expect(findings(cluster).isEmpty && cluster.corrections == 0)
        for node in cluster.nodes {
            #expect(node.lane.scrubStatistics.walks == 1)
            #expect(node.lane.scrubStatistics.total.records == 40)
        }
        passes(&cluster, seconds: 160)
        #expect(cluster.nodes.allSatisfy { $0.lane.scrubStatistics.walks >= 2 } && cluster.corrections == 0)
    }

    /// Repair alone does not see it: the leaves are alike.
    @Test(arguments: [1, 512]) func aLostRecordComesBack(pageEntries: Int) {
        var cluster = Self.cluster(pageEntries: pageEntries)
        write(40, to: &cluster)
        passes(&cluster, seconds: 80)
        let whole = cluster.nodes[1].lane.leaves
        cluster.lose(key(3), at: 2)
        cluster.lose(key(17), at: 2)
        passes(&cluster, seconds: 30)
        #expect(cluster.object(key(3), at: 2) == nil)
        passes(&cluster, seconds: 150)
        #expect(cluster.object(key(3), at: 2) == cluster.object(key(3), at: 1))
        #expect(cluster.object(key(17), at: 2) == cluster.object(key(17), at: 1))
        #expect(findings(cluster).count == 2 && cluster.corrections == 2)
        #expect(cluster.nodes[1].lane.leaves == whole)
        #expect(cluster.nodes[1].lane.scrubStatistics.total.correctedLeaves == 2)
    }

    @Test func aDamagedRecordIsTold() {
        var cluster = Self.cluster()
        write(40, to: &cluster)
        let before = cluster.nodes[1].lane.leaves
        cluster.damage(key(5), at: 2)
        passes(&cluster, seconds: 60)
        #expect(findings(cluster) == [.unreadableRecord(key(5))])
        #expect(cluster.corrections == 0 && cluster.nodes[1].lane.leaves == before)
    }

    /// The scan goes on behind it, and what was lost there is found.
    @Test(arguments: [1, 512]) func aBlockThatCannotBeReadCostsItsLeavesAlone(pageEntries: Int) {
        var cluster = Self.cluster(pageEntries: pageEntries)
        write(60, to: &cluster)
        let layout = cluster.nodes[1].lane.leaves.layout
        let inOne = (0..<60).map(key).filter { layout.ringSize.partition(of: $0.position).index == 0 }.sorted()
        cluster.loseBlock(of: inOne[1], at: 2)
        cluster.lose(inOne[0], at: 2)
        cluster.lose(inOne.last!, at: 2)
        passes(&cluster, seconds: 250)
        #expect(
            Set(findings(cluster).filter { if case .unreadableRange = $0 { true } else { false } })
                == [.unreadableRange(PartitionID(0), leaf: layout.leaf(of: inOne[1].position))])
        #expect(cluster.object(inOne[0], at: 2) != nil)
        #expect(cluster.object(inOne.last!, at: 2) != nil)
    }

    // MARK: Writes meanwhile

    /// One lane alone, its disk played by the test.
    private struct Disk {
        var lane: Lane
        var now = Now(monotonic: MonotonicTime(nanoseconds: 1_000_000_000), wall: WallTime(microseconds: 1_000))
        var written: [RecordWrite] = []
        var scans: [ScanRequest] = []
        var corrections: [LeafChange] = []
        /// Committed only when the test says so.
        var isStalled = false
        var stalled: [BatchNumber] = []

        init() {
            var limits = LaneLimits()
            limits.scrub.isOn = true
            limits.scrub.interval = .seconds(1)
            limits.repair.isOn = false
            let size = RingSize(partitions: 8)!
            let node = NodeID(rawValue: 1)
            let ring = Ring(epoch: 1, size: size, owners: Array(repeating: node, count: 8))
            lane = Lane(
                configuration: LaneConfiguration(
                    node: node, lane: 0, laneCount: 1, incarnation: Incarnation(rawValue: 1),
                    hashSeed: HashSeed(rawValue: 42), limits: limits),
                placement: Placement(ring), properties: PropertiesTable(),
                leaves: LeafTable(layout: LeafLayout(ringSize: size)), generator: SeededGenerator(seed: 1))
            handle(.turnEnded)
        }

        mutating func handle(_ event: LaneEvent) {
            var effects: [LaneEffect] = []
            lane.handle(event, now: now, effects: &effects)
            for effect in effects {
                switch effect {
                case .read(let token, _, let key):
                    let held = written.last { $0.key == key }?.record
                    handle(.recordRead(token, held.map { .found($0) } ?? .absent))
                case .write(let write): written.append(write)
                case .correct(let change): corrections.append(change)
                case .commit(let batch): if isStalled { stalled.append(batch) } else { handle(.committed(batch)) }
                case .scan(let scan): scans.append(scan)
                default: break
                }
            }
        }

        mutating func put(_ key: ObjectKey, _ value: String) {
            let number = UInt64(written.count + 1)
            var object = VersionedObject(mode: .siblings)
            object.put(
                Sibling(
                    dot: Dot(actor: Actor(rawValue: 7), counter: number), timestamp: .zero, metadata: ByteBuffer(),
                    value: ByteBuffer(string: value)),
                context: VersionVector(), mode: .siblings)
            let write = ReplicaWrite(
                operation: OperationID(lane: 0, number: number), key: key, copies: 3, epoch: 1, body: object.encoded)
            handle(.peer(from: NodeID(rawValue: 2), .write(write)))
            handle(.turnEnded)
        }

        /// Answers all scans, and those that follow, until a walk has ended; `holding`: what the disk shows.
        mutating func walk(holding records: [ObjectKey: ByteBuffer]) {
            let walks = lane.scrubStatistics.walks
            while lane.scrubStatistics.walks == walks {
                if scans.isEmpty { tick() }
                answer(records)
            }
        }

        mutating func tick() {
            now.monotonic = max(now.monotonic, lane.nextDeadline!)
            handle(.tick)
            handle(.turnEnded)
        }

        mutating func answer(_ records: [ObjectKey: ByteBuffer]) {
            for scan in scans {
                scans.removeFirst()
                let keys = records.keys.sorted().filter {
                    lane.leaves.layout.ringSize.partition(of: $0.position) == scan.partition
                }
                let entries = keys.map { ScannedEntry(storageKey: $0.storageKey, record: records[$0]!) }
                handle(.scanned(scan.token, entries: entries, finished: true))
                handle(.turnEnded)
            }
        }

        /// What was written last under each key.
        var records: [ObjectKey: ByteBuffer] {
            written.reduce(into: [:]) { $0[$1.key] = $1.record }
        }
    }

    @Test func aLeafThatIsWrittenWhileItIsReadIsLeftForTheNextWalk() {
        var disk = Disk()
        disk.put(key(0), "a")
        disk.walk(holding: disk.records)
        let before = disk.records
        // The scan of its partition is under way, and has not come to it.
        while disk.scans.first?.partition != RingSize(partitions: 8)!.partition(of: key(0).position) {
            disk.answer(before)
            disk.tick()
        }
        disk.put(key(0), "b")
        disk.walk(holding: before)
        #expect(disk.corrections.isEmpty && disk.lane.scrubStatistics.total.leftLeaves == 1)
        disk.walk(holding: disk.records)
        #expect(disk.corrections.isEmpty && disk.lane.scrubStatistics.total.leftLeaves == 1)
        // And one that nobody writes to is judged.
        disk.walk(holding: before)
        #expect(disk.corrections.count == 1)
    }

    /// What the log has not taken yet is in the leaves, and not on the disk.
    @Test func aLeafWhoseWriteIsNotCommittedIsLeftForTheNextWalk() {
        var disk = Disk()
        disk.put(key(0), "a")
        let before = disk.records
        disk.walk(holding: before)
        disk.isStalled = true
        disk.put(key(0), "b")
        #expect(disk.stalled.count == 1)
        disk.walk(holding: before)
        #expect(disk.corrections.isEmpty && disk.lane.scrubStatistics.total.leftLeaves == 1)
        disk.handle(.committed(disk.stalled[0]))
        disk.walk(holding: disk.records)
        #expect(disk.corrections.isEmpty && disk.lane.scrubStatistics.total.leftLeaves == 1)
    }
}
