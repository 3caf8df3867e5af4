// What every command that looks at a folder takes.

import ArgumentParser
import TorcStorage

struct FolderOptions: ParsableArguments {
    @Argument(help: "The data folder.") var directory: String
    @Flag(help: "Print JSON, one object a line.") var json = false

    func open() throws -> FolderReader { try FolderReader.open(directory) }
}
