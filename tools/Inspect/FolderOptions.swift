// What commands that look at a folder take, and what several of them take.

import ArgumentParser
import Glibc
import NIOCore
import TorcConsole
import TorcModel
import TorcReplication
import TorcStorage

struct FolderOptions: ParsableArguments {
    @Argument(help: "The data folder.") var directory: String
    @Flag(help: "Print JSON, one object a line.") var json = false

    func open() throws -> FolderReader { try FolderReader.open(directory) }
}

/// Names of the members that every node's configuration lists. The folder of such a node knows their ids alone, and,
/// until the ring changes for the first time, not even those.
struct DeclaredOptions: ParsableArguments {
    @Option(help: "The cluster's name, with --members.") var cluster: String?
    @Option(
        help:
            "The names of all declared members, with --cluster: node1,node2,node3. Gives ids and, where the ring never changed, the ring."
    )
    var members: String?

    func names(for reader: FolderReader) throws -> DeclaredNames? {
        guard cluster != nil || members != nil else { return nil }
        guard let cluster, let members else { throw ValidationError("--cluster and --members go together") }
        let names = DeclaredNames(cluster: cluster, names: members.split(separator: ",").map(String.init))
        guard reader.identity.joinedName != nil || names.nodes.contains(where: { $0.node == reader.identity.node })
        else {
            throw ValidationError(
                "none of \(members) of cluster \(cluster) is the node of this folder, \(reader.identity.node): correct the names"
            )
        }
        return names
    }

    /// The copies' places: as the folder has them, or those that a cluster of the given members begins with. nil: neither.
    func placement(for reader: FolderReader) throws -> Placement? {
        if let record = try reader.ring() { return record.state.placement }
        guard let ring = try names(for: reader)?.ring(size: reader.identity.ringSize) else { return nil }
        return Placement(ring)
    }

    static let noRing = """
        the folder knows no ring: the cluster runs with the members that its configuration lists, and never changed them. \
        --cluster NAME --members NAME,NAME,… computes the ring from their names
        """
}

/// The object that a command is about.
struct ObjectArguments: ParsableArguments {
    @Argument(help: "Bucket. \\xNN stands for a byte, \\\\ for a backslash.") var bucket: String
    @Argument(help: "Key, written in the same way.") var key: String
    @Option(help: "Bucket type.") var type = ""

    func object() throws -> ObjectKey {
        let bucketName = try FilterOptions.bytes(of: bucket, "the bucket")
        let keyName = try FilterOptions.bytes(of: key, "the key")
        guard bucketName.readableBytes > 0, keyName.readableBytes > 0 else {
            throw ValidationError("bucket and key cannot be empty")
        }
        guard bucketName.readableBytes <= ObjectKey.maximumBucketBytes,
            keyName.readableBytes <= ObjectKey.maximumKeyBytes
        else { throw ValidationError("the bucket or the key is longer than Torc takes") }
        return ObjectKey(
            bucket: BucketID(type: try FilterOptions.bytes(of: type, "--type"), name: bucketName), key: keyName)
    }
}

extension FolderReader {
    /// Keys in all partitions, about.
    var estimatedRecords: UInt64 {
        families.reduce(0) { $1.partition == nil ? $0 : $0 + estimatedKeys(of: $1) }
    }

    /// For a walk through all partitions. `isListing`: lines come meanwhile, and a bar between them on one terminal would be noise.
    func progress(_ title: String, isListing: Bool = false) -> ProgressBar? {
        isListing && isatty(STDOUT_FILENO) == 1 ? nil : ProgressBar(title, total: estimatedRecords)
    }

    /// For a walk through what is kept for other nodes.
    func hintProgress(_ title: String, isListing: Bool) -> ProgressBar? {
        isListing && isatty(STDOUT_FILENO) == 1
            ? nil : ProgressBar(title, total: hintsKept.map { estimatedKeys(of: $0) } ?? 0)
    }
}
