// Whom a read is for, and what it found.

import TorcModel

/// Whom a read is for.
enum Reader: Hashable, Sendable {
    case client(ClientReader)
    /// Several that share it: two at the least, in the order in which they came.
    case clients([ClientReader])
    /// A put whose condition must hold for what a quorum has.
    case condition(of: OperationID)
    /// A delete that came without context.
    case deletion(of: OperationID)
}

extension Reader {
    init(_ readers: [ClientReader]) { self = readers.count == 1 ? .client(readers[0]) : .clients(readers) }

    /// Requests of clients that it answers.
    var clients: [ClientReader] {
        switch self {
        case .client(let reader): [reader]
        case .clients(let readers): readers
        case .condition, .deletion: []
        }
    }

    /// The same, without an array.
    var clientCount: Int {
        switch self {
        case .client: 1
        case .clients(let readers): readers.count
        case .condition, .deletion: 0
        }
    }
}

/// What a read found.
enum GetOutcome: Hashable, Sendable {
    case absent(Participation)
    case found(VersionedObject, Participation)
    case refused(Refusal)
    case failed(ReadFailure)
}
