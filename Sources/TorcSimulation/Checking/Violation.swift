// A promise that was broken, as a checker reports it.

/// What a checker found.
package struct Violation: Error, Hashable, Sendable, CustomStringConvertible {
    /// The promise; each has one checker.
    package enum Promise: String, Hashable, Sendable, CaseIterable {
        /// A read showed bytes that nobody wrote to that key.
        case inventedValue
        /// A read showed a write that had been refused, or a write was refused that a read had shown.
        case refusedValue
        /// One version was shown twice in one read, or a write that was sent once was stamped twice.
        case duplicatedWrite
        /// A version was shown beside one that had replaced it.
        case falseSibling
        /// An acknowledged write is neither shown nor replaced.
        case lostWrite
        /// A quorum read missed what an earlier quorum had acknowledged or shown.
        case staleRead
        /// An answer from memory is older than its bucket allows, or than a write that its node has answered.
        case staleCache
        /// Of two acknowledged `lww` writes, one after the other, the first stands.
        case lostUpdate
        /// One dot names two versions.
        case dotReissued
        /// `ok`, or a version shown, that not enough replicas hold synced.
        case notDurable
        /// An answer that contradicts what was asked: a success below its quorum, a condition that could not have held.
        case wrongAnswer
        /// A leaf is not the sum of its records' hashes.
        case leafMismatch
        /// The log check served what it should have refused, or refused what it should have served.
        case logCheck
        /// Replicas differ although reads have compared and repaired them.
        case notConverged
        /// An operation did not end in time.
        case unanswered
        /// Something was left in memory that nobody waits for any more.
        case leftover
        /// A listing missed a key, or named one that was never written.
        case wrongListing
        /// A change of properties that was acknowledged is not to be seen.
        case lostProperties
        /// What nodes hold of one another is wrong: an accusation without a ground, a death that nobody notices,
        /// a return that nobody believes, an incarnation that could be told twice.
        case wrongMembership
        /// Two rings of one epoch, a node whose ring goes back, a vote that is told before it is durable, an operator
        /// who is told what is not so, or an agreement that does not come about although a majority is there.
        case wrongRing
        /// A version is shown past its expiry, or removed before all replicas' clocks have come to it.
        case expiry
        /// An entry is pruned from a vector while something needs it, or one of no use is never pruned.
        case wrongPruning
        /// A message is sent to a node whose version does not know it.
        case unknownMessage
        /// The simulation did not come to rest.
        case restless
    }

    package var promise: Promise
    package var message: String
    package var key: Int?

    package init(_ promise: Promise, key: Int? = nil, _ message: String) {
        self.promise = promise
        self.key = key
        self.message = message
    }

    package var description: String { "\(promise.rawValue): \(message)" }
}
