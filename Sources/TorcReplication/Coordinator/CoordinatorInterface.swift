// What the coordinator asks of its lane. The lane hands replica work to its vnodes and the rest to the shell.

package import TorcModel

package enum CoordinatorEffect: Hashable, Sendable {
    /// Of this node's own replica, in this lane; the answer comes back by operation.
    case localRead(ReplicaRead)
    case localWrite(ReplicaWrite)
    indirect case mint(MintRequest)
    /// To this node itself, too: the shell brings such a message to the lane that it is for (`PeerMessage.lane`).
    case send(PeerMessage, to: NodeID)
    case answer(RequestID, ClientAnswer)
    case listed(RequestID, ListPiece)
    case observed(LaneObservation)
}
