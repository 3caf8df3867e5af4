// Tombstones that the folders of all members prove to be needed by nobody, and those that something still needs.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct ReapTests {
    private static let nodes = [testNode, Example.other, Example.third]
    private static let gone = Example.key("carts", "carol")
    private static let live = Example.key("carts", "bob")
    private static let value = Example.object(Example.sibling(Example.actor, 3, "gone"))
    private static let tombstone = Example.deleted(value)

    /// Three members, stopped cleanly, each with a live object and what `change` writes.
    private func cluster(_ change: (Int, Example) throws -> Void) throws -> [Example] {
        try Self.nodes.enumerated().map { index, node in
            let example = try Example(node: node)
            _ = try example.storeRing()
            try example.write(Self.live, Example.object(Example.sibling(Example.actor, 1, "tea")))
            try change(index, example)
            try example.harness.close()
            return example
        }
    }

    private func reap(_ cluster: [Example], _ arguments: String...) async -> Outcome {
        await inspect(["reap"] + cluster.map(\.path) + arguments)
    }

    @Test(arguments: [3, 2]) func whatAllMembersHoldAlikeGoes(holders: Int) async throws {
        let cluster = try cluster { index, example in
            if index < holders { try example.write(Self.gone, Self.tombstone) }
        }
        let outcome = await reap(cluster, "--yes", "--json")
        #expect(outcome.status == 0 && outcome.objects.last?["proven"] as? Int == 1, "\(outcome)")
        for (node, example) in zip(Self.nodes, cluster) {
            let path = try #require(
                (outcome.objects.last?["folders"] as? [String])?.first { $0.hasPrefix(example.path) })
            let harness = try Harness(path, node: node)
            #expect(Set(try harness.contents().keys) == [Self.live])
            #expect(Set(harness.report.leavesRebuilt.keys) == [harness.partition(Self.gone)])
            try harness.close()
            // What was there stands.
            let before = try Harness(example.path, node: node)
            #expect(try before.contents().count == (Self.nodes.firstIndex(of: node)! < holders ? 2 : 1))
            try before.close()
        }
    }

    @Test func inPlace() async throws {
        let cluster = try cluster { _, example in try example.write(Self.gone, Self.tombstone) }
        #expect(await reap(cluster, "--dry-run").text.contains("1 tombstones are needed by nobody, 0 stay"))
        #expect(await reap(cluster, "--yes", "--in-place").status == 0)
        #expect(await reap(cluster, "--dry-run").text.contains("0 tombstones are needed by nobody, 0 stay"))
    }

    /// It would come back.
    @Test func whatHasAnOlderCopySomewhereStays() async throws {
        let cluster = try cluster { index, example in
            try example.write(Self.gone, index == 1 ? Self.value : Self.tombstone)
        }
        let outcome = await reap(cluster, "--dry-run")
        #expect(outcome.text.contains("0 tombstones are needed by nobody, 1 stay"), "\(outcome)")
        #expect(outcome.text.contains("another version at"))
    }

    @Test func whatMayBeHintedStays() async throws {
        let cluster = try cluster { index, example in
            try example.write(Self.gone, Self.tombstone)
            guard index == 2 else { return }
            try example.write(
                Self.gone, Self.value,
                hintFor: HintNote(target: testNode, since: WallTime(microseconds: Example.noon)))
        }
        let outcome = await reap(cluster, "--dry-run")
        #expect(outcome.text.contains("1 for hints of the partition"), "\(outcome)")
    }

    @Test func nothingIsProvenWithoutAMember() async throws {
        let cluster = try cluster { _, example in try example.write(Self.gone, Self.tombstone) }
        let outcome = await reap(Array(cluster.dropLast()), "--yes")
        #expect(outcome.status == 1 && outcome.warnings.contains("add "), "\(outcome)")
        let twice = await reap(cluster + [cluster[0]], "--dry-run")
        #expect(twice.status == 1 && twice.warnings.contains("name each node's once"), "\(twice)")
    }

    @Test func nothingIsProvenWhileCopiesMove() async throws {
        let cluster = try cluster { index, example in
            if index == 0 { _ = try example.storeRing(joining: NodeID(rawValue: 0xd4)) }
        }
        let outcome = await reap(cluster, "--dry-run")
        #expect(outcome.status == 1 && outcome.warnings.contains("copies move"), "\(outcome)")
    }
}

@Suite struct SetBucketTests {
    @Test func propertiesAreSet() async throws {
        let example = try Example()
        try example.fill()
        try example.harness.close()
        let outcome = await inspect(
            "set-bucket", example.path, "carts", "w=1", "pr=quorum", "notfound_ok=false", "--yes", "--in-place")
        #expect(outcome.status == 0, "\(outcome)")
        let properties = try FolderReader.open(example.path).properties()[Example.key("carts", "x").bucket]
        #expect(properties.w == .count(1) && properties.pr == .quorum && !properties.notFoundOK && properties.n == 3)
        // A later change wins, whatever the clock says.
        let copy = example.folder.path + "/later"
        #expect(await inspect("set-bucket", example.path, "carts", "w=2", "--yes", "--to", copy).status == 0)
        let later = try FolderReader.open(copy).properties()[Example.key("carts", "x").bucket]
        #expect(later.w == .count(2) && later.pr == .quorum)
    }

    @Test(arguments: [
        ("n_val=2", "running cluster"), ("w=9", "invalid"), ("w=many", "say a number"), ("colour=red", "no property"),
    ]) func whatCannotBeSetIsSaid(word: String, reason: String) async throws {
        let example = try Example()
        try example.harness.close()
        let outcome = await inspect("set-bucket", example.path, "carts", word, "--dry-run")
        #expect(outcome.status != 0 && outcome.warnings.contains(reason), "\(outcome)")
    }

    @Test func lastWriteWinsStays() async throws {
        let example = try Example()
        try example.harness.close()
        _ = await inspect("set-bucket", example.path, "flags", "last_write_wins=true", "--yes", "--in-place")
        let outcome = await inspect("set-bucket", example.path, "flags", "allow_mult=true", "--dry-run")
        #expect(outcome.status != 0 && outcome.warnings.contains("cannot be had back"), "\(outcome)")
    }
}

@Suite struct ResetNodeIDTests {
    @Test func nothingServesFromAClone() async throws {
        let example = try Example()
        try example.fill()
        try example.harness.close()
        let outcome = await inspect("reset-node-id", example.path, "--yes", "--json")
        let retired = try #require(outcome.objects.last?["retired"] as? String, "\(outcome)")
        #expect(!FileManager.default.fileExists(atPath: example.path))
        #expect(throws: StoreError.isBackup(path: retired)) { try Harness(retired) }
        #expect(await inspect("get", retired, "carts", "bob").text.contains("tea"))
    }

    @Test func oneThatRunsStays() async throws {
        let example = try Example()
        try example.fill()
        #expect(await inspect("reset-node-id", example.path, "--yes").status != 0)
        #expect(FileManager.default.fileExists(atPath: example.path))
        try example.harness.close()
    }
}
