import Foundation
import Testing
import TorcModel
import TorcReplication
import TorcServer
import TorcStorage

@Suite struct ConfigurationTests {
    static let minimum = ["--node-name", "n1", "--data-folder", "/tmp/n1", "--cluster-key", "0123456789abcdef"]

    private func withFile<R>(_ content: String, suffix: String = "yaml", _ body: (String) async throws -> R)
        async throws -> R
    {
        let path = NSTemporaryDirectory() + "torc-\(UUID().uuidString).\(suffix)"
        try content.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }

    private func problems(
        _ content: String, suffix: String = "yaml", environment: [String: String] = [:], flags: [String] = minimum
    ) async throws -> [String] {
        try await withFile(content, suffix: suffix) { path in
            do {
                _ = try ServerConfiguration(
                    await ConfigurationSource.load(file: path, environment: environment, flags: flags))
                return []
            } catch let error as ConfigurationError {
                return error.problems.map { $0.replacingOccurrences(of: path, with: "FILE") }
            }
        }
    }

    @Test func flagsGoBeforeEnvironmentBeforeFileBeforeStandard() async throws {
        let file = """
            # a node
            request:
              timeout-ms: 1
            limits:
              siblings: 11
              object-bytes: 111   # small
            """
        try await withFile(file) { path in
            let values = try await ConfigurationSource.load(
                file: path, environment: ["TORC_REQUEST_TIMEOUT_MS": "2", "TORC_LIMITS_SIBLINGS": "22", "HOME": "/"],
                flags: Self.minimum + ["--request-timeout-ms=3"])
            let configuration = try ServerConfiguration(values)
            #expect(configuration.requestTimeout == .milliseconds(3))
            #expect(configuration.limits.siblings == 22)
            #expect(configuration.limits.objectBytes == 111)
            #expect(configuration.limits.siblingBytes == 8 << 20)

            let rows = values.table().split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
            func row(_ key: String) -> [String]? { rows.first { $0.first == key } }
            #expect(row("request.timeout-ms") == ["request.timeout-ms", "3", "--request-timeout-ms"])
            #expect(row("limits.siblings") == ["limits.siblings", "22", "TORC_LIMITS_SIBLINGS"])
            #expect(row("limits.object-bytes") == ["limits.object-bytes", "111", "\(path):6"])
            #expect(row("limits.sibling-bytes") == ["limits.sibling-bytes", "8388608", "standard"])
            #expect(row("cluster.key") == ["cluster.key", "(hidden)", "--cluster-key"])
            #expect(!values.table().contains("0123456789abcdef"))
        }
    }

    @Test func aWholeFileInYAMLAndInJSONSaysTheSame() async throws {
        let yaml = """
            node:
              name: n2
            data-folder: /tmp/n2
            cluster:
              name: test
              key: "a secret: of # many bytes"
              partitions: 16
              members:
                - n1=127.0.0.1:1001
                - n2=[::1]:1003
            durability: { }
            """.replacingOccurrences(of: "durability: { }", with: "durability:\n  mode: buffered\n  interval-ms: 50")
        let json = """
            {"node": {"name": "n2"}, "data-folder": "/tmp/n2",
             "cluster": {"name": "test", "key": "a secret: of # many bytes", "partitions": 16,
               "members": ["n1=127.0.0.1:1001", "n2=[::1]:1003"]},
             "durability": {"mode": "buffered", "interval-ms": 50}}
            """
        for (text, suffix) in [(yaml, "yaml"), (json, "json")] {
            let configuration = try await withFile(text, suffix: suffix) { path in
                try ServerConfiguration(await ConfigurationSource.load(file: path, environment: [:], flags: []))
            }
            #expect(configuration.nodeName == "n2")
            #expect(configuration.members.map(\.name) == ["n1", "n2"])
            #expect(configuration.members[1].node == configuration.node)
            #expect(configuration.members.map(\.address.description) == ["127.0.0.1:1001", "[::1]:1003"])
            #expect(configuration.ringSize.partitions == 16)
            #expect(configuration.durability == .buffered(interval: .milliseconds(50)))
        }
    }

    @Test func unknownKeysNameTheirLineAndWhatWasMeant() async throws {
        #expect(
            try await problems("node:\n  nmae: x\n\nlisten:\n  pb: 127.0.0.1:1\n") == [
                "FILE:2: node.nmae is no setting; did you mean node.name?"
            ])
        #expect(
            try await problems("{\n\"log\":\n {\"levle\": \"info\"}}", suffix: "json") == [
                "FILE:3: log.levle is no setting; did you mean log.level?"
            ])
        #expect(
            try await problems("", environment: ["TORC_LOG_LEVLE": "info", "TORC_BIN": "x"]) == [
                "the environment's TORC_LOG_LEVLE is no setting; did you mean TORC_LOG_LEVEL?"
            ])
        #expect(
            try await problems("", flags: Self.minimum + ["--log-levle", "info"]) == [
                "--log-levle is no setting; did you mean --log-level?"
            ])
    }

    @Test func badValuesNameTheirPlaceAndWhatIsValid() async throws {
        #expect(
            try await problems("request:\n  timeout-ms: soon\ncluster:\n  partitions: 65\nlog:\n  level: loud\n") == [
                "FILE:4: cluster.partitions: \"65\" is not a power of two from 8 to 16384",
                "FILE:2: request.timeout-ms: \"soon\" is not a whole number of milliseconds from 1 to 3600000",
                "FILE:6: log.level: \"loud\" is not trace or debug or info or notice or warning or error or critical",
            ])
        #expect(
            try await problems("", environment: ["TORC_LIMITS_SIBLINGS": "0"]) == [
                "TORC_LIMITS_SIBLINGS: limits.siblings: \"0\" is not a whole number from 1 to 10000"
            ])
        #expect(
            try await problems("listen:\n  pb: nowhere\n") == [
                "FILE:2: listen.pb: \"nowhere\" is not an address such as 127.0.0.1:8087 or [::1]:8087"
            ])
    }

    @Test(arguments: [
        ("node:\n  name: a\n  name: b\n", 3, "node.name is given twice"),
        ("node: {name: a}\n", 1, "write one `key: value` a line"),
        ("node\n", 1, "expected `key: value`"),
        ("\tnode: a\n", 1, "a tab; indent with spaces"),
        ("  node: a\n", 1, "indented without a section above it"),
        ("- a\n", 1, "a list item without a key"),
    ])
    func yamlThatTheScanDoesNotFollowIsRefused(text: String, line: Int, message: String) async throws {
        #expect(try await problems(text) == ["FILE:\(line): \(message)"])
    }

    @Test func anAddressThatOthersReachNeedsInsecure() async throws {
        let open = Self.minimum + ["--listen-http", "0.0.0.0:8098"]
        let found = try await problems("", flags: open)
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("--listen-http: listen.http: 0.0.0.0:8098 can be reached") == true)
        #expect(try await problems("", flags: open + ["--insecure"]) == [])
    }

    @Test func theKeyFileMustBePrivate() async throws {
        try await withFile("  0123456789abcdef\n", suffix: "key") { path in
            let flags = ["--node-name", "n1", "--data-folder", "/tmp/n1", "--cluster-key-file", path]
            chmod(path, 0o644)
            let found = try await problems("", flags: flags)
            #expect(found == ["--cluster-key-file: cluster.key-file: others may read \(path); chmod 600 \(path)"])
            chmod(path, 0o600)
            #expect(try await problems("", flags: flags) == [])
        }
    }

    @Test func everythingThatIsMissingIsSaidAtOnce() async throws {
        let found = try await problems("", flags: [])
        #expect(found.count == 3)
        #expect(found[0].hasPrefix("node.name is not set"))
        #expect(found[1].hasPrefix("data-folder is not set"))
        #expect(found[2].hasPrefix("the cluster has no key"))
    }
}
