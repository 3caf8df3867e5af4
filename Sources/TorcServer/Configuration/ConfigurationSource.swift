// Finds the values of the settings: flags before environment before file before the built-in standard. The
// values come through swift-configuration's providers; what those cannot say (an unknown key, the line of a
// bad value) comes from `ConfigurationScan` and the table of settings.

package import Configuration
import Foundation

/// Everything that is wrong with a configuration, one line a problem.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package var problems: [String]
    package init(_ problems: [String]) { self.problems = problems }
    package var description: String { problems.joined(separator: "\n") }
}

/// A value and where it came from.
package struct EffectiveValue: Hashable, Sendable {
    package var content: ConfigContent
    /// For a person: `--node-name`, `TORC_NODE_NAME`, `torc.yaml:3`, `standard`.
    package var source: String
}

/// What was found.
package struct ConfigurationValues: Sendable {
    package fileprivate(set) var values: [String: EffectiveValue] = [:]
    package fileprivate(set) var problems: [String] = []
    fileprivate var failedKeys: Set<String> = []

    package func text(_ setting: Setting) -> String? {
        if case .string(let text) = values[setting.key]?.content { text } else { nil }
    }
    package func integer(_ setting: Setting) -> Int? {
        if case .int(let number) = values[setting.key]?.content { number } else { nil }
    }
    package func boolean(_ setting: Setting) -> Bool? {
        if case .bool(let flag) = values[setting.key]?.content { flag } else { nil }
    }
    package func list(_ setting: Setting) -> [String]? {
        if case .stringArray(let items) = values[setting.key]?.content { items } else { nil }
    }

    /// A bad value was given, and reported.
    func failed(_ setting: Setting) -> Bool { failedKeys.contains(setting.key) }

    /// Where a setting was given, and which: `torc.yaml:3: listen.pb`.
    func place(_ setting: Setting) -> String {
        guard let source = values[setting.key]?.source else { return setting.key }
        return "\(source): \(setting.key)"
    }

    func complaint(_ setting: Setting) -> String {
        let value = values[setting.key].map { Self.render($0.content) } ?? ""
        return "\(place(setting)): \"\(setting.isSecret ? "…" : value)\" is not \(setting.expectation)"
    }

    fileprivate static func render(_ content: ConfigContent) -> String {
        switch content {
        case .string(let text): text
        case .int(let number): "\(number)"
        case .bool(let flag): "\(flag)"
        case .stringArray(let items): items.joined(separator: ",")
        default: "\(content)"
        }
    }

    /// Every setting with its value and where it came from, aligned; secrets are hidden.
    package func table() -> String {
        let rows = Setting.all.map { setting -> (String, String, String) in
            guard let value = values[setting.key] else { return (setting.key, "-", "not set") }
            return (setting.key, setting.isSecret ? "(hidden)" : Self.render(value.content), value.source)
        }
        let keyWidth = rows.map(\.0.count).max() ?? 0
        let valueWidth = min(48, rows.map(\.1.count).max() ?? 0)
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        return rows.map { "\(padded($0.0, keyWidth))  \(padded($0.1, valueWidth))  \($0.2)" }.joined(separator: "\n")
    }
}

package enum ConfigurationSource {
    /// - Parameters:
    ///   - file: A YAML or JSON (`.json`) file.
    ///   - environment: All variables; those that begin with `TORC_` must be settings.
    ///   - flags: `--key value` and `--key=value`, without the command's name.
    package static func load(
        file: String?, environment: [String: String], flags: [String]
    ) async throws(ConfigurationError) -> ConfigurationValues {
        var found = ConfigurationValues()
        checkFlags(flags, &found.problems)
        checkEnvironment(environment, &found.problems)

        var layers: [Layer] = [
            Layer(provider: CommandLineArgumentsProvider(arguments: ["torc"] + flags), source: { $0.flagName }),
            Layer(
                provider: EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "torc"),
                source: { $0.environmentName }),
        ]
        if let file { layers.append(try await fileLayer(file, &found.problems)) }

        for setting in Setting.all {
            for layer in layers {
                let source = layer.source(setting)
                do {
                    let type = setting.kind.type
                    let key = AbsoluteConfigKey(ConfigKey(setting.key))
                    guard let value = try layer.provider.value(forKey: key, type: type).value else { continue }
                    found.values[setting.key] = EffectiveValue(content: value.content, source: source)
                    if !setting.accepts(value.content) { throw Unacceptable() }
                } catch {
                    let given = layer.raw(setting).map { " \"\(setting.isSecret ? "…" : $0)\"" } ?? ""
                    found.problems.append("\(source): \(setting.key):\(given) is not \(setting.expectation)")
                    found.failedKeys.insert(setting.key)
                    found.values[setting.key] = nil
                }
                break
            }
            if found.values[setting.key] == nil, let standard = setting.standard {
                found.values[setting.key] = EffectiveValue(content: setting.content(standard), source: "standard")
            }
        }
        return found
    }

    private struct Unacceptable: Error {}

    private struct Layer {
        let provider: any ConfigProvider
        let source: (Setting) -> String

        /// What was written, for a person, where it can be had.
        func raw(_ setting: Setting) -> String? {
            let key = AbsoluteConfigKey(ConfigKey(setting.key))
            for type in [ConfigType.string, .int, .double, .bool, .stringArray] {
                if let value = try? provider.value(forKey: key, type: type).value {
                    return ConfigurationValues.render(value.content)
                }
            }
            return nil
        }
    }

    private static func checkFlags(_ flags: [String], _ problems: inout [String]) {
        var previousIsFlag = false
        for flag in flags {
            guard flag.hasPrefix("--") else {
                if !previousIsFlag {
                    problems.append("\(flag): expected a setting such as \(Setting.nodeName.flagName)")
                }
                previousIsFlag = false
                continue
            }
            let name = String(flag.prefix { $0 != "=" })
            if !Setting.all.contains(where: { $0.flagName == name }) {
                let help = Setting.suggestion(for: name, among: Setting.all.map(\.flagName))
                problems.append("\(name) is no setting; \(help)")
            }
            previousIsFlag = name == flag
        }
    }

    private static func checkEnvironment(_ environment: [String: String], _ problems: inout [String]) {
        let names = Setting.all.map(\.environmentName)
        for name in environment.keys.sorted()
        where name.hasPrefix(Setting.environmentPrefix) && !names.contains(name)
            && !Setting.foreignEnvironment.contains(name)
        {
            problems.append("the environment's \(name) is no setting; \(Setting.suggestion(for: name, among: names))")
        }
    }

    private static func fileLayer(
        _ path: String, _ problems: inout [String]
    ) async throws(ConfigurationError) -> Layer {
        guard let content = FileManager.default.contents(atPath: path) else {
            throw ConfigurationError(["\(path): the configuration file cannot be read"])
        }
        let text = String(decoding: content, as: UTF8.self)
        let isJSON = path.hasSuffix(".json")
        let keys: [ScannedKey]
        do {
            keys = try isJSON ? ConfigurationScan.json(text) : ConfigurationScan.yaml(text)
        } catch {
            throw ConfigurationError(["\(path):\(error.line): \(error.message)"])
        }
        for key in keys where Setting.named(key.path) == nil {
            let help = Setting.suggestion(for: key.path, among: Setting.all.map(\.key))
            problems.append("\(path):\(key.line): \(key.path) is no setting; \(help)")
        }
        let lines = Dictionary(keys.map { ($0.path, $0.line) }, uniquingKeysWith: { first, _ in first })
        let pathReader = ConfigReader(
            provider: InMemoryProvider(values: ["filePath": ConfigValue(.string(path), isSecret: false)]))
        let provider: any ConfigProvider
        do {
            if keys.isEmpty {
                provider = InMemoryProvider(values: [:])
            } else if isJSON {
                provider = try await FileProvider<JSONSnapshot>(config: pathReader)
            } else {
                provider = try await FileProvider<YAMLSnapshot>(config: pathReader)
            }
        } catch {
            throw ConfigurationError(["\(path): \(error)"])
        }
        return Layer(provider: provider) { setting in lines[setting.key].map { "\(path):\($0)" } ?? path }
    }
}

extension Setting.Kind {
    fileprivate var type: ConfigType {
        switch self {
        case .text, .path, .address, .choice: .string
        case .wholeNumber, .powerOfTwo: .int
        case .flag: .bool
        case .list: .stringArray
        }
    }
}

extension Setting {
    /// The standard as a value.
    fileprivate func content(_ text: String) -> ConfigContent {
        switch kind {
        case .text, .path, .address, .choice: .string(text)
        case .wholeNumber, .powerOfTwo: .int(Int(text)!)
        case .flag: .bool(text == "true")
        case .list: .stringArray([text])
        }
    }

    fileprivate func accepts(_ content: ConfigContent) -> Bool {
        switch (kind, content) {
        case (.wholeNumber(let range, _), .int(let number)): range.contains(number)
        case (.powerOfTwo(let range), .int(let number)): range.contains(number) && number.nonzeroBitCount == 1
        case (.choice(let choices), .string(let text)): choices.contains(text)
        case (.address, .string(let text)): HostAddress(text) != nil
        case (.text, .string(let text)), (.path, .string(let text)): !text.isEmpty
        case (.list, .stringArray(let items)): !items.isEmpty
        default: true
        }
    }
}
