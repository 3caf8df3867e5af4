// Tables of a data folder, each by itself: a file whose database cannot be opened says what is in it all the same.

import CRocksDB
import Glibc

/// What stands in a folder's `db/`, without RocksDB.
package struct FolderTables: Sendable {
    /// As far as it can be read.
    package let manifest: ManifestContent
    /// Of every table file, named by the manifest or not.
    package let bytesOnDisk: [UInt64: UInt64]
    private let database: String

    package init(folder: String) throws(StoreError) {
        database = folder + "/db"
        manifest = try ManifestContent.read(database: database)
        var sizes: [UInt64: UInt64] = [:]
        for name in try Files.names(in: database) {
            guard let number = ManifestContent.number(ofTable: name) else { continue }
            sizes[number] = try Files.size("\(database)/\(name)")
        }
        bytesOnDisk = sizes
    }

    package func path(of number: UInt64) -> String { "\(database)/\(ManifestContent.fileName(number))" }

    /// Opens a table and reads all of it, where `checksums` are asked for. `family`: for which it was written; nil: it
    /// cannot be opened. `problem`: nil where it is sound. Throws when the system does not let it be read: that is no damage.
    package func check(
        _ number: UInt64, checksums: Bool
    ) throws(StoreError) -> (family: String?, problem: String?) {
        var facts = torc_table_facts()
        let error = torc_table_check(path(of: number), checksums, &facts)
        defer { torc_table_facts_free(&facts) }
        let family = facts.family.map { String(cString: $0) }
        guard error.code != TORC_OK else { return (family, nil) }
        let failure = StoreError(error, "read \(ManifestContent.fileName(number))")
        if failure.isOfTheSystem { throw failure }
        return (family, failure.detail)
    }
}

extension StoreError {
    /// The system does not let something be read or written; whether it is damaged, that does not say.
    package var isOfTheSystem: Bool {
        switch self {
        // A file that is not there is damage.
        case .inputOutput(_, let detail): !detail.contains("No such file or directory")
        case .diskFull: true
        default: false
        }
    }

    /// What RocksDB or the system said, without Torc's words around it.
    package var detail: String {
        switch self {
        case .diskFull(_, let detail), .inputOutput(_, let detail), .corruption(_, let detail),
            .unexpected(_, let detail):
            detail
        default: description
        }
    }
}
