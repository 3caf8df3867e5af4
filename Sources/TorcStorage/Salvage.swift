// A damaged family is made anew from what can be read of it. RocksDB gives up a walk at the first block whose checksum
// fails, and cannot say which keys stood in it; the copy goes on at the first leaf whose beginning it can find, and
// the leaves between are lost. The co-owners have what was in them (`TorcReplication.Salvage`).
//
// `merkle` follows from the partitions, and is dropped when it cannot be read. `hints` are copied from both ends.
// `meta` holds what cannot come from anywhere else (votes, incarnations): a node does not start without it.

import CRocksDB
import Glibc
import Logging
import Synchronization
import NIOCore
package import TorcModel
package import TorcReplication

/// A family whose damage is noted now.
package enum DamagedFamily: Hashable, Sendable {
    case partition(PartitionID)
    /// `merkle` or `hints`: made anew by the next start. Or `meta`.
    case other(String)
}

extension NodeStore {
    /// What is copied in one batch.
    private static let copiedBytes = 1 << 20
    /// The disk has requests to serve meanwhile.
    private static let copiedBytesPerSecond = 64 << 20

    // MARK: Noticing

    /// A read has met it. What reads on in a family that was copied meanwhile says nothing new.
    func noticeDamage(in family: Family, of place: RecordPlace, _ detail: String) {
        if place.hint != nil { return noticeDamage(of: FamilyName.hints, detail) }
        guard familyIfPresent(place.partition)?.handle == family.handle else { return }
        noticeDamage(of: FamilyName.name(of: place.partition), detail)
    }

    /// Bytes that RocksDB read are not those that it wrote. Told once for each family.
    func noticeDamage(of name: String, _ detail: String) {
        guard damage.withLock({ $0.find(name, detail) }) else { return }
        logger.error(
            "a table is damaged: what can be read of it goes on being served, and the rest comes from other nodes",
            metadata: ["family": "\(name)", "error": "\(detail)"])
    }

    /// The families of which damage was found since the last call, noted durably; no compaction touches them any more.
    /// Blocks.
    package func noteDamage() throws(StoreError) -> [DamagedFamily] {
        while let (name, detail) = database.nextDamage() {
            let base = FamilyName.base(of: name)
            if let partition = FamilyName.partition(of: base) {
                let present = generations.withLock { $0[partition] } ?? 0
                guard FamilyName.generation(of: name) == present else { continue }
            }
            noticeDamage(of: base, detail)
        }
        let found = damage.withLock { register in
            let found = register.found.map(\.name)
            for name in found {
                register.table.entries[name, default: DamageTable.Entry()].isAnew = false
            }
            register.found.removeAll()
            return found
        }
        if found.isEmpty { return [] }
        try storeDamage()
        var result: [DamagedFamily] = []
        for name in found {
            if let partition = FamilyName.partition(of: name) {
                if let family = familyIfPresent(partition) { try database.holdCompaction(of: family) }
                result.append(.partition(partition))
            } else {
                if name == FamilyName.merkle { try database.holdCompaction(of: merkle) }
                if name == FamilyName.hints { try database.holdCompaction(of: hints) }
                if name == FamilyName.meta { try database.holdCompaction(of: meta) }
                result.append(.other(name))
            }
        }
        return result
    }

    func storeDamage() throws(StoreError) {
        let bytes = damage.withLock { $0.table.encoded }
        try write([(meta, ByteBuffer(string: DamageTable.key), bytes)])
        try sync()
    }

    /// Partitions that are damaged, and wait for `salvage`.
    package var damagedPartitions: [PartitionID] {
        damage.withLock { register in
            register.table.entries.filter { !$0.value.isAnew }.keys.compactMap(FamilyName.partition).sorted()
        }
    }

    /// Leaves that were lost, and have not been compared with every co-owner since; by partition.
    package var lostLeaves: [PartitionID: [Int]] {
        damage.withLock { register in
            var lost: [PartitionID: [Int]] = [:]
            for (name, entry) in register.table.entries where !entry.lost.isEmpty {
                if let partition = FamilyName.partition(of: name) { lost[partition] = entry.lost.map { Int($0) } }
            }
            return lost
        }
    }

    // MARK: Copying

    /// Bytes that a copy of a partition needs on the disk, and as many again in the log.
    package func bytesToSalvage(_ partition: PartitionID) -> UInt64 { 2 * liveBytes(of: partition) + 64 << 20 }

    /// Makes a partition anew; durable when it returns. Nobody writes to it meanwhile; who reads goes on with what was
    /// there, and the lane turns to the copy by `LaneStore.add`. Blocks for as long as it takes to copy it.
    ///
    /// A failure to read leaves everything as it was, and may be tried again. What is thrown may not: it is not known
    /// whether a copy stands for the partition at the next start, so nothing may be written to what stood before.
    package func salvage(
        _ partition: PartitionID, hashSeed: HashSeed
    ) throws(StoreError) -> Result<SalvagedPartition, StoreError> {
        let name = FamilyName.name(of: partition)
        let former = family(partition)
        let generation: UInt16
        do throws(StoreError) {
            generation = try FamilyName.nextGeneration(
                after: FamilyName.name(name, generations.withLock { $0[partition] } ?? 0))
            try folder.noteCopies()
        } catch {
            return .failure(error)
        }
        let copy = try database.createFamilies([(FamilyName.name(name, generation), TORC_FAMILY_PARTITION)])[0]
        var result: SalvagedPartition
        let copied = try Self.copyRecords(
            of: partition, from: former, to: copy, in: database, layout: layout, hashSeed: hashSeed, for: self)
        switch copied {
        case .success(let copied): result = copied
        case .failure(let error):
            // Nobody else has it.
            try database.drop(copy)
            return .failure(error)
        }
        try database.flush([copy])
        damage.withLock { register in
            // What an earlier copy lost may not have come back.
            let lost = Set(register.table.entries[name]?.lost ?? []).union(result.lost.map { UInt16($0) })
            register.table.entries[name] =
                DamageTable.Entry(isAnew: true, generation: generation, lost: lost.sorted())
            result.lost = lost.sorted().map { Int($0) }
        }
        try storeDamage()
        families.withLock { $0[partition.index] = copy }
        generations.withLock { $0[partition] = generation }
        // What a reader met in the former meanwhile.
        damage.withLock { $0.found.removeAll { $0.name == name } }
        try database.retire(former)
        logger.notice(
            "a damaged partition was made anew from what can be read of it",
            metadata: ["partition": "\(partition)", "lost leaves": "\(result.lost.count)"])
        return .success(result)
    }

    /// It has been compared with every co-owner. Blocks.
    package func restored(_ partition: PartitionID) throws(StoreError) {
        let name = FamilyName.name(of: partition)
        let isDone = damage.withLock { register in
            // Or it is damaged again.
            guard register.table.entries[name]?.isAnew == true else { return false }
            register.table.entries[name] = nil
            return true
        }
        if isDone { try storeDamage() }
    }

    /// A failure: it cannot be read now. Thrown: it cannot be written. Without a seed the leaves that it answers are empty;
    /// `store`: the one that runs meanwhile.
    static func copyRecords(
        of partition: PartitionID, from former: Family, to copy: Family, in database: Database, layout: LeafLayout,
        hashSeed: HashSeed?, for store: NodeStore?
    ) throws(StoreError) -> Result<SalvagedPartition, StoreError> {
        var result = SalvagedPartition(partition: partition, lost: [], leaves: [:])
        let iterator = try RangeIterator(database, former, from: nil, fillCache: false)
        var writer = CopyWriter(database, copy, store)
        let empty = [UInt64](repeating: 0, count: layout.leavesPerPartition)
        /// The leaf of the last key that was read, or the one that was looked for.
        var leaf = 0
        while true {
            while iterator.isValid {
                if let store, store.stopsCopying.load(ordering: .relaxed) {
                    return .failure(.unexpected(operation: "copy a partition", detail: "the node stops"))
                }
                let storageKey = iterator.key
                let record = iterator.value
                // One that belongs elsewhere says nothing of how far this walk is.
                if let position = storageKey.getInteger(at: storageKey.readerIndex, as: UInt64.self).map(
                    RingPosition.init(rawValue:)), layout.ringSize.partition(of: position) == partition
                {
                    leaf = max(leaf, layout.leaf(of: position))
                }
                // What cannot be decoded stays as it is: it has a key, and is mended by it.
                if let hashSeed, let key = try? ObjectKey(storageKey: storageKey),
                    let found = try? Record(decoding: record, for: key),
                    !found.isGrave
                {
                    let hash = hashSeed.contentHash(key: key, body: found.body).rawValue
                    result.leaves[found.header.copies, default: empty][layout.leaf(of: key.position)] &+= hash
                }
                try writer.put(storageKey, record)
                iterator.next()
            }
            do throws(StoreError) {
                try iterator.check()
                break
            } catch {
                guard case .corruption = error else { return .failure(error) }
                result.lost.append(leaf)
                leaf += 1
                if leaf == layout.leavesPerPartition { break }
                // No storage key is so short: all of the leaf's come after it.
                iterator.seek(ByteBuffer(integer: layout.start(of: leaf, in: partition).rawValue))
            }
        }
        try writer.flush()
        return .success(result)
    }

    /// Before anything is served: hints that cannot all be read are copied from both ends up to what cannot. What stood
    /// between is lost: it was one copy of what other nodes hold, too, unless none of them could be reached then.
    static func settleHints(
        of database: Database, in folder: DataFolder, _ families: inout [String: Family], _ table: inout DamageTable,
        _ logger: Logger
    ) throws(StoreError) {
        guard let name = families.keys.first(where: { FamilyName.base(of: $0) == FamilyName.hints }) else { return }
        let former = families[name]!
        let iterator = try RangeIterator(database, former, from: nil, fillCache: false)
        while iterator.isValid { iterator.next() }
        let detail: String
        do throws(StoreError) {
            try iterator.check()
            table.entries[FamilyName.hints] = nil
            return
        } catch .corruption(_, let words) {
            detail = words
        }
        let generation = try FamilyName.nextGeneration(after: name)
        let copyName = FamilyName.name(FamilyName.hints, generation)
        try folder.noteCopies()
        let copy = try database.createFamilies([(copyName, TORC_FAMILY_PLAIN)])[0]
        let copied = try copyHints(of: database, from: former, to: copy)
        table.entries[FamilyName.hints] = DamageTable.Entry(isAnew: true, generation: generation)
        try store(table, in: database, families[FamilyName.meta]!)
        try database.drop(former)
        families[name] = nil
        families[copyName] = copy
        table.entries[FamilyName.hints] = nil
        logger.error(
            "what is kept for other nodes cannot all be read: the rest is lost here, and repair brings it to them",
            metadata: ["kept": "\(copied)", "error": "\(detail)"])
    }

    private static func copyHints(
        of database: Database, from former: Family, to copy: Family
    ) throws(StoreError) -> Int {
        let iterator = try RangeIterator(database, former, from: nil, fillCache: false)
        var writer = CopyWriter(database, copy, nil)
        var copied = 0
        var last: ByteBuffer?
        while iterator.isValid {
            last = iterator.key
            try writer.put(last!, iterator.value)
            copied += 1
            iterator.next()
        }
        try checkForMoreThanDamage(iterator)
        iterator.seekToLast()
        while iterator.isValid {
            let key = iterator.key
            if let last, !last.readableBytesView.lexicographicallyPrecedes(key.readableBytesView) { break }
            try writer.put(key, iterator.value)
            copied += 1
            iterator.previous()
        }
        try checkForMoreThanDamage(iterator)
        try writer.flush()
        try database.flush([copy])
        return copied
    }

    /// A walk that the disk has ended says nothing of what can be read: no hint is given up for it.
    private static func checkForMoreThanDamage(_ iterator: borrowing RangeIterator) throws(StoreError) {
        do throws(StoreError) {
            try iterator.check()
        } catch {
            guard case .corruption = error else { throw error }
        }
    }

    /// Synced.
    static func store(_ table: DamageTable, in database: Database, _ meta: Family) throws(StoreError) {
        var writer = CopyWriter(database, meta, nil)
        try writer.put(ByteBuffer(string: DamageTable.key), table.encoded)
        try writer.flush()
        try database.flushLog(sync: true)
    }

    /// Puts records into a family, a batch at a time, and not faster than the disk can do beside its other work.
    struct CopyWriter: ~Copyable {
        private let database: Database
        private let family: Family
        private let store: NodeStore?
        private let batch = Batch()

        /// Without a store, while nobody serves.
        init(_ database: Database, _ family: Family, _ store: NodeStore?) {
            self.database = database
            self.family = family
            self.store = store
        }

        mutating func put(_ key: ByteBuffer, _ record: ByteBuffer) throws(StoreError) {
            let error = key.withUnsafeReadableBytes { key in
                record.withUnsafeReadableBytes { record in
                    torc_batch_put(
                        batch.handle, family.handle, key.baseAddress, key.count, record.baseAddress, record.count)
                }
            }
            try Database.check(error, "add to a batch")
            if batch.byteCount >= NodeStore.copiedBytes { try flush() }
        }

        mutating func remove(_ key: ByteBuffer) throws(StoreError) {
            let error = key.withUnsafeReadableBytes { key in
                torc_batch_delete(batch.handle, family.handle, key.baseAddress, key.count)
            }
            try Database.check(error, "add to a batch")
            if batch.byteCount >= NodeStore.copiedBytes { try flush() }
        }

        mutating func flush() throws(StoreError) {
            if batch.isEmpty { return }
            let bytes = batch.byteCount
            let synced = store?.syncedThrough.load(ordering: .acquiring) ?? 0
            try LogDataWriter(store: store?.identity.store).finish(syncedThrough: synced, into: batch)
            store?.loggedBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
            try Database.check(torc_write(database.handle, batch.handle, false), "write")
            batch.clear()
            if store != nil { usleep(UInt32(1_000_000 * bytes / NodeStore.copiedBytesPerSecond)) }
        }
    }
}
