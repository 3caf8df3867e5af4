import Foundation
import Testing
import TorcServer

/// A node that a script starts has the script's environment, and takes none of its variables for a misspelt setting.
@Suite struct ForeignEnvironmentTests {
    @Test func everyVariableOfTheToolsIsKnown() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let tools = root.appending(path: "tools")
        let variable = try Regex(
            #"(?:\$\{?|environ(?:\.get)?[(\[]["'])(TORC_[A-Z_]+)"#, as: (Substring, Substring).self)
        var found: Set<String> = []
        for case let file as URL in try #require(
            FileManager.default.enumerator(at: tools, includingPropertiesForKeys: nil))
        {
            guard let text = try? String(contentsOf: file, encoding: .utf8) else { continue }
            found.formUnion(text.matches(of: variable).map { String($0.output.1) })
        }
        #expect(found.contains("TORC_KILL_ROUNDS") && found.contains("TORC_BIN"))
        let settings = Set(Setting.all.map(\.environmentName))
        #expect(found.subtracting(Setting.foreignEnvironment).subtracting(settings) == [])
    }
}
