// The server's end of one client's connection over Riak's protocol buffers: bytes in, requests to the node,
// answers out in the order of asking.
//
// Nothing here grows with what a client sends or fails to read. Requests are cut out of the stream only while
// there is room for them (`RiakConnectionLimits`) and while the client takes its answers; until then the
// socket is not read. A listing asks for its next piece when the last one has left.
// What is common to all protocols is `ClientConnection`.

package import NIOCore
package import TorcModel
import TorcReplication

/// The bounds of one connection.
package struct RiakConnectionLimits: Sendable {
    /// A longer frame is answered with an error and the connection closed.
    package var frameBytes: Int
    /// Of one object: what an answer may come to while nothing is known of a connection's.
    package var objectBytes: Int
    /// Requests under way; further ones stay unread.
    package var pipelinedRequests = 128
    /// Bytes of requests under way; further ones stay unread.
    package var requestBytes = 16 << 20
    /// Bytes of answers that the requests under way may come to, judged by the largest of late; further
    /// requests stay unread, but one is always taken.
    package var answerBytes = 16 << 20
    /// Bytes of names in the one answer to a bucket listing that does not stream; more is an error.
    package var collectedListingBytes = 8 << 20
    /// How long a connection that is closed for an error goes on throwing away what the client sends.
    package var closingTime: TimeAmount = .seconds(1)

    /// Above the largest object a frame may be longer, so that an object that is somewhat too large is
    /// refused by name and not by a closed connection.
    package static let minimumFrameBytes = 8 << 20
    /// What a frame needs besides the value.
    package static let frameSlackBytes = 1 << 20

    package init(objectBytes: Int) {
        self.objectBytes = objectBytes
        frameBytes = max(Self.minimumFrameBytes, objectBytes + Self.frameSlackBytes)
    }
}

package final class RiakConnection: ClientConnection {
    private struct Listing {
        enum Subject {
            case keys
            case buckets(isStreaming: Bool)
        }

        var sequence: UInt64
        var subject: Subject
        var filter = BucketNameFilter()
        /// Of a listing that does not stream.
        var collected: [ByteBuffer] = []
        var collectedBytes = 0
        /// A piece has gone out, and the next is asked for when the client has room for it.
        var awaitsRoom = false

        enum Piece {
            case send(RiakFrame)
            /// Kept for the end, or nothing new.
            case nothing
        }

        /// What of a piece goes out now; nil when it is more than can be kept until the end.
        mutating func take(
            _ items: [ByteBuffer], collecting limitBytes: Int, _ encoder: RiakResponseEncoder
        ) -> Piece? {
            switch subject {
            case .keys: return items.isEmpty ? .nothing : .send(encoder.keys(items, done: false))
            case .buckets(isStreaming: true):
                let names = filter.newNames(items)
                return names.isEmpty ? .nothing : .send(encoder.buckets(names, done: false))
            case .buckets(isStreaming: false):
                for name in filter.newNames(items) {
                    collectedBytes += name.readableBytes
                    collected.append(ByteBuffer(bytes: name.readableBytesView))
                }
                return collectedBytes <= limitBytes ? .nothing : nil
            }
        }
    }

    private let backend: any RiakBackend
    private let limits: RiakConnectionLimits
    private let requestDecoder: RiakRequestDecoder
    private let encoder: RiakResponseEncoder

    private var loopBound: NIOLoopBound<RiakConnection>?
    private var frames: RiakFrameDecoder
    private var window = RequestWindow()
    /// An exclusive request that waits for the window to empty.
    private var held: (request: RiakRequest, bytes: Int)?
    private var listing: Listing?
    private var clientID = ByteBuffer(bytes: [0, 0, 0, 0])

    private var allowance: AnswerAllowance

    package init(backend: any RiakBackend, clusterKey: ClusterKey, limits: RiakConnectionLimits) {
        self.backend = backend
        self.limits = limits
        requestDecoder = RiakRequestDecoder(clusterKey: clusterKey)
        encoder = RiakResponseEncoder(clusterKey: clusterKey)
        frames = RiakFrameDecoder(maximumFrameBytes: limits.frameBytes)
        allowance = AnswerAllowance(answerBytes: limits.answerBytes, objectBytes: limits.objectBytes)
        super.init(closingTime: limits.closingTime)
    }

    // MARK: Requests

    override func opened(on eventLoop: any EventLoop) { loopBound = NIOLoopBound(self, eventLoop: eventLoop) }

    override func received(_ bytes: ByteBuffer) { frames.append(bytes) }

    override var hasRoom: Bool {
        held == nil && !window.hasExclusive && window.count < limits.pipelinedRequests
            && window.requestBytes < limits.requestBytes && allowance.admits(beside: window.count)
    }

    override var isIdle: Bool { window.isEmpty }

    override func resumed() { continueListing() }

    override func dropReceived() {
        held = nil
        frames = RiakFrameDecoder(maximumFrameBytes: limits.frameBytes)
    }

    override func abandoned() {
        listing = nil
        for operation in window.removeAll() { backend.cancel(operation) }
    }

    override func takeNext() -> Taking {
        if let (request, bytes) = held {
            guard window.isEmpty else { return .nothing }
            held = nil
            run(request, bytes: bytes)
            return .taken
        }
        guard hasRoom else { return .nothing }
        do {
            guard let frame = try frames.next() else { return .nothing }
            return take(frame)
        } catch {
            return broken(error.message)
        }
    }

    /// What came is no message: the client is told in its turn, and the connection ends.
    private func broken(_ message: String) -> Taking {
        window.admit(answered: encoder.error(message))
        return .broken
    }

    private func take(_ frame: RiakFrame) -> Taking {
        do {
            let request = try requestDecoder.decode(frame, keyEntropy: backend.keyEntropy)
            switch request {
            case .ping: reply(RiakFrame(.pingResponse))
            case .clientID: reply(encoder.clientID(clientID))
            case .setClientID(let id):
                clientID = id
                reply(RiakFrame(.setClientIDResponse))
            case .serverInfo: reply(encoder.serverInfo(node: backend.nodeName))
            case .ring(let known):
                let answer = RiakRingAnswer.frame(node: backend.nodeName, ring: backend.ring, known: known)
                reply(answer ?? encoder.error(RiakText.noMember))
            case .object, .listBuckets, .listKeys, .properties, .setProperties, .resetProperties, .preferenceList:
                if request.isExclusive, !window.isEmpty {
                    held = (request, frame.encodedBytes)
                } else {
                    run(request, bytes: frame.encodedBytes)
                }
            }
        } catch {
            if error.closesConnection { return broken(error.message) }
            reply(encoder.error(error.message))
        }
        return .taken
    }

    private func run(_ request: RiakRequest, bytes: Int) {
        let (sequence, runs) = window.admit(request, bytes: bytes)
        if runs { start(request, sequence) }
    }

    private func start(_ request: RiakRequest, _ sequence: UInt64) {
        guard let loopBound else { return }
        let reply = RiakReply(loopBound, sequence: sequence)
        switch request {
        case .object(let object):
            window.started(sequence, as: backend.submit(object.request, timeout: object.timeout, reply: reply))
        case .listKeys(let bucket, let timeout):
            listing = Listing(sequence: sequence, subject: .keys)
            window.started(
                sequence, as: backend.list(ListRequest(subject: .keys(bucket)), timeout: timeout, reply: reply))
        case .listBuckets(let type, let isStreaming, let timeout):
            listing = Listing(sequence: sequence, subject: .buckets(isStreaming: isStreaming))
            window.started(
                sequence, as: backend.list(ListRequest(subject: .buckets(type: type)), timeout: timeout, reply: reply))
        case .properties(let scope): backend.properties(of: scope, reply: reply)
        case .setProperties(let scope, let change): backend.setProperties(of: scope, to: change, reply: reply)
        case .resetProperties(let scope): backend.setProperties(of: scope, to: nil, reply: reply)
        case .preferenceList(let key): backend.preferenceList(of: key, reply: reply)
        case .ping, .clientID, .setClientID, .serverInfo, .ring:
            preconditionFailure("answered by the connection itself: \(request)")
        }
    }

    // MARK: Answers

    func answered(_ sequence: UInt64, _ answer: ClientAnswer) {
        guard case .object(let object) = window.running(sequence) else { return }
        let frame =
            answer.isOverload
            ? encoder.overloaded(after: pause(atLeast: backend.retryAfter)) : encoder.encode(answer, to: object)
        allowance.answered(bytes: frame.encodedBytes)
        finished(sequence, frame)
    }

    func properties(_ sequence: UInt64, _ properties: BucketProperties) {
        finished(sequence, encoder.properties(properties))
    }

    func changed(_ sequence: UInt64, _ answer: PropertiesAnswer) {
        let response: RiakMessageCode
        if case .resetProperties = window.running(sequence) {
            response = .resetBucketResponse
        } else {
            response = .setBucketResponse
        }
        finished(sequence, encoder.changed(answer, response: response))
    }

    func preferenceList(_ sequence: UInt64, _ entries: [PreferenceEntry]) {
        finished(sequence, encoder.preferenceList(entries))
    }

    func failed(_ sequence: UInt64, _ message: String) {
        if listing?.sequence == sequence { listing = nil }
        finished(sequence, encoder.error(message))
    }

    private func finished(_ sequence: UInt64, _ frame: RiakFrame) {
        if let next = window.answer(sequence, with: frame) { start(next.request, next.sequence) }
        deliver()
    }

    /// Answers a request that needs nobody else.
    private func reply(_ frame: RiakFrame) {
        window.admit(answered: frame)
        deliver()
    }

    override func writeAnswered() {
        while let frame = window.takeAnswered() { write(frame) }
    }

    // MARK: Listings

    func listed(_ sequence: UInt64, _ piece: ListPiece) {
        guard var listing, listing.sequence == sequence else { return }
        // Moved out and back in, so that what it has collected is not copied.
        self.listing = nil
        switch piece {
        case .items(let items):
            guard let frame = listing.take(items, collecting: limits.collectedListingBytes, encoder) else {
                if let operation = window.operation(sequence) { backend.cancel(operation) }
                finished(
                    sequence, encoder.error("The list of buckets is too long for one answer: ask for it with stream"))
                return
            }
            listing.awaitsRoom = true
            self.listing = listing
            if case .send(let frame) = frame {
                write(frame)
                flush()
            }
            // In a turn of its own: a node that answers at once would otherwise fill the stack.
            context?.eventLoop.assumeIsolated().execute { self.continueListing() }
        // Nobody asks for the order here, so nothing pauses.
        case .done, .paused:
            switch listing.subject {
            case .keys: finished(sequence, encoder.keys([], done: true))
            case .buckets(isStreaming: true): finished(sequence, encoder.buckets([], done: true))
            case .buckets(isStreaming: false): finished(sequence, encoder.buckets(listing.collected, done: false))
            }
        case .failed(let partition): finished(sequence, encoder.error(RiakText.listingFailed(partition)))
        }
    }

    private func continueListing() {
        guard let listing, listing.awaitsRoom, isWritable, let operation = window.operation(listing.sequence) else {
            return
        }
        self.listing?.awaitsRoom = false
        backend.continueListing(operation)
    }

    // MARK: Writing

    private func write(_ frame: RiakFrame) {
        if frame.body.readableBytes <= Self.gatheredBytes {
            write { frame.encode(into: &$0) }
        } else {
            write(body: frame.body) { frame.encodeHeader(into: &$0) }
        }
    }
}
