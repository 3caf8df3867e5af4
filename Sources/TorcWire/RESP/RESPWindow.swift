// The commands of one connection that are under way. A client that pipelines is answered in the order of asking, and reads
// what it wrote before: of two commands of one key the second waits. A command of several keys, or of all, runs alone.

import NIOCore
import TorcModel

struct RESPWindow {
    /// Keys of one command that are asked for at the same time.
    static let partsAtOnce = 64
    /// Bytes of one answer; more is an error.
    static let answerBytes = 64 << 20

    struct Running {
        var parts: [RESPKeyOperation]
        var gathering: RESPGathering?
        var values: [RESPValue?]
        var operations: [TakenRequest?]
        /// The next part that is to be begun.
        var next = 0
        var open = 0
        var answerBytes = 0

        init(_ parts: [RESPKeyOperation], _ gathering: RESPGathering?) {
            self.parts = parts
            self.gathering = gathering
            values = Array(repeating: nil, count: parts.count)
            operations = Array(repeating: nil, count: parts.count)
        }

        /// nil: parts are missing.
        var answer: RESPValue? {
            if answerBytes > RESPWindow.answerBytes {
                return open > 0
                    ? nil : .error("ERR the answer is larger than \(RESPWindow.answerBytes) bytes: ask for fewer keys")
            }
            guard open == 0, next == parts.count else { return nil }
            guard let gathering else { return values[0] }
            if let failed = values.first(where: { if case .error = $0 { true } else { false } }) { return failed }
            switch gathering {
            case .ok: return .ok
            case .each: return .array(values.map { $0! })
            case .sum:
                return .integer(
                    values.reduce(0) { sum, value in if case .integer(let number) = value { sum + number } else { sum }
                    })
            }
        }
    }

    struct Listing {
        /// nil: everything is counted.
        var scan: (bucket: BucketID, pattern: ByteBuffer?, count: Int)?
        var keys: [ByteBuffer] = []
        var last: RingPosition?
        var total = 0
        var operation: TakenRequest?
    }

    enum State {
        case waiting
        case running(Running)
        case listing(Listing)
        case answered(RESPValue)
    }

    private struct Entry {
        var key: ObjectKey?
        var bytes: Int
        var state: State
        var waiting: Running?
    }

    private var entries = CircularBuffer<Entry>(initialCapacity: 16)
    /// Beside each entry its key's place on the ring, 0 when it holds no key up.
    private var positions = CircularBuffer<UInt64>(initialCapacity: 16)
    private var firstSequence: UInt64 = 0
    /// Of commands under way, and of answers that wait for others.
    private(set) var bytes = 0
    /// Of the one that runs alone.
    private(set) var hasExclusive = false

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }

    /// A command of one key: it runs at once, or after the earlier one of that key.
    mutating func admit(_ running: Running, of key: ObjectKey, bytes: Int) -> (sequence: UInt64, runs: Bool) {
        let isBlocked = key.position.rawValue != 0 && positions.contains(key.position.rawValue)
        let sequence = add(
            Entry(
                key: key, bytes: bytes, state: isBlocked ? .waiting : .running(running),
                waiting: isBlocked ? running : nil))
        positions[positions.index(before: positions.endIndex)] = key.position.rawValue
        return (sequence, !isBlocked)
    }

    mutating func admit(alone state: State, bytes: Int) -> UInt64 {
        precondition(entries.isEmpty, "a command that runs alone beside \(entries.count) others")
        hasExclusive = true
        return add(Entry(key: nil, bytes: bytes, state: state))
    }

    mutating func admit(answered value: RESPValue) {
        _ = add(Entry(key: nil, bytes: value.byteCount, state: .answered(value)))
    }

    private mutating func add(_ entry: Entry) -> UInt64 {
        let sequence = firstSequence + UInt64(entries.count)
        bytes += entry.bytes
        entries.append(entry)
        positions.append(0)
        return sequence
    }

    /// nil: it was answered, or nobody waits any more.
    func state(_ sequence: UInt64) -> State? { index(of: sequence).map { entries[$0].state } }

    mutating func set(_ sequence: UInt64, _ state: State) {
        guard let index = index(of: sequence) else { return }
        entries[index].state = state
    }

    /// Answers a command. Returns the one that waited for it and runs now.
    mutating func answer(_ sequence: UInt64, with value: RESPValue) -> (sequence: UInt64, Running)? {
        guard let index = index(of: sequence) else { return nil }
        entries[index].state = .answered(value)
        // An answer waits for those before it, and counts as its command did.
        bytes += value.byteCount - entries[index].bytes
        entries[index].bytes = value.byteCount
        hasExclusive = false
        let offset = Int(sequence - firstSequence)
        let position = positions[positions.index(positions.startIndex, offsetBy: offset)]
        positions[positions.index(positions.startIndex, offsetBy: offset)] = 0
        guard position != 0 else { return nil }
        for next in (offset + 1)..<max(offset + 1, entries.count) {
            let place = entries.index(entries.startIndex, offsetBy: next)
            guard positions[positions.index(positions.startIndex, offsetBy: next)] == position,
                let running = entries[place].waiting
            else { continue }
            entries[place].waiting = nil
            entries[place].state = .running(running)
            return (firstSequence + UInt64(next), running)
        }
        return nil
    }

    /// The oldest command's answer, when it is there.
    mutating func takeAnswered() -> RESPValue? {
        guard let first = entries.first, case .answered(let value) = first.state else { return nil }
        bytes -= first.bytes
        entries.removeFirst()
        positions.removeFirst()
        firstSequence += 1
        return value
    }

    /// Ends everything; returns what the node still works on.
    mutating func removeAll() -> [TakenRequest] {
        let operations = entries.flatMap { entry -> [TakenRequest] in
            switch entry.state {
            case .running(let running): running.operations.compactMap { $0 }
            case .listing(let listing): [listing.operation].compactMap { $0 }
            case .waiting, .answered: []
            }
        }
        firstSequence += UInt64(entries.count)
        entries.removeAll()
        positions.removeAll()
        bytes = 0
        hasExclusive = false
        return operations
    }

    private func index(of sequence: UInt64) -> CircularBuffer<Entry>.Index? {
        guard sequence >= firstSequence, sequence - firstSequence < UInt64(entries.count) else { return nil }
        return entries.index(entries.startIndex, offsetBy: Int(sequence - firstSequence))
    }
}
