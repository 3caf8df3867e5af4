import ArgumentParser
import TorcServer

/// `torc version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { print("torc \(BuildVersion.current)") }
}
