// What a connection of Redis's protocol needs of the node behind it. Everything is called on the connection's event loop and
// answered there through a `RESPReply`.

package import NIOCore
package import TorcModel
package import TorcReplication

package protocol RESPBackend: AnyObject {
    var nodeName: String { get }
    /// The node's clock.
    var wallTime: WallTime { get }

    /// Answered once, by `reply.answer`; before this returns or later.
    func submit(_ request: ClientRequest, reply: RESPReply) -> TakenRequest

    /// When it may be worth to ask again, for who is refused because there is too much to do.
    var retryAfter: Duration { get }

    /// Answered by `reply.listed`, piece by piece: one at once, each further one after `continueListing`; `.done` and
    /// `.failed` are the last.
    func list(_ request: ListRequest, reply: RESPReply) -> TakenRequest
    func continueListing(_ operation: TakenRequest)

    /// Nobody waits for an answer any more.
    func cancel(_ operation: TakenRequest)
}

/// Where the answer to one part of a command goes. It may travel between threads, but is used on the connection's event
/// loop alone (checked). An answer to a connection that has gone away is dropped.
package struct RESPReply: Sendable {
    private let connection: NIOLoopBound<RESPConnection>
    private let sequence: UInt64
    private let part: Int

    init(_ connection: NIOLoopBound<RESPConnection>, sequence: UInt64, part: Int) {
        self.connection = connection
        self.sequence = sequence
        self.part = part
    }

    package var eventLoop: any EventLoop { connection.eventLoop }

    package func answer(_ answer: ClientAnswer) { connection.value.answered(sequence, part, answer) }
    package func listed(_ piece: ListPiece) { connection.value.listed(sequence, piece) }
}
