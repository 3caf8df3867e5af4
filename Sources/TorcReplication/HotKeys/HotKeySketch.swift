// Which keys a lane's clients ask for most, in memory that does not grow with the number of keys.
//
// Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data streams",
// 2005): there are m counters. A key that has one raises it. A key that has none takes over the smallest, and what that
// stood at is noted as its error: so much may have been counted for others.
//
//   counters:  alice 900    bob 40    carol 7        carol's is the smallest
//   dave asks: alice 900    bob 40    dave 8 (of which 7 may be others')
//
// With T requests in all:
//   true count ≤ counter ≤ true count + error,  error ≤ T / m,  and a key with more than T / m requests has a counter.
//
// Counts decay: a request counts half after `halfLife`. Instead of lowering all counters again and again a new request
// weighs more than an old one (Cormode et al., "Forward decay", 2009): the weight doubles with each half-life, and all
// is divided by it when it gets large. The weight changes in steps, so a clock reading costs a division. As all bounds above are
// linear in the weights, they hold for decayed counts.
//
// A hit costs one probe of a small table, and mostly no move in the heap; a miss costs a walk down a heap of 256.

package import TorcModel

/// A key that many ask for, as one lane or one node sees it.
package struct HotKey: Hashable, Sendable {
    package var key: ObjectKey
    /// Of the requests that are counted as its own.
    package var readsPerSecond: Double
    package var writesPerSecond: Double
    /// So many requests a second more may have been its own.
    package var errorPerSecond: Double

    package init(key: ObjectKey, readsPerSecond: Double, writesPerSecond: Double, errorPerSecond: Double) {
        self.key = key
        self.readsPerSecond = readsPerSecond
        self.writesPerSecond = writesPerSecond
        self.errorPerSecond = errorPerSecond
    }

    package var perSecond: Double { readsPerSecond + writesPerSecond }
}

/// What clients ask for, decayed to rates.
package struct HotKeyReport: Hashable, Sendable {
    /// Of all keys together.
    package var readsPerSecond = 0.0
    package var writesPerSecond = 0.0
    /// The hottest first.
    package var keys: [HotKey] = []

    package init() {}

    package var perSecond: Double { readsPerSecond + writesPerSecond }

    /// Joins what another lane, or node, has counted. A key that both have counted is one.
    package mutating func add(_ other: HotKeyReport) {
        readsPerSecond += other.readsPerSecond
        writesPerSecond += other.writesPerSecond
        var places: [ObjectKey: Int] = [:]
        for (index, key) in keys.enumerated() { places[key.key] = index }
        for key in other.keys {
            if let index = places[key.key] {
                keys[index].readsPerSecond += key.readsPerSecond
                keys[index].writesPerSecond += key.writesPerSecond
                keys[index].errorPerSecond += key.errorPerSecond
            } else {
                keys.append(key)
            }
        }
        sort()
    }

    package mutating func sort() {
        keys.sort { $0.perSecond == $1.perSecond ? $0.key < $1.key : $0.perSecond > $1.perSecond }
    }
}

/// The sketch of one lane.
package struct HotKeySketch: Sendable {
    /// Counters: what is shown is off by a 256th of all requests at most. Each holds a key, of 72 KiB at most.
    package static let capacity = 256
    package static let halfLife = Duration.seconds(10)

    /// The weight changes so often in a half-life.
    private static let stepsPerHalfLife = 16
    /// 2^(1/16).
    private static let growth = 1.044_273_782_427_413_8
    /// After so many nothing is left of what was counted: 2^-64.
    private static let longestGap: UInt64 = 64 * 16
    /// All is divided by the weight when it gets here.
    private static let largestWeight = 4_294_967_296.0

    private struct Counter {
        var key: ObjectKey
        var reads: Double
        var writes: Double
        /// What the counter stood at when the key took it over.
        var error: Double
        /// Its place in `heap`.
        var place: Int
    }

    private let capacity: Int
    private let stepNanoseconds: UInt64
    private var counters: [Counter] = []
    /// By counter: error + reads + writes.
    private var counts: [Double] = []
    /// Counters, the smallest first.
    private var heap: [Int] = []
    /// Open addressing by ring position, which is a hash already: counter + 1, 0 where nothing is.
    private var table: [UInt16]

    private var reads = 0.0
    private var writes = 0.0
    /// Steps that have passed, each with the weight that it had: what counts are divided by to be rates.
    private var window = 0.0
    private var weight = 1.0
    private var began: MonotonicTime?
    private var step: UInt64 = 0

    package init(capacity: Int = Self.capacity, halfLife: Duration = Self.halfLife) {
        precondition((1...16_384).contains(capacity), "\(capacity) counters")
        precondition(halfLife >= .milliseconds(16), "a half-life of \(halfLife)")
        self.capacity = capacity
        stepNanoseconds = UInt64(halfLife / .nanoseconds(1)) / UInt64(Self.stepsPerHalfLife)
        var size = 4
        while size < 4 * capacity { size *= 2 }
        table = Array(repeating: 0, count: size)
    }

    package mutating func note(_ key: ObjectKey, isRead: Bool, at now: MonotonicTime) {
        advance(to: now)
        if isRead { reads += weight } else { writes += weight }
        let counter: Int
        if let known = find(key) {
            counter = known
        } else if counters.count < capacity {
            counter = counters.count
            counters.append(Counter(key: key, reads: 0, writes: 0, error: 0, place: heap.count))
            counts.append(0)
            heap.append(counter)
            insert(counter)
            siftUp(counters[counter].place)
        } else {
            counter = heap[0]
            remove(counter)
            counters[counter].key = key
            counters[counter].reads = 0
            counters[counter].writes = 0
            counters[counter].error = counts[counter]
            insert(counter)
        }
        if isRead { counters[counter].reads += weight } else { counters[counter].writes += weight }
        counts[counter] += weight
        siftDown(counters[counter].place)
    }

    /// The hottest keys, so many at most.
    package mutating func report(at now: MonotonicTime, limit: Int = .max) -> HotKeyReport {
        advance(to: now)
        guard let began else { return HotKeyReport() }
        let sinceStep = now.duration(since: MonotonicTime(nanoseconds: began.nanoseconds + step * stepNanoseconds))
        let steps = window / weight + sinceStep / .nanoseconds(1) / Double(stepNanoseconds)
        let seconds = steps * Double(stepNanoseconds) / 1e9
        guard seconds > 0 else { return HotKeyReport() }
        let scale = 1 / (weight * seconds)
        var report = HotKeyReport()
        report.readsPerSecond = reads * scale
        report.writesPerSecond = writes * scale
        report.keys = counters.map {
            HotKey(
                key: $0.key, readsPerSecond: $0.reads * scale, writesPerSecond: $0.writes * scale,
                errorPerSecond: $0.error * scale)
        }
        report.sort()
        if report.keys.count > limit { report.keys.removeLast(report.keys.count - limit) }
        return report
    }

    // MARK: Time

    private mutating func advance(to now: MonotonicTime) {
        guard let began else {
            self.began = now
            return
        }
        guard now > began else { return }
        let reached = (now.nanoseconds - began.nanoseconds) / stepNanoseconds
        guard reached > step else { return }
        var passed = reached - step
        step = reached
        if passed > Self.longestGap {
            passed = Self.longestGap
            forget()
        }
        for _ in 0..<passed {
            window += weight
            weight *= Self.growth
        }
        if weight > Self.largestWeight { rescale() }
    }

    private mutating func forget() {
        counters.removeAll()
        counts.removeAll()
        heap.removeAll()
        for index in table.indices { table[index] = 0 }
        reads = 0
        writes = 0
    }

    private mutating func rescale() {
        let factor = 1 / weight
        for index in counters.indices {
            counters[index].reads *= factor
            counters[index].writes *= factor
            counters[index].error *= factor
            counts[index] *= factor
        }
        reads *= factor
        writes *= factor
        window *= factor
        weight = 1
    }

    // MARK: The table

    /// The lower bits: the upper ones are the partition's, of which a lane has few.
    private func home(of key: ObjectKey) -> Int { Int(truncatingIfNeeded: key.position.rawValue) & (table.count - 1) }

    private func find(_ key: ObjectKey) -> Int? {
        var index = home(of: key)
        // At most a quarter is taken, so an empty place comes.
        while table[index] != 0 {
            let counter = Int(table[index]) - 1
            if counters[counter].key == key { return counter }
            index = (index + 1) & (table.count - 1)
        }
        return nil
    }

    private mutating func insert(_ counter: Int) {
        var index = home(of: counters[counter].key)
        while table[index] != 0 { index = (index + 1) & (table.count - 1) }
        table[index] = UInt16(counter + 1)
    }

    /// Those behind it move up, so that none is behind a gap.
    private mutating func remove(_ counter: Int) {
        let mask = table.count - 1
        var gap = home(of: counters[counter].key)
        while Int(table[gap]) != counter + 1 { gap = (gap + 1) & mask }
        var index = gap
        while true {
            index = (index + 1) & mask
            guard table[index] != 0 else { break }
            let wanted = home(of: counters[Int(table[index]) - 1].key)
            if (index - wanted) & mask >= (index - gap) & mask {
                table[gap] = table[index]
                gap = index
            }
        }
        table[gap] = 0
    }

    // MARK: The heap

    private mutating func siftUp(_ start: Int) {
        var place = start
        let counter = heap[place]
        while place > 0 {
            let parent = (place - 1) / 2
            guard counts[counter] < counts[heap[parent]] else { break }
            put(heap[parent], at: place)
            place = parent
        }
        put(counter, at: place)
    }

    private mutating func siftDown(_ start: Int) {
        var place = start
        let counter = heap[place]
        let count = counts[counter]
        while true {
            var child = 2 * place + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, counts[heap[child + 1]] < counts[heap[child]] { child += 1 }
            guard counts[heap[child]] < count else { break }
            put(heap[child], at: place)
            place = child
        }
        put(counter, at: place)
    }

    private mutating func put(_ counter: Int, at place: Int) {
        heap[place] = counter
        counters[counter].place = place
    }
}
