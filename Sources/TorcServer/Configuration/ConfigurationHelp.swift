/// The settings, for the command line's help.
package enum ConfigurationHelp {
    package static let settings: String = {
        let width = Setting.all.map(\.flagName.count).max() ?? 0
        return Setting.all.map { setting in
            let standard = setting.standard.map { " [\($0)]" } ?? ""
            let padding = String(repeating: " ", count: width - setting.flagName.count)
            return "  \(setting.flagName)\(padding)  \(setting.help)\(standard)"
        }.joined(separator: "\n")
    }()
}
