// A node from its data folder to its listeners, and back.
//
//   peek at the folder ─► ask the peers whether this node is alive elsewhere     nothing written yet
//     ─► open the store, new incarnation, durable
//     ─► lanes, control, sync thread ─► peer links ─► clients
//
// It stops in the opposite order: no new connections, the requests under way finish or fail, what they wrote
// is synced, links and store close. What a stop cannot wait for any longer is left to the deadline of its client.

package import Logging
import Crypto
import NIOCore
import NIOPosix
import Synchronization
package import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

package final class Node: @unchecked Sendable {
    /// How long the peers are asked whether this node is alive elsewhere.
    private static let probeTime = Duration.seconds(2)
    /// An HTTP body that is somewhat too large is refused by name, as over protocol buffers.
    private static let bodySlackBytes = 1 << 20
    /// Between two readings of this node's load and disk.
    private static let factsInterval = Duration.seconds(5)
    /// What a stop waits for connections to close once everything is answered.
    private static let closingTime = Duration.seconds(1)

    package let configuration: ServerConfiguration
    package private(set) var protocolBuffersAddress: HostAddress
    /// nil: it does not listen there.
    package private(set) var redisAddress: HostAddress?
    package private(set) var httpAddress: HostAddress
    package private(set) var peerAddress: HostAddress
    package let incarnation: Incarnation

    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let readers: NIOThreadPool
    /// For what operators ask, which may take long: clients' reads do not wait for it.
    private let operatorThreads = NIOThreadPool(numberOfThreads: 2)
    /// For what is done about damage: a copy takes as long as it takes, and nobody's reads or votes wait for it.
    private let damageThreads = NIOThreadPool(numberOfThreads: 1)
    private let store: NodeStore
    private let laneStores: [LaneStore]
    private let recovery: RecoveryReport
    private let groupCommit: GroupCommit
    private let loops: NodeLoops
    private let links: [PeerLinks]
    private let inboxes: [PeerInbox]
    private let peerListener: PeerListener
    private let protocolBuffers: ClientListener
    private let redis: ClientListener
    private let http: HTTPListener
    private let statistics: NodeStatistics
    private let diskWatch: DiskWatch
    private let damageWatch: DamageWatch
    private let started = NodeClock.monotonic()
    private var stopping: Task<Void, Never>?
    /// Tells the others about this node's load and disk.
    private var reporting: Task<Void, Never>?
    private var watching: Task<Void, Never>?
    private var watchingDamage: Task<Void, Never>?

    private init(
        configuration: ServerConfiguration, logger: Logger, group: MultiThreadedEventLoopGroup, readers: NIOThreadPool,
        made: Made, identity: PeerIdentity, peers: PeerConfiguration, directory: ClusterDirectory
    ) {
        let opened = made.opened
        self.configuration = configuration
        self.logger = logger
        self.group = group
        self.readers = readers
        operatorThreads.start()
        damageThreads.start()
        store = opened.store
        laneStores = opened.lanes
        recovery = made.report
        incarnation = identity.incarnation
        protocolBuffersAddress = configuration.protocolBuffersAddress
        redisAddress = configuration.redisAddress
        httpAddress = configuration.httpAddress
        peerAddress = configuration.peerAddress

        let loops = NodeLoops(node: configuration.node, ringSize: configuration.ringSize)
        let eventLoops = Array(group.makeIterator())
        let registry = PeerRegistry(eventLoop: eventLoops[0], limits: peers.limits)
        let groupCommit = GroupCommit(
            store: opened.store, laneCount: eventLoops.count, durability: configuration.durability,
            synced: { lane, batch in loops.lanes[lane].synced(through: batch) },
            failed: { error in NodeFailure.stop(logger, "the log cannot be synced", error) })
        self.groupCommit = groupCommit
        var links: [PeerLinks] = []
        var lanes: [LaneDriver] = []
        for (index, eventLoop) in eventLoops.enumerated() {
            let stages = StageClock()
            let link = PeerLinks(
                configuration: peers, registry: registry, eventLoop: eventLoop, loop: index,
                loopCount: eventLoops.count, logger: logger, stages: stages)
            let lane = Lane(
                configuration: LaneConfiguration(
                    node: configuration.node, lane: index, laneCount: eventLoops.count,
                    incarnation: identity.incarnation, hashSeed: configuration.clusterKey.hashSeed,
                    limits: configuration.limits),
                placement: made.record.state.placement, properties: made.properties, leaves: opened.leaves[index],
                hints: opened.hints[index],
                lost: opened.store.lostLeaves.filter {
                    LaneConfiguration.lane(of: $0.key, laneCount: eventLoops.count) == index
                },
                generator: SeededGenerator(entropy: Self.entropy()))
            links.append(link)
            lanes.append(
                LaneDriver(
                    index: index, eventLoop: eventLoop, loops: loops, lane: lane, store: opened.lanes[index],
                    nodeStore: opened.store, groupCommit: groupCommit,
                    window: AdmissionWindow(
                        largest: configuration.limits.operations, target: configuration.queueing),
                    links: link, readers: readers, waitingBytes: configuration.limits.unsyncedBytes, stages: stages,
                    logger: logger))
        }
        let follower = RingFollower(
            eventLoop: eventLoops[0], loops: loops, store: opened.store, links: links, directory: directory,
            threads: readers, logger: logger)
        let control = ControlDriver(
            eventLoop: eventLoops[0], loops: loops,
            control: Control(
                node: configuration.node, laneCount: eventLoops.count, incarnation: identity.incarnation,
                record: made.record, table: made.properties,
                membership: MembershipStart(
                    timing: MembershipTiming(period: configuration.membershipPeriod), stored: made.membership,
                    facts: NodeStatistics.staticFacts,
                    seed: Self.entropy().0)),
            store: opened.store, threads: readers, directory: directory, follower: follower, logger: logger)
        damageWatch = DamageWatch(
            loops: loops, store: opened.store, hashSeed: configuration.clusterKey.hashSeed,
            folder: configuration.dataFolder, reserve: configuration.diskReserve, threads: damageThreads,
            logger: logger)
        loops.install(lanes: lanes, control: control, damage: damageWatch)
        self.loops = loops
        self.links = links
        inboxes = lanes.map { lane in
            PeerInbox(loops: loops, lane: lane, control: lane.index == 0 ? control : nil) { refusal in
                if refusal.code == .fenced { NodeFailure.removed(logger, refusal) }
                NodeFailure.duplicate(logger, refusal)
            }
        }
        peerListener = PeerListener(links: links, group: group, limits: peers.limits)

        let gateways = lanes.map { lane in
            ClientGateway(
                index: lane.index, loops: loops, directory: directory, nodeName: configuration.nodeName,
                defaultTimeout: configuration.requestTimeout)
        }
        let riakLimits = RiakConnectionLimits(objectBytes: configuration.limits.objectBytes)
        let clusterKey = configuration.clusterKey
        protocolBuffers = ClientListener(
            group: group, gateways: gateways, connectionLimit: configuration.connectionLimit, logger: logger
        ) { gateway, _ in RiakConnection(backend: gateway, clusterKey: clusterKey, limits: riakLimits) }
        let redisLimits = configuration.redisLimits
        redis = ClientListener(
            group: group, gateways: gateways, connectionLimit: configuration.connectionLimit, logger: logger
        ) { gateway, id in
            RESPConnection(backend: gateway, limits: redisLimits, id: id, version: "\(BuildVersion.number)")
        }
        statistics = NodeStatistics(
            configuration: configuration, directory: directory, loops: loops, store: opened.store,
            listeners: [protocolBuffers, redis], started: started)
        diskWatch = DiskWatch(
            folder: configuration.dataFolder, reserve: configuration.diskReserve, loops: loops, threads: readers,
            logger: logger)
        http = HTTPListener(
            group: group,
            handler: HTTPRequestHandler(
                gateways: gateways, statistics: statistics,
                repair: RepairEndpoint(loops: loops, directory: directory),
                ring: RingEndpoint(
                    configuration: configuration, cluster: identity.cluster, loops: loops, directory: directory,
                    store: opened.store, threads: operatorThreads),
                tombstones: TombstoneEndpoint(loops: loops, directory: directory),
                backup: BackupEndpoint(
                    configuration: configuration, identity: (identity.cluster, identity.incarnation), loops: loops,
                    directory: directory, store: opened.store, threads: operatorThreads, logger: logger),
                explain: ExplainEndpoint(
                    configuration: configuration, loops: loops, directory: directory, store: opened.store,
                    threads: operatorThreads),
                hotKeys: HotKeyEndpoint(loops: loops, directory: directory),
                clusterKey: configuration.clusterKey,
                bodyLimit: configuration.limits.objectBytes + Self.bodySlackBytes,
                clusterStatus: { await ClusterStatus.collect(configuration, directory, loops) }),
            connectionLimit: configuration.connectionLimit, logger: logger)
    }

    private static func entropy() -> (UInt64, UInt64, UInt64, UInt64) {
        var generator = SystemRandomNumberGenerator()
        return (generator.next(), generator.next(), generator.next(), generator.next())
    }

    /// The cluster's id follows from its name and its key: data of one key means nothing under another.
    package static func clusterID(_ configuration: ServerConfiguration) -> ClusterID {
        let code = HMAC<SHA256>.authenticationCode(
            for: Array("cluster \(configuration.clusterName)".utf8), using: configuration.clusterKey.peerKey)
        return ClusterID(rawValue: code.withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) })
    }

    // MARK: Start

    package static func start(_ configuration: ServerConfiguration, logger: Logger) async throws -> Node {
        let began = NodeClock.monotonic()
        let cluster = clusterID(configuration)
        let found = try DataFolder.peek(configuration.dataFolder)
        let origin = try await NodeOrigin.find(configuration, cluster, found, logger)
        let configuration = origin.configuration
        var identity = PeerIdentity(
            cluster: cluster, node: configuration.node, store: StoreID(rawValue: 0),
            incarnation: Incarnation(rawValue: 0), name: configuration.nodeName)
        switch found {
        case .vacant: break
        case .unfinished(let known), .ready(let known): identity.store = known.store
        }
        var peers = PeerConfiguration(
            identity: identity, key: configuration.clusterKey,
            members: configuration.members.map {
                PeerMember(node: $0.node, name: $0.name, host: $0.address.host, port: $0.address.port)
            })
        if let state = origin.beginning {
            let directory = ClusterDirectory(
                node: configuration.node, declared: configuration.members, state: state,
                tookPart: origin.joinedName == nil)
            peers.members = directory.peers + peers.members.filter { $0.node == configuration.node }
        }

        let group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.laneCount)
        let readers = NIOThreadPool(numberOfThreads: configuration.readerCount)
        readers.start()
        var opened: NodeStore.Opened?
        do {
            let report = try await PeerProbe.run(peers, on: group.next(), within: probeTime).get()
            if let duplicate = report.duplicate {
                throw NodeStartError.aliveElsewhere(address: duplicate.address, detail: duplicate.refusal.text)
            }
            if let removal = report.removal {
                throw NodeStartError.removed(address: removal.address, detail: removal.refusal.text)
            }
            let made = try await readers.runIfActive { try Self.openStore(origin, cluster, logger) }
            opened = made.opened
            identity.store = made.opened.store.identity.store
            identity.incarnation = made.incarnation
            peers.identity = identity
            let directory = ClusterDirectory(
                node: configuration.node, declared: configuration.members + made.declared, state: made.record.state,
                tookPart: origin.joinedName == nil || made.record.hasLeft)
            peers.members = directory.peers
            peers.fenced = Set(made.record.state.fenced)
            peers.news = RingMessage(told: made.record.state)
            directory.tellRole(logger)
            let node = Node(
                configuration: configuration, logger: logger, group: group, readers: readers, made: made,
                identity: identity, peers: peers, directory: directory)
            // From here on the node closes its store itself.
            opened = nil
            try await node.serve()
            node.announce(since: began)
            return node
        } catch {
            try? opened?.store.abandon()
            try? await readers.shutdownGracefully()
            try? await group.shutdownGracefully()
            throw error
        }
    }

    private struct Made: Sendable {
        var opened: NodeStore.Opened
        var report: RecoveryReport
        var incarnation: Incarnation
        var properties: PropertiesTable
        var membership: MembershipIncarnation
        var record: RingRecord
        /// The addresses of declared members, of a node that joined.
        var declared: [DeclaredMember]
    }

    /// The first thing that writes. Blocks, for seconds after a crash.
    private static func openStore(
        _ origin: NodeOrigin, _ cluster: ClusterID, _ logger: Logger
    ) throws -> Made {
        let configuration = origin.configuration
        let folder = try DataFolder.open(
            configuration.dataFolder, cluster: cluster, node: configuration.node, ringSize: configuration.ringSize,
            joinedName: origin.joinedName, create: true)
        // Which partitions the node holds, the ring says that lies in the store.
        let opened = try NodeStore.open(
            folder, partitions: [], laneCount: configuration.laneCount, hashSeed: configuration.clusterKey.hashSeed,
            options: configuration.storeOptions, logger: logger)
        do {
            let record = try Self.ringRecord(of: opened.store, origin)
            let held = record.state.placement.partitionsHeld(by: configuration.node)
            try opened.store.addPartitions(held)
            for (index, lane) in opened.lanes.enumerated() {
                lane.add(held.filter { LaneConfiguration.lane(of: $0, laneCount: opened.lanes.count) == index })
            }
            var report = opened.report
            report.partitionsBeyond = opened.store.partitionsPresent.filter { !held.contains($0) }
            var generator = SystemRandomNumberGenerator()
            let incarnation = Incarnation(rawValue: generator.next())
            try opened.store.beginIncarnation(incarnation)
            let properties = try opened.store.metaValue(StoredProperties.key).map(StoredProperties.decode)
            let membership = try opened.store.metaValue(StoredMembership.key).map(StoredMembership.decode)
            return Made(
                opened: opened, report: report, incarnation: incarnation, properties: properties ?? PropertiesTable(),
                membership: membership ?? .unheard, record: record,
                declared: try opened.store.metaValue(StoredDeclared.key).map(StoredDeclared.decode) ?? [])
        } catch {
            try? opened.store.abandon()
            throw error
        }
    }

    /// As `meta` holds it; otherwise as the cluster, or this node in it, begins. A new node's is durable from here on.
    private static func ringRecord(of store: NodeStore, _ origin: NodeOrigin) throws -> RingRecord {
        if let bytes = try store.metaValue(StoredRing.key) { return try RingRecord(decoding: bytes) }
        guard let beginning = origin.beginning else {
            throw NodeStartError.joinUnfinished(path: origin.configuration.dataFolder)
        }
        let record = RingRecord(state: beginning)
        if origin.joinedName != nil {
            let declared = StoredDeclared.encode(origin.configuration.members)
            try store.putMeta([(StoredRing.key, record.encoded), (StoredDeclared.key, declared)])
        }
        return record
    }

    private func serve() async throws {
        do {
            peerAddress = try await bind(configuration.peerAddress, "peers") { address in
                let bound = try await self.peerListener.bind(host: address.host, port: address.port).get()
                return HostAddress(host: address.host, port: bound.port ?? address.port)
            }
            for (link, inbox) in zip(links, inboxes) { link.start(receiver: inbox) }
            loops.control.send(.tick)
            await diskWatch.look()
            watching = Task { [diskWatch] in await diskWatch.run() }
            watchingDamage = Task { [damageWatch] in await damageWatch.run() }
            reporting = Task { [statistics, loops] in
                while !Task.isCancelled {
                    if let facts = await statistics.facts() { loops.control.send(.facts(facts)) }
                    try? await Task.sleep(for: Self.factsInterval)
                }
            }
            for lane in loops.lanes {
                lane.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
                    lane.storeLeavesIfDue()
                }
            }
            protocolBuffersAddress = try await bind(configuration.protocolBuffersAddress, "protocol buffers") {
                try await self.protocolBuffers.start(on: $0)
            }
            if let address = configuration.redisAddress {
                redisAddress = try await bind(address, "Redis's protocol") { try await self.redis.start(on: $0) }
            }
            httpAddress = try await bind(configuration.httpAddress, "HTTP") { try await self.http.start(on: $0) }
        } catch {
            await stopServing()
            try? await closeStore()
            throw error
        }
    }

    private func bind(
        _ address: HostAddress, _ what: String, _ bind: (HostAddress) async throws -> HostAddress
    ) async throws -> HostAddress {
        do {
            return try await bind(address)
        } catch {
            throw NodeStartError.address(address, what: what, detail: "\(error)")
        }
    }

    private func announce(since began: MonotonicTime) {
        let took = NodeClock.monotonic().microseconds(since: began) / 1000
        logger.info(
            "serving",
            metadata: [
                "node": "\(configuration.nodeName)", "id": "\(configuration.node)", "incarnation": "\(incarnation)",
                "pb": "\(protocolBuffersAddress)", "redis": "\(redisAddress.map { "\($0)" } ?? "-")",
                "http": "\(httpAddress)", "peers": "\(peerAddress)",
                "lanes": "\(loops.lanes.count)", "found": "\(recovery)", "took": "\(took) ms",
            ])
    }

    // MARK: Stop

    /// Once; later calls wait for the first.
    package func stop() async {
        if stopping == nil { stopping = Task { await self.stopInOrder() } }
        await stopping?.value
    }

    private func stopInOrder() async {
        let began = NodeClock.monotonic()
        logger.info("stopping", metadata: ["node": "\(configuration.nodeName)"])
        for listener in [protocolBuffers, redis] {
            await listener.stopAccepting()
            await listener.finish()
        }
        let httpStop = Task { await self.http.stop() }
        let drained = await within(configuration.stopTimeout) {
            // All are told before the first is waited for: none takes a request while another finishes its own.
            let drains = self.loops.lanes.map { lane in lane.eventLoop.flatSubmit { lane.drain() } }
            for drain in drains { try? await drain.get() }
        }
        if !drained {
            logger.warning("some requests were still open when the node stopped; their clients are told so")
            for lane in loops.lanes { try? await lane.eventLoop.submit { lane.failOpenRequests() }.get() }
        }
        let closed = await within(Self.closingTime) {
            while self.protocolBuffers.openConnections + self.redis.openConnections > 0 {
                try? await Task.sleep(for: .milliseconds(10))
            }
        }
        if !closed { for listener in [protocolBuffers, redis] { await listener.closeAll() } }
        if await !within(Self.closingTime, { await httpStop.value }) { httpStop.cancel() }
        await stopServing()
        do {
            try await closeStore()
            let took = NodeClock.monotonic().microseconds(since: began) / 1000
            logger.info("stopped", metadata: ["node": "\(configuration.nodeName)", "took": "\(took) ms"])
        } catch {
            logger.error("the store did not close cleanly", metadata: ["error": "\(error)"])
        }
        try? await group.shutdownGracefully()
    }

    /// Ends everything that may still touch the store.
    private func stopServing() async {
        reporting?.cancel()
        watching?.cancel()
        watchingDamage?.cancel()
        store.stopsCopying.store(true, ordering: .relaxed)
        await watchingDamage?.value
        for listener in [protocolBuffers, redis] {
            await listener.stopAccepting()
            await listener.closeAll()
        }
        try? await peerListener.stop().get()
        for link in links { try? await link.stop().get() }
        for lane in loops.lanes { try? await lane.eventLoop.submit { lane.stop() }.get() }
        let control = loops.control!
        try? await control.eventLoop.submit { control.stop() }.get()
        try? await operatorThreads.shutdownGracefully()
        try? await damageThreads.shutdownGracefully()
        try? await readers.shutdownGracefully()
    }

    /// After `stopServing`: nothing writes any more.
    private func closeStore() async throws {
        statistics.forgetStore()
        var leaves: [LeafTable] = []
        for lane in loops.lanes { leaves.append(try await lane.eventLoop.submit { lane.leaves }.get()) }
        let tables = leaves
        try await NIOThreadPool.singleton.runIfActive {
            self.groupCommit.stop()
            try self.store.close(lanes: self.laneStores, leaves: tables)
        }
    }

    /// Whether an operation ended in time. When it did not, it goes on and nobody waits for it.
    private func within(_ time: Duration, _ operation: @escaping @Sendable () async -> Void) async -> Bool {
        let (outcomes, continuation) = AsyncStream<Bool>.makeStream()
        let work = Task {
            await operation()
            continuation.yield(true)
        }
        let limit = Task {
            try? await Task.sleep(for: time)
            continuation.yield(false)
        }
        defer {
            limit.cancel()
            work.cancel()
        }
        for await outcome in outcomes { return outcome }
        return false
    }
}
