// Whom a read is for, and what it found.

import TorcModel

/// Whom a read is for.
enum Reader: Hashable, Sendable {
    case client(RequestID, headOnly: Bool, unlessClock: VersionVector?)
    /// A put whose condition must hold for what a quorum has.
    case condition(of: OperationID)
    /// A delete that came without context.
    case deletion(of: OperationID)
}

/// What a read found.
enum GetOutcome: Hashable, Sendable {
    case absent(Participation)
    case found(VersionedObject, Participation)
    case refused(Refusal)
    case failed(ReadFailure)
}
