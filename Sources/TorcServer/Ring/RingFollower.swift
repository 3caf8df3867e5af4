// Brings a node in line with a ring that is durable here, one step after the other:
//
//   families of the partitions that it holds now ─► every lane: its store, then `.ringChanged` ─► peer links ─► what
//   people see
//
// Families first, because a lane that is told of a partition may be asked to write to it at once. Links last, because
// by those of nodes that are gone the last messages leave. Of rings that come meanwhile only the newest matters.

import Logging
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
import TorcStorage
import TorcWire

/// On the control loop.
final class RingFollower: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let loops: NodeLoops
    private let store: NodeStore
    private let links: [PeerLinks]
    private let directory: ClusterDirectory
    /// Families are made there: it takes a sync.
    private let threads: NIOThreadPool
    private let logger: Logger
    private var wanted: ClusterState?
    private var isBusy = false

    init(
        eventLoop: any EventLoop, loops: NodeLoops, store: NodeStore, links: [PeerLinks], directory: ClusterDirectory,
        threads: NIOThreadPool, logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.loops = loops
        self.store = store
        self.links = links
        self.directory = directory
        self.threads = threads
        self.logger = logger
    }

    func follow(_ state: ClusterState) {
        eventLoop.assertInEventLoop()
        wanted = state
        goOn()
    }

    private func goOn() {
        guard !isBusy, let state = wanted else { return }
        wanted = nil
        isBusy = true
        threads.submit { active in
            guard case .active = active else { return }
            let held = state.placement.partitionsHeld(by: self.loops.node)
            do {
                try self.store.addPartitions(held)
            } catch {
                NodeFailure.stop(self.logger, "the families of new partitions cannot be made", error)
            }
            self.eventLoop.execute { self.tell(state, held) }
        }
    }

    private func tell(_ state: ClusterState, _ held: [PartitionID]) {
        let told = loops.lanes.map { lane in
            lane.eventLoop.submit { lane.follow(state.placement, holding: held) }
        }
        EventLoopFuture.andAllComplete(told, on: eventLoop).whenComplete { _ in
            self.directory.install(state)
            let peers = self.directory.peers
            for link in self.links {
                link.eventLoop.execute {
                    link.setMembers(peers, fenced: Set(state.fenced), news: RingMessage(told: state))
                }
            }
            self.directory.tellRole(self.logger)
            self.isBusy = false
            self.goOn()
        }
    }
}

extension ClusterDirectory {
    /// To the log, when this node is no ordinary member.
    func tellRole(_ logger: Logger) {
        switch role {
        case .member: break
        case .leaving: logger.notice("this node leaves: it hands over what it holds; let it run until that is done")
        case .joining: logger.notice("this node is no member yet: it waits for its join to be committed")
        case .left: logger.notice("this node has left the cluster: it can be stopped, and its data folder removed")
        case .fenced:
            logger.critical(
                """
                this node was removed from the cluster, or replaced, and serves nobody: stop it; to use the machine \
                again, empty its data folder and have it join with a new token
                """)
        }
    }
}
