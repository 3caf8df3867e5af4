// The bounds of repair in one lane, and the budget that keeps it behind the clients' requests.

package import TorcModel

package struct RepairLimits: Hashable, Sendable {
    /// Off: this lane begins no exchange. It still answers others.
    package var isOn = true
    /// Of this lane: a node's divided by its lanes.
    package var bytesPerSecond = 4 << 20
    /// Questions asked and keys exchanged; what replicas here do for clients counts, too, and leaves a tenth at least.
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
///
/// Operations for clients are paid from the same purse, or a load that leaves the machine little would be made to wait
/// for what nobody waits for. They never take more than leaves `leastShare` of it, or replicas would differ for as long as
/// a cluster is busy.
package struct RepairBudget: Sendable {
    /// What may be spent at once after a pause.
    private static let burst: UInt64 = 100_000_000
    /// The longest debt of one step: a single large object does not stop repair for minutes.
    private static let longestDebt: UInt64 = 10_000_000_000
    /// So soon after clients fell silent the whole is there again.
    private static let longestDebtOfClients: UInt64 = 500_000_000
    /// Of ten operations at least one is repair's.
    private static let leastShare = 10.0

    private let nanosecondsPerByte: Double
    private let nanosecondsPerOperation: Double
    private var bytesPaid: UInt64 = 0
    private var operationsPaid: UInt64 = 0
    /// Its own alone, at the rate that is always left.
    private var leastPaid: UInt64 = 0

    package init(_ limits: RepairLimits) {
        nanosecondsPerByte = 1e9 / Double(max(1, limits.bytesPerSecond))
        nanosecondsPerOperation = 1e9 / Double(max(1, limits.operationsPerSecond))
    }

    /// When the next step may begin.
    package var opens: MonotonicTime {
        MonotonicTime(nanoseconds: max(bytesPaid, min(operationsPaid, leastPaid)))
    }

    package mutating func spend(operations: Int = 0, bytes: Int = 0, at now: MonotonicTime) {
        let cost = Double(operations) * nanosecondsPerOperation
        Self.pay(cost, &operationsPaid, now, longestDebt: Self.longestDebt)
        Self.pay(cost * Self.leastShare, &leastPaid, now, longestDebt: Self.longestDebt)
        Self.pay(Double(bytes) * nanosecondsPerByte, &bytesPaid, now, longestDebt: Self.longestDebt)
    }

    /// A replica here did something for a client.
    package mutating func giveWay(at now: MonotonicTime) {
        Self.pay(nanosecondsPerOperation, &operationsPaid, now, longestDebt: Self.longestDebtOfClients)
    }

    private static func pay(_ cost: Double, _ paid: inout UInt64, _ now: MonotonicTime, longestDebt: UInt64) {
        let floor = now.nanoseconds > burst ? now.nanoseconds - burst : 0
        let sum = max(paid, floor) &+ UInt64(min(cost, Double(longestDebt)))
        paid = max(paid, min(sum, now.nanoseconds &+ longestDebt))
    }
}
