// The bounds of repair in one lane, and the budget that keeps it behind the clients' requests.

import TorcModel

package struct RepairLimits: Hashable, Sendable {
    /// Off: this lane begins no exchange. It still answers others.
    package var isOn = true
    /// Of this lane: a node's divided by its lanes.
    package var bytesPerSecond = 4 << 20
    /// Questions asked and keys exchanged.
    package var operationsPerSecond = 500
    /// From the end of one comparison of a pair to its next.
    package var interval = Duration.seconds(30)
    /// An exchange that hears nothing for so long ends, and is tried again.
    package var patience = Duration.seconds(10)
    /// After an exchange that failed, doubling.
    package var firstBackoff = Duration.seconds(1)
    package var lastBackoff = Duration.seconds(60)
    /// Records, and their bytes, that one scan reads; one more is for the next page.
    package var pageEntries = 512
    package var pageBytes = 1 << 20
    /// Leaves whose keys are asked for at once.
    package var spanLeaves = 256
    /// Keys that are exchanged at the same time.
    package var keysInFlight = 16
    /// Differing keys after which an exchange gives way to the next pair, and takes its turn again.
    package var keysInExchange = 4_096
    /// Scans for other nodes at the same time; one more is refused `busy`.
    package var scansServed = 4
    /// Repairs that people wait for; one more is answered at once, as not done.
    package var requests = 16

    package init() {}
}

/// Bytes and operations a second. What a step costs is known when it is done, so it is paid afterwards: the
/// next step may begin when everything before it is paid.
struct RepairBudget: Sendable {
    /// What may be spent at once after a pause.
    private static let burst: UInt64 = 100_000_000
    /// The longest debt of one step: a single large object does not stop repair for minutes.
    private static let longestDebt: UInt64 = 10_000_000_000

    private let nanosecondsPerByte: Double
    private let nanosecondsPerOperation: Double
    private var bytesPaid: UInt64 = 0
    private var operationsPaid: UInt64 = 0

    init(_ limits: RepairLimits) {
        nanosecondsPerByte = 1e9 / Double(max(1, limits.bytesPerSecond))
        nanosecondsPerOperation = 1e9 / Double(max(1, limits.operationsPerSecond))
    }

    /// When the next step may begin.
    var opens: MonotonicTime { MonotonicTime(nanoseconds: max(bytesPaid, operationsPaid)) }

    mutating func spend(operations: Int = 0, bytes: Int = 0, at now: MonotonicTime) {
        Self.pay(Double(operations) * nanosecondsPerOperation, &operationsPaid, now)
        Self.pay(Double(bytes) * nanosecondsPerByte, &bytesPaid, now)
    }

    private static func pay(_ cost: Double, _ paid: inout UInt64, _ now: MonotonicTime) {
        let floor = now.nanoseconds > burst ? now.nanoseconds - burst : 0
        let sum = max(paid, floor) &+ UInt64(min(cost, Double(longestDebt)))
        paid = min(sum, now.nanoseconds &+ longestDebt)
    }
}
