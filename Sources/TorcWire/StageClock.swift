// Where the time of one event loop goes, by stage of a request. One turn of the loop in sixteen is timed, with all that the
// sockets bring until the next turn begins, so that the figures cost next to nothing and are always there (`/stats`).
//
// Stages exclude one another: a stage that begins inside another one stops that one's clock until it ends. The clock is
// the monotonic one, because the thread's own costs a system call, as much as a stage takes. A stage during which the thread
// lost its core is so charged too much; what is longer than any stage can be is left out, and counted. What reading the
// clock costs is taken off.

import NIOCore

/// What a loop does for requests.
package enum LoopStage: Int, CaseIterable, Sendable {
    /// Clients' bytes into requests.
    case parse
    /// The coordinator takes a request.
    case coordination
    /// The old record, from memory.
    case read
    /// Context and condition checked; minted, merged.
    case merge
    /// The turn ends: records encoded, leaves changed.
    case record
    case batch
    /// The batch is written: log buffer and memtables.
    case commit
    /// What waited for a commit or a sync is let go.
    case release
    /// A peer's message is handled: a replica's write begins, an answer is counted.
    case peers
    /// Bytes of peers into messages.
    case peersIn
    /// Messages into frames, and frames to the sockets of peers.
    case peersOut
    case answer
    /// Answers to the sockets of clients.
    case clientSockets
    /// What of a turn is none of the others.
    case turn

    package var name: String {
        switch self {
        case .parse: "parse"
        case .coordination: "coordination"
        case .read: "read"
        case .merge: "merge"
        case .record: "record"
        case .batch: "batch"
        case .commit: "commit"
        case .release: "release"
        case .peers: "peers"
        case .peersIn: "peers_in"
        case .peersOut: "peers_out"
        case .answer: "answer"
        case .clientSockets: "client_sockets"
        case .turn: "turn"
        }
    }
}

/// What a clock has counted.
package struct StageTimes: Hashable, Sendable {
    package var turns: UInt64 = 0
    package var timedTurns: UInt64 = 0
    /// By `LoopStage.rawValue`, of the turns that were timed: nanoseconds, and how often the stage was begun.
    package var nanoseconds = [UInt64](repeating: 0, count: LoopStage.allCases.count)
    package var entries = [UInt64](repeating: 0, count: LoopStage.allCases.count)
    /// Requests of clients that a timed turn took, and how long they had waited for it since they were read.
    package var taken: UInt64 = 0
    /// Stages that were left out: the thread had lost its core.
    package var interruptions: UInt64 = 0
    package var waitedNanoseconds: UInt64 = 0

    package init() {}

    package mutating func add(_ other: StageTimes) {
        turns += other.turns
        timedTurns += other.timedTurns
        for index in nanoseconds.indices {
            nanoseconds[index] += other.nanoseconds[index]
            entries[index] += other.entries[index]
        }
        taken += other.taken
        interruptions += other.interruptions
        waitedNanoseconds += other.waitedNanoseconds
    }
}

/// Confined to its loop.
package final class StageClock {
    /// One turn in so many is timed.
    package static let turnsPerTiming: UInt64 = 16
    private static let calibrationReads: UInt64 = 256
    /// A stage that takes longer had lost its core, mostly: the batch of a busy turn is written in half of it.
    package static let longestNanoseconds: UInt64 = 500_000

    /// What `enter` found, for `leave`.
    package struct Span {
        fileprivate var outer: Int8
        fileprivate static let off: Int8 = -2
        fileprivate static let outermost: Int8 = -1
    }

    private let turnsPerTiming: UInt64
    private let longest: UInt64
    /// What one reading adds to the stage that it ends.
    private let readingNanoseconds: UInt64
    package private(set) var isTiming = false
    private var times = StageTimes()
    private var current = Span.outermost
    private var since: UInt64 = 0

    /// `turnsPerTiming` 1: all are. `longest`: in nanoseconds; what takes longer is left out.
    package init(
        turnsPerTiming: UInt64 = StageClock.turnsPerTiming, longest: UInt64 = StageClock.longestNanoseconds
    ) {
        precondition(turnsPerTiming > 0, "no turn in \(turnsPerTiming) can be timed")
        self.turnsPerTiming = turnsPerTiming
        self.longest = longest
        let begun = Self.read()
        for _ in 1..<Self.calibrationReads { _ = Self.read() }
        readingNanoseconds = (Self.read() - begun) / Self.calibrationReads
    }

    package var counted: StageTimes { times }

    private static func read() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

    /// A turn of the loop begins, outside of all stages.
    package func turnBegins() {
        times.turns += 1
        isTiming = times.turns % turnsPerTiming == 0
        if isTiming { times.timedTurns += 1 }
        current = Span.outermost
    }

    package func enter(_ stage: LoopStage) -> Span {
        guard isTiming else { return Span(outer: Span.off) }
        let now = Self.read()
        let outer = current
        charge(until: now)
        current = Int8(stage.rawValue)
        times.entries[stage.rawValue] += 1
        since = now
        return Span(outer: outer)
    }

    package func leave(_ span: Span) {
        guard span.outer != Span.off, current != Span.outermost else { return }
        let now = Self.read()
        charge(until: now)
        current = span.outer
        since = now
    }

    /// A request is taken that was read so long ago.
    package func took(afterWaiting nanoseconds: UInt64) {
        times.taken += 1
        times.waitedNanoseconds += nanoseconds
    }

    private func charge(until now: UInt64) {
        guard current >= 0 else { return }
        let passed = now - since
        guard passed < longest else {
            times.interruptions += 1
            return
        }
        times.nanoseconds[Int(current)] += passed - min(passed, readingNanoseconds)
    }
}
