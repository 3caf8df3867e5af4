// Looks every second at how much room the file system of the data folder has, and tells the lanes when that
// changes what they take (`DiskSpace`).

import Foundation
import Logging
import NIOPosix
import Synchronization
import TorcReplication

final class DiskWatch: Sendable {
    private static let interval = Duration.seconds(1)

    private let folder: String
    /// Bytes that stay free; 0: it is not looked at.
    private let reserve: UInt64
    private let loops: NodeLoops
    /// A file system that hangs must not hold a lane.
    private let threads: NIOThreadPool
    private let logger: Logger
    private let space = Mutex(DiskSpace.ample)

    init(folder: String, reserve: UInt64, loops: NodeLoops, threads: NIOThreadPool, logger: Logger) {
        self.folder = folder
        self.reserve = reserve
        self.loops = loops
        self.threads = threads
        self.logger = logger
    }

    /// Nil: it cannot be told.
    static func freeBytes(of folder: String) -> UInt64? {
        let attributes = try? FileManager.default.attributesOfFileSystem(forPath: folder)
        return (attributes?[.systemFreeSize] as? NSNumber)?.uint64Value
    }

    /// Until the task is cancelled.
    func run() async {
        guard reserve > 0 else { return }
        while !Task.isCancelled {
            await look()
            try? await Task.sleep(for: Self.interval)
        }
    }

    /// Before the node serves, too: a node that starts on a full disk takes nothing.
    func look() async {
        guard reserve > 0, let free = try? await threads.runIfActive({ Self.freeBytes(of: self.folder) }) else {
            return
        }
        let (before, after) = space.withLock { space in
            let before = space
            space = space.next(free: free, reserve: reserve)
            return (before, space)
        }
        guard before != after else { return }
        for lane in loops.lanes { lane.send(.diskSpace(after)) }
        let metadata: Logger.Metadata = ["free": "\(free)", "reserve": "\(reserve)", "folder": "\(folder)"]
        switch after {
        case .ample: logger.notice("the disk has space again: writes are taken", metadata: metadata)
        case .low:
            logger.warning(
                "the disk is nearly full: clients' writes are refused until space is freed; deletes and repair go on",
                metadata: metadata)
        case .exhausted:
            logger.error("the disk is full but for a rest: nothing is written until space is freed", metadata: metadata)
        }
    }
}
