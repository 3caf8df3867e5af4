// The keys that something is pending for, in slots that their reads and batches name by number: an answer
// from the store finds its key without hashing it. A key whose work is done leaves nothing behind.

import TorcModel

/// Keys with pending work, by key and by slot.
struct KeyTable {
    struct Entry {
        let name: Name
        let partition: PartitionID
        var state: State

        var key: ObjectKey { name.key }
        var place: RecordPlace { RecordPlace(partition, hint: name.hint) }
    }

    /// A key has a record of its own, and one for each node that it is kept for.
    struct Name: Hashable {
        let key: ObjectKey
        let hint: NodeID?

        func hash(into hasher: inout Hasher) {
            hasher.combine(key.position.rawValue ^ (hint?.rawValue ?? 0))
        }
    }

    enum State {
        /// Its record was asked of the store. Becomes `held` when an operation changes the record, and is
        /// vacated when none does.
        case reading(ParkedOperations)
        /// Its latest record is not yet synced, and so is kept. Vacated by the sync of its last batch.
        case held(ReplicaRecord)
        /// Its operations are being run: no state that an event ever meets.
        case running
    }

    private var entries: [Entry?] = []
    private var vacant: [Int] = []
    private var slots: [Name: Int] = [:]

    /// Keys with pending work.
    var count: Int { slots.count }

    /// The key's slot; a key that had none gets one, in the state `running`, for the caller to set.
    mutating func claim(_ name: Name, in partition: PartitionID) -> (slot: Int, isNew: Bool) {
        let candidate = vacant.last ?? entries.count
        let slot = Self.current(&slots[name, default: candidate])
        // A slot in use is never a candidate, so this tells a new key from a known one with one lookup.
        guard slot == candidate else { return (slot, false) }
        let entry = Entry(name: name, partition: partition, state: .running)
        if vacant.popLast() != nil { entries[slot] = entry } else { entries.append(entry) }
        return (slot, true)
    }

    private static func current(_ slot: inout Int) -> Int { slot }

    /// Those of hints aside. Looks at all: for what is done once in a while.
    func hasEntries(of partition: PartitionID) -> Bool {
        entries.contains { $0.map { $0.partition == partition && $0.name.hint == nil } ?? false }
    }

    func slot(of name: Name) -> Int? { slots[name] }
    func contains(slot: Int) -> Bool { slot < entries.count && entries[slot] != nil }

    subscript(slot: Int) -> Entry {
        _read { yield entries[slot]! }
        _modify { yield &entries[slot]! }
    }

    /// Takes the state out, so that it can be changed in place, until it is put back or the slot is vacated.
    mutating func take(_ slot: Int) -> State {
        var state = State.running
        swap(&state, &entries[slot]!.state)
        return state
    }

    mutating func vacate(_ slot: Int) {
        slots.removeValue(forKey: entries[slot]!.name)
        entries[slot] = nil
        vacant.append(slot)
    }
}

/// The operations of one key that wait for its record, in the order of their arrival.
struct ParkedOperations {
    struct Operation {
        let request: VnodeRequest
        let address: ReplyAddress
    }

    let token: StoreToken
    /// The record comes from the disk: coordinators were told not to wait for it.
    var isDeferred = false
    /// Most keys have one: it needs no array.
    private let first: Operation
    private var others: [Operation] = []

    init(token: StoreToken, first: Operation) {
        self.token = token
        self.first = first
    }

    mutating func append(_ operation: Operation) { others.append(operation) }

    var count: Int { 1 + others.count }

    /// Nothing waits for the record but what mends it.
    var isMendAlone: Bool {
        if case .mend = first.request { others.isEmpty } else { false }
    }

    subscript(index: Int) -> Operation { index == 0 ? first : others[index - 1] }
}
