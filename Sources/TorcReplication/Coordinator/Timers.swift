// When operations want to be woken. One entry an operation at a time; an operation that ends leaves its
// entry, which is skipped when it surfaces. Most operations live as long as their neighbours, so dead entries
// surface soon; the heap is rebuilt when they outnumber the living all the same.

import HeapModule
import TorcModel

/// What kind of operation an entry wakes: where to look it up.
enum OperationKind: UInt8, Hashable, Sendable {
    case get
    case put
    case forward
    case list
    case page
}

struct Timers: Sendable {
    struct Entry: Comparable, Sendable {
        var time: MonotonicTime
        var operation: OperationID
        var kind: OperationKind

        static func < (lhs: Self, rhs: Self) -> Bool {
            lhs.time == rhs.time ? lhs.operation < rhs.operation : lhs.time < rhs.time
        }
    }

    /// Dead entries that are worth no rebuild.
    private static let slack = 64

    private var heap = Heap<Entry>()

    var count: Int { heap.count }
    var earliest: Entry? { heap.min }

    mutating func wake(_ operation: OperationID, _ kind: OperationKind, at time: MonotonicTime) {
        heap.insert(Entry(time: time, operation: operation, kind: kind))
    }

    mutating func removeEarliest() { heap.removeMin() }

    /// Dead entries outnumber the living.
    func isCrowded(living: Int) -> Bool { heap.count > 2 * living + Self.slack }

    mutating func keep(where isLive: (Entry) -> Bool) { heap = Heap(heap.unordered.filter(isLive)) }
}
