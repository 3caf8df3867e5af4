// What the trace calls things: short names for a person.

import NIOCore
import TorcModel
import TorcReplication

extension Simulation {
    func name(_ key: ObjectKey) -> String { keyIndex[key].map { "k\($0)" } ?? "\(key)" }

    func name(_ node: NodeID) -> String { nodes.first { $0.id == node }?.name ?? "\(node)" }

    func describe(_ object: VersionedObject) -> String {
        let versions = object.siblings.map { sibling in
            (sibling.isTombstone ? "gone" : SimulatedValue.decode(sibling.value).map { "v\($0)" } ?? "?")
                + "=\(short(sibling.dot))"
        }
        let clock = object.clock.entries.map { short(Dot(actor: $0.actor, counter: $0.counter)) }
        return "{\(versions.joined(separator: " "))} [\(clock.joined(separator: " "))]"
    }

    /// The node's tag says little here; the last digits tell actors apart.
    func short(_ dot: Dot) -> String { "\(hexadecimal(dot.actor.rawValue).suffix(4)):\(dot.counter)" }

    func describe(body: ByteBuffer) -> String {
        (try? VersionedObject(decoding: body)).map(describe) ?? "(\(body.readableBytes) bytes)"
    }

    func describe(_ write: RecordWrite) -> String {
        let place = write.hint.map { " for \(name($0))" } ?? ""
        guard let bytes = write.record else { return "\(name(write.key))\(place) nothing" }
        let record = try? Record(decoding: bytes, for: write.key)
        let grave = record?.isGrave ?? false ? " grave of" : ""
        return "\(name(write.key))\(place)\(grave) \(record.map { describe(body: $0.body) } ?? "?")"
    }

    func key(of message: PeerMessage) -> Int? {
        switch message {
        case .write(let write): keyIndex[write.key]
        case .read(let read, _): keyIndex[read.key]
        case .forward(let forward): keyIndex[forward.request.key]
        default: nil
        }
    }

    func describe(_ message: PeerMessage) -> String {
        switch message {
        case .write(let write):
            "\(write.operation) write \(name(write.key))\(forNode(write.hint)) \(describe(body: write.body))"
        case .wrote(let operation, let outcome): "\(operation) \(describe(outcome))"
        case .read(let read, _): "\(read.operation) read \(name(read.key))\(forNode(read.hint)) \(describe(read.want))"
        case .readResult(let operation, let outcome): "\(operation) holds \(describe(outcome))"
        case .forward(let forward): "\(forward.operation) forward \(describe(forward.request))"
        case .forwarded(let operation, let answer): "\(operation) answers \(describe(.write(answer)))"
        case .page(let page): "\(page.operation) page of \(page.partition)"
        case .pageResult(let operation, _): "\(operation) page"
        case .properties(let operation, let entries): "\(operation) properties (\(entries.count))"
        case .propertiesStored(let operation): "\(operation) properties stored"
        case .propertiesDigest(let hash): "properties digest \(hash)"
        case .compare(let question): "\(question.operation) compare \(describe(question))"
        case .compared(let operation, let answer): "\(operation) compared \(describe(answer))"
        case .membership(let message): describe(message)
        case .askToken(let operation): "\(operation) token?"
        case .token(let operation, let token): "\(operation) token \(token.time.nanoseconds)"
        case .reap(let question):
            switch question.subject {
            case .survey: "\(question.operation) survey"
            case .step(let step, let entries):
                "\(question.operation) \(step) " + entries.map { name($0.key) }.joined(separator: " ")
            }
        case .reaped(let operation, let answer): "\(operation) \(answer)"
        case .hinted(let operation, let target, let outcome): "\(operation)\(forNode(target)) \(describe(outcome))"
        case .hintResult(let operation, let target, let outcome):
            "\(operation) holds\(forNode(target)) \(describe(outcome))"
        case .ring(let message): describe(message)
        }
    }

    private func describe(_ message: MembershipMessage) -> String {
        let body =
            switch message.body {
            case .ping: "ping"
            case .pingRequest(let target): "ping \(name(target)) for me"
            case .ack: "ack"
            case .nack: "nack"
            case .exchange(let asks): asks ? "exchange?" : "exchange"
            }
        let claims = message.claims.map { " \(name($0.node))@\($0.incarnation) \($0.state)" }.joined(separator: ",")
        return "\(body) @\(message.incarnation)\(claims)"
    }

    func describe(_ observation: MembershipObservation) -> String {
        switch observation {
        case .suspected(let node, let accuser): "\(name(node)) suspected by \(name(accuser))"
        case .died(let node, let accuser): "\(name(node)) dead by \(name(accuser))"
        case .returned(let node): "\(name(node)) returned"
        case .refuted(let incarnation): "refutes as \(incarnation)"
        case .paused(let time): "its own pause of \(time)"
        }
    }

    private func describe(_ question: TreeQuestion) -> String {
        let tree = "\(question.tree.partition) n=\(question.tree.copies)"
        switch question.subject {
        case .root(let hash): return "\(tree) root \(hash)"
        case .leaves(let branches): return "\(tree) leaves of \(branches.count) branches"
        case .keys(let leaves, _, _): return "\(tree) keys of \(leaves.count) leaves"
        }
    }

    private func describe(_ answer: TreeAnswer) -> String {
        switch answer {
        case .equal: "equal"
        case .branches, .leaves: "other"
        case .keys(let keys, let resume):
            "keys \(keys.map { name($0.key) }.joined(separator: " "))\(resume == nil ? "" : " and more")"
        case .refused(let refusal): "refused: \(refusal)"
        }
    }

    private func forNode(_ node: NodeID?) -> String { node.map { " for \(name($0))" } ?? "" }

    private func describe(_ want: ReplicaRead.Want) -> String {
        switch want {
        case .full: "full"
        case .unless: "unless equal"
        case .hash: "hash"
        }
    }

    private func describe(_ outcome: ReadOutcome) -> String {
        switch outcome {
        case .absent: "nothing"
        case .hash(let hash): "\(hash)"
        case .object(let body): describe(body: body)
        case .failed(let failure): "failed: \(failure)"
        }
    }

    private func describe(_ outcome: WriteOutcome) -> String {
        switch outcome {
        case .stored: "stored"
        case .superseded(let stamp): "superseded by \(stamp.rawValue)"
        case .failed(let failure): "failed: \(failure)"
        }
    }

    func describe(_ request: ClientRequest) -> String {
        switch request {
        case .get(let get): return "get \(name(get.key))"
        case .put(let put):
            let value = SimulatedValue.decode(put.value).map { "v\($0)" } ?? "?"
            var text = "put \(name(put.key)) \(value)"
            switch put.condition {
            case .ifNoneMatch: text += " if none"
            case .ifNotModified: text += " if not modified"
            case nil: break
            }
            return put.writeID == nil ? text : text + " (named)"
        case .delete(let delete): return "delete \(name(delete.key))"
        }
    }

    func describe(_ request: ClientRequest, _ operation: OpenRequest.Operation) -> String {
        switch operation {
        case .write(_, let write):
            let record = history.writes[write]
            let covers = record.covers.map { "v\($0)" }.joined(separator: " ")
            let life = record.expiry.map { " until \($0.microseconds)" } ?? ""
            return describe(request) + (record.isDelete ? " d\(write)" : "") + life
                + " over {\(covers)}\(describe(options(of: request)))"
        case .read, .list, .properties:
            return describe(request) + describe(options(of: request))
        }
    }

    private func options(of request: ClientRequest) -> QuorumOptions {
        switch request {
        case .get(let get): get.options
        case .put(let put): put.options
        case .delete(let delete): delete.options
        }
    }

    private func describe(_ options: QuorumOptions) -> String {
        [
            ("r", options.r), ("w", options.w), ("pr", options.pr), ("pw", options.pw), ("dw", options.dw),
            ("rw", options.rw),
        ]
        .compactMap { name, quorum in quorum.map { " \(name)=\($0)" } }.joined()
    }

    func describe(_ open: OpenRequest) -> String {
        switch open.operation {
        case .read: "get k\(open.key)"
        case .write(_, let write): "\(history.writes[write].name) to k\(open.key)"
        case .list: "list"
        case .properties: "properties"
        }
    }

    func describe(_ answer: ClientAnswer?) -> String {
        switch answer {
        case nil: return "nothing"
        case .get(.absent(let participation)):
            return "absent from \(participation.primaries)+\(participation.fallbacks)"
        case .get(.found(let object, let participation)):
            let shown = object.siblings.map { sibling in
                object.headOnly ? short(sibling.dot) : SimulatedValue.decode(sibling.value).map { "v\($0)" } ?? "?"
            }
            return "{\(shown.joined(separator: " "))} from \(participation.primaries)+\(participation.fallbacks)"
        case .get(let other): return "\(other)"
        case .write(.ok(let participation, _)): return "ok by \(participation.primaries)+\(participation.fallbacks)"
        case .write(let other): return "\(other)"
        }
    }

    func key(of observation: LaneObservation) -> Int? {
        switch observation {
        case .readRepaired(let key, _), .actorRetired(let key, _), .unreadableRecord(let key), .lwwRestamped(let key),
            .staleWrite(let key), .mended(let key, _), .notMended(let key, _), .scrubbed(.unreadableRecord(let key)),
            .readShared(let key, _), .readCached(let key, _):
            keyIndex[key]
        default: nil
        }
    }

    func describe(_ observation: LaneObservation) -> String {
        switch observation {
        case .readRepaired(let key, let replicas): "read repair of \(name(key)) on \(replicas)"
        case .actorRetired(let key, let actor): "actor \(actor) of \(name(key)) retired"
        case .readShared(let key, let readers): "\(readers) reads of \(name(key)) are one"
        case .readCached(let key, let readers): "\(readers) reads of \(name(key)) from memory"
        case .unreadableRecord(let key): "unreadable \(name(key))"
        case .mended(let key, let replicas): "mended \(name(key)) with what \(replicas) hold"
        case .lwwRestamped(let key): "restamped \(name(key))"
        case .duplicateForwardIgnored(let node): "repeated forward of \(name(node)) ignored"
        case .exchanged(let pair, let failed, let differing):
            "exchange of \(pair.tree.partition) n=\(pair.tree.copies) with \(name(pair.peer)) "
                + "\(failed ? "failed" : "ended"), \(differing) keys differed"
        case .hintKept(let node): "kept for \(name(node))"
        case .hintsFull(let node): "kept no more for \(name(node))"
        case .hintDeliveryBegan(let node, let total): "delivery of \(total.records) hints to \(name(node)) begins"
        case .hintDelivered(let node): "delivered to \(name(node))"
        case .hintDeliveryEnded(let node, let delivered): "all \(delivered) hints delivered to \(name(node))"
        default: "\(observation)"
        }
    }

    func describe(_ scope: PropertiesScope) -> String {
        switch scope {
        case .type(let type): "type \(String(buffer: type))"
        case .bucket(let bucket): "bucket \(bucket)"
        }
    }
}
