// RocksDB through the shim against a model, with the memtables that Torc uses: batches over families,
// deletes, snapshots, bounded scans in total order, flushes, and recovery from the log.

import CRocksDB
import Glibc
import StoreSupport
import Testing
import TorcModel

private typealias Bytes = [UInt8]

private final class Rocks {
    private static let familyCount = 4
    private let path: String
    private let memtable: torc_memtable
    private var db: OpaquePointer!
    private var families: [OpaquePointer?] = []

    init(_ path: String, memtable: torc_memtable) {
        self.path = path
        self.memtable = memtable
        open(create: true)
    }

    private func open(create: Bool) {
        var options = torc_options()
        options.create_if_missing = create
        options.memtable_budget_bytes = 2 << 20
        options.block_cache_bytes = 4 << 20
        options.charge_memtables_to_cache = true
        options.partition_memtable_bytes = 256 << 10
        options.partition_memtable = memtable
        options.partition_hash_buckets = 64
        options.arena_block_bytes = 16 << 10
        options.log_limit_bytes = 8 << 20
        options.background_jobs = 1
        options.open_files = 64
        options.block_bytes = 4096
        let texts = ["default"] + (0..<Self.familyCount).map { "p000\($0)" }
        let names: [UnsafeMutablePointer<CChar>] = texts.map { strdup($0) }
        defer { for name in names { free(name) } }
        let pointers = names.map { UnsafePointer<CChar>?($0) }
        var kinds = [torc_family_kind](repeating: TORC_FAMILY_PARTITION, count: names.count)
        kinds[0] = TORC_FAMILY_PLAIN
        families = [OpaquePointer?](repeating: nil, count: names.count)
        if create {
            check(torc_open(path, &options, 1, pointers, kinds, &db, &families))
            families.withUnsafeMutableBufferPointer { made in
                check(
                    torc_create_families(
                        db, Self.familyCount, Array(pointers.dropFirst()), Array(kinds.dropFirst()),
                        made.baseAddress! + 1))
            }
        } else {
            check(torc_open(path, &options, names.count, pointers, kinds, &db, &families))
        }
    }

    func check(_ error: torc_error, sourceLocation: SourceLocation = #_sourceLocation) {
        if error.code == TORC_OK { return }
        Issue.record(
            "\(error.code) \(error.message.map { String(cString: $0) } ?? "")", sourceLocation: sourceLocation)
        torc_error_free(error)
    }

    func write(_ changes: [(family: Int, key: Bytes, value: Bytes?)]) {
        let batch = torc_batch_create()!
        defer { torc_batch_destroy(batch) }
        for (family, key, value) in changes {
            let handle = families[family + 1]
            if let value {
                check(torc_batch_put(batch, handle, key, key.count, value, value.count))
            } else {
                check(torc_batch_delete(batch, handle, key, key.count))
            }
        }
        check(torc_write(db, batch, false))
    }

    func get(_ family: Int, _ key: Bytes) -> Bytes? {
        let value = torc_value_create()!
        defer { torc_value_destroy(value) }
        let error = torc_get(db, families[family + 1], key, key.count, false, value)
        if error.code == TORC_NOT_FOUND { return nil }
        check(error)
        var length = 0
        let bytes = torc_value_bytes(value, &length)
        return Bytes(UnsafeRawBufferPointer(start: bytes, count: length))
    }

    func scan(_ family: Int, from lower: Bytes, to upper: Bytes, snapshot: OpaquePointer?) -> [Bytes: Bytes] {
        var iterator: OpaquePointer?
        check(
            torc_iterator_create(
                db, families[family + 1], lower, lower.count, upper, upper.count, snapshot, true, &iterator))
        defer { torc_iterator_destroy(iterator) }
        var result: [Bytes: Bytes] = [:]
        var last: Bytes?
        torc_iterator_seek_to_first(iterator)
        while torc_iterator_valid(iterator) {
            var length = 0
            let keyBytes = torc_iterator_key(iterator, &length)
            let key = Bytes(UnsafeRawBufferPointer(start: keyBytes, count: length))
            if let last { #expect(last.lexicographicallyPrecedes(key), "keys out of order") }
            last = key
            let valueBytes = torc_iterator_value(iterator, &length)
            result[key] = Bytes(UnsafeRawBufferPointer(start: valueBytes, count: length))
            torc_iterator_next(iterator)
        }
        check(torc_iterator_error(iterator))
        return result
    }

    func snapshot() -> OpaquePointer { torc_snapshot_create(db)! }
    func release(_ snapshot: OpaquePointer) { torc_snapshot_release(db, snapshot) }
    func flush(_ family: Int) { check(torc_flush(db, 1, [families[family + 1]])) }
    func compact(_ family: Int) { check(torc_compact(db, families[family + 1])) }
    func close() { check(torc_close(db)) }

    func reopen() {
        close()
        open(create: false)
    }

    /// A second database from a checkpoint, which must hold the same.
    func checkpoint(_ target: String) -> Rocks {
        check(torc_checkpoint(db, target))
        return Rocks(existing: target, memtable: memtable)
    }

    private init(existing path: String, memtable: torc_memtable) {
        self.path = path
        self.memtable = memtable
        open(create: false)
    }
}

@Suite struct RocksModelTests {
    /// The seed, and whether the memtable is the hash skip list instead of the hash link list.
    @Test(arguments: [1: false, 2: false, 3: true] as KeyValuePairs<UInt64, Bool>)
    func randomOperations(seed: UInt64, skipList: Bool) {
        let folder = TemporaryFolder()
        var generator = SeededGenerator(seed: seed)
        let rocks = Rocks(
            folder.path + "/db", memtable: skipList ? TORC_MEMTABLE_HASH_SKIP_LIST : TORC_MEMTABLE_HASH_LINK_LIST)
        var model = [[Bytes: Bytes]](repeating: [:], count: 4)
        var frozen: (snapshot: OpaquePointer, model: [[Bytes: Bytes]])?

        func random(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &generator) }
        /// 40 prefixes of eight bytes, as near to one another as can be, and short names behind them.
        func key() -> Bytes {
            let prefix = UInt64(random(40)) &* 0x0666_6666_6666_6667
            return withUnsafeBytes(of: prefix.bigEndian, Bytes.init) + Bytes("n\(random(8))".utf8)
        }
        func expected(_ model: [Bytes: Bytes], _ lower: Bytes, _ upper: Bytes) -> [Bytes: Bytes] {
            model.filter { !$0.key.lexicographicallyPrecedes(lower) && $0.key.lexicographicallyPrecedes(upper) }
        }

        for step in 0..<20_000 {
            switch random(1000) {
            case ..<600:
                var changes: [(family: Int, key: Bytes, value: Bytes?)] = []
                for _ in 0...random(4) {
                    let value: Bytes? =
                        random(4) == 0 ? nil : Bytes(repeating: UInt8(random(256)), count: random(120))
                    changes.append((random(4), key(), value))
                }
                rocks.write(changes)
                for (family, key, value) in changes { model[family][key] = value }
            case ..<960:
                let family = random(4)
                let key = key()
                #expect(rocks.get(family, key) == model[family][key], "seed \(seed), step \(step)")
            case ..<985:
                let family = random(4)
                var bounds = [key(), key()]
                if bounds[1].lexicographicallyPrecedes(bounds[0]) { bounds.swapAt(0, 1) }
                let found = rocks.scan(family, from: bounds[0], to: bounds[1], snapshot: nil)
                #expect(found == expected(model[family], bounds[0], bounds[1]), "seed \(seed), step \(step)")
                if let frozen {
                    let found = rocks.scan(family, from: bounds[0], to: bounds[1], snapshot: frozen.snapshot)
                    #expect(
                        found == expected(frozen.model[family], bounds[0], bounds[1]),
                        "snapshot, seed \(seed), step \(step)")
                }
            case ..<990:
                if let frozen { rocks.release(frozen.snapshot) }
                frozen = (rocks.snapshot(), model)
            case ..<996:
                rocks.flush(random(4))
            case ..<998:
                rocks.compact(random(4))
            default:
                if let held = frozen { rocks.release(held.snapshot) }
                frozen = nil
                rocks.reopen()
            }
        }
        if let frozen { rocks.release(frozen.snapshot) }
        let copy = rocks.checkpoint(folder.path + "/checkpoint")
        for family in 0..<4 {
            #expect(copy.scan(family, from: [0], to: [255, 255], snapshot: nil) == model[family])
        }
        copy.close()
        rocks.close()
    }
}
