// Histories: replicas of one object that put, delete, merge, restart and forget, as a cluster does it. Every
// state ever reached is kept, because a delayed message may bring any of them to any replica later.
//
// Beside each object goes the truth: the events that its holder knows of and what each was told to supersede,
// as plain sets. What stands follows from these alone; no vector, dot order or merge is looked at.

import NIOCore
import TorcModel

/// A state that a replica was in, and what is true of it.
struct Reached {
    var object: VersionedObject
    /// Every write that took part in this state.
    var writes: Set<Dot> = []
    /// What those writes, and the deletes, were told to supersede.
    var superseded: Set<Dot> = []

    /// In a `siblings` object: written, and superseded by nothing that is known here.
    var standing: Set<Dot> { writes.subtracting(superseded) }
}

/// What a client was handed by a reader, and the writes that were behind it.
struct HandedContext {
    var context: CausalContext
    var covers: Set<Dot>

    static let none = HandedContext(
        context: CausalContext(clock: VersionVector(), latestTimestamp: .zero), covers: [])
}

struct History {
    let mode: ConflictMode
    private(set) var generator: SeededGenerator
    private(set) var states: [Reached]
    /// All states that were ever reached, in order.
    private(set) var past: [Reached]
    private(set) var versions: [Dot: Sibling] = [:]
    private var contexts: [HandedContext] = [.none]
    private var minting: [Dot?]
    /// Stamps of `lww` writes: hybrid-logical as a replica mints them, or any at all.
    private let arbitraryStamps: Bool
    private var wall: UInt64 = 1_000

    init(mode: ConflictMode, replicas: Int, seed: UInt64, arbitraryStamps: Bool = false) {
        self.mode = mode
        self.arbitraryStamps = arbitraryStamps
        generator = SeededGenerator(seed: seed)
        states = [Reached](repeating: Reached(object: VersionedObject(mode: mode)), count: replicas)
        past = [states[0]]
        minting = [Dot?](repeating: nil, count: replicas)
    }

    mutating func run(steps: Int) {
        for _ in 0..<steps {
            let replica = Int.random(in: states.indices, using: &generator)
            switch generator.next() % 16 {
            case 0..<6: put(at: replica)
            case 6..<8: delete(at: replica)
            case 8..<11: merge(into: replica, states.randomElement(using: &generator)!)
            // A message that was long under way.
            case 11..<13: merge(into: replica, past.randomElement(using: &generator)!)
            case 13: read(at: replica)
            // A new incarnation draws a fresh actor, whether it kept its record or was set back to an old one.
            case 14: minting[replica] = nil
            default:
                minting[replica] = nil
                states[replica] = past.randomElement(using: &generator)!
            }
        }
    }

    mutating func put(at replica: Int, with handed: HandedContext? = nil) {
        let handed = handed ?? someContext()
        let version = version(at: replica, over: handed, isTombstone: false)
        states[replica].object.put(version, context: handed.context.clock, mode: mode)
        note(version, replica, handed)
    }

    mutating func delete(at replica: Int) {
        let handed = someContext()
        if mode == .lww {
            let version = version(at: replica, over: handed, isTombstone: true)
            states[replica].object.put(version, context: handed.context.clock, mode: mode)
            note(version, replica, handed)
        } else {
            if handed.covers.isEmpty { return }
            states[replica].object.delete(context: handed.context.clock)
            states[replica].superseded.formUnion(handed.covers)
            past.append(states[replica])
        }
    }

    mutating func merge(into replica: Int, _ other: Reached) {
        states[replica].object.merge(other.object)
        states[replica].writes.formUnion(other.writes)
        states[replica].superseded.formUnion(other.superseded)
        past.append(states[replica])
    }

    @discardableResult
    mutating func read(at replica: Int) -> HandedContext {
        let state = states[replica]
        contexts.append(
            HandedContext(
                context: CausalContext(of: state.object), covers: state.writes.union(state.superseded)))
        return contexts.last!
    }

    private mutating func someContext() -> HandedContext {
        generator.next() % 4 == 0 ? .none : contexts.randomElement(using: &generator)!
    }

    private mutating func version(at replica: Int, over handed: HandedContext, isTombstone: Bool) -> Sibling {
        let dot: Dot
        // As a replica does it: its actor is good only while neither record nor context is ahead of it.
        if let last = minting[replica], states[replica].object.clock[last.actor] <= last.counter,
            handed.context.clock[last.actor] <= last.counter
        {
            dot = Dot(actor: last.actor, counter: last.counter + 1)
        } else {
            dot = Dot(
                actor: Actor(node: NodeID(rawValue: UInt64(replica)), using: &generator), counter: 1)
        }
        minting[replica] = dot
        wall += generator.next() % 3
        let floor = max(states[replica].object.latestTimestamp, handed.context.latestTimestamp)
        let stamp =
            arbitraryStamps
            ? HybridTimestamp(rawValue: generator.next() % 5)
            : HybridTimestamp.mint(wall: WallTime(microseconds: wall), above: floor)!
        return Sibling(
            dot: dot, timestamp: stamp,
            expiry: generator.next() % 5 == 0 ? WallTime(microseconds: generator.next() >> 8) : nil,
            writeID: generator.next() % 4 == 0 ? WriteID(high: generator.next() % 3, low: 0) : nil,
            isTombstone: isTombstone,
            metadata: isTombstone ? ByteBuffer() : ByteBuffer(string: "m\(generator.next() % 100)"),
            value: isTombstone ? ByteBuffer() : ByteBuffer(string: "v\(dot)"))
    }

    private mutating func note(_ version: Sibling, _ replica: Int, _ handed: HandedContext) {
        precondition(versions[version.dot] == nil, "the history minted \(version.dot) twice")
        versions[version.dot] = version
        states[replica].writes.insert(version.dot)
        states[replica].superseded.formUnion(handed.covers)
        past.append(states[replica])
    }
}
