// What one loop's peer links bring, handed to the lanes and to the control loop.

import Logging
import TorcModel
import TorcReplication
import TorcWire

final class PeerInbox: PeerReceiver {
    private let loops: NodeLoops
    /// The loop's own lane: its coordinator sends on these links.
    private let lane: LaneDriver
    /// Of the first loop, on which the control machine sends.
    private let control: ControlDriver?
    /// The node must end.
    private let onEnd: @Sendable (PeerRefusal) -> Void

    init(
        loops: NodeLoops, lane: LaneDriver, control: ControlDriver?,
        onEnd: @escaping @Sendable (PeerRefusal) -> Void
    ) {
        self.loops = loops
        self.lane = lane
        self.control = control
        self.onEnd = onEnd
    }

    func peerMessage(_ message: PeerMessage, from node: NodeID) { loops.deliver(message, from: node) }

    func peerUp(_ node: NodeID, features: PeerFeatures) {
        lane.enqueue(.peerUp(node, features))
        control?.send(.peerUp(node, features))
    }

    func peerDown(_ node: NodeID) {
        lane.enqueue(.peerDown(node))
        control?.send(.peerDown(node))
    }

    func peerRefused(_ node: NodeID, _ refusal: PeerRefusal, byPeer: Bool) {
        if byPeer, refusal.code == .duplicateNode || refusal.code == .fenced { onEnd(refusal) }
    }
}
