// Collects what the lanes of a node have counted.

import NIOCore
import TorcModel

final class NodeStatistics: Sendable {
    private let configuration: ServerConfiguration
    private let loops: NodeLoops
    private let listener: ProtocolBuffersListener
    private let started: MonotonicTime

    init(
        configuration: ServerConfiguration, loops: NodeLoops, listener: ProtocolBuffersListener, started: MonotonicTime
    ) {
        self.configuration = configuration
        self.loops = loops
        self.listener = listener
        self.started = started
    }

    func collect() async -> Statistics {
        var total = LaneMetrics()
        for lane in loops.lanes {
            if let metrics = try? await lane.eventLoop.submit({ lane.snapshot() }).get() { total.add(metrics) }
        }
        return Statistics(
            nodeName: configuration.nodeName, memberNames: configuration.members.map(\.name),
            partitions: configuration.ringSize.partitions, started: started,
            openConnections: listener.openConnections, refusedConnections: listener.refusedConnections,
            metrics: total, laneCount: loops.lanes.count)
    }
}
