// Between the clients' protocols and the lanes: names requests, finds the lane of a key, carries a request
// there and its answer back. There is one for each event loop, used on that loop alone; a request whose key
// belongs to another loop's lane hops there once and back once.
//
//   request id = u8 loop of the client | u8 lane | 48 bits of a counter
//
// The loop makes the number unique in every lane, the lane says where to cancel.

import Logging
import NIOCore
import TorcModel
import TorcReplication
import TorcWire

/// Unchecked: `counter` is touched on the gateway's loop alone, all else never changes.
final class ClientGateway: RiakBackend, RESPBackend, @unchecked Sendable {
    let nodeName: String
    let eventLoop: any EventLoop
    var stages: StageClock { localLane.stages }
    /// Of its connections that are refused; on its loop.
    let pacing = RefusalPacing()

    private let index: Int
    private let loops: NodeLoops
    private let directory: ClusterDirectory
    private let defaultTimeout: Duration
    /// Of the lane on the same loop.
    private let localLane: LaneDriver
    private var counter: UInt64 = 0

    init(
        index: Int, loops: NodeLoops, directory: ClusterDirectory, nodeName: String, defaultTimeout: Duration
    ) {
        self.index = index
        self.loops = loops
        self.directory = directory
        self.nodeName = nodeName
        self.defaultTimeout = defaultTimeout
        localLane = loops.lanes[index]
        eventLoop = localLane.eventLoop
    }

    private func nextID(lane: Int) -> RequestID {
        counter += 1
        return RequestID(rawValue: UInt64(index) << 56 | UInt64(lane) << 48 | counter & 0xffff_ffff_ffff)
    }

    private func lane(of operation: TakenRequest) -> LaneDriver {
        loops.lanes[Int(operation.rawValue >> 48 & 0xff)]
    }

    private func deadline(_ timeout: Duration?) -> MonotonicTime {
        NodeClock.monotonic().advanced(by: timeout ?? defaultTimeout)
    }

    // MARK: Requests

    /// On this gateway's loop. A closure is called on the loop of the key's lane, or before this returns.
    @discardableResult
    func submit(_ request: ClientRequest, timeout: Duration?, receiver: AnswerReceiver) -> TakenRequest {
        let lane = loops.lane(of: request.key)
        let id = nextID(lane: lane.index)
        let began = NodeClock.monotonic()
        let deadline = began.advanced(by: timeout ?? defaultTimeout)
        if lane === localLane {
            lane.submit(id, request, began: began, deadline: deadline, receiver: receiver)
        } else if lane.load.isFull {
            lane.load.noteRefusal()
            localLane.refuse(ClientOperation(request), receiver)
        } else {
            lane.eventLoop.execute {
                lane.submit(id, request, began: began, deadline: deadline, receiver: receiver)
            }
        }
        return TakenRequest(rawValue: id.rawValue)
    }

    /// When it may be worth to ask again, for who is refused because there is too much to do.
    var retryAfter: Duration { loops.lanes.reduce(AdmissionWindow.shortestWait) { max($0, $1.load.wait) } }

    func submit(_ request: ClientRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        submit(request, timeout: timeout, receiver: .riak(reply))
    }

    /// On this gateway's loop: any lane can list, so the one of this loop does.
    @discardableResult
    func list(_ request: ListRequest, timeout: Duration?, receiver: ListingReceiver) -> TakenRequest {
        let id = nextID(lane: index)
        localLane.list(id, request, deadline: deadline(timeout), receiver: receiver)
        return TakenRequest(rawValue: id.rawValue)
    }

    func list(_ request: ListRequest, timeout: Duration?, reply: RiakReply) -> TakenRequest {
        list(request, timeout: timeout, receiver: .riak(reply))
    }

    // MARK: Redis's protocol

    var wallTime: WallTime { NodeClock.now().wall }

    func submit(_ request: ClientRequest, reply: RESPReply) -> TakenRequest {
        submit(request, timeout: nil, receiver: .resp(reply))
    }

    func list(_ request: ListRequest, reply: RESPReply) -> TakenRequest {
        list(request, timeout: nil, receiver: .resp(reply))
    }

    // MARK: Under way

    func continueListing(_ operation: TakenRequest) {
        localLane.continueListing(RequestID(rawValue: operation.rawValue))
    }

    func cancel(_ operation: TakenRequest) {
        let lane = lane(of: operation)
        let id = RequestID(rawValue: operation.rawValue)
        if lane === localLane {
            lane.cancel(id)
        } else {
            lane.eventLoop.execute { lane.cancel(id) }
        }
    }

    // MARK: Properties

    /// From any loop; the closure is called on the control loop.
    func properties(of scope: PropertiesScope, receiver: @escaping @Sendable (BucketProperties) -> Void) {
        let control = loops.control!
        if control.eventLoop.inEventLoop {
            receiver(control.properties(of: scope))
        } else {
            control.eventLoop.execute { receiver(control.properties(of: scope)) }
        }
    }

    func properties(of scope: PropertiesScope, reply: RiakReply) {
        properties(of: scope) { properties in
            if reply.eventLoop.inEventLoop {
                reply.properties(properties)
            } else {
                reply.eventLoop.execute { reply.properties(properties) }
            }
        }
    }

    /// On this gateway's loop; the closure is called on the control loop or this one. A change of nil resets.
    func setProperties(
        of scope: PropertiesScope, to change: PropertiesChange?, timeout: Duration?,
        receiver: @escaping @Sendable (PropertiesAnswer) -> Void
    ) {
        let deadline = deadline(timeout)
        let id = nextID(lane: index)
        let control = loops.control!
        // A reset may change n as well.
        guard change == nil || change?.n != nil else {
            return control.setProperties(
                id, of: scope, to: change, holdsData: false, deadline: deadline, receiver: receiver)
        }
        holdsData(scope, timeout: timeout) { holdsData in
            guard let holdsData else { return receiver(.indeterminate(copies: 0, needed: 1)) }
            control.setProperties(
                id, of: scope, to: change, holdsData: holdsData, deadline: deadline, receiver: receiver)
        }
    }

    func setProperties(of scope: PropertiesScope, to change: PropertiesChange?, reply: RiakReply) {
        setProperties(of: scope, to: change, timeout: nil) { answer in
            if reply.eventLoop.inEventLoop {
                reply.changed(answer)
            } else {
                reply.eventLoop.execute { reply.changed(answer) }
            }
        }
    }

    /// Whether a bucket, or any bucket of a type, holds a key: a listing that stops at the first. Nil when some
    /// partition could not be read and no key was found before.
    private func holdsData(
        _ scope: PropertiesScope, timeout: Duration?, receiver: @escaping @Sendable (Bool?) -> Void
    ) {
        let subject: PageRequest.Subject =
            switch scope {
            case .bucket(let bucket): .keys(bucket)
            case .type(let type): .buckets(type: type)
            }
        let id = nextID(lane: index)
        let lane = localLane
        let listing = ListingReceiver.closure { piece in
            switch piece {
            case .items(let items) where items.isEmpty: lane.continueListing(id)
            case .items:
                lane.cancel(id)
                receiver(true)
            case .done, .paused: receiver(false)
            case .failed: receiver(nil)
            }
        }
        lane.list(id, ListRequest(subject: subject), deadline: deadline(timeout), receiver: listing)
    }

    // MARK: The rest

    /// From any thread: the primaries of a key in a bucket with these properties.
    func preferenceList(of key: ObjectKey, _ properties: BucketProperties) -> [PreferenceEntry] {
        let ring = directory.ring
        let partition = ring.size.partition(of: key.position)
        return ring.preferenceList(of: partition, count: Int(properties.n)).map { node in
            PreferenceEntry(partition: partition, node: directory.name(of: node), isPrimary: true)
        }
    }

    func preferenceList(of key: ObjectKey, reply: RiakReply) {
        properties(of: .bucket(key.bucket)) { properties in
            let entries = self.preferenceList(of: key, properties)
            if reply.eventLoop.inEventLoop {
                reply.preferenceList(entries)
            } else {
                reply.eventLoop.execute { reply.preferenceList(entries) }
            }
        }
    }

    /// From any thread.
    var ring: RiakRing? { directory.clientRing }

    func keyEntropy() -> (UInt64, UInt64) {
        var generator = SystemRandomNumberGenerator()
        return (generator.next(), generator.next())
    }
}
