// What has arrived for a lane and waits for its next turn. A put of a megabyte keeps a loop busy for milliseconds, on every
// replica, and all that comes in one turn waits for the whole turn. So a turn takes what is small, and of what is large so many
// bytes; the rest of that waits for the next turn, which takes first what is small and has come meanwhile.
//
// Only requests of clients and messages of other nodes are put back. Between nodes large messages are overtaken on their way,
// too (`OutboundQueue`), and requests of one connection for one key are taken one after another (`RequestWindow`).

package import DequeModule
import NIOCore
package import TorcModel
package import TorcReplication
import TorcWire

package struct LaneInbox {
    /// An event of more bytes is large.
    package static let largeBytes = 16 << 10
    /// Large events that a turn takes: until they come to this.
    package static let turnBytes = 512 << 10

    private let node: NodeID
    private var small: Deque<LaneEvent> = []
    private var large: Deque<(event: LaneEvent, bytes: Int)> = []
    /// Bytes of large events that the present turn has taken.
    private var taken = 0

    /// `node`: this one.
    package init(node: NodeID) { self.node = node }

    package var isEmpty: Bool { small.isEmpty && large.isEmpty }

    /// The present turn has something to take.
    package var hasMore: Bool { !small.isEmpty || (!large.isEmpty && taken < Self.turnBytes) }

    package mutating func append(_ event: consuming LaneEvent) {
        let bytes = bytesThatMayWait(of: event)
        if bytes > Self.largeBytes { large.append((event, bytes)) } else { small.append(event) }
    }

    package mutating func turnBegins() { taken = 0 }

    /// What is taken now, in its order; `arrived` is empty, and kept for its storage.
    package mutating func take(into arrived: inout Deque<LaneEvent>) {
        swap(&small, &arrived)
        while taken < Self.turnBytes, let (event, bytes) = large.popFirst() {
            taken += bytes
            arrived.append(event)
        }
    }

    package mutating func removeAll() {
        small.removeAll()
        large.removeAll()
    }

    private func bytesThatMayWait(of event: borrowing LaneEvent) -> Int {
        switch event {
        case .client(_, .put(let put), _): put.value.readableBytes
        case .peer(let sender, let message) where sender != node: PeerMessageCodec.sizeBound(of: message)
        default: 0
        }
    }
}
