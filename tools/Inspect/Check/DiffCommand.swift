// `torc inspect diff`: what two folders differ in.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
import TorcModel
import TorcStorage

struct DiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Compare two folders of one cluster: replicas, or a backup and its origin.",
        discussion: """
            Examples:
              torc inspect diff data/node1 data/node2
              torc inspect diff data/node1 backup/node1 --json

            Compares the Merkle leaves that both folders keep, and reads the records of those leaves that differ, no others. A
            line a key, from the first folder's view: missing (the second has it), extra (the second has not), older, newer,
            concurrent (both have what the other lacks). Partitions that one of the two does not hold are not compared.

            Exit status: 0 nothing differs; 1 something does; 2 they cannot be compared.
            """)

    @Argument(help: "A data folder.") var first: String
    @Argument(help: "Another one.") var second: String
    @Flag(help: "Print JSON, one object a line.") var json = false

    private struct Line: Encodable {
        var relation: FolderDiff.Relation
        var partition: Int
        var bucket: String
        var key: String
    }

    private struct Last: Encodable {
        var summary: FolderDiff.Counts
    }

    func run() async throws {
        let counts: FolderDiff.Counts
        do {
            counts = try compare()
        } catch let error as StoreError {
            try FolderCheck.fail(error, path: first, json: json)
        }
        if json {
            try JSONLine.print(Last(summary: counts))
        } else {
            show(counts)
        }
        if !counts.differences.isEmpty { throw ExitCode(1) }
    }

    private func compare() throws -> FolderDiff.Counts {
        let (one, other) = (try FolderReader.open(first), try FolderReader.open(second))
        let shared = Set(one.partitions).intersection(other.partitions).count
        let bar =
            isatty(STDOUT_FILENO) == 1
            ? nil : ProgressBar("diff", total: UInt64(shared), unit: { "\($0) partitions" })
        defer { bar?.finish() }
        return try FolderDiff.run(one, other, isCompared: { _ in bar?.advance(by: 1) }) { difference in
            let name = try? ObjectKey(storageKey: difference.key)
            let bucket = name.map { PlainText.name($0.bucket) } ?? "?"
            let key = PlainText.name(name?.key ?? difference.key)
            guard json else {
                Console.print(
                    "\(difference.relation.rawValue.padded(to: 10))  p\(difference.partition.index)  \(bucket)/\(key)")
                return
            }
            try JSONLine.print(
                Line(relation: difference.relation, partition: difference.partition.index, bucket: bucket, key: key))
        }
    }

    private func show(_ counts: FolderDiff.Counts) {
        let total = counts.differences.values.reduce(0, +)
        let kinds = counts.differences.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        Console.print("\(total) keys differ\(kinds.isEmpty ? "" : ": \(kinds.joined(separator: ", "))")")
        Console.print(
            "\(counts.leavesDiffering) of \(counts.leavesCompared) leaves differ; \(counts.recordsRead) records were read"
        )
        if counts.partitionsReadWhole > 0 {
            Console.print(
                "\(counts.partitionsReadWhole) partitions were read whole: their leaves are not known before the next start"
            )
        }
        if counts.partitionsBeyond > 0 {
            Console.print("\(counts.partitionsBeyond) partitions are in one folder alone")
        }
    }
}
