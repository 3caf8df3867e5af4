// What the folders of all members prove of tombstones, while no node runs. A tombstone is needed for as long as a copy of what
// was deleted may be somewhere: so one can go when every copy of its key that there is, in any folder, is this very tombstone.
//
//   all members are there, stopped cleanly   nothing is on its way, and nothing that was acknowledged is missing
//   all hold the same ring, at rest          nobody else has copies
//   no hints of the partition anywhere       what is kept for another may be older
//   no damage noted of the partition         what is not there may come back
//
// Who was removed or replaced never comes back and need not be there. Whoever is interrupted between two folders has done no
// harm: one that has a tombstone gives it to one that has none, and that is all there is to give.

package import NIOCore
package import TorcModel
package import TorcReplication
package import TorcStorage

package struct TombstoneProof: Sendable {
    /// Why what is in the folders proves nothing at all.
    package enum Refusal: Error, Hashable, CustomStringConvertible {
        case noRing
        case differentRings(String, String)
        case moving(String)
        case missing([String])
        case unclean(String)
        case twice(String)

        package var description: String {
            switch self {
            case .noRing: DeclaredOptions.noRing
            case .differentRings(let one, let other):
                "\(one) and \(other) hold different rings: start the nodes, let them agree, and stop them again"
            case .moving(let path):
                "copies move by the ring of \(path): start the nodes, let 'torc cluster transfers --wait' end, and stop them again"
            case .missing(let nodes):
                "no proof without the folders of all members: add \(nodes.joined(separator: ", "))"
            case .unclean(let path):
                "the node of \(path) was not stopped cleanly: start it, and stop it with SIGTERM"
            case .twice(let path): "\(path) is of a node of which there is a folder already: name each node's once"
            }
        }
    }

    /// More wait for the next run: their keys are held in memory.
    package static let maximumReaped = 1_000_000

    /// Entries between two words to a progress bar.
    private static let stride: UInt64 = 1_000

    /// Storage keys.
    package private(set) var proven: [PartitionID: [ByteBuffer]] = [:]
    package private(set) var count = 0
    /// How many stay, by what they wait for.
    package private(set) var kept: [String: Int] = [:]

    private let readers: [FolderReader]
    private let names: [String]

    /// `placement`: of each folder, nil where it knows no ring. `title`: of a node, for a person.
    package init(
        _ readers: [FolderReader], placement: (FolderReader) throws -> Placement?,
        members: (FolderReader) throws -> [NodeID]?,
        title: (NodeID) -> String, advance: (UInt64) -> Void = { _ in }
    ) throws {
        self.readers = readers
        names = readers.map { title($0.identity.node) }
        try check(placement, members, title)
        let hinted = try partitionsOfHints()
        let damaged = Set(
            try readers.flatMap { try $0.damagedFamilies().compactMap { StoredFamily(name: $0.name).partition } })
        for partition in Set(readers.flatMap(\.partitions)).sorted() {
            try prove(partition, hintsAt: hinted[partition], isDamaged: damaged.contains(partition), advance)
        }
    }

    private func check(
        _ placement: (FolderReader) throws -> Placement?, _ members: (FolderReader) throws -> [NodeID]?,
        _ title: (NodeID) -> String
    ) throws {
        var first: (Placement, FolderReader)?
        var missing: Set<NodeID> = []
        for (index, reader) in readers.enumerated() {
            if readers[..<index].contains(where: { $0.identity.node == reader.identity.node }) {
                throw Refusal.twice(reader.path)
            }
            guard try reader.wasClean() else { throw Refusal.unclean(reader.path) }
            guard let present = try placement(reader) else { throw Refusal.noRing }
            guard present.phase == .settled else { throw Refusal.moving(reader.path) }
            if let (other, path) = first, other.epoch != present.epoch || other.ring != present.ring {
                throw Refusal.differentRings(path.path, reader.path)
            }
            first = first ?? (present, reader)
            missing.formUnion(try members(reader) ?? present.ring.members)
        }
        missing.subtract(readers.map(\.identity.node))
        if !missing.isEmpty { throw Refusal.missing(missing.sorted().map(title)) }
    }

    /// With who keeps them.
    private func partitionsOfHints() throws -> [PartitionID: String] {
        var found: [PartitionID: String] = [:]
        for (reader, name) in zip(readers, names) {
            let summary = try reader.walkHints { hint in
                found[reader.identity.ringSize.partition(of: hint.view.key.position)] = name
                return true
            }
            // What cannot be read may be of any partition.
            guard summary.isWhole else { throw Refusal.unclean(reader.path) }
        }
        return found
    }

    private mutating func prove(
        _ partition: PartitionID, hintsAt keeper: String?, isDamaged: Bool, _ advance: (UInt64) -> Void
    ) throws {
        var seen: Set<ByteBuffer> = []
        for (index, reader) in readers.enumerated() {
            guard let family = try reader.family(of: partition) else { continue }
            var entries: UInt64 = 0
            try reader.walk(family) { key, value in
                entries += 1
                if entries.isMultiple(of: Self.stride) { advance(Self.stride) }
                guard let name = try? ObjectKey(storageKey: key), let record = try? Record(decoding: value, for: name),
                    !record.isGrave, let object = try? record.object(), object.isTombstone
                else { return true }
                let key = ByteBuffer(bytes: key.readableBytesView)
                guard seen.insert(key).inserted else { return true }
                if let reason = try reasonToKeep(key, name, record, partition, first: index, keeper, isDamaged) {
                    kept[reason, default: 0] += 1
                } else {
                    proven[partition, default: []].append(key)
                    count += 1
                }
                return true
            }
            advance(entries % Self.stride)
        }
    }

    private func reasonToKeep(
        _ key: ByteBuffer, _ name: ObjectKey, _ record: Record, _ partition: PartitionID, first: Int, _ keeper: String?,
        _ isDamaged: Bool
    ) throws -> String? {
        if let keeper { return "hints of the partition, kept at \(keeper)" }
        if isDamaged { return "a partition that was damaged: start its node, which compares it with others" }
        for (index, reader) in readers.enumerated() where index != first {
            guard let family = try reader.family(of: partition), let value = try reader.value(of: key, in: family)
            else {
                continue
            }
            guard let other = try? Record(decoding: value, for: name) else {
                return "a record that cannot be read, at \(names[index])"
            }
            if other.isGrave || other.body == record.body { continue }
            return "another version at \(names[index]): start the nodes, which repair it"
        }
        return count < Self.maximumReaped ? nil : "the next run: this one takes \(Self.maximumReaped)"
    }
}
