// The few file operations that the store does beside RocksDB, with typed errors. What must survive a power
// loss is synced, and its folder too.

import Glibc

enum Files {
    static func failure(_ operation: String, _ path: String, _ code: Int32 = errno) -> StoreError {
        let detail = "\(path): \(String(cString: strerror(code)))"
        return code == ENOSPC || code == EDQUOT
            ? .diskFull(operation: operation, detail: detail) : .inputOutput(operation: operation, detail: detail)
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    static func size(_ path: String) throws(StoreError) -> UInt64 {
        var status = stat()
        guard stat(path, &status) == 0 else { throw failure("stat", path) }
        return UInt64(status.st_size)
    }

    /// Names in a folder, ascending; of a folder that does not exist, none.
    static func names(in path: String) throws(StoreError) -> [String] {
        guard let folder = opendir(path) else {
            if errno == ENOENT { return [] }
            throw failure("list", path)
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Makes a folder and the ones above it.
    static func makeFolder(_ path: String) throws(StoreError) {
        if isDirectory(path) { return }
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex { try makeFolder(String(path[..<slash])) }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure("make folder", path) }
    }

    /// Reads a small file.
    static func read(_ path: String, limit: Int = 1 << 20) throws(StoreError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw failure("open", path) }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: limit)
        var length = 0
        while length < limit {
            let got = Glibc.read(file, &bytes[length], limit - length)
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw failure("read", path) }
            if got == 0 { break }
            length += got
        }
        return Array(bytes[..<length])
    }

    static func writeAll(_ file: Int32, _ bytes: some Collection<UInt8>, path: String) throws(StoreError) {
        let all = Array(bytes)
        var done = 0
        while done < all.count {
            let wrote = all.withUnsafeBytes { write(file, $0.baseAddress! + done, all.count - done) }
            if wrote < 0, errno == EINTR { continue }
            guard wrote > 0 else { throw failure("write", path) }
            done += wrote
        }
    }

    /// Replaces a file so that after any crash it holds the old bytes or the new ones.
    static func replace(_ path: String, with bytes: [UInt8]) throws(StoreError) {
        let temporary = path + ".new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("create", temporary) }
        defer { close(file) }
        try writeAll(file, bytes, path: temporary)
        guard fsync(file) == 0 else { throw failure("sync", temporary) }
        try move(temporary, to: path)
    }

    /// Renames, and syncs the folder of the new name.
    static func move(_ path: String, to target: String) throws(StoreError) {
        guard rename(path, target) == 0 else { throw failure("rename", path) }
        try syncFolder(of: target)
    }

    static func remove(_ path: String) throws(StoreError) {
        guard unlink(path) == 0 || errno == ENOENT else { throw failure("remove", path) }
    }

    static func syncFolder(of path: String) throws(StoreError) {
        try syncFolder(path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ".")
    }

    static func syncFolder(_ path: String) throws(StoreError) {
        let folder = open(path.isEmpty ? "/" : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw failure("open folder", path) }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw failure("sync folder", path) }
    }

    /// Copies the bytes from `offset` to the end into a new, synced file; answers how many.
    static func copyTail(of path: String, from offset: UInt64, to target: String) throws(StoreError) -> UInt64 {
        let source = open(path, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw failure("open", path) }
        defer { close(source) }
        let copy = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard copy >= 0 else { throw failure("create", target) }
        defer { close(copy) }
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        var copied: UInt64 = 0
        while true {
            let got = pread(source, &chunk, chunk.count, off_t(offset + copied))
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw failure("read", path) }
            if got == 0 { break }
            try writeAll(copy, chunk[..<got], path: target)
            copied += UInt64(got)
        }
        guard fsync(copy) == 0 else { throw failure("sync", target) }
        return copied
    }

    /// Cuts a file to a length, durably.
    static func truncate(_ path: String, to length: UInt64) throws(StoreError) {
        let file = open(path, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { throw failure("open", path) }
        defer { close(file) }
        guard ftruncate(file, off_t(length)) == 0 else { throw failure("truncate", path) }
        guard fsync(file) == 0 else { throw failure("sync", path) }
    }
}
