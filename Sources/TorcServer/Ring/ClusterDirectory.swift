// Who the nodes are and where they are found, as this node knows it now: from the cluster's state and, for members
// that it says nothing of, from the declared list. Whoever shows names or addresses, or sends something to an owner,
// asks here.

import NIOCore
import Synchronization
import TorcModel
import TorcReplication
import TorcWire

/// What a member's `contact` bytes say: `NAME=HOST:PORT`, the address of its peer port.
package struct NodeContact: Hashable, Sendable, CustomStringConvertible {
    package static let maximumNameBytes = PeerIdentity.maximumNameBytes

    package var name: String
    package var address: HostAddress

    package init(name: String, address: HostAddress) {
        self.name = name
        self.address = address
    }

    package init?(_ text: String) {
        guard let mark = text.firstIndex(of: "="), let address = HostAddress(String(text[text.index(after: mark)...]))
        else { return nil }
        self.init(name: String(text[..<mark]), address: address)
        guard Self.isName(name) else { return nil }
    }

    init?(contact bytes: ByteBuffer) { self.init(String(buffer: bytes)) }

    /// Commands and lists name nodes: what separates names there cannot be in one.
    package static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= maximumNameBytes
            && !text.contains { $0.isWhitespace || $0 == "=" || $0 == "," }
    }

    package var description: String { "\(name)=\(address)" }
}

final class ClusterDirectory: Sendable {
    /// What this node is to the cluster.
    enum Role: String, Sendable {
        case member
        /// It hands over what it holds.
        case leaving
        /// It waits for its join to be committed.
        case joining
        /// It has handed over what it held.
        case left
        case fenced
    }

    let node: NodeID

    fileprivate struct Present {
        var state: ClusterState
        /// Of those that have left since the start, too: logs and listings may still speak of them.
        var contacts: [NodeID: NodeContact]
        /// This node has been a member.
        var hasTakenPart: Bool
        /// What clients follow that ask replicas directly; nil when two members share a name.
        var clientRing: RiakRing?
    }

    private let present: Mutex<Present>

    /// `tookPart`: this node began with the cluster, or has left it.
    init(node: NodeID, declared: [DeclaredMember], state: ClusterState, tookPart: Bool) {
        self.node = node
        let contacts = declared.map { ($0.node, NodeContact(name: $0.name, address: $0.address)) }
        present = Mutex(
            Present(
                state: state, contacts: Dictionary(contacts, uniquingKeysWith: { first, _ in first }),
                hasTakenPart: tookPart))
        install(state)
    }

    func install(_ state: ClusterState) {
        present.withLock { present in
            present.state = state
            if state.hasParticipant(node) { present.hasTakenPart = true }
            for member in state.participants {
                if let contact = NodeContact(contact: member.contact) { present.contacts[member.node] = contact }
            }
            let contacts = present.contacts
            present.clientRing = RiakRing(state.servingRing, fingerprint: state.version.fingerprint.rawValue) {
                contacts[$0]?.name ?? "\($0)"
            }
        }
    }

    /// Nil when this node holds no copies: its ring may be one of long ago.
    var clientRing: RiakRing? {
        present.withLock { present in
            switch present.role(of: node) {
            case .member, .leaving: present.clientRing
            case .joining, .left, .fenced: nil
            }
        }
    }

    var state: ClusterState { present.withLock { $0.state } }
    var ring: Ring { present.withLock { $0.state.ring } }

    func contact(of node: NodeID) -> NodeContact? { present.withLock { $0.contacts[node] } }
    func name(of node: NodeID) -> String { contact(of: node)?.name ?? "\(node)" }

    /// A participant by its name, or by its id.
    func participant(named name: String) -> NodeID? {
        present.withLock { present in
            present.state.participants.map(\.node).first {
                present.contacts[$0]?.name == name || $0.description == name
            }
        }
    }

    var role: Role { present.withLock { $0.role(of: node) } }

    /// With whom links are to stand.
    var peers: [PeerMember] {
        present.withLock { present in
            switch present.role(of: node) {
            case .member, .leaving, .joining: break
            // Nobody would listen.
            case .left, .fenced: return []
            }
            return present.state.participants.compactMap { member in
                guard member.node != node, let contact = present.contacts[member.node] else { return nil }
                return PeerMember(
                    node: member.node, name: contact.name, host: contact.address.host, port: contact.address.port)
            }
        }
    }
}

extension ClusterDirectory.Present {
    fileprivate func role(of node: NodeID) -> ClusterDirectory.Role {
        if state.fenced.contains(node) { return .fenced }
        if state.contains(node) { return .member }
        if state.isLeaving(node) { return .leaving }
        return hasTakenPart ? .left : .joining
    }
}

extension ClusterState {
    /// The ring that reads are sent by, and so the one by which a client finds a replica.
    var servingRing: Ring {
        if let transition, transition.phase == .copying { transition.former } else { ring }
    }

    func isLeaving(_ node: NodeID) -> Bool { !contains(node) && hasParticipant(node) }
}
