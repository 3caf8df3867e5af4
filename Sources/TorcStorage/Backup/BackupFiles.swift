// Files of a backup: read, copied and linked, always with their checksum.

import Glibc
import TorcModel

/// Keeps to a number of bytes a second, by sleeping.
struct Pace {
    /// 0: as fast as it goes.
    let bytesPerSecond: Int
    private let begun = ContinuousClock.now
    private var spent = 0

    init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

    mutating func spend(_ bytes: Int) {
        guard bytesPerSecond > 0 else { return }
        spent += bytes
        let ahead = Double(spent) / Double(bytesPerSecond) - (ContinuousClock.now - begun) / .seconds(1)
        if ahead > 0.01 { usleep(UInt32(min(ahead, 1) * 1_000_000)) }
    }
}

enum BackupFiles {
    private static let pieceBytes = 1 << 20

    /// Reads a file to its end, writes it to `target` (which must not be there, and is synced) where one is named, and
    /// answers how long it is and its checksum. `step` is told of each piece, and may throw to end it.
    static func read(
        _ path: String, copyingTo target: String? = nil, step: (Int) throws -> Void
    ) throws -> (bytes: UInt64, checksum: String) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Files.failure("open", path) }
        defer { close(file) }
        var copy: Int32 = -1
        if let target {
            copy = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard copy >= 0 else { throw Files.failure("create", target) }
        }
        defer { if copy >= 0 { close(copy) } }
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        var bytes: UInt64 = 0
        var checksum: UInt64 = 0
        while true {
            // A piece is whole, but for the last: the checksum depends on where they end.
            var length = 0
            while length < pieceBytes {
                let got = piece.withUnsafeMutableBytes {
                    Glibc.read(file, $0.baseAddress! + length, pieceBytes - length)
                }
                if got < 0, errno == EINTR { continue }
                guard got >= 0 else { throw Files.failure("read", path) }
                if got == 0 { break }
                length += got
            }
            if length == 0 { break }
            checksum = piece.withUnsafeBytes { xxh3(UnsafeRawBufferPointer(rebasing: $0[..<length]), seed: checksum) }
            if let target { try Files.writeAll(copy, piece[..<length], path: target) }
            bytes += UInt64(length)
            try step(length)
            if length < pieceBytes { break }
        }
        if let target, fsync(copy) != 0 { throw Files.failure("sync", target) }
        return (bytes, hexadecimal(checksum))
    }

    /// Every file below a folder, by its path from there, ascending.
    static func all(in folder: String) throws(StoreError) -> [String] {
        var result: [String] = []
        for name in try Files.names(in: folder) {
            if Files.isDirectory("\(folder)/\(name)") {
                result += try all(in: "\(folder)/\(name)").map { "\(name)/\($0)" }
            } else {
                result.append(name)
            }
        }
        return result.sorted()
    }

    /// Removes a folder with all that is in it; one that is not there is removed already. Follows no link.
    static func removeFolder(_ path: String) throws(StoreError) {
        if Files.isLink(path) { return try Files.remove(path) }
        for name in try Files.names(in: path) {
            let inner = "\(path)/\(name)"
            var status = stat()
            if lstat(inner, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
                try removeFolder(inner)
            } else {
                try Files.remove(inner)
            }
        }
        guard rmdir(path) == 0 || errno == ENOENT else { throw Files.failure("remove", path) }
    }

    /// False: the file system does not, or may not, have both names for one file.
    static func link(_ path: String, to target: String) throws(StoreError) -> Bool {
        if Glibc.link(path, target) == 0 { return true }
        guard [EXDEV, EMLINK, EPERM, EOPNOTSUPP, ENOSYS].contains(errno) else { throw Files.failure("link", target) }
        return false
    }

    /// Whether two names are of one file.
    static func isSame(_ path: String, _ other: String) -> Bool {
        var one = stat()
        var two = stat()
        return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino
    }

    /// Makes the folder that a file is to stand in, below `root`.
    static func makeFolder(for path: String, below root: String) throws(StoreError) {
        try Files.makeFolder(path.lastIndex(of: "/").map { "\(root)/\(path[..<$0])" } ?? root)
    }

    /// Syncs a folder and all those in it.
    static func syncFolders(_ path: String) throws(StoreError) {
        for name in try Files.names(in: path) where Files.isDirectory("\(path)/\(name)") {
            try syncFolders("\(path)/\(name)")
        }
        try Files.syncFolder(path)
    }

    static func parent(of path: String) -> String {
        path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    }
}
