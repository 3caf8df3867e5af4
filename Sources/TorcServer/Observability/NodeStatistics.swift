// Collects what the lanes of a node have counted.

import NIOCore
import Synchronization
import TorcModel
import TorcStorage

final class NodeStatistics: Sendable {
    private let configuration: ServerConfiguration
    private let loops: NodeLoops
    /// Nil once the node is about to close it: a request for figures may outlive it.
    private let store: Mutex<NodeStore?>
    private let listener: ProtocolBuffersListener
    private let started: MonotonicTime

    init(
        configuration: ServerConfiguration, loops: NodeLoops, store: NodeStore, listener: ProtocolBuffersListener,
        started: MonotonicTime
    ) {
        self.configuration = configuration
        self.loops = loops
        self.store = Mutex(store)
        self.listener = listener
        self.started = started
    }

    /// The store is closed next: it is looked at no more.
    func forgetStore() { store.withLock { $0 = nil } }

    func collect() async -> Statistics {
        var total = LaneMetrics()
        for lane in loops.lanes {
            if let metrics = try? await lane.eventLoop.submit({ lane.snapshot() }).get() { total.add(metrics) }
        }
        return Statistics(
            nodeName: configuration.nodeName, memberNames: configuration.members.map(\.name),
            partitions: configuration.ringSize.partitions, started: started,
            openConnections: listener.openConnections, refusedConnections: listener.refusedConnections,
            metrics: total, laneCount: loops.lanes.count, store: store.withLock { $0?.statistics } ?? StoreStatistics())
    }
}
