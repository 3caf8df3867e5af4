// What merging promises, over the states of simulated histories: the laws of a join, and what stands after it.

import NIOCore
import Testing
import TorcModel

@Suite struct MergeLawsTests {
    static let seeds: ClosedRange<UInt64> = 1...60

    /// A history of each kind, and the seed to print.
    static func histories() -> [(Comment, History)] {
        seeds.flatMap { seed in
            [(ConflictMode.siblings, false), (.lww, false), (.lww, true)].map { mode, arbitraryStamps in
                var history = History(
                    mode: mode, replicas: 2 + Int(seed % 4), seed: seed, arbitraryStamps: arbitraryStamps)
                history.run(steps: 60)
                return ("seed \(seed), \(mode), arbitrary stamps \(arbitraryStamps)", history)
            }
        }
    }

    @Test func mergingIsAJoin() {
        for (subject, history) in Self.histories() {
            var generator = SeededGenerator(seed: 1)
            for _ in 0..<60 {
                let a = history.past.randomElement(using: &generator)!.object
                let b = history.past.randomElement(using: &generator)!.object
                let c = history.past.randomElement(using: &generator)!.object
                // Equal as values, and as bytes, which is what replicas compare.
                #expect(a.merged(with: b) == b.merged(with: a), subject)
                #expect(a.merged(with: b).encoded == b.merged(with: a).encoded, subject)
                #expect(a.merged(with: b).merged(with: c) == a.merged(with: b.merged(with: c)), subject)
                #expect(a.merged(with: a) == a, subject)
                #expect(a.merged(with: b).merged(with: b) == a.merged(with: b), subject)
                #expect(a.merged(with: b).merged(with: a) == a.merged(with: b), subject)
                // Nobody forgets by merging.
                #expect(a.merged(with: b).clock.dominates(a.clock), subject)
            }
        }
    }

    /// What has seen all that an object has seen is not changed by whether that one's vector was pruned.
    @Test func aPrunedVectorBringsNothingBack() {
        var count = 0
        for (subject, history) in Self.histories() {
            var generator = SeededGenerator(seed: 2)
            for _ in 0..<40 {
                let object = history.past.randomElement(using: &generator)!.object
                let dead = object.deadActors.filter { _ in Bool.random(using: &generator) }
                guard !object.siblings.isEmpty, !dead.isEmpty else { continue }
                count += 1
                let pruned = object.pruned(of: dead)
                #expect(pruned.siblings == object.siblings, subject)
                #expect(pruned.clock.entries == object.clock.entries.filter { !dead.contains($0.actor) }, subject)
                #expect((try? VersionedObject(decoding: pruned.encoded)) == pruned, subject)
                #expect(pruned.merged(with: object) == object, subject)
                // Whatever its holder came to hold later.
                let later = object.merged(with: history.past.randomElement(using: &generator)!.object)
                #expect(later.merged(with: pruned) == later, subject)
                #expect(pruned.merged(with: later) == later, subject)
                // Of a version that stands nothing is pruned.
                let alive = object.siblings.map(\.dot.actor).sorted()
                #expect(object.pruned(of: alive) == object, subject)
            }
        }
        #expect(count > 1_000)
    }

    /// After every step, of every replica: none false, none missing, and each with what was written.
    @Test func whatStandsIsWhatNothingKnownSupersedes() {
        for (subject, history) in Self.histories() {
            for state in history.past {
                let shown = Set(state.object.siblings.map(\.dot))
                switch history.mode {
                case .siblings:
                    #expect(shown == state.standing, subject)
                case .lww:
                    let winner = state.writes.map { history.versions[$0]! }.max { $0.loses(to: $1) }
                    #expect(state.object.siblings.first == winner, subject)
                }
                #expect(state.object.siblings.allSatisfy { history.versions[$0.dot] == $0 }, subject)
                #expect(state.object.siblings.allSatisfy { state.object.clock.contains($0.dot) }, subject)
                #expect(state.object.siblings.map(\.dot) == state.object.siblings.map(\.dot).sorted(), subject)
                // The clock has seen exactly what its holder was told of.
                #expect(state.writes.union(state.superseded).allSatisfy(state.object.clock.contains), subject)
                let counters = Dictionary(
                    state.writes.union(state.superseded).map { ($0.actor, $0.counter) }, uniquingKeysWith: max)
                #expect(state.object.clock.entries.allSatisfy { counters[$0.actor] == $0.counter }, subject)
            }
        }
    }

    @Test func replicasThatHeardTheSameHoldTheSameBytes() {
        for (subject, history) in Self.histories() {
            var generator = SeededGenerator(seed: 2)
            let messages = (0..<8).map { _ in history.past.randomElement(using: &generator)!.object }
            let first = messages.reduce(VersionedObject(mode: history.mode)) { $0.merged(with: $1) }
            for _ in 0..<5 {
                // Another order, and some twice.
                let other = (messages + messages.prefix(3)).shuffled(using: &generator)
                    .reduce(VersionedObject(mode: history.mode)) { $0.merged(with: $1) }
                #expect(other.encoded == first.encoded, subject)
            }
        }
    }

    @Test func aPutWithTheContextJustReadLeavesOneSibling() {
        for (subject, var history) in Self.histories() {
            for replica in history.states.indices {
                let handed = history.read(at: replica)
                history.put(at: replica, with: handed)
                #expect(history.states[replica].object.siblings.count == 1, subject)
            }
        }
    }

    @Test func aPutWithoutContextSupersedesNothing() {
        for (subject, var history) in Self.histories() where history.mode == .siblings {
            let before = history.states[0].object.siblings
            history.put(at: 0, with: HandedContext.none)
            let after = history.states[0].object.siblings
            #expect(after.count == before.count + 1, subject)
            #expect(before.allSatisfy(after.contains), subject)
        }
    }

    /// Each writer hands back what it got with its own last write, at whichever replica it then reaches.
    @Test(arguments: 1...6)
    func interleavedWritersLeaveAtMostOneSiblingEach(writers: Int) {
        for seed in Self.seeds {
            var history = History(mode: .siblings, replicas: 3, seed: seed)
            var generator = SeededGenerator(seed: seed)
            var handed = [HandedContext](repeating: .none, count: writers)
            var most = 0
            for _ in 0..<80 {
                let replica = Int.random(in: 0..<3, using: &generator)
                if generator.next() % 3 == 0 {
                    history.merge(into: replica, history.states.randomElement(using: &generator)!)
                } else {
                    let writer = Int.random(in: 0..<writers, using: &generator)
                    history.put(at: replica, with: handed[writer])
                    handed[writer] = history.read(at: replica)
                }
                most = max(most, history.states.map(\.object.siblings.count).max()!)
            }
            #expect(most <= writers, "seed \(seed)")
        }
    }

    @Test func aDeleteLeavesATombstoneThatOldCopiesDoNotUndo() {
        var history = History(mode: .siblings, replicas: 2, seed: 9)
        history.put(at: 0)
        history.merge(into: 1, history.states[0])
        let old = history.states[1].object
        var deleted = old
        deleted.delete(context: old.clock)
        #expect(deleted.isTombstone && deleted.siblings.isEmpty && deleted.clock == old.clock)
        #expect(deleted.merged(with: old) == deleted)
        #expect(!VersionedObject(mode: .siblings).isTombstone)
        // A write that the delete did not see stays.
        history.put(at: 1, with: HandedContext.none)
        #expect(history.states[1].object.merged(with: deleted).siblings.count == 1)
    }

    /// A causal vector that removed losers would make replicas differ by the order in which they heard.
    @Test func theLaterStampWinsWhateverTheClockSays() {
        let a = Actor(rawValue: 1)
        let b = Actor(rawValue: 2)
        var early = VersionedObject(mode: .lww)
        early.put(
            Sibling(dot: Dot(actor: a, counter: 1), timestamp: HybridTimestamp(rawValue: 9)), context: VersionVector(),
            mode: .lww)
        var late = VersionedObject(mode: .lww)
        late.put(
            Sibling(dot: Dot(actor: b, counter: 1), timestamp: HybridTimestamp(rawValue: 5)), context: early.clock,
            mode: .lww)
        #expect(late.merged(with: early).siblings.map(\.dot.actor) == [a])
        // A tie goes to the greater dot.
        var tied = VersionedObject(mode: .lww)
        tied.put(
            Sibling(dot: Dot(actor: b, counter: 2), timestamp: HybridTimestamp(rawValue: 9)), context: VersionVector(),
            mode: .lww)
        #expect(early.merged(with: tied).siblings.map(\.dot.actor) == [b])
        #expect(tied.merged(with: early).siblings.map(\.dot.actor) == [b])
    }

    @Test func anObjectBecomesARegisterAndStaysOne() {
        for seed in Self.seeds {
            var siblings = History(mode: .siblings, replicas: 3, seed: seed)
            siblings.run(steps: 30)
            var register = History(mode: .lww, replicas: 3, seed: seed &+ 1_000)
            register.run(steps: 30)
            for (left, right) in zip(siblings.past, register.past) {
                let merged = left.object.merged(with: right.object)
                #expect(merged == right.object.merged(with: left.object), "seed \(seed)")
                #expect(merged.mode == .lww && merged.siblings.count <= 1, "seed \(seed)")
                let stamps = (left.object.siblings + right.object.siblings).map(\.timestamp)
                #expect(merged.siblings.first?.timestamp == stamps.max(), "seed \(seed)")
            }
        }
    }
}
