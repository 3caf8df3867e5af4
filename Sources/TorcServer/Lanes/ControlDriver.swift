// The shell of the control machine: bucket properties and membership. It runs on the first lane's loop, which
// is idle enough for it, and hands what must reach the disk to a reader thread.

import Logging
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

final class ControlDriver: @unchecked Sendable {
    let eventLoop: any EventLoop

    private let loops: NodeLoops
    private var control: Control
    private let store: NodeStore
    private let threads: NIOThreadPool
    private let logger: Logger
    private let directory: ClusterDirectory
    private let follower: RingFollower
    private var effects: [ControlEffect] = []
    private var isCarryingOut = false
    private var receivers: [RequestID: @Sendable (PropertiesAnswer) -> Void] = [:]
    /// Of an operator's orders; their numbers have the upper bits that no gateway uses.
    private var orders: [RequestID: @Sendable (RingAnswer) -> Void] = [:]
    private var lastOrder: UInt64 = 0
    private static let orderBits: UInt64 = 0xfe << 56
    private var timer: Scheduled<Void>?
    /// What is on disk, or on its way there.
    private var durable: PropertiesTable
    private var unstored: [UInt64] = []
    private var unstoredIncarnation: MembershipIncarnation?
    /// Of nodes whose ring is none of this node's: each is told of once.
    private var strangeRings: [NodeID: RingVersion] = [:]
    private var unstoredRing: (number: UInt64, record: RingRecord)?
    private var isStoring = false
    private var isStopped = false

    init(
        eventLoop: any EventLoop, loops: NodeLoops, control: Control, store: NodeStore,
        threads: NIOThreadPool, directory: ClusterDirectory, follower: RingFollower, logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.loops = loops
        self.control = control
        durable = control.table
        self.store = store
        self.threads = threads
        self.directory = directory
        self.follower = follower
        self.logger = logger
    }

    /// From any thread.
    func send(_ event: ControlEvent) {
        if eventLoop.inEventLoop {
            handle(event)
        } else {
            eventLoop.execute { self.handle(event) }
        }
    }

    /// From any thread. A change of nil resets the scope. The answer comes on the control loop.
    func setProperties(
        _ id: RequestID, of scope: PropertiesScope, to change: PropertiesChange?, holdsData: Bool,
        deadline: MonotonicTime, receiver: @escaping @Sendable (PropertiesAnswer) -> Void
    ) {
        eventLoop.execute {
            guard !self.isStopped else { return receiver(.refused(.shuttingDown)) }
            self.receivers[id] = receiver
            if let change {
                self.handle(.setProperties(id, scope, change, holdsData: holdsData, deadline: deadline))
            } else {
                self.handle(.resetProperties(id, scope, holdsData: holdsData, deadline: deadline))
            }
        }
    }

    /// On the control loop.
    func properties(of scope: PropertiesScope) -> BucketProperties { control.table[scope] }

    /// On the control loop.
    var members: [MemberStatus] { control.membership.statuses }

    /// What was agreed on with those that are linked. On the control loop.
    var features: [NodeID: PeerFeatures] { control.features }

    /// On the control loop.
    var agreement: RingAgreement { control.agreement }

    /// An operator's order. From anywhere.
    func order(_ order: RingOrder) async -> RingAnswer {
        await withCheckedContinuation { continuation in
            eventLoop.execute {
                guard !self.isStopped else { return continuation.resume(returning: .refused(.busy)) }
                self.lastOrder += 1
                let id = RequestID(rawValue: Self.orderBits | self.lastOrder)
                self.orders[id] = { continuation.resume(returning: $0) }
                self.handle(.ring(id, order))
            }
        }
    }

    /// On the control loop.
    func stop() {
        // A commit may have reached others.
        for receiver in orders.values { receiver(.indeterminate(reached: 0, needed: 1)) }
        orders = [:]
        for receiver in receivers.values { receiver(.indeterminate(copies: 0, needed: 1)) }
        receivers = [:]
        isStopped = true
        timer?.cancel()
        timer = nil
    }

    private func handle(_ event: ControlEvent) {
        guard !isStopped else { return }
        control.handle(event, now: NodeClock.now(), effects: &effects)
        // A send may end its link, and that leads back here: these effects have their turn behind those before them.
        guard !isCarryingOut else { return }
        isCarryingOut = true
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            carryOut(effect)
        }
        effects.removeAll(keepingCapacity: true)
        isCarryingOut = false
        setTimer()
    }

    private func carryOut(_ effect: ControlEffect) {
        switch effect {
        case .storeProperties(let number, let entries):
            for entry in entries { durable.merge(entry) }
            unstored.append(number)
            storeMeta()
        case .storeMembershipIncarnation(let incarnation):
            unstoredIncarnation = max(incarnation, unstoredIncarnation ?? .unheard)
            storeMeta()
        case .routing(let suspected):
            for lane in loops.lanes { lane.send(.suspected(suspected)) }
        case .observed(let observation):
            observe(observation)
        case .propertiesChanged(let entries):
            for lane in loops.lanes { lane.send(.propertiesChanged(entries)) }
            for entry in entries {
                logger.info("bucket properties changed", metadata: ["scope": "\(entry.scope)"])
            }
        case .send(let message, let node):
            if node != loops.node { loops.lanes[0].transmit(message, to: node) }
        case .answer(let id, let answer):
            receivers.removeValue(forKey: id)?(answer)
        case .storeRing(let number, let record):
            unstoredRing = (number, record)
            storeMeta()
        case .ringInstalled(let state):
            logger.notice(
                "the members have agreed on a ring",
                metadata: ["ring": "\(state.version)", "phase": "\(state.transition?.phase ?? .settled)"])
            follower.follow(state)
        case .answerRing(let id, let answer): orders.removeValue(forKey: id)?(answer)
        case .ringObserved(let observation): observe(observation)
        }
    }

    /// One at a time, so that an older value never lands on a newer one; what comes meanwhile shares the next.
    private func storeMeta() {
        guard !isStoring, !unstored.isEmpty || unstoredIncarnation != nil || unstoredRing != nil else { return }
        isStoring = true
        let numbers = unstored
        let incarnation = unstoredIncarnation
        unstored.removeAll()
        let ring = unstoredRing
        unstoredIncarnation = nil
        unstoredRing = nil
        var values: [(key: String, value: ByteBuffer?)] = []
        if !numbers.isEmpty { values.append((StoredProperties.key, StoredProperties.encode(durable))) }
        if let incarnation { values.append((StoredMembership.key, StoredMembership.encode(incarnation))) }
        if let ring { values.append((StoredRing.key, ring.record.encoded)) }
        threads.submit { [values] state in
            guard case .active = state else { return }
            do {
                try self.store.putMeta(values)
            } catch {
                NodeFailure.stop(self.logger, "the node's state cannot be stored", error)
            }
            self.eventLoop.execute {
                self.isStoring = false
                for number in numbers { self.handle(.propertiesStored(number)) }
                if let incarnation { self.handle(.membershipStored(incarnation)) }
                if let ring { self.handle(.ringStored(ring.number)) }
                self.storeMeta()
            }
        }
    }

    private func observe(_ observation: MembershipObservation) {
        func name(_ node: NodeID) -> Logger.MetadataValue { "\(directory.name(of: node))" }
        switch observation {
        case .suspected(let node, let accuser):
            logger.notice(
                "a member does not answer; it is routed around", metadata: ["node": name(node), "by": name(accuser)])
        case .died(let node, let accuser):
            logger.warning("a member is taken for dead", metadata: ["node": name(node), "by": name(accuser)])
        case .returned(let node):
            logger.notice("a member answers again", metadata: ["node": name(node)])
        case .refuted(let incarnation):
            logger.notice(
                "others did not hear this node; it has told them otherwise", metadata: ["membership": "\(incarnation)"])
        case .paused(let time):
            logger.warning(
                "this node did not run for a while", metadata: ["milliseconds": "\(Int(time / .milliseconds(1)))"])
        }
    }

    private func observe(_ observation: RingObservation) {
        func name(_ node: NodeID) -> Logger.MetadataValue { "\(directory.name(of: node))" }
        switch observation {
        case .proposed(let ballot): logger.notice("a ring is proposed", metadata: ["ballot": "\(ballot)"])
        case .recovering(let ballot):
            logger.notice("a ring that another began is seen to", metadata: ["ballot": "\(ballot)"])
        case .forced(let version, let dead):
            logger.warning(
                "a ring is forced, without a majority",
                metadata: ["ring": "\(version)", "without": "\(dead.map(directory.name))"])
        case .strayed(let node, let version):
            guard strangeRings.updateValue(version, forKey: node) != version else { return }
            logger.error(
                "a member holds a ring that does not come from this node's",
                metadata: ["node": name(node), "ring": "\(version)"])
        case .forked(let node, let version):
            guard strangeRings.updateValue(version, forKey: node) != version else { return }
            logger.critical(
                "a member holds another ring of the same epoch", metadata: ["node": name(node), "ring": "\(version)"])
        // The follower tells what to do.
        case .fenced: break
        }
    }

    private func setTimer() {
        timer?.cancel()
        timer = nil
        guard let deadline = control.nextDeadline else { return }
        timer = eventLoop.scheduleTask(deadline: .uptimeNanoseconds(deadline.nanoseconds)) { self.send(.tick) }
    }
}
