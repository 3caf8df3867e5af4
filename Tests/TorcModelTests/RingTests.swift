import NIOCore
import Testing
import TorcModel

@Suite struct RingTests {
    static func key(_ bucket: String, _ key: String, type: String = "") -> ObjectKey {
        ObjectKey(
            bucket: BucketID(type: ByteBuffer(string: type), name: ByteBuffer(string: bucket)),
            key: ByteBuffer(string: key))
    }

    /// Checked against Python: hashlib.sha1(len(type) + type + len(bucket) + bucket + key), lengths as varints.
    @Test func positionsAreTheSHA1OfTheCanonicalName() {
        #expect(Self.key("b", "k").position.rawValue == 0x690b_0fbd_917e_47fd)
        #expect(Self.key("users", "alice").position.rawValue == 0x0926_d43e_af5e_8c93)
        #expect(Self.key("users", "alice", type: "maps").position.rawValue == 0x6904_a765_c6ed_e748)
        let long = Self.key(String(repeating: "x", count: 200), String(repeating: "y", count: 1_000))
        #expect(long.position.rawValue == 0x34e8_8451_bed0_daee)
        let binary = ObjectKey(bucket: BucketID(name: ByteBuffer(bytes: [0, 255])), key: ByteBuffer(bytes: [0]))
        #expect(binary.position.rawValue == 0xe847_ce00_f79d_b39d)
    }

    @Test func keysKnowTheirParts() throws {
        let key = Self.key("users", "alice", type: "maps")
        #expect(String(buffer: key.key) == "alice")
        #expect(key.bucket == BucketID(type: ByteBuffer(string: "maps"), name: ByteBuffer(string: "users")))
        #expect(try ObjectKey(storageKey: key.storageKey) == key)
        #expect("\(key)" == "maps/users/alice")
        // The default type has one spelling, or one object would have two records.
        #expect(Self.key("users", "alice", type: "default") == Self.key("users", "alice"))
        // Lengths keep bucket and key apart.
        #expect(Self.key("ab", "c") != Self.key("a", "bc"))
        #expect(Self.key("b", "c", type: "a") != Self.key("ab", "c"))
    }

    @Test func keysSortAsTheirBytesDo() {
        var generator = SeededGenerator(seed: 6)
        let keys = (0..<300).map { Self.key("b\($0 % 3)", "\(generator.next() % 1_000)") }
        let byKey = keys.sorted().map(\.storageKey)
        let byBytes = keys.map { Array($0.storageKey.readableBytesView) }
            .sorted { $0.lexicographicallyPrecedes($1) }
        #expect(byKey.map { Array($0.readableBytesView) } == byBytes)
        #expect(keys.sorted().map(\.position) == keys.map(\.position).sorted())
    }

    /// A canonical name under a position that is not its own, and names that no initialiser makes.
    @Test func storageKeysAreCheckedWhole() {
        func reason(type: String = "", bucket: String, key: String, position: UInt64? = nil) -> MalformedBytes.Reason? {
            var name = ByteBuffer()
            name.writeLengthPrefixed(ByteBuffer(string: type))
            name.writeLengthPrefixed(ByteBuffer(string: bucket))
            name.writeString(key)
            var bytes = ByteBuffer()
            bytes.writeInteger(position ?? RingPosition(hashing: name).rawValue)
            bytes.writeImmutableBuffer(name)
            do throws(MalformedBytes) {
                _ = try ObjectKey(storageKey: bytes)
                return nil
            } catch {
                return error.reason
            }
        }
        #expect(reason(bucket: "b", key: "k") == nil)
        #expect(reason(bucket: "b", key: "k", position: 1) == .checksumMismatch)
        #expect(reason(bucket: "", key: "k") == .notCanonical)
        #expect(reason(bucket: "b", key: "") == .notCanonical)
        #expect(reason(type: "default", bucket: "b", key: "k") == .notCanonical)
        #expect(reason(bucket: "b", key: String(repeating: "k", count: ObjectKey.maximumKeyBytes)) == nil)
        #expect(reason(bucket: "b", key: String(repeating: "k", count: ObjectKey.maximumKeyBytes + 1)) == .overLimit)
        #expect(reason(bucket: String(repeating: "b", count: ObjectKey.maximumBucketBytes + 1), key: "k") == .overLimit)
    }

    @Test func partitionsAreEqualRanges() {
        for bits in 3...14 {
            let size = RingSize(partitions: 1 << bits)!
            var starts: [UInt64] = []
            for index in 0..<size.partitions {
                let partition = PartitionID(index)
                let start = size.start(of: partition)
                starts.append(start.rawValue)
                #expect(size.partition(of: start) == partition)
                let before = RingPosition(rawValue: start.rawValue &- 1)
                #expect(size.partition(of: before).index == (index + size.partitions - 1) % size.partitions)
            }
            #expect(starts == (0..<size.partitions).map { UInt64($0) << UInt64(64 - bits) })
            #expect(size.contains(PartitionID(size.partitions - 1)) && !size.contains(PartitionID(size.partitions)))
        }
    }

    @Test func ringSizesArePowersOfTwoWithinBounds() {
        let taken = (-1...20_000).filter { RingSize(partitions: $0) != nil }
        #expect(taken == (3...14).map { 1 << $0 })
        #expect(RingSize(partitions: .min) == nil && RingSize(partitions: .max) == nil)
        #expect(RingSize.standard.partitions == 64)
    }

    @Test func keysSpreadEvenly() throws {
        let size = RingSize.standard
        let ring = try Ring.declared(members: ClaimTests.members(1...8), size: size)
        var perPartition = [Int](repeating: 0, count: size.partitions)
        var perNode: [NodeID: Int] = [:]
        let count = 64_000
        for number in 0..<count {
            let partition = size.partition(of: Self.key("b", "key \(number)").position)
            perPartition[partition.index] += 1
            for node in ring.preferenceList(of: partition, count: 3) { perNode[node, default: 0] += 1 }
        }
        // Chi-square over 63 degrees of freedom: above 103.4 once in a thousand, if positions are uniform.
        let expected = Double(count / size.partitions)
        let chiSquare = perPartition.reduce(0.0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
        #expect(chiSquare < 103.4)
        // Eight owners of eight partitions each hold three eighths of all copies, give or take.
        let share = Double(count * 3 / 8)
        #expect(perNode.values.allSatisfy { abs(Double($0) - share) < share * 0.05 })
    }

    @Test func preferenceListsGoRoundTheRing() {
        let nodes = (1...4).map { NodeID(rawValue: $0) }
        let owners = [0, 0, 1, 2, 0, 3, 1, 1].map { nodes[$0] }
        let ring = Ring(epoch: 1, size: RingSize(partitions: 8)!, owners: owners)
        func list(_ partition: Int, _ count: Int) -> [UInt64] {
            ring.preferenceList(of: PartitionID(partition), count: count).map(\.rawValue)
        }
        #expect(list(0, 3) == [1, 2, 3])
        #expect(list(1, 4) == [1, 2, 3, 4])
        #expect(list(5, 3) == [4, 2, 1])
        #expect(list(7, 3) == [2, 1, 3])
        #expect(list(6, 1) == [2])
        #expect(list(0, 0) == [])
        // More copies than members: everybody, once.
        #expect(list(3, 7) == [3, 1, 4, 2])
        #expect(ring.members == nodes)
        for node in nodes {
            let held = ring.partitionsHeld(by: node, copies: 2)
            #expect(held.map(\.index) == (0..<8).filter { list($0, 2).contains(node.rawValue) })
        }
    }
}

@Suite struct LeafTests {
    static let layouts = (3...14).map { LeafLayout(ringSize: RingSize(partitions: 1 << $0)!) }

    @Test func leavesAreContiguousAndCoverTheirPartition() {
        for layout in Self.layouts {
            let size = layout.ringSize
            #expect(layout.leavesPerPartition.nonzeroBitCount == 1 && (64...16_384).contains(layout.leavesPerPartition))
            for partition in [0, 1, size.partitions - 1].map({ PartitionID($0) }) {
                #expect(layout.start(of: 0, in: partition) == size.start(of: partition))
                for leaf in [0, 1, layout.leavesPerPartition / 2, layout.leavesPerPartition - 1] {
                    let start = layout.start(of: leaf, in: partition)
                    #expect(size.partition(of: start) == partition && layout.leaf(of: start) == leaf)
                    let last =
                        leaf + 1 < layout.leavesPerPartition
                        ? layout.start(of: leaf + 1, in: partition).rawValue &- 1
                        : size.start(of: PartitionID((partition.index + 1) % size.partitions)).rawValue &- 1
                    #expect(size.partition(of: RingPosition(rawValue: last)) == partition)
                    #expect(layout.leaf(of: RingPosition(rawValue: last)) == leaf)
                }
            }
        }
    }

    @Test func aRandomPositionFallsIntoTheRangeOfItsLeaf() {
        var generator = SeededGenerator(seed: 8)
        for layout in Self.layouts {
            for _ in 0..<500 {
                let position = RingPosition(rawValue: generator.next())
                let partition = layout.ringSize.partition(of: position)
                let leaf = layout.leaf(of: position)
                #expect(layout.start(of: leaf, in: partition) <= position)
                if leaf + 1 < layout.leavesPerPartition {
                    #expect(position < layout.start(of: leaf + 1, in: partition))
                }
            }
        }
    }

    @Test func sumsDoNotDependOnTheOrderOfWrites() {
        var generator = SeededGenerator(seed: 12)
        let layout = LeafLayout(ringSize: .standard)
        let changes = (0..<400).map { _ in
            LeafChange(
                tree: TreeID(
                    partition: PartitionID(Int(generator.next() % 3)), copies: UInt8(1 + generator.next() % 2)),
                leaf: Int(generator.next() % 5), delta: generator.next())
        }
        func table(_ changes: [LeafChange]) -> LeafTable {
            var table = LeafTable(layout: layout)
            for change in changes { table.apply(change) }
            return table
        }
        let first = table(changes)
        for _ in 0..<5 { #expect(table(changes.shuffled(using: &generator)) == first) }
        #expect(table(changes.dropLast()) != first)
        #expect(first.trees == first.trees.sorted() && first.trees.count == 6)
        // What is taken out again leaves nothing behind.
        var emptied = first
        for change in changes {
            emptied.apply(LeafChange(tree: change.tree, leaf: change.leaf, delta: 0 &- change.delta))
        }
        #expect(emptied.trees.allSatisfy { emptied[$0]!.allSatisfy { $0 == 0 } })
        #expect(first[TreeID(partition: PartitionID(9), copies: 3)] == nil)
    }

    /// The sum of a replica's leaf is a function of what it holds, not of how it came there.
    @Test func equalRecordsHaveEqualLeavesWhateverTheHistory() {
        let seed = HashSeed(rawValue: 5)
        let layout = LeafLayout(ringSize: .standard)
        for number in 1...20 as ClosedRange<UInt64> {
            var history = History(mode: .siblings, replicas: 3, seed: number)
            history.put(at: 0)
            history.run(steps: 40)
            let key = RingTests.key("b", "\(number)")
            let tree = TreeID(partition: layout.ringSize.partition(of: key.position), copies: 3)
            var end = history.states[0]
            for state in history.states { end.object.merge(state.object) }
            var tables = [LeafTable](repeating: LeafTable(layout: layout), count: 2)
            for (index, path) in [history.past, history.past.reversed()].enumerated() {
                var held: VersionedObject?
                for state in path.map(\.object) + [end.object] where !state.clock.isEmpty {
                    let next = held.map { $0.merged(with: state) } ?? state
                    let old = held.map { seed.contentHash(key: key, body: $0.encoded) } ?? .absent
                    let new = seed.contentHash(key: key, body: next.encoded)
                    tables[index].apply(
                        LeafChange(
                            tree: tree, leaf: layout.leaf(of: key.position), delta: new.rawValue &- old.rawValue))
                    held = next
                }
            }
            #expect(tables[0] == tables[1], "history \(number)")
        }
    }
}

@Suite struct SeededGeneratorTests {
    /// Computed by hand from the published algorithms: a seed means the same run everywhere.
    @Test func theSequenceOfASeedIsFixed() {
        var generator = SeededGenerator(seed: 42)
        #expect(
            (0..<4).map { _ in generator.next() } == [
                0x1578_0b2e_0c2e_c716, 0x6104_d986_6d11_3a7e, 0xae17_5332_39e4_99a1, 0xecb8_ad47_03b3_60a1,
            ])
    }

    @Test func actorsCarryTheirNodesTagAndAreNeverZero() {
        var generator = SeededGenerator(seed: 1)
        var drawn: Set<Actor> = []
        for _ in 0..<1_000 {
            let actor = Actor(node: NodeID(rawValue: 0xffff_0000_0000_abcd), using: &generator)
            #expect(actor.rawValue >> 48 == 0xabcd && actor.rawValue << 16 != 0)
            #expect(drawn.insert(actor).inserted)
        }
    }
}
