// The pure parts of the client: which node is asked for a key, and on which connection.

import NIOCore
import Testing
import TorcClient
import TorcModel
import TorcWire

/// Eight partitions, owned by the nodes whose letters are given.
private func ring(_ letters: String, fingerprint: UInt64 = 1) -> RiakRing {
    let members = Set(letters).sorted().map(String.init)
    return RiakRing(
        fingerprint: fingerprint, epoch: 1, size: RingSize(partitions: 8)!, members: members,
        owners: letters.map { UInt16(members.firstIndex(of: String($0))!) })!
}

/// In partition `index` of eight.
private func position(_ index: Int) -> RingPosition { RingPosition(rawValue: UInt64(index) << 61 | 5) }

/// Addresses of these nodes, which have said who they are.
private func routing(_ names: String, _ owners: String) -> NodeRouting {
    var routing = NodeRouting(addresses: names.count)
    for (place, name) in names.enumerated() {
        let news: RiakRingAnswer.News = place == 0 ? .ring(ring(owners)) : .unchanged
        routing.learned(RiakRingAnswer(node: String(name), news: news), from: place)
    }
    return routing
}

private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

@Suite struct NodeRoutingTests {
    @Test func ownersAreDistinctAndInTheOrderOfTheRing() {
        let client = ClientRing(ring("abacabad"))
        #expect(client.owners(of: position(0), count: 3) == ["a", "b", "c"])
        #expect(client.owners(of: position(3), count: 3) == ["c", "a", "b"])
        // Around the end.
        #expect(client.owners(of: position(7), count: 3) == ["d", "a", "b"])
        #expect(client.owners(of: position(6), count: 9) == ["a", "d", "b", "c"])
        // A member without partitions.
        let idle = RiakRing(
            fingerprint: 1, epoch: 1, size: RingSize(partitions: 8)!, members: ["a", "b"],
            owners: Array(repeating: 1, count: 8))!
        #expect(ClientRing(idle).owners(of: position(0), count: 3) == ["b"])
    }

    @Test func theOrderIsThatOfTheRingsOwnModel() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let size = RingSize(partitions: 32)!
            let nodes = (1...6).map { NodeID(rawValue: $0) }
            let owners = (0..<32).map { _ in nodes[Int(generator.next() % 6)] }
            let model = Ring(epoch: 3, size: size, owners: owners)
            let ring = RiakRing(model, fingerprint: 9) { "\($0)" }!
            let position = RingPosition(rawValue: generator.next())
            let expected = model.preferenceList(of: size.partition(of: position), count: 3).map { "\($0)" }
            #expect(ClientRing(ring).owners(of: position, count: 3) == expected)
        }
    }

    @Test func replicasComeFirstThenTheOthers() {
        var routing = routing("edcba", "abcdeabc")
        // b, c and d have it: places 3, 2 and 1.
        #expect(routing.order(position(1), at: start) == [3, 2, 1, 0, 4])
        #expect(routing.order(nil, at: start) == [0, 1, 2, 3, 4])
        routing.answered(2, forKey: false)
        #expect(routing.order(position(1), at: start) == [3, 2, 1, 4, 0])
        // An answer of a key's own replica moves nobody.
        routing.answered(3, forKey: true)
        #expect(routing.order(nil, at: start) == [2, 3, 4, 0, 1])
    }

    @Test func withoutARingTheOneThatAnsweredIsAskedAgain() {
        var routing = NodeRouting(addresses: 3)
        #expect(routing.order(position(1), at: start) == [0, 1, 2])
        routing.answered(1, forKey: true)
        #expect(routing.order(position(1), at: start) == [1, 2, 0])
    }

    @Test func anOwnerThatIsNotAmongTheAddressesIsLeftOut() {
        var routing = routing("ac", "abcabcab")
        #expect(routing.order(position(1), at: start) == [1, 0])
        #expect(routing.order(position(0), at: start) == [0, 1])
    }

    @Test func whoFailsIsAskedLastForAWhile() {
        var routing = routing("abcde", "abcdeabc")
        routing.failed(1, at: start)
        #expect(routing.order(position(1), at: start) == [2, 3, 0, 4, 1])
        #expect(routing.order(position(1), at: start + NodeRouting.pause) == [1, 2, 3, 0, 4])
        routing.failed(1, at: start)
        routing.answered(1, forKey: true)
        #expect(routing.order(position(1), at: start) == [1, 2, 3, 0, 4])
    }

    @Test func aNewRingAndANodeThatMoved() {
        var routing = routing("abc", "aaaaaaaa")
        #expect(routing.known == 1)
        routing.learned(RiakRingAnswer(node: "c", news: .ring(ring("bbbbbbbb", fingerprint: 2))), from: 2)
        #expect(routing.known == 2 && routing.order(position(0), at: start) == [1, 0, 2])
        // b is reached elsewhere now.
        routing.learned(RiakRingAnswer(node: "x", news: .unchanged), from: 1)
        routing.learned(RiakRingAnswer(node: "b", news: .unchanged), from: 2)
        #expect(routing.order(position(0), at: start) == [2, 0, 1])
        routing.unlearned(2)
        #expect(routing.order(position(0), at: start) == [0, 1, 2])
        // Two addresses of one node: the first counts until it says otherwise.
        routing.learned(RiakRingAnswer(node: "b", news: .unchanged), from: 0)
        routing.learned(RiakRingAnswer(node: "b", news: .unchanged), from: 1)
        #expect(routing.order(position(0), at: start) == [0, 1, 2])
    }

    @Test func theRingIsAskedForNowAndThen() {
        var routing = NodeRouting(addresses: 40)
        #expect(routing.beginRefresh(at: start) == Array(0..<16))
        // One at a time.
        #expect(routing.beginRefresh(at: start, evenEarly: true) == nil)
        for place in 0..<40 { routing.learned(RiakRingAnswer(node: "n\(place)", news: .unchanged), from: place) }
        routing.endRefresh(at: start)
        #expect(routing.beginRefresh(at: start + .seconds(9)) == nil)
        #expect(routing.beginRefresh(at: start + .seconds(10)) == Array(16..<32))
        routing.endRefresh(at: start + .seconds(10))
        // A failure makes it earlier, but not at once.
        routing.failed(3, at: start + .milliseconds(10_100))
        #expect(routing.beginRefresh(at: start + .milliseconds(10_900)) == nil)
        routing.unlearned(3)
        #expect(routing.beginRefresh(at: start + .seconds(11))?.prefix(2) == [3, 32])
    }
}

@Suite struct ConnectionPoolTests {
    @Test func anotherConnectionWhenAllAreBusy() {
        var pool = ConnectionPool(limit: 2)
        guard case .connect(let first) = pool.take() else { return #expect(Bool(false)) }
        for _ in 1..<ConnectionPool.busyRequests { #expect(pool.take() == .use(first)) }
        guard case .connect(let second) = pool.take() else { return #expect(Bool(false)) }
        #expect(pool.take() == .use(second))
        #expect(pool.count == 2 && pool.requests == ConnectionPool.busyRequests + 2)
        // No third one: the idlest takes it, as long as it has room.
        let room = 2 * ConnectionPool.fullRequests - pool.requests
        for _ in 0..<room {
            guard case .use = pool.take() else { return #expect(Bool(false)) }
        }
        #expect(pool.take() == .full)
        pool.release(first)
        #expect(pool.take() == .use(first))
        pool.remove(second)
        guard case .connect(let third) = pool.take() else { return #expect(Bool(false)) }
        #expect(third != second)
        // What ends on a connection that is gone frees nothing.
        pool.release(second)
        #expect(pool.requests == ConnectionPool.fullRequests + 1)
    }

    @Test func theBoundIsKept() {
        var pool = ConnectionPool(limit: 1_000_000)
        for _ in 0..<(ConnectionPool.maximumConnections + 9) * ConnectionPool.busyRequests { _ = pool.take() }
        #expect(pool.count == ConnectionPool.maximumConnections)
        #expect(ConnectionPool(limit: -3).count == 0)
    }
}
