// `torc serve`: from arguments to a running node and to its end. Everything that can go wrong before a node
// serves ends here as lines on the standard error and an exit code that a supervisor can tell apart.

import Glibc
import Logging
import ServiceLifecycle
import TorcModel
import TorcStorage
import UnixSignals

/// How `torc serve` ends; the numbers of sysexits.h.
package enum ServerExit: Int32, Sendable {
    case success = 0
    /// Trying again unchanged may help: an address in use, a folder that another process still holds.
    case tryAgain = 75
    /// The data folder, the log or the disk.
    case storage = 74
    case configuration = 78
    /// This node is alive elsewhere: one of the two must not run.
    case duplicateNode = 69
    /// This node was removed from the cluster, or replaced.
    case removed = 77
    case unexpected = 70
}

package enum Server {
    package static func run(
        file: String?, environment: [String: String], flags: [String], checkOnly: Bool
    ) async -> ServerExit {
        let configuration: ServerConfiguration
        do {
            let values = try await ConfigurationSource.load(file: file, environment: environment, flags: flags)
            if checkOnly { print(values.table()) }
            configuration = try ServerConfiguration(values)
        } catch {
            for problem in error.problems { LineLogHandler.toStandardError("torc: \(problem)\n") }
            return .configuration
        }
        if checkOnly { return .success }

        // A client that hangs up is no reason to die.
        signal(SIGPIPE, SIG_IGN)
        let level = configuration.logLevel
        let form: LineLogHandler.Form = configuration.logJSON ? .json : .text
        LoggingSystem.bootstrap { _ in LineLogHandler(level: level, form: form) }
        let logger = Logger(label: "torc")
        let service = NodeService(configuration: configuration, logger: logger)
        // The group would tell of every step; the node tells what matters.
        var quiet = logger
        quiet.logLevel = max(level, .warning)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(
                        service: service, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
        do {
            try await group.run()
            return .success
        } catch {
            let exit = Self.exit(for: error)
            logger.critical("the node ends", metadata: ["reason": "\(error)", "exit": "\(exit.rawValue)"])
            return exit
        }
    }

    private static func exit(for error: any Error) -> ServerExit {
        switch error {
        case let error as NodeStartError:
            switch error {
            case .aliveElsewhere: .duplicateNode
            case .removed: .removed
            case .address: .tryAgain
            case .ring, .joinRefused, .joinUnfinished: .configuration
            case .joinUnreachable: .tryAgain
            }
        case StoreError.heldByAnotherProcess: .tryAgain
        case is StoreError, is MalformedBytes: .storage
        default: .unexpected
        }
    }
}

/// Why a node does not start, beside what its store says.
package enum NodeStartError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Another process with this node's id is alive.
    case aliveElsewhere(address: String, detail: String)
    /// It was removed from the cluster, or replaced, says a member.
    case removed(address: String, detail: String)
    case address(HostAddress, what: String, detail: String)
    /// The declared members cannot form a ring.
    case ring(String)
    case joinRefused(String)
    case joinUnreachable(String)
    /// The folder was made for a node that joins, and holds no ring.
    case joinUnfinished(path: String)

    package var description: String {
        switch self {
        case .aliveElsewhere(let address, let detail):
            "this node is alive elsewhere: \(address) says \(detail). If this is a copy of its data folder, remove the "
                + "copy: a copy of a node can never serve beside it. Nothing was written"
        case .removed(let address, let detail): "\(address) says that \(detail). Nothing was written"
        case .address(let address, let what, let detail): "cannot listen on \(address) for \(what): \(detail)"
        case .joinRefused(let detail): "this node cannot join: \(detail)"
        case .joinUnreachable(let detail): "this node cannot ask to join: \(detail)"
        case .joinUnfinished(let path):
            "the join of this node was broken off before anything was served: remove \(path) and start it again with "
                + "--join, with the same token if that has not been committed"
        case .ring(let detail): "the members cannot form a ring: \(detail)"
        }
    }
}

/// The node as a service: started, run until it is told to stop, stopped in order.
struct NodeService: Service {
    let configuration: ServerConfiguration
    let logger: Logger

    func run() async throws {
        let node = try await Node.start(configuration, logger: logger)
        try? await gracefulShutdown()
        await node.stop()
    }
}
