// What can go wrong with a node's store. Every case says how far the damage reaches and what a person can do
// next; none of the cases of opening has written anything to the folder.

import CRocksDB
package import TorcModel

package enum StoreError: Error, Hashable, Sendable {
    // Opening.

    /// The process that holds the folder's lock; its id where it could be read.
    case heldByAnotherProcess(path: String, processID: Int32?)
    case foreignCluster(path: String, found: ClusterID, expected: ClusterID)
    case foreignNode(path: String, found: NodeID, expected: NodeID)
    case differentRingSize(path: String, found: Int, expected: Int)
    case newerFormat(path: String, found: Int, supported: Int)
    case damagedIdentity(path: String, reason: String)
    case missing(path: String)
    /// What stands there is a node's part of a backup, which may be read and never served from.
    case isBackup(path: String)
    /// A folder that holds files, none of which says that it is Torc's.
    case notADataFolder(path: String)
    /// Parts of a data folder without the others.
    case halfMade(path: String, lacking: String)
    /// Writes that had been synced, and so perhaps acknowledged, cannot be read from the log.
    case damagedLog(path: String, file: String, offset: UInt64, damageAt: UInt64, lastMark: UInt64)
    /// What a node may not forget cannot be read: its votes, its incarnations.
    case damagedMeta(path: String, detail: String)

    // Running, and opening.

    case diskFull(operation: String, detail: String)
    case inputOutput(operation: String, detail: String)
    /// Bytes on disk are not those that were written.
    case corruption(operation: String, detail: String)
    case unexpected(operation: String, detail: String)

    init(_ error: torc_error, _ operation: String) {
        let detail = error.message.map { String(cString: $0) } ?? "code \(error.code.rawValue)"
        torc_error_free(error)
        switch error.code {
        case TORC_CORRUPTION: self = .corruption(operation: operation, detail: detail)
        case TORC_IO_ERROR: self = .inputOutput(operation: operation, detail: detail)
        case TORC_NO_SPACE: self = .diskFull(operation: operation, detail: detail)
        default: self = .unexpected(operation: operation, detail: detail)
        }
    }
}

extension StoreError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .heldByAnotherProcess(let path, let processID):
            let holder = processID.map { "process \($0)" } ?? "another process"
            return
                "the data folder \(path) is in use by \(holder): stop it first, or give this node a folder of its own"
        case .foreignCluster(let path, let found, let expected):
            return """
                the data folder \(path) belongs to cluster \(found), this node is configured for cluster \(expected): \
                correct the cluster's name and members in the configuration, or the path
                """
        case .foreignNode(let path, let found, let expected):
            return """
                the data folder \(path) belongs to node \(found), this is node \(expected): every node needs a folder \
                of its own; correct the node's name in the configuration, or the path
                """
        case .differentRingSize(let path, let found, let expected):
            return """
                the data folder \(path) was made for a ring of \(found) partitions, the configuration says \(expected): \
                the number is fixed for the life of a cluster; set it back to \(found)
                """
        case .newerFormat(let path, let found, let supported):
            return """
                the data folder \(path) has format \(found), this build reads up to \(supported): start the newer \
                version of torc that wrote it
                """
        case .damagedIdentity(let path, let reason):
            return """
                \(path)/IDENTITY cannot be read (\(reason)): restore that file from a backup of this very node, or \
                start with an empty folder as a new node and let the others fill it
                """
        case .missing(let path):
            return "there is no data folder at \(path): correct the path, or let the server make one"
        case .isBackup(let path):
            return """
                \(path) is part of a backup, or a clone that was retired: nothing serves from it. Make a data folder of a \
                backup with `torc backup restore`, in a cluster of its own
                """
        case .notADataFolder(let path):
            return "\(path) holds files that are not Torc's: choose an empty folder, or one that does not exist yet"
        case .halfMade(let path, let lacking):
            return """
                the data folder \(path) is incomplete: \(lacking) is missing. Restore the folder as a whole, or start \
                with an empty one as a new node and let the others fill it
                """
        case .damagedLog(let path, let file, let offset, let damageAt, let lastMark):
            return """
                the log of \(path) is damaged at \(file), byte \(offset): change \(damageAt) cannot be read, though \
                everything up to \(lastMark) had been synced, so acknowledged writes may be missing. Nothing was \
                changed. Keep the folder aside, start with an empty one, and let the others fill it
                """
        case .damagedMeta(let path, let detail):
            return """
                what the node of \(path) must not forget cannot be read (\(detail)). Nothing was changed. Keep the folder \
                aside, and start with an empty one, or have the node replaced; let the others fill it
                """
        case .diskFull(let operation, let detail): return "the disk is full (\(operation)): \(detail)"
        case .inputOutput(let operation, let detail): return "input/output error (\(operation)): \(detail)"
        case .corruption(let operation, let detail): return "damaged data (\(operation)): \(detail)"
        case .unexpected(let operation, let detail): return "\(operation) failed: \(detail)"
        }
    }
}
