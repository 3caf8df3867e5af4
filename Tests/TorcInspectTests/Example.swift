// A small store in which there is one of everything, and a way to run a command on it as a person would.

import ArgumentParser
import Foundation
import NIOCore
import StoreSupport
import TorcConsole
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

/// What a command printed, and the status that it ended with.
struct Outcome {
    var text: String
    var warnings: String
    var status: Int32

    var lines: [String] { text.split(separator: "\n").map(String.init) }

    /// Its lines as JSON objects.
    var objects: [[String: Any]] {
        lines.map { (try? JSONSerialization.jsonObject(with: Data($0.utf8))) as? [String: Any] ?? ["unreadable": $0] }
    }
}

/// Runs `torc inspect` with these arguments.
func inspect(_ arguments: String...) async -> Outcome { await inspect(arguments) }

func inspect(_ arguments: [String]) async -> Outcome {
    let capture = ConsoleCapture()
    var status: Int32 = 0
    var message = ""
    do {
        try await Console.$capture.withValue(capture) {
            var command = try InspectCommand.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        }
    } catch {
        status = InspectCommand.exitCode(for: error).rawValue
        message = InspectCommand.message(for: error)
    }
    return Outcome(text: capture.text, warnings: capture.warnings + message, status: status)
}

/// Folders that commands look at.
struct Example {
    let folder = TemporaryFolder()
    let harness: Harness
    var path: String { folder.path + "/node" }

    static let other = NodeID(rawValue: 0xb2)
    static let third = NodeID(rawValue: 0xc3)
    static let run = Incarnation(rawValue: 0x11c)
    /// Of this node and of another, by their tags.
    static let actor = Actor(rawValue: 0x00a1_0000_0000_0007)
    static let otherActor = Actor(rawValue: 0x00b2_0000_0000_0009)
    /// 2026-11-23T12:00:00Z.
    static let noon: UInt64 = 1_795_435_200_000_000
    static let hour: UInt64 = 3_600_000_000

    init(node: NodeID = testNode) throws {
        harness = try Harness(folder.path + "/node", node: node)
        try harness.store.beginIncarnation(Self.run)
    }

    static func key(_ bucket: String, _ key: String, type: String = "") -> ObjectKey {
        ObjectKey(
            bucket: BucketID(type: ByteBuffer(string: type), name: ByteBuffer(string: bucket)),
            key: ByteBuffer(string: key))
    }

    static func sibling(
        _ actor: Actor, _ counter: UInt64, _ value: String, at stamp: UInt64 = noon, expiry: UInt64? = nil,
        writeID: WriteID? = nil, type: String = "text/plain"
    ) -> Sibling {
        var metadata = ContentMetadata()
        metadata.contentType = ByteBuffer(string: type)
        return Sibling(
            dot: Dot(actor: actor, counter: counter), timestamp: HybridTimestamp(rawValue: stamp),
            expiry: expiry.map(WallTime.init(microseconds:)), writeID: writeID, metadata: metadata.encoded,
            value: ByteBuffer(string: value))
    }

    static func object(_ siblings: Sibling..., mode: ConflictMode = .siblings) -> VersionedObject {
        var object = VersionedObject(mode: mode)
        for sibling in siblings { object.put(sibling, context: VersionVector(), mode: mode) }
        return object
    }

    static func deleted(_ object: VersionedObject) -> VersionedObject {
        var result = object
        result.delete(context: object.clock)
        return result
    }

    /// Writes a record as a lane would, its leaf included.
    func write(
        _ key: ObjectKey, _ object: VersionedObject, copies: UInt8 = 3, minting: LocalHeader.MintingActor? = nil,
        hintFor: HintNote? = nil, isGrave: Bool = false
    ) throws {
        let record = Record(
            header: LocalHeader(copies: copies, minting: minting), hint: hintFor, isGrave: isGrave, body: object.encoded
        )
        let partition = harness.partition(key)
        let change = LeafChange(
            tree: TreeID(partition: partition, copies: copies), leaf: harness.store.layout.leaf(of: key.position),
            delta: testSeed.contentHash(key: key, body: record.body).rawValue)
        let counts = hintFor == nil && !isGrave
        if counts { harness.leaves[0].apply(change) }
        try harness.lanes[0].append(
            RecordWrite(
                partition: partition, hint: hintFor?.target, key: key, record: record.encoded(for: key),
                leaves: counts ? [change] : []))
        try harness.commit()
    }

    /// Bytes that no lane would write.
    func writeRaw(_ key: ObjectKey, _ bytes: ByteBuffer) throws {
        try harness.lanes[0].append(
            RecordWrite(partition: harness.partition(key), key: key, record: bytes, leaves: []))
        try harness.commit()
    }

    /// One of everything: what the tests of the commands below expect.
    func fill() throws {
        let past = Self.noon - 24 * Self.hour
        let future: UInt64 = 4_000_000_000_000_000
        try write(
            Self.key("carts", "alice"),
            Self.object(
                Self.sibling(Self.actor, 2, "milk, eggs"),
                Self.sibling(Self.otherActor, 1, "milk, bread", at: Self.noon + 1_000_000)),
            minting: .init(actor: Self.actor, incarnation: Self.run, counter: 2))
        try write(
            Self.key("carts", "bob"),
            Self.object(
                Self.sibling(
                    Self.actor, 1, "tea", at: Self.noon - 2 * Self.hour, expiry: future,
                    writeID: WriteID(high: 0xabc, low: 0xdef))))
        try write(Self.key("carts", "carol"), Self.deleted(Self.object(Self.sibling(Self.actor, 3, "gone"))))
        try write(
            Self.key("carts", "dave"), Self.object(Self.sibling(Self.actor, 1, "old", at: past, expiry: past + 1)))
        try write(
            Self.key("carts", "eve"), Self.deleted(Self.object(Self.sibling(Self.actor, 1, "buried"))), isGrave: true)
        try write(
            Self.key("carts", "frank"),
            Self.object(
                Self.sibling(Self.actor, 1, "stays", at: past),
                Self.sibling(Self.otherActor, 4, "goes", at: past, expiry: past + 1)))
        try write(
            Self.key("flags", "on"), Self.object(Self.sibling(Self.actor, 1, "1"), mode: .lww), copies: 2)
        var off = Self.sibling(Self.actor, 9, "")
        off.isTombstone = true
        off.metadata = ByteBuffer()
        try write(Self.key("flags", "off"), Self.object(off, mode: .lww), copies: 2)
        try write(Self.binaryKey, Self.object(Self.sibling(Self.otherActor, 1, "\u{1}\u{2}")))

        for (target, name) in [(Self.other, "alice"), (Self.third, "alice"), (Self.third, "bob")] {
            try write(
                Self.key("carts", name), Self.object(Self.sibling(Self.actor, 1, "for another")),
                hintFor: HintNote(target: target, since: WallTime(microseconds: Self.noon)))
        }
        try harness.store.sync()
    }

    static let binaryKey = ObjectKey(
        bucket: BucketID(type: ByteBuffer(string: "sets"), name: ByteBuffer(string: "s")),
        key: ByteBuffer(bytes: [0, 255]))

    /// A cluster of this node and two others, in the folder as if its ring had changed once.
    func storeRing(joining node: NodeID? = nil) throws -> ClusterState {
        let ring = try Ring.declared(
            members: [testNode, Self.other, Self.third].map { ClaimMember(node: $0) }, size: harness.ringSize)
        var state = ClusterState(declared: ring)
        if let node {
            let member = ClusterMember(
                claim: ClaimMember(node: node, weight: 2, zone: "east"),
                contact: ByteBuffer(string: "node4=10.0.0.4:8099"))
            state = try RingPlan(changes: [.join(member)], of: state).next
        }
        try harness.store.putMeta([(StoredRing.key, RingRecord(state: state).encoded)])
        return state
    }
}
