// Repair, for people: `POST /admin/repair` compares this node's replicas with all co-owners' and answers when
// that is done (`?wait=false`: when it has begun; `?partition=P`: of one partition). `GET /admin/repair` shows
// how far the rounds that this node begins have come.

import Hummingbird
import HummingbirdCore
import NIOCore
import Synchronization
import TorcModel
import TorcReplication

final class RepairEndpoint: Sendable {
    static let path = "/admin/repair"
    /// The upper bits of its requests' numbers, which no gateway uses: it is no loop's.
    private static let requestBits: UInt64 = 0xff << 56

    private let loops: NodeLoops
    private let directory: ClusterDirectory
    private let lastRequest = Mutex<UInt64>(0)

    init(loops: NodeLoops, directory: ClusterDirectory) {
        self.loops = loops
        self.directory = directory
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async -> Response? {
        guard request.uri.path == Self.path else { return nil }
        switch request.method {
        case .get, .head: return Self.json(.ok, await status())
        case .post:
            var partition: PartitionID?
            if let text = request.uri.queryParameters["partition"] {
                guard let number = UInt16(text), loops.ringSize.contains(PartitionID(rawValue: number)) else {
                    return Self.json(.badRequest, "{\"error\":\"there is no such partition\"}\n")
                }
                partition = PartitionID(rawValue: number)
            }
            return Self.json(
                .ok, await repair(partition, waits: request.uri.queryParameters["wait"] != "false"))
        default: return Self.json(.methodNotAllowed, "{\"error\":\"GET or POST\"}\n")
        }
    }

    private static func json(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    // MARK: Asking for repair

    private func repair(_ partition: PartitionID?, waits: Bool) async -> String {
        let lanes = loops.lanes.filter { lane in
            partition.map { LaneConfiguration.lane(of: $0, laneCount: loops.lanes.count) == lane.index } ?? true
        }
        guard waits else {
            for lane in lanes { begin(on: lane, partition) { _ in } }
            return "{\"begun\":true}\n"
        }
        let reports = await withTaskGroup(of: RepairReport.self) { group in
            for lane in lanes {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        self.begin(on: lane, partition) { continuation.resume(returning: $0) }
                    }
                }
            }
            return await group.reduce(into: RepairReport()) { total, report in
                total.pairs += report.pairs
                total.compared += report.compared
                total.differing += report.differing
            }
        }
        return "{\"pairs\":\(reports.pairs),\"compared\":\(reports.compared),\"differing_keys\":\(reports.differing)}\n"
    }

    private func begin(
        on lane: LaneDriver, _ partition: PartitionID?, _ receiver: @escaping @Sendable (RepairReport) -> Void
    ) {
        let number = lastRequest.withLock { last in
            last += 1
            return last
        }
        let id = RequestID(rawValue: Self.requestBits | UInt64(lane.index) << 48 | number & 0xffff_ffff_ffff)
        lane.eventLoop.execute { lane.repair(id, partition, receiver: receiver) }
    }

    // MARK: Status

    private func status() async -> String {
        var rows: [RepairStatus] = []
        var statistics = RepairStatistics()
        for lane in loops.lanes {
            guard let shown = try? await lane.eventLoop.submit({ (lane.repairStatus, lane.repairStatistics) }).get()
            else { continue }
            rows += shown.0
            statistics.add(shown.1)
        }
        rows.sort { $0.pair < $1.pair }
        let pairs = rows.map { row in
            let peer = LineLogHandler.jsonString(directory.name(of: row.pair.peer))
            let last = row.lastCompleted.map { "\($0.microseconds / 1_000_000)" } ?? "null"
            return "{\"partition\":\(row.pair.tree.partition.rawValue),\"n\":\(row.pair.tree.copies),\"peer\":\(peer),"
                + "\"rounds\":\(row.rounds),\"last_completed\":\(last),\"last_differing_keys\":\(row.lastDiffering),"
                + "\"failures\":\(row.failures)}"
        }
        return "{\"totals\":\(statistics.json),\"pairs\":[\(pairs.joined(separator: ","))]}\n"
    }
}

extension RepairStatistics {
    mutating func add(_ other: RepairStatistics) {
        exchanges += other.exchanges
        failedExchanges += other.failedExchanges
        differingKeys += other.differingKeys
        fetchedObjects += other.fetchedObjects
        pushedObjects += other.pushedObjects
        failedKeys += other.failedKeys
        objectBytes += other.objectBytes
        scannedBytes += other.scannedBytes
    }

    var json: String {
        "{\"exchanges\":\(exchanges),\"failed_exchanges\":\(failedExchanges),\"differing_keys\":\(differingKeys),"
            + "\"fetched_objects\":\(fetchedObjects),\"pushed_objects\":\(pushedObjects),\"failed_keys\":\(failedKeys),"
            + "\"object_bytes\":\(objectBytes),\"scanned_bytes\":\(scannedBytes)}"
    }
}
