import DequeModule
import NIOCore
import Testing
import TorcModel
import TorcReplication
import TorcServer

@Suite struct LaneInboxTests {
    private let here = NodeID(rawValue: 1)
    private let other = NodeID(rawValue: 2)

    private func key(_ number: Int) -> ObjectKey {
        ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k\(number)"))
    }

    private func put(_ number: Int, bytes: Int) -> LaneEvent {
        let request = PutRequest(
            key: key(number), metadata: ByteBuffer(), value: ByteBuffer(repeating: 1, count: bytes))
        return .client(RequestID(rawValue: UInt64(number)), .put(request), deadline: MonotonicTime(nanoseconds: 0))
    }

    private func result(_ number: Int, bytes: Int, from node: NodeID) -> LaneEvent {
        .peer(
            from: node,
            .readResult(
                OperationID(rawValue: UInt64(number)), .object(ByteBuffer(repeating: 1, count: bytes))))
    }

    /// What the next turn takes, round by round.
    private func turn(_ inbox: inout LaneInbox, meanwhile: (inout LaneInbox) -> Void = { _ in }) -> [LaneEvent] {
        var taken: [LaneEvent] = []
        var arrived: Deque<LaneEvent> = []
        inbox.turnBegins()
        while inbox.hasMore {
            inbox.take(into: &arrived)
            taken += arrived
            arrived.removeAll()
            meanwhile(&inbox)
        }
        return taken
    }

    @Test func aTurnTakesOneOfWhatIsLargeAndAllThatIsSmall() {
        var inbox = LaneInbox(node: here, waitingBytes: 1 << 20)
        let large = (0..<3).map { put($0, bytes: 1 << 20) }
        let small = (10..<13).map { put($0, bytes: 1024) }
        for (one, another) in zip(large, small) {
            inbox.append(one)
            inbox.append(another)
        }
        #expect(turn(&inbox) == small + [large[0]])
        #expect(!inbox.isEmpty && inbox.hasMore == false)
        // What is small and has come since goes first.
        let late = put(20, bytes: 10)
        inbox.append(late)
        #expect(turn(&inbox) == [late, large[1]])
        #expect(turn(&inbox) == [large[2]])
        #expect(inbox.isEmpty)
    }

    @Test func ofWhatIsNotSoLargeATurnTakesMore() {
        var inbox = LaneInbox(node: here, waitingBytes: 1 << 20)
        let events = (0..<20).map { result($0, bytes: 64 << 10, from: other) }
        for event in events { inbox.append(event) }
        let first = turn(&inbox)
        #expect(first == Array(events[..<8]))
        #expect(turn(&inbox) == Array(events[8..<16]) && turn(&inbox) == Array(events[16...]) && inbox.isEmpty)
    }

    /// A lane's own messages keep their order, and the rounds of one turn share its bound.
    @Test func whatTheNodeSendsItselfIsNotPutBack() {
        var inbox = LaneInbox(node: here, waitingBytes: 1 << 20)
        let own = (0..<4).map { result($0, bytes: 1 << 20, from: here) }
        for event in own { inbox.append(event) }
        inbox.append(.tick)
        let foreign = (10..<12).map { result($0, bytes: 1 << 20, from: other) }
        inbox.append(foreign[0])
        var isFirst = true
        let taken = turn(&inbox) { inbox in
            if isFirst { inbox.append(foreign[1]) }
            isFirst = false
        }
        #expect(taken == own + [.tick, foreign[0]])
        #expect(turn(&inbox) == [foreign[1]])
        inbox.append(foreign[0])
        inbox.removeAll()
        #expect(inbox.isEmpty)
    }

    private func write(_ number: Int, bytes: Int, from node: NodeID) -> LaneEvent {
        .peer(
            from: node,
            .write(
                ReplicaWrite(
                    operation: OperationID(rawValue: UInt64(number)), key: key(number), copies: 3, epoch: 1,
                    body: ByteBuffer(repeating: 1, count: bytes))))
    }

    /// No turn runs while the disk stalls, and other nodes go on writing.
    @Test func requestsOfOthersThatFindNoRoomAreDropped() {
        var inbox = LaneInbox(node: here, waitingBytes: 100 << 10)
        let large = (0..<2).map { write($0, bytes: 50 << 10, from: other) }
        let late = write(2, bytes: 10, from: other)
        // Answers, what the node sends itself, and what comes from clients have other bounds.
        let rest = [result(3, bytes: 10, from: other), write(4, bytes: 10, from: here), put(5, bytes: 10)]
        let first = (large + [late] + rest).map { inbox.append($0) }
        #expect(first == [true, true, false, true, true, true])
        #expect(turn(&inbox) == rest + large)
        // What was taken makes room again. Small ones count as well.
        let small = (0..<2000).map { write($0, bytes: 10, from: other) }
        let taken = small.filter { inbox.append($0) }
        #expect((100...500).contains(taken.count))
        #expect(turn(&inbox) == taken)
        for event in large { inbox.append(event) }
        inbox.removeAll()
        let last = (large + [late]).map { inbox.append($0) }
        #expect(last == [true, true, false])
    }

    @Test func aRequestThatNobodyWaitsForIsTakenOut() {
        var inbox = LaneInbox(node: here, waitingBytes: 1 << 20)
        let events = [put(1, bytes: 10), put(2, bytes: 1 << 20), put(3, bytes: 10), put(4, bytes: 1 << 20)]
        for event in events { inbox.append(event) }
        let removed = [2, 3, 3, 5].map { inbox.removeRequest(RequestID(rawValue: $0)) }
        #expect(removed == [true, true, false, false])
        #expect(turn(&inbox) == [events[0], events[3]])
        #expect(inbox.isEmpty)
    }
}
