// The queue that virtual time runs on: events by time, and by the order in which they were scheduled where
// times are equal, so that one seed gives one run.

import HeapModule

/// A priority queue of future events.
package struct EventQueue<Event> {
    /// Small, so that sifting moves three words; the event itself stays in its slot.
    private struct Entry: Comparable {
        var time: VirtualTime
        var sequence: UInt64
        var slot: Int

        static func < (lhs: Self, rhs: Self) -> Bool {
            lhs.time == rhs.time ? lhs.sequence < rhs.sequence : lhs.time < rhs.time
        }
    }

    private var heap = Heap<Entry>()
    private var slots: [Event?] = []
    private var freeSlots: [Int] = []
    private var sequence: UInt64 = 0

    package init() {}

    package var isEmpty: Bool { heap.isEmpty }
    package var nextTime: VirtualTime? { heap.min?.time }

    package mutating func schedule(_ event: Event, at time: VirtualTime) {
        let slot: Int
        if let free = freeSlots.popLast() {
            slots[free] = event
            slot = free
        } else {
            slots.append(event)
            slot = slots.count - 1
        }
        sequence += 1
        heap.insert(Entry(time: time, sequence: sequence, slot: slot))
    }

    package mutating func next() -> (time: VirtualTime, event: Event)? {
        guard let entry = heap.popMin() else { return nil }
        let event = slots[entry.slot]!
        slots[entry.slot] = nil
        freeSlots.append(entry.slot)
        return (entry.time, event)
    }
}
