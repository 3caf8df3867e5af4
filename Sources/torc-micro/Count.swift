// What `torc bench micro` runs under callgrind, instead of itself: valgrind does not survive the main thread of a program whose
// main function is asynchronous (dispatch_main suspends it for good), and starts a small one sooner.

import TorcMicro

@main
enum Count {
    /// One argument: part of the names of the subjects that are counted.
    static func main() throws { try CallgrindRun.count(only: CommandLine.arguments.dropFirst().first) }
}
