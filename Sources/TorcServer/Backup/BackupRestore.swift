// From a backup to a data folder that a node starts on.
//
// A restored cluster has a name of its own, and so an identity of its own: its nodes and those of the cluster that was backed
// up refuse each other, and so do configurations and folders. That is what keeps a node that was set back from entering
// the living cluster as if nothing had happened: it would bring back what was deleted and reaped since. Within the
// restored cluster everything is as it was: nodes keep their ids, so that hints find their targets; records keep their
// versions; the ring keeps its owners, under the addresses that the cluster has now. What was voted on or staged is
// forgotten, as it was the other cluster's. For each folder the nodes count as joined: what they are stands in the folder
// and not in the configuration, whose cluster's name gives other ids.

import Foundation
package import Logging
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
package import TorcStorage

package struct BackupRestore: Sendable {
    /// Of the node that is restored.
    package let configuration: ServerConfiguration
    package let backup: StoredBackup
    package let node: ClusterBackupManifest.Node
    package let manifest: NodeBackupManifest
    private let identity: StoreIdentity
    private let state: ClusterState
    private let addresses: [HostAddress]

    /// Whether something at an address answers is found within this.
    private static let connectTime = TimeAmount.seconds(1)

    /// Judges whether a backup may become the data folder that a configuration names. `members`: all of them, with where
    /// their peers find them; nil: as the configuration lists them. Writes nothing.
    package init(
        _ backup: StoredBackup, for configuration: ServerConfiguration, members listed: [DeclaredMember]?
    ) throws {
        let whole = backup.manifest
        let name = configuration.nodeName
        var former = configuration
        former.clusterName = whole.clusterName
        guard "\(Node.clusterID(former))" == whole.cluster else {
            throw BackupError.refused(
                "the backup is of cluster \(whole.clusterName) under another key than the configuration of \(name) has: "
                    + "give cluster.key-file the key of that cluster")
        }
        guard Node.clusterID(configuration) != Node.clusterID(former) else {
            throw BackupError.refused(
                "the backup is of cluster \(whole.clusterName), and so is the configuration of \(name): set cluster.name to a "
                    + "name that no cluster has had, the same for all nodes. It keeps restored nodes out of the former cluster, "
                    + "where they would bring back what was deleted since")
        }
        guard let node = whole.nodes.first(where: { $0.name == name }) else {
            throw BackupError.refused(
                "the backup has no part of \(name): it has \(whole.nodes.map(\.name).joined(separator: ", ")). Every node is "
                    + "restored under its own name; on more nodes or fewer, import it")
        }
        guard configuration.ringSize.partitions == whole.ringSize else {
            throw BackupError.refused(
                "the backup is of a ring of \(whole.ringSize) partitions, the configuration of \(name) says "
                    + "\(configuration.ringSize.partitions): set cluster.partitions to \(whole.ringSize)")
        }
        guard NodeContact.isName(name) else {
            throw BackupError.refused("the name of \(name) has a space, a comma or an equals sign in it")
        }
        guard configuration.join == nil else {
            throw BackupError.refused("the configuration of \(name) has cluster.join: a restored node does not join")
        }
        let own = try backup.manifest(of: node)
        let damaged = { BackupError.damaged(path: backup.path, reason: $0) }
        guard let bytes = Data(base64Encoded: own.ring) else { throw damaged("its ring cannot be read") }
        var buffer = ByteBuffer(bytes: bytes)
        guard let state = try? ClusterState(decoding: &buffer), state.transition == nil,
            "\(state.version.fingerprint)" == whole.ringFingerprint,
            let id = UInt64(node.node, radix: 16).map(NodeID.init(rawValue:)), state.contains(id)
        else { throw damaged("its ring is not that of the whole") }
        let list = listed ?? configuration.members
        let wanted = state.participants.map { member in
            whole.nodes.first { $0.node == "\(member.node)" }?.name ?? "\(member.node)"
        }
        guard Set(list.map(\.name)) == Set(wanted) else {
            throw BackupError.refused(
                "the members are to be \(wanted.sorted().joined(separator: ", ")), as in the backup, and for \(name) they are "
                    + "\(list.map(\.name).sorted().joined(separator: ", ")): name each with its address, in "
                    + "cluster.members or with --members")
        }
        var contacts: [NodeID: ByteBuffer] = [:]
        for (member, name) in zip(state.participants, wanted) {
            let address = list.first { $0.name == name }!.address
            contacts[member.node] = ByteBuffer(string: "\(NodeContact(name: name, address: address))")
        }
        self.configuration = configuration
        self.backup = backup
        self.node = node
        manifest = own
        self.state = state.restored(at: contacts)
        addresses = list.map(\.address)
        var generator = SystemRandomNumberGenerator()
        var identity = StoreIdentity(
            cluster: Node.clusterID(configuration), node: id, store: StoreID(rawValue: generator.next()),
            ringSize: state.ring.size, joinedName: name)
        guard case .ready(let stored) = try DataFolder.peek(backup.folder(of: node)) else {
            throw damaged("\(name) has no IDENTITY")
        }
        identity.hasCopies = stored.hasCopies
        self.identity = identity
    }

    /// Something answers where a member is to be: then the cluster is not empty, or its addresses are another's.
    package func findLiving() async -> HostAddress? {
        for address in addresses {
            let channel = try? await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(Self.connectTime).connect(host: address.host, port: address.port).get()
            if let channel {
                try? await channel.close()
                return address
            }
        }
        return nil
    }

    /// Makes the data folder. Ended at any point it leaves none, or all of it. `step` is told of each piece that is copied.
    package func carryOut(logger: Logger, step: (_ bytes: Int) -> Void) throws {
        let target = configuration.dataFolder
        let making = try NewFolder.begin(target)
        try backup.copy(manifest, of: node, to: making, as: identity, step: step)
        let folder = try DataFolder.open(
            making, cluster: identity.cluster, node: identity.node, ringSize: identity.ringSize, create: false)
        let opened = try NodeStore.open(
            folder, partitions: [], laneCount: configuration.laneCount, hashSeed: configuration.clusterKey.hashSeed,
            options: configuration.storeOptions, logger: logger)
        do {
            let known = manifest.roots.filter { !manifest.rootless.contains($0.partition) }
                .sorted { ($0.partition, $0.copies) < ($1.partition, $1.copies) }
            let found = opened.leaves.flatMap { NodeBackup.roots(of: $0) }.filter {
                !manifest.rootless.contains($0.partition)
            }
            .sorted { ($0.partition, $0.copies) < ($1.partition, $1.copies) }
            guard found == known else {
                throw BackupError.damaged(
                    path: backup.folder(of: node), reason: "its trees are not those that were saved")
            }
            try opened.store.putMeta([
                (StoredRing.key, RingRecord(state: state).encoded), (StoredDeclared.key, nil),
            ])
            try opened.store.close(lanes: opened.lanes, leaves: opened.leaves)
        } catch {
            try? opened.store.abandon()
            throw error
        }
        try NewFolder.finish(making, as: target)
    }
}
