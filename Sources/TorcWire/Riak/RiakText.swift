// What Riak's clients are told in words. Riak's errors have no codes: programs compare these texts, so those
// that Riak has too are spelled as Riak spells them, and `TorcClient` reads them back (`RiakFailure`).

package import TorcModel
package import TorcReplication

package enum RiakText {
    /// The version of Riak whose protocol this is. Clients compare it to choose what they may ask.
    package static let serverVersion = "3.2.0"

    package static let matchFound = "match_found"
    package static let modified = "modified"
    package static let notFound = "notfound"
    package static let overloaded = "overload"
    /// Of an error response, beside Riak's fields: in so many milliseconds it may be worth to ask again.
    package static let retryAfterField: UInt64 = 100
    package static let timeout = "timeout"
    package static let shuttingDown = "shutting down: ask another node"
    package static let diskFull = "disk nearly full: ask another node, or free space on this one"
    package static let noMember = "not a member of the ring: ask another node for it"
    package static let indeterminatePrefix = "indeterminate: "

    package static let emptyBucket = "Bucket cannot be zero-length"
    package static let emptyKey = "Key cannot be zero-length"
    package static let emptyType = "Type cannot be zero-length"
    package static let bucketTooLong = "Bucket cannot be longer than \(ObjectKey.maximumBucketBytes) bytes"
    package static let keyTooLong = "Key cannot be longer than \(ObjectKey.maximumKeyBytes) bytes"
    package static let typeTooLong = "Type cannot be longer than \(ObjectKey.maximumBucketBytes) bytes"

    package static func text(of refusal: Refusal) -> String {
        switch refusal {
        case .matchFound: matchFound
        case .modified: modified
        case .notFound: notFound
        case .invalidQuorum(let name, let asked, let n):
            "Specified \(name) value of \(asked) is invalid for a bucket n value of \(n)"
        case .objectTooLarge(let bytes, let limit):
            "Object too large: \(bytes) bytes, the limit is \(limit)"
        case .tooManySiblings(let count, let limit):
            "Too many siblings: \(count), the limit is \(limit); resolve them by a store with the object's vclock"
        case .siblingsTooLarge(let bytes, let limit):
            "Siblings too large: \(bytes) bytes, the limit is \(limit); resolve them by a store with the object's vclock"
        case .clockTooFarBehind:
            "The server's clock is too far behind the object's last_modified time"
        case .overloaded: overloaded
        case .unreachable(let needed, let reachable): "{insufficient_vnodes,\(reachable),need,\(needed)}"
        case .unreadable: "The object's record is unreadable on every replica that answered"
        case .shuttingDown: shuttingDown
        case .diskFull: diskFull
        }
    }

    /// Whole ones, rounded up.
    package static func milliseconds(_ wait: Duration) -> UInt64 {
        UInt64(max(1, ((wait + .nanoseconds(999_999)) / .milliseconds(1)).rounded(.down)))
    }

    package static func text(of failure: ReadFailure) -> String {
        failure.timedOut ? timeout : "{r_val_unsatisfied,\(failure.needed),\(failure.answered)}"
    }

    /// The write may stand or not; the client has to read before it writes again.
    package static func indeterminate(copies: Int, needed: Int) -> String {
        "\(indeterminatePrefix)\(copies) of \(needed) copies are known to stand; the write may or may not be kept"
    }

    package static func text(of refusal: PropertiesRefusal) -> String {
        switch refusal {
        case .shuttingDown: shuttingDown
        case .copiesFixed, .invalidCopies, .conflictModeFixed, .invalidQuorum, .tooManyScopes, .reservedType,
            .invalidOneCache,
            .notKnownToAll:
            refusal.text
        }
    }

    package static func text(of refusal: ContextRefusal) -> String {
        switch refusal {
        case .malformed: "Invalid vclock: not one that this cluster gives out"
        case .forged: "Invalid vclock: it was altered, or belongs to another object or cluster"
        }
    }

    package static func listingFailed(_ partition: PartitionID) -> String {
        "Listing failed: no replica of partition \(partition.index) answered in time"
    }
}
