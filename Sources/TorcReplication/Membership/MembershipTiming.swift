// The constants of failure detection, all in protocol periods, and what follows from the number of members.
// Logarithms are counted in binary digits: no floating point decides when somebody is declared dead.

package struct MembershipTiming: Hashable, Sendable {
    /// Between two rounds of probes, on a node that is well.
    package var period: Duration

    package init(period: Duration = .milliseconds(500)) {
        precondition(period > .zero, "a protocol period of \(period)")
        self.period = period
    }

    /// Members that a node probes in one period. SWIM has one; with three, every member of a cluster of up to four
    /// is probed by every other in each period, so that a node which hangs is suspected within two.
    static let probesInPeriod = 3
    /// Others that are asked to ping a member which does not answer.
    static let helpers = 3
    /// A probe waits so much of its period for the member itself before it asks others.
    static let directFraction = (2, 5)
    /// A timer that is so much of a period late shows that this node did not run: what it missed judges nobody.
    static let lateFraction = (1, 5)
    /// How many times slower a node gets, at most, that has reason to doubt itself (Lifeguard's S).
    static let maximumDoubt = 8
    /// With no confirmation a suspicion lasts this many times as long as with all of them (Lifeguard's β).
    static let suspicionStretch = 6
    /// Others whose suspicion shortens it; more make no difference (Lifeguard's K).
    static let confirmations = 3
    /// News is told this many times the binary digits of the member count, by each who hears it (SWIM's λ log n).
    static let transmissionFactor = 2
    /// Claims that go along with a probe or its answer: some hundred bytes.
    static let claimsInMessage = 24
    /// Periods between two exchanges of everything, in a cluster of up to 15.
    static let exchangePeriods = 20
    /// Peers that a node tells at once when it has refuted or started.
    static let announcements = 3
    /// Pings for others under way; one more request is not heard, and its sender finds another way or doubts itself.
    static let maximumRelays = 256

    var directTimeout: Duration { period * Self.directFraction.0 / Self.directFraction.1 }
    var lateness: Duration { period * Self.lateFraction.0 / Self.lateFraction.1 }

    /// Binary digits of the member count: its log2 and up to one more.
    static func digits(_ members: Int) -> Int { Int.bitWidth - max(members, 1).leadingZeroBitCount }

    static func transmissions(members: Int) -> Int { transmissionFactor * digits(members) }

    /// Larger clusters exchange less often: what an exchange costs grows with them.
    func exchangeInterval(members: Int) -> Duration {
        period * (Self.exchangePeriods * max(1, Self.digits(members) - 3))
    }

    /// Lifeguard's 5 log10 n, four periods at least: time enough for the news to arrive and the answer to return.
    func shortestSuspicion(members: Int) -> Duration { period * max(8, 3 * Self.digits(members)) / 2 }

    /// Confirmations that can be had: neither the member itself nor its first accuser confirms.
    static func confirmations(members: Int) -> Int { max(0, min(confirmations, members - 2)) }

    /// log(c + 1) / log(k + 1) in thousandths, for k = 1, 2, 3: each confirmation says less than the one before.
    private static let shrinking = [[0, 1_000], [0, 631, 1_000], [0, 500, 792, 1_000]]

    /// How long a member has to refute, with so many confirmations of the suspicion.
    package func suspicion(members: Int, confirmations: Int) -> Duration {
        let shortest = shortestSuspicion(members: members)
        let possible = Self.confirmations(members: members)
        if possible == 0 { return shortest }
        let longest = shortest * Self.suspicionStretch
        return longest - (longest - shortest) * Self.shrinking[possible - 1][min(confirmations, possible)] / 1_000
    }
}
