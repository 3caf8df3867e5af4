// `torc inspect get`: all that a folder holds of one object.

import ArgumentParser
import Foundation
import NIOCore
import TorcConsole
package import TorcModel
package import TorcStorage

struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Show what the folder holds of one object.",
        discussion: """
            Examples:
              torc inspect get data/node1 carts alice
              torc inspect get data/node1 carts alice --hex
              torc inspect get data/node1 carts alice --raw alice.txt            the value's bytes to a file
              torc inspect get data/node1 carts alice --raw alice.txt --version 2
              torc inspect get data/node1 carts alice --json

            Shows the record, and the hints that are kept of the same object for other nodes. Ends with status 1 when there is
            neither. NODE is the one whose mark an actor bears; ? where the folder knows no such node, or more than one.
            """)

    @OptionGroup var folder: FolderOptions
    @OptionGroup var name: ObjectArguments
    @OptionGroup var declared: DeclaredOptions
    @Flag(help: "Show values as hexadecimal bytes.") var hex = false
    @Option(help: "Write the value's bytes to this file.") var raw: String?
    @Option(help: "With --raw: which version, from 1, when there are several.") var version: Int?

    func run() async throws {
        let reader = try folder.open()
        let names = NodeNames(reader, declared: try declared.names(for: reader))
        let found = try StoredObject(of: name.object(), in: reader)
        if let raw { try write(found, to: raw) }
        if folder.json {
            var report = RecordReport(layout: reader.layout, names: names, now: .now, values: true)
            for view in [found.record].compactMap({ $0 }) + found.hints.map(\.view) { report.print(view) }
        } else if raw == nil {
            if let record = found.record {
                Console.print(RecordText.full(record, reader, names, now: .now, hex: hex))
            } else {
                Console.warn("\(PlainText.name(found.key)): the folder holds no record (\(found.place(reader)))")
            }
            for hint in found.hints {
                Console.print("\nKept for \(names.title(of: hint.target)):\n")
                Console.print(RecordText.full(hint.view, reader, names, now: .now, hex: hex))
            }
        }
        if found.record == nil, found.hints.isEmpty {
            if folder.json || raw != nil {
                Console.warn("\(PlainText.name(found.key)): the folder holds no record (\(found.place(reader)))")
            }
            throw ExitCode.failure
        }
    }

    private func write(_ found: StoredObject, to path: String) throws {
        guard let record = found.record ?? found.hints.first?.view else { return }
        let versions = record.object.siblings
        guard !versions.isEmpty else {
            throw ValidationError("\(PlainText.name(found.key)) is deleted: there is no value to write")
        }
        guard versions.count == 1 || version != nil else {
            throw ValidationError("there are \(versions.count) versions: choose one with --version 1…\(versions.count)")
        }
        let chosen = version ?? 1
        guard versions.indices.contains(chosen - 1) else {
            throw ValidationError("--version \(chosen): there are \(versions.count)")
        }
        let value = versions[chosen - 1].value
        do { try Data(value.readableBytesView).write(to: URL(fileURLWithPath: path)) } catch {
            Console.warn("\(path) cannot be written: \(error.localizedDescription)")
            throw ExitCode(Console.unwrittenStatus)
        }
        Console.warn("\(value.readableBytes) bytes written to \(path)")
    }
}

/// What a folder holds of one object.
package struct StoredObject: Sendable {
    package let key: ObjectKey
    package let partition: PartitionID
    /// The partition has a family in the folder.
    package let isPartitionHere: Bool
    package let record: RecordView?
    package let hints: [HintView]

    /// Throws what is wrong with a record that cannot be decoded.
    package init(of key: ObjectKey, in reader: FolderReader) throws {
        self.key = key
        partition = reader.identity.ringSize.partition(of: key.position)
        let family = try reader.family(of: partition)
        isPartitionHere = family != nil
        record = try family.flatMap { try reader.value(of: key.storageKey, in: $0) }.map {
            try RecordView(key: key, value: $0)
        }
        hints = try reader.hintTargets().compactMap { target in
            guard let family = reader.hintsKept else { return nil }
            let name = FolderReader.hintKey(target, key.storageKey)
            return try reader.value(of: name, in: family).map { try HintView(storageKey: name, value: $0) }
        }
    }

    func place(_ reader: FolderReader) -> String {
        "partition \(partition.index)" + (isPartitionHere ? "" : ", of which it holds nothing")
    }
}
