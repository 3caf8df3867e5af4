// A listing of a bucket's keys, or of a type's buckets, over all partitions, from one replica of each.
//
// A few partitions are read at a time, page by page. A page that has come waits until the client has taken
// the one before it, and its partition is read on only then: the listing holds a few pages, however slow the
// client and however large the bucket. A replica that fails, goes down or says nothing for a while is
// replaced by another, which goes on at the same key.
//
// Each question has an operation id of its own, so a late page of a replica that was given up is not taken
// for another's.

import NIOCore
import TorcModel

struct ListOperation: Sendable {
    /// Partitions that are read at once, each holding one page at most.
    static let partitionsAtOnce = 4
    /// After so long another replica is asked for the same page.
    static let pagePatience = Duration.seconds(5)
    /// Of the time that it has, one in the order of the ring looks for keys this part of.
    static let shareBeforePause = 4
    /// Bucket names that are remembered, so that each is listed once; past this a name may come twice.
    static let rememberedNames = 65_536

    /// Asks one replica for a page; the coordinator gives it an id.
    struct Question: Hashable, Sendable {
        var partition: PartitionID
        var replica: NodeID
        var after: ByteBuffer?
    }

    enum Outcome: Hashable, Sendable {
        case failed(PartitionID)
        case done
        case paused(RingPosition)
    }

    private struct Slot: Sendable {
        enum Phase: Sendable {
            /// To be asked for.
            case idle
            case asked(page: OperationID, replica: NodeID)
            case holds(items: [ByteBuffer], resume: ByteBuffer?)
        }

        let partition: PartitionID
        var replicas: [NodeID]
        var after: ByteBuffer?
        var tried = ReplicaSet()
        var phase = Phase.idle
    }

    let request: RequestID
    let subject: PageRequest.Subject
    let deadline: MonotonicTime
    /// One in the order of the ring ends then, where it is: whoever asks goes on with another.
    private let pausesAt: MonotonicTime
    /// Otherwise the same would be asked for for ever.
    private var hasRead = false
    let copies: Int
    private let size: RingSize
    private var partitionCount: Int { size.partitions }
    /// One, where the order is asked for.
    private let partitionsAtOnce: Int
    private var nextPartition = 0
    /// Of the first partition: a storage key begins with its position.
    private var start: ByteBuffer?
    /// Ascending by partition.
    private var slots: [Slot] = []
    private var clientWaits = true
    private var names: Set<ByteBuffer> = []

    init(
        request: RequestID, subject: PageRequest.Subject, copies: Int, ring: RingSize, start: RingPosition? = nil,
        deadline: MonotonicTime, now: MonotonicTime
    ) {
        self.request = request
        let time = deadline.duration(since: now) / Self.shareBeforePause
        pausesAt = start == nil ? MonotonicTime(nanoseconds: .max) : now.advanced(by: time)
        self.subject = subject
        self.copies = copies
        size = ring
        partitionsAtOnce = start == nil ? Self.partitionsAtOnce : 1
        if let start {
            nextPartition = ring.partition(of: start).index
            self.start = ByteBuffer(integer: start.rawValue)
        }
        self.deadline = deadline
    }

    /// The partition that a failure now would be blamed on.
    var currentPartition: PartitionID { slots.first?.partition ?? PartitionID(max(0, nextPartition - 1)) }

    // MARK: Events

    mutating func clientContinues() { clientWaits = true }

    mutating func received(_ outcome: PageOutcome, page: OperationID) {
        guard let index = slot(of: page) else { return }
        switch outcome {
        case .page(var items, let resume):
            hasRead = true
            // A page that does not go forward would be asked for without end.
            if let resume, let after = slots[index].after, !after.lexicographicallyPrecedes(resume) {
                slots[index].phase = .idle
                return
            }
            if case .buckets = subject {
                items.removeAll { names.contains($0) }
                for name in items where names.count < Self.rememberedNames { names.insert(name) }
            }
            slots[index].phase = .holds(items: items, resume: resume)
            slots[index].tried = ReplicaSet()
        case .failed:
            slots[index].phase = .idle
        }
    }

    /// No answer will come, or none came in time: another replica is asked.
    mutating func gaveUp(page: OperationID) {
        guard let index = slot(of: page) else { return }
        slots[index].phase = .idle
    }

    /// The pages that were asked of a node, ascending.
    func pages(askedOf node: NodeID) -> [OperationID] {
        slots.compactMap { slot in
            if case .asked(let page, node) = slot.phase { page } else { nil }
        }
    }

    /// All pages that are asked for.
    var openPages: [OperationID] {
        slots.compactMap { slot in
            if case .asked(let page, _) = slot.phase { page } else { nil }
        }
    }

    /// Others hold the partitions now.
    mutating func ringChanged(_ lists: inout PreferenceLists) {
        for index in slots.indices {
            slots[index].replicas = lists.serving(slots[index].partition, copies: copies)
            slots[index].tried = ReplicaSet()
        }
    }

    // MARK: Decisions

    /// What can be done now: gives the client what it waits for, then names what is to be asked.
    mutating func advance(
        _ view: NodeView, _ lists: inout PreferenceLists, _ numbers: inout AskerNumbers, _ now: MonotonicTime,
        _ questions: inout [(OperationID, Question)], _ effects: inout [CoordinatorEffect]
    ) -> Outcome? {
        deliver(&effects)
        if now >= pausesAt, hasRead, clientWaits, let place { return .paused(place) }
        while slots.count < partitionsAtOnce, nextPartition < partitionCount {
            let partition = PartitionID(nextPartition)
            slots.append(
                Slot(partition: partition, replicas: lists.serving(partition, copies: copies), after: start))
            start = nil
            nextPartition += 1
        }
        for index in slots.indices {
            guard case .idle = slots[index].phase else { continue }
            guard let place = nextReplica(for: slots[index], view) else { return .failed(slots[index].partition) }
            let page = numbers.nextOperation()
            let replica = slots[index].replicas[place]
            slots[index].tried.insert(place)
            slots[index].phase = .asked(page: page, replica: replica)
            questions.append(
                (page, Question(partition: slots[index].partition, replica: replica, after: slots[index].after)))
        }
        return slots.isEmpty && clientWaits ? .done : nil
    }

    /// Everything before it has been read; nil: everything has.
    private var place: RingPosition? {
        guard let slot = slots.first else {
            return nextPartition < partitionCount ? size.start(of: PartitionID(nextPartition)) : nil
        }
        let read = slot.after.flatMap { $0.getInteger(at: $0.readerIndex, as: UInt64.self) }
        return read.map { RingPosition(rawValue: $0) } ?? size.start(of: slot.partition)
    }

    /// Pages without items are passed over; of the others the earliest partition's goes out.
    private mutating func deliver(_ effects: inout [CoordinatorEffect]) {
        var index = 0
        while index < slots.count {
            guard case .holds(let items, let resume) = slots[index].phase, items.isEmpty || clientWaits else {
                index += 1
                continue
            }
            if !items.isEmpty {
                effects.append(.listed(request, .items(items)))
                clientWaits = false
            }
            if let resume {
                slots[index].after = resume
                slots[index].phase = .idle
                index += 1
            } else {
                slots.remove(at: index)
            }
        }
    }

    /// For keys this node's own copy, where it has one: it costs no network. For buckets in ring order: the
    /// first owner alone holds those with a single copy.
    private func nextReplica(for slot: Slot, _ view: NodeView) -> Int? {
        let candidates = view.reachable(of: slot.replicas).subtracting(slot.tried)
        if case .keys = subject, let own = slot.replicas.firstIndex(of: view.node), candidates.contains(own) {
            return own
        }
        return view.next(of: candidates, in: slot.replicas)
    }

    private func slot(of page: OperationID) -> Int? {
        slots.firstIndex { slot in
            if case .asked(page, _) = slot.phase { true } else { false }
        }
    }
}
