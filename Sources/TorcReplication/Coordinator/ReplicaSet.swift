// Votes are counted over places: in one preference list, of which there are at most seven, and behind those
// the stand-ins. A word holds any set of them. A set cannot count a replica twice, whatever the network repeats.

/// Replicas of one key, by their place in its preference list.
struct ReplicaSet: Hashable, Sendable {
    private(set) var bits: UInt32 = 0

    init() {}
    private init(bits: UInt32) { self.bits = bits }

    init(_ place: Int) { bits = 1 << UInt32(place) }

    /// The first `count` places.
    init(first count: Int) { bits = UInt32(truncatingIfNeeded: (1 << UInt64(count)) - 1) }

    var count: Int { bits.nonzeroBitCount }
    var isEmpty: Bool { bits == 0 }
    /// The earliest place in it.
    var first: Int? { bits == 0 ? nil : bits.trailingZeroBitCount }

    func contains(_ place: Int) -> Bool { bits & (1 << UInt32(place)) != 0 }

    mutating func insert(_ place: Int) { bits |= 1 << UInt32(place) }
    mutating func remove(_ place: Int) { bits &= ~(1 << UInt32(place)) }

    func subtracting(_ other: ReplicaSet) -> ReplicaSet { ReplicaSet(bits: bits & ~other.bits) }
    func intersection(_ other: ReplicaSet) -> ReplicaSet { ReplicaSet(bits: bits & other.bits) }
    func union(_ other: ReplicaSet) -> ReplicaSet { ReplicaSet(bits: bits | other.bits) }
}

extension ReplicaSet: Sequence {
    /// Ascending.
    struct Iterator: IteratorProtocol {
        fileprivate var rest: UInt32
        mutating func next() -> Int? {
            if rest == 0 { return nil }
            let place = rest.trailingZeroBitCount
            rest &= rest - 1
            return place
        }
    }

    func makeIterator() -> Iterator { Iterator(rest: bits) }
}

extension ReplicaSet: CustomStringConvertible {
    var description: String { "{" + map(String.init).joined(separator: ",") + "}" }
}
