// What has arrived for a lane and waits for its next turn. A put of a megabyte keeps a loop busy for milliseconds, on every
// replica, and all that comes in one turn waits for the whole turn. So a turn takes what is small, and of what is large so many
// bytes; the rest of that waits for the next turn, which takes first what is small and has come meanwhile.
//
// Only requests of clients and messages of other nodes are put back. Between nodes large messages are overtaken on their way,
// too (`OutboundQueue`), and requests of one connection for one key are taken one after another (`RequestWindow`).
//
// While RocksDB asks writers to wait, no turn runs, and other nodes go on asking. Past a bound their requests are dropped.
// That is a message lost on its way, for which every sender is built: it asks another replica, or says that it does not
// know what became of the write, and repair brings what is missing. Answers are as many as this node has asked for, and
// are kept.

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
    private let waitingBytes: Int
    private var small: Deque<LaneEvent> = []
    private var large: Deque<(event: LaneEvent, bytes: Int, requestBytes: Int)> = []
    /// Bytes of large events that the present turn has taken.
    private var taken = 0
    /// Bytes of other nodes' requests that wait.
    private var smallRequestBytes = 0
    private var largeRequestBytes = 0

    /// `node`: this one. `waitingBytes`: once other nodes' requests that wait come to this, no more are taken.
    package init(node: NodeID, waitingBytes: Int) {
        self.node = node
        self.waitingBytes = waitingBytes
    }

    package var isEmpty: Bool { small.isEmpty && large.isEmpty }

    /// The present turn has something to take.
    package var hasMore: Bool { !small.isEmpty || (!large.isEmpty && taken < Self.turnBytes) }

    /// False: there was no room for it, and it is gone.
    @discardableResult
    package mutating func append(_ event: consuming LaneEvent) -> Bool {
        let (bytes, requestBytes) = size(of: event)
        guard requestBytes == 0 || smallRequestBytes + largeRequestBytes < waitingBytes else { return false }
        if bytes > Self.largeBytes {
            largeRequestBytes += requestBytes
            large.append((event, bytes, requestBytes))
        } else {
            smallRequestBytes += requestBytes
            small.append(event)
        }
        return true
    }

    /// A client's request that nobody waits for any more. False: it is not here. Looks through all that waits.
    package mutating func removeRequest(_ id: RequestID) -> Bool {
        if let index = small.firstIndex(where: { $0.isRequest(id) }) {
            small.remove(at: index)
        } else if let index = large.firstIndex(where: { $0.event.isRequest(id) }) {
            large.remove(at: index)
        } else {
            return false
        }
        return true
    }

    package mutating func turnBegins() { taken = 0 }

    /// What is taken now, in its order; `arrived` is empty, and kept for its storage.
    package mutating func take(into arrived: inout Deque<LaneEvent>) {
        swap(&small, &arrived)
        smallRequestBytes = 0
        while taken < Self.turnBytes, let (event, bytes, requestBytes) = large.popFirst() {
            taken += bytes
            largeRequestBytes -= requestBytes
            arrived.append(event)
        }
    }

    package mutating func removeAll() {
        small.removeAll()
        large.removeAll()
        smallRequestBytes = 0
        largeRequestBytes = 0
    }

    /// What may wait for another turn, and what of that counts as another node's request.
    private func size(of event: borrowing LaneEvent) -> (bytes: Int, requestBytes: Int) {
        switch event {
        case .client(_, .put(let put), _): return (put.value.readableBytes, 0)
        case .peer(let sender, let message) where sender != node:
            let bytes = PeerMessageCodec.sizeBound(of: message)
            return (bytes, message.asks ? bytes : 0)
        default: return (0, 0)
        }
    }
}

extension PeerMessage {
    /// Its sender waits for an answer, for as long as it likes.
    fileprivate var asks: Bool {
        switch self {
        case .write, .read, .forward, .page, .compare, .askToken, .reap: true
        default: false
        }
    }
}

extension LaneEvent {
    fileprivate func isRequest(_ id: RequestID) -> Bool {
        if case .client(let other, _, _) = self { other == id } else { false }
    }
}
