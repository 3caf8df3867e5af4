// Reads of one key that came in one turn of the lane share one read of its replicas.
//
//   turn:   get k   get k   put j   get k   end ─► one read of k for three clients
//   next:   get k                           end ─► another
//
// A read waits for the end of the turn that brought it, and joins one that waits there: of none of them has anything been
// asked yet, not even this node's own replica. So it finds what was acknowledged before it came, as if it were alone. It
// never joins one that is under way, whose replicas may have answered before a write that this reader's client has
// already been told of (the deliberate fault `joinSentRead` does that).
//
// Nothing is waited for that would not be waited for anyway: the turn ends when the events that came together are
// handled. The more load there is the more a turn brings, and the more of a hot key's reads are one.

package import TorcModel

/// A client's request to read.
package struct ClientReader: Hashable, Sendable {
    package var request: RequestID
    /// Without values.
    var headOnly: Bool
    /// Answer that it is unchanged when its clock is this one.
    var unlessClock: VersionVector?

    package init(_ request: RequestID, _ get: GetRequest) {
        self.request = request
        headOnly = get.headOnly
        unlessClock = get.unlessClock
    }
}

/// One read, for all who asked for it in one turn.
package struct SharedRead: Sendable {
    package var key: ObjectKey
    package var options: QuorumOptions
    /// Of its first reader; the others' are no sooner.
    package var deadline: MonotonicTime
    package var readers: [ClientReader]
}

/// The reads that a turn has brought.
struct SharedReads: Sendable {
    /// A read joins another only if its deadline is no sooner, and later by so much at most: who comes from a client that
    /// is more patient is not told of a timeout that is not its own.
    static let deadlineSlack = Duration.milliseconds(100)
    /// More than these are looked up by position.
    private static let scanned = 8

    private struct Waiting {
        var request: RequestID
        var get: GetRequest
        var deadline: MonotonicTime
    }

    private var waiting: [Waiting] = []

    var count: Int { waiting.count }
    var isEmpty: Bool { waiting.isEmpty }

    mutating func add(_ request: RequestID, _ get: GetRequest, deadline: MonotonicTime) {
        waiting.append(Waiting(request: request, get: get, deadline: deadline))
    }

    /// False: it does not wait here.
    mutating func cancel(_ request: RequestID) -> Bool {
        guard let index = waiting.firstIndex(where: { $0.request == request }) else { return false }
        waiting.remove(at: index)
        return true
    }

    /// All that waited, in the order in which the first of each came.
    mutating func take() -> [SharedRead] {
        var reads: [SharedRead] = []
        reads.reserveCapacity(waiting.count)
        // The last read of a position.
        var places: [UInt64: Int] = [:]
        for next in waiting {
            let key = next.get.key
            let place =
                waiting.count <= Self.scanned
                ? reads.lastIndex { $0.key.position == key.position } : places[key.position.rawValue]
            let reader = ClientReader(next.request, next.get)
            if let place, reads[place].takes(next.get, next.deadline) {
                reads[place].readers.append(reader)
            } else {
                if waiting.count > Self.scanned { places[key.position.rawValue] = reads.count }
                reads.append(
                    SharedRead(key: key, options: next.get.options, deadline: next.deadline, readers: [reader]))
            }
        }
        waiting.removeAll(keepingCapacity: true)
        return reads
    }
}

extension SharedRead {
    fileprivate func takes(_ get: GetRequest, _ deadline: MonotonicTime) -> Bool {
        key == get.key && options == get.options && deadline >= self.deadline
            && deadline <= self.deadline.advanced(by: SharedReads.deadlineSlack)
    }
}
