import Foundation
import Testing
import TorcSimulation

/// Stories that a reader can follow, in `Tests/Scenarios`.
@Suite struct ScenarioTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Scenarios")

    static var names: [String] {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return files.filter { $0.hasSuffix(".txt") }.sorted()
    }

    @Test func thereAreSome() { #expect(Self.names.count >= 4) }

    @Test(arguments: names) func itHappensAsTold(name: String) throws {
        let text = try String(contentsOf: Self.folder.appending(path: name), encoding: .utf8)
        var run = ScenarioRun(try Scenario(parsing: text))
        try run.run()
        #expect(run.outcomes.contains { $0.step.words[0] == "verdict" && $0.seen == "ok" })
    }

    @Test func whatIsNotAsToldEndsIt() throws {
        var run = ScenarioRun(try Scenario(parsing: "nodes 3\nA put k0 -> ok by 1+0\nA get k0"))
        #expect(throws: ScenarioError(line: 2, message: "A put k0 -> ok by 2+0, where ok by 1+0 is told")) {
            try run.run()
        }
        #expect(run.outcomes.count == 1)
    }

    @Test(arguments: [
        "nodes 900", "fly A", "A put k99", "A sing k0", "wait 1 year", "crash", "A stage join", "cut A B",
        "backup later",
    ])
    func nonsenseIsRefusedWithItsLine(text: String) throws {
        #expect {
            var run = ScenarioRun(try Scenario(parsing: "# one\n" + text))
            try run.run()
        } throws: {
            ($0 as? ScenarioError)?.line == 2
        }
    }
}
