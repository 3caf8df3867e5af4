import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Reads of one key that one turn brings are one read; no other reads are.
@Suite struct SharedReadTests {
    private let bucket = BucketID(name: ByteBuffer(string: "b"))

    private func key(_ name: String) -> ObjectKey { ObjectKey(bucket: bucket, key: ByteBuffer(string: name)) }

    private func put(_ name: String, _ value: String) -> ClientRequest {
        .put(PutRequest(key: key(name), metadata: ByteBuffer(), value: ByteBuffer(string: value)))
    }

    private func get(_ name: String, r: Quorum? = nil, headOnly: Bool = false) -> ClientRequest {
        var get = GetRequest(key: key(name))
        get.options.r = r
        get.headOnly = headOnly
        return .get(get)
    }

    private func values(_ answer: ClientAnswer) -> [String]? {
        guard case .get(.found(let object, _)) = answer else { return nil }
        return object.siblings.map { String(buffer: $0.value) }
    }

    /// A cluster in which the keys a and b stand, and what node 1 has sent since.
    private struct Story {
        var cluster = LaneCluster()
        private var asked = 0
        private var answered = 0

        init(_ writes: [ClientRequest], limits: LaneLimits = LaneLimits()) {
            cluster = LaneCluster(limits: limits)
            for write in writes { cluster.ask(1, write) }
            mark()
        }

        mutating func mark() {
            asked = cluster.sent["read", default: 0]
            answered = cluster.answers.count
        }

        /// Questions to other replicas.
        var questions: Int { cluster.sent["read", default: 0] - asked }
        var answers: [ClientAnswer] { Array(cluster.answers[answered...]) }
        var shared: [Int] {
            cluster.observations.compactMap { if case .readShared(_, let readers) = $0 { readers } else { nil } }
        }
    }

    private var ab: [ClientRequest] { [put("a", "one"), put("b", "two")] }

    @Test func readsOfOneTurnAreOne() {
        var story = Story(ab)
        story.cluster.askTogether(1, [get("a"), get("b"), get("a"), get("a"), get("b")])
        #expect(story.questions == 2)
        #expect(story.answers.map(values) == [["one"], ["one"], ["one"], ["two"], ["two"]])
        #expect(story.shared == [3, 2])
        #expect(story.cluster.nodes.allSatisfy { $0.lane.isIdle && $0.lane.openCount == 0 })
    }

    @Test func manyKeysOfOneTurnKeepApart() {
        let names = (0..<40).map { "k\($0)" }
        var story = Story(names.map { put($0, "value of \($0)") })
        story.cluster.askTogether(1, (names + names.reversed()).map { get($0) })
        #expect(story.questions == 40)
        #expect(story.answers.map(values) == names.flatMap { [["value of \($0)"], ["value of \($0)"]] })
        #expect(story.shared == Array(repeating: 2, count: 40))
    }

    @Test func theNextTurnReadsAnew() {
        var story = Story(ab)
        story.cluster.ask(1, get("a"))
        story.cluster.ask(1, get("a"))
        #expect(story.questions == 2 && story.shared == [])
    }

    @Test func otherQuorumsAreOtherReads() {
        var story = Story(ab)
        story.cluster.askTogether(1, [get("a"), get("a", r: .all), get("a", r: .all), get("a", r: .one)])
        #expect(story.questions == 1 + 2)
        #expect(story.answers.allSatisfy { values($0) == ["one"] })
        #expect(story.shared == [2])
    }

    @Test func whoWantsNoValuesSharesAndGetsNone() {
        var story = Story(ab)
        story.cluster.askTogether(1, [get("a"), get("a", headOnly: true)])
        #expect(story.questions == 1 && story.shared == [2])
        #expect(story.answers.map(values) == [["one"], [""]])
    }

    @Test func nobodyIsGivenTheDeadlineOfAnother() {
        var story = Story(ab)
        let patience: [Duration] = [.seconds(1), .milliseconds(1_050), .seconds(2), .milliseconds(900)]
        story.cluster.askTogether(1, Array(repeating: get("a"), count: 4), patience: patience)
        #expect(story.shared == [2], "the second joins; one is more patient by far, one is less")
        #expect(story.questions == 3)
    }

    /// What a turn writes before it ends is what its reads find, and they wait for the sync of it.
    @Test func readsFindWhatTheirTurnWrote() {
        var story = Story(ab)
        story.cluster.syncs = false
        story.cluster.askTogether(1, [get("a"), put("a", "new"), get("a")])
        #expect(story.answers.isEmpty)
        story.cluster.sync()
        #expect(story.answers.compactMap(values).map { $0.sorted() } == [["new", "one"], ["new", "one"]])
        #expect(story.questions == 1)
    }

    @Test func whoGoesAwayLeavesTheOthersTheirRead() {
        var story = Story(ab)
        story.cluster.syncs = false
        story.cluster.ask(1, put("a", "new"))
        // They wait for the sync of what they have found.
        let requests = story.cluster.askTogether(1, [get("a"), get("a"), get("a")])
        #expect(story.cluster.nodes[0].lane.openCount == 4)
        story.cluster.cancel(1, requests[0])
        #expect(story.cluster.nodes[0].lane.openCount == 3)
        story.cluster.cancel(1, requests[2])
        story.cluster.sync()
        #expect(story.answers.count == 2)
        #expect(story.answers.compactMap(values).map { $0.sorted() } == [["new", "one"]])
        #expect(story.cluster.nodes[0].lane.openCount == 0)

        story.mark()
        story.cluster.ask(1, put("a", "newer"))
        for request in story.cluster.askTogether(1, [get("a"), get("a")]) { story.cluster.cancel(1, request) }
        #expect(story.cluster.nodes[0].lane.openCount == 1)
        story.cluster.sync()
        #expect(story.answers.count == 1 && story.cluster.nodes[0].lane.isIdle)
    }

    @Test func eachReaderCountsAmongTheRequestsUnderWay() {
        var limits = LaneLimits()
        limits.operations = 4
        var story = Story([put("a", "one")], limits: limits)
        story.cluster.askTogether(1, Array(repeating: get("a"), count: 6))
        let refused = story.answers.filter { $0 == .get(.refused(.overloaded)) }
        #expect(refused.count == 2 && story.answers.compactMap(values).count == 4)
        #expect(story.shared == [4])
    }

    @Test func aDrainedLaneRefusesThemAll() {
        var story = Story(ab)
        story.cluster.drain(1)
        story.cluster.askTogether(1, [get("a"), get("a")])
        #expect(story.answers == [.get(.refused(.shuttingDown)), .get(.refused(.shuttingDown))])
        #expect(story.cluster.nodes[0].lane.openCount == 0)
    }
}
