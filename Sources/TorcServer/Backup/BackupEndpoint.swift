// A node's part of a backup, for `torc backup create`, which asks all members for each step before it goes on to the next:
//
//   POST hold?token=T&seconds=S     nothing goes that another node's copy may still need: no hint, no tombstone, nothing that
//                                   has expired. Ends by itself, so that an operator who dies holds nothing up
//   POST stage?token=T              a copy of the store, in the data folder, by hard links
//   POST release?token=T            the end of the hold; says whether it was held all the time
//   POST collect?token=T&id=ID&to=DIR&rate=B   what was staged becomes DIR/ID/NAME
//   POST abandon?token=T            what was staged is removed
//   GET  /admin/backup              how far it is
//
// All under /admin/backup/. A node takes part in one backup at a time; one that was broken off gives way to the next.

import Foundation
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TorcModel
import TorcReplication
import TorcStorage

final class BackupEndpoint: Sendable {
    static let path = "/admin/backup"
    static let longestHold = 600
    /// For the lanes to have heard of it.
    private static let holdPatience = Duration.seconds(10)
    private static let standardRate = 64 << 20
    /// What was staged and is not collected within this holds on to tables that the store is done with: it is removed.
    private static let stagePatience = Duration.seconds(longestHold + 600)

    private enum Failure: Error {
        case refused(String)
        case senseless(String)
    }

    private struct Present {
        var token = ""
        /// Zero: released, or never held.
        var heldUntil = MonotonicTime.zero
        var staged: (copy: StagedBackup, state: ClusterState)?
        /// Something of it is under way on another thread.
        var isBusy = false
    }

    private let configuration: ServerConfiguration
    private let cluster: ClusterID
    private let incarnation: Incarnation
    private let loops: NodeLoops
    private let directory: ClusterDirectory
    private let store: NodeStore
    private let threads: NIOThreadPool
    private let logger: Logger
    private let present = Mutex(Present())
    private let collectedBytes = Atomic<UInt64>(0)

    init(
        configuration: ServerConfiguration, identity: (cluster: ClusterID, incarnation: Incarnation), loops: NodeLoops,
        directory: ClusterDirectory, store: NodeStore, threads: NIOThreadPool, logger: Logger
    ) {
        self.configuration = configuration
        cluster = identity.cluster
        incarnation = identity.incarnation
        self.loops = loops
        self.directory = directory
        self.store = store
        self.threads = threads
        self.logger = logger
        // Of a run that was killed.
        threads.submit { state in
            if case .active = state { try? store.removeStagedBackups() }
        }
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async -> Response? {
        let parts = request.uri.path.dropFirst(Self.path.count)
        guard request.uri.path.hasPrefix(Self.path), parts.isEmpty || parts.first == "/" else { return nil }
        let parameters = Dictionary(
            request.uri.queryParameters.map { (String($0.key), String($0.value)) }, uniquingKeysWith: { $1 })
        do {
            switch (request.method, String(parts.dropFirst())) {
            case (.get, ""): return Self.json(progress())
            case (.post, "hold"): return try await Self.json(hold(Self.token(parameters), parameters["seconds"]))
            case (.post, "stage"): return try await Self.json(stage(Self.token(parameters)))
            case (.post, "release"): return try Self.json(release(Self.token(parameters)))
            case (.post, "collect"): return try await Self.json(collect(Self.token(parameters), parameters))
            case (.post, "abandon"): return try await Self.json(abandon(Self.token(parameters)))
            default: throw Failure.senseless("there is no \(request.method) \(request.uri.path)")
            }
        } catch Failure.refused(let text) {
            return Self.json(AdminError(error: text), .conflict)
        } catch Failure.senseless(let text) {
            return Self.json(AdminError(error: text), .badRequest)
        } catch {
            logger.error("a backup failed", metadata: ["error": "\(error)"])
            return Self.json(AdminError(error: "\(error)"), .internalServerError)
        }
    }

    private static func json(_ value: some Encodable, _ status: HTTPResponse.Status = .ok) -> Response {
        var body = ByteBuffer(bytes: AdminJSON.encode(value))
        body.writeString("\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }

    private static func token(_ parameters: [String: String]) throws -> String {
        guard let token = parameters["token"], BackupFormat.isPlain(token) else {
            throw Failure.senseless("the token of a backup is missing, or is no plain name")
        }
        return token
    }

    // MARK: One time for all

    private func hold(_ token: String, _ text: String?) async throws -> BackupHoldReport {
        guard let seconds = Int(text ?? "60"), (1...Self.longestHold).contains(seconds) else {
            throw Failure.senseless("a backup holds a node from 1 to \(Self.longestHold) seconds")
        }
        let now = NodeClock.monotonic()
        let until = now.advanced(by: .seconds(seconds))
        try present.withLock { present in
            guard !present.isBusy, present.token == token || present.heldUntil <= now else {
                throw Failure.refused(
                    "another backup is being made of this node. If nobody makes one any more, it gives way within "
                        + "\(Self.longestHold) seconds")
            }
            present = Present(token: token, heldUntil: until, isBusy: true)
        }
        defer { present.withLock { $0.isBusy = false } }
        let store = store
        try await threads.runIfActive { try store.removeStagedBackups() }
        tellLanes(until)
        let end = ContinuousClock.now + Self.holdPatience
        for lane in loops.lanes {
            while try await lane.eventLoop.submit({ lane.removalsHeldUntil }).get() != until {
                guard ContinuousClock.now < end else {
                    throw Failure.refused("this node is too busy to begin a backup: try again")
                }
                try await Task.sleep(for: .milliseconds(2))
            }
        }
        let state = directory.state
        return BackupHoldReport(
            name: configuration.nodeName, node: "\(configuration.node)", cluster: "\(cluster)",
            clusterName: configuration.clusterName, ringSize: state.ring.size.partitions, epoch: state.ring.epoch,
            fingerprint: "\(state.version.fingerprint)", phase: "\(state.transition?.phase ?? .settled)",
            members: state.participants.map { directory.name(of: $0.node) }.sorted())
    }

    private func tellLanes(_ time: MonotonicTime) {
        for lane in loops.lanes { lane.send(.holdRemovals(until: time)) }
    }

    /// Runs something of a backup that this node takes part in, one thing at a time.
    private func exclusively<Result: Sendable>(
        _ token: String, _ body: (Present) async throws -> Result
    ) async throws -> Result {
        let now = try present.withLock { present in
            guard present.token == token else {
                throw Failure.refused(
                    "this node knows nothing of this backup: another one has begun, or it was restarted")
            }
            guard !present.isBusy else { throw Failure.refused("this node is busy with this backup") }
            present.isBusy = true
            return present
        }
        defer { present.withLock { $0.isBusy = false } }
        return try await body(now)
    }

    private func stage(_ token: String) async throws -> BackupStageReport {
        try await exclusively(token) { present in
            guard present.heldUntil > NodeClock.monotonic() else {
                throw Failure.refused("the time is over for which this node could be held: try again")
            }
            let store = store
            let state = directory.state
            guard state.transition == nil else { throw Failure.refused("copies move") }
            let copy: StagedBackup
            do {
                copy = try await threads.runIfActive { try store.stageBackup(token) }
            } catch BackupError.refused(let text) {
                throw Failure.refused(text)
            }
            self.present.withLock { $0.staged = (copy, state) }
            Task { [weak self] in
                try? await Task.sleep(for: Self.stagePatience)
                await self?.giveUp(token)
            }
            return BackupStageReport(
                sequence: copy.sequence, time: copy.time, fingerprint: "\(directory.state.version.fingerprint)")
        }
    }

    /// Nobody has come for what was staged: the command was killed, or its machine.
    private func giveUp(_ token: String) async {
        guard present.withLock({ $0.token == token && $0.staged != nil && !$0.isBusy }) else { return }
        logger.warning("a backup was begun and never collected: what was staged of it is removed")
        _ = try? await abandon(token)
    }

    private func release(_ token: String) throws -> BackupReleaseReport {
        let wasHeld = try present.withLock { present in
            guard present.token == token else { throw Failure.refused("this node knows nothing of this backup") }
            let wasHeld = present.heldUntil > NodeClock.monotonic()
            present.heldUntil = .zero
            // Before another backup can hold them.
            tellLanes(.zero)
            return wasHeld
        }
        return BackupReleaseReport(wasHeld: wasHeld)
    }

    // MARK: At leisure

    private func collect(_ token: String, _ parameters: [String: String]) async throws -> BackupCollectReport {
        guard let id = parameters["id"], BackupFormat.isPlain(id) else {
            throw Failure.senseless("the name of the backup is missing")
        }
        guard let target = parameters["to"], target.hasPrefix("/") else {
            throw Failure.senseless("where the backup goes is no absolute path")
        }
        guard let rate = Int(parameters["rate"] ?? "\(Self.standardRate)"), rate >= 0 else {
            throw Failure.senseless("the rate is no number of bytes")
        }
        return try await exclusively(token) { present in
            guard let staged = present.staged else { throw Failure.refused("nothing was staged of this node") }
            var state = ByteBuffer()
            staged.state.encode(into: &state)
            let draft = NodeBackupManifest(
                backup: id, cluster: "\(cluster)", clusterName: configuration.clusterName, name: configuration.nodeName,
                identity: store.identity, incarnation: "\(incarnation)", ringEpoch: staged.state.ring.epoch,
                ring: Data(state.readableBytesView).base64EncodedString(), time: staged.copy.time,
                sequence: staged.copy.sequence)
            collectedBytes.store(0, ordering: .relaxed)
            let made: CollectedBackup
            do {
                made = try await threads.runIfActive { [self] in
                    try NodeBackup.collect(staged.copy, into: target, draft, bytesPerSecond: rate) { bytes in
                        collectedBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
                        if store.stopsCopying.load(ordering: .relaxed) { throw BackupError.stopped }
                    }
                }
            } catch BackupError.refused(let text) {
                throw Failure.refused(text)
            }
            self.present.withLock { $0.staged = nil }
            logger.info(
                "a backup of this node was made",
                metadata: [
                    "backup": "\(id)", "bytes": "\(made.manifest.bytes)", "new bytes": "\(made.newBytes)",
                    "in": "\(target)",
                ])
            return BackupCollectReport(
                name: made.manifest.name, node: made.manifest.node, store: made.manifest.store,
                files: made.manifest.files.count, bytes: made.manifest.bytes, newBytes: made.newBytes,
                checksum: made.manifest.checksum)
        }
    }

    private func abandon(_ token: String) async throws -> BackupReleaseReport {
        let wasHeld = try release(token).wasHeld
        return try await exclusively(token) { _ in
            let store = store
            try await threads.runIfActive { try store.removeStagedBackups() }
            present.withLock { $0.staged = nil }
            return BackupReleaseReport(wasHeld: wasHeld)
        }
    }

    private func progress() -> BackupProgressReport {
        let state = present.withLock { present in
            if present.isBusy { return "busy" }
            if present.heldUntil > NodeClock.monotonic() { return "held" }
            return present.staged == nil ? "idle" : "staged"
        }
        return BackupProgressReport(state: state, bytes: collectedBytes.load(ordering: .relaxed))
    }
}
