// What a Riak connection needs of the node behind it. Everything is called on the connection's event loop and
// answered there through a `RiakReply`: no task and no closure a request. A request that belongs to another
// loop's lane is carried there by the node, and its answer back.

package import NIOCore
package import TorcModel
package import TorcReplication

package protocol RiakBackend: AnyObject {
    /// The name that the node gives for itself.
    var nodeName: String { get }

    /// Answered once, by `reply.answer`; before this returns or later. `timeout` nil: the node's default.
    func submit(_ request: ClientRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest

    /// When it may be worth to ask again, for who is refused because there is too much to do.
    var retryAfter: Duration { get }

    /// Answered by `reply.listed`, piece by piece: one at once, each further one after `continueListing`;
    /// `.done` and `.failed` are the last.
    func list(_ request: ListRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest

    /// The client has taken the last piece.
    func continueListing(_ operation: TakenRequest)

    /// The client is gone: nobody waits for an answer of this request or listing.
    func cancel(_ operation: TakenRequest)

    /// What holds in the scope, inherited or its own. Answered once, by `reply.properties`.
    func properties(of scope: PropertiesScope, reply: RiakReply)

    /// Answered once, by `reply.changed`. A change of nil resets the scope to what it inherits.
    func setProperties(of scope: PropertiesScope, to change: PropertiesChange?, reply: RiakReply)

    /// Answered once, by `reply.preferenceList`: the n primaries of the key, in ring order.
    func preferenceList(of key: ObjectKey, reply: RiakReply)

    /// The ring that requests are to follow; nil when this node is no member of it.
    var ring: RiakRing? { get }

    /// 128 random bits, for a key that the server makes.
    func keyEntropy() -> (UInt64, UInt64)
}

/// Where the answer to one request goes. It may travel between threads, but is used on the connection's event
/// loop alone (checked). An answer to a connection that has gone away is dropped.
package struct RiakReply: Sendable {
    private let connection: NIOLoopBound<RiakConnection>
    private let sequence: UInt64

    init(_ connection: NIOLoopBound<RiakConnection>, sequence: UInt64) {
        self.connection = connection
        self.sequence = sequence
    }

    package var eventLoop: any EventLoop { connection.eventLoop }

    package func answer(_ answer: ClientAnswer) { connection.value.answered(sequence, answer) }
    package func listed(_ piece: ListPiece) { connection.value.listed(sequence, piece) }
    package func properties(_ properties: BucketProperties) { connection.value.properties(sequence, properties) }
    package func changed(_ answer: PropertiesAnswer) { connection.value.changed(sequence, answer) }
    package func preferenceList(_ entries: [PreferenceEntry]) { connection.value.preferenceList(sequence, entries) }
    /// An error of the node's own, in words.
    package func failed(_ message: String) { connection.value.failed(sequence, message) }
}
