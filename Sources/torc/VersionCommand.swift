import ArgumentParser
import TorcServer

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { print("torc \(BuildVersion.current)") }
}
