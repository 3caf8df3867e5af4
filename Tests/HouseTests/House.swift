// The rules of this repository that a compiler does not check, as one function from a folder to what is wrong in
// it. Rules that nobody checks are rules for a week.

import Foundation

/// Something in the tree that breaks a rule.
struct Finding: Hashable, CustomStringConvertible {
    var path: String
    /// From 1; 0 when it is the whole file.
    var line: Int
    var problem: String

    var description: String { line == 0 ? "\(path): \(problem)" : "\(path):\(line): \(problem)" }
}

struct SourceFile {
    /// Relative to the root.
    var path: String
    var text: String

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var isSwift: Bool { path.hasSuffix(".swift") }
    /// Written by protoc; nobody reads it from the top.
    var isGenerated: Bool { path.hasSuffix(".pb.swift") }
    var isMarkdown: Bool { path.hasSuffix(".md") }
    /// `Sources/TorcModel/Ring/Ring.swift` is in the folder `Sources` and the module `TorcModel`.
    var folder: String { String(path.split(separator: "/")[0]) }

    var module: String? {
        let parts = path.split(separator: "/")
        switch parts[0] {
        case "Sources" where parts.count > 2: return String(parts[1])
        case "Bench" where parts.count > 2: return "Torc\(parts[1])"
        case "tools" where parts.count > 2 && isSwift: return "Torc\(parts[1])"
        default: return nil
        }
    }
}

struct House {
    let root: URL
    let files: [SourceFile]
    let folders: [String]

    /// Files past this length hold two concepts, or more.
    static let maximumLines = 700

    /// What each module may import of this package's own. Whatever is not listed points the wrong way.
    static let arrows: [String: Set<String>] = [
        "TorcModel": ["CXXHash"],
        "TorcReplication": ["TorcModel"],
        "TorcStorage": ["CRocksDB", "TorcModel", "TorcReplication"],
        "TorcWire": ["TorcModel", "TorcReplication"],
        "TorcSimulation": ["TorcModel", "TorcReplication"],
        "TorcServer": ["TorcModel", "TorcReplication", "TorcStorage", "TorcWire"],
        "TorcClient": ["TorcModel", "TorcReplication", "TorcWire"],
        "TorcLoad": ["TorcModel", "TorcWire", "TorcClient"],
        "TorcWritePath": [
            "TorcModel", "TorcReplication", "TorcStorage", "TorcWire", "TorcServer", "TorcLoad", "TorcConsole",
        ],
        "TorcMicro": [
            "CCallgrind", "TorcModel", "TorcReplication", "TorcWire", "TorcLoad", "TorcConsole",
        ],
        "TorcConsole": [],
        "TorcInspect": ["CZlib", "TorcModel", "TorcReplication", "TorcStorage", "TorcClient", "TorcConsole"],
        "torc": [
            "TorcModel", "TorcReplication", "TorcServer", "TorcClient", "TorcLoad", "TorcWire", "TorcInspect",
            "TorcConsole", "TorcStorage", "TorcWritePath", "TorcMicro",
        ],
        "torc-micro": ["TorcMicro"],
        "torc-simulate": ["TorcModel", "TorcReplication", "TorcSimulation", "TorcWire"],
    ]

    /// The core decides, and does nothing else: no IO, no clock, no randomness of its own.
    static let pureModules: Set<String> = ["TorcModel", "TorcReplication"]
    static let pureImports: [String: Set<String>] = [
        "TorcModel": ["NIOCore", "Crypto", "CXXHash"],
        "TorcReplication": [
            "NIOCore", "TorcModel", "Collections", "DequeModule", "HeapModule", "OrderedCollections",
        ],
    ]
    static let impure: [(pattern: String, problem: String)] = [
        (#"\bDate\s*\("#, "reads the clock"),
        (#"\b(ContinuousClock|SuspendingClock)\b"#, "reads the clock"),
        (#"\bSystemRandomNumberGenerator\b"#, "draws from the system"),
        (#"\.(random|randomElement|shuffled?)\((?!.*using:)"#, "draws from the system"),
        (#"\.hashValue\b|\bHasher\(\)"#, "depends on the process's hash seed"),
        (#"\b(await|Task)\b"#, "waits"),
        (#"\bprint\("#, "prints"),
    ]

    init(at root: URL) throws {
        self.root = root
        let ignored: Set<String> = [".git", ".venv", ".swiftpm", "__pycache__", "data", "Package.resolved"]
        var files: [SourceFile] = []
        func visit(_ folder: URL, _ prefix: String) throws {
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            for name in names where !ignored.contains(name) && !name.hasPrefix(".build") {
                let url = folder.appendingPathComponent(name)
                var isFolder: ObjCBool = false
                guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else { continue }
                if isFolder.boolValue {
                    try visit(url, prefix + name + "/")
                } else if let text = try? String(contentsOf: url, encoding: .utf8) {
                    files.append(SourceFile(path: prefix + name, text: text))
                }
            }
        }
        try visit(root, "")
        self.files = files
        folders = Set(files.filter { $0.path.contains("/") && !$0.path.hasPrefix(".") }.map(\.folder)).sorted()
    }

    var findings: [Finding] {
        imports + purity + openings + lengths + access + readme + links + mentionedPaths + scripts + words
    }

    var swiftModules: Set<String> { Set(files.filter(\.isSwift).compactMap(\.module)) }

    private var swiftFiles: [SourceFile] { files.filter { $0.isSwift && !$0.isGenerated } }

    // MARK: Code

    /// `import X`, whatever stands before it: `package import X`, `@preconcurrency import struct X.Y`.
    static func imported(by line: Substring) -> String? {
        guard line.contains("import "),
            let match = line.firstMatch(
                of:
                    /^\s*(?:@\w+(?:\(\w+\))?\s+)*(?:public |package |internal |private |fileprivate )?import (?:struct |class |enum |protocol |func |var |typealias )?([\w\-]+)/
            )
        else { return nil }
        return String(match.1)
    }

    var imports: [Finding] {
        files.filter(\.isSwift).flatMap { file -> [Finding] in
            guard let module = file.module else { return [] }
            guard let allowed = Self.arrows[module] else {
                return [Finding(path: file.path, line: 0, problem: "module \(module) has no place among the arrows")]
            }
            return file.lines.enumerated().compactMap { number, line in
                guard let name = Self.imported(by: line) else { return nil }
                let isOurs =
                    Self.arrows.keys.contains(name) || ["CRocksDB", "CXXHash", "CZlib", "CCallgrind"].contains(name)
                if isOurs ? allowed.contains(name) : Self.pureImports[module]?.contains(name) ?? true { return nil }
                return Finding(path: file.path, line: number + 1, problem: "\(module) must not import \(name)")
            }
        }
    }

    var purity: [Finding] {
        let any = Self.impure.map(\.pattern).joined(separator: "|")
        return swiftFiles.filter { Self.pureModules.contains($0.module ?? "") }.flatMap { file -> [Finding] in
            if file.text.range(of: any, options: .regularExpression) == nil { return [] }
            return file.lines.enumerated().flatMap { number, line -> [Finding] in
                if line.range(of: any, options: .regularExpression) == nil { return [] }
                let code = line.prefix { _ in true }.replacing(/\/\/.*/, with: "").replacing(/"[^"]*"/, with: "\"\"")
                return Self.impure.compactMap { pattern, problem in
                    guard code.range(of: pattern, options: .regularExpression) != nil else { return nil }
                    return Finding(path: file.path, line: number + 1, problem: "a pure module \(problem)")
                }
            }
        }
    }

    /// A file says what it is before it says anything else.
    var openings: [Finding] {
        swiftFiles.filter { $0.module != nil }.compactMap { file in
            let first = file.lines.first { line in
                !line.allSatisfy(\.isWhitespace) && Self.imported(by: line) == nil && !line.hasPrefix("#")
            }
            if let first, first.hasPrefix("//") { return nil }
            return Finding(path: file.path, line: 0, problem: "opens without a comment that says what it is")
        }
    }

    var lengths: [Finding] {
        swiftFiles.compactMap { file in
            let count = file.lines.count
            if count <= Self.maximumLines { return nil }
            return Finding(path: file.path, line: 0, problem: "\(count) lines, more than \(Self.maximumLines)")
        }
    }

    /// `package` is what modules share; `public` is for those outside.
    var access: [Finding] {
        swiftFiles.flatMap { file in
            file.lines.enumerated().compactMap { number, line -> Finding? in
                if line.contains("@testable" + " import") {
                    return Finding(path: file.path, line: number + 1, problem: "tests see what modules share, no more")
                }
                if file.module != nil, file.module != "TorcClient", line.contains("public "),
                    line.firstMatch(of: #/^\s*public [a-z]/#) != nil
                {
                    return Finding(path: file.path, line: number + 1, problem: "public outside of TorcClient")
                }
                return nil
            }
        }
    }

    // MARK: Documents

    /// Every folder at the top is explained in the README.
    var readme: [Finding] {
        guard let readme = files.first(where: { $0.path == "README.md" }) else {
            return [Finding(path: "README.md", line: 0, problem: "is missing")]
        }
        return folders.filter { !readme.text.contains("\($0)/") }
            .map { Finding(path: "README.md", line: 0, problem: "does not say what \($0)/ is") }
    }

    /// Relative links of documents lead to files, and to headings in them.
    var links: [Finding] {
        let paths = Set(files.map(\.path))
        return files.filter(\.isMarkdown).flatMap { file in
            Self.outsideFences(file.lines).flatMap { number, line -> [Finding] in
                line.matches(of: /\]\(([^)\s]+)\)/).compactMap { match in
                    let target = String(match.1)
                    if target.contains("://") || target.hasPrefix("mailto:") { return nil }
                    let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                    let path = parts[0].isEmpty ? file.path : Self.resolve(String(parts[0]), from: file.path)
                    let isFolder = paths.contains { $0.hasPrefix(path + "/") }
                    guard paths.contains(path) || isFolder else {
                        return Finding(path: file.path, line: number, problem: "links to \(target), which is not there")
                    }
                    if parts.count == 2, let document = files.first(where: { $0.path == path }), document.isMarkdown,
                        !Self.anchors(of: document).contains(String(parts[1]))
                    {
                        return Finding(
                            path: file.path, line: number, problem: "links to \(target), a heading that is not there")
                    }
                    return nil
                }
            }
        }
    }

    static func resolve(_ target: String, from path: String) -> String {
        var parts = path.split(separator: "/").dropLast().map(String.init)
        for part in target.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(String(part)) }
        }
        return parts.joined(separator: "/")
    }

    static func anchors(of file: SourceFile) -> Set<String> {
        Set(
            outsideFences(file.lines).filter { $0.line.hasPrefix("#") }.map { _, line in
                line.drop { $0 == "#" || $0 == " " }.lowercased().filter {
                    $0.isLetter || $0.isNumber || " -_".contains($0)
                }
                .replacingOccurrences(of: " ", with: "-")
            })
    }

    /// Lines with their numbers from 1, without code blocks.
    static func outsideFences(_ lines: [Substring]) -> [(number: Int, line: Substring)] {
        var inside = false
        return lines.enumerated().compactMap { number, line in
            if line.hasPrefix("```") {
                inside.toggle()
                return nil
            }
            return inside ? nil : (number + 1, line)
        }
    }

    /// A document that names `Sources/TorcModel/Ring/Claim.swift` names a file that is there.
    var mentionedPaths: [Finding] {
        let known = Set(folders)
        return files.filter(\.isMarkdown).flatMap { file in
            Self.outsideFences(file.lines).flatMap { number, line -> [Finding] in
                line.matches(of: /`([A-Za-z][\w\-]*\/[\w\-\/.]*)[ `]/).compactMap { match in
                    let path = match.1.hasSuffix("/") ? String(match.1.dropLast()) : String(match.1)
                    guard known.contains(String(path.split(separator: "/")[0])) else { return nil }
                    if files.contains(where: { $0.path == path || $0.path.hasPrefix(path + "/") }) { return nil }
                    return Finding(path: file.path, line: number, problem: "names \(path), which is not there")
                }
            }
        }
    }

    /// What a person runs says how.
    var scripts: [Finding] {
        files.filter { file in
            let parts = file.path.split(separator: "/")
            return parts.count == 2 && (parts[0] == "tools" && !parts[1].contains(".") || file.path == ".ci/run")
        }.compactMap { file in
            let url = root.appendingPathComponent(file.path)
            if !file.text.hasPrefix("#!") {
                return Finding(path: file.path, line: 1, problem: "does not say what runs it")
            }
            if !FileManager.default.isExecutableFile(atPath: url.path) {
                return Finding(path: file.path, line: 0, problem: "is not executable")
            }
            let head = file.lines.prefix(30).joined(separator: "\n").lowercased()
            if head.contains("usage:") || file.text.contains("--help") { return nil }
            return Finding(path: file.path, line: 0, problem: "has neither --help nor a line of usage")
        }
    }

    /// What belongs on one machine, or to one afternoon, is not committed.
    var words: [Finding] {
        // Spelled in halves, so that this file does not find itself.
        let forbidden = [
            "/" + "work/", "/" + "build/torc", "/" + "root/", "/" + "Users/", "/" + "home/[a-z]", "TO" + "DO",
            "FIX" + "ME",
            "work" + "tree", "\\.\\./" + "shared", "place" + "holder file",
        ]
        let pattern = forbidden.joined(separator: "|")
        return files.filter { !$0.isGenerated }.flatMap { file -> [Finding] in
            if file.text.range(of: pattern, options: .regularExpression) == nil { return [] }
            return file.lines.enumerated().compactMap { number, line -> Finding? in
                guard let range = line.range(of: pattern, options: .regularExpression) else { return nil }
                return Finding(path: file.path, line: number + 1, problem: "says \(line[range])")
            }
        }
    }
}
