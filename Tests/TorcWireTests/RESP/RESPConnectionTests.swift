// Redis's protocol: bytes in, bytes out, with a node in between whose answers the test gives.

import NIOCore
import NIOEmbedded
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

/// Keeps what it is asked; the test answers.
private final class ManualStore: RESPBackend {
    var nodeName: String { "node1" }
    var retryAfter: Duration { .milliseconds(120) }
    var wallTime = WallTime(microseconds: 1_000_000_000)
    var submitted: [(request: ClientRequest, reply: RESPReply)] = []
    var listings: [(request: ListRequest, reply: RESPReply)] = []
    var continued = 0
    var cancelled: [TakenRequest] = []
    /// Answers reads inside of `submit`.
    var answersAtOnce = false

    func submit(_ request: ClientRequest, reply: RESPReply) -> TakenRequest {
        submitted.append((request, reply))
        if answersAtOnce { reply.answer(.get(.absent(Participation(primaries: 2)))) }
        return TakenRequest(rawValue: UInt64(submitted.count))
    }

    func list(_ request: ListRequest, reply: RESPReply) -> TakenRequest {
        listings.append((request, reply))
        return TakenRequest(rawValue: 1000 + UInt64(listings.count))
    }

    func continueListing(_ operation: TakenRequest) { continued += 1 }
    func cancel(_ operation: TakenRequest) { cancelled.append(operation) }

    /// `b` of `get b`, `put b=v`, `delete b`.
    var asked: [String] {
        submitted.map { request, _ in
            let key = String(buffer: request.key.key)
            return switch request {
            case .get(let get): get.headOnly ? "head \(key)" : "get \(key)"
            case .put(let put): "put \(key)=\(String(buffer: put.value))"
            case .delete: "delete \(key)"
            }
        }
    }

    func absent(_ index: Int) { submitted[index].reply.answer(.get(.absent(Participation(primaries: 2)))) }
    func written(_ index: Int) { submitted[index].reply.answer(.write(.ok(Participation(primaries: 2), nil))) }

    func found(_ index: Int, _ value: String, until expiry: UInt64? = nil) {
        let dot = Dot(actor: Actor(rawValue: 1), counter: 1)
        var version = Sibling(dot: dot, timestamp: .zero, value: ByteBuffer(string: value))
        version.expiry = expiry.map { WallTime(microseconds: $0) }
        var object = ClientObject(
            siblings: [version], context: CausalContext(clock: VersionVector([dot]), latestTimestamp: .zero))
        object.instant = wallTime
        submitted[index].reply.answer(.get(.found(object, Participation(primaries: 2))))
    }

    func put(_ index: Int) throws -> PutRequest {
        guard case .put(let put) = submitted[index].request else { throw NotAPut() }
        return put
    }

    struct NotAPut: Error {}
}

private struct Connection {
    let store = ManualStore()
    let handler: RESPConnection
    let channel: EmbeddedChannel

    init(_ adjust: (inout RESPLimits) -> Void = { _ in }) throws {
        var limits = RESPLimits(objectBytes: 1 << 20)
        adjust(&limits)
        handler = RESPConnection(backend: store, limits: limits, id: 7, version: "0.1")
        channel = EmbeddedChannel(handler: handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    /// Lines that a person might type.
    func send(_ lines: String...) throws {
        for line in lines { try channel.writeInbound(ByteBuffer(string: line + "\r\n")) }
    }

    func sendBytes(_ text: String) throws { try channel.writeInbound(ByteBuffer(string: text)) }

    /// All that was answered since the last call; a line's end is `|`.
    func answers() throws -> String {
        channel.embeddedEventLoop.run()
        var all = ""
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { all += String(buffer: bytes) }
        return all.replacing("\r\n", with: "|")
    }
}

@Suite struct RESPConnectionTests {
    @Test func valuesAreWrittenAndRead() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.sendBytes("*3\r\n$3\r\nSET\r\n$5\r\nalice\r\n$4\r\nmilk\r\n")
        #expect(store.asked == ["put alice=milk"])
        #expect(store.submitted[0].request.key.bucket == RESPConnection.bucket(0))
        #expect(try connection.answers() == "")
        store.written(0)
        #expect(try connection.answers() == "+OK|")
        try connection.send("GET alice", "GET bob", "STRLEN alice", "EXISTS alice")
        // One command of two words has one key; EXISTS may have more, and runs alone.
        #expect(store.asked.dropFirst() == ["get alice", "get bob"])
        store.absent(2)
        #expect(try connection.answers() == "")
        store.found(1, "milk")
        #expect(try connection.answers() == "$4|milk|$-1|")
        #expect(store.asked.last == "get alice")
        store.found(3, "milk")
        #expect(try connection.answers() == ":4|")
        #expect(store.asked.last == "head alice")
        store.found(4, "")
        #expect(try connection.answers() == ":1|")
    }

    @Test func aDatabaseIsABucketWhoseLastWriteWins() throws {
        let connection = try Connection()
        try connection.send("SELECT 3", "SET a b", "SELECT 16", "SELECT x")
        #expect(connection.store.submitted[0].request.key.bucket == RESPConnection.bucket(3))
        connection.store.written(0)
        #expect(try connection.answers() == "+OK|+OK|-ERR DB index is out of range|-ERR invalid DB index|")
        #expect(PropertiesTable()[RESPConnection.bucket(3)].conflictMode == .lww)
        #expect(PropertiesTable().type(BucketID.redisTypeName).conflictMode == .lww)
        #expect(PropertiesTable()[BucketID(name: ByteBuffer(string: "3"))].conflictMode == .siblings)
    }

    /// Nobody can have siblings where clients know none, whatever was set.
    @Test func whatWasSetOnADatabaseLeavesItsConflictModeAlone() {
        let entry = PropertiesEntry(
            scope: .bucket(RESPConnection.bucket(0)),
            versioned: VersionedProperties(
                properties: BucketProperties(), stamp: HybridTimestamp(rawValue: 1), setBy: NodeID(rawValue: 1)))
        #expect(PropertiesTable([entry])[RESPConnection.bucket(0)].conflictMode == .lww)
    }

    @Test func answersComeInTheOrderOfAskingAndAKeysCommandsRunOneAfterTheOther() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("SET a 1", "GET b", "GET a", "PING", "SET a 2", "GET a")
        #expect(store.asked == ["put a=1", "get b"])
        store.found(1, "x")
        #expect(try connection.answers() == "")
        store.written(0)
        #expect(try connection.answers() == "+OK|$1|x|")
        #expect(store.asked.dropFirst(2) == ["get a"])
        store.found(2, "1")
        #expect(try connection.answers() == "$1|1|+PONG|")
        store.written(3)
        store.found(4, "2")
        #expect(try connection.answers() == "+OK|$1|2|")
    }

    @Test func manyKeysAreGathered() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("MGET a b c", "DEL a b", "MSET a 1 b 2")
        #expect(store.asked == ["get a", "get b", "get c"])
        store.found(2, "3")
        store.absent(1)
        store.found(0, "1")
        #expect(try connection.answers() == "*3|$1|1|$-1|$1|3|")
        #expect(store.asked.dropFirst(3) == ["head a", "head b"])
        store.found(3, "")
        #expect(store.asked.last == "delete a")
        store.absent(4)
        store.written(5)
        #expect(try connection.answers() == ":1|")
        #expect(store.asked.dropFirst(6) == ["put a=1", "put b=2"])
        store.written(6)
        store.submitted[7].reply.answer(.write(.indeterminate(copies: 1, needed: 2)))
        #expect(try connection.answers().hasPrefix("-INDETERMINATE 1 of 2 copies"))
    }

    /// More keys than are asked for at once, from a store that answers inside of the call.
    @Test func aLongGatheringIsNoDeepOne() throws {
        let connection = try Connection()
        connection.store.answersAtOnce = true
        let count = 5_000
        try connection.send("MGET " + (0..<count).map { "k\($0)" }.joined(separator: " "))
        #expect(try connection.answers() == "*\(count)|" + String(repeating: "$-1|", count: count))

        let slow = try Connection()
        try slow.send("EXISTS " + (0..<200).map { "k\($0)" }.joined(separator: " "))
        #expect(slow.store.submitted.count == 64)
        for index in 0..<200 { slow.store.found(index, "") }
        #expect(try slow.answers() == ":200|")
    }

    @Test func endsInTime() throws {
        let connection = try Connection()
        let store = connection.store
        let now = store.wallTime.microseconds
        try connection.send("SET a v EX 10", "SET b v PX 1500", "SET c v PXAT 2000000", "SETEX d 5 v")
        #expect(
            try (0..<4).map { try store.put($0).expiry?.microseconds } == [
                now + 10_000_000, now + 1_500_000, 2_000_000_000, now + 5_000_000,
            ])
        for index in 0..<4 { store.written(index) }
        _ = try connection.answers()

        try connection.send("TTL a", "PTTL b", "TTL c", "TTL d", "PEXPIRETIME e")
        store.found(4, "v", until: now + 9_400_000)
        store.found(5, "v", until: now + 1_400_000)
        store.found(6, "v")
        store.absent(7)
        store.found(8, "v", until: now + 1_000)
        #expect(try connection.answers() == ":9|:1400|:-1|:-2|:1000001|")

        // What changes the end reads first, and writes what was read with its context.
        try connection.send("EXPIRE a 60")
        store.found(9, "kept")
        #expect(store.asked.last == "put a=kept")
        #expect(try store.put(10).expiry?.microseconds == now + 60_000_000)
        #expect(try store.put(10).context != nil)
        store.written(10)
        #expect(try connection.answers() == ":1|")
        try connection.send("EXPIRE a -1", "PERSIST b", "SET c new KEEPTTL", "GETEX d PERSIST", "EXPIRE e 1 XX")
        store.found(11, "v")
        #expect(store.asked.last == "delete a")
        store.found(12, "v", until: now + 5)
        #expect(try store.put(17).expiry == nil)
        store.found(13, "old", until: now + 77)
        #expect(try store.put(18).expiry?.microseconds == now + 77)
        store.found(14, "v", until: now + 5)
        store.found(15, "v")
        for index in 16...19 { store.written(index) }
        #expect(try connection.answers() == ":1|:1|+OK|$1|v|:0|")
        #expect(store.submitted.count == 20)
    }

    @Test func conditionsAreRefusedUnlessAllowed() throws {
        var connection = try Connection()
        try connection.send("SET lock me NX", "SETNX lock me", "SET lock me XX")
        #expect(connection.store.submitted.isEmpty)
        let answers = try connection.answers()
        #expect(
            answers.split(separator: "|").count == 3
                && answers.split(separator: "|").allSatisfy { $0.hasPrefix("-ERR NX and XX") })

        connection = try Connection { $0.allowsConditions = true }
        let store = connection.store
        try connection.send("SET a v NX", "SETNX b v", "SET c v XX", "SET d v XX GET")
        #expect(try store.put(0).condition == .ifNoneMatch)
        store.submitted[0].reply.answer(.write(.refused(.matchFound)))
        store.submitted[1].reply.answer(.write(.refused(.matchFound)))
        store.absent(2)
        store.found(3, "old")
        store.written(4)
        #expect(try connection.answers() == "$-1|:0|$-1|$3|old|")
    }

    @Test func setAnswersWhatStoodAndGetDeletes() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("SET a new GET", "GETDEL b", "GETDEL c")
        store.found(0, "old")
        store.found(1, "gone")
        store.absent(2)
        #expect(store.asked.dropFirst(3) == ["put a=new", "delete b"])
        store.written(3)
        store.written(4)
        #expect(try connection.answers() == "$3|old|$4|gone|$-1|")
    }

    @Test func aScanGoesOnAtAPlaceOnTheRing() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("SCAN 0 COUNT 3", "PING")
        #expect(store.listings[0].request.start == RingPosition(rawValue: 0))
        #expect(store.listings[0].request.subject == .keys(RESPConnection.bucket(0)))
        store.listings[0].reply.listed(.items([ByteBuffer(string: "a"), ByteBuffer(string: "b")]))
        connection.channel.embeddedEventLoop.run()
        #expect(store.continued == 1)
        store.listings[0].reply.listed(.items([ByteBuffer(string: "c")]))
        let next = ObjectKey(bucket: RESPConnection.bucket(0), key: ByteBuffer(string: "c")).position.rawValue + 1
        #expect(try connection.answers() == "*2|$\(String(next).count)|\(next)|*3|$1|a|$1|b|$1|c|+PONG|")
        #expect(store.cancelled.count == 1)
        try connection.send("SCAN \(next) MATCH x*")
        #expect(store.listings[1].request.start == RingPosition(rawValue: next))
        store.listings[1].reply.listed(.items([ByteBuffer(string: "xy"), ByteBuffer(string: "y")]))
        connection.channel.embeddedEventLoop.run()
        store.listings[1].reply.listed(.done)
        #expect(try connection.answers() == "*2|$1|0|*1|$2|xy|")
        // Nothing found yet, and where to go on.
        try connection.send("SCAN 0")
        store.listings[2].reply.listed(.paused(at: RingPosition(rawValue: 4711)))
        #expect(try connection.answers() == "*2|$4|4711|*0|")
        try connection.send("DBSIZE")
        #expect(store.listings[3].request.start == nil)
        store.listings[3].reply.listed(.items([ByteBuffer(string: "xy"), ByteBuffer(string: "y")]))
        connection.channel.embeddedEventLoop.run()
        store.listings[3].reply.listed(.done)
        #expect(try connection.answers() == ":2|")
    }

    /// By what one replica lacks a key would not be deleted that others hold.
    @Test func whatIsReadToBeWrittenIsReadAtAQuorum() throws {
        let table: [(String, String, Quorum?)] = [
            ("one", "GET a", .one), ("one", "GETEX a", .one), ("one", "DEL a", .quorum), ("one", "GETDEL a", .quorum),
            ("one", "GETEX a EX 5", .quorum), ("one", "EXPIRE a 5", .quorum), ("one", "SET a b GET", .quorum),
            ("all", "DEL a", .all), ("bucket", "GET a", nil), ("bucket", "DEL a", .quorum),
        ]
        for (consistency, command, expected) in table {
            let connection = try Connection()
            try connection.send("CLIENT CONSISTENCY \(consistency)", command)
            #expect(connection.store.submitted[0].request.options.r == expected, "\(command) at \(consistency)")
        }
        // The write is the connection's.
        let connection = try Connection()
        try connection.send("CLIENT CONSISTENCY one", "DEL a")
        connection.store.found(0, "x")
        #expect(connection.store.submitted[1].request.options.w == .one)
    }

    @Test func theTypeOfItsDatabasesIsReserved() {
        var siblings = PropertiesChange()
        siblings.conflictMode = .siblings
        var quorum = PropertiesChange()
        quorum.r = .one
        let other = BucketID(type: BucketID.redisTypeName, name: ByteBuffer(string: "carts"))
        let table: [(PropertiesScope, PropertiesChange, PropertiesRefusal?)] = [
            (.type(BucketID.redisTypeName), siblings, .reservedType), (.type(BucketID.redisTypeName), quorum, nil),
            (.bucket(RESPConnection.bucket(15)), siblings, .reservedType),
            (.bucket(RESPConnection.bucket(15)), quorum, nil),
            (.bucket(RESPConnection.bucket(16)), quorum, .reservedType),
            (.bucket(other), quorum, .reservedType),
            (.bucket(BucketID(name: ByteBuffer(string: "carts"))), siblings, nil),
        ]
        for (scope, change, expected) in table {
            let result = PropertiesTable().changed(
                scope, by: change, holdsData: false, members: 3, at: WallTime(microseconds: 1_000_000),
                by: NodeID(rawValue: 1))
            var refusal: PropertiesRefusal?
            if case .failure(let found) = result { refusal = found }
            #expect(refusal == expected, "\(scope)")
        }
    }

    @Test func aConnectionSaysItsConsistency() throws {
        let connection = try Connection()
        try connection.send("CLIENT CONSISTENCY all", "GET a", "CLIENT CONSISTENCY", "CLIENT CONSISTENCY some")
        #expect(connection.store.submitted[0].request.options.r == .all)
        connection.store.absent(0)
        #expect(
            try connection.answers()
                == "+OK|$-1|$3|all|-ERR CLIENT CONSISTENCY takes ONE, QUORUM, ALL or BUCKET|")
    }

    @Test func versionThreeHasMapsAndItsOwnNothing() throws {
        let connection = try Connection()
        try connection.send("HELLO 3 SETNAME me", "GET a", "HELLO 4", "CONFIG GET *save*", "CLIENT GETNAME")
        connection.store.absent(0)
        let answers = try connection.answers()
        #expect(answers.hasPrefix("%7|$6|server|$4|torc|"))
        #expect(answers.hasSuffix("_|-NOPROTO unsupported protocol version|%1|$4|save|$0||$2|me|"))
    }

    @Test func whatIsNotThereSaysSo() throws {
        let connection = try Connection()
        try connection.send("INCR a", "GET", "GET a b", "SET a", "SET a b EX 0", "SET a b EX x", "GET \"\"", "AUTH x")
        let answers = try connection.answers().split(separator: "|")
        #expect(answers.count == 8 && answers.allSatisfy { $0.hasPrefix("-ERR ") })
        #expect(answers[0].contains("unknown command 'INCR'"))
        #expect(connection.store.submitted.isEmpty)
    }

    @Test(arguments: [
        "*1\r\n+PING\r\n", "*x\r\n", "*1\r\n$-1\r\n", "*1\r\n$99999999999\r\n", "*2000000\r\n",
        "*1\r\n$1\r\nabc", String(repeating: "x", count: 70_000), "GET \"a\r\n",
    ])
    func garbageEndsTheConnectionAfterItsTurn(_ garbage: String) throws {
        let connection = try Connection()
        try connection.send("GET a")
        try connection.sendBytes(garbage)
        #expect(try connection.answers() == "")
        connection.store.absent(0)
        let answers = try connection.answers()
        #expect(answers.hasPrefix("$-1|-ERR Protocol error"))
        // What comes after it is thrown away.
        try connection.send("PING")
        #expect(try connection.answers() == "")
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(2))
        #expect(!connection.channel.isActive)
    }

    /// What a browser sends that was led here is not carried out.
    @Test func whatIsHTTPEndsTheConnection() throws {
        let connection = try Connection()
        try connection.sendBytes("POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n")
        #expect(connection.store.submitted.isEmpty)
        #expect(try connection.answers().hasPrefix("-ERR Protocol error"))
    }

    /// An end that no clock comes to: refused, and where a record has it all the same, no trap.
    @Test func endsThatNoClockComesTo() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("SET k v PXAT 18446744073709551", "SET k v EXAT 9223372036854775807")
        #expect(try connection.answers().split(separator: "|").allSatisfy { $0.hasPrefix("-ERR ") })
        #expect(store.submitted.isEmpty)
        try connection.send("EXPIRETIME k", "PTTL k", "PEXPIRETIME k")
        for index in 0..<3 { store.found(index, "v", until: .max) }
        #expect(try connection.answers() == ":18446744073710|:18446744072709552|:18446744073709552|")
    }

    @Test func aKeyNamedTwiceCountsOnce() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.send("DEL k k", "MSET k 1 k 2")
        #expect(store.asked == ["head k"])
        store.absent(0)
        #expect(try connection.answers() == ":0|")
        #expect(store.asked.dropFirst() == ["put k=2"])
    }

    @Test func aLongPatternIsRefused() throws {
        let connection = try Connection()
        let line = "*4\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$2000\r\n\(String(repeating: "[", count: 2000))\r\n"
        try connection.sendBytes(line)
        #expect(try connection.answers().hasPrefix("-ERR a pattern has at most"))
        #expect(connection.store.listings.isEmpty)
    }

    /// The version is said behind what was asked before it, and does not change how that is answered.
    @Test func anotherVersionWaitsItsTurn() throws {
        let connection = try Connection()
        try connection.send("GET a", "HELLO 3", "GET a")
        connection.store.absent(0)
        #expect(try connection.answers().hasPrefix("$-1|%7|"))
        connection.store.absent(1)
        #expect(try connection.answers() == "_|")
    }

    @Test func bytesComeAsTheyLike() throws {
        let text = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n*1\r\n$4\r\nPING\r\n\r\nPING 'a b'\r\n"
        for step in [1, 2, 3, 7, 100] {
            let connection = try Connection()
            let bytes = Array(text.utf8)
            for start in stride(from: 0, to: bytes.count, by: step) {
                try connection.channel.writeInbound(ByteBuffer(bytes: bytes[start..<min(start + step, bytes.count)]))
            }
            #expect(connection.store.asked == ["put a=0123456789"])
            connection.store.written(0)
            #expect(try connection.answers() == "+OK|+PONG|$3|a b|")
        }
    }

    @Test func aPipelineIsReadAsFarAsThereIsRoom() throws {
        let connection = try Connection { $0.pipelinedCommands = 4 }
        let store = connection.store
        try connection.sendBytes((0..<20).map { "GET k\($0)\r\n" }.joined())
        #expect(store.submitted.count == 4)
        for index in 0..<20 { store.absent(index) }
        #expect(try connection.answers() == String(repeating: "$-1|", count: 20))
    }

    /// A command is short, and its answer may be a megabyte.
    @Test func atFirstAnswersAreTakenToBeLarge() throws {
        let connection = try Connection()
        let store = connection.store
        try connection.sendBytes((0..<128).map { "GET k\($0)\r\n" }.joined())
        #expect(store.submitted.count == 16)
        for index in 0..<16 { store.absent(index) }
        #expect(store.submitted.count == 48, "twice as many are under way after small answers")
        for index in 16..<128 { store.absent(index) }
        #expect(try connection.answers() == String(repeating: "$-1|", count: 128))
    }

    @Test func largeAnswersMakeTheWindowSmaller() throws {
        let connection = try Connection { $0.answerBytes = 100_000 }
        try connection.send("GET a")
        connection.store.found(0, String(repeating: "x", count: 40_000))
        for index in 0..<5 { try connection.send("GET k\(index)") }
        #expect(connection.store.submitted.count == 3, "two answers of 40,000 bytes fit")
    }

    @Test func whoGoesAwayIsWaitedForByNobody() throws {
        let connection = try Connection()
        try connection.send("GET a", "GET b", "MGET a b")
        try connection.channel.close().wait()
        #expect(connection.store.cancelled.map(\.rawValue) == [1, 2])
        connection.store.absent(0)

        let quitting = try Connection()
        try quitting.send("GET a", "QUIT", "GET b")
        #expect(quitting.store.submitted.count == 1)
        quitting.store.absent(0)
        #expect(try quitting.answers() == "$-1|+OK|")
        #expect(!quitting.channel.isActive)
    }

    @Test func failuresAreTold() throws {
        let connection = try Connection()
        let failures: [(ClientAnswer, String)] = [
            (.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: true))), "-TIMEOUT "),
            (.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: false))), "-NOQUORUM "),
            (.get(.refused(.overloaded)), "-TRYAGAIN this node has too much to do: ask again in 120 ms, "),
            (.get(.refused(.unreachable(needed: 2, reachable: 1))), "-NOQUORUM "),
        ]
        for (index, (failure, expected)) in failures.enumerated() {
            try connection.send("GET a")
            connection.store.submitted[index].reply.answer(failure)
            #expect(try connection.answers().hasPrefix(expected))
        }
    }

    @Test func aPatternMatchesAsRedisHasIt() throws {
        let cases: [(String, String, Bool)] = [
            ("*", "", true), ("a*c", "abbc", true), ("a*c", "abbd", false), ("a?c", "abc", true), ("a?c", "ac", false),
            ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false), ("\\*", "*", true), ("\\*", "a", false),
            ("a[", "ab", false),
            ("*a*b*c*", String(repeating: "ab", count: 2_000), false),
        ]
        let connection = try Connection()
        for (number, (pattern, key, isMatch)) in cases.enumerated() {
            let line = "*4\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$\(pattern.utf8.count)\r\n\(pattern)\r\n"
            try connection.sendBytes(line)
            connection.store.listings[number].reply.listed(.items([ByteBuffer(string: key.isEmpty ? "e" : key)]))
            connection.channel.embeddedEventLoop.run()
            connection.store.listings[number].reply.listed(.done)
            let answer = try connection.answers()
            #expect(
                answer.hasPrefix("*2|$1|0|*\(isMatch ? 1 : 0)|"), "\(pattern) \(key.prefix(20)): \(answer.prefix(40))")
        }
    }
}
