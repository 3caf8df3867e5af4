// What one seed runs: the shape of the cluster, the workload and the faults, all drawn from the seed. Each
// feature and each fault is on in some seeds and off in others ("swarm testing": Groce et al., 2012), because
// a run with everything on hides what only shows when something is missing: a bug that needs a hundred quiet
// writes after a crash is never seen when there is a crash every ten.

import NIOCore
package import TorcModel
package import TorcReplication

/// Everything that a run decides before its first event.
package struct SimulationPlan: Sendable {
    package struct Bucket: Sendable {
        package var id: BucketID
        package var properties: BucketProperties
        /// Becomes `lww` during the run: then the checkers promise little of its keys.
        package var turnsLastWriteWins = false
        /// Its quorums change during the run: then no operation rests on its defaults.
        package var changesQuorums = false

        package var copies: Int { Int(properties.n) }
        package var isLastWriteWins: Bool { properties.conflictMode == .lww }
    }

    package struct Key: Sendable {
        package var bucket: Int
        package var object: ObjectKey
        /// Its share of the operations.
        package var weight: Int
    }

    /// How often each kind of operation is drawn.
    package struct Mix: Sendable {
        package var get = 30
        package var putWithContext = 30
        package var putBlind = 10
        package var putOldContext = 5
        package var delete = 8
        package var deleteBlind = 0
        package var conditional = 0
        package var list = 0
    }

    package struct Network: Sendable {
        package enum Delay: Sendable {
            case constant(Span)
            case uniform(ClosedRange<Span>)
            case exponential(Span)
            /// Exponential, and now and then this many times as long.
            case heavyTail(Span, factor: UInt64)

            /// All but one of many thousand messages arrive within it.
            var longest: Span {
                switch self {
                case .constant(let span): span
                case .uniform(let range): range.upperBound
                case .exponential(let mean): mean * 10
                case .heavyTail(let mean, let factor): mean * 10 * factor
                }
            }
        }

        package var delay = Delay.exponential(.microseconds(300))
        package var lossPerMille = 0
        package var duplicatePerMille = 0
        /// Messages of one link arrive in the order in which they left, duplicates aside.
        package var ordered = false
        /// How long a broken link goes unnoticed, on each side by itself.
        package var detection = Span.milliseconds(1)...Span.milliseconds(300)
        package var reconnect = Span.milliseconds(1)...Span.milliseconds(50)
        /// What is sent into a cut arrives after it has healed, if the link still stands, this often.
        package var heldInCutPerMille = 300
    }

    package struct Disk: Sendable {
        /// Reads that memory cannot answer.
        package var deferredReadPerMille = 0
        package var readDelay = Span.microseconds(500)
        /// Commits that are refused at first because RocksDB would stall.
        package var stalledCommitPerMille = 0
        package var stallDelay = Span.milliseconds(5)
        package var syncDelay = Span.microseconds(300)
        /// The sync thread waits this long at most before it begins.
        package var syncWait = Span.microseconds(50)
        /// How often the leaf arrays are stored among the commits, so that fewer deltas are left to replay.
        package var leafStorePerMille = 30
    }

    /// How often each fault is drawn; zero: never in this run.
    package struct Faults: Sendable {
        package var meanInterval = Span.milliseconds(200)
        package var kill = 0
        package var powerLoss = 0
        package var powerLossEverywhere = 0
        package var gracefulStop = 0
        package var failedCommit = 0
        package var pause = 0
        package var slowDisk = 0
        package var oneWayCut = 0
        package var partition = 0
        package var clockJump = 0
        package var rollback = 0
        package var damageRecord = 0
        package var fullDisk = 0
        /// A disk loses a record and says nothing.
        package var loseRecord = 0
        package var alterLeaf = 0
        /// At a power loss, any unsynced blocks may be missing, not only the last ones.
        package var losesBlocks = false
        package var downtime = Span.milliseconds(1)...Span.milliseconds(800)
        package var cutTime = Span.milliseconds(5)...Span.milliseconds(1_500)

        var weights: [Int] {
            [
                kill, powerLoss, powerLossEverywhere, gracefulStop, failedCommit, pause, slowDisk, oneWayCut, partition,
                clockJump, rollback, damageRecord, fullDisk, loseRecord, alterLeaf,
            ]
        }
    }

    package struct Clocks: Sendable {
        /// Each node's wall clock is off by up to this much.
        package var skew = Span.zero
        package var jump = Span.zero
        /// Each node's monotonic clock runs fast or slow by up to so many parts in a million.
        package var driftPerMillion = 0
    }

    package var seed: UInt64
    package var nodeCount = 3
    package var laneCounts: [Int] = []
    /// How many of them the cluster begins with; nil: all.
    package var firstMembers: Int?
    package var ringSize = RingSize(partitions: 16)!
    package var buckets: [Bucket] = []
    package var keys: [Key] = []
    package var clientCount = 4
    package var operations = 300
    package var thinkTime = Span.milliseconds(2)
    package var timeout = Span.milliseconds(50)...Span.milliseconds(1_000)
    package var valueBytes = 4...64
    package var mix = Mix()
    /// Operations that name their own quorums, instead of the bucket's.
    package var ownQuorumPerMille = 0
    /// Writes that carry a `WriteID`, and those of them that are tried again when the outcome is unknown.
    package var writeIDPerMille = 0
    /// Puts that expire, and how long they stand.
    package var expiryPerMille = 0
    package var lifetime = Span.milliseconds(100)...Span.seconds(2)
    package var retryPerMille = 0
    package var returnBodyPerMille = 0
    package var cancelPerMille = 0
    package var headPerMille = 0
    package var propertyChangePerMille = 0
    package var network = Network()
    package var disk = Disk()
    package var faults = Faults()
    /// The load does not end before so many have struck.
    package var leastFaults = 0
    package var clocks = Clocks()
    package var limits = LaneLimits()
    package var membershipPeriod = Span.milliseconds(500)
    /// What is tried of the membership when all else has been judged.
    package var epilogue: MembershipEpilogue?
    /// People who change the members, each by themselves.
    package var operatorCount = 0
    package var operatorInterval = Span.milliseconds(200)
    /// Orders to go on without a majority that is taken for lost.
    package var forcePerMille = 0
    /// Nodes may be removed while they run: what they alone hold is lost, so fewer promises can be checked.
    package var mayFence = false
    /// No leave takes the members below this.
    package var fewestMembers = 1
    /// Disks report blocks that cannot be read, and the partition is made anew.
    package var salvages = false
    /// Nil: all nodes run the newest version all the time.
    package var versions: VersionPlan?
    /// Nil: nobody makes any.
    package var backups: BackupPlan?
    /// Largest number of events that one turn of a lane takes.
    package var turnSize = 64
    package var turnDelay = Span.microseconds(20)

    /// `leastFaults` above zero: a storm, of at least so many faults, while clients go on; no seed is quiet then.
    package init(seed: UInt64, leastFaults: Int = 0) {
        self.seed = seed
        self.leastFaults = leastFaults
        var random = SeededGenerator(seed: seed ^ 0x5357_4152_4d00)
        drawCluster(&random)
        drawBuckets(&random)
        drawWorkload(&random)
        drawNetwork(&random)
        drawDisk(&random)
        drawFaults(&random)
        drawMembership(&random)
        drawRepair(&random)
        drawOperators(&random)
        drawReaping(&random)
        drawExpiry(&random)
        drawScrub(&random)
        drawMending()
        drawSalvage()
        drawVersions()
        drawCache()
        drawBackups()
        if leastFaults > 0 { gather(&random) }
    }
}

extension SimulationPlan {
    private mutating func drawCluster(_ random: inout SeededGenerator) {
        nodeCount = [1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 5, 6][random.below(12)]
        laneCounts = (0..<nodeCount).map { _ in random.pick([1, 1, 2, 3]) }
        ringSize = RingSize(partitions: random.pick([8, 16, 16, 32, 64, 256]))!
        turnSize = random.pick([1, 4, 64, 64])
        turnDelay = random.pick([.microseconds(5), .microseconds(20), .microseconds(200), .milliseconds(2)])
        if random.chance(500) {
            clocks.skew = random.pick([.milliseconds(5), .milliseconds(200), .seconds(30)])
            clocks.jump = random.pick([.milliseconds(20), .seconds(2), .seconds(600), .seconds(8_000)])
        }
        if random.chance(300) { clocks.driftPerMillion = random.pick([100, 5_000, 100_000]) }
    }

    private mutating func drawBuckets(_ random: inout SeededGenerator) {
        for index in 0..<random.within(1...3) {
            var properties = BucketProperties()
            properties.n = UInt8(min(nodeCount, random.pick([1, 2, 3, 3, 3, 3, 3, 4, 5])))
            properties.conflictMode = random.chance(400) ? .lww : .siblings
            if random.chance(200) {
                properties.r = random.pick([.one, .all, .quorum])
                properties.w = random.pick([.one, .all, .quorum])
                properties.dw = random.pick([.one, .all, .quorum, .count(0)])
            }
            if random.chance(100) { properties.notFoundOK = false }
            if random.chance(100) { properties.basicQuorum = true }
            var bucket = Bucket(id: BucketID(name: ByteBuffer(string: "b\(index)")), properties: properties)
            if random.chance(80), !bucket.isLastWriteWins { bucket.turnsLastWriteWins = true }
            if random.chance(80) { bucket.changesQuorums = true }
            if bucket.turnsLastWriteWins || bucket.changesQuorums { propertyChangePerMille = 15 }
            buckets.append(bucket)
        }
        let hot = random.within(1...3)
        for index in 0..<hot + random.within(0...6) {
            let bucket = random.below(buckets.count)
            let object = ObjectKey(bucket: buckets[bucket].id, key: ByteBuffer(string: "k\(seed % 1_000)-\(index)"))
            keys.append(Key(bucket: bucket, object: object, weight: index < hot ? 20 : 2))
        }
    }

    private mutating func drawWorkload(_ random: inout SeededGenerator) {
        clientCount = random.within(1...8)
        operations = random.within(100...400)
        thinkTime = random.pick([.microseconds(100), .milliseconds(1), .milliseconds(5), .milliseconds(20)])
        timeout = random.pick([
            .milliseconds(20)...(.milliseconds(100)), .milliseconds(200)...(.milliseconds(1_000)),
            .milliseconds(5)...(.milliseconds(2_000)),
        ])
        mix.putBlind = random.pick([0, 5, 30])
        mix.putOldContext = random.pick([0, 5, 20])
        mix.delete = random.pick([0, 5, 15])
        mix.deleteBlind = random.pick([0, 0, 0, 5])
        mix.conditional = random.pick([0, 0, 10])
        mix.list = random.pick([0, 0, 2, 15])
        mix.get = random.pick([10, 30, 80])
        ownQuorumPerMille = random.pick([0, 0, 200, 700])
        writeIDPerMille = random.pick([0, 200, 900])
        retryPerMille = random.pick([0, 500, 900])
        returnBodyPerMille = random.pick([0, 300])
        cancelPerMille = random.pick([0, 0, 20])
        headPerMille = random.pick([0, 0, 100])
        valueBytes = random.pick([4...8, 4...64, 4...400])
        if random.chance(60) { limits.siblings = random.within(2...5) }
        if random.chance(40) { limits.operations = random.within(1...4) }
        if random.chance(40) { limits.parkedOperations = random.within(1...4) }
        if random.chance(30) { limits.objectBytes = 200 }
        if random.chance(40) { limits.unsyncedOperations = random.within(1...8) }
        if random.chance(30) { limits.unsyncedBytes = random.within(100...2_000) }
        if random.chance(50) { limits.lwwRestamps = random.within(0...1) }
        if random.chance(50) { limits.listings = 1 }
        if random.chance(80) { limits.hintBytes = random.within(100...2_000) }
        if random.chance(200) { limits.hintsInFlight = random.within(1...4) }
        if random.chance(100) { limits.hintBytesInFlight = random.within(1...500) }
        limits.writePatience = random.pick([.milliseconds(5), .milliseconds(50), .milliseconds(500)])
    }

    private mutating func drawNetwork(_ random: inout SeededGenerator) {
        let mean = random.pick([Span.microseconds(50), .microseconds(300), .milliseconds(2), .milliseconds(10)])
        switch random.below(4) {
        case 0: network.delay = .constant(mean)
        case 1: network.delay = .uniform(.zero...mean * 2)
        case 2: network.delay = .exponential(mean)
        default: network.delay = .heavyTail(mean, factor: 30)
        }
        network.lossPerMille = random.pick([0, 0, 2, 20, 100])
        network.duplicatePerMille = random.pick([0, 0, 20, 200])
        network.ordered = random.chance(300)
        network.detection = random.pick([
            .microseconds(10)...(.milliseconds(2)), .milliseconds(1)...(.milliseconds(300)),
        ])
        network.reconnect = random.pick([
            .microseconds(10)...(.microseconds(500)), .milliseconds(1)...(.milliseconds(50)),
        ])
        network.heldInCutPerMille = random.pick([0, 300, 900])
    }

    private mutating func drawDisk(_ random: inout SeededGenerator) {
        disk.deferredReadPerMille = random.pick([0, 20, 300, 1_000])
        disk.readDelay = random.pick([.microseconds(100), .milliseconds(1), .milliseconds(20)])
        disk.stalledCommitPerMille = random.pick([0, 0, 20, 300])
        disk.stallDelay = random.pick([.microseconds(200), .milliseconds(5), .milliseconds(50)])
        disk.syncDelay = random.pick([.microseconds(50), .microseconds(300), .milliseconds(5), .milliseconds(30)])
        disk.syncWait = random.pick([.zero, .microseconds(50), .milliseconds(2)])
        disk.leafStorePerMille = random.pick([0, 10, 100])
    }

    private mutating func drawFaults(_ random: inout SeededGenerator) {
        // One run in ten is quiet: what goes wrong there needs no fault.
        guard random.chance(900) else { return }
        faults.meanInterval = random.pick([.milliseconds(20), .milliseconds(100), .milliseconds(400)])
        func weight(_ perMille: Int, _ weights: [Int]) -> Int { random.chance(perMille) ? random.pick(weights) : 0 }
        faults.kill = weight(400, [2, 10])
        faults.powerLoss = weight(600, [2, 10])
        faults.powerLossEverywhere = weight(300, [1, 4])
        faults.gracefulStop = weight(300, [2, 8])
        faults.failedCommit = weight(200, [1, 4])
        faults.pause = weight(300, [2, 8])
        faults.slowDisk = weight(300, [2, 8])
        faults.oneWayCut = weight(400, [3, 10])
        faults.partition = weight(400, [3, 10])
        faults.clockJump = clocks.jump > .zero ? weight(700, [3, 8]) : 0
        faults.rollback = weight(150, [1, 5])
        faults.damageRecord = weight(150, [1, 3])
        faults.losesBlocks = random.chance(400)
        faults.fullDisk = weight(200, [2, 8])
        faults.downtime = random.pick([
            .microseconds(100)...(.milliseconds(3)), .milliseconds(1)...(.milliseconds(30)),
            .milliseconds(1)...(.milliseconds(800)),
        ])
        faults.cutTime = random.pick([
            .milliseconds(1)...(.milliseconds(100)), .milliseconds(5)...(.milliseconds(1_500)),
        ])
    }

    /// The faults come in seconds, and the clients' operations are spread over them.
    private mutating func gather(_ random: inout SeededGenerator) {
        faults.kill = max(faults.kill, 2)
        faults.meanInterval = random.pick([.milliseconds(10), .milliseconds(20), .milliseconds(50)])
        // A client waits half of it on average.
        let length = faults.meanInterval * UInt64(2 * leastFaults * clientCount)
        thinkTime = max(thinkTime, Span(nanoseconds: length.nanoseconds / UInt64(operations)))
    }

    private mutating func drawRepair(_ random: inout SeededGenerator) {
        var repair = RepairLimits()
        repair.isOn = random.chance(800)
        // Every pair of co-owners is compared in each round, and a large ring has many.
        let crowd = UInt64(max(1, ringSize.partitions / 64))
        repair.interval = (random.pick([Span.milliseconds(200), .seconds(1), .seconds(3)]) * crowd).duration
        repair.operationsPerSecond = random.pick([1_000, 10_000])
        repair.bytesPerSecond = random.pick([20_000, 1 << 20])
        // As in production: it outlasts the slowest message and its answer, or nothing is ever compared.
        repair.patience =
            max(
                random.pick([Span.milliseconds(100), .milliseconds(500), .seconds(2)]), network.delay.longest * 2
            ).duration
        repair.firstBackoff = .milliseconds(20)
        repair.lastBackoff = .milliseconds(500)
        repair.pageEntries = random.pick([1, 2, 512])
        repair.spanLeaves = random.pick([1, 4, 256])
        repair.keysInFlight = random.pick([1, 2, 16])
        repair.keysInExchange = random.pick([1, 4_096])
        repair.scansServed = random.pick([1, 4])
        limits.repair = repair
        guard random.chance(400) else { return }
        for name in random.pick(Self.namesOfOneLeaf) {
            keys.append(Key(bucket: 0, object: ObjectKey(bucket: buckets[0].id, key: name), weight: 10))
        }
    }

    /// Where tombstones are reaped no folder comes back older than it was: that would bring back what they covered.
    private mutating func drawReaping(_ random: inout SeededGenerator) {
        var reaping = ReapingLimits()
        reaping.isOn = random.chance(700)
        reaping.judgesAge = reaping.isOn || random.chance(300)
        let crowd = UInt64(max(1, ringSize.partitions / 64))
        // As in production: longer than a message takes, or most writes are refused as stale and nothing converges.
        reaping.maximumAge =
            max(
                random.pick([Span.milliseconds(200), .milliseconds(500), .seconds(2)]), network.delay.longest * 2
            ).duration
        reaping.interval = (random.pick([Span.milliseconds(50), .milliseconds(300), .seconds(1)]) * crowd).duration
        // A round asks every owner several things, and ends when one of them is late.
        reaping.patience = max(random.pick([Span.milliseconds(200), .seconds(1)]), network.delay.longest * 2).duration
        reaping.pageEntries = random.pick([1, 4, 512])
        reaping.rounds = random.pick([1, 4, 64])
        reaping.questionsServed = random.pick([1, 64])
        limits.reaping = reaping
        if reaping.isOn, random.chance(500) { mix.delete = random.pick([15, 40]) }
    }

    private mutating func drawScrub(_ random: inout SeededGenerator) {
        var scrub = ScrubLimits()
        scrub.isOn = random.chance(500)
        let crowd = UInt64(max(1, ringSize.partitions / 64))
        scrub.interval = (random.pick([Span.milliseconds(50), .milliseconds(300), .seconds(2)]) * crowd).duration
        scrub.bytesPerSecond = random.pick([1 << 20, 16 << 20])
        scrub.pageEntries = random.pick([1, 2, 512])
        scrub.unreadableLeaves = random.pick([1, 64])
        limits.scrub = scrub
        guard scrub.isOn else { return }
        if random.chance(300) { faults.alterLeaf = random.pick([2, 8]) }
        // Whoever else forgets may be the one that holds what a disk has lost.
        guard limits.repair.isOn, operatorCount == 0, !forgets, faults.damageRecord == 0, random.chance(500) else {
            return
        }
        faults.loseRecord = random.pick([2, 8])
    }

    /// From a generator of its own: what else a seed is stays as it was before there was mending.
    private mutating func drawMending() {
        var random = SeededGenerator(seed: seed ^ 0x4d45_4e44)
        var mending = MendingLimits()
        // The clock of a node may run fast, and a process that hangs may hear of a deadline late.
        mending.delay = ((timeout.upperBound + .seconds(1)) * 5).duration / 4
        mending.records = random.pick([1, 4, 256])
        mending.inFlight = random.pick([1, 4])
        mending.patience = max(random.pick([Span.milliseconds(200), .seconds(1)]), network.delay.longest * 2).duration
        mending.firstBackoff = .milliseconds(20)
        mending.lastBackoff = .milliseconds(500)
        limits.mending = mending
        guard limits.scrub.isOn, !forgets, operatorCount == 0, !faults.weights.allSatisfy({ $0 == 0 }),
            random.chance(600)
        else { return }
        faults.damageRecord = random.pick([4, 16])
        // Long enough for a record to be mended while clients go on.
        let length = Span(nanoseconds: 4 * UInt64(mending.delay / .nanoseconds(1)))
        thinkTime = max(thinkTime, Span(nanoseconds: 2 * length.nanoseconds * UInt64(clientCount) / UInt64(operations)))
    }

    /// From a generator of its own, as with mending.
    private mutating func drawSalvage() {
        var random = SeededGenerator(seed: seed ^ 0x5341_4c56)
        salvages = faults.damageRecord > 0 && !forgets && random.chance(700)
    }

    private mutating func drawExpiry(_ random: inout SeededGenerator) {
        guard random.chance(350) else { return }
        expiryPerMille = random.pick([60, 300, 700])
        lifetime = random.pick([
            .milliseconds(5) ... .milliseconds(200), .milliseconds(100) ... .seconds(2), .seconds(1) ... .seconds(20),
        ])
    }

    /// Names of the first bucket whose keys fall into one Merkle leaf, whatever the size of the ring.
    private static let namesOfOneLeaf: [[ByteBuffer]] = {
        let bucket = BucketID(name: ByteBuffer(string: "b0"))
        var names: [UInt64: [ByteBuffer]] = [:]
        for number in 0..<5_000 {
            let name = ByteBuffer(string: "twin\(number)")
            names[ObjectKey(bucket: bucket, key: name).position.rawValue >> 44, default: []].append(name)
        }
        return names.filter { $0.value.count > 1 }.sorted { $0.key < $1.key }.map(\.value)
    }()

    /// Whether a node may come back with less than it had synced: then fewer promises can be checked.
    package var forgets: Bool { faults.rollback > 0 || faults.loseRecord > 0 }
}
