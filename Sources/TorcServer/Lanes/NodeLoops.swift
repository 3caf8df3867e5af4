// The loops of a node, so that a message finds the lane that it is for. Filled once, before anything runs.

import NIOCore
import TorcModel
import TorcReplication

final class NodeLoops: @unchecked Sendable {
    let node: NodeID
    let ringSize: RingSize
    private(set) var lanes: [LaneDriver] = []
    private(set) var control: ControlDriver!
    private(set) var damage: DamageWatch!

    init(node: NodeID, ringSize: RingSize) {
        self.node = node
        self.ringSize = ringSize
    }

    /// Once, before the first message.
    func install(lanes: [LaneDriver], control: ControlDriver, damage: DamageWatch) {
        precondition(self.lanes.isEmpty, "the loops of a node are installed once")
        self.lanes = lanes
        self.control = control
        self.damage = damage
    }

    func lane(of key: ObjectKey) -> LaneDriver {
        lanes[LaneConfiguration.lane(of: ringSize.partition(of: key.position), laneCount: lanes.count)]
    }

    /// From any loop.
    func deliver(_ message: PeerMessage, from node: NodeID) {
        guard let index = message.lane(ringSize: ringSize, laneCount: lanes.count) else {
            return control.send(.peer(from: node, message))
        }
        let lane = lanes[index]
        if lane.eventLoop.inEventLoop {
            lane.receive(message, from: node)
        } else {
            lane.eventLoop.execute { lane.receive(message, from: node) }
        }
    }

    /// From a loop that has no link to a node: the others are tried in turn, and without any the message is dropped.
    func relay(_ message: PeerMessage, to node: NodeID, after index: Int, tried: Int = 1) {
        guard tried < lanes.count else { return }
        let next = lanes[(index + 1) % lanes.count]
        next.eventLoop.execute {
            if !next.transmitIfLinked(message, to: node) {
                self.relay(message, to: node, after: next.index, tried: tried + 1)
            }
        }
    }
}
