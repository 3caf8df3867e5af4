import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// Real sockets on loopback, one loop a node.
@Suite(.timeLimit(.minutes(10))) struct PeerLinksTests {
    private func members(_ count: Int) throws -> [PeerMember] {
        try reservedPorts(count).enumerated().map { member(UInt64($0 + 1), port: $1) }
    }

    private func large(_ number: UInt64, bytes: Int = 1 << 20) -> PeerMessage {
        .readResult(
            OperationID(rawValue: number),
            .object(ByteBuffer(repeating: UInt8(truncatingIfNeeded: number), count: bytes)))
    }

    private func small(_ number: UInt64) -> PeerMessage { .wrote(OperationID(rawValue: number), .stored) }

    @Test func manyLinksArePingedLessOften() {
        let limits = PeerLimits()
        #expect(limits.pingInterval(peers: 2) == limits.pingInterval)
        #expect(limits.pingInterval(peers: 32) == limits.pingInterval)
        #expect(limits.pingInterval(peers: 320) == limits.pingInterval * 10)
    }

    @Test func messagesOfAllKindsGoBothWays() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        try await two.record.awaits(.up(1))
        var generator = SeededGenerator(seed: 4)
        let there = (0..<200).map { _ in generator.peerMessage() } + [large(1), large(2)]
        let back = (0..<200).map { _ in generator.peerMessage() } + [large(3)]
        try await one.send(there, to: 2)
        try await two.send(back, to: 1)
        try await eventually("all messages") {
            two.record.messages.count == there.count && one.record.messages.count == back.count
        }
        // Small ones keep their order among themselves; repair's and reaping's travel as bulk.
        func isSmall(_ message: PeerMessage) -> Bool {
            switch message {
            case .compare, .compared, .reap, .reaped: false
            default: PeerMessageCodec.sizeBound(of: message) < 10_000
            }
        }
        #expect(two.record.messages.filter(isSmall) == there.filter(isSmall))
        #expect(Set(one.record.messages) == Set(back))
        try await one.stop()
        try await eventually("both links lost") { two.record.events.last == .down(1) }
        try await two.stop()
        #expect(!one.record.events.contains(.down(2)), "a node that stops hears nothing more")
    }

    /// What an older peer would not understand would end the link, and be lost with all that is behind it.
    @Test func whatAnOlderPeerDoesNotKnowIsNotSent() async throws {
        let members = try members(2)
        let new = try await TestPeer(1, incarnation: 11, members: members)
        let old = try await TestPeer(2, incarnation: 22, members: members, features: [])
        try await new.record.awaits(.up(2))
        try await old.record.awaits(.up(1))
        let unknown = PeerMessage.reaped(OperationID(rawValue: 9), .minting([.holds(nil)]))
        try await new.send([small(1), unknown, small(2), unknown, small(3)], to: 2)
        try await eventually("three messages") { old.record.messages.count == 3 }
        #expect(old.record.messages == [small(1), small(2), small(3)])
        #expect(!old.record.events.contains(.down(1)) && !new.record.events.contains(.down(2)))
        // The older one is upgraded.
        try await old.stop()
        let upgraded = try await TestPeer(2, incarnation: 23, members: members)
        try await upgraded.record.awaits(.up(1))
        try await eventually("up again") { new.record.events.last == .up(2) }
        try await new.send([unknown], to: 2)
        try await eventually("the message") { upgraded.record.messages == [unknown] }
        try await new.stop()
        try await upgraded.stop()
    }

    @Test func aPeerThatDiesAndComesBackIsLinkedAgain() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        try await two.stop()
        try await eventually("down") { one.record.events.last == .down(2) }
        try await one.send([small(1)], to: 2)
        let again = try await TestPeer(2, incarnation: 23, members: members)
        try await eventually("up again") { one.record.events.last == .up(2) }
        try await one.send([small(2)], to: 2)
        try await eventually("a message") { !again.record.messages.isEmpty }
        #expect(again.record.messages == [small(2)], "what was sent to a node that is down is dropped")
        try await one.stop()
        try await again.stop()
    }

    /// The first was away, and all whom it knew have left: those who are members now are strangers to it.
    @Test func whoIsRefusedAsUnknownTellsTheRing() async throws {
        let all = try members(4)
        func ring(_ nodes: [UInt64]) throws -> ClusterState {
            ClusterState(declared: try .declared(members: nodes.map { ClaimMember(node: NodeID(rawValue: $0)) }))
        }
        let (old, new) = (try ring([1, 2]), try ring([1, 3]))
        let away = try await TestPeer(1, incarnation: 11, members: Array(all[0...1]), news: RingMessage(told: old))
        let member = try await TestPeer(3, incarnation: 33, members: [all[0], all[2]], news: RingMessage(told: new))
        try await away.record.awaits(.message(.ring(RingMessage(told: new)), from: 3))
        try await member.record.awaits(.message(.ring(RingMessage(told: old)), from: 1))
        #expect(!away.record.events.contains(.up(3)) && !member.record.events.contains(.up(1)))
        // It installs what it heard.
        try await away.links.eventLoop.submit {
            away.links.setMembers([all[0], all[2]], fenced: [], news: RingMessage(told: new))
        }.get()
        try await away.record.awaits(.up(3))
        try await member.record.awaits(.up(1))
        try await member.send([small(1)], to: 1)
        // Not the last: the ring may be told once more, on a connection that was made before.
        try await eventually("a message") { away.record.messages.contains(small(1)) }
        try await away.stop()
        try await member.stop()
    }

    /// A new member is linked with, one that is gone is not any more, and hears what was queued for it; one that was
    /// removed is told so.
    @Test func membersComeAndGo() async throws {
        let all = try members(3)
        let one = try await TestPeer(1, incarnation: 11, members: Array(all.prefix(2)))
        let two = try await TestPeer(2, incarnation: 22, members: all)
        let three = try await TestPeer(3, incarnation: 33, members: all)
        try await one.record.awaits(.up(2))
        try await three.record.awaits(.refused(1, .unknownNode, byPeer: true))
        func set(_ members: [PeerMember], fenced: Set<NodeID> = []) async throws {
            try await one.links.eventLoop.submit { one.links.setMembers(members, fenced: fenced) }.get()
        }
        try await set(all)
        try await one.record.awaits(.up(3))
        try await three.record.awaits(.up(1))
        try await one.links.eventLoop.submit {
            one.links.send(self.small(7), to: NodeID(rawValue: 3))
            one.links.setMembers([all[0], all[1]], fenced: [NodeID(rawValue: 3)])
            one.links.send(self.small(8), to: NodeID(rawValue: 3))
        }.get()
        try await one.record.awaits(.down(3))
        try await three.record.awaits(.refused(1, .fenced, byPeer: true))
        #expect(three.record.messages == [small(7)])
        #expect(!one.record.events.contains(.down(2)))
        try await set(all)
        try await one.record.awaits(.up(3), count: 2)
        for peer in [one, two, three] { try await peer.stop() }
    }

    /// A configuration that has node 2's port wrong: the link that node 2 dialled carries both ways.
    @Test func aNodeThatCannotBeDialledIsReachedOverItsOwnLink() async throws {
        let members = try members(2)
        let wrong = [members[0], member(2, port: try reservedPorts(1)[0])]
        let one = try await TestPeer(1, incarnation: 11, members: wrong)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        try await one.send([small(1)], to: 2)
        try await two.record.awaits(.message(small(1), from: 1))
        try await one.stop()
        try await two.stop()
    }

    /// A listener stands a moment before there is anybody to tell of its links. A link of that moment would be
    /// up for the peer alone, and its messages lost without a word.
    @Test func nobodyIsLinkedBeforeTheStart() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members, isStarted: false)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        // Two dials again and again.
        try await Task.sleep(for: .milliseconds(200))
        #expect(two.record.events.isEmpty)
        try await one.start()
        try await one.record.awaits(.up(2))
        try await two.record.awaits(.up(1))
        try await two.send([small(1)], to: 1)
        try await one.record.awaits(.message(small(1), from: 2))
        try await one.stop()
        try await two.stop()
    }

    @Test func controlOvertakesBulk() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        // On a busy machine all of it may have gone before the next turn comes: then it is tried again.
        var place = Int.max
        for round in 0..<5 where place >= 15 {
            let (first, sent) = (UInt64(round) * 100, two.record.messages.count)
            try await one.send((1...30).map { large(first + $0) }, to: 2)
            // A turn later, when megabytes are under way.
            try await one.send([small(first + 99)], to: 2)
            try await eventually("all messages") { two.record.messages.count == sent + 31 }
            let messages = two.record.messages.dropFirst(sent)
            place = try #require(messages.firstIndex(of: small(first + 99))) - sent
            #expect(messages.filter { $0 != small(first + 99) } == (1...30).map { large(first + $0) })
        }
        #expect(place < 15, "behind \(place) MiB of bulk")
        try await one.stop()
        try await two.stop()
    }

    // MARK: Node ids

    @Test func aSecondLiveProcessOfANodeIsRefused() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        try await two.record.awaits(.up(1))
        let copy = try await TestPeer(2, incarnation: 23, members: members, port: 0)
        try await copy.record.awaits(.refused(1, .duplicateNode, byPeer: true))
        #expect(!copy.record.events.contains(.up(1)))
        #expect(!one.record.events.contains(.down(2)))
        // Told once, though it goes on dialling.
        try await Task.sleep(for: .milliseconds(300))
        #expect(copy.record.events == [.refused(1, .duplicateNode, byPeer: true)])
        for node in [one, two, copy] { try await node.stop() }
    }

    @Test func aProcessThatDoesNotAnswerGivesWayToTheNext() async throws {
        let members = try members(2)
        var limits = quickLimits
        limits.duplicateTimeout = .milliseconds(200)
        let one = try await TestPeer(1, incarnation: 11, members: members, limits: limits)
        let mute = try await MutePeer.dial(2, incarnation: 22, members: members, at: one.port)
        try await one.record.awaits(.up(2))
        let two = try await TestPeer(2, incarnation: 23, members: members)
        try await two.record.awaits(.up(1))
        try await one.record.awaits(.down(2))
        try await one.record.awaits(.up(2), count: 2)
        try await one.send([small(1)], to: 2)
        try await two.record.awaits(.message(small(1), from: 1))
        try await mute.closeFuture.get()
        try await one.stop()
        try await two.stop()
    }

    /// Its claim is judged by whether the process answers that is linked; that link ends as the node stops.
    @Test func whoIsJudgedWhileTheNodeStopsIsLetGo() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let mute = try await MutePeer.dial(2, incarnation: 22, members: members, at: one.port)
        try await one.record.awaits(.up(2))
        let two = try await TestPeer(2, incarnation: 23, members: members)
        // Judging takes as long as the linked one may take to answer, which is seconds.
        try await Task.sleep(for: .milliseconds(300))
        let hasStopped = Mutex(false)
        let stopping = Task {
            try await one.stop()
            hasStopped.withLock { $0 = true }
        }
        try await eventually("the end of all links") { hasStopped.withLock { $0 } }
        try await stopping.value
        try await mute.closeFuture.get()
        try await two.stop()
    }

    private func probe(_ node: UInt64, _ members: [PeerMember]) async throws -> PeerProbeReport {
        try await PeerProbe.run(
            PeerConfiguration(
                identity: testIdentity(node, incarnation: 0), key: peerTestKey, members: members, limits: quickLimits),
            on: MultiThreadedEventLoopGroup.singleton.next(), within: .seconds(10)
        ).get()
    }

    /// As `localhost` may be, when the peer listens on IPv4 alone.
    @Test func ofANamesAddressesOneIsEnough() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        var configuration = PeerConfiguration(
            identity: testIdentity(2, incarnation: 0), key: peerTestKey, members: [members[0]], limits: quickLimits)
        configuration.resolver = TwoAddresses()
        let report = try await PeerProbe.run(
            configuration, on: MultiThreadedEventLoopGroup.singleton.next(), within: .seconds(10)
        ).get()
        let outcomes = report.outcomes.map { $0.outcome }
        #expect(outcomes == [.unknownElsewhere])
        try await one.stop()
    }

    @Test func aProbeFindsWhereItsNodeIsAlive() async throws {
        let members = try members(3)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let two = try await TestPeer(2, incarnation: 22, members: members)
        try await one.record.awaits(.up(2))
        try await two.record.awaits(.up(1))
        // By a peer, and at its own address.
        let report = try await probe(2, members)
        let duplicate = try #require(report.duplicate)
        #expect(duplicate.address == "127.0.0.1:\(one.port)")
        #expect(duplicate.refusal.text.contains("127.0.0.1:"))
        #expect(report.outcomes.count == 3)
        guard case .unreachable = report.outcomes[1].outcome, case .refused(let own) = report.outcomes[2].outcome else {
            Issue.record("\(report.outcomes)")
            return
        }
        #expect(own.code == .duplicateNode)
        // A probe leaves no trace: nobody is told that node 3 is up.
        #expect(
            try await probe(3, members).outcomes.prefix(2).map(\.outcome) == [.unknownElsewhere, .unknownElsewhere])
        #expect(!one.record.events.contains(.up(3)))
        try await two.stop()
        try await eventually("both links lost") { one.record.events.last == .down(2) }
        #expect(try await probe(2, members).duplicate == nil)
        try await one.stop()
    }

    // MARK: Refusals

    @Test func anotherSecretAndAnotherClusterAreTold() async throws {
        let members = try members(3)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let otherKey = ClusterKey(secret: Array("quite another secret".utf8))!
        let two = try await TestPeer(2, incarnation: 22, members: members, key: otherKey)
        let three = try await TestPeer(3, incarnation: 33, members: members, cluster: 2)
        try await two.record.awaits(.refused(1, .badKey, byPeer: false))
        try await three.record.awaits(.refused(1, .wrongCluster, byPeer: true))
        #expect(!one.record.events.contains(.up(2)) && !one.record.events.contains(.up(3)))
        for node in [one, two, three] { try await node.stop() }
    }

    // MARK: Bounds

    @Test func aPeerThatDoesNotReadIsCutOff() async throws {
        let members = try members(2)
        var limits = quickLimits
        limits.queuedBytes = 4 << 20
        let one = try await TestPeer(1, incarnation: 11, members: members, limits: limits)
        let mute = try await MutePeer.dial(2, incarnation: 22, members: members, at: one.port, readsOn: false)
        try await one.record.awaits(.up(2))
        for number in UInt64(0)..<20 { try await one.send([large(number)], to: 2) }
        try await one.record.awaits(.down(2))
        try? await mute.close().get()
        try await one.stop()
    }

    @Test func aSilentPeerIsCutOff() async throws {
        let members = try members(2)
        var limits = quickLimits
        limits.pingInterval = .milliseconds(20)
        let one = try await TestPeer(1, incarnation: 11, members: members, limits: limits)
        let two = try await TestPeer(2, incarnation: 22, members: members, limits: limits)
        try await one.record.awaits(.up(2))
        // A quiet link stays: its pings are enough.
        try await Task.sleep(for: .milliseconds(300))
        #expect(one.record.events == [.up(2)])
        try await two.stop()
        try await one.record.awaits(.down(2))
        let mute = try await MutePeer.dial(2, incarnation: 23, members: members, at: one.port)
        try await one.record.awaits(.up(2), count: 2)
        try await mute.closeFuture.get()
        try await eventually("down") { one.record.events.last == .down(2) }
        try await one.stop()
    }

    private func connect(_ port: Int) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port).get()
    }

    @Test func strangersAreCutOffAndHarmNobody() async throws {
        let members = try members(2)
        var limits = quickLimits
        limits.handshakes = 4
        limits.handshakeTimeout = .milliseconds(300)
        let one = try await TestPeer(1, incarnation: 11, members: members, limits: limits)
        let two = try await TestPeer(2, incarnation: 22, members: members, limits: limits)
        try await one.record.awaits(.up(2))
        // Other protocols and noise are cut off at once.
        for garbage in ["GET / HTTP/1.1\r\n\r\n", "TORC\u{9}", String(repeating: "x", count: 100_000)] {
            let stranger = try await connect(one.port)
            try? await stranger.writeAndFlush(ByteBuffer(string: garbage)).get()
            try await stranger.closeFuture.get()
        }
        // Of those that say nothing, so many may wait for so long.
        var silent: [any Channel] = []
        for _ in 0..<12 { silent.append(try await connect(one.port)) }
        for stranger in silent { try await stranger.closeFuture.get() }
        try await one.send([small(1)], to: 2)
        try await two.record.awaits(.message(small(1), from: 1))
        #expect(!one.record.events.contains(.down(2)))
        try await one.stop()
        try await two.stop()
    }

    /// After the handshake a peer that sends what is no frame is cut off, whatever it was in the middle of.
    @Test func garbageAfterTheHandshakeEndsTheLink() async throws {
        let members = try members(2)
        let one = try await TestPeer(1, incarnation: 11, members: members)
        let mute = try await MutePeer.dial(2, incarnation: 22, members: members, at: one.port)
        try await one.record.awaits(.up(2))
        try? await mute.writeAndFlush(ByteBuffer(repeating: 0xff, count: 100)).get()
        try await mute.closeFuture.get()
        try await one.record.awaits(.down(2))
        try await one.stop()
    }
}
