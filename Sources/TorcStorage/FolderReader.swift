// A data folder that is read and nothing else: no file in it is made, locked or changed, so a server may hold it meanwhile.
// What is read is the state at the moment of opening; what a server had not handed to its log by then is not in it.

import CRocksDB
import Glibc
package import NIOCore
package import TorcModel
package import TorcReplication

package final class FolderReader: Sendable {
    package let path: String
    package let identity: StoreIdentity
    package let layout: LeafLayout
    /// The process that serves from the folder; nil: none.
    package let holder: Int32?
    /// By name.
    package let families: [StoredFamily]
    private let byPartition: [PartitionID: [StoredFamily]]

    let database: Database
    let handles: [String: Family]

    private init(
        path: String, identity: StoreIdentity, holder: Int32?, database: Database, handles: [String: Family]
    ) {
        self.path = path
        self.identity = identity
        self.holder = holder
        self.database = database
        self.handles = handles
        layout = LeafLayout(ringSize: identity.ringSize)
        families = handles.keys.sorted().map { StoredFamily(name: $0) }
        byPartition = Dictionary(grouping: families.filter { $0.partition != nil }) { $0.partition! }
    }

    deinit { try? database.close() }

    /// A server that compacts may remove files between two steps of an open: then it is tried again.
    private static let attempts = 5
    /// Log files are moved more often than that.
    private static let logAttempts = 15

    /// Opens the folder at `path`. What a server removes after that is read on, as it was. Blocks; the log is read into memory: as
    /// much as the node that wrote it was configured to keep.
    package static func open(
        _ path: String, options: StoreOptions = .reading
    ) throws(StoreError) -> FolderReader {
        let identity: StoreIdentity
        switch try DataFolder.peek(path) {
        case .vacant: throw .missing(path: path)
        case .unfinished(let found):
            guard Files.exists(path + "/db/CURRENT") else { throw .halfMade(path: path, lacking: "db/CURRENT") }
            identity = found
        case .ready(let found): identity = found
        }
        let databasePath = path + "/db"
        if let manifest = try? ManifestContent.read(database: databasePath), manifest.isHostile {
            throw .corruption(operation: "open the database", detail: "the manifest names a table that cannot be")
        }
        var attempt = 1
        var passesLogDamage = false
        while true {
            do throws(StoreError) {
                // A table that is gone now was removed by the server, and another attempt finds what it wrote instead. In the end
                // it is a table that is missing.
                let mayHaveMoved = try DataFolder.holder(of: path) != nil
                let names = try Database.familyNames(at: databasePath)
                let (database, handles) = try Database.open(
                    at: databasePath, families: names.map { ($0, FamilyName.kind(of: $0)) }, create: false,
                    readOnly: true, needsAllTables: mayHaveMoved && attempt < attempts, options: options
                ) { $0.passes_log_damage = passesLogDamage }
                return FolderReader(
                    path: path, identity: identity, holder: try DataFolder.holder(of: path), database: database,
                    handles: Dictionary(uniqueKeysWithValues: zip(names, handles)))
            } catch {
                // RocksDB reads a log up to its damage only where no family has been written out since.
                if case .corruption(_, let detail) = error, detail.contains("ahead of WAL"), !passesLogDamage {
                    passesLogDamage = true
                    continue
                }
                guard attempt < attempts, (try? DataFolder.holder(of: path)) != nil else { throw error }
                attempt += 1
                usleep(20_000)
            }
        }
    }

    /// The family of a partition that counts: of one that is being made anew there are two, and which one stands, `meta`
    /// says. nil: the folder has none.
    package func family(of partition: PartitionID) throws(StoreError) -> StoredFamily? {
        guard let own = byPartition[partition] else { return nil }
        if own.count == 1 { return own[0] }
        let entry = try damageTable().entries[FamilyName.name(of: partition)]
        guard let entry else { return own.max { $0.generation < $1.generation } }
        return own.first { $0.generation == (entry.isAnew ? entry.generation : 0) } ?? own.first
    }

    /// One value; nil when it is not there.
    package func value(of key: ByteBuffer, in family: StoredFamily) throws(StoreError) -> ByteBuffer? {
        guard let handle = handles[family.name] else { return nil }
        var result: Result<ByteBuffer?, StoreError> = .success(nil)
        key.withUnsafeReadableBytes { bytes in
            result = Result { () throws(StoreError) in try database.get(handle, bytes) }
        }
        return try result.get()
    }

    /// Walks a family in the order of its keys, from `start` (included) to `end` (excluded), until `body` says false. The
    /// buffers are used again: who keeps one copies it. Throws what stopped the walk before its end.
    package func walk(
        _ family: StoredFamily, from start: ByteBuffer? = nil, before end: ByteBuffer? = nil,
        _ body: (_ key: ByteBuffer, _ value: ByteBuffer) throws -> Bool
    ) throws {
        guard let handle = handles[family.name] else { return }
        let iterator = try RangeIterator(database, handle, from: start, before: end, fillCache: false)
        var key = ByteBuffer()
        var value = ByteBuffer()
        while iterator.isValid {
            iterator.read(&key, &value)
            guard try body(key, value) else { return }
            iterator.next()
        }
        try iterator.check()
    }

    /// The same, step by step.
    package func cursor(
        _ family: StoredFamily, from start: ByteBuffer? = nil, before end: ByteBuffer? = nil
    ) throws(StoreError) -> FolderCursor {
        guard let handle = handles[family.name] else {
            throw .unexpected(operation: "read \(family.name)", detail: "it is not there")
        }
        return try FolderCursor(try RangeIterator(database, handle, from: start, before: end, fillCache: false))
    }

    /// Walks a whole family, as `walk` does. `checksums` false: those of its blocks were verified just before.
    package func walkAll(
        _ family: StoredFamily, checksums: Bool, _ body: (_ key: ByteBuffer, _ value: ByteBuffer) throws -> Void
    ) throws {
        guard let handle = handles[family.name] else { return }
        let iterator = try RangeIterator(walking: database, handle, checksums: checksums)
        var key = ByteBuffer()
        var value = ByteBuffer()
        while iterator.isValid {
            iterator.read(&key, &value)
            try body(key, value)
            iterator.next()
        }
        try iterator.check()
    }

    private func isEmpty(_ family: StoredFamily) throws(StoreError) -> Bool {
        guard let handle = handles[family.name] else { return true }
        let iterator = try RangeIterator(database, handle, from: nil, fillCache: false)
        if iterator.isValid { return false }
        try iterator.check()
        return true
    }

    /// A number that RocksDB keeps of a family, or of all of them.
    package func property(_ name: String, of family: StoredFamily? = nil) -> UInt64 {
        database.property(name, of: family.flatMap { handles[$0.name] })
    }

    /// The same as text; nil: RocksDB has no such property.
    package func text(of name: String, in family: StoredFamily? = nil) -> String? {
        guard let text = torc_property_text(database.handle, family.flatMap { handles[$0.name] }?.handle, name) else {
            return nil
        }
        defer { free(text) }
        return String(cString: text)
    }

    // MARK: What the node keeps beside its records

    /// As it is called before it is ever made anew.
    package static func familyName(of partition: PartitionID) -> String { FamilyName.name(of: partition) }

    private static let meta = StoredFamily(name: FamilyName.meta)
    private static let merkle = StoredFamily(name: FamilyName.merkle)
    package static let hints = StoredFamily(name: FamilyName.hints)

    /// What a server stored with `NodeStore.putMeta`.
    package func metaValue(_ key: String) throws(StoreError) -> ByteBuffer? {
        try value(of: ByteBuffer(string: NodeStore.MetaKey.callers + key), in: Self.meta)
    }

    /// The last run ended with a clean stop.
    package func wasClean() throws(StoreError) -> Bool {
        try value(of: ByteBuffer(string: NodeStore.MetaKey.clean), in: Self.meta) != nil
    }

    /// Oldest first.
    package func incarnations() throws(StoreError) -> [Incarnation] {
        var list = try value(of: ByteBuffer(string: NodeStore.MetaKey.incarnations), in: Self.meta) ?? ByteBuffer()
        var result: [Incarnation] = []
        while let value = list.readInteger(as: UInt64.self) { result.append(Incarnation(rawValue: value)) }
        return result
    }

    /// The ring and what was voted on; nil: a declared cluster that never changed it.
    package func ring() throws -> RingRecord? { try metaValue(StoredRing.key).map(RingRecord.init(decoding:)) }

    /// The properties of buckets and types.
    package func properties() throws -> PropertiesTable {
        try metaValue(StoredProperties.key).map(StoredProperties.decode) ?? PropertiesTable()
    }

    /// Families that a running node found damaged, by the names that they had at first, with the leaves that count for
    /// nobody until they were compared with the co-owners'.
    package func damagedFamilies() throws(StoreError) -> [(name: String, isAnew: Bool, lostLeaves: [Int])] {
        try damageTable().entries.sorted { $0.key < $1.key }.map {
            ($0.key, $0.value.isAnew, $0.value.lost.map(Int.init))
        }
    }

    func damageTable() throws(StoreError) -> DamageTable {
        guard let bytes = try value(of: ByteBuffer(string: DamageTable.key), in: Self.meta) else {
            return DamageTable()
        }
        do { return try DamageTable(decoding: bytes) } catch {
            throw .corruption(operation: "read \(DamageTable.key)", detail: "\(error)")
        }
    }

    // MARK: Leaves and the log

    /// What the log holds, judged as a start would judge it. Reads all of it.
    package func log() throws(StoreError) -> StoredLog {
        var attempt = 1
        while true {
            do throws(StoreError) {
                let (inspection, content) = try LogScan.read(folder: path, store: identity.store, layout: layout)
                return StoredLog(inspection: inspection, content: content)
            } catch {
                // A server moves files to the archive and removes them there.
                guard attempt < Self.logAttempts, holder != nil else { throw error }
                attempt += 1
                usleep(20_000)
            }
        }
    }

    /// The leaves of a partition as a start would have them: what is stored with the log's changes on top.
    /// `.unknown`: a start would compute them anew, for that reason.
    package func leaves(of partition: PartitionID, log: StoredLog) throws(StoreError) -> PartitionLeaves {
        let family = try family(of: partition)
        let recovered = try StoredLeaves.recover(
            partition, stored: try value(of: StoredLeaves.key(partition), in: Self.merkle),
            note: try value(of: StoredLeaves.noteKey(partition), in: Self.merkle), log: log.content,
            latest: database.latestSequence,
            isAnew: try damageTable().entries[FamilyName.name(of: partition)]?.isAnew == true, layout: layout
        ) { () throws(StoreError) in
            guard let family else { return true }
            return try isEmpty(family)
        }
        if let reason = recovered.rebuildBecause { return .unknown(reason: reason) }
        return .known(recovered.leaves.trees)
    }
}

/// Stands on an entry of a family, or behind the last.
package struct FolderCursor: ~Copyable {
    private let iterator: RangeIterator
    /// nil: it stands behind the last.
    package private(set) var key: ByteBuffer?
    package private(set) var value = ByteBuffer()

    init(_ iterator: consuming RangeIterator) throws(StoreError) {
        self.iterator = iterator
        try take()
    }

    package mutating func next() throws(StoreError) {
        iterator.next()
        try take()
    }

    private mutating func take() throws(StoreError) {
        guard iterator.isValid else {
            key = nil
            return try iterator.check()
        }
        key = iterator.key
        value = iterator.value
    }
}

/// A column family and what its name says.
package struct StoredFamily: Hashable, Sendable {
    package let name: String
    /// nil: it is not a partition's. Of each of a million records somebody asks.
    package let partition: PartitionID?

    package init(name: String) {
        self.name = name
        partition = FamilyName.partition(of: name)
    }

    /// How often it was made anew.
    package var generation: UInt16 { FamilyName.generation(of: name) }
}

package enum PartitionLeaves: Sendable {
    /// By the n of the records that are in them, ascending.
    case known([(copies: UInt8, leaves: [UInt64])])
    case unknown(reason: String)
}

/// A log, read.
package struct StoredLog {
    package let inspection: LogInspection
    let content: LogContent
}

extension StoreOptions {
    /// A small cache: a walk uses no block twice.
    package static let reading = {
        var options = StoreOptions()
        options.cacheBytes = 32 << 20
        return options
    }()
}
