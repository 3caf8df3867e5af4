// The coding of what replicas say about their trees. Leaves and branches are fixed integers: they are hashes.

import NIOCore
import TorcModel
import TorcReplication

extension PeerMessageCodec {
    /// The most leaves, and so the most branches and numbers of leaves, that a partition has.
    static let maximumLeaves = 16_384
    /// Keys of one page.
    static let maximumListedKeys = 1 << 16

    // MARK: Questions

    static func encode(_ question: TreeQuestion, into buffer: inout ByteBuffer) {
        buffer.writeInteger(question.ring.rawValue)
        buffer.writeInteger(question.tree.partition.rawValue)
        buffer.writeInteger(question.tree.copies)
        switch question.subject {
        case .root(let hash): buffer.writeMultipleIntegers(UInt8(0), hash.rawValue)
        case .leaves(let branches):
            buffer.writeInteger(UInt8(1))
            encode(branches, into: &buffer)
        case .keys(let leaves, let after, let through):
            buffer.writeInteger(UInt8(2))
            encode(leaves, into: &buffer)
            encode(after, into: &buffer)
            encode(through, into: &buffer)
        }
    }

    static func decodeTreeQuestion(
        _ operation: OperationID, from buffer: inout ByteBuffer
    ) throws(MalformedBytes) -> TreeQuestion {
        let ring = RingFingerprint(rawValue: try buffer.readFixed(UInt64.self, "tree question"))
        let partition = PartitionID(rawValue: try buffer.readFixed(UInt16.self, "tree question"))
        let tree = TreeID(partition: partition, copies: try buffer.readFixed(UInt8.self, "tree question"))
        let subject: TreeQuestion.Subject
        switch try buffer.readFixed(UInt8.self, "tree question") {
        case 0: subject = .root(ContentHash(rawValue: try buffer.readFixed(UInt64.self, "tree question")))
        case 1: subject = .leaves(branches: try decodeNumbers(from: &buffer))
        case 2:
            subject = .keys(
                leaves: try decodeNumbers(from: &buffer), after: try decodeCursor(from: &buffer),
                through: try decodeCursor(from: &buffer))
        default: throw MalformedBytes(.notCanonical, "tree question")
        }
        return TreeQuestion(operation: operation, ring: ring, tree: tree, subject: subject)
    }

    private static func encode(_ numbers: [UInt16], into buffer: inout ByteBuffer) {
        buffer.writeVarint(UInt64(numbers.count))
        for number in numbers { buffer.writeInteger(number) }
    }

    private static func decodeNumbers(from buffer: inout ByteBuffer) throws(MalformedBytes) -> [UInt16] {
        let count = try buffer.readCount(limit: maximumLeaves, "leaf numbers")
        guard count * 2 <= buffer.readableBytes else { throw MalformedBytes(.truncated, "leaf numbers") }
        var numbers: [UInt16] = []
        numbers.reserveCapacity(count)
        for _ in 0..<count { numbers.append(try buffer.readFixed(UInt16.self, "leaf numbers")) }
        return numbers
    }

    // MARK: Answers

    static func encode(_ answer: TreeAnswer, into buffer: inout ByteBuffer) {
        switch answer {
        case .equal: buffer.writeInteger(UInt8(0))
        case .branches(let hashes):
            buffer.writeInteger(UInt8(1))
            encode(hashes, into: &buffer)
        case .leaves(let hashes):
            buffer.writeInteger(UInt8(2))
            encode(hashes, into: &buffer)
        case .keys(let keys, let resume):
            precondition(keys.count <= maximumListedKeys, "a page of \(keys.count) keys")
            buffer.writeInteger(UInt8(3))
            buffer.writeVarint(UInt64(keys.count))
            for listed in keys {
                buffer.writeLengthPrefixed(listed.key.storageKey)
                buffer.writeInteger(listed.hash.rawValue)
            }
            encode(resume, into: &buffer)
        case .refused(let refusal): buffer.writeMultipleIntegers(UInt8(4), refusal.rawValue)
        }
    }

    static func decodeTreeAnswer(from buffer: inout ByteBuffer) throws(MalformedBytes) -> TreeAnswer {
        switch try buffer.readFixed(UInt8.self, "tree answer") {
        case 0: return .equal
        case 1: return .branches(try decodeHashes(from: &buffer))
        case 2: return .leaves(try decodeHashes(from: &buffer))
        case 3:
            let count = try buffer.readCount(limit: maximumListedKeys, "tree answer")
            var keys: [ListedKey] = []
            for _ in 0..<count {
                let key = try decodeKey(from: &buffer)
                keys.append(
                    ListedKey(key: key, hash: ContentHash(rawValue: try buffer.readFixed(UInt64.self, "tree answer"))))
            }
            return .keys(keys, resume: try decodeCursor(from: &buffer))
        case 4:
            guard let refusal = TreeRefusal(rawValue: try buffer.readFixed(UInt8.self, "tree answer")) else {
                throw MalformedBytes(.notCanonical, "tree answer")
            }
            return .refused(refusal)
        default: throw MalformedBytes(.notCanonical, "tree answer")
        }
    }

    private static func encode(_ hashes: [UInt64], into buffer: inout ByteBuffer) {
        buffer.writeVarint(UInt64(hashes.count))
        buffer.reserveCapacity(minimumWritableBytes: hashes.count * 8)
        for hash in hashes { buffer.writeInteger(hash) }
    }

    private static func decodeHashes(from buffer: inout ByteBuffer) throws(MalformedBytes) -> [UInt64] {
        let count = try buffer.readCount(limit: maximumLeaves, "hashes")
        guard count * 8 <= buffer.readableBytes else { throw MalformedBytes(.truncated, "hashes") }
        var hashes: [UInt64] = []
        hashes.reserveCapacity(count)
        for _ in 0..<count { hashes.append(try buffer.readFixed(UInt64.self, "hashes")) }
        return hashes
    }

    // MARK: Sizes

    static func sizeBound(of question: TreeQuestion) -> Int {
        switch question.subject {
        case .root: 0
        case .leaves(let branches): branches.count * 2
        case .keys(let leaves, let after, let through):
            leaves.count * 2 + (after?.readableBytes ?? 0) + (through?.readableBytes ?? 0)
        }
    }

    static func sizeBound(of answer: TreeAnswer) -> Int {
        switch answer {
        case .equal, .refused: 0
        case .branches(let hashes), .leaves(let hashes): hashes.count * 8
        case .keys(let keys, let resume):
            keys.reduce(resume?.readableBytes ?? 0) { $0 + $1.key.storageKey.readableBytes + 12 }
        }
    }

    /// Waits behind everything else, however short it is.
    static func isBackground(_ message: PeerMessage) -> Bool {
        switch message {
        case .compare, .compared, .reap, .reaped: true
        default: false
        }
    }
}
