import Foundation
import Glibc
import StoreSupport
import Testing
import TorcModel
import TorcStorage

@Suite struct DataFolderTests {
    private let ringSize = RingSize(partitions: 8)!

    private func open(
        _ path: String, cluster: ClusterID = testCluster, node: NodeID = testNode, ring: Int = 8, create: Bool = true
    ) throws(StoreError) -> DataFolder {
        try DataFolder.open(path, cluster: cluster, node: node, ringSize: RingSize(partitions: ring)!, create: create)
    }

    private func error(_ body: () throws -> Void) -> StoreError? {
        do {
            try body()
            return nil
        } catch {
            return error as? StoreError
        }
    }

    /// Names, sizes and contents of everything in a folder.
    private func fingerprint(_ path: String) -> String {
        let output = path + ".fingerprint"
        shell("cd \(path) && (find . | sort; find . -type f | sort | xargs -r cksum) > \(output)")
        let file = fopen(output, "r")!
        defer {
            fclose(file)
            unlink(output)
        }
        var text = ""
        var line = [CChar](repeating: 0, count: 4096)
        while fgets(&line, 4096, file) != nil {
            text += line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        }
        return text
    }

    private func made(_ folder: TemporaryFolder) throws -> String {
        let path = folder.path + "/data"
        let harness = try Harness(path)
        try harness.put("k", "v")
        try harness.close()
        return path
    }

    /// The folder of a node that joined keeps the name, and an older build sees that it is of a newer format.
    @Test func ofANodeThatJoined() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        let made = try DataFolder.open(
            path, cluster: testCluster, node: testNode, ringSize: ringSize, joinedName: "node4", create: true)
        #expect(made.identity.joinedName == "node4")
        made.release()
        #expect(try DataFolder.peek(path) == .unfinished(made.identity))
        let again = try open(path)
        #expect(again.identity == made.identity)
        again.release()
        let text = try String(contentsOfFile: path + "/IDENTITY", encoding: .utf8)
        #expect(text.hasPrefix("torc-data 2\n") && text.contains("\njoined node4\nchecksum "))
        // Another name under the same checksum.
        let forged = text.replacing("node4", with: "node5")
        try forged.write(toFile: path + "/IDENTITY", atomically: true, encoding: .utf8)
        #expect(throws: StoreError.self) { try DataFolder.peek(path) }
    }

    @Test func whatBelongsToOthersIsRefusedUntouched() throws {
        let folder = TemporaryFolder()
        let path = try made(folder)
        let before = fingerprint(path)
        let other = ClusterID(rawValue: 0xbad)
        #expect(
            error { _ = try open(path, cluster: other) }
                == .foreignCluster(path: path, found: testCluster, expected: other))
        let node = NodeID(rawValue: 0xbad)
        #expect(
            error { _ = try open(path, node: node) } == .foreignNode(path: path, found: testNode, expected: node))
        #expect(
            error { _ = try open(path, ring: 16) } == .differentRingSize(path: path, found: 8, expected: 16))
        #expect(fingerprint(path) == before)
        guard case .ready(let identity) = try DataFolder.peek(path) else {
            Issue.record("not ready")
            return
        }
        #expect(identity.node == testNode && identity.cluster == testCluster)
        #expect(fingerprint(path) == before)
    }

    @Test func aFolderHasOneProcess() throws {
        let folder = TemporaryFolder()
        let path = try made(folder)
        let held = try open(path)
        let before = fingerprint(path)
        #expect(error { _ = try open(path) } == .heldByAnotherProcess(path: path, processID: getpid()))
        #expect(error { _ = try open(path) }?.description.contains("process \(getpid())") == true)
        #expect(fingerprint(path) == before)
        held.release()
        try open(path).release()
    }

    /// Between fork and exec a child has the lock's file open, whatever O_CLOEXEC says; so has a duplicate.
    @Test func aFolderThatIsLetGoIsFreeWhateverAChildHasOpen() throws {
        let folder = TemporaryFolder()
        let path = try made(folder)
        let held = try open(path)
        let child = try #require(duplicate(ofFile: path + "/LOCK"))
        defer { close(child) }
        #expect(error { _ = try open(path) } == .heldByAnotherProcess(path: path, processID: getpid()))
        held.release()
        try open(path).release()
    }

    /// Another descriptor of a file that this process has open: of the very same opening.
    private func duplicate(ofFile path: String) -> Int32? {
        var wanted = stat()
        guard stat(path, &wanted) == 0 else { return nil }
        for file in 0..<Int32(sysconf(Int32(_SC_OPEN_MAX))) {
            var found = stat()
            if fstat(file, &found) == 0, found.st_dev == wanted.st_dev, found.st_ino == wanted.st_ino {
                return dup(file)
            }
        }
        return nil
    }

    @Test func newerAndDamagedIdentitiesAreRefused() throws {
        let folder = TemporaryFolder()
        let path = try made(folder)
        shell("cp \(path)/IDENTITY \(folder.path)/good")
        shell("sed -i 's/torc-data 1/torc-data 4/' \(path)/IDENTITY")
        #expect(error { _ = try open(path) } == .newerFormat(path: path, found: 4, supported: 3))
        shell("sed 's/^ring 8/ring 16/' \(folder.path)/good > \(path)/IDENTITY")
        #expect(
            error { _ = try open(path) }
                == .damagedIdentity(path: path, reason: "the checksum does not match"))
        for length in stride(from: 0, to: 120, by: 7) {
            shell("head -c \(length) \(folder.path)/good > \(path)/IDENTITY")
            guard case .damagedIdentity = error({ _ = try open(path) }) else {
                Issue.record("an identity of \(length) bytes passed")
                continue
            }
        }
        shell("cp \(folder.path)/good \(path)/IDENTITY")
        try open(path).release()
    }

    @Test func halvesOfFoldersAreRefused() throws {
        let folder = TemporaryFolder()
        let path = try made(folder)
        shell("mv \(path)/IDENTITY \(folder.path)/kept")
        #expect(error { _ = try open(path) } == .halfMade(path: path, lacking: "IDENTITY"))
        shell("mv \(folder.path)/kept \(path)/IDENTITY; mv \(path)/db \(folder.path)/db")
        #expect(error { _ = try open(path) } == .halfMade(path: path, lacking: "db/CURRENT"))
        shell("mv \(folder.path)/db \(path)/db; mv \(path)/db/*.log \(folder.path)/")
        let lost = error { _ = try Harness(path) }
        #expect(lost == .halfMade(path: path, lacking: "db/*.log"))
    }

    @Test func foldersThatAreNotThere() throws {
        let folder = TemporaryFolder()
        let missing = folder.path + "/a/b"
        #expect(try DataFolder.peek(missing) == .vacant)
        #expect(error { _ = try open(missing, create: false) } == .missing(path: missing))
        #expect(access(folder.path + "/a", F_OK) != 0)
        shell("mkdir \(folder.path)/pictures; touch \(folder.path)/pictures/cat")
        #expect(
            error { _ = try open(folder.path + "/pictures") } == .notADataFolder(path: folder.path + "/pictures"))
    }

    /// A first start that was interrupted before the database stood.
    @Test func anUnfinishedFolderIsFinished() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        try open(path).release()
        guard case .unfinished = try DataFolder.peek(path) else {
            Issue.record("finished without a database")
            return
        }
        let harness = try Harness(path)
        #expect(harness.report.isNew)
        try harness.put("k", "v")
        try harness.close()
        guard case .ready = try DataFolder.peek(path) else {
            Issue.record("not ready")
            return
        }
    }
}
