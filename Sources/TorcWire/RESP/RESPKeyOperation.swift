// One key's part of a command, as a machine: what the store is asked, and what its answers come to. What changes a value
// by what it was reads it first, at a quorum or more, and writes with that context.

import NIOCore
package import TorcModel
package import TorcReplication

package struct RESPKeyOperation: Sendable {
    package enum Step: Sendable {
        case ask(ClientRequest)
        case done(RESPValue)
    }

    private enum Phase: Sendable {
        case reading
        /// Answered with this when the write is done.
        case writing(RESPValue)
    }

    private let key: ObjectKey
    private let command: RESPKeyCommand
    private let options: QuorumOptions
    private let allowsConditions: Bool
    private let now: WallTime
    private var phase = Phase.reading

    /// `now`: the instant of the request. `allowsConditions`: NX and XX are carried out.
    package init(
        _ command: RESPKeyCommand, of key: ObjectKey, options: QuorumOptions, allowsConditions: Bool, now: WallTime
    ) {
        self.command = command
        self.key = key
        self.options = options
        self.allowsConditions = allowsConditions
        self.now = now
    }

    package mutating func begin() -> Step {
        switch command {
        case .put(let put):
            if put.condition != nil, !allowsConditions { return .done(RESPText.noConditions) }
            if put.keepsExpiry || put.returnsFormer || put.condition == .ifPresent { return read(toWrite: true) }
            var request = PutRequest(key: key, metadata: ByteBuffer(), value: put.value)
            request.expiry = instant(put.expiry)
            if put.condition == .ifAbsent { request.condition = .ifNoneMatch }
            return write(request, then: put.countsAnswer ? .integer(1) : .ok)
        case .exists, .timeLeft, .type: return read(headOnly: true)
        case .delete: return read(headOnly: true, toWrite: true)
        case .get, .length, .getAndExpire(nil): return read()
        case .getAndDelete, .getAndExpire, .expire, .persist: return read(toWrite: true)
        }
    }

    package mutating func answered(_ answer: ClientAnswer) -> Step {
        switch (answer, phase) {
        case (.get(.absent), .reading): return stands(nil, nil)
        case (.get(.found(let object, _)), .reading):
            // Of versions that stand beside each other, as in a bucket that was not always one of last writes, the last.
            return stands(object.siblings.max { $0.timestamp < $1.timestamp }, object)
        case (.get(.refused(let refusal)), _): return .done(.error(RESPText.text(of: refusal)))
        case (.get(.failed(let failure)), _): return .done(.error(RESPText.text(of: failure)))
        case (.write(.ok), .writing(let value)): return .done(value)
        case (.write(.refused(.matchFound)), _): return .done(refusedByCondition(former: nil))
        case (.write(.refused(let refusal)), _): return .done(.error(RESPText.text(of: refusal)))
        case (.write(.indeterminate(let copies, let needed)), _):
            return .done(.error(RESPText.indeterminate(copies: copies, needed: needed)))
        case (.get, _), (.write, .reading):
            preconditionFailure("an answer to another question: \(answer)")
        }
    }

    // MARK: What was read

    private mutating func stands(_ version: Sibling?, _ object: ClientObject?) -> Step {
        let value = version.map { RESPValue.bulk($0.value) } ?? .null
        switch command {
        case .get: return .done(value)
        case .exists: return .done(.integer(version == nil ? 0 : 1))
        case .length: return .done(.integer(version?.value.readableBytes ?? 0))
        case .type: return .done(.simple(version == nil ? "none" : "string"))
        case .timeLeft(let perSecond, let isInstant):
            return .done(.integer(timeLeft(of: version, in: object, perSecond, isInstant)))
        case .delete: return version == nil ? .done(.integer(0)) : delete(object, then: .integer(1))
        case .getAndDelete: return version == nil ? .done(.null) : delete(object, then: value)
        case .getAndExpire(let change):
            guard let version, let change else { return .done(value) }
            return write(version, object, until: instant(change), then: value)
        case .persist:
            guard let version, version.expiry != nil else { return .done(.integer(0)) }
            return write(version, object, until: nil, then: .integer(1))
        case .expire(let expiry, let condition):
            let until = instant(expiry)!
            guard let version, Self.allows(condition, version.expiry, until) else { return .done(.integer(0)) }
            if until <= now { return delete(object, then: .integer(1)) }
            return write(version, object, until: until, then: .integer(1))
        case .put(let put):
            let isRefused =
                switch put.condition {
                case .ifAbsent: version != nil
                case .ifPresent: version == nil
                case nil: false
                }
            if isRefused { return .done(refusedByCondition(former: value)) }
            var request = PutRequest(
                key: key, context: object?.context, metadata: ByteBuffer(), value: put.value)
            request.expiry = put.keepsExpiry ? version?.expiry : instant(put.expiry)
            if put.condition == .ifAbsent { request.condition = .ifNoneMatch }
            return write(request, then: put.returnsFormer ? value : put.countsAnswer ? .integer(1) : .ok)
        }
    }

    private func refusedByCondition(former: RESPValue?) -> RESPValue {
        guard case .put(let put) = command else { return .null }
        if put.countsAnswer { return .integer(0) }
        return put.returnsFormer ? former ?? .null : .null
    }

    private func timeLeft(
        of version: Sibling?, in object: ClientObject?, _ perSecond: UInt64, _ isInstant: Bool
    ) -> Int {
        guard let version, let object else { return -2 }
        guard let expiry = version.expiry else { return -1 }
        let unit = 1_000_000 / perSecond
        let from = isInstant ? 0 : object.instant.microseconds
        guard expiry.microseconds > from else { return isInstant ? 0 : -2 }
        // As Redis has it: what is left is rounded.
        let left = expiry.microseconds - from
        return Int(clamping: left / unit + (left % unit >= unit / 2 ? 1 : 0))
    }

    private static func allows(
        _ condition: RESPKeyCommand.ExpiryCondition?, _ former: WallTime?, _ next: WallTime
    ) -> Bool {
        switch condition {
        case nil: true
        case .ifNone: former == nil
        case .ifSome: former != nil
        case .ifGreater: former.map { next > $0 } ?? false
        case .ifLess: former.map { next < $0 } ?? true
        }
    }

    private func instant(_ expiry: RESPExpiry?) -> WallTime? {
        switch expiry {
        case nil: nil
        case .at(let instant): instant
        case .after(let microseconds): WallTime(microseconds: now.microseconds &+ microseconds)
        }
    }

    // MARK: What is asked

    /// `toWrite`: a quorum at the least. By what one replica lacks a key would not be deleted that others hold.
    private mutating func read(headOnly: Bool = false, toWrite: Bool = false) -> Step {
        var request = GetRequest(key: key)
        request.options = options
        if toWrite, options.r != .all { request.options.r = .quorum }
        request.headOnly = headOnly
        phase = .reading
        return .ask(.get(request))
    }

    private mutating func write(_ request: PutRequest, then value: RESPValue) -> Step {
        var request = request
        request.options = options
        phase = .writing(value)
        return .ask(.put(request))
    }

    /// The same value, with another end.
    private mutating func write(
        _ version: Sibling, _ object: ClientObject?, until expiry: WallTime?, then value: RESPValue
    ) -> Step {
        var request = PutRequest(
            key: key, context: object?.context, metadata: version.metadata, value: version.value)
        request.expiry = expiry
        return write(request, then: value)
    }

    private mutating func delete(_ object: ClientObject?, then value: RESPValue) -> Step {
        var request = DeleteRequest(key: key, context: object?.context)
        request.options = options
        phase = .writing(value)
        return .ask(.delete(request))
    }
}

/// What Redis's clients are told in words; the first one is what programs look at.
enum RESPText {
    static let noConditions = RESPValue.error(
        "ERR NX and XX are refused: they are checked at a quorum and not by consensus, so a lock built on them is none. "
            + "Set redis.conditions to allow them all the same")

    static func overloaded(after wait: Duration) -> String {
        "TRYAGAIN this node has too much to do: ask again in \(RiakText.milliseconds(wait)) ms, or ask another"
    }

    static func text(of refusal: Refusal) -> String {
        switch refusal {
        case .overloaded: "TRYAGAIN this node has too much to do: ask again, or ask another"
        case .unreachable(let needed, let reachable):
            "NOQUORUM \(needed) replicas are needed, \(reachable) can be reached: nothing was written"
        case .shuttingDown: "SHUTDOWN \(RiakText.shuttingDown)"
        case .diskFull: "NOSPACE \(RiakText.diskFull)"
        default: "ERR \(RiakText.text(of: refusal))"
        }
    }

    static func text(of failure: ReadFailure) -> String {
        failure.timedOut
            ? "TIMEOUT \(failure.answered) of \(failure.needed) replicas answered in time"
            : "NOQUORUM \(failure.answered) of \(failure.needed) replicas answered"
    }

    static func indeterminate(copies: Int, needed: Int) -> String {
        "INDETERMINATE \(copies) of \(needed) copies are known to stand; the write may or may not be kept"
    }
}
