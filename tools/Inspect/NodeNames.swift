// Which node is which: what a folder knows of the names of nodes, and which of them draws an actor.

package import NIOCore
import TorcConsole
package import TorcModel
import TorcReplication
package import TorcStorage

package struct NodeNames: Sendable {
    /// The node of the folder.
    package let own: NodeID
    private var names: [NodeID: String] = [:]
    private var addresses: [NodeID: String] = [:]
    /// By the 16 bits that mark a node's actors.
    private var byTag: [UInt16: Set<NodeID>] = [:]

    /// From the ring, from the hints, from what a node that joined keeps of the declared members, and from the names that the caller gives.
    /// `declared`: of members that every node's configuration lists, with the cluster's name.
    /// What cannot be read of these is told and leaves names out: a name is a help, no more.
    package init(_ reader: FolderReader, declared: DeclaredNames? = nil) {
        own = reader.identity.node
        learn(own)
        if let name = reader.identity.joinedName { names[own] = name }
        for (node, name) in declared?.nodes ?? [] { learn(node, name: name) }
        do {
            for node in try reader.hintTargets() { learn(node) }
            if let bytes = try reader.metaValue("declared") {
                for (node, contact) in try Self.declaredContacts(bytes) { learn(node, contact: contact) }
            }
            if let record = try reader.ring() { learn(record) }
        } catch {
            Console.warn("names of nodes are missing below: \(error)")
        }
    }

    private mutating func learn(_ record: RingRecord) {
        let state = record.state
        for member in state.participants { learn(member.node, contact: String(buffer: member.contact)) }
        for node in state.fenced + state.ring.members + (state.transition?.former.members ?? []) { learn(node) }
        for change in record.staged {
            switch change {
            case .join(let member), .replace(_, let member):
                learn(member.node, contact: String(buffer: member.contact))
            case .leave, .remove: break
            }
        }
    }

    private mutating func learn(_ node: NodeID, name: String? = nil) {
        if let name { names[node] = name }
        byTag[node.tag, default: []].insert(node)
    }

    /// `contact`: `NAME=HOST:PORT`, or nothing.
    private mutating func learn(_ node: NodeID, contact: String) {
        learn(node)
        guard let mark = contact.firstIndex(of: "=") else { return }
        names[node] = String(contact[..<mark])
        addresses[node] = String(contact[contact.index(after: mark)...])
    }

    /// The value of `declared` in `meta`: u8 format | varint count | (u64be node | varint length, NAME=HOST:PORT) …
    package static func declaredContacts(
        _ bytes: ByteBuffer
    ) throws(MalformedBytes) -> [(node: NodeID, contact: String)] {
        var reader = bytes
        guard try reader.readFixed(UInt8.self, "declared members") == 1 else {
            throw MalformedBytes(.unknownVersion, "declared members")
        }
        var result: [(node: NodeID, contact: String)] = []
        for _ in 0..<(try reader.readCount("declared members")) {
            let node = NodeID(rawValue: try reader.readFixed(UInt64.self, "declared members"))
            let contact = try reader.readLengthPrefixed(
                limit: ClusterMember.maximumContactBytes, "declared members")
            result.append((node, String(buffer: contact)))
        }
        try reader.requireEmpty("declared members")
        return result
    }

    /// The name, or the id where no name is known.
    package func name(of node: NodeID) -> String { names[node] ?? "\(node)" }
    package func nameIfKnown(of node: NodeID) -> String? { names[node] }
    package func address(of node: NodeID) -> String? { addresses[node] }

    package func node(named name: String) -> NodeID? { names.first { $0.value == name }?.key }

    /// `node2`, `node1 (this one)`.
    package func title(of node: NodeID) -> String { node == own ? "\(name(of: node)) (this one)" : name(of: node) }

    /// The node whose tag an actor bears; nil: none that the folder knows, or more than one.
    package func node(of actor: Actor) -> NodeID? {
        guard let nodes = byTag[UInt16(truncatingIfNeeded: actor.rawValue >> 48)], nodes.count == 1 else { return nil }
        return nodes.first
    }

    /// For a person: `node2`, or `?`.
    package func title(of actor: Actor) -> String { node(of: actor).map(title) ?? "?" }
}

/// Members that every node's configuration lists; a folder alone does not know their names.
package struct DeclaredNames: Sendable {
    package let nodes: [(node: NodeID, name: String)]

    package init(cluster: String, names: [String]) {
        nodes = names.map { (NodeID(cluster: cluster, node: $0), $0) }
    }

    /// The ring that they begin with.
    package func ring(size: RingSize) throws(ClaimRefusal) -> Ring {
        try Ring.declared(members: nodes.map { ClaimMember(node: $0.node) }, size: size)
    }
}
