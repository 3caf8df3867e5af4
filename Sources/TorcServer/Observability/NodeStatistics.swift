// Collects what the lanes of a node have counted.

import NIOCore
import Synchronization
import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

final class NodeStatistics: Sendable {
    private let configuration: ServerConfiguration
    private let directory: ClusterDirectory
    private let loops: NodeLoops
    /// Nil once the node is about to close it: a request for figures may outlive it.
    private let store: Mutex<NodeStore?>
    private let listeners: [ClientListener]
    private let started: MonotonicTime
    /// Of the last reading of this node's load.
    private let lastReading = Mutex<(time: MonotonicTime, operations: UInt64)?>(nil)

    init(
        configuration: ServerConfiguration, directory: ClusterDirectory, loops: NodeLoops, store: NodeStore,
        listeners: [ClientListener], started: MonotonicTime
    ) {
        self.configuration = configuration
        self.directory = directory
        self.loops = loops
        self.store = Mutex(store)
        self.listeners = listeners
        self.started = started
    }

    /// The store is closed next: it is looked at no more.
    func forgetStore() { store.withLock { $0 = nil } }

    /// What a node tells of itself that does not change while it runs.
    static let staticFacts = MemberFacts(
        build: BuildVersion.number, peerProtocol: PeerMessageCodec.supportedVersions.upperBound)

    /// What the others shall know of this node: its load since the last call, its disk now. Nil: there is no store.
    func facts() async -> MemberFacts? {
        let statistics = await collect()
        guard store.withLock({ $0 != nil }) else { return nil }
        var facts = Self.staticFacts
        facts.diskUsedBytes = statistics.store.tableBytes
        facts.diskFreeBytes = DiskWatch.freeBytes(of: configuration.dataFolder) ?? 0
        let operations = statistics.metrics.operations.reduce(0) { $0 + $1.latency.count }
        let now = NodeClock.monotonic()
        lastReading.withLock { last in
            if let last, now > last.time {
                let seconds = Double(now.microseconds(since: last.time)) / 1_000_000
                facts.operationsPerSecond = UInt32(clamping: Int(Double(operations - last.operations) / seconds))
            }
            last = (now, operations)
        }
        return facts
    }

    func collect() async -> Statistics {
        var total = LaneMetrics()
        for lane in loops.lanes {
            if let metrics = try? await lane.eventLoop.submit({ lane.snapshot() }).get() { total.add(metrics) }
        }
        return Statistics(
            nodeName: configuration.nodeName, memberNames: directory.state.members.map { directory.name(of: $0.node) },
            partitions: configuration.ringSize.partitions, started: started,
            openConnections: listeners.reduce(0) { $0 + $1.openConnections },
            refusedConnections: listeners.reduce(0) { $0 + $1.refusedConnections },
            metrics: total, laneCount: loops.lanes.count, store: store.withLock { $0?.statistics } ?? StoreStatistics())
    }
}
