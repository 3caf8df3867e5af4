import Foundation
import NIOCore
import Testing
import TorcClient
import TorcServer

/// The keys that clients ask for most, as `/admin/hotkeys` shows them.
@Suite(.serialized) struct HotKeyTests {
    @Test(.timeLimit(.minutes(10))) func aHotKeyIsShownByTheNodeThatIsAsked() async throws {
        try await TestCluster.with { cluster in
            let client = cluster.client(0)
            let hot = TorcKey("shop", "front page")
            try await client.put(ByteBuffer(string: "x"), to: hot)
            for number in 0..<300 {
                _ = try await client.get(hot)
                if number % 10 == 0 { try await client.put(ByteBuffer(string: "y"), to: TorcKey("shop", "\(number)")) }
            }
            let node = try #require(cluster.nodes[0])
            let port = node.httpAddress.port
            let answer = try await HTTPExchange.send("GET", "/admin/hotkeys?limit=2", port: port)
            #expect(answer.status == 200)
            let report = try AdminJSON.decode(HotKeysReport.self, Data(answer.body.utf8))
            #expect(report.name == "n1" && report.keys.count == 2, "\(answer.body)")
            let first = try #require(report.keys.first)
            #expect(first.bucket == "shop" && first.key == "front page" && first.type == "")
            #expect(first.share > 0.5 && first.share < 1, "\(first)")
            #expect(first.readsPerSecond > 100 * first.writesPerSecond && first.writesPerSecond > 0, "\(first)")
            #expect(first.errorPerSecond == 0)
            #expect(report.keys[1].share < 0.1)

            // Others have not been asked for it.
            let other = try #require(cluster.nodes[1])
            let elsewhere = try await HTTPExchange.send("GET", "/admin/hotkeys", port: other.httpAddress.port)
            #expect(!elsewhere.body.contains("front page"), "\(elsewhere.body)")

            for wrong in ["limit=0", "limit=x", "limit=1001"] {
                #expect(try await HTTPExchange.send("GET", "/admin/hotkeys?\(wrong)", port: port).status == 400)
            }
            #expect(try await HTTPExchange.send("POST", "/admin/hotkeys", port: port).status == 405)
        }
    }
}
