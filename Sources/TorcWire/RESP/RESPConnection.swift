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
    /// How long a connection that is closed for an error goes on throwing away what the client sends.
    package var closingTime: TimeAmount = .seconds(1)
    /// What a connection begins with.
    package var consistency = RESPConsistency.bucket
    /// NX and XX are carried out.
    package var allowsConditions = false

    package init(objectBytes: Int) { wordBytes = objectBytes + 64 << 10 }
}

package final class RESPConnection: ChannelDuplexHandler, ClientConnection {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundIn = Never
    package typealias OutboundOut = ByteBuffer

    private enum State {
        case open
        /// Takes no more commands; closes when the last one is answered.
        case finishing(becauseOfError: Bool)
        /// The last answer is out; what the client sends is thrown away.
        case discarding
        case closed
    }

    /// The type of the buckets that are Redis's databases: the last write to a key of theirs wins.
    package static let bucketType = BucketID.redisTypeName
    /// The version of Redis whose commands these are. Clients compare it to choose what they may ask.
    package static let serverVersion = "7.2.0"

    private let backend: any RESPBackend
    private let limits: RESPLimits
    private let id: UInt64
    private let version: String

    private var context: ChannelHandlerContext?
    private var loopBound: NIOLoopBound<RESPConnection>?
    private var state = State.open
    private var reader: RESPReader
    private var window = RESPWindow()
    /// A command that waits for the window to empty.
    private var held: (command: RESPCommand, bytes: Int)?

    private var protocolVersion = 2
    private var database = 0
    private var name = ByteBuffer()
    private var consistency: RESPConsistency
    private var options = QuorumOptions()
    private var bucket = RESPConnection.bucket(0)

    private var outgoing = ByteBuffer()
    private var flushIsScheduled = false
    private var isInsideRead = false
    private var isAdvancing = false
    private var isProceeding = false
    private var isWritable = true
    private var readIsPending = false

    /// Answers up to this size are gathered in one buffer, larger ones written as they are.
    private static let gatheredBytes = 32 << 10

    /// `id`: the connection's number, for `CLIENT ID`; `version`: the node's.
    package init(backend: any RESPBackend, limits: RESPLimits, id: UInt64, version: String) {
        self.backend = backend
        self.limits = limits
        self.id = id
        self.version = version
        consistency = limits.consistency
        reader = RESPReader(wordBytes: limits.wordBytes, commandBytes: limits.commandBytes)
        options = Self.options(consistency)
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

    /// Takes no more commands, answers those that are under way, then closes.
    package func finish() {
        guard case .open = state else { return }
        state = .finishing(becauseOfError: false)
        deliver()
    }

    // MARK: The channel

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        loopBound = NIOLoopBound(self, eventLoop: context.eventLoop)
        isWritable = context.channel.isWritable
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        end()
        self.context = nil
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .open = state else { return }
        isInsideRead = true
        reader.append(unwrapInboundIn(data))
        advance()
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        isInsideRead = false
        flush()
        context.fireChannelReadComplete()
    }

    package func read(context: ChannelHandlerContext) {
        if wantsBytes { context.read() } else { readIsPending = true }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { advance() }
        context.fireChannelWritabilityChanged()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe: there is nobody to tell.
        end()
        context.close(promise: nil)
    }

    /// The client is gone, or the connection is given up.
    private func end() {
        if case .closed = state { return }
        state = .closed
        held = nil
        outgoing = ByteBuffer()
        reader = RESPReader(wordBytes: limits.wordBytes, commandBytes: limits.commandBytes)
        for operation in window.removeAll() { backend.cancel(operation) }
    }

    // MARK: Commands

    private var hasRoom: Bool {
        isWritable && held == nil && !window.hasExclusive && window.count < limits.pipelinedCommands
            && window.bytes < limits.pipelinedBytes
    }

    private var wantsBytes: Bool {
        switch state {
        case .open: hasRoom
        case .finishing(let becauseOfError): becauseOfError
        case .discarding: true
        case .closed: false
        }
    }

    /// Takes commands from what has been received, for as long as there is room.
    private func advance() {
        // Answers that come while a request is being handed over lead back here.
        guard !isAdvancing else { return }
        isAdvancing = true
        while case .open = state {
            if let (command, bytes) = held {
                guard window.isEmpty else { break }
                held = nil
                runAlone(command, bytes: bytes)
                continue
            }
            guard hasRoom else { break }
            do throws(RESPProtocolError) {
                guard let words = try reader.next() else { break }
                take(words)
            } catch {
                fail("ERR \(error.message)")
            }
        }
        isAdvancing = false
        if readIsPending, wantsBytes {
            readIsPending = false
            context?.read()
        }
    }

    private func take(_ words: [ByteBuffer]) {
        // A browser that was led here: what stands in the body is not to be carried out.
        if let first = words.first, ["POST", "HOST:"].contains(String(buffer: first).uppercased()) {
            return fail("ERR Protocol error: this is not HTTP")
        }
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
            state = .finishing(becauseOfError: false)
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

    /// What came is no command: the client is told in its turn, and the connection ends.
    private func fail(_ message: String) {
        state = .finishing(becauseOfError: true)
        reader = RESPReader(wordBytes: limits.wordBytes, commandBytes: limits.commandBytes)
        reply(.error(message))
    }

    // MARK: Keys

    /// Begins what of a command can be begun now, and answers it when nothing is left.
    private func proceed(_ sequence: UInt64) {
        // Answers that come while a request is being handed over lead back here.
        guard !isProceeding, case .running(var running) = window.state(sequence) else { return }
        isProceeding = true
        while running.next < running.parts.count, running.open < RESPWindow.partsAtOnce,
            running.answerBytes <= RESPWindow.answerBytes
        {
            let part = running.next
            running.next += 1
            take(running.parts[part].begin(), of: part, &running, sequence)
        }
        isProceeding = false
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
        take(running.parts[part].answered(answer), of: part, &running, sequence)
        settle(running, sequence)
        if running.next < running.parts.count { proceed(sequence) }
    }

    private func settle(_ running: RESPWindow.Running, _ sequence: UInt64) {
        guard case .running = window.state(sequence) else { return }
        guard let value = running.answer else { return window.set(sequence, .running(running)) }
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

    /// Sends what is to be sent next, and takes what there is room for now.
    private func deliver() {
        while let value = window.takeAnswered() { write(value) }
        if case .finishing(let becauseOfError) = state, window.isEmpty {
            close(becauseOfError: becauseOfError)
        } else {
            advance()
        }
    }

    private func close(becauseOfError: Bool) {
        guard let context else { return }
        flush()
        guard becauseOfError else {
            state = .closed
            // What the client has not read yet is sent first.
            let written = context.eventLoop.makePromise(of: Void.self)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
            written.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
            return
        }
        state = .discarding
        context.close(mode: .output, promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: limits.closingTime) {
            context.close(promise: nil)
        }
        if readIsPending {
            readIsPending = false
            context.read()
        }
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
        case .done: finished(sequence, Self.answer(to: listing, isDone: true))
        case .items(let items):
            listing.total += items.count
            if let scan = listing.scan {
                for item in items {
                    listing.last = ObjectKey(bucket: scan.bucket, key: item).position
                    listing.keys.append(item)
                }
                if listing.total >= scan.count {
                    if let operation = listing.operation { backend.cancel(operation) }
                    return finished(sequence, Self.answer(to: listing, isDone: false))
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
    private static func answer(to listing: RESPWindow.Listing, isDone: Bool) -> RESPValue {
        guard let scan = listing.scan else { return .integer(listing.total) }
        let pattern = scan.pattern.map(GlobPattern.init)
        let keys = listing.keys.filter { pattern?.matches($0) ?? true }
        let next = isDone ? 0 : (listing.last?.rawValue ?? 0) &+ 1
        return .array([.text(String(next)), .array(keys.map { .bulk($0) })])
    }

    // MARK: Writing

    private func write(_ value: RESPValue) {
        guard let context else { return }
        if case .bulk(let bytes) = value, bytes.readableBytes > Self.gatheredBytes {
            outgoing.writeString("$\(bytes.readableBytes)\r\n")
            context.write(wrapOutboundOut(takeOutgoing()), promise: nil)
            context.write(wrapOutboundOut(bytes), promise: nil)
            outgoing.writeStaticString("\r\n")
        } else {
            value.encode(into: &outgoing, version: protocolVersion)
        }
        guard !isInsideRead, !flushIsScheduled else { return }
        flushIsScheduled = true
        // Answers of one turn of the loop leave in one write.
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            self.flush()
        }
    }

    private func takeOutgoing() -> ByteBuffer {
        let bytes = outgoing
        outgoing = ByteBuffer()
        return bytes
    }

    private func flush() {
        guard let context else { return }
        if outgoing.readableBytes > 0 {
            context.writeAndFlush(wrapOutboundOut(takeOutgoing()), promise: nil)
        } else {
            context.flush()
        }
    }
}
