import CRocksDB
import Glibc
import NIOCore
import StoreSupport
import Testing
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct StoreMemoryTests {
    @Test func manyFamiliesTakeMoreForWhatWasJustWritten() {
        var options = StoreOptions()
        options.cacheBytes = 512 << 20
        options.memtableBytes = 192 << 20
        #expect(options.memtableBytes(families: 64) == 192 << 20)
        #expect(options.memtableBytes(families: 200) == 300 << 20)
        #expect(options.memtableBytes(families: 1024) == 384 << 20)
        // Memory alone would not let a node of many families and little memory write at all.
        for families in [1, 64, 1024, 16_384] {
            #expect(options.memtableLimitBytes(families: families) >= options.cacheBytes)
            #expect(options.memtableLimitBytes(families: families) > options.memtableBytes(families: families))
        }
        #expect(options.memtableLimitBytes(families: 16_384) == 4 << 30)
    }

    /// The disk is slower than the writers: they wait, instead of filling the memory with what is still to be written out.
    @Test func memtablesStayWithinTheirLimit() throws {
        let folder = TemporaryFolder()
        var options = StoreOptions()
        options.cacheBytes = 4 << 20
        options.memtableBytes = 3 << 20
        let harness = try Harness(folder.path, options: options)
        let limit = options.memtableLimitBytes(families: 8)
        #expect(limit == 4 << 20)
        let value = String(repeating: "v", count: 256 << 10)
        var stalls = 0
        for index in 0..<400 {
            try harness.append("k\(index % 100)", value)
            var attempts = 0
            while try harness.lanes[0].commit(leaves: harness.leaves[0]) == .stalled {
                stalls += 1
                attempts += 1
                guard attempts < 10_000 else {
                    Issue.record("a write still waits after ten seconds")
                    return
                }
                usleep(1000)
            }
            let taken = Int(harness.store.statistics.memtableBytes)
            #expect(taken <= limit + 2 * value.utf8.count, "write \(index): \(taken)")
        }
        #expect(stalls > 0, "nothing ever waited: the disk is too fast for this test")
        #expect(try harness.contents() == harness.model)
        try harness.store.abandon()
    }

    /// A node of many partitions stops as any other: all is in tables, and the next start replays nothing.
    @Test func manyPartitionsAreWrittenOutAtAStop() throws {
        let folder = TemporaryFolder()
        let ring = RingSize(partitions: 256)!
        let first = try Harness(folder.path, ringSize: ring, laneCount: 2)
        for index in 0..<600 { try first.put("k\(index)", "v\(index)") }
        try first.close()
        let second = try Harness(folder.path, ringSize: ring, laneCount: 2)
        #expect(second.report.wasClean && second.report.leavesRebuilt.isEmpty)
        #expect(second.report.changesReplayed <= 1)
        #expect(try second.contents() == first.model)
        try second.store.abandon()
    }
}

/// The sums of the log's records, by the processor's instruction.
@Suite struct CRC32CTests {
    private func sum(_ bytes: [UInt8], after sum: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { torc_crc32c(sum, $0.baseAddress, $0.count) }
    }

    /// Bit by bit, from the polynomial.
    private func reference(_ bytes: [UInt8], after sum: UInt32 = 0) -> UInt32 {
        var state = ~sum
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state & 1 == 0 ? state >> 1 : state >> 1 ^ 0x82f6_3b78 }
        }
        return ~state
    }

    @Test func sumsAreThoseOfThePolynomial() {
        // RFC 3720, B.4.
        #expect(sum(Array("123456789".utf8)) == 0xe306_9283)
        #expect(sum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        var generator = SeededGenerator(seed: 32)
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let start = UInt32.random(in: 0...(.max), using: &generator)
            #expect(sum(bytes, after: start) == reference(bytes, after: start), "\(length) bytes after \(start)")
            // In two pieces, from any place in memory.
            let cut = Int.random(in: 0...length, using: &generator)
            #expect(sum(Array(bytes[cut...]), after: sum(Array(bytes[..<cut]))) == reference(bytes))
        }
    }

    /// Where the processor has the instruction RocksDB computes by it, too.
    @Test func theLibraryUsesThem() throws {
        #if arch(x86_64)
            let flags = try String(decoding: [UInt8](contentsOf: "/proc/cpuinfo"), as: UTF8.self)
            #expect(torc_crc32c_is_own() == flags.contains("sse4_2"))
        #else
            #expect(!torc_crc32c_is_own())
        #endif
    }
}

extension [UInt8] {
    fileprivate init(contentsOf path: String) throws {
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        self = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            let got = fread(&piece, 1, piece.count, file)
            if got == 0 { return }
            self += piece[..<got]
        }
    }
}
