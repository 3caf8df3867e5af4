// Several machines of a lane ask peers and the store, and an answer carries the name of its question alone. Which
// machine asked is in the three uppermost bits of that name's number.

import TorcModel

enum Asker: UInt64, Sendable {
    /// The coordinator asks peers, the vnodes ask the store.
    case requests = 0
    case hints = 1
    case listings = 2
    case repair = 3
    case reaping = 4
    case clearance = 5
    case scrub = 6
    case mending = 7
}

/// Draws names for the questions of one machine. Each incarnation begins elsewhere: a peer answers an operation of
/// the last incarnation on the link to this one, and the answer must find nothing here.
struct AskerNumbers: Sendable {
    private let asker: Asker
    private let lane: Int
    private var lastOperation: UInt64
    private var lastToken: UInt64 = 0

    init(_ asker: Asker, lane: Int, incarnation: Incarnation) {
        self.asker = asker
        self.lane = lane
        // 45 random bits: all that is below the asker's.
        lastOperation = Mutation.restartOperationNumbers.isActive ? 0 : incarnation.rawValue >> 19
    }

    mutating func nextOperation() -> OperationID {
        lastOperation = (lastOperation + 1) & (1 << OperationID.askerShift - 1)
        return OperationID(lane: lane, number: asker.rawValue << OperationID.askerShift | lastOperation)
    }

    mutating func nextToken() -> StoreToken {
        lastToken += 1
        return StoreToken(rawValue: asker.rawValue << StoreToken.askerShift | lastToken)
    }
}

extension OperationID {
    /// The lane is above.
    fileprivate static let askerShift: UInt64 = 45

    var asker: Asker { Asker(rawValue: rawValue >> Self.askerShift & 7) ?? .requests }
}

extension StoreToken {
    fileprivate static let askerShift: UInt64 = 61

    var asker: Asker { Asker(rawValue: rawValue >> Self.askerShift) ?? .requests }
}
