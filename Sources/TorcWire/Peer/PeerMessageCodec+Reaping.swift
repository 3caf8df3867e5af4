// The coding of what replicas say to one another to reap tombstones.

import NIOCore
import TorcModel
import TorcReplication

extension PeerMessageCodec {
    /// Keys of one question.
    static let maximumReapKeys = 1 << 12

    static func encode(_ token: LinkToken, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(token.incarnation.rawValue, token.time.nanoseconds)
    }

    static func decodeToken(from buffer: inout ByteBuffer) throws(MalformedBytes) -> LinkToken {
        LinkToken(
            incarnation: Incarnation(rawValue: try buffer.readFixed(UInt64.self, "token")),
            time: MonotonicTime(nanoseconds: try buffer.readFixed(UInt64.self, "token")))
    }

    static func encode(_ question: ReapQuestion, into buffer: inout ByteBuffer) {
        buffer.writeInteger(question.ring.rawValue)
        buffer.writeInteger(question.tree.partition.rawValue)
        buffer.writeInteger(question.tree.copies)
        switch question.subject {
        case .survey: buffer.writeInteger(UInt8(0))
        case .step(let step, let entries):
            buffer.writeInteger(step.rawValue)
            buffer.writeVarint(UInt64(entries.count))
            for entry in entries {
                buffer.writeLengthPrefixed(entry.key.storageKey)
                buffer.writeLengthPrefixed(entry.version)
            }
        }
    }

    static func decodeReapQuestion(
        _ operation: OperationID, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> ReapQuestion {
        let ring = RingFingerprint(rawValue: try buffer.readFixed(UInt64.self, "reap question"))
        let partition = PartitionID(rawValue: try buffer.readFixed(UInt16.self, "reap question"))
        let tree = TreeID(partition: partition, copies: try buffer.readFixed(UInt8.self, "reap question"))
        let kind = try buffer.readFixed(UInt8.self, "reap question")
        if kind == 0 { return ReapQuestion(operation: operation, ring: ring, tree: tree, subject: .survey) }
        guard let step = ReapStep(rawValue: kind) else { throw MalformedBytes(.notCanonical, "reap question") }
        let count = try buffer.readCount(limit: maximumReapKeys, "reap question")
        var entries: [ReapEntry] = []
        for _ in 0..<count {
            entries.append(
                ReapEntry(
                    key: try decodeKey(from: &buffer), version: try buffer.readLengthPrefixed("reap question")))
        }
        return ReapQuestion(operation: operation, ring: ring, tree: tree, subject: .step(step, entries))
    }

    static func encode(_ answer: ReapAnswer, into buffer: inout ByteBuffer) {
        switch answer {
        case .survey(let survey):
            buffer.writeMultipleIntegers(UInt8(0), survey.incarnation.rawValue, survey.accepted)
            buffer.writeMultipleIntegers(survey.holds ? UInt8(1) : 0, survey.clock.nanoseconds)
        case .keys(let answers):
            buffer.writeInteger(UInt8(1))
            buffer.writeVarint(UInt64(answers.count))
            for answer in answers { buffer.writeInteger(answer ? UInt8(1) : 0) }
        case .refused(let refusal): buffer.writeMultipleIntegers(UInt8(2), refusal.rawValue)
        case .minting(let answers):
            buffer.writeInteger(UInt8(3))
            buffer.writeVarint(UInt64(answers.count))
            for answer in answers {
                switch answer {
                case .differs: buffer.writeInteger(UInt8(0))
                case .holds(nil): buffer.writeInteger(UInt8(1))
                case .holds(let actor?): buffer.writeMultipleIntegers(UInt8(2), actor.rawValue)
                }
            }
        }
    }

    static func decodeReapAnswer(from buffer: inout ByteBuffer) throws(MalformedBytes) -> ReapAnswer {
        switch try buffer.readFixed(UInt8.self, "reap answer") {
        case 0:
            return .survey(
                HintSurvey(
                    incarnation: Incarnation(rawValue: try buffer.readFixed(UInt64.self, "survey")),
                    accepted: try buffer.readFixed(UInt64.self, "survey"), holds: try decodeTruth(from: &buffer),
                    clock: MonotonicTime(nanoseconds: try buffer.readFixed(UInt64.self, "survey"))))
        case 1:
            let count = try buffer.readCount(limit: maximumReapKeys, "reap answer")
            guard count <= buffer.readableBytes else { throw MalformedBytes(.truncated, "reap answer") }
            var answers: [Bool] = []
            for _ in 0..<count { answers.append(try decodeTruth(from: &buffer)) }
            return .keys(answers)
        case 2:
            guard let refusal = TreeRefusal(rawValue: try buffer.readFixed(UInt8.self, "reap answer")) else {
                throw MalformedBytes(.notCanonical, "reap answer")
            }
            return .refused(refusal)
        case 3:
            let count = try buffer.readCount(limit: maximumReapKeys, "reap answer")
            guard count <= buffer.readableBytes else { throw MalformedBytes(.truncated, "reap answer") }
            var answers: [MintingAnswer] = []
            for _ in 0..<count {
                switch try buffer.readFixed(UInt8.self, "reap answer") {
                case 0: answers.append(.differs)
                case 1: answers.append(.holds(nil))
                case 2:
                    answers.append(.holds(Actor(rawValue: try buffer.readFixed(UInt64.self, "reap answer"))))
                default: throw MalformedBytes(.notCanonical, "reap answer")
                }
            }
            return .minting(answers)
        default: throw MalformedBytes(.notCanonical, "reap answer")
        }
    }

    private static func decodeTruth(from buffer: inout ByteBuffer) throws(MalformedBytes) -> Bool {
        let byte = try buffer.readFixed(UInt8.self, "reap answer")
        guard byte <= 1 else { throw MalformedBytes(.notCanonical, "reap answer") }
        return byte == 1
    }

    static func sizeBound(of question: ReapQuestion) -> Int {
        guard case .step(_, let entries) = question.subject else { return 0 }
        return entries.reduce(0) { $0 + $1.key.storageKey.readableBytes + $1.version.readableBytes + 8 }
    }
}
