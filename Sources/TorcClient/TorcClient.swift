// A small client: get, put, delete, ping, listings and bucket properties over protocol buffers, with
// async/await. It asks a replica of the key directly when the nodes have told it the ring (`NodeRouting`), keeps a few
// pipelined connections to each node that it uses (`ConnectionPool`), and goes on to the next node when one cannot be reached.
//
// A write is sent to a second node only when nothing of it was sent to the first, or when the first has said that it did
// nothing. A write that was sent and not answered is *indeterminate*: sent again as it was it could make a false sibling or,
// later, replace a newer version. A put that carries a context is sent again in a way that cannot (`WriteOperation`).

public import NIOCore
import NIOPosix
package import TorcModel
import TorcWire

/// A client of a Torc cluster. One is enough for a program; it may be used from any task.
public final class TorcClient: Sendable {
    /// How a client finds and asks its nodes.
    public struct Configuration: Sendable {
        /// The nodes that may be asked. Of a node that is not among them the client knows nothing: others pass on what is its.
        public var addresses: [TorcAddress]
        /// Ask a replica of a key first, by the ring that the nodes tell. Without it, or while it is not known, the node that
        /// answered last is asked.
        public var isRingAware = true
        /// Connections to each node, 64 at the most; they are made when those that are there have enough to do.
        public var connectionsPerNode = 4
        /// How often a put with a context is sent again when it is not known whether it stands.
        public var writeRetries = 1
        /// How long a node may take to accept a connection before the next is tried.
        public var connectTimeout: TimeAmount = .seconds(2)
        /// How long a request may take; the server is told the same.
        public var requestTimeout: TimeAmount = .seconds(10)

        public init(addresses: [TorcAddress] = [TorcAddress()]) { self.addresses = addresses }
    }

    private let configuration: Configuration
    private let nodes: NodeConnections
    private var group: any EventLoopGroup { nodes.group }

    /// - Parameter group: the event loops to use; the process's shared ones by default.
    public init(_ configuration: Configuration, group: (any EventLoopGroup)? = nil) {
        precondition(!configuration.addresses.isEmpty, "a client needs an address")
        self.configuration = configuration
        nodes = NodeConnections(configuration, group: group ?? MultiThreadedEventLoopGroup.singleton)
    }

    // MARK: Objects

    /// Reads an object.
    ///
    /// - Parameters:
    ///   - consistency: how many replicas must agree; the bucket's `r` by default.
    ///   - headOnly: leave the values out.
    /// - Returns: the object; without versions and context when nothing was ever written, without versions
    ///   but with a context when it was deleted.
    public func get(
        _ key: TorcKey, consistency: TorcConsistency? = nil, headOnly: Bool = false
    ) async throws(TorcError) -> TorcObject {
        var options = timeoutOptions
        options.r = consistency?.wire
        let answer = try await ask(
            RiakClientMessages.get(key.wireName, options, head: headOnly), key, isWrite: false)
        return TorcObject(
            try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.object(frame) })
    }

    /// What a put returns besides success.
    public enum Returned: Sendable { case nothing, head, full }

    /// The outcome of a put.
    public struct PutResult: Hashable, Sendable {
        /// The key that the server made, when the given one was empty.
        public var madeKey: ByteBuffer?
        /// The object as it stands after the put; without a context unless it was asked for.
        public var object: TorcObject
    }

    /// Writes a version of an object. It replaces the versions that `context` covers and stands beside others.
    ///
    /// - Parameters:
    ///   - context: what a read of this object returned; nil replaces nothing.
    ///   - consistency: how many replicas must have the write on disk; the bucket's `w` by default.
    ///   - userMetadata: names and values that are kept with the value.
    ///   - lifetimeSeconds: how long the version stands; nil: until it is replaced or deleted.
    ///   - operation: a name for this write, by which a node knows one that it has already. The client draws one by itself for
    ///     a put with a context; a program that wants to repeat a write later keeps its own.
    /// - Throws: `indeterminate` when the write may or may not stand.
    @discardableResult
    public func put(
        _ value: ByteBuffer, to key: TorcKey, contentType: String = "application/octet-stream",
        context: TorcContext? = nil, condition: TorcCondition? = nil, consistency: TorcConsistency? = nil,
        userMetadata: [(name: String, value: String)] = [], lifetimeSeconds: Int? = nil,
        operation: WriteOperation? = nil, returning: Returned = .nothing
    ) async throws(TorcError) -> PutResult {
        var metadata = ContentMetadata()
        metadata.contentType = ByteBuffer(string: contentType)
        metadata.userMetadata = userMetadata.map {
            .init(name: ByteBuffer(string: $0.name), value: ByteBuffer(string: $0.value))
        }
        return try await put(
            value, to: key, metadata: metadata, context: context, condition: condition, consistency: consistency,
            lifetimeSeconds: lifetimeSeconds, operation: operation, returning: returning)
    }

    /// The same, with all that may be kept with a value.
    @discardableResult
    package func put(
        _ value: ByteBuffer, to key: TorcKey, metadata: ContentMetadata, context: TorcContext? = nil,
        condition: TorcCondition? = nil, consistency: TorcConsistency? = nil, lifetimeSeconds: Int? = nil,
        operation: WriteOperation? = nil, returning: Returned = .nothing
    ) async throws(TorcError) -> PutResult {
        var options = timeoutOptions
        options.w = consistency?.wire
        var details = RiakPutDetails()
        details.metadata = metadata
        if let lifetimeSeconds {
            RiakLifetime.put(UInt64(clamping: lifetimeSeconds), into: &details.metadata)
        }
        details.vclock = context?.bytes
        details.ifNoneMatch = condition == .ifAbsent
        details.ifNotModified = condition == .ifUnmodified
        switch returning {
        case .nothing: details.returned = .nothing
        case .head: details.returned = .head
        case .full: details.returned = .full
        }
        // Only what can be sent again needs a name.
        let retries = context == nil || condition == .ifAbsent ? 0 : max(0, configuration.writeRetries)
        let operation = operation ?? (retries > 0 ? WriteOperation() : nil)
        if let operation { RiakWriteName.put(operation.id, into: &details.metadata) }
        do {
            return try await put(key, value, details, options)
        } catch {
            guard case .indeterminate(let first) = error, retries > 0 else { throw error }
            return try await putAgain(key, value, details, options, retries: retries, first)
        }
    }

    private func put(
        _ key: TorcKey, _ value: ByteBuffer, _ details: RiakPutDetails, _ options: RiakRequestOptions
    ) async throws(TorcError) -> PutResult {
        let answer = try await ask(
            RiakClientMessages.put(key.wireName, value: value, details, options), key, isWrite: true)
        let object = try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.object(frame) }
        return PutResult(madeKey: object.key, object: TorcObject(object))
    }

    /// Of a put of which it is not known whether it stands: under the same name, and only if nothing else has been written
    /// since its context was read. So it is found where it stands, and written where nothing has happened; what somebody has
    /// replaced or deleted meanwhile does not come back.
    private func putAgain(
        _ key: TorcKey, _ value: ByteBuffer, _ details: RiakPutDetails, _ options: RiakRequestOptions, retries: Int,
        _ first: String
    ) async throws(TorcError) -> PutResult {
        var details = details
        details.ifNotModified = true
        for _ in 0..<retries {
            do {
                return try await put(key, value, details, options)
            } catch {
                switch error {
                case .indeterminate, .unreachable, .noQuorum: continue
                case .closed: throw .indeterminate(first)
                case .conditionFailed:
                    throw .indeterminate("\(first); sent again: the object has changed since it was read")
                case .refused(let message), .protocolViolation(let message):
                    throw .indeterminate("\(first); sent again: \(message)")
                }
            }
        }
        throw .indeterminate(first)
    }

    /// Deletes the versions that `context` covers; without one, those that a quorum read finds. Deleting what
    /// is not there succeeds.
    ///
    /// - Throws: `indeterminate` when the deletion may or may not stand.
    public func delete(
        _ key: TorcKey, context: TorcContext? = nil, consistency: TorcConsistency? = nil
    ) async throws(TorcError) {
        var options = timeoutOptions
        options.rw = consistency?.wire
        let answer = try await ask(
            RiakClientMessages.delete(key.wireName, vclock: context?.bytes, options), key, isWrite: true)
        try Self.read(answer) { frame throws(RiakAnswerError) in
            try RiakClientMessages.done(frame, .deleteResponse)
        }
    }

    // MARK: Nodes

    /// Asks the first node that can be reached whether it is there.
    public func ping() async throws(TorcError) {
        let answer = try await ask(RiakClientMessages.ping, isWrite: false)
        try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.done(frame, .pingResponse) }
    }

    /// The name and the protocol's version of the node that answers.
    public func serverInfo() async throws(TorcError) -> (node: String, version: String) {
        let answer = try await ask(RiakClientMessages.serverInfo, isWrite: false)
        return try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.serverInfo(frame) }
    }

    /// The replicas of a key: partition and node, the first one first.
    public func preferenceList(
        of key: TorcKey
    ) async throws(TorcError) -> [(partition: Int, node: String, isPrimary: Bool)] {
        let answer = try await ask(RiakClientMessages.preferenceList(key.wireName), isWrite: false)
        return try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.preferenceList(frame) }
    }

    /// Asks the nodes now what the ring is. A client does so by itself, every ten seconds while it is in use and soon after a
    /// failure; its first requests go to any node unless this is awaited before.
    public func refreshRing() async { await nodes.refresh() }

    /// The addresses in the order in which they would be asked for a key.
    public func addresses(for key: TorcKey) -> [TorcAddress] {
        key.position.map { nodes.order(of: $0) } ?? configuration.addresses
    }

    /// The connections that stand or are being made, in the order of the addresses.
    public var connectionCounts: [Int] { nodes.connectionCounts }

    // MARK: Buckets

    /// The properties that hold for a bucket.
    public func properties(
        ofBucket bucket: String, type: String = ""
    ) async throws(TorcError) -> TorcBucketProperties {
        try await properties(ofBucket: ByteBuffer(string: bucket), type: ByteBuffer(string: type))
    }

    /// The same of a name that need not be text.
    package func properties(
        ofBucket bucket: ByteBuffer, type: ByteBuffer
    ) async throws(TorcError) -> TorcBucketProperties {
        let answer = try await ask(RiakClientMessages.properties(type: type, bucket: bucket), isWrite: false)
        return TorcBucketProperties(
            try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.properties(frame) })
    }

    /// Changes what is not nil. Setting properties twice is setting them once, so a change is sent again to
    /// the next node when the first does not answer.
    public func setProperties(
        _ properties: TorcBucketProperties, ofBucket bucket: String, type: String = ""
    ) async throws(TorcError) {
        let answer = try await ask(
            RiakClientMessages.setProperties(
                type: ByteBuffer(string: type), bucket: ByteBuffer(string: bucket), to: properties.wire),
            isWrite: false)
        try Self.read(answer) { frame throws(RiakAnswerError) in
            try RiakClientMessages.done(frame, .setBucketResponse)
        }
    }

    /// Gives a bucket the properties of its type again.
    public func resetProperties(ofBucket bucket: String, type: String = "") async throws(TorcError) {
        let answer = try await ask(
            RiakClientMessages.resetProperties(type: ByteBuffer(string: type), bucket: ByteBuffer(string: bucket)),
            isWrite: false)
        try Self.read(answer) { frame throws(RiakAnswerError) in
            try RiakClientMessages.done(frame, .resetBucketResponse)
        }
    }

    /// The keys of a bucket, piece by piece, in no order. It walks the whole store: nothing to do often.
    public func keys(inBucket bucket: String, type: String = "") -> TorcListing {
        TorcListing(
            request: RiakClientMessages.listKeys(
                type: ByteBuffer(string: type), bucket: ByteBuffer(string: bucket), timeoutMilliseconds: nil),
            configuration: configuration, group: group)
    }

    /// The buckets of a type that hold keys, piece by piece, in no order. It walks the whole store.
    public func buckets(type: String = "") -> TorcListing {
        TorcListing(
            request: RiakClientMessages.listBuckets(type: ByteBuffer(string: type), timeoutMilliseconds: nil),
            configuration: configuration, group: group)
    }

    // MARK: Life

    /// Closes the connections; open requests fail.
    public func shutdown() async { await nodes.shutdown() }

    // MARK: Asking

    private var timeoutOptions: RiakRequestOptions {
        var options = RiakRequestOptions()
        options.timeoutMilliseconds = UInt32(clamping: configuration.requestTimeout.nanoseconds / 1_000_000)
        return options
    }

    private struct Answer {
        var frame: RiakFrame
        var isWrite: Bool
    }

    private func ask(_ frame: RiakFrame, _ key: TorcKey? = nil, isWrite: Bool) async throws(TorcError) -> Answer {
        Answer(frame: try await nodes.ask(frame, position: key?.position, isWrite: isWrite), isWrite: isWrite)
    }

    private static func read<Value>(
        _ answer: Answer, _ decode: (RiakFrame) throws(RiakAnswerError) -> Value
    ) throws(TorcError) -> Value {
        do {
            return try decode(answer.frame)
        } catch {
            throw TorcError(error, isWrite: answer.isWrite)
        }
    }

    static func reason(_ error: any Error) -> String {
        switch error {
        case is NIOConnectionError: "cannot connect"
        case let error as ChannelError: "\(error)"
        default: "\(error)"
        }
    }
}

extension TorcError {
    /// What an error answer means; the server's words are the only thing to go by.
    init(_ error: RiakAnswerError, isWrite: Bool) {
        switch error {
        case .unexpected(let code): self = .protocolViolation("an answer of code \(code)")
        case .server(let message):
            switch message {
            case RiakText.matchFound, RiakText.modified, RiakText.notFound: self = .conditionFailed(message)
            case _ where message.hasPrefix(RiakText.indeterminatePrefix):
                self = .indeterminate(String(message.dropFirst(RiakText.indeterminatePrefix.count)))
            case RiakText.timeout: self = isWrite ? .indeterminate(message) : .noQuorum(message)
            case _ where message.hasPrefix("{r_val_unsatisfied"): self = .noQuorum(message)
            default: self = .refused(message)
            }
        }
    }
}
