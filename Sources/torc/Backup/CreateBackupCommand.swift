// `torc backup create`: asks every member for each step, and none for the next before all have taken the last.

import ArgumentParser
import Foundation
import TorcConsole
import TorcServer
import TorcStorage

struct CreateBackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Back up all nodes of a cluster while they serve.",
        discussion: """
            Examples:
              torc backup create --to /backups --nodes 127.0.0.1:8098,127.0.0.1:8108,127.0.0.1:8118
              torc backup create --to /backups --nodes 10.0.0.1:8098,10.0.0.2:8098 --rate 16

            --nodes are the HTTP addresses of all members; one that is missing is named. Each node writes its part to DIR/ID/NAME
            on its own machine, as itself; DIR/ID/cluster.json is written here. Where DIR is not shared, bring the parts
            together before they are verified or restored.

            Everything that was acknowledged before the command began is in the backup. Files that an earlier backup in DIR
            holds are linked to it; where DIR is on the node's own file system the others are linked to the node's own tables,
            which costs no space and is lost with the disk. Nothing is reaped, and no hint delivered, for the moments in which
            the copies are made. Ended at any point, it leaves nothing that counts; `list` names what is left.
            """)

    @Option(help: "The folder for backups, as every node knows it.") var to: String
    @Option(help: "HTTP addresses of all members, host:port separated by commas.") var nodes: String
    @Option(help: "MiB a second that each node reads at most to copy; 0: as many as it can.") var rate = 64
    @Option(help: "Seconds for which nodes hold back what they would remove, at most.") var hold = 60
    @Option(help: "Seconds that copying may take.") var timeout = 3600.0
    @Flag(help: "Print JSON, for programs.") var json = false

    private struct Answer: Encodable {
        var backup: String
        var path: String
        var nodes: Int
        var bytes: UInt64
        var newBytes: UInt64
    }

    func run() async throws {
        guard (1...600).contains(hold) else { throw ValidationError("--hold is from 1 to 600 seconds") }
        guard rate >= 0, rate <= 1 << 20 else { throw ValidationError("--rate is a number of MiB") }
        guard timeout > 0, timeout <= 86_400 else { throw ValidationError("--timeout is from 1 to 86400 seconds") }
        let addresses = nodes.split(separator: ",").map(String.init)
        guard !addresses.isEmpty, Set(addresses).count == addresses.count else {
            throw ValidationError("--nodes names no node, or one twice")
        }
        let folder = BackupText.folder(to)
        let began = UInt64(Date().timeIntervalSince1970 * 1_000_000)
        let random = String(UInt32.random(in: 0...0xffff), radix: 16)
        let id =
            BackupText.time(began).filter { $0 != "-" && $0 != ":" } + "-"
            + String(repeating: "0", count: 4 - random.count) + random
        let clients = addresses.map { AdminClient(http: $0, timeout: Double(hold) + 10) }
        do {
            let manifest = try await make(id, in: folder, of: clients, began: began)
            try manifest.finish(in: folder)
            let new = UInt64.sum(manifest.nodes.map(\.newBytes))
            if json {
                return try JSONLine.print(
                    Answer(
                        backup: id, path: "\(folder)/\(id)", nodes: manifest.nodes.count, bytes: manifest.bytes,
                        newBytes: new))
            }
            print(
                "\(id): \(manifest.nodes.count) nodes, \(TextTable.bytes(manifest.bytes)), "
                    + "\(TextTable.bytes(new)) of it new; in \(folder)/\(id)")
        } catch {
            // Whoever does not hear of it gives up by itself.
            for client in clients {
                _ = try? await AdminClient(http: client.http, timeout: 5).post("/admin/backup/abandon?token=\(id)")
            }
            BackupText.warn("no backup was made: \(error)")
            throw ExitCode.failure
        }
    }

    private func make(
        _ id: String, in folder: String, of clients: [AdminClient], began: UInt64
    ) async throws -> ClusterBackupManifest {
        let holds = try await Self.each(clients, "hold?token=\(id)&seconds=\(hold)", BackupHoldReport.self)
        try check(holds)
        let stages = try await Self.each(clients, "stage?token=\(id)", BackupStageReport.self)
        let releases = try await Self.each(clients, "release?token=\(id)", BackupReleaseReport.self)
        guard releases.allSatisfy(\.wasHeld) else {
            throw BackupError.refused("the nodes took longer than they could be held: try again with a larger --hold")
        }
        guard stages.allSatisfy({ $0.fingerprint == holds[0].fingerprint }) else {
            throw BackupError.refused("another ring was agreed on meanwhile: try again when nothing moves")
        }
        let parameters =
            "token=\(id)&id=\(id)&to=\(AdminOptions.escaped(folder))&rate=\(rate << 20)"
        let patient = clients.map { AdminClient(http: $0.http, timeout: timeout) }
        let watching = Task { await Self.watch(clients) }
        defer { watching.cancel() }
        let parts = try await Self.each(patient, "collect?\(parameters)", BackupCollectReport.self)
        return ClusterBackupManifest(
            backup: id, cluster: holds[0].cluster, clusterName: holds[0].clusterName, ringSize: holds[0].ringSize,
            ringEpoch: holds[0].epoch, ringFingerprint: holds[0].fingerprint, began: began,
            ended: stages.map(\.time).max() ?? began, nodes: parts.map(\.entry).sorted { $0.name < $1.name })
    }

    /// All members, and of one cluster that stands still.
    private func check(_ holds: [BackupHoldReport]) throws {
        let first = holds[0]
        guard holds.allSatisfy({ $0.cluster == first.cluster }) else {
            throw BackupError.refused("--nodes names nodes of different clusters")
        }
        guard holds.allSatisfy({ $0.phase == "settled" && $0.fingerprint == first.fingerprint }) else {
            throw BackupError.refused(
                "copies move, or not all have heard of the ring: wait for `torc cluster transfers --wait`")
        }
        let names = holds.map(\.name)
        guard Set(names).count == names.count else {
            throw BackupError.refused("--nodes names a node twice: \(names.sorted().joined(separator: ", "))")
        }
        let missing = first.members.filter { !names.contains($0) }
        guard missing.isEmpty else {
            throw BackupError.refused(
                "a backup is one of all members: add the HTTP address of \(missing.joined(separator: ", ")) to --nodes")
        }
        guard names.allSatisfy(first.members.contains) else {
            throw BackupError.refused("--nodes names a node that is no member")
        }
    }

    /// What every node answers, in their order. Asks all at once, and waits for all.
    private static func each<Report: Decodable & Sendable>(
        _ clients: [AdminClient], _ path: String, _ type: Report.Type
    ) async throws -> [Report] {
        let answers = await withTaskGroup(of: (Int, Result<Report, any Error>).self) { group in
            for (place, client) in clients.enumerated() {
                group.addTask {
                    do {
                        let body = try await client.post("/admin/backup/\(path)")
                        return (place, .success(try AdminJSON.decode(type, body)))
                    } catch {
                        return (place, .failure(error))
                    }
                }
            }
            return await group.reduce(into: [Int: Result<Report, any Error>]()) { $0[$1.0] = $1.1 }
        }
        return try clients.indices.map { try answers[$0]!.get() }
    }

    /// Shows how much has been collected, until it is cancelled.
    private static func watch(_ clients: [AdminClient]) async {
        let bar = ProgressBar("copying", total: 0, unit: TextTable.bytes)
        defer { bar.finish() }
        var shown: UInt64 = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            var sum: UInt64 = 0
            for client in clients {
                let body = try? await AdminClient(http: client.http, timeout: 5).get("/admin/backup")
                sum += body.flatMap { try? AdminJSON.decode(BackupProgressReport.self, $0) }?.bytes ?? 0
            }
            if sum > shown { bar.advance(by: sum - shown) }
            shown = max(shown, sum)
        }
    }
}
