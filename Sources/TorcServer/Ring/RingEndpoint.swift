// Operators' orders about the members, on a node's HTTP address; the commands of `torc cluster` ask here.
//
//   GET  /admin/cluster/ring                             the ring as this node holds it, and how far copies have moved
//   GET  /admin/cluster/plan                             what the changes staged at this node come to
//   POST /admin/cluster/token?ttl=SECONDS
//   POST /admin/cluster/join                             a new node's request: `JoinRequest`
//   POST /admin/cluster/leave?node=NAME    …/remove?node=NAME    …/replace?old=NAME&new=NAME    …/abort
//   POST /admin/cluster/commit?plan=FINGERPRINT&timeout=SECONDS
//   POST /admin/cluster/force?without=NAME,NAME
//
// 200 with an answer, 409 with an `AdminError` when it is refused, 400 when it makes no sense.

import Foundation
import Hummingbird
import HummingbirdCore
import NIOCore
import NIOPosix
import TorcModel
import TorcReplication
import TorcStorage

final class RingEndpoint: Sendable {
    static let path = "/admin/cluster/"
    /// The copies that a plan is shown for: those of the default type.
    private static let copiesShown = 3
    private static let bodyLimit = 64 << 10
    private static let standardTimeout = 10
    private static let longestTimeout = 600

    private let configuration: ServerConfiguration
    private let cluster: ClusterID
    private let loops: NodeLoops
    private let directory: ClusterDirectory
    private let store: NodeStore
    private let threads: NIOThreadPool
    private let words: RingWords

    init(
        configuration: ServerConfiguration, cluster: ClusterID, loops: NodeLoops, directory: ClusterDirectory,
        store: NodeStore, threads: NIOThreadPool
    ) {
        self.configuration = configuration
        self.cluster = cluster
        self.loops = loops
        self.directory = directory
        self.store = store
        self.threads = threads
        words = RingWords(directory: directory)
    }

    private enum Failure: Error {
        case refused(String)
        case senseless(String)
    }

    /// Nil when the request is for somebody else.
    func respond(to request: Request) async throws -> Response? {
        guard request.uri.path.hasPrefix(Self.path) else { return nil }
        let name = String(request.uri.path.dropFirst(Self.path.count))
        let parameters = Dictionary(
            request.uri.queryParameters.map { (String($0.key), String($0.value)) }, uniquingKeysWith: { $1 })
        do {
            switch (request.method, name) {
            case (.get, "ring"): return try await Self.json(ring())
            case (.get, "plan"): return try await Self.json(plan())
            case (.post, "token"): return try Self.json(token(parameters["ttl"]))
            case (.post, "join"):
                let body = try await request.body.collect(upTo: Self.bodyLimit)
                return try await Self.json(join(Data(body.readableBytesView)))
            case (.post, "leave"): return try await stage(.leave(try participant(parameters["node"])))
            case (.post, "remove"): return try await stage(.remove(try participant(parameters["node"])))
            case (.post, "replace"):
                return try await replace(try participant(parameters["old"]), by: parameters["new"] ?? "")
            case (.post, "abort"): return try Self.staged(try await order(.abort), words)
            case (.post, "commit"): return try await commit(parameters)
            case (.post, "force"): return try await force(without: parameters["without"] ?? "")
            default: throw Failure.senseless("there is no \(request.method) \(request.uri.path)")
            }
        } catch Failure.refused(let text) {
            return Self.json(AdminError(error: text), .conflict)
        } catch Failure.senseless(let text) {
            return Self.json(AdminError(error: text), .badRequest)
        }
    }

    private static func json(_ value: some Encodable, _ status: HTTPResponse.Status = .ok) -> Response {
        var body = ByteBuffer(bytes: AdminJSON.encode(value))
        body.writeString("\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }

    // MARK: Looking

    private func ring() async throws -> RingReport {
        let control = loops.control!
        let (agreement, statuses) = try await control.eventLoop.submit { (control.agreement, control.members) }.get()
        let state = agreement.state
        let linked = Set(statuses.filter { $0.isSelf || $0.isLinked }.map(\.node))
        var clearing = 0
        for lane in loops.lanes where state.transition == nil {
            clearing += try await lane.eventLoop.submit { lane.partitionsGivenAway(by: state.placement) }.get()
        }
        let members = state.participants.map { member in
            let report = state.transition == nil ? nil : agreement.reports[member.node]
            let contact = directory.contact(of: member.node)
            return RingReport.Member(
                name: contact?.name ?? "\(member.node)", id: "\(member.node)",
                address: contact.map { "\($0.address)" } ?? "", weight: member.claim.weight, zone: member.claim.zone,
                partitions: state.ring.owners.count { $0 == member.node }, isLeaving: state.isLeaving(member.node),
                pending: report?.pending, total: report?.total)
        }
        return RingReport(
            cluster: configuration.clusterName, node: configuration.nodeName,
            role: directory.role.rawValue, generation: state.generation.number,
            epoch: state.ring.epoch, fingerprint: "\(state.version.fingerprint)",
            phase: "\(state.transition?.phase ?? .settled)", partitions: state.ring.size.partitions,
            steward: state.members.map(\.node).first(where: linked.contains).map(directory.name), clearing: clearing,
            members: members.sorted { $0.name < $1.name }, fenced: state.fenced.map(directory.name),
            staged: agreement.record.staged.map(words.change))
    }

    private func plan() async throws -> PlanReport {
        guard case .plan(let plan) = try await order(.plan) else { throw Failure.refused("nothing is staged") }
        struct Pair: Hashable {
            var source: NodeID?
            var target: NodeID?
        }
        let bytes = try await partitionBytes()
        var flows: [Pair: (partitions: Int, bytes: UInt64)] = [:]
        for handover in plan.handovers(copies: Self.copiesShown) {
            let pair = Pair(source: handover.source, target: handover.target)
            flows[pair, default: (0, 0)].partitions += 1
            flows[pair]!.bytes += bytes(handover.partition)
        }
        // Those that are staged have no entry in the directory yet.
        var names: [NodeID: String] = [:]
        for member in plan.next.participants {
            names[member.node] = NodeContact(contact: member.contact)?.name ?? directory.name(of: member.node)
        }
        let name = { (node: NodeID) in names[node] ?? self.directory.name(of: node) }
        let rows = flows.map { pair, sum in
            PlanReport.Flow(
                from: pair.source.map(name), to: pair.target.map(name), partitions: sum.partitions, bytes: sum.bytes)
        }
        return PlanReport(
            plan: "\(plan.next.version.fingerprint)", epoch: plan.next.ring.epoch,
            changes: plan.changes.map(words.change), partitions: plan.next.ring.size.partitions,
            moved: plan.moves.count, copies: Self.copiesShown,
            flows: rows.sorted { ($0.from ?? "", $0.to ?? "") < ($1.from ?? "", $1.to ?? "") },
            repeatedNodes: plan.repeatedNodes.count, repeatedZones: plan.repeatedZones.count)
    }

    /// What lies in this node's families; of partitions that it has nothing of, the mean of the others.
    /// On a thread that a stop of the node waits for before it closes the store.
    private func partitionBytes() async throws -> (PartitionID) -> UInt64 {
        let store = store
        let known = try await threads.runIfActive {
            Dictionary(uniqueKeysWithValues: store.partitionsPresent.map { ($0, store.liveBytes(of: $0)) })
                .filter { $0.value > 0 }
        }
        let mean = known.values.reduce(0, +) / UInt64(max(known.count, 1))
        return { known[$0] ?? mean }
    }

    // MARK: Orders

    private func order(_ order: RingOrder) async throws -> RingAnswer {
        let answer = await loops.control.order(order)
        if case .refused(let refusal) = answer { throw Failure.refused(words.refusal(refusal)) }
        return answer
    }

    private static func staged(_ answer: RingAnswer, _ words: RingWords) throws -> Response {
        guard case .staged(let changes) = answer else { throw Failure.refused("the answer to another order") }
        return json(["staged": changes.map(words.change)])
    }

    private func stage(_ change: StagedChange) async throws -> Response {
        try Self.staged(try await order(.stage(change)), words)
    }

    private func participant(_ name: String?) throws -> NodeID {
        guard let name else { throw Failure.senseless("the name of a member is missing") }
        guard let node = directory.participant(named: name) else { throw Failure.refused("\(name) is no member") }
        return node
    }

    /// The new node has asked to join: that becomes the replacement, in one step, with all else as it was.
    private func replace(_ old: NodeID, by name: String) async throws -> Response {
        let control = loops.control!
        let staged = try await control.eventLoop.submit { control.agreement.record.staged }.get()
        let joins = staged.compactMap { change -> ClusterMember? in
            guard case .join(let member) = change, NodeContact(contact: member.contact)?.name == name else {
                return nil
            }
            return member
        }
        guard let member = joins.first else {
            throw Failure.refused(
                "\(name) has not asked this node to join: start it with --join and this node's address")
        }
        return try await stage(.replace(old, by: member))
    }

    private func commit(_ parameters: [String: String]) async throws -> Response {
        var fingerprint: ClusterFingerprint?
        if let text = parameters["plan"] {
            guard let value = UInt64(text, radix: 16) else { throw Failure.senseless("'\(text)' is no plan") }
            fingerprint = ClusterFingerprint(rawValue: value)
        }
        let seconds = parameters["timeout"].flatMap { Int($0) } ?? Self.standardTimeout
        guard (1...Self.longestTimeout).contains(seconds) else {
            throw Failure.senseless("the timeout is from 1 to \(Self.longestTimeout) seconds")
        }
        let deadline = NodeClock.monotonic().advanced(by: .seconds(seconds))
        return Self.json(words.commit(await loops.control.order(.commit(plan: fingerprint, deadline: deadline))))
    }

    private func force(without names: String) async throws -> Response {
        let dead = try names.split(separator: ",").map { try participant(String($0)) }
        guard !dead.isEmpty else { throw Failure.senseless("name the members that are gone for good") }
        return Self.json(words.commit(await loops.control.order(.force(without: dead))))
    }

    // MARK: Joining

    private static func joiners(_ staged: [StagedChange]) -> [ClusterMember] {
        staged.compactMap { change in
            switch change {
            case .join(let member), .replace(_, let member): member
            case .leave, .remove: nil
            }
        }
    }

    private func token(_ lifetime: String?) throws -> TokenReport {
        let seconds = lifetime.flatMap { Int($0) } ?? JoinToken.standardLifetime
        guard (1...JoinToken.longestLifetime).contains(seconds) else {
            throw Failure.senseless("a token lives from 1 to \(JoinToken.longestLifetime) seconds")
        }
        var generator = SystemRandomNumberGenerator()
        let token = JoinToken(
            node: NodeID(rawValue: generator.next()), expires: Self.secondsNow + UInt64(seconds), cluster: cluster,
            key: configuration.clusterKey)
        return TokenReport(token: "\(token)", expires: token.expires)
    }

    private static var secondsNow: UInt64 { UInt64(max(0, Date().timeIntervalSince1970)) }

    private func join(_ body: Data) async throws -> JoinReport {
        guard let request = try? AdminJSON.decode(JoinRequest.self, body), let address = HostAddress(request.address),
            NodeContact.isName(request.name)
        else { throw Failure.senseless("this is no request to join") }
        guard let token = JoinToken(request.token), token.isSealed(by: configuration.clusterKey, for: cluster) else {
            throw Failure.refused("the token is not of this cluster: make one with `torc cluster token`")
        }
        guard token.expires >= Self.secondsNow else {
            throw Failure.refused("the token has expired: make another one with `torc cluster token`")
        }
        let control = loops.control!
        let record = try await control.eventLoop.submit { control.agreement.record }.get()
        let contact = NodeContact(name: request.name, address: address)
        let member = ClusterMember(
            claim: ClaimMember(node: token.node, weight: request.weight, zone: request.zone),
            contact: ByteBuffer(string: "\(contact)"))
        // Asked again, because the answer was lost.
        if !record.staged.contains(.join(member)) {
            let names =
                record.state.participants.map { ($0.node, directory.name(of: $0.node)) }
                + Self.joiners(record.staged).map { ($0.node, NodeContact(contact: $0.contact)?.name ?? "") }
            if names.contains(where: { $0.0 != token.node && $0.1 == request.name }) {
                throw Failure.refused("a node is named \(request.name) already: give the new one another name")
            }
            _ = try await order(.stage(.join(member)))
        }
        var bytes = ByteBuffer()
        record.state.encode(into: &bytes)
        let declared = record.state.participants.filter { $0.contact.readableBytes == 0 }.compactMap { member in
            directory.contact(of: member.node).map {
                JoinReport.Declared(id: member.node.rawValue, contact: "\($0)")
            }
        }
        return JoinReport(state: Data(bytes.readableBytesView).base64EncodedString(), declared: declared)
    }
}
