// The shell of `NodeRouting` and `ConnectionPool`: makes connections, sends requests, goes on to the next node, and asks for
// the ring in the background while it is in use.

import NIOCore
import NIOPosix
import Synchronization
import TorcModel
import TorcWire

final class NodeConnections: Sendable {
    /// The server answers by its own deadline first; the client waits this much longer.
    static let answerSlack = TimeAmount.seconds(1)
    /// How long a node may take to say what the ring is.
    private static let ringTimeout = TimeAmount.seconds(2)

    private let configuration: TorcClient.Configuration
    let group: any EventLoopGroup
    private let state: Mutex<State>

    private struct Node {
        var pool: ConnectionPool
        var channels: [ConnectionPool.ID: EventLoopFuture<RiakChannel>] = [:]
    }

    private struct State {
        var nodes: [Node]
        var routing: NodeRouting
        var refresh: Task<Void, Never>?
        var isClosed = false
    }

    init(_ configuration: TorcClient.Configuration, group: any EventLoopGroup) {
        self.configuration = configuration
        self.group = group
        let count = configuration.addresses.count
        state = Mutex(
            State(
                nodes: Array(
                    repeating: Node(pool: ConnectionPool(limit: configuration.connectionsPerNode)), count: count),
                routing: NodeRouting(addresses: count)))
    }

    // MARK: Asking

    /// Asks the nodes in the order of the key's replicas, until one has answered or the request may have been carried out.
    func ask(_ frame: RiakFrame, position: RingPosition?, isWrite: Bool) async throws(TorcError) -> RiakFrame {
        refreshInBackground()
        let now = NIODeadline.now()
        let order = state.withLock { $0.routing.order(configuration.isRingAware ? position : nil, at: now) }
        var failures: [String] = []
        for (attempt, place) in order.enumerated() {
            let address = configuration.addresses[place]
            let (id, channel): (ConnectionPool.ID, RiakChannel)
            do {
                (id, channel) = try await connection(to: place)
            } catch let error as TorcError {
                throw error
            } catch {
                failed(place)
                failures.append("\(address): \(TorcClient.reason(error))")
                continue
            }
            do {
                defer { release(place, id) }
                let answer = try await Self.send(
                    frame, on: channel, timeout: configuration.requestTimeout + Self.answerSlack)
                if attempt + 1 < order.count, Self.isTransientRefusal(answer) {
                    failures.append("\(address): refused for now")
                    continue
                }
                state.withLock { $0.routing.answered(place, forKey: position != nil) }
                return answer
            } catch {
                // A node answers a connection in the order of asking, and by its own deadline: what is silent beyond that would hold up
                // all that is asked behind it, a put that is sent again above all.
                remove(place, id)
                if error == .timedOut { channel.channel.close(promise: nil) }
                failed(place)
                switch error {
                case .notSent: failures.append("\(address): connection closed")
                case .malformedAnswer: throw .protocolViolation("\(address) sent what is no message")
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

    private static func send(
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

    // MARK: Connections

    /// One on which a request is counted; whoever gets it releases it.
    private func connection(to place: Int) async throws -> (ConnectionPool.ID, RiakChannel) {
        // A connection that was closed since the last request is found out here; then one more is tried.
        for attempt in 0...1 {
            let (id, future) = try take(place)
            do {
                let channel = try await future.get()
                if channel.channel.isActive || attempt == 1 { return (id, channel) }
                remove(place, id)
            } catch {
                remove(place, id)
                throw error
            }
        }
        preconditionFailure("the second attempt has ended")
    }

    private func take(_ place: Int) throws -> (ConnectionPool.ID, EventLoopFuture<RiakChannel>) {
        let address = configuration.addresses[place]
        return try state.withLock { state throws(TorcError) in
            if state.isClosed { throw .closed }
            switch state.nodes[place].pool.take() {
            case .use(let id): return (id, state.nodes[place].channels[id]!)
            case .connect(let id):
                let made = RiakChannel.connect(
                    host: address.host, port: address.port, on: group.next(), timeout: configuration.connectTimeout)
                state.nodes[place].channels[id] = made
                return (id, made)
            case .full:
                throw .refused(
                    "\(ConnectionPool.fullRequests) requests are under way on each connection to \(address): wait for some"
                )
            }
        }
    }

    private func release(_ place: Int, _ id: ConnectionPool.ID) {
        state.withLock { $0.nodes[place].pool.release(id) }
    }

    private func remove(_ place: Int, _ id: ConnectionPool.ID) {
        state.withLock { state in
            state.nodes[place].pool.remove(id)
            state.nodes[place].channels[id] = nil
        }
    }

    private func failed(_ place: Int) {
        let now = NIODeadline.now()
        state.withLock { $0.routing.failed(place, at: now) }
    }

    /// The connections that stand or are being made, by address.
    var connectionCounts: [Int] { state.withLock { $0.nodes.map(\.pool.count) } }

    func shutdown() async {
        let (connections, refresh) = state.withLock { state in
            state.isClosed = true
            let connections = state.nodes.flatMap(\.channels.values)
            for place in state.nodes.indices {
                for id in state.nodes[place].channels.keys { state.nodes[place].pool.remove(id) }
                state.nodes[place].channels = [:]
            }
            return (connections, state.refresh)
        }
        for connection in connections {
            if let channel = try? await connection.get() { try? await channel.channel.close() }
        }
        await refresh?.value
    }

    // MARK: The ring

    private func refreshInBackground() {
        guard configuration.isRingAware else { return }
        let now = NIODeadline.now()
        state.withLock { state in
            guard !state.isClosed, let places = state.routing.beginRefresh(at: now) else { return }
            state.refresh = Task { await self.refresh(places) }
        }
    }

    /// Asks now, and waits for the answers.
    func refresh() async {
        let now = NIODeadline.now()
        let (places, running) = state.withLock { state in
            (state.isClosed ? nil : state.routing.beginRefresh(at: now, evenEarly: true), state.refresh)
        }
        if let places { await refresh(places) } else { await running?.value }
    }

    private func refresh(_ places: [Int]) async {
        await withTaskGroup(of: Void.self) { tasks in
            for place in places { tasks.addTask { await self.askForRing(place) } }
        }
        let now = NIODeadline.now()
        state.withLock { $0.routing.endRefresh(at: now) }
    }

    /// A node that does not know the question is one of whom nothing is known, and takes requests as any.
    private func askForRing(_ place: Int) async {
        let known = state.withLock { $0.routing.known }
        guard let (id, channel) = try? await connection(to: place) else {
            return state.withLock { $0.routing.unlearned(place) }
        }
        defer { release(place, id) }
        guard
            let answer = try? await Self.send(
                RiakClientMessages.ring(known: known), on: channel, timeout: Self.ringTimeout)
        else { return }
        let told = try? RiakClientMessages.ring(answer)
        state.withLock { state in
            if let told { state.routing.learned(told, from: place) } else { state.routing.unlearned(place) }
        }
    }

    /// The addresses in the order in which they are asked for a key.
    func order(of position: RingPosition) -> [TorcAddress] {
        let now = NIODeadline.now()
        return state.withLock { $0.routing.order(position, at: now) }.map { configuration.addresses[$0] }
    }
}
