// This repository keeps its own rules, and the checker of the rules notices when it does not: every rule is
// broken once in a small tree, and must be found, and alone.

import Foundation
import Testing

@Suite struct HouseTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test func theTreeKeepsTheRules() throws {
        let house = try House(at: Self.root)
        // Had nothing been read, nothing would be found.
        #expect(house.files.count > 50)
        #expect(house.swiftModules.isSuperset(of: ["TorcModel", "TorcReplication", "TorcServer", "torc"]))
        let findings = house.findings
        #expect(findings.isEmpty, "\(findings.map(\.description).joined(separator: "\n"))")
    }

    /// A tree that keeps every rule.
    static let sound: [String: String] = [
        "README.md":
            "# Fixture\n\nCode is in `Sources/`, see [the model](docs/MODEL.md#first-part) and `tools/go`; docs/ too.\n",
        "docs/MODEL.md": "# Model\n\n## First part\n\n[back](../README.md)\n\n```\n[not a link](nowhere)\n```\n",
        "tools/go": "#!/bin/sh\n# usage: tools/go\n",
        "Sources/TorcModel/A.swift":
            "// What it is.\n\nimport Crypto\npackage import NIOCore\n\nlet a = (1...6).randomElement(using: &g)!\n",
        "Sources/TorcReplication/B.swift": "import TorcModel\n\n/// What it is: no Date(), await.\nstruct B {}\n",
        "Sources/TorcStorage/C.swift": "// What it is.\nimport CRocksDB\nimport Foundation\nimport TorcModel\n",
        "Sources/TorcWire/D.swift": "// What it is.\nimport Logging\nimport TorcReplication\n",
        "Sources/TorcClient/E.swift": "// What it is.\nimport TorcWire\n\npublic struct E {}\n",
        "Sources/TorcWire/F.pb.swift": "public struct F {}\n",
    ]

    static func findings(in tree: [String: String]) throws -> [Finding] {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("torc-house-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for (path, text) in tree {
            let url = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: url, atomically: true, encoding: .utf8)
            if text.hasPrefix("#!"), !path.hasSuffix("unmarked") {
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
            }
        }
        return try House(at: root).findings
    }

    @Test func aSoundTreeHasNoFindings() throws {
        #expect(try Self.findings(in: Self.sound) == [])
    }

    /// A line that is added to a file, or a file that is added, and the problem that it must be.
    static let breaches: [(path: String, addition: String, problem: String)] = [
        ("Sources/TorcModel/A.swift", "import Foundation", "TorcModel must not import Foundation"),
        ("Sources/TorcModel/A.swift", "package import TorcReplication", "TorcModel must not import TorcReplication"),
        ("Sources/TorcReplication/B.swift", "import Dispatch", "TorcReplication must not import Dispatch"),
        ("Sources/TorcReplication/B.swift", "import Crypto", "TorcReplication must not import Crypto"),
        ("Sources/TorcReplication/B.swift", "@preconcurrency import os", "TorcReplication must not import os"),
        (
            "Sources/TorcReplication/B.swift", "import struct TorcStorage.X",
            "TorcReplication must not import TorcStorage"
        ),
        ("Sources/TorcStorage/C.swift", "import TorcWire", "TorcStorage must not import TorcWire"),
        ("Sources/TorcWire/D.swift", "import CRocksDB", "TorcWire must not import CRocksDB"),
        ("Sources/TorcWire/F.pb.swift", "import TorcServer", "TorcWire must not import TorcServer"),
        ("Sources/TorcOther/G.swift", "// What it is.", "module TorcOther has no place among the arrows"),
        ("Sources/TorcModel/A.swift", "let now = Date()", "a pure module reads the clock"),
        ("Sources/TorcModel/A.swift", "let now = ContinuousClock().now", "a pure module reads the clock"),
        ("Sources/TorcModel/A.swift", "let x = Int.random(in: 0..<6)", "a pure module draws from the system"),
        ("Sources/TorcModel/A.swift", "let x = list.randomElement()", "a pure module draws from the system"),
        ("Sources/TorcModel/A.swift", "var g = SystemRandomNumberGenerator()", "a pure module draws from the system"),
        (
            "Sources/TorcReplication/B.swift", "let h = key.hashValue",
            "a pure module depends on the process's hash seed"
        ),
        ("Sources/TorcReplication/B.swift", "func f() async { await g() }", "a pure module waits"),
        ("Sources/TorcModel/Bare.swift", "struct Bare {}", "opens without a comment that says what it is"),
        (
            "Sources/TorcModel/Long.swift", "// What it is." + String(repeating: "\n", count: 701),
            "703 lines, more than 700"
        ),
        ("Sources/TorcModel/A.swift", "public struct A {}", "public outside of TorcClient"),
        ("Tests/T.swift", "@testable" + " import TorcModel", "tests see what modules share, no more"),
        ("extra/x.txt", "what is this", "does not say what extra/ is"),
        ("docs/MODEL.md", "[x](NOWHERE.md)", "links to NOWHERE.md, which is not there"),
        ("docs/MODEL.md", "[x](#second-part)", "links to #second-part, a heading that is not there"),
        (
            "docs/MODEL.md", "See `Sources/TorcModel/Gone.swift`.",
            "names Sources/TorcModel/Gone.swift, which is not there"
        ),
        ("tools/silent", "#!/bin/sh\necho", "has neither --help nor a line of usage"),
        ("tools/unmarked", "#!/bin/sh\n# usage: tools/unmarked", "is not executable"),
        ("tools/raw", "usage: tools/raw", "does not say what runs it"),
        ("docs/MODEL.md", "Built in /" + "build/torc.", "says /" + "build/torc"),
        ("Sources/TorcModel/A.swift", "// TO" + "DO: later", "says TO" + "DO"),
    ]

    @Test(arguments: breaches.indices)
    func aBreachIsFoundAndAlone(index: Int) throws {
        let breach = Self.breaches[index]
        var tree = Self.sound
        if breach.path.hasPrefix("Tests/") { tree["README.md"]! += "Tests/\n" }
        tree[breach.path] = (tree[breach.path] ?? "") + breach.addition + "\n"
        let findings = try Self.findings(in: tree)
        #expect(findings.map(\.problem) == [breach.problem])
        #expect(findings.first.map { $0.path == breach.path || breach.problem.contains("extra/") } == true)
    }

    @Test func aMissingReadmeIsFound() throws {
        var tree = Self.sound
        tree["README.md"] = nil
        tree["docs/MODEL.md"] = "# Model\n"
        #expect(try Self.findings(in: tree).map(\.problem) == ["is missing"])
    }
}
