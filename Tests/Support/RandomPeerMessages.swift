// Peer messages at random, of every kind.

package import TorcModel
package import TorcReplication

extension SeededGenerator {
    /// The kinds of `PeerMessage`, counted for `peerMessage(kind:)`.
    package static let peerMessageKinds = 21

    package mutating func peerMessage() -> PeerMessage {
        peerMessage(kind: Int.random(in: 0..<Self.peerMessageKinds, using: &self))
    }

    package mutating func peerMessage(kind: Int) -> PeerMessage {
        let operation = OperationID(rawValue: number())
        let copies = UInt8.random(in: 0...255, using: &self)
        switch kind {
        case 0:
            return .write(
                ReplicaWrite(
                    operation: operation, key: objectKey(), copies: copies, epoch: number(),
                    body: versionedObject().encoded, dot: maybe { $0.dot() },
                    hint: maybe { NodeID(rawValue: $0.number()) }, token: maybe { $0.linkToken() }))
        case 1:
            return .wrote(
                operation, pick([.stored, .superseded(by: HybridTimestamp(rawValue: number())), .failed(failure())]))
        case 2:
            return .read(
                ReplicaRead(
                    operation: operation, key: objectKey(), copies: copies,
                    want: pick([.full, .hash, .unless(ContentHash(rawValue: number()))]),
                    hint: maybe { NodeID(rawValue: $0.number()) }, epoch: maybe { $0.number() | 1 } ?? 0),
                remaining: duration())
        case 3:
            return .readResult(
                operation,
                pick([
                    .absent, .hash(ContentHash(rawValue: number())), .object(versionedObject().encoded),
                    .failed(failure()),
                ]))
        case 4:
            return .forward(
                ForwardedWrite(
                    operation: operation, incarnation: Incarnation(rawValue: number()), request: clientRequest(),
                    properties: bucketProperties(), remaining: duration()))
        case 5: return .forwarded(operation, writeAnswer())
        case 6:
            return .page(
                PageRequest(
                    operation: operation, partition: PartitionID(rawValue: UInt16(truncatingIfNeeded: next())),
                    copies: copies, subject: chance(2) ? .keys(bucket()) : .buckets(type: bytes(0...8)),
                    after: maybe { $0.bytes() }))
        case 7:
            return .pageResult(
                operation,
                chance(4)
                    ? .failed(failure())
                    : .page(
                        items: (0..<Int.random(in: 0...20, using: &self)).map { _ in bytes() },
                        resume: maybe { $0.bytes() }))
        case 8:
            return .properties(operation, (0..<Int.random(in: 0...4, using: &self)).map { _ in propertiesEntry() })
        case 9: return .propertiesStored(operation)
        case 10: return .propertiesDigest(ContentHash(rawValue: number()))
        case 11: return .membership(membershipMessage(sequence: operation.rawValue))
        case 12:
            return .compare(
                TreeQuestion(
                    operation: operation, ring: RingFingerprint(rawValue: number()), tree: treeID(),
                    subject: treeSubject()))
        case 13: return .compared(operation, treeAnswer())
        case 14:
            return .hinted(
                operation, target: NodeID(rawValue: number()),
                pick([.stored, .superseded(by: HybridTimestamp(rawValue: number())), .failed(failure())]))
        case 16: return .ring(ringMessage())
        case 15:
            return .hintResult(
                operation, target: NodeID(rawValue: number()),
                pick([
                    .absent, .hash(ContentHash(rawValue: number())), .object(versionedObject().encoded),
                    .failed(failure()),
                ]))
        case 17: return .askToken(operation)
        case 18: return .token(operation, linkToken())
        case 19:
            return .reap(
                ReapQuestion(
                    operation: operation, ring: RingFingerprint(rawValue: number()), tree: treeID(),
                    subject: chance(3) ? .survey : .step(pick(ReapStep.allCases), reapEntries())))
        case 20: return .reaped(operation, reapAnswer())
        default: preconditionFailure("no message kind \(kind)")
        }
    }

    package mutating func clientRequest() -> ClientRequest {
        switch Int.random(in: 0..<3, using: &self) {
        case 0:
            var get = GetRequest(key: objectKey())
            get.options = quorumOptions()
            get.headOnly = chance(2)
            get.unlessClock = maybe { $0.versionVector() }
            return .get(get)
        case 1:
            var put = PutRequest(
                key: objectKey(), context: maybe { $0.context() }, metadata: metadata(), value: bytes())
            put.expiry = maybe { WallTime(microseconds: $0.number()) }
            put.writeID = maybe { WriteID(high: $0.number(), low: $0.number()) }
            put.condition = pick([nil, .ifNoneMatch, .ifNotModified(versionVector())])
            put.returnedBody = pick([.nothing, .head, .full])
            put.options = quorumOptions()
            return .put(put)
        default:
            var delete = DeleteRequest(key: objectKey(), context: maybe { $0.context() })
            delete.options = quorumOptions()
            return .delete(delete)
        }
    }

    package mutating func writeAnswer() -> WriteAnswer {
        switch Int.random(in: 0..<3, using: &self) {
        case 0:
            return .ok(
                Participation(primaries: natural(), fallbacks: natural()),
                maybe {
                    ClientObject(
                        siblings: $0.versionedObject().siblings, context: $0.context(), headOnly: $0.chance(2))
                })
        case 1: return .refused(refusal())
        default: return .indeterminate(copies: natural(), needed: natural())
        }
    }

    package mutating func refusal() -> Refusal {
        pick([
            .matchFound, .modified, .notFound,
            .invalidQuorum(name: pick(["", "pw", "größer"]), asked: natural(), n: natural()),
            .objectTooLarge(bytes: natural(), limit: natural()), .tooManySiblings(count: natural(), limit: natural()),
            .siblingsTooLarge(bytes: natural(), limit: natural()), .clockTooFarBehind, .overloaded,
            .unreachable(needed: natural(), reachable: natural()), .unreadable, .shuttingDown, .diskFull,
        ])
    }

    private mutating func membershipMessage(sequence: UInt64) -> MembershipMessage {
        let body: MembershipMessage.Body = pick([
            .ping, .pingRequest(NodeID(rawValue: number())), .ack, .nack, .exchange(asks: true), .exchange(asks: false),
        ])
        let claims = (0..<Int.random(in: 0...5, using: &self)).map { _ in
            MemberClaim(
                node: NodeID(rawValue: number()), incarnation: MembershipIncarnation(rawValue: number()),
                content: pick([
                    .alive(memberFacts()), .suspect(by: NodeID(rawValue: number())),
                    .dead(by: NodeID(rawValue: number())),
                ]))
        }
        return MembershipMessage(
            sequence: sequence, body: body, incarnation: MembershipIncarnation(rawValue: number()),
            facts: memberFacts(), claims: claims)
    }

    private mutating func memberFacts() -> MemberFacts {
        var facts = MemberFacts(
            build: BuildNumber(
                major: UInt16(truncatingIfNeeded: next()), minor: UInt16(truncatingIfNeeded: next()),
                patch: UInt16(truncatingIfNeeded: next())), peerProtocol: UInt8(truncatingIfNeeded: next()))
        facts.sequence = number()
        facts.operationsPerSecond = UInt32(truncatingIfNeeded: number())
        facts.diskUsedBytes = number()
        facts.diskFreeBytes = number()
        return facts
    }

    private mutating func treeID() -> TreeID {
        TreeID(
            partition: PartitionID(rawValue: UInt16(truncatingIfNeeded: next())),
            copies: UInt8(truncatingIfNeeded: next()))
    }

    private mutating func treeSubject() -> TreeQuestion.Subject {
        switch Int.random(in: 0..<3, using: &self) {
        case 0: .root(ContentHash(rawValue: number()))
        case 1: .leaves(branches: leafNumbers())
        default: .keys(leaves: leafNumbers(), after: maybe { $0.bytes() }, through: maybe { $0.bytes() })
        }
    }

    private mutating func treeAnswer() -> TreeAnswer {
        switch Int.random(in: 0..<5, using: &self) {
        case 0: .equal
        case 1: .branches((0..<Int.random(in: 0...20, using: &self)).map { _ in next() })
        case 2: .leaves((0..<Int.random(in: 0...20, using: &self)).map { _ in next() })
        case 3:
            .keys(
                (0..<Int.random(in: 0...5, using: &self)).map { _ in
                    ListedKey(key: objectKey(), hash: ContentHash(rawValue: number()))
                }, resume: maybe { $0.bytes() })
        default: .refused(pick(TreeRefusal.allCases))
        }
    }

    private mutating func linkToken() -> LinkToken {
        LinkToken(incarnation: Incarnation(rawValue: number()), time: MonotonicTime(nanoseconds: number()))
    }

    private mutating func reapEntries() -> [ReapEntry] {
        (0..<Int.random(in: 0...5, using: &self)).map { _ in
            ReapEntry(key: objectKey(), version: versionedObject().encoded)
        }
    }

    private mutating func reapAnswer() -> ReapAnswer {
        switch Int.random(in: 0..<4, using: &self) {
        case 0:
            .survey(
                HintSurvey(
                    incarnation: Incarnation(rawValue: number()), accepted: number(), holds: chance(2),
                    clock: MonotonicTime(nanoseconds: number())))
        case 1: .keys((0..<Int.random(in: 0...20, using: &self)).map { _ in chance(2) })
        case 2:
            .minting(
                (0..<Int.random(in: 0...20, using: &self)).map { _ in
                    chance(2) ? .differs : .holds(chance(2) ? nil : Actor(rawValue: number()))
                })
        default: .refused(pick(TreeRefusal.allCases))
        }
    }

    private mutating func leafNumbers() -> [UInt16] {
        (0..<Int.random(in: 0...20, using: &self)).map { _ in UInt16(truncatingIfNeeded: next()) }
    }

    private mutating func failure() -> ReplicaFailure { pick(ReplicaFailure.allCases) }

    private mutating func duration() -> Duration { .nanoseconds(Int64(natural())) }
}
