// A node's data folder:
//
//   IDENTITY      whose it is: a few lines of text, checksummed, replaced atomically
//   LOCK          held by the process that serves from the folder; its process id stands in it
//   db/           the RocksDB database
//   cut-<time>/   log bytes that were cut off after a crash, kept for a person to look at
//
// IDENTITY is written first, with the state `creating`, and again with `ready` when the database stands: so
// a folder whose making was interrupted, which never served anything, is finished by the next start, and a
// `ready` folder that has lost its database is known for what it is.

import Glibc
import Synchronization
package import TorcModel

/// Whose data a folder holds.
package struct StoreIdentity: Hashable, Sendable {
    package var cluster: ClusterID
    package var node: NodeID
    /// Drawn when the folder was made; a copy of the folder has the same one.
    package var store: StoreID
    package var ringSize: RingSize
    /// Of a node that joined a cluster that ran, the name that it joined by: its id does not follow from it.
    package var joinedName: String?
    /// A family of it was made anew, under another name.
    package var hasCopies = false
    /// A node's part of a backup: it is read, and never served from.
    package var isBackup = false

    package init(cluster: ClusterID, node: NodeID, store: StoreID, ringSize: RingSize, joinedName: String? = nil) {
        self.joinedName = joinedName
        self.cluster = cluster
        self.node = node
        self.store = store
        self.ringSize = ringSize
    }
}

/// What is at a path, found without writing anything.
package enum FolderState: Hashable, Sendable {
    /// Nothing, or an empty folder.
    case vacant
    /// Being made when it was interrupted; nothing was ever served from it.
    case unfinished(StoreIdentity)
    case ready(StoreIdentity)
}

/// A data folder that this process holds.
package final class DataFolder: Sendable {
    /// A folder in which a family was made anew: an older build would make an empty one in the place of what it does not
    /// know.
    package static let format = 3
    /// Of a node that joined: an older build would take it for a damaged one.
    private static let joinedFormat = 2
    private static let declaredFormat = 1

    package let path: String
    package let identity: StoreIdentity
    /// The folder was made by this start, or by one that did not finish.
    package let isNew: Bool
    /// The locked file; −1 once it was let go.
    private let lock: Atomic<Int32>
    private let hasCopies: Atomic<Bool>

    private init(path: String, identity: StoreIdentity, isNew: Bool, lock: Int32) {
        self.path = path
        self.identity = identity
        self.isNew = isNew
        self.lock = Atomic(lock)
        hasCopies = Atomic(identity.hasCopies)
    }

    deinit { release() }

    /// Lets another process have the folder. A store that is closed does it.
    package func release() {
        let file = lock.exchange(-1, ordering: .acquiringAndReleasing)
        if file >= 0 { Self.unlock(file) }
    }

    var databasePath: String { path + "/db" }

    /// Reads what a folder says of itself, so that a server can ask its peers whether the node is alive
    /// elsewhere before anything is written.
    package static func peek(_ path: String) throws(StoreError) -> FolderState {
        let path = normalized(path)
        guard Files.exists(path) else { return .vacant }
        guard Files.isDirectory(path) else { throw .notADataFolder(path: path) }
        let identityPath = path + "/IDENTITY"
        guard Files.exists(identityPath) else {
            let names = try Files.names(in: path).filter { $0 != "LOCK" && $0 != "IDENTITY.new" }
            if names.contains("db") { throw .halfMade(path: path, lacking: "IDENTITY") }
            guard names.isEmpty else { throw .notADataFolder(path: path) }
            return .vacant
        }
        let (identity, ready) = try decode(try Files.read(identityPath, limit: 4096), path: path)
        if ready, !Files.exists(path + "/db/CURRENT") { throw .halfMade(path: path, lacking: "db/CURRENT") }
        return ready ? .ready(identity) : .unfinished(identity)
    }

    /// Takes a folder for this process. All checks come before the first write. `create`: make the folder
    /// where there is none. `joinedName`: what is noted in a new one.
    package static func open(
        _ path: String, cluster: ClusterID, node: NodeID, ringSize: RingSize, joinedName: String? = nil, create: Bool
    ) throws(StoreError) -> DataFolder {
        let path = normalized(path)
        _ = try check(path, cluster: cluster, node: node, ringSize: ringSize, create: create)
        try Files.makeFolder(path)
        let lock = try takeLock(path)
        do throws(StoreError) {
            // Again, now that nobody else can change it.
            switch try check(path, cluster: cluster, node: node, ringSize: ringSize, create: create) {
            case .ready(let identity):
                return DataFolder(path: path, identity: identity, isNew: false, lock: lock)
            case .unfinished(let identity):
                return DataFolder(path: path, identity: identity, isNew: true, lock: lock)
            case .vacant:
                var generator = SystemRandomNumberGenerator()
                let identity = StoreIdentity(
                    cluster: cluster, node: node, store: StoreID(rawValue: generator.next()), ringSize: ringSize,
                    joinedName: joinedName)
                try Files.replace(path + "/IDENTITY", with: encode(identity, ready: false))
                try Files.syncFolder(of: path)
                return DataFolder(path: path, identity: identity, isNew: true, lock: lock)
            }
        } catch {
            unlock(lock)
            throw error
        }
    }

    /// Takes a folder to mend it: of its parts only IDENTITY must be there, and say that the folder was ready once.
    package static func hold(_ path: String) throws(StoreError) -> DataFolder {
        let path = normalized(path)
        _ = try identity(of: path)
        let lock = try takeLock(path)
        do throws(StoreError) {
            return DataFolder(path: path, identity: try identity(of: path), isNew: false, lock: lock)
        } catch {
            unlock(lock)
            throw error
        }
    }

    /// A folder that is being made, with its IDENTITY, beside the one that the caller holds.
    static func beside(_ path: String) throws(StoreError) -> DataFolder {
        DataFolder(path: path, identity: try identity(of: path), isNew: false, lock: -1)
    }

    /// Whose data a folder holds, whatever else of it is missing.
    package static func identity(of path: String) throws(StoreError) -> StoreIdentity {
        let path = normalized(path)
        guard Files.exists(path + "/IDENTITY") else {
            switch try peek(path) {
            case .vacant, .unfinished, .ready: throw .missing(path: path)
            }
        }
        let (identity, ready) = try decode(try Files.read(path + "/IDENTITY", limit: 4096), path: path)
        guard ready else {
            throw .halfMade(path: path, lacking: "a database (nothing was ever served from it: start its node again)")
        }
        return identity
    }

    /// The database stands: from now on a folder without it is an error.
    func markReady() throws(StoreError) {
        try Files.replace(path + "/IDENTITY", with: Self.encode(identity, ready: true))
    }

    /// Before a family is made anew for the first time.
    func noteCopies() throws(StoreError) {
        guard !hasCopies.load(ordering: .acquiring) else { return }
        var identity = identity
        identity.hasCopies = true
        try Files.replace(path + "/IDENTITY", with: Self.encode(identity, ready: true))
        hasCopies.store(true, ordering: .releasing)
    }

    /// Of a clone: nothing is served from it any more, and what it holds can be read and exported.
    package func retire() throws(StoreError) {
        var identity = identity
        identity.isBackup = true
        try Files.replace(path + "/IDENTITY", with: Self.encode(identity, ready: true))
        try Files.syncFolder(path)
    }

    /// Moves the folder beside itself. The lock goes with it.
    package func move(to target: String) throws(StoreError) {
        guard !Files.exists(target) else {
            throw .unexpected(operation: "move \(path)", detail: "\(target) exists: move it away")
        }
        try Files.move(path, to: target)
    }

    /// Says in a folder whose database stands whose it is: of a copy that is made file by file.
    static func label(_ path: String, _ identity: StoreIdentity) throws(StoreError) {
        try Files.replace(path + "/IDENTITY", with: encode(identity, ready: true))
    }

    private static func check(
        _ path: String, cluster: ClusterID, node: NodeID, ringSize: RingSize, create: Bool
    ) throws(StoreError) -> FolderState {
        let state = try peek(path)
        switch state {
        case .vacant:
            guard create else { throw .missing(path: path) }
        case .unfinished(let found), .ready(let found):
            if found.isBackup { throw .isBackup(path: path) }
            guard found.cluster == cluster else {
                throw .foreignCluster(path: path, found: found.cluster, expected: cluster)
            }
            guard found.node == node else { throw .foreignNode(path: path, found: found.node, expected: node) }
            guard found.ringSize == ringSize else {
                throw .differentRingSize(
                    path: path, found: found.ringSize.partitions, expected: ringSize.partitions)
            }
        }
        return state
    }

    private static func takeLock(_ path: String) throws(StoreError) -> Int32 {
        let lockPath = path + "/LOCK"
        let file = Glibc.open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw Files.failure("open", lockPath) }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(file)
            guard code == EWOULDBLOCK else { throw Files.failure("lock", lockPath, code) }
            let text = String(decoding: (try? Files.read(lockPath, limit: 32)) ?? [], as: UTF8.self)
            throw .heldByAnotherProcess(path: path, processID: Int32(text.prefix { $0.isNumber }))
        }
        // For people and for the error above; the lock itself does not depend on it.
        let text = Array("\(getpid())\n".utf8)
        if ftruncate(file, 0) == 0 { _ = pwrite(file, text, text.count, 0) }
        return file
    }

    /// The process that holds a folder, as the system's list of locks has it: to ask by trying would lock others out. nil: none.
    package static func holder(of path: String) throws(StoreError) -> Int32? {
        var status = stat()
        guard stat(normalized(path) + "/LOCK", &status) == 0 else { return nil }
        // Disks that were made alike have files of the same number: what the file says of its holder tells them apart, as the
        // device does, where the list has the one that `stat` has.
        let noted = String(decoding: (try? Files.read(normalized(path) + "/LOCK", limit: 32)) ?? [], as: UTF8.self)
        // Major and minor number, as glibc's gnu_dev_major takes them apart.
        let number = UInt64(status.st_dev)
        let parts = [number >> 8 & 0xfff | number >> 32 & ~0xfff, number & 0xff | number >> 12 & ~0xff]
        let device = parts.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        let text = String(decoding: try Files.read("/proc/locks", limit: 4 << 20), as: UTF8.self)
        for line in text.split(separator: "\n") {
            // 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK" else { continue }
            let file = fields[5].split(separator: ":").map(String.init)
            guard file.count == 3, UInt64(file[2]) == UInt64(status.st_ino),
                Array(file.prefix(2)) == device || noted.prefix(while: \.isNumber) == fields[4]
            else { continue }
            return Int32(fields[4])
        }
        return nil
    }

    /// The lock belongs to the open file, which a child process shares from its fork to its exec: closing it here
    /// alone would leave the folder locked for as long as that takes.
    private static func unlock(_ file: Int32) {
        flock(file, LOCK_UN)
        close(file)
    }

    package static func normalized(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }
}

// MARK: The identity file

extension DataFolder {
    private static let checksumSeed: UInt64 = 0x746f_7263_2d69_6400

    private static func encode(_ identity: StoreIdentity, ready: Bool) -> [UInt8] {
        let number = identity.hasCopies ? format : identity.joinedName == nil ? declaredFormat : joinedFormat
        let joined = number == declaredFormat ? "" : "\njoined \(identity.joinedName ?? "")"
        let text = """
            torc-data \(number)
            cluster \(identity.cluster)
            node \(identity.node)
            store \(identity.store)
            ring \(identity.ringSize.partitions)
            state \(identity.isBackup ? "backup" : ready ? "ready" : "creating")\(joined)

            """
        return Array((text + "checksum \(hexadecimal(checksum(text)))\n").utf8)
    }

    private static func checksum(_ text: String) -> UInt64 {
        Array(text.utf8).withUnsafeBytes { xxh3($0, seed: checksumSeed) }
    }

    private static func decode(_ bytes: [UInt8], path: String) throws(StoreError) -> (StoreIdentity, Bool) {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        func field(_ index: Int, _ name: String) throws(StoreError) -> Substring {
            guard index < lines.count, lines[index].hasPrefix(name + " ") else {
                throw .damagedIdentity(path: path, reason: "line \(index + 1) is not '\(name) …'")
            }
            return lines[index].dropFirst(name.count + 1)
        }
        guard let found = Int(try field(0, "torc-data")) else {
            throw .damagedIdentity(path: path, reason: "no format number")
        }
        // The rest of a newer format is not for this build to judge.
        guard found <= format else { throw .newerFormat(path: path, found: found, supported: format) }
        let fields = found == declaredFormat ? 6 : 7
        let covered = lines.prefix(fields).joined(separator: "\n") + "\n"
        guard UInt64(try field(fields, "checksum"), radix: 16) == checksum(covered) else {
            throw .damagedIdentity(path: path, reason: "the checksum does not match")
        }
        guard let cluster = UInt64(try field(1, "cluster"), radix: 16),
            let node = UInt64(try field(2, "node"), radix: 16),
            let store = UInt64(try field(3, "store"), radix: 16),
            let partitions = Int(try field(4, "ring")), let ringSize = RingSize(partitions: partitions)
        else { throw .damagedIdentity(path: path, reason: "a field is not a number") }
        let state = try field(5, "state")
        guard ["ready", "creating", "backup"].contains(state) else {
            throw .damagedIdentity(path: path, reason: "unknown state '\(state)'")
        }
        let joined = found == declaredFormat ? "" : String(try field(6, "joined"))
        var identity = StoreIdentity(
            cluster: ClusterID(rawValue: cluster), node: NodeID(rawValue: node), store: StoreID(rawValue: store),
            ringSize: ringSize, joinedName: joined.isEmpty ? nil : joined)
        identity.hasCopies = found == format
        identity.isBackup = state == "backup"
        return (identity, state != "creating")
    }
}
