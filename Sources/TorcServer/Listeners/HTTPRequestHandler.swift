// One HTTP request from its head to its answer.

import Hummingbird
import NIOCore
import TorcModel
import TorcReplication
import TorcWire

final class HTTPRequestHandler: Sendable {
    private let gateways: [ClientGateway]
    private let statistics: NodeStatistics
    private let clusterKey: ClusterKey
    private let objectBytes: Int

    init(gateways: [ClientGateway], statistics: NodeStatistics, clusterKey: ClusterKey, objectBytes: Int) {
        self.gateways = gateways
        self.statistics = statistics
        self.clusterKey = clusterKey
        self.objectBytes = objectBytes
    }

    func respond(to request: Request, channel: any Channel) async -> Response {
        switch request.uri.path {
        case "/ping": Self.text(.ok, "OK")
        case "/stats":
            Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: await statistics.collect().json())))
        default: Self.text(.notFound, "not found\n")
        }
    }

    private static func text(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: "text/plain"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
