// `torc inspect set-bucket`: properties of a bucket or a type, set in the folder of a node that does not run.

import ArgumentParser
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct SetBucketCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set-bucket", abstract: "Set properties of a bucket while its node does not run.",
        discussion: """
            Examples:
              torc inspect set-bucket data/node1 carts w=2 pw=1 --dry-run
              torc inspect set-bucket data/node1 carts last_write_wins=true --yes --in-place
              torc inspect set-bucket data/node1 --type sets notfound_ok=false --yes --in-place

            For what a cluster cannot be asked to change because it does not come up, or not with the properties that it has. The node
            tells the others when it runs again, and the later change wins everywhere: one folder is enough.

            Names are Riak's: r, w, pr, pw, dw, rw (a number, one, quorum, all), node_confirms, notfound_ok, basic_quorum, allow_mult,
            last_write_wins; and Torc's own one_cache_ms. n_val is set on a running cluster alone, which asks all its nodes whether the bucket holds data.
            """)

    @OptionGroup var folder: FolderOptions
    @Argument(help: "The bucket, unless --type says a type alone; then NAME=VALUE, one or more.") var words: [String]
    @Option(help: "Bucket type.") var type: String?
    @OptionGroup var place: MendPlaceOptions

    func run() async throws {
        let settings = words.drop { !$0.contains("=") }
        let names = words.prefix(words.count - settings.count)
        guard !settings.isEmpty, names.count <= 1, names.count == 1 || type != nil else {
            throw ValidationError("say a bucket, or --type, and what to set: 'set-bucket DIR carts w=2'")
        }
        var change = PropertiesChange()
        for word in settings { try change.take(word) }
        let typeName = try FilterOptions.bytes(of: type ?? "", "--type")
        let scope: PropertiesScope =
            try names.first.map {
                .bucket(BucketID(type: typeName, name: try FilterOptions.bytes(of: $0, "the bucket")))
            } ?? .type(typeName)
        let reader = try folder.open()
        // n stays as it is, so neither data nor members matter.
        switch try reader.properties().changed(
            scope, by: change, holdsData: true, members: BucketProperties.maximumCopies, at: .now,
            by: reader.identity.node)
        {
        case .failure(let refusal): throw ValidationError(refusal.text)
        case .success(let entry):
            var plan = MendPlan()
            plan.properties = [entry]
            try plan.carryOut(folder, place, "set properties in \(folder.directory)")
        }
    }
}

extension PropertiesChange {
    /// `NAME=VALUE`.
    fileprivate mutating func take(_ word: String) throws {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let (name, text) = (parts[0], parts[1])
        func flag() throws -> Bool {
            guard let value = Bool(text) else { throw ValidationError("\(name): say true or false") }
            return value
        }
        func quorum() throws -> Quorum {
            switch text {
            case "one": return .one
            case "quorum": return .quorum
            case "all": return .all
            default:
                guard let count = UInt8(text) else {
                    throw ValidationError("\(name): say a number, one, quorum or all")
                }
                return .count(count)
            }
        }
        switch name {
        case "r": r = try quorum()
        case "w": w = try quorum()
        case "pr": pr = try quorum()
        case "pw": pw = try quorum()
        case "dw": dw = try quorum()
        case "rw": rw = try quorum()
        case "node_confirms":
            guard let count = UInt8(text) else { throw ValidationError("\(name): say a number") }
            nodeConfirms = count
        case "notfound_ok": notFoundOK = try flag()
        case "basic_quorum": basicQuorum = try flag()
        case "one_cache_ms":
            guard let count = UInt16(text) else { throw ValidationError("\(name): say a number of milliseconds") }
            oneCacheMilliseconds = count
        case "allow_mult": conflictMode = try flag() ? .siblings : .lww
        case "last_write_wins": conflictMode = try flag() ? .lww : .siblings
        case "n_val":
            throw ValidationError("n_val: only a running cluster knows whether the bucket holds data anywhere")
        default: throw ValidationError("\(name) is no property that can be set; '--help' lists them")
        }
    }
}
