// The server's end of one client's connection over Redis's protocol: bytes in, requests to the node, answers out in the order
// of asking.
//
// Nothing here grows with what a client sends or fails to read: commands are taken while there is room for them and while the
// client takes its answers; until then the socket is not read. After bytes that are no command the client is told so, in its
// turn, and the connection ends.

package import NIOCore
package import TorcModel
import TorcReplication

/// The bounds of one connection, and what its client may ask.
package struct RESPLimits: Sendable {
    /// Of one word, and so of a value.
    package var wordBytes: Int
    /// Of all words of one command.
    package var commandBytes = 64 << 20
    /// Commands under way; further ones stay unread.
    package var pipelinedCommands = 128
    /// Bytes of commands under way and of answers that wait for those before them; further commands stay unread.
    package var pipelinedBytes = 16 << 20
    /// Bytes of answers that the commands of one key under way may come to, judged by the largest of late; further
    /// commands stay unread, but one is always taken.
    package var answerBytes = 16 << 20
    /// Of one value: what an answer may come to while nothing is known of a connection's.
    package var objectBytes: Int
    /// How long a connection that is closed for an error goes on throwing away what the client sends.
    package var closingTime: TimeAmount = .seconds(1)
    /// What a connection begins with.
    package var consistency = RESPConsistency.bucket
    /// NX and XX are carried out.
    package var allowsConditions = false

    package init(objectBytes: Int) {
        self.objectBytes = objectBytes
        wordBytes = objectBytes + 64 << 10
    }
}

package final class RESPConnection: ClientConnection {
    /// The type of the buckets that are Redis's databases: the last write to a key of theirs wins.
    package static let bucketType = BucketID.redisTypeName
    /// The version of Redis whose commands these are. Clients compare it to choose what they may ask.
    package static let serverVersion = "7.2.0"

    private let backend: any RESPBackend
    private let limits: RESPLimits
    private let id: UInt64
    private let version: String

    private var loopBound: NIOLoopBound<RESPConnection>?
    private var reader: RESPReader
    private var window = RESPWindow()
    /// A command that waits for the window to empty.
    private var held: (command: RESPCommand, bytes: Int)?
    private var allowance: AnswerAllowance

    private var protocolVersion = 2
    private var database = 0
    private var name = ByteBuffer()
    private var consistency: RESPConsistency
    private var options = QuorumOptions()
    private var bucket = RESPConnection.bucket(0)

    /// Commands with parts that may be begun, oldest first.
    private var due: [UInt64] = []
    private var isProceeding = false

    /// `id`: the connection's number, for `CLIENT ID`; `version`: the node's.
    package init(backend: any RESPBackend, limits: RESPLimits, id: UInt64, version: String) {
        self.backend = backend
        self.limits = limits
        self.id = id
        self.version = version
        consistency = limits.consistency
        reader = RESPReader(wordBytes: limits.wordBytes, commandBytes: limits.commandBytes)
        options = Self.options(consistency)
        allowance = AnswerAllowance(answerBytes: limits.answerBytes, objectBytes: limits.objectBytes)
        super.init(closingTime: limits.closingTime)
    }

    package static func bucket(_ database: Int) -> BucketID {
        BucketID(type: bucketType, name: ByteBuffer(string: String(database)))
    }

    private static func options(_ consistency: RESPConsistency) -> QuorumOptions {
        var options = QuorumOptions()
        let quorum: Quorum? =
            switch consistency {
            case .bucket: nil
            case .one: .one
            case .quorum: .quorum
            case .all: .all
            }
        options.r = quorum
        options.w = quorum
        options.dw = quorum
        return options
    }

    // MARK: Commands

    override func opened(on eventLoop: any EventLoop) { loopBound = NIOLoopBound(self, eventLoop: eventLoop) }

    override func received(_ bytes: ByteBuffer) { reader.append(bytes) }

    override var hasRoom: Bool {
        held == nil && !window.hasExclusive && window.count < limits.pipelinedCommands
            && window.bytes < limits.pipelinedBytes && allowance.admits(beside: window.count)
    }

    override var isIdle: Bool { window.isEmpty }

    override func dropReceived() {
        held = nil
        reader = RESPReader(wordBytes: limits.wordBytes, commandBytes: limits.commandBytes)
    }

    override func abandoned() {
        for operation in window.removeAll() { backend.cancel(operation) }
    }

    override func takeNext() -> Taking {
        if let (command, bytes) = held {
            guard window.isEmpty else { return .nothing }
            held = nil
            runAlone(command, bytes: bytes)
            return .taken
        }
        guard hasRoom else { return .nothing }
        do throws(RESPProtocolError) {
            guard let words = try reader.next() else { return .nothing }
            // A browser that was led here: what stands in the body is not to be carried out.
            if let first = words.first, ["POST", "HOST:"].contains(String(buffer: first).uppercased()) {
                throw RESPProtocolError(message: "Protocol error: this is not HTTP")
            }
            take(words)
            return .taken
        } catch {
            // What came is no command: the client is told in its turn, and the connection ends.
            window.admit(answered: .error("ERR \(error.message)"))
            return .broken
        }
    }

    private func take(_ words: [ByteBuffer]) {
        let command: RESPCommand
        do throws(RESPCommandError) { command = try RESPCommand(words) } catch { return reply(.error(error.message)) }
        let bytes = words.reduce(0) { $0 + $1.readableBytes }
        switch command {
        case .keys(let parts, nil):
            let (name, part) = parts[0]
            let key = ObjectKey(bucket: bucket, key: name)
            let (sequence, runs) = window.admit(
                RESPWindow.Running([operation(part, of: key)], nil), of: key, bytes: bytes)
            if runs { proceed(sequence) }
        case .keys, .scan, .count, .hello, .reset:
            // The version of the protocol is that of all answers before it.
            if window.isEmpty { runAlone(command, bytes: bytes) } else { held = (command, bytes) }
        default: reply(answer(to: command))
        }
    }

    private func operation(_ command: RESPKeyCommand, of key: ObjectKey) -> RESPKeyOperation {
        RESPKeyOperation(
            command, of: key, options: options, allowsConditions: limits.allowsConditions, now: backend.wallTime)
    }

    private func runAlone(_ command: RESPCommand, bytes: Int) {
        switch command {
        case .keys(let parts, let gathering):
            let operations = parts.map { operation($0.1, of: ObjectKey(bucket: bucket, key: $0.0)) }
            proceed(window.admit(alone: .running(RESPWindow.Running(operations, gathering)), bytes: bytes))
        case .scan(let cursor, let pattern, let count):
            list(
                RESPWindow.Listing(scan: (bucket, pattern, count)), from: RingPosition(rawValue: cursor), bytes: bytes)
        case .count: list(RESPWindow.Listing(), from: nil, bytes: bytes)
        case .hello, .reset: reply(answer(to: command))
        default: preconditionFailure("a command that runs beside others: \(command)")
        }
    }

    /// Commands that the connection answers by itself.
    private func answer(to command: RESPCommand) -> RESPValue {
        switch command {
        case .ping(let text): return text.map { .bulk($0) } ?? .simple("PONG")
        case .echo(let text): return .bulk(text)
        case .hello(let version, let name):
            protocolVersion = version ?? protocolVersion
            self.name = name ?? self.name
            return .map([
                (.text("server"), .text("torc")), (.text("version"), .text(Self.serverVersion)),
                (.text("proto"), .integer(protocolVersion)), (.text("id"), .integer(Int(id))),
                (.text("mode"), .text("standalone")), (.text("role"), .text("master")), (.text("modules"), .array([])),
            ])
        case .select(let number):
            database = number
            bucket = Self.bucket(number)
            return .ok
        case .client(let client): return answer(to: client)
        case .commands: return .array([])
        case .commandCount: return .integer(0)
        case .info:
            return .text(
                """
                # Server\r
                redis_version:\(Self.serverVersion)\r
                torc_version:\(version)\r
                redis_mode:standalone\r
                node:\(backend.nodeName)\r
                # Replication\r
                role:master\r

                """)
        case .configuration(let patterns):
            // What load generators ask for before they begin.
            let known = [("appendonly", "yes"), ("databases", String(RESPCommand.databases)), ("save", "")]
            let found = known.filter { name, _ in
                patterns.contains { GlobPattern($0).matches(ByteBuffer(string: name)) }
            }
            return .map(found.map { (.text($0.0), .text($0.1)) })
        case .quit:
            finishLater()
            return .ok
        case .reset:
            protocolVersion = 2
            database = 0
            bucket = Self.bucket(0)
            name = ByteBuffer()
            consistency = limits.consistency
            options = Self.options(consistency)
            return .simple("RESET")
        case .keys, .scan, .count: preconditionFailure("a command for the node: \(command)")
        }
    }

    private func answer(to client: RESPClientCommand) -> RESPValue {
        switch client {
        case .setName(let name):
            self.name = name
            return .ok
        case .getName: return name.readableBytes == 0 ? .null : .bulk(name)
        case .id: return .integer(Int(id))
        case .info: return .text("id=\(id) name=\(String(buffer: name)) db=\(database) resp=\(protocolVersion)\n")
        case .noted: return .ok
        case .setConsistency(let consistency):
            self.consistency = consistency
            options = Self.options(consistency)
            return .ok
        case .getConsistency: return .text(consistency.rawValue)
        }
    }

    // MARK: Keys

    /// Begins what of a command can be begun now, and answers it when nothing is left.
    private func proceed(_ sequence: UInt64) {
        due.append(sequence)
        // Answers that come while a request is being handed over lead back here, and what they make due has its turn below.
        guard !isProceeding else { return }
        isProceeding = true
        var next = 0
        while next < due.count {
            begin(due[next])
            next += 1
        }
        due.removeAll(keepingCapacity: true)
        isProceeding = false
    }

    private func begin(_ sequence: UInt64) {
        guard case .running(var running) = window.state(sequence) else { return }
        while running.next < running.parts.count, running.open < RESPWindow.partsAtOnce,
            running.answerBytes <= RESPWindow.answerBytes
        {
            let part = running.next
            running.next += 1
            take(running.parts[part].begin(), of: part, &running, sequence)
        }
        settle(running, sequence)
    }

    private func take(
        _ step: RESPKeyOperation.Step, of part: Int, _ running: inout RESPWindow.Running, _ sequence: UInt64
    ) {
        switch step {
        case .done(let value):
            running.values[part] = value
            running.answerBytes += value.byteCount
        case .ask(let request):
            guard let loopBound else { return }
            running.open += 1
            window.set(sequence, .running(running))
            // It may be answered before this returns: then the window knows more than `running` does.
            let operation = backend.submit(request, reply: RESPReply(loopBound, sequence: sequence, part: part))
            guard case .running(let current) = window.state(sequence) else { return }
            running = current
            if running.values[part] == nil { running.operations[part] = operation }
        }
    }

    func answered(_ sequence: UInt64, _ part: Int, _ answer: ClientAnswer) {
        guard case .running(var running) = window.state(sequence) else { return }
        running.open -= 1
        running.operations[part] = nil
        if answer.isOverload {
            let wait = pause(atLeast: backend.retryAfter)
            take(.done(.error(RESPText.overloaded(after: wait))), of: part, &running, sequence)
        } else {
            take(running.parts[part].answered(answer), of: part, &running, sequence)
        }
        settle(running, sequence)
        if running.next < running.parts.count { proceed(sequence) }
    }

    private func settle(_ running: RESPWindow.Running, _ sequence: UInt64) {
        guard case .running = window.state(sequence) else { return }
        guard let value = running.answer else { return window.set(sequence, .running(running)) }
        // A command of several keys runs alone and has a bound of its own.
        if running.gathering == nil { allowance.answered(bytes: value.byteCount) }
        finished(sequence, value)
    }

    private func finished(_ sequence: UInt64, _ value: RESPValue) {
        if let next = window.answer(sequence, with: value) { proceed(next.sequence) }
        deliver()
    }

    /// Answers a command that needs nobody else.
    private func reply(_ value: RESPValue) {
        window.admit(answered: value)
        deliver()
    }

    override func writeAnswered() {
        while let value = window.takeAnswered() { write(value) }
    }

    // MARK: Listings

    private func list(_ listing: RESPWindow.Listing, from start: RingPosition?, bytes: Int) {
        guard let loopBound else { return }
        let sequence = window.admit(alone: .listing(listing), bytes: bytes)
        let operation = backend.list(
            ListRequest(subject: .keys(bucket), from: start), reply: RESPReply(loopBound, sequence: sequence, part: 0))
        guard case .listing(var current) = window.state(sequence) else { return }
        current.operation = operation
        window.set(sequence, .listing(current))
    }

    func listed(_ sequence: UInt64, _ piece: ListPiece) {
        guard case .listing(var listing) = window.state(sequence) else { return }
        switch piece {
        case .failed(let partition): finished(sequence, .error("ERR \(RiakText.listingFailed(partition))"))
        case .done: finished(sequence, Self.answer(to: listing, next: 0))
        case .paused(let place): finished(sequence, Self.answer(to: listing, next: max(1, place.rawValue)))
        case .items(let items):
            listing.total += items.count
            if let scan = listing.scan {
                for item in items {
                    listing.last = ObjectKey(bucket: scan.bucket, key: item).position
                    listing.keys.append(item)
                }
                if listing.total >= scan.count {
                    if let operation = listing.operation { backend.cancel(operation) }
                    return finished(sequence, Self.answer(to: listing, next: (listing.last?.rawValue ?? 0) &+ 1))
                }
            }
            window.set(sequence, .listing(listing))
            // In a turn of its own: a node that answers at once would otherwise fill the stack, and has not said yet under
            // which name it lists.
            context?.eventLoop.assumeIsolated().execute { self.continueListing(sequence) }
        }
    }

    private func continueListing(_ sequence: UInt64) {
        guard case .listing(let listing) = window.state(sequence), let operation = listing.operation else { return }
        backend.continueListing(operation)
    }

    /// A cursor is the place on the ring from which the next piece goes on: it needs nobody to remember it, and any node
    /// understands it. 0: the beginning, and the end.
    private static func answer(to listing: RESPWindow.Listing, next: UInt64) -> RESPValue {
        guard let scan = listing.scan else { return .integer(listing.total) }
        let pattern = scan.pattern.map(GlobPattern.init)
        let keys = listing.keys.filter { pattern?.matches($0) ?? true }
        return .array([.text(String(next)), .array(keys.map { .bulk($0) })])
    }

    // MARK: Writing

    private func write(_ value: RESPValue) {
        if case .bulk(let bytes) = value, bytes.readableBytes > Self.gatheredBytes {
            write(body: bytes, tail: "\r\n") { $0.writeString("$\(bytes.readableBytes)\r\n") }
        } else {
            write { value.encode(into: &$0, version: protocolVersion) }
        }
    }
}
