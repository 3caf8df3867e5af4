// A data folder with records in it, and ways to damage it: from outside, byte by byte, and from inside, as a fault of
// RocksDB or of Torc would.

import CRocksDB
import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

struct DamagedFolder {
    let folder = TemporaryFolder()
    let model: [ObjectKey: ByteBuffer]
    var path: String { folder.path + "/node" }
    static let settings = NodeSettings(hashSeed: testSeed, members: [testNode])

    /// `isClean` false: the process is killed, with all that it wrote in the log.
    init(records: Int = 1500, isClean: Bool = true) throws {
        let harness = try Harness(folder.path + "/node")
        try harness.store.beginIncarnation(Incarnation(rawValue: 7))
        for number in 0..<records {
            try harness.append("key\(number)", String(repeating: "\(number % 10)", count: 1000))
        }
        try harness.commit()
        try harness.store.sync()
        if isClean {
            try harness.close()
        } else {
            // A batch with the mark of that sync.
            try harness.put("last", "one")
            try harness.store.sync()
            try harness.store.abandon()
        }
        model = harness.model
    }

    // MARK: Checking and mending

    func check(_ path: String? = nil) async throws -> FolderCheck {
        try await FolderCheck.run(path ?? self.path, settings: Self.settings)
    }

    /// Mends on a copy, which is sound afterwards, and leaves the folder as it is; answers where the copy is.
    func repaired(place: MendPlace? = nil) async throws -> MendReport {
        let before = try Self.listing(path)
        let held = try DataFolder.hold(path)
        defer { held.release() }
        let plan = try await check().plan
        #expect(!plan.isEmpty)
        let report = try FolderMender.mend(
            held, plan, place: place ?? .copy(folder.path + "/mended"), stamp: 1, logger: quietLogger())
        let after = try await check(report.folder)
        #expect(after.plan.isEmpty && after.remedy == .node, "\(after.findings)")
        if place == nil {
            #expect(try Self.listing(path) == before)
            #expect(report.folder == folder.path + "/mended")
        }
        return report
    }

    /// Files and what is in them; whose process locked the folder last does not count.
    static func listing(_ path: String) throws -> [String: Data] {
        var result: [String: Data] = [:]
        for case let name as String in FileManager.default.enumerator(atPath: path)! where name != "LOCK" {
            result[name] = (try? Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)"))) ?? Data()
        }
        return result
    }

    // MARK: From outside

    func files(_ suffix: String, in folder: String = "db") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(folder)").filter {
            $0.hasSuffix(suffix) || $0.hasPrefix(suffix)
        }.sorted().map { "\(path)/\(folder)/\($0)" }
    }

    /// The first table that holds these bytes.
    func table(with text: String) throws -> String {
        try #require(
            try files(".sst").first {
                try Data(contentsOf: URL(fileURLWithPath: $0)).range(of: Data(text.utf8)) != nil
            })
    }

    /// All of the block that tells of the table, which lies before the index that its footer points to.
    func overwriteProperties(of table: String) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: table))
        let first = try #require(bytes.range(of: Data("rocksdb.block.based.table.index.type".utf8)))
        var (index, shift) = (0, 0)
        for byte in bytes[(bytes.count - 52)...] {
            index |= Int(byte & 0x7f) << shift
            shift += 7
            if byte < 0x80 { break }
        }
        try #require(first.lowerBound < index && index < bytes.count)
        for position in first.lowerBound..<index { bytes[position] = 0xff }
        try bytes.write(to: URL(fileURLWithPath: table))
    }

    /// The footer's first block, the metaindex, or its second, the index, is said to take 2^62 bytes.
    func overwriteHandle(_ handle: Int, inTheFooterOf table: String) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: table))
        let end = bytes.count - 12
        var at = bytes.count - 52
        // Two numbers each, whose last byte is below 0x80.
        for _ in 0..<(2 * handle) {
            while bytes[at] >= 0x80 { at += 1 }
            at += 1
        }
        var claimed = [UInt8](repeating: 0x80, count: 8)
        claimed.insert(0, at: 0)
        claimed += [0x40, 0, 0]
        try #require(at + claimed.count <= end)
        for position in at..<end { bytes[position] = 0 }
        bytes.replaceSubrange(at..<(at + claimed.count), with: claimed)
        try bytes.write(to: URL(fileURLWithPath: table))
    }

    func flip(_ file: String, at place: Double) throws {
        try flip(file, byte: Int(Double(Data(contentsOf: URL(fileURLWithPath: file)).count) * place))
    }

    func flip(_ file: String, byte: Int) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
        bytes[byte] ^= 0x10
        try bytes.write(to: URL(fileURLWithPath: file))
    }

    func truncate(_ file: String) throws {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: file))
        try bytes.prefix(bytes.count / 2).write(to: URL(fileURLWithPath: file))
    }

    // MARK: From inside

    /// Opens the database as a node does, and closes it when `body` is done.
    func inside(_ body: (OpaquePointer, [String: OpaquePointer]) throws -> Void) throws {
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        var count = 0
        try Self.check(torc_list_families(path + "/db", &names, &count))
        let texts = (0..<count).map { String(cString: names![$0]!) }
        var options = torc_options()
        options.memtable_budget_bytes = 8 << 20
        options.block_cache_bytes = 8 << 20
        options.partition_memtable_bytes = 1 << 20
        options.partition_memtable = TORC_MEMTABLE_HASH_LINK_LIST
        options.partition_hash_buckets = 64
        options.arena_block_bytes = 64 << 10
        options.log_limit_bytes = 64 << 20
        options.background_jobs = 1
        options.open_files = 100
        options.block_bytes = 4 << 10
        var database: OpaquePointer?
        var handles = [OpaquePointer?](repeating: nil, count: count)
        let kinds = texts.map { $0.hasPrefix("p") ? TORC_FAMILY_PARTITION : TORC_FAMILY_PLAIN }
        let pointers = (0..<count).map { UnsafePointer<CChar>(names![$0]) }
        try Self.check(torc_open(path + "/db", &options, count, pointers, kinds, &database, &handles))
        torc_names_free(names, count)
        let families = Dictionary(uniqueKeysWithValues: zip(texts, handles.map { $0! }))
        try body(database!, families)
        try Self.check(torc_flush_log(database, true))
        var all = families.values.map { Optional($0) }
        _ = torc_flush(database, all.count, &all)
        try Self.check(torc_close(database))
    }

    static func check(_ error: torc_error) throws {
        defer { torc_error_free(error) }
        struct Failure: Error { var text: String }
        if error.code != TORC_OK { throw Failure(text: error.message.map { String(cString: $0) } ?? "\(error.code)") }
    }

    /// nil: removes.
    func put(_ family: String, _ key: ByteBuffer, _ value: ByteBuffer?) throws {
        try inside { database, families in
            let batch = torc_batch_create()
            defer { torc_batch_destroy(batch) }
            try key.withUnsafeReadableBytes { key in
                guard let value else {
                    return try Self.check(torc_batch_delete(batch, families[family], key.baseAddress, key.count))
                }
                try value.withUnsafeReadableBytes { value in
                    try Self.check(
                        torc_batch_put(
                            batch, families[family], key.baseAddress, key.count, value.baseAddress, value.count))
                }
            }
            try Self.check(torc_write(database, batch, false))
        }
    }

    func drop(_ family: String) throws {
        try inside { database, families in
            // The handle stays with the database.
            try Self.check(torc_retire_family(database, families[family]))
        }
    }

    func makeFamily(_ name: String) throws {
        try inside { database, _ in
            var made: OpaquePointer?
            var kind = TORC_FAMILY_PARTITION
            try name.withCString { text in
                var text: UnsafePointer<CChar>? = text
                try Self.check(torc_create_families(database, 1, &text, &kind, &made))
            }
        }
    }
}
