// What a client asks: the words of a command, read once into what is to be done. A database is a bucket, a key an object
// whose last write wins.

package import NIOCore
package import TorcModel
import TorcReplication

/// When a value ends to be.
package enum RESPExpiry: Hashable, Sendable {
    /// From the instant of the request.
    case after(microseconds: UInt64)
    case at(WallTime)
}

/// What one key is asked for.
package enum RESPKeyCommand: Hashable, Sendable {
    /// How a condition on what stands is kept.
    package enum Condition: Hashable, Sendable { case ifAbsent, ifPresent }
    package enum ExpiryCondition: Hashable, Sendable { case ifNone, ifSome, ifGreater, ifLess }

    package struct Put: Hashable, Sendable {
        package var value: ByteBuffer
        package var expiry: RESPExpiry?
        package var keepsExpiry = false
        package var condition: Condition?
        /// The answer is what stood before.
        package var returnsFormer = false
        /// The answer is 1 or 0.
        package var countsAnswer = false
    }

    case get
    case put(Put)
    case delete
    case getAndDelete
    /// nil: the value and nothing else; `.some(nil)`: it stands for ever.
    case getAndExpire(RESPExpiry??)
    case exists
    case length
    case type
    /// What is left, in these units a second; `isInstant`: the instant, since 1970.
    case timeLeft(perSecond: UInt64, isInstant: Bool)
    case expire(RESPExpiry, ExpiryCondition?)
    case persist
}

/// What several keys are asked for together.
package enum RESPGathering: Hashable, Sendable {
    /// An answer a key.
    case each
    /// The sum of numbers.
    case sum
    /// `OK` once all have it.
    case ok
}

package enum RESPCommand: Sendable {
    /// Of one key, or of several with one answer.
    case keys([(ByteBuffer, RESPKeyCommand)], RESPGathering?)
    case scan(cursor: UInt64, pattern: ByteBuffer?, count: Int)
    case count
    case ping(ByteBuffer?)
    case echo(ByteBuffer)
    case hello(version: Int?, name: ByteBuffer?)
    case select(Int)
    case client(RESPClientCommand)
    case commands
    case commandCount
    case info
    case configuration([ByteBuffer])
    case quit
    case reset
}

package enum RESPClientCommand: Hashable, Sendable {
    case setName(ByteBuffer)
    case getName
    case id
    case info
    /// Accepted, and without effect here.
    case noted
    case setConsistency(RESPConsistency)
    case getConsistency
}

/// The quorums of a connection's reads and writes.
package enum RESPConsistency: String, CaseIterable, Hashable, Sendable { case bucket, one, quorum, all }

/// A command that cannot be carried out as it was sent. The connection goes on.
package struct RESPCommandError: Error, Hashable, Sendable {
    package var message: String
    init(_ message: String) { self.message = message }
}

// MARK: Reading the words

extension RESPCommand {
    package static let databases = 16
    /// Of commands and options.
    static let maximumNameBytes = 64
    /// A longer one could keep an event loop busy for as long as it likes.
    static let maximumPatternBytes = 1 << 10
    /// Of one command: MGET, DEL, EXISTS and their like.
    package static let maximumKeys = 10_000

    package init(_ words: [ByteBuffer]) throws(RESPCommandError) {
        guard words[0].readableBytes <= Self.maximumNameBytes else { throw RESPCommandError("ERR unknown command") }
        let name = String(buffer: words[0]).uppercased()
        var rest = Words(name, words.dropFirst())
        switch name {
        case "PING": self = .ping(try rest.optional())
        case "ECHO": self = .echo(try rest.word())
        case "HELLO": self = try Self.hello(&rest)
        case "AUTH":
            throw RESPCommandError("ERR AUTH called without any password configured: this node asks for none")
        case "SELECT":
            guard let number = RESPReader.number(try rest.word()) else {
                throw RESPCommandError("ERR invalid DB index")
            }
            guard (0..<Self.databases).contains(number) else {
                throw RESPCommandError("ERR DB index is out of range")
            }
            self = .select(number)
        case "CLIENT": self = .client(try Self.client(&rest))
        case "COMMAND":
            let first = rest.isEmpty ? "" : String(buffer: try rest.word()).uppercased()
            rest.skip()
            self = first == "COUNT" ? .commandCount : .commands
        case "INFO":
            rest.skip()
            self = .info
        case "CONFIG":
            guard String(buffer: try rest.word()).uppercased() == "GET" else {
                throw RESPCommandError("ERR CONFIG can GET here, no more: the node's configuration is its file's")
            }
            var patterns = [try rest.pattern()]
            while !rest.isEmpty { patterns.append(try rest.pattern()) }
            guard patterns.count <= Self.maximumNameBytes else { throw Words.syntax }
            self = .configuration(patterns)
        case "DBSIZE": self = .count
        case "SCAN": self = try Self.scan(&rest)
        case "QUIT": self = .quit
        case "RESET": self = .reset
        case "MGET": self = .keys(try rest.keys().map { ($0, .get) }, .each)
        case "MSET":
            // Of two values for one key the last.
            var last: [ByteBuffer: ByteBuffer] = [:]
            let pairs = try rest.pairs()
            for (key, value) in pairs { last[key] = value }
            let keys = Self.distinct(pairs.map(\.0))
            self = .keys(keys.map { ($0, .put(RESPKeyCommand.Put(value: last[$0]!))) }, .ok)
        case "DEL", "UNLINK": self = .keys(Self.distinct(try rest.keys()).map { ($0, .delete) }, .sum)
        case "EXISTS", "TOUCH": self = .keys(try rest.keys().map { ($0, .exists) }, .sum)
        default: self = .keys([try Self.keyCommand(name, &rest)], nil)
        }
        try rest.end()
    }

    private static func distinct(_ keys: [ByteBuffer]) -> [ByteBuffer] {
        var seen: Set<ByteBuffer> = []
        return keys.filter { seen.insert($0).inserted }
    }

    private static func keyCommand(
        _ name: String, _ rest: inout Words
    ) throws(RESPCommandError) -> (ByteBuffer, RESPKeyCommand) {
        switch name {
        case "GET": return (try rest.key(), .get)
        case "STRLEN": return (try rest.key(), .length)
        case "TYPE": return (try rest.key(), .type)
        case "TTL": return (try rest.key(), .timeLeft(perSecond: 1, isInstant: false))
        case "PTTL": return (try rest.key(), .timeLeft(perSecond: 1_000, isInstant: false))
        case "EXPIRETIME": return (try rest.key(), .timeLeft(perSecond: 1, isInstant: true))
        case "PEXPIRETIME": return (try rest.key(), .timeLeft(perSecond: 1_000, isInstant: true))
        case "PERSIST": return (try rest.key(), .persist)
        case "GETDEL": return (try rest.key(), .getAndDelete)
        case "SET":
            let key = try rest.key()
            return (key, .put(try put(&rest)))
        case "SETEX", "PSETEX":
            let key = try rest.key()
            let expiry = try rest.expiry(name == "SETEX" ? "EX" : "PX")
            return (key, .put(RESPKeyCommand.Put(value: try rest.word(), expiry: expiry)))
        case "SETNX":
            let key = try rest.key()
            return (
                key, .put(RESPKeyCommand.Put(value: try rest.word(), condition: .ifAbsent, countsAnswer: true))
            )
        case "GETSET":
            let key = try rest.key()
            return (key, .put(RESPKeyCommand.Put(value: try rest.word(), returnsFormer: true)))
        case "GETEX":
            let key = try rest.key()
            guard let option = rest.option() else { return (key, .getAndExpire(nil)) }
            if option == "PERSIST" { return (key, .getAndExpire(.some(nil))) }
            return (key, .getAndExpire(.some(try rest.expiry(option))))
        case "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT":
            let units = ["EXPIRE": "EX", "PEXPIRE": "PX", "EXPIREAT": "EXAT", "PEXPIREAT": "PXAT"]
            let key = try rest.key()
            let expiry = try rest.expiry(units[name]!, mayBePast: true)
            var condition: RESPKeyCommand.ExpiryCondition?
            if let option = rest.option() {
                switch option {
                case "NX": condition = .ifNone
                case "XX": condition = .ifSome
                case "GT": condition = .ifGreater
                case "LT": condition = .ifLess
                default: throw RESPCommandError("ERR Unsupported option \(option)")
                }
            }
            return (key, .expire(expiry, condition))
        default:
            throw RESPCommandError(
                "ERR unknown command '\(name.prefix(64))': Torc keeps strings, and has no counters, locks, lists or scripts"
            )
        }
    }

    private static func put(_ rest: inout Words) throws(RESPCommandError) -> RESPKeyCommand.Put {
        var put = RESPKeyCommand.Put(value: try rest.word())
        while let option = rest.option() {
            switch option {
            case "NX" where put.condition == nil: put.condition = .ifAbsent
            case "XX" where put.condition == nil: put.condition = .ifPresent
            case "GET": put.returnsFormer = true
            case "KEEPTTL" where put.expiry == nil: put.keepsExpiry = true
            case "EX", "PX", "EXAT", "PXAT":
                guard put.expiry == nil, !put.keepsExpiry else { throw Words.syntax }
                put.expiry = try rest.expiry(option)
            default: throw Words.syntax
            }
        }
        return put
    }

    private static func hello(_ rest: inout Words) throws(RESPCommandError) -> RESPCommand {
        var version: Int?
        var name: ByteBuffer?
        if !rest.isEmpty {
            version = RESPReader.number(try rest.word())
            guard version == 2 || version == 3 else { throw RESPCommandError("NOPROTO unsupported protocol version") }
        }
        while let option = rest.option() {
            switch option {
            case "SETNAME": name = try rest.word()
            case "AUTH":
                throw RESPCommandError("ERR AUTH called without any password configured: this node asks for none")
            default: throw Words.syntax
            }
        }
        return .hello(version: version, name: name)
    }

    private static func client(_ rest: inout Words) throws(RESPCommandError) -> RESPClientCommand {
        let name = String(buffer: try rest.word()).uppercased()
        switch name {
        case "SETNAME": return .setName(try rest.word())
        case "GETNAME": return .getName
        case "ID": return .id
        case "INFO": return .info
        case "SETINFO", "NO-EVICT", "NO-TOUCH":
            rest.skip()
            return .noted
        case "CONSISTENCY":
            guard let word = rest.option() else { return .getConsistency }
            guard let consistency = RESPConsistency(rawValue: word.lowercased()) else {
                throw RESPCommandError("ERR CLIENT CONSISTENCY takes ONE, QUORUM, ALL or BUCKET")
            }
            return .setConsistency(consistency)
        default: throw RESPCommandError("ERR unknown subcommand '\(name.prefix(64))' of CLIENT")
        }
    }

    private static func scan(_ rest: inout Words) throws(RESPCommandError) -> RESPCommand {
        guard let cursor = UInt64(String(buffer: try rest.word())) else {
            throw RESPCommandError("ERR invalid cursor")
        }
        var pattern: ByteBuffer?
        var count = 10
        while let option = rest.option() {
            switch option {
            case "MATCH": pattern = try rest.pattern()
            case "COUNT":
                guard let number = RESPReader.number(try rest.word()), number > 0 else { throw Words.syntax }
                count = min(number, Self.maximumKeys)
            case "TYPE":
                guard String(buffer: try rest.word()).lowercased() == "string" else {
                    throw RESPCommandError("ERR all values are strings here")
                }
            default: throw Words.syntax
            }
        }
        return .scan(cursor: cursor, pattern: pattern, count: count)
    }
}

/// The words of a command after its name.
private struct Words {
    static let syntax = RESPCommandError("ERR syntax error")
    /// In microseconds since 1970: the year 9999.
    private static let latestInstant: UInt64 = 253_402_300_799_000_000

    private let name: String
    private var words: ArraySlice<ByteBuffer>

    init(_ name: String, _ words: ArraySlice<ByteBuffer>) {
        self.name = name
        self.words = words
    }

    var isEmpty: Bool { words.isEmpty }

    mutating func skip() { words = [] }

    mutating func word() throws(RESPCommandError) -> ByteBuffer {
        guard let word = words.popFirst() else {
            throw RESPCommandError("ERR wrong number of arguments for '\(name.lowercased())' command")
        }
        return word
    }

    mutating func optional() throws(RESPCommandError) -> ByteBuffer? { words.popFirst() }
    mutating func option() -> String? {
        words.popFirst().map { $0.readableBytes > RESPCommand.maximumNameBytes ? "?" : String(buffer: $0).uppercased() }
    }

    mutating func pattern() throws(RESPCommandError) -> ByteBuffer {
        let pattern = try word()
        guard pattern.readableBytes <= RESPCommand.maximumPatternBytes else {
            throw RESPCommandError("ERR a pattern has at most \(RESPCommand.maximumPatternBytes) bytes")
        }
        return pattern
    }

    mutating func key() throws(RESPCommandError) -> ByteBuffer {
        let key = try word()
        guard key.readableBytes > 0, key.readableBytes <= ObjectKey.maximumKeyBytes else {
            throw RESPCommandError("ERR a key has from 1 to \(ObjectKey.maximumKeyBytes) bytes")
        }
        return key
    }

    mutating func keys() throws(RESPCommandError) -> [ByteBuffer] {
        var keys = [try key()]
        while !words.isEmpty { keys.append(try key()) }
        guard keys.count <= RESPCommand.maximumKeys else {
            throw RESPCommandError("ERR more than \(RESPCommand.maximumKeys) keys in one command")
        }
        return keys
    }

    mutating func pairs() throws(RESPCommandError) -> [(ByteBuffer, ByteBuffer)] {
        var pairs = [(try key(), try word())]
        while !words.isEmpty { pairs.append((try key(), try word())) }
        guard pairs.count <= RESPCommand.maximumKeys else {
            throw RESPCommandError("ERR more than \(RESPCommand.maximumKeys) keys in one command")
        }
        return pairs
    }

    mutating func expiry(_ unit: String, mayBePast: Bool = false) throws(RESPCommandError) -> RESPExpiry {
        let perUnit: UInt64
        switch unit {
        case "EX", "EXAT": perUnit = 1_000_000
        case "PX", "PXAT": perUnit = 1_000
        default: throw Self.syntax
        }
        guard let number = RESPReader.number(try word()) else {
            throw RESPCommandError("ERR value is not an integer or out of range")
        }
        let longest =
            unit.hasSuffix("AT") ? Self.latestInstant : UInt64(PutRequest.longestLifetimeSeconds) * 1_000_000
        let (microseconds, isTooMuch) = UInt64(max(number, 0)).multipliedReportingOverflow(by: perUnit)
        guard !isTooMuch, microseconds <= longest, number > 0 || mayBePast else {
            throw RESPCommandError("ERR invalid expire time in '\(name.lowercased())' command")
        }
        return unit.hasSuffix("AT")
            ? .at(WallTime(microseconds: microseconds)) : .after(microseconds: microseconds)
    }

    func end() throws(RESPCommandError) {
        guard words.isEmpty else {
            throw RESPCommandError("ERR wrong number of arguments for '\(name.lowercased())' command")
        }
    }
}
