// The requests of one connection that are under way. Riak answers in the order of asking; a client that
// pipelines gets that order here, however the node finishes them. Two requests of one key never run at once,
// so a client that pipelines a put and a get of one key reads its own write.
//
//   asked:    put a   get b   get a   ping          a second request of "a": it waits for the first
//   state:    running running waiting answered
//   answered: get b ────► kept; put a ────► out, then get b; "get a" runs now
//
// A request that speaks of more than one object (a listing, properties) is exclusive: it runs alone.

import NIOCore
import TorcModel
import TorcReplication

struct RequestWindow {
    private enum State {
        /// For an earlier request of the same key.
        case waiting(RiakRequest)
        case running(RiakRequest)
        /// For the answers before it.
        case answered(RiakFrame)
    }

    private struct Entry {
        var key: ObjectKey?
        var bytes: Int
        var state: State
        /// The node's name for it, once it runs there. Beside the state, which a name would copy whole.
        var operation: TakenRequest?
    }

    /// The oldest request first.
    private var entries = CircularBuffer<Entry>(initialCapacity: 16)
    /// Beside each entry its key's place on the ring, 0 when it holds no key up: looking through these for a
    /// request of the same key costs next to nothing, through the entries it would cost more than the request.
    private var positions = CircularBuffer<UInt64>(initialCapacity: 16)
    /// The number of the oldest request; requests are numbered in the order of asking.
    private var firstSequence: UInt64 = 0
    private var waitingCount = 0
    /// The bytes of the requests that were admitted and not yet answered.
    private(set) var requestBytes = 0
    private(set) var hasExclusive = false

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }

    /// Takes a request in: `runs` says whether it is to run at once. An exclusive one needs an empty window.
    mutating func admit(_ request: RiakRequest, bytes: Int) -> (sequence: UInt64, runs: Bool) {
        precondition(!hasExclusive, "a request beside an exclusive one")
        let sequence = firstSequence + UInt64(entries.count)
        requestBytes += bytes
        guard case .object(let object) = request else {
            precondition(entries.isEmpty, "an exclusive request beside \(entries.count) others")
            hasExclusive = true
            entries.append(Entry(key: nil, bytes: bytes, state: .running(request)))
            positions.append(0)
            return (sequence, true)
        }
        let key = object.request.key
        let isBlocked = positions.contains(key.position.rawValue) && isHeldUp(key)
        if isBlocked { waitingCount += 1 }
        entries.append(Entry(key: key, bytes: bytes, state: isBlocked ? .waiting(request) : .running(request)))
        positions.append(key.position.rawValue)
        return (sequence, !isBlocked)
    }

    private func isHeldUp(_ key: ObjectKey) -> Bool {
        entries.contains { entry in
            guard entry.key == key else { return false }
            if case .answered = entry.state { return false }
            return true
        }
    }

    /// Takes in a request whose answer is known already; it goes out in its turn.
    mutating func admit(answered frame: RiakFrame) {
        entries.append(Entry(key: nil, bytes: 0, state: .answered(frame)))
        positions.append(0)
    }

    /// Notes the node's name for a request that it runs.
    mutating func started(_ sequence: UInt64, as operation: TakenRequest) {
        guard let index = index(of: sequence), case .running = entries[index].state else { return }
        entries[index].operation = operation
    }

    /// The request that runs under this number; nil when it has been answered.
    func running(_ sequence: UInt64) -> RiakRequest? {
        guard let index = index(of: sequence), case .running(let request) = entries[index].state else { return nil }
        return request
    }

    func operation(_ sequence: UInt64) -> TakenRequest? {
        guard let index = index(of: sequence), case .running = entries[index].state else { return nil }
        return entries[index].operation
    }

    /// Answers a request. Returns the request that waited for it and is to run now.
    mutating func answer(_ sequence: UInt64, with frame: RiakFrame) -> (sequence: UInt64, request: RiakRequest)? {
        guard let index = index(of: sequence), case .running = entries[index].state else { return nil }
        entries[index].state = .answered(frame)
        positions[positions.index(positions.startIndex, offsetBy: Int(sequence - firstSequence))] = 0
        requestBytes -= entries[index].bytes
        hasExclusive = false
        guard waitingCount > 0, let key = entries[index].key else { return nil }
        for (next, entry) in zip(entries.indices, entries) where next > index && entry.key == key {
            guard case .waiting(let request) = entry.state else { continue }
            waitingCount -= 1
            entries[next].state = .running(request)
            return (firstSequence + UInt64(entries.distance(from: entries.startIndex, to: next)), request)
        }
        return nil
    }

    /// The oldest request's answer, when it is there.
    mutating func takeAnswered() -> RiakFrame? {
        guard let first = entries.first, case .answered(let frame) = first.state else { return nil }
        entries.removeFirst()
        positions.removeFirst()
        firstSequence += 1
        return frame
    }

    /// Ends everything; returns what the node still works on.
    mutating func removeAll() -> [TakenRequest] {
        let operations = entries.compactMap { entry -> TakenRequest? in
            if case .running = entry.state { entry.operation } else { nil }
        }
        firstSequence += UInt64(entries.count)
        entries.removeAll()
        positions.removeAll()
        waitingCount = 0
        requestBytes = 0
        hasExclusive = false
        return operations
    }

    private func index(of sequence: UInt64) -> CircularBuffer<Entry>.Index? {
        guard sequence >= firstSequence, sequence - firstSequence < UInt64(entries.count) else { return nil }
        return entries.index(entries.startIndex, offsetBy: Int(sequence - firstSequence))
    }
}

extension RiakRequest {
    /// Runs alone on its connection.
    var isExclusive: Bool {
        switch self {
        case .ping, .clientID, .setClientID, .serverInfo, .ring, .object: false
        case .listBuckets, .listKeys, .properties, .setProperties, .resetProperties, .preferenceList: true
        }
    }
}
