import Glibc
import Logging
import TorcWire

/// Failures that no request may outlive.
enum NodeFailure {
    /// Ends the process at once. After a failed write or sync of the log nobody knows what is on disk; nothing
    /// that this process still says could be trusted, and a clean-up would say more.
    static func stop(_ logger: Logger, _ what: Logger.Message, _ error: any Error) -> Never {
        logger.critical(what, metadata: ["error": "\(error)", "exit": "\(ServerExit.storage.rawValue)"])
        _exit(ServerExit.storage.rawValue)
    }

    /// A member that has proven to be one says that this node was removed. Whatever this one would still acknowledge
    /// would be lost.
    static func removed(_ logger: Logger, _ refusal: PeerRefusal) -> Never {
        logger.critical(
            "this node was removed; this process ends",
            metadata: ["detail": "\(refusal.text)", "exit": "\(ServerExit.removed.rawValue)"])
        _exit(ServerExit.removed.rawValue)
    }

    /// A peer has proof that another process with this node's id is alive. Whatever this one would still write
    /// could contradict the other.
    static func duplicate(_ logger: Logger, _ refusal: PeerRefusal) -> Never {
        logger.critical(
            "this node is alive elsewhere; this process ends",
            metadata: ["detail": "\(refusal.text)", "exit": "\(ServerExit.duplicateNode.rawValue)"])
        _exit(ServerExit.duplicateNode.rawValue)
    }
}
