// What a client asks over Riak's protocol buffers, in Torc's terms.

package import NIOCore
package import TorcModel
package import TorcReplication

/// A request of an object, with what its answer depends on besides.
package struct RiakObjectRequest: Hashable, Sendable {
    package enum AnswerForm: Hashable, Sendable {
        /// `deletedClock`: a tombstone is answered with its clock, not as if nothing had been there.
        case get(deletedClock: Bool)
        /// The key that the server made, when the client named none.
        case put(madeKey: ByteBuffer?)
        case delete
    }

    package var request: ClientRequest
    /// Nil: the server's default.
    package var timeout: Duration?
    package var form: AnswerForm

    package init(_ request: ClientRequest, timeout: Duration?, form: AnswerForm) {
        self.request = request
        self.timeout = timeout
        self.form = form
    }
}

package enum RiakRequest: Hashable, Sendable {
    case ping
    case clientID
    case setClientID(ByteBuffer)
    case serverInfo
    case object(RiakObjectRequest)
    /// Not streaming: one answer with all buckets.
    case listBuckets(type: ByteBuffer, isStreaming: Bool, timeout: Duration?)
    case listKeys(BucketID, timeout: Duration?)
    case properties(PropertiesScope)
    case setProperties(PropertiesScope, PropertiesChange)
    case resetProperties(PropertiesScope)
    case preferenceList(ObjectKey)
    /// The fingerprint of the ring that the client has.
    case ring(known: UInt64?)
}

/// A request that cannot be carried out as it was sent.
package struct RiakRequestError: Error, Hashable, Sendable {
    package var message: String
    /// What the client sent is no message at all: nothing after it can be trusted either.
    package var closesConnection: Bool

    package init(_ message: String, closesConnection: Bool = false) {
        self.message = message
        self.closesConnection = closesConnection
    }
}

/// One entry of a key's preference list.
package struct PreferenceEntry: Hashable, Sendable {
    package var partition: PartitionID
    package var node: String
    package var isPrimary: Bool

    package init(partition: PartitionID, node: String, isPrimary: Bool) {
        self.partition = partition
        self.node = node
        self.isPrimary = isPrimary
    }
}
