// What mending takes out of a folder is put aside, never away: for a person to look at, and to bring back what is wanted.
//
//   QUARANTINE/tables/       table files that cannot be read whole, or that the database had done with
//   QUARANTINE/records.jsonl records that were taken out: family, key and value in hexadecimal, why
//   QUARANTINE/logs/         log files that were not replayed whole
//   QUARANTINE/report.txt    what was found, and what was done

import CRocksDB
import Glibc
import NIOCore

package final class Quarantine {
    package let path: String
    package private(set) var tableCount = 0
    package private(set) var recordCount = 0
    private var records: [UInt8] = []
    private static let bufferedBytes = 1 << 20

    init(_ path: String) { self.path = path }

    /// A second name for the file, or a copy of it.
    func keep(table file: String) throws(StoreError) {
        let folder = path + "/tables"
        try Files.makeFolder(folder)
        try Files.share(file, as: "\(folder)/\(Files.name(of: file))")
        tableCount += 1
    }

    func keep(record key: ByteBuffer, _ value: ByteBuffer, of family: String, because reason: String)
        throws(StoreError)
    {
        let line = """
            {"family":"\(family)","key":"\(Self.hex(key))","reason":"\(Self.plain(reason))","value":"\(Self.hex(value))"}

            """
        records += Array(line.utf8)
        recordCount += 1
        if records.count > Self.bufferedBytes { try writeRecords() }
    }

    /// A file or a folder, moved.
    func take(_ file: String, as name: String) throws(StoreError) {
        try Files.makeFolder(path)
        try Files.move(file, to: "\(path)/\(name)")
    }

    func finish(report: [String]) throws(StoreError) {
        try writeRecords()
        try Files.makeFolder(path)
        try Files.replace("\(path)/report.txt", with: Array((report.joined(separator: "\n") + "\n").utf8))
    }

    private func writeRecords() throws(StoreError) {
        if records.isEmpty { return }
        try Files.makeFolder(path)
        try Files.append(records, to: path + "/records.jsonl")
        records.removeAll(keepingCapacity: true)
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private static func hex(_ bytes: ByteBuffer) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.readableBytes * 2)
        for byte in bytes.readableBytesView {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Without what JSON would have to escape.
    private static func plain(_ text: String) -> String {
        String(text.map { $0 == "\"" || $0 == "\\" || $0.isNewline ? "'" : $0 })
    }
}

extension Files {
    /// The last part of a path.
    static func name(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    }

    /// The same bytes under another name: a hard link, which takes no space, where the file system has such. For files that
    /// are never changed.
    static func share(_ path: String, as target: String) throws(StoreError) {
        if link(path, target) == 0 { return }
        guard [EXDEV, EPERM, EMLINK, ENOTSUP].contains(errno) else { throw failure("link", path) }
        _ = try copyTail(of: path, from: 0, to: target)
    }

    /// False where it cannot be said.
    static func shareFileSystem(_ path: String, _ other: String) -> Bool {
        var (one, two) = (stat(), stat())
        return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev
    }

    static func append(_ bytes: [UInt8], to path: String) throws(StoreError) {
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("create", path) }
        defer { close(file) }
        try writeAll(file, bytes, path: path)
        guard fsync(file) == 0 else { throw failure("sync", path) }
    }

    /// Exchanges two folders, at once. The folders that they are in are to be synced after it.
    static func exchange(_ path: String, _ other: String) throws(StoreError) {
        try Database.check(torc_exchange(path, other), "exchange two folders")
    }

    /// A folder with all that is in it; none: nothing.
    static func removeFolder(_ path: String) throws(StoreError) {
        // What a link leads to is somebody else's.
        if isLink(path) { return try remove(path) }
        for name in try names(in: path) {
            let inner = "\(path)/\(name)"
            var status = stat()
            guard lstat(inner, &status) == 0 else { throw failure("stat", inner) }
            if status.st_mode & S_IFMT == S_IFDIR { try removeFolder(inner) } else { try remove(inner) }
        }
        guard rmdir(path) == 0 || errno == ENOENT else { throw failure("remove", path) }
    }

    /// Stands in a folder until what is in it is whole: nothing there is the only copy of anything.
    static let unfinishedMark = "UNFINISHED"

    static func isLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    /// Bytes that this process may still write.
    static func freeBytes(of path: String) throws(StoreError) -> UInt64 {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { throw failure("stat", path) }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
}
