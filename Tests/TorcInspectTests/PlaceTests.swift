// Where things belong and what waits: ring, places of objects, Merkle trees, hints, tombstones; and that looking changes nothing.

import Foundation
import NIOCore
import StoreSupport
import Testing
import TorcInspect
import TorcModel
import TorcReplication
import TorcStorage

@Suite struct PlaceTests {
    @Test func aClusterThatNeverChangedHasNoRing() async throws {
        let example = try Example()
        try example.fill()
        let ring = await inspect("ring", example.path)
        #expect(ring.status == 0)
        #expect(
            ring.text.contains("the folder knows no ring")
                && ring.text.contains("8 of 8 partitions are in the folder: 0…7"))
        let place = await inspect("locate", example.path, "carts", "alice")
        #expect(place.text.contains("yes, in family p000") && place.text.contains("the folder knows no ring"))
        let wrong = await inspect("ring", example.path, "--cluster", "shop", "--members", "node1,node2")
        #expect(wrong.status != 0 && wrong.warnings.contains("is the node of this folder"))
        try example.harness.close()
    }

    @Test func theRingFollowsFromTheMembersNames() async throws {
        let nodes = ["node1", "node2", "node3", "node4"].map { NodeID(cluster: "shop", node: $0) }
        let example = try Example(node: nodes[1])
        try example.fill()
        let ring = try Ring.declared(members: nodes.map { ClaimMember(node: $0) }, size: example.harness.ringSize)
        let key = Example.key("carts", "alice")
        let partition = example.harness.partition(key)
        let expected = ring.preferenceList(of: partition, count: 3).map { "node\(nodes.firstIndex(of: $0)! + 1)" }
        let names = ["--cluster", "shop", "--members", "node4,node2,node3,node1"]
        let place = await inspect(["locate", example.path, "carts", "alice", "--json"] + names).objects
        #expect(place[0]["replicas"] as? [String] == expected)
        #expect(place[0]["partition"] as? Int == partition.index)
        #expect(place[0]["leaf"] as? Int == example.harness.store.layout.leaf(of: key.position))
        #expect(place[0]["storageKey"] as? String == PlainText.hex(key.storageKey))
        #expect(place[0]["isStored"] as? Bool == true)
        let report = await inspect(["ring", example.path, "--json"] + names).objects[0]
        let held = ring.partitionsHeld(by: nodes[1], copies: 3).map(\.index)
        #expect(report["held"] as? [Int] == held)
        let filled = await inspect("count", example.path, "--by", "partition", "--json").objects.compactMap {
            $0["partition"] as? Int
        }
        #expect(report["inFolderOnly"] as? [Int] == filled.filter { !held.contains($0) })
        #expect(report["isDeclared"] as? Bool == true)
        #expect(await inspect(["ring", example.path] + names).text.contains("node3"))
        try example.harness.close()
    }

    @Test func movesUnderWayAreShown() async throws {
        let example = try Example()
        try example.fill()
        let state = try example.storeRing(joining: NodeID(rawValue: 0xd4))
        let former = try #require(state.transition).former
        let moving = (0..<8).map { PartitionID($0) }.filter { partition in
            Set(state.ring.preferenceList(of: partition, count: 3))
                != Set(former.preferenceList(of: partition, count: 3))
        }
        let report = await inspect("ring", example.path, "--json").objects[0]
        #expect(report["phase"] as? String == "copying" && report["epoch"] as? Int == 2)
        let moves = report["moves"] as? [[String: Any]] ?? []
        #expect(moves.map { $0["partition"] as? Int } == moving.map(\.index) && !moves.isEmpty)
        #expect(moves.allSatisfy { $0["to"] as? [String] == ["node4"] })
        let text = await inspect("ring", example.path, "--partitions").text
        for part in ["copying: \(moving.count) partitions", "node4", "10.0.0.4:8099", "east", "COMES TO", "(before: "] {
            #expect(text.contains(part), "'\(part)' is not in\n\(text)")
        }
        let alice = example.harness.partition(Example.key("carts", "alice"))
        let place = await inspect("locate", example.path, "carts", "alice", "--json").objects[0]
        let names = { (node: NodeID) in node.rawValue == 0xd4 ? "node4" : "\(node)" }
        #expect(place["replicas"] as? [String] == state.ring.preferenceList(of: alice, count: 3).map(names))
        #expect(place["former"] as? [String] == former.preferenceList(of: alice, count: 3).map(names))
        // While copies move nothing is reaped.
        let waits = await inspect("tombstones", example.path).text
        #expect(waits.contains("copies move (copying)"), "\(waits)")
        try example.harness.close()
    }

    @Test func treesAreShownFromTheRootToTheRecords() async throws {
        let example = try Example()
        try example.fill()
        let key = Example.key("carts", "alice")
        let partition = example.harness.partition(key)
        let leaf = example.harness.store.layout.leaf(of: key.position)
        let tree = MerkleTree(TreeID(partition: partition, copies: 3), in: example.harness.leaves[0])

        let roots = await inspect("merkle", example.path, "--json").objects
        let root = roots.first { $0["partition"] as? Int == partition.index && $0["n"] as? Int == 3 }
        #expect(root?["root"] as? String == "\(tree.root)")
        #expect(roots.contains { $0["n"] as? Int == 2 })
        let branch = leaf / 64
        let branches = await inspect(
            "merkle", example.path, "--partition", "\(partition.index)", "--copies", "3", "--json")
        #expect(
            branches.objects.count
                == tree.branches.indices.count { tree.leaves[$0 * 64..<$0 * 64 + 64].contains { $0 != 0 } })
        #expect(
            branches.objects.first { $0["branch"] as? Int == branch }?["hash"] as? String
                == hexadecimal(tree.branches[branch]))
        let leaves = await inspect(
            "merkle", example.path, "--partition", "\(partition.index)", "--copies", "3", "--branch", "\(branch)",
            "--json")
        #expect(
            leaves.objects.first { $0["leaf"] as? Int == leaf }?["hash"] as? String
                == hexadecimal(testSeed.contentHash(key: key, body: try body(of: key, example)).rawValue))
        let records = await inspect("merkle", example.path, "--partition", "\(partition.index)", "--leaf", "\(leaf)")
        #expect(records.lines.count == 2 && records.lines[1].hasSuffix("carts/alice"), "\(records.text)")
        for arguments in [["--branch", "3"], ["--partition", "9"], ["--partition", "0", "--leaf", "16384"]] {
            #expect(await inspect(["merkle", example.path] + arguments).status != 0)
        }
        try example.harness.close()
    }

    private func body(of key: ObjectKey, _ example: Example) throws -> ByteBuffer {
        let reader = try FolderReader.open(example.path)
        let family = try #require(try reader.family(of: example.harness.partition(key)))
        return try Record(decoding: try #require(try reader.value(of: key.storageKey, in: family)), for: key).body
    }

    @Test func hintsAreCountedByTarget() async throws {
        let example = try Example()
        try example.fill()
        let totals = await inspect("hints", example.path, "--json").objects
        #expect(totals.map { $0["target"] as? String } == ["00000000000000b2", "00000000000000c3"])
        #expect(totals.map { $0["hints"] as? Int } == [1, 2])
        #expect(totals.map { $0["oldest"] as? UInt64 } == [Example.noon, Example.noon])
        let list = await inspect("hints", example.path, "--list", "--target", "c3", "--prefix", "bob")
        #expect(list.lines.count == 2 && list.lines[1].contains("carts/bob  for another"), "\(list.text)")
        _ = try example.storeRing()
        #expect(await inspect("hints", example.path).text.contains("yes"))
        try example.write(
            Example.key("carts", "gone"), Example.object(Example.sibling(Example.actor, 1, "x")),
            hintFor: HintNote(target: NodeID(rawValue: .max), since: WallTime(microseconds: Example.noon)))
        try example.harness.store.sync()
        let stray = await inspect("hints", example.path, "--list", "--target", "ffffffffffffffff", "--json")
        #expect(stray.objects.map { $0["key"] as? String } == ["gone"])
        #expect(await inspect("hints", example.path).text.contains("no: 'torc inspect purge-hints'"))
        #expect(
            await inspect("hints", example.path, "--target", "nobody").warnings.contains("knows no node of that name"))
        let none = try Example()
        #expect(await inspect("hints", none.path).text == "nothing is kept for other nodes\n")
        try none.harness.close()
        try example.harness.close()
    }

    @Test func tombstonesAndWhatTheyWaitFor() async throws {
        let example = try Example()
        try example.fill()
        let state = try example.storeRing()
        let text = await inspect("tombstones", example.path).text
        // Of frank one version has expired, of dave the only one.
        #expect(text.hasPrefix("2 tombstones, 2 expired, 1 graves\n"), "\(text)")
        let lines = await inspect("tombstones", example.path, "--json").objects
        let carol = Example.key("carts", "carol")
        let line = lines.first {
            $0["partition"] as? Int == example.harness.partition(carol).index && $0["n"] as? Int == 3
        }
        let leader = state.ring.preferenceList(of: example.harness.partition(carol), count: 3)[0]
        #expect((line?["leader"] as? String)?.hasPrefix("\(leader)") == true)
        #expect((line?["waitsFor"] as? [String])?.contains { $0.contains("hints") } == true)
        let list = await inspect("tombstones", example.path, "--list", "--bucket", "carts").lines
        #expect(list.first { $0.contains("carts/eve") }?.contains("waits for: ") == true)
        #expect(list.first { $0.contains("carts/eve") }?.contains("the graves of all other replicas") == true)
        #expect(list.first { $0.contains("carts/dave") }?.contains("the clocks of all replicas") == true)
        #expect(list.first { $0.contains("carts/carol") }?.contains("the clocks") == false)
        let objects = await inspect("tombstones", example.path, "--list", "--prefix", "eve", "--json").objects
        #expect(objects.count == 1 && objects[0]["state"] as? String == "grave")
        #expect((objects[0]["waitsFor"] as? [String])?.last?.hasPrefix("the graves of all") == true)
        #expect(
            Set(list.map { $0.split(separator: " ").prefix(2).joined(separator: " ") }) == [
                "tombstone carts/carol", "expired carts/dave", "grave carts/eve", "partly carts/frank",
            ])
        try example.harness.close()
    }

    @Test func infoTellsTheStateOfAFolder() async throws {
        let example = try Example()
        try example.fill()
        let running = await inspect("info", example.path).text
        #expect(running.contains("in use by process \(getpid())") && running.contains("stopped      no, it runs"))
        #expect(running.contains("2 for 00000000000000c3"))
        let families = await inspect("list_column_families", example.path, "--json").objects
        #expect(families.count == 12)
        #expect(families.contains { $0["name"] as? String == "merkle" })
        try example.harness.close()

        let clean = await inspect("info", example.path, "--json").objects[0]
        #expect(clean["wasClean"] as? Bool == true && clean["heldBy"] == nil)
        #expect(clean["incarnations"] as? [String] == ["000000000000011c"])
        #expect((clean["log"] as? [String: Any])?["verdict"] as? String == "whole: a start would serve")
        #expect(((clean["log"] as? [String: Any])?["oldest"] as? String)?.hasSuffix(".log") == true)
        let levels = (clean["families"] as? [[String: Any]] ?? []).compactMap { $0["levels"] as? [String: Int] }
        #expect(levels.contains { $0["L0"] == 1 }, "\(levels)")
    }

    @Test func lookingChangesNothing() async throws {
        let example = try Example()
        try example.fill()
        try example.harness.close()
        func listing() throws -> [String: Data] {
            var result: [String: Data] = [:]
            for case let name as String in FileManager.default.enumerator(atPath: example.path)! {
                result[name] = (try? Data(contentsOf: URL(fileURLWithPath: "\(example.path)/\(name)"))) ?? Data()
            }
            return result
        }
        let before = try listing()
        for command in [
            ["info"], ["ring"], ["families"], ["scan"], ["keys"], ["buckets"], ["count"], ["hints"], ["tombstones"],
            ["merkle"],
            ["histogram"], ["dump"], ["dump", "meta"], ["get", "carts", "alice"], ["locate", "carts", "alice"],
        ] {
            for json in [[], ["--json"]] {
                let outcome = await inspect([command[0], example.path] + command.dropFirst() + json)
                #expect(outcome.status == 0 && !outcome.text.isEmpty, "\(command): \(outcome.warnings)")
                if !json.isEmpty { #expect(outcome.objects.allSatisfy { $0["unreadable"] == nil }, "\(command)") }
            }
        }
        #expect(try listing() == before)
        let absent = await inspect("count", example.folder.path + "/none")
        #expect(absent.status != 0 && absent.warnings.contains("there is no data folder"))
    }
}
