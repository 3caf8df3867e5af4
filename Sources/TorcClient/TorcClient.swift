// A small client: get, put, delete, ping, listings and bucket properties over protocol buffers, with
// async/await. It knows several nodes and keeps one pipelined connection to the one that it uses; when that
// node cannot be reached it goes on to the next.
//
// A write is sent to a second node only when nothing of it was sent to the first, or when the first has said
// that it did nothing. A write that was sent and not answered is *indeterminate*: sent again it could make a
// false sibling or, later, replace a newer version.

public import NIOCore
import NIOPosix
import Synchronization
package import TorcModel
import TorcWire

/// A client of a Torc cluster. One is enough for a program; it may be used from any task.
public final class TorcClient: Sendable {
    /// How a client finds and asks its nodes.
    public struct Configuration: Sendable {
        /// The nodes that may be asked, in this order.
        public var addresses: [TorcAddress]
        /// How long a node may take to accept a connection before the next is tried.
        public var connectTimeout: TimeAmount = .seconds(2)
        /// How long a request may take; the server is told the same.
        public var requestTimeout: TimeAmount = .seconds(10)

        public init(addresses: [TorcAddress] = [TorcAddress()]) { self.addresses = addresses }
    }

    /// The server answers by its own deadline first; the client waits this much longer.
    private static let answerSlack = TimeAmount.seconds(1)

    private let configuration: Configuration
    private let group: any EventLoopGroup
    private let state: Mutex<State>

    private struct State {
        /// One connection to each node that was asked, made when it is first needed.
        var connections: [TorcAddress: EventLoopFuture<RiakChannel>] = [:]
        /// The place in the addresses of the node that answered last.
        var preferred = 0
        var isClosed = false
    }

    /// - Parameter group: the event loops to use; the process's shared ones by default.
    public init(_ configuration: Configuration, group: (any EventLoopGroup)? = nil) {
        precondition(!configuration.addresses.isEmpty, "a client needs an address")
        self.configuration = configuration
        self.group = group ?? MultiThreadedEventLoopGroup.singleton
        state = Mutex(State())
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
            RiakClientMessages.get(key.wireName, options, head: headOnly), isWrite: false)
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
    /// - Throws: `indeterminate` when the write may or may not stand.
    @discardableResult
    public func put(
        _ value: ByteBuffer, to key: TorcKey, contentType: String = "application/octet-stream",
        context: TorcContext? = nil, condition: TorcCondition? = nil, consistency: TorcConsistency? = nil,
        userMetadata: [(name: String, value: String)] = [], lifetimeSeconds: Int? = nil,
        returning: Returned = .nothing
    ) async throws(TorcError) -> PutResult {
        var metadata = ContentMetadata()
        metadata.contentType = ByteBuffer(string: contentType)
        metadata.userMetadata = userMetadata.map {
            .init(name: ByteBuffer(string: $0.name), value: ByteBuffer(string: $0.value))
        }
        return try await put(
            value, to: key, metadata: metadata, context: context, condition: condition, consistency: consistency,
            lifetimeSeconds: lifetimeSeconds, returning: returning)
    }

    /// The same, with all that may be kept with a value.
    @discardableResult
    package func put(
        _ value: ByteBuffer, to key: TorcKey, metadata: ContentMetadata, context: TorcContext? = nil,
        condition: TorcCondition? = nil, consistency: TorcConsistency? = nil, lifetimeSeconds: Int? = nil,
        returning: Returned = .nothing
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
        let answer = try await ask(
            RiakClientMessages.put(key.wireName, value: value, details, options), isWrite: true)
        let object = try Self.read(answer) { frame throws(RiakAnswerError) in try RiakClientMessages.object(frame) }
        return PutResult(madeKey: object.key, object: TorcObject(object))
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
            RiakClientMessages.delete(key.wireName, vclock: context?.bytes, options), isWrite: true)
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

    // MARK: Buckets

    /// The properties that hold for a bucket.
    public func properties(
        ofBucket bucket: String, type: String = ""
    ) async throws(TorcError) -> TorcBucketProperties {
        let answer = try await ask(
            RiakClientMessages.properties(type: ByteBuffer(string: type), bucket: ByteBuffer(string: bucket)),
            isWrite: false)
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
    public func shutdown() async {
        let connections = state.withLock { state in
            state.isClosed = true
            defer { state.connections = [:] }
            return Array(state.connections.values)
        }
        for connection in connections {
            if let channel = try? await connection.get() { try? await channel.channel.close() }
        }
    }

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

    /// Asks the node that answered last, then the others, until one has answered or the request may have been
    /// carried out.
    private func ask(_ frame: RiakFrame, isWrite: Bool) async throws(TorcError) -> Answer {
        let first = state.withLock { $0.preferred }
        let count = configuration.addresses.count
        var failures: [String] = []
        for attempt in 0..<count {
            let index = (first + attempt) % count
            let address = configuration.addresses[index]
            let channel: RiakChannel
            do {
                channel = try await connection(to: address)
            } catch let error as TorcError {
                throw error
            } catch {
                failures.append("\(address): \(Self.reason(error))")
                continue
            }
            do {
                let answer = try await Self.send(
                    frame, on: channel, timeout: configuration.requestTimeout + Self.answerSlack)
                if attempt + 1 < count, Self.isTransientRefusal(answer) {
                    failures.append("\(address): refused for now")
                    continue
                }
                state.withLock { $0.preferred = index }
                return Answer(frame: answer, isWrite: isWrite)
            } catch {
                if error != .timedOut { forget(address) }
                switch error {
                case .notSent: failures.append("\(address): connection closed")
                case .malformedAnswer:
                    throw .protocolViolation("\(address) sent what is no message")
                case .lost, .timedOut:
                    let what =
                        error == .lost ? "the connection to \(address) was lost" : "\(address) did not answer in time"
                    if isWrite { throw .indeterminate(what) }
                    failures.append(what)
                }
            }
        }
        throw .unreachable(failures)
    }

    private func connection(to address: TorcAddress) async throws -> RiakChannel {
        let future = try state.withLock { state throws(TorcError) -> EventLoopFuture<RiakChannel> in
            if state.isClosed { throw .closed }
            if let existing = state.connections[address] { return existing }
            let made = RiakChannel.connect(
                host: address.host, port: address.port, on: group.next(), timeout: configuration.connectTimeout)
            state.connections[address] = made
            return made
        }
        do {
            let channel = try await future.get()
            if channel.channel.isActive { return channel }
            // It was closed since; one new attempt.
            forget(address, future)
            let again = state.withLock { state in
                if let existing = state.connections[address] { return existing }
                let made = RiakChannel.connect(
                    host: address.host, port: address.port, on: group.next(), timeout: configuration.connectTimeout)
                state.connections[address] = made
                return made
            }
            do {
                return try await again.get()
            } catch {
                forget(address, again)
                throw error
            }
        } catch {
            forget(address, future)
            throw error
        }
    }

    /// Drops a connection, unless another has taken its place.
    private func forget(_ address: TorcAddress, _ future: EventLoopFuture<RiakChannel>? = nil) {
        state.withLock { state in
            guard let known = state.connections[address], future == nil || known === future else { return }
            state.connections[address] = nil
        }
    }

    static func send(
        _ frame: RiakFrame, on channel: RiakChannel, timeout: TimeAmount
    ) async throws(RiakChannelFailure) -> RiakFrame {
        let result: Result<RiakFrame, RiakChannelFailure> = await withCheckedContinuation { continuation in
            channel.eventLoop.execute {
                channel.send(frame, timeout: timeout) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    /// The server did nothing, and another may do it: so it says.
    private static func isTransientRefusal(_ frame: RiakFrame) -> Bool {
        guard case .server(let message) = RiakClientMessages.error(frame) else { return false }
        return [RiakText.overloaded, RiakText.shuttingDown, RiakText.diskFull].contains(message)
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
